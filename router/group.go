package router

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// flushTimeout is how long a watcher has to deliver what happened during a run.
const flushTimeout = time.Second

// A Listener brings what happens below a directory, or to a single file, to a Router. The
// events of a file have the path ".", and every pattern matches it. Several listeners may
// have the same Router.
type Listener struct {
	Root   string
	Router *Router

	// As, if its Root is not empty, is where the Router has what is below Root: it gets the
	// events of another root, as if Root were there. So can what symbolic links lead to be
	// watched, whose path is the Root then. A Root that goes, or leads elsewhere, is a
	// directory that goes and comes.
	As inotify.Location

	// Wait makes a Root that does not exist no error: it is watched from the moment that
	// it does, with what is in it as new.
	Wait bool

	// Notice is told when a directory Root is gone or leads elsewhere, and when there is
	// one at it again, or for the first time. It runs in the watcher's goroutine and must
	// not block. Nil is for those who need not know.
	Notice func(there bool)

	// Lost is told when the kernel has dropped events below Root: what has changed is
	// looked for, and comes as events of its own. It runs as Notice does.
	Lost func()
}

// A Group is listeners that share one inotify instance, start together and stop together.
type Group struct {
	watcher *inotify.Watcher
	problem func(error) // inotify.Options.Problem
	began   time.Time   // see markBeforeStart; zero during Run, and if there is nothing to mark

	events atomic.Uint64 // that roots were told of

	setting sync.Mutex // held while listeners, or what they watch, change; locked before mu

	mu       sync.Mutex        // guards what follows; locked before the lock of a Router
	roots    []*subscribedRoot // each root and Router once
	routers  []*Router         // of all listeners that there ever were, each once
	watching context.Context   // ends with the watcher's Run; nil before Run
	routing  context.Context   // ends with the routers' Run; nil except during Run
	runs     sync.WaitGroup    // of routers
}

// A subscribedRoot is a Listener that is watched.
type subscribedRoot struct {
	Listener
	handle *inotify.Handle
	routes *routeSet // for which it is watched; Group.setting guards it
}

// NewGroup watches the listeners' roots. Everything that can fail at the start fails here,
// and nothing is held then. If there are not enough watches for everything in them (an
// *inotify.LimitError), the rest is polled, and inotify.Options.Problem is told. What happens from now on is kept for Run. The Group must be
// closed.
func NewGroup(opts inotify.Options, listeners ...Listener) (*Group, error) {
	began := time.Now()
	watcher, err := inotify.New(opts)
	if err != nil {
		return nil, err
	}

	g := &Group{watcher: watcher, problem: opts.Problem}
	if resumption, _ := watcher.Resumed(); resumption == inotify.ResumedState && opts.Instance == nil {
		g.began = began
	}
	if g.problem == nil {
		g.problem = func(error) {}
	}

	if err := g.SetListeners(listeners...); err != nil {
		return nil, errors.Join(err, watcher.Close())
	}
	return g, nil
}

// SetListeners replaces the listeners, all of them or, with an error, none. It may be
// called before Run and during it, but not by a Notice.
//
// A root that is watched already for the same Router stays watched without a gap, and
// keeps its Notice. What happened below a root that is not watched any more is delivered
// before. For a new root the error is as of NewGroup. A new Router is run with the others; one that has no
// listeners any more runs until the Group ends.
func (g *Group) SetListeners(listeners ...Listener) error {
	listeners, err := mergeListeners(listeners)
	if err != nil {
		return err
	}
	g.setting.Lock()
	defer g.setting.Unlock()

	// First everything that may fail.
	var next, added []*subscribedRoot
	refuse := func(err error) error {
		for _, root := range added {
			root.handle.Close()
		}
		return err
	}
	for _, l := range listeners {
		if i := slices.IndexFunc(g.roots, func(root *subscribedRoot) bool { return root.isSame(l) }); i >= 0 {
			next = append(next, g.roots[i])
			continue
		}
		root, err := g.subscribe(l)
		if root.handle != nil {
			added = append(added, root)
		}
		if _, isLimit := errors.AsType[*inotify.LimitError](err); isLimit {
			g.problem(err)
		} else if err != nil {
			return refuse(err)
		}
		next = append(next, root)
	}

	var removed []*subscribedRoot
	for _, root := range g.roots {
		if !slices.Contains(next, root) {
			removed = append(removed, root)
		}
	}
	if len(removed) > 0 {
		g.flush()
	}
	if err := g.commit(next); err != nil {
		return refuse(err)
	}

	for _, root := range removed {
		root.handle.Close()
	}
	for _, root := range added {
		g.update(root) // the routes of its Router may have changed meanwhile
	}
	g.findOverlaps()
	return nil
}

