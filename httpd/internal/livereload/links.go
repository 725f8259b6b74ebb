package livereload

import (
	"path"
	"slices"
	"strings"
)

// A page may use a file by a path that leads through a symbolic link. Nothing happens to
// the name in the path when the file changes or a link on the way is another. So a change
// of what a path leads through is a change of the path's file as well.

// link replaces what the path of a resource leads through. Hub.mu must be held.
func (h *Hub) link(r *resource, through []string) {
	for _, name := range r.state.Through {
		rest := slices.DeleteFunc(h.linked[name], func(other *resource) bool { return other == r })
		if h.linked[name] = rest; len(rest) == 0 {
			delete(h.linked, name)
		}
	}
	for _, name := range through {
		h.linked[name] = append(h.linked[name], r)
	}
}

// withLinks returns changed paths, and those of the files that lead through one of them.
func (h *Hub) withLinks(paths []string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.linked) == 0 {
		return paths
	}
	all := slices.Clip(paths)
	for _, p := range paths {
		all = append(all, linking(newChangedFile(p), h.linked)...)
	}
	return all
}

// linkedChange returns what a change of the past changed for a page that uses files whose
// paths lead through what changed. Hub.mu must be held.
func linkedChange(c *change, p *page) change {
	linked := make(map[string][]*resource)
	for _, list := range [][]*resource{p.shows, p.uses} {
		for _, r := range list {
			for _, name := range r.state.Through {
				linked[name] = append(linked[name], r)
			}
		}
	}

	var paths []string
	if len(linked) > 0 {
		for _, f := range c.files {
			paths = append(paths, linking(f, linked)...)
		}
	}
	return newFileChange(paths, c.names)
}

// linking returns the paths of the files that lead through a changed one, as linked has
// them. A name in a directory has another path through a link to the directory.
func linking(f changedFile, linked map[string][]*resource) (paths []string) {
	if f.isDir {
		for name, resources := range linked {
			if f.name != "" && strings.HasPrefix(name, f.name+"/") {
				for _, r := range resources {
					paths = append(paths, r.state.Name)
				}
			}
		}
	}

	for name, rest := f.name, ""; name != "." && name != ""; name, rest = path.Dir(name), path.Join(path.Base(name), rest) {
		for _, r := range linked[name] {
			switch {
			case rest == "":
				paths = append(paths, r.state.Name)
			case r.state.Kind == Directory:
				paths = append(paths, changedFile{path.Join(r.state.Name, rest), f.isDir}.title())
			}
		}
	}
	return paths
}
