package router

import (
	"path"
	"slices"

	"github.com/execlog/execlogd/inotify"
)

// Roots may overlap: one lies inside another, or two are one directory by
// different names, through links or mounts. The watcher tells each of them of a
// change, by its own path. So that one file is one path, with one batch and one
// run, a route hears of a file by the outermost of the roots in which it is
// for that file.

// movesRoots reports whether an event may change how roots overlap.
func movesRoots(e inotify.Event) bool {
	return e.Mask&arrived != 0 && (e.Mask&inotify.IsDir != 0 || e.Path == ".")
}

// findOverlaps tells the Group's routers how their roots overlap now.
func (g *Group) findOverlaps() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.routers {
		var roots []string
		for _, l := range g.roots {
			if l.Router == r {
				roots = append(roots, l.Root)
			}
		}
		if len(roots) > 1 || r.hasOverlaps() {
			r.setOverlaps(overlaps(g.watcher, roots))
		}
	}
}

// overlaps is, for each root that is inside others or the same directory as one
// before it, its places in those, from the outermost on.
func overlaps(w *inotify.Watcher, roots []string) map[string][]inotify.Location {
	all := make(map[string][]inotify.Location)
	for i, root := range roots {
		outer := slices.DeleteFunc(w.Locations(root), func(at inotify.Location) bool {
			j := slices.Index(roots, at.Root)
			return j < 0 || j == i || at.Path == "." && j > i
		})
		if len(outer) > 0 {
			all[root] = outer
		}
	}
	return all
}

func (r *Router) hasOverlaps() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.overlaps) > 0
}

func (r *Router) setOverlaps(all map[string][]inotify.Location) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.overlaps = all
}

// outermost is an event by the outermost root in which the route is for its
// path. It is not ok, and the same, if that is the event's own root, or none. A
// root itself has no other name, unless it is a file, and what is no file has none.
func (s *routeState) outermost(e inotify.Event) (outer inotify.Event, ok bool) {
	isRoot := e.Path == "." && e.Mask&inotify.IsDir != 0
	if len(s.router.overlaps) == 0 || isRoot || e.Mask == 0 {
		return e, false
	}
	for _, at := range s.router.overlaps[e.Root] {
		if o := inRoot(e, at); s.rules.isFor(o) {
			return o, true
		}
	}
	return e, false
}

// canonical is an event that the route gets from others, of whatever roots. With
// PerFile two of one file must not differ.
func (s *routeState) canonical(e inotify.Event) inotify.Event {
	outer, ok := s.outermost(e)
	if ok || s.route.Per != PerFile || e.Path == "." || e.Mask == 0 || s.rules.isFor(e) {
		return outer
	}
	for _, at := range s.router.overlaps[e.Root] {
		return inRoot(e, at)
	}
	return e
}

// inRoot is an event of a file below a root as one by the root around that.
func inRoot(e inotify.Event, at inotify.Location) inotify.Event {
	e.Root, e.Path = at.Root, path.Join(at.Path, e.Path)
	if e.From != "" {
		e.From = path.Join(at.Path, e.From)
	}
	return e
}