// mergeListeners merges listeners that have the same root and Router, as two subscriptions
// would bring everything twice.
func mergeListeners(listeners []Listener) (merged []Listener, err error) {
	for _, l := range listeners {
		if l.Router == nil {
			return nil, fmt.Errorf("listener for %q: no router: set one", l.Root)
		}

		i := slices.IndexFunc(merged, l.isSame)
		if i < 0 {
			merged = append(merged, l)
			continue
		}

		if first := merged[i].Notice; first == nil {
			merged[i].Notice = l.Notice
		} else if l.Notice != nil {
			merged[i].Notice = func(there bool) {
				first(there)
				l.Notice(there)
			}
		}
		if merged[i].Lost == nil {
			merged[i].Lost = l.Lost // of the same root: one is enough to know of it
		}
		merged[i].Wait = merged[i].Wait || l.Wait
	}
	return merged, nil
}

// isSame reports whether both listeners have the same root and Router.
func (l Listener) isSame(other Listener) bool {
	return other.Root == l.Root && other.As == l.As && other.Router == l.Router
}

// place is where the Router has what is below the root.
func (l Listener) place() inotify.Location {
	if l.As.Root != "" {
		return l.As
	}
	return inotify.Location{Root: l.Root, Path: "."}
}

// asPlaced returns events of the root as the Router has them.
func (l Listener) asPlaced(events []inotify.Event) []inotify.Event {
	if l.As.Root == "" {
		return events
	}
	events = slices.Clone(events)
	for i, e := range events {
		if e.Mask == 0 || isOverflow(e) {
			events[i].Root = l.As.Root
			continue
		}
		if e.Path == "." && e.Mask&(inotify.DeleteSelf|inotify.MoveSelf) != 0 {
			e.Mask = inotify.Delete | inotify.IsDir
		}
		events[i] = inRoot(e, l.As)
	}
	return events
}

// subscribe watches the root of a listener. If the error is an *inotify.LimitError it is
// watched as far as possible.
func (g *Group) subscribe(l Listener) (*subscribedRoot, error) {
	if l.As.Root == "" {
		l.Router.findRepository(l.Root)
		l.Router.ignoreFiles.Forget(l.Root)
	}
	root := &subscribedRoot{Listener: l, routes: l.Router.routes.Load()}
	began := g.began

	var err error
	root.handle, err = g.watcher.Add(inotify.Subscription{
		Root:    l.Root,
		Wait:    l.Wait,
		Mask:    root.routes.mask(l.place().Root),
		SkipDir: root.skipDir(),
		SkipKey: root.routes.skipKey(l.place().Root),
		Deliver: func(events []inotify.Event) {
			if slices.ContainsFunc(events, mayChangeOverlaps) {
				g.findOverlaps()
			}
			events = l.asPlaced(events)
			if l.As.Root == "" && l.Router.ignoreFiles.Update(l.Root, events) {
				g.watcher.Rescan(l.Root)
			}
			if !began.IsZero() && slices.ContainsFunc(events, isOverflow) {
				events = markBeforeStart(events, began)
				began = time.Time{}
			}
			g.events.Add(uint64(len(events)))
			l.deliver(events)
		},
	})
	return root, err
}

// skipDir returns the function that says which directories are not watched. It is for the
// routes as they are now.
func (root *subscribedRoot) skipDir() func(path string) bool {
	at, routes := root.place(), root.routes
	return func(name string) bool { return routes.skipDir(at.Root, path.Join(at.Path, name)) }
}

// deliver hands events to the Router.
func (l Listener) deliver(events []inotify.Event) {
	l.Router.events(events, true)
	const gone = inotify.DeleteSelf | inotify.MoveSelf
	for _, e := range events {
		switch {
		case isOverflow(e):
			if l.Lost != nil && e.Mask&beforeStart == 0 {
				l.Lost()
			}
		case e.Path == "." && e.Mask&inotify.IsDir != 0 && e.Mask&(gone|inotify.Create) != 0:
			if l.Notice != nil {
				l.Notice(e.Mask&gone == 0)
			}
		}
	}
}

// beforeStart is in the mask of an event that happened before the watcher began.
const beforeStart inotify.Mask = 1 << 27

func isOverflow(e inotify.Event) bool { return e.Mask&inotify.Overflow != 0 }

// markBeforeStart returns events that a scan has found, with a mark for those that happened before a
// time. In case of doubt, such as within a tick of the clock of files, there is none. For what is
// gone the scan itself is what counts.
func markBeforeStart(events []inotify.Event, began time.Time) []inotify.Event {
	events = slices.Clone(events)
	for i := range events {
		e := &events[i]
		info, err := os.Lstat(e.Name())
		if isOverflow(*e) || err != nil || !ctime(info).Add(clockTick).After(began) {
			e.Mask |= beforeStart
		}
	}
	return events
}

// clockTick is the longest tick of the clock from which files get their times.
const clockTick = 20 * time.Millisecond

// ctime returns when a file was changed last, in content or otherwise.
func ctime(info os.FileInfo) time.Time {
	stat := info.Sys().(*syscall.Stat_t)
	return time.Unix(stat.Ctim.Unix())
}

// commit runs the routers that are new, and makes these the roots of the Group unless a
// router has run before.
func (g *Group) commit(roots []*subscribedRoot) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, root := range roots {
		r := root.Router
		if slices.Contains(g.routers, r) {
			continue
		}

		r.noteGroup(g, true) // before a run of it can end
		if g.routing != nil {
			if err := g.run(r); err != nil {
				r.noteGroup(g, false)
				return err
			}
		}
		g.routers = append(g.routers, r)
	}
	g.roots = roots
	return nil
}

// updateRouter changes what is watched for a Router to what its routes ask for now.
func (g *Group) updateRouter(r *Router) {
	g.setting.Lock()
	defer g.setting.Unlock()
	for _, root := range g.roots {
		if root.Router == r {
			g.update(root)
		}
	}
}

// update changes what is watched of a root to what the routes ask for now. g.setting must
// be held.
func (g *Group) update(root *subscribedRoot) {
	routes := root.Router.routes.Load()
	at := root.place().Root
	same := routes.watchesLike(root.routes, at)
	root.routes = routes
	if same {
		return
	}

	if root.As.Root == "" {
		root.Router.ignoreFiles.Forget(root.Root)
	}
	if err := root.handle.Update(routes.mask(at), root.skipDir(), routes.skipKey(at)); err != nil && !errors.Is(err, inotify.ErrClosed) {
		g.problem(err)
	}
}

// Watch adds a subscription to the watcher of the Group, as inotify.Watcher.Add does, for
// somebody who wants events beside the routers. The Group need not have its root.
func (g *Group) Watch(s inotify.Subscription) (*inotify.Handle, error) { return g.watcher.Add(s) }

// Deliver hands events to the routers as if the watcher had reported them, for changes that
// the kernel does not see. Each is handed to the listeners of all directories that it is in
// by its path, and an Overflow to those that it may concern. Their Lost is told; their
// Notice is not, as roots are this machine's own. The watcher looks at the directories that
// have come or gone by the events, as inotify.Watcher.Verify does.
func (g *Group) Deliver(events []inotify.Event) {
	g.mu.Lock()
	roots := slices.Clone(g.roots)
	g.mu.Unlock()
	for _, root := range roots {
		if root.As.Root != "" {
			continue // by its path it is in another root as well
		}
		var own []inotify.Event
		for _, e := range events {
			if e, ok := asEventOf(root.Root, e); ok {
				own = append(own, e)
			}
		}
		if len(own) == 0 {
			continue
		}
		if root.Router.ignoreFiles.Update(root.Root, own) {
			g.watcher.Rescan(root.Root)
		}
		g.events.Add(uint64(len(own)))
		root.deliver(own)
		for _, e := range own {
			if e.Mask&inotify.IsDir != 0 && e.Path != "." {
				g.watcher.Verify(root.Root, e.Path)
			}
		}
	}
}

// asEventOf returns an event as one of another root, if it is in that.
func asEventOf(root string, e inotify.Event) (inotify.Event, bool) {
	if e.Root == root {
		return e, true
	}
	path, err := filepath.Rel(root, e.Name())
	if isOverflow(e) && err == nil {
		return inotify.Event{Root: root, Path: ".", Mask: e.Mask}, filepath.IsLocal(path) || isBelow(root, e.Root)
	}
	if err == nil && path == "." && e.Mask&inotify.IsDir == 0 {
		// The root is no directory of which this could be the replacement.
		info, err := os.Stat(root)
		return inotify.Event{Root: root, Path: ".", Mask: e.Mask}, err == nil && info.Mode().IsRegular()
	}
	if err != nil || path == "." || !filepath.IsLocal(path) {
		return e, false
	}
	from := ""
	if e.From != "" {
		from, err = filepath.Rel(root, filepath.Join(e.Root, e.From))
		if err != nil || !filepath.IsLocal(from) {
			from = "" // it came from outside
		}
	}
	return inotify.Event{Root: root, Path: path, From: from, Mask: e.Mask}, true
}

// Flush waits until the watcher has delivered to the routers what happened before, as
// inotify.Watcher does.
func (g *Group) Flush(ctx context.Context) error { return g.watcher.Flush(ctx) }

// Events counts the events that the roots of listeners were told of since NewGroup. An event
// below two of them counts twice.
func (g *Group) Events() uint64 { return g.events.Load() }

// Watches counts the directories that are watched now.
func (g *Group) Watches() int { return g.watcher.Watches() }

// Instance returns a duplicate of the descriptor of the inotify instance, as
// inotify.Watcher.Instance does.
func (g *Group) Instance() (*os.File, error) { return g.watcher.Instance() }

// Resumed returns what the watcher has taken over, as inotify.Watcher.Resumed does.
func (g *Group) Resumed() (inotify.Resumption, error) { return g.watcher.Resumed() }

// Unwatched counts the directories that have no watch, as inotify.Watcher does.
func (g *Group) Unwatched() int { return g.watcher.Unwatched() }

// Run listens until ctx ends, which is no error, or reading fails. Then the watcher stops
// first, so that nothing new gets in, and Run returns when every router has stopped as its
// own Run says. It works once.
func (g *Group) Run(ctx context.Context) error {
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	routing, stopRouting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRouting()
	if ctx.Err() != nil {
		stopRouting() // so that no callback is called
	}

	g.setting.Lock()
	g.began = time.Time{} // of roots that come later nothing is known from before
	g.setting.Unlock()
	g.mu.Lock()
	g.watching, g.routing = watching, routing
	var errs []error
	for _, r := range g.routers {
		if err := g.run(r); err != nil {
			errs = append(errs, err)
			stopWatching()
		}
	}
	g.mu.Unlock()
	errs = append(errs, g.watcher.Run(watching))
	stopWatching()

	g.mu.Lock()
	g.routing = nil // SetListeners runs no router any more
	g.mu.Unlock()
	stopRouting()
	g.runs.Wait()
	return errors.Join(errs...)
}

// run runs a router until g.routing ends. g.mu must be held.
func (g *Group) run(r *Router) error {
	routing := g.routing
	if err := r.begin(routing); err != nil {
		return err
	}
	g.runs.Go(func() { r.wait(routing) })
	return nil
}

// Close ends a Run, without waiting for its callbacks, and gives the inotify instance
// back. Further calls do nothing.
func (g *Group) Close() error {
	g.mu.Lock()
	for _, r := range g.routers {
		r.noteGroup(g, false)
	}
	g.mu.Unlock()
	return g.watcher.Close()
}

// Listen is a Group from start to end: it watches the listeners' roots, runs their routers
// until ctx ends or something fails, and releases everything.
func Listen(ctx context.Context, listeners ...Listener) error {
	g, err := NewGroup(inotify.Options{}, listeners...)
	if err != nil {
		return err
	}
	return errors.Join(g.Run(ctx), g.Close())
}

// flush waits until the watcher has delivered what happened before, if it runs. An error of
// it is reported by Run.
func (g *Group) flush() {
	g.mu.Lock()
	watching := g.watching
	g.mu.Unlock()
	if watching == nil {
		return
	}
	ctx, cancel := context.WithTimeout(watching, flushTimeout)
	defer cancel()
	_ = g.watcher.Flush(ctx)
}

// noteGroup notes whether a Group brings events.
func (r *Router) noteGroup(g *Group, brings bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if brings {
		r.groups[g] = true
	} else {
		delete(r.groups, g)
	}
}

// flushGroups waits until the groups have brought everything that happened before.
func (r *Router) flushGroups() {
	r.mu.Lock()
	groups := slices.Collect(maps.Keys(r.groups))
	r.mu.Unlock()
	for _, g := range groups {
		g.flush()
	}
}

// Roots may overlap: one lies inside another, or two are one directory by different names,
// through links or mounts. The watcher reports a change for each of them, by its own path.
// So that one file has one path, one batch and one run, a route gets the event of the
// outermost root in which it is for the file.

// mayChangeOverlaps reports whether an event may change how roots overlap.
func mayChangeOverlaps(e inotify.Event) bool {
	return e.Mask&arrived != 0 && (e.Mask&inotify.IsDir != 0 || e.Path == ".")
}

// findOverlaps finds, for each root that is inside others or the same directory as an earlier
// one of its router, its places in those, from the outermost on.
func (g *Group) findOverlaps() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.routers {
		var roots []string
		for _, root := range g.roots {
			if root.Router == r && root.As.Root == "" {
				roots = append(roots, root.Root)
			}
		}

		all := make(map[string][]inotify.Location)
		for i, root := range roots {
			if len(roots) == 1 {
				break // as usual: nobody need ask the watcher
			}
			outer := slices.DeleteFunc(g.watcher.Locations(root), func(at inotify.Location) bool {
				j := slices.Index(roots, at.Root)
				return j < 0 || j == i || at.Path == "." && j > i
			})
			if len(outer) > 0 {
				all[root] = outer
			}
		}
		r.mu.Lock()
		r.overlaps = all
		r.mu.Unlock()
	}
}

// outermost returns an event by the outermost root in which the route is for its path. It
// is not ok, and the event is the same, if that is the event's own root, or none. A root
// itself has no other name, unless it is a file, and neither has an event that is of no
// file.
func (s *routeState) outermost(e inotify.Event) (outer inotify.Event, ok bool) {
	isRoot := e.Path == "." && e.Mask&inotify.IsDir != 0
	if len(s.router.overlaps) == 0 || isRoot || e.Mask == 0 {
		return e, false
	}
	for _, at := range s.router.overlaps[e.Root] {
		if other := inRoot(e, at); s.isFor(other) {
			return other, true
		}
	}
	return e, false
}

// canonical returns an event that the route need not have asked for by the root that is
// used for its file. With PerFile one file must not have two paths.
func (s *routeState) canonical(e inotify.Event) inotify.Event {
	outer, ok := s.outermost(e)
	if ok || s.route.Per != PerFile || e.Path == "." || e.Mask == 0 || s.isFor(e) {
		return outer
	}
	if places := s.router.overlaps[e.Root]; len(places) > 0 {
		return inRoot(e, places[0])
	}
	return e
}

// inRoot returns an event of a file below a root as one below a root around that.
func inRoot(e inotify.Event, at inotify.Location) inotify.Event {
	e.Root, e.Path = at.Root, path.Join(at.Path, e.Path)
	if e.From != "" {
		e.From = path.Join(at.Path, e.From)
	}
	return e
}
