package router

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// A Listener brings what happens below a directory, or to a single file, to a Router. A
// file is heard of by the path ".", and every pattern is for it. Several
// listeners may have the same one.
type Listener struct {
	Root   string
	Router *Router

	// Wait makes a Root that does not exist no error: it is watched from the
	// moment that it does, with what is in it as new.
	Wait bool

	// Notice is told when a directory Root is gone or leads elsewhere, and when
	// there is one at it again, or for the first time. It runs in the watcher's goroutine and must not
	// block. Nil is for those who need not know.
	Notice func(there bool)
}

// deliver hands events to the router.
func (l Listener) deliver(events []inotify.Event) {
	l.Router.events(events, true)
	if l.Notice == nil {
		return
	}
	const gone = inotify.DeleteSelf | inotify.MoveSelf
	for _, e := range events {
		if e.Path == "." && e.Mask&inotify.IsDir != 0 && e.Mask&(gone|inotify.Create) != 0 {
			l.Notice(e.Mask&gone == 0)
		}
	}
}

// A Group is listeners that share one inotify instance, start together and
// stop together.
type Group struct {
	watcher *inotify.Watcher
	problem func(error) // Options.Problem

	setting sync.Mutex // held while listeners, or what they watch, change; before mu

	mu       sync.Mutex        // guards what follows; before the lock of a Router
	roots    []*subscribedRoot // each root and Router once
	routers  []*Router         // of all listeners that there ever were, each once
	watching context.Context   // ends with the watcher's run; nil before Run
	routing  context.Context   // ends the routers' runs; nil but during Run
	runs     sync.WaitGroup    // of routers
}

// A subscribedRoot is a Listener at work.
type subscribedRoot struct {
	Listener
	handle *inotify.Handle
	routes *routeSet // that say what is watched; Group.setting guards it
}

// NewGroup watches the listeners' roots; everything that can fail at the start
// fails here, and nothing is held then. What happens from now on is kept for
// Run. The Group must be closed.
func NewGroup(opts inotify.Options, listeners ...Listener) (*Group, error) {
	watcher, err := inotify.New(opts)
	if err != nil {
		return nil, err
	}
	g := &Group{watcher: watcher, problem: opts.Problem}
	if g.problem == nil {
		g.problem = func(error) {}
	}
	if err := g.setListeners(listeners, func(err error) error { return err }); err != nil {
		return nil, errors.Join(err, watcher.Close())
	}
	return g, nil
}

// SetListeners replaces the listeners, all of them or, with an error, none. It may
// be called before Run and during it, but not by a Notice.
//
// A root that is listened to already, for the same Router, is so without a gap, and
// keeps its Notice. What happened below a root that goes is delivered before. For a
// root that is new the error is as of NewGroup; but when there are not enough watches
// for all that is in it (an *inotify.LimitError), the rest is polled, and
// inotify.Options.Problem is told. A Router that is new is run with the others; one
// that has no listeners any more runs until the Group ends.
func (g *Group) SetListeners(listeners ...Listener) error {
	return g.setListeners(listeners, func(err error) error {
		if limit, ok := errors.AsType[*inotify.LimitError](err); ok && limit.Needed > 0 {
			g.problem(err)
			return nil
		}
		return err
	})
}

// setListeners is SetListeners; judge says what an error of the watcher is to the
// caller.
func (g *Group) setListeners(listeners []Listener, judge func(error) error) error {
	listeners, err := mergeListeners(listeners)
	if err != nil {
		return err
	}
	g.setting.Lock()
	defer g.setting.Unlock()

	var next, added []*subscribedRoot
	for _, l := range listeners {
		at := g.find(l)
		if at == nil {
			if at, err = g.listen(l); judge(err) != nil {
				for _, a := range added {
					a.handle.Close()
				}
				return err
			}
			added = append(added, at)
		}
		next = append(next, at)
	}

	var gone []*subscribedRoot
	for _, at := range g.roots {
		if !slices.Contains(next, at) {
			gone = append(gone, at)
		}
	}
	if len(gone) > 0 {
		g.flush()
	}
	err = g.commit(next)
	for _, at := range gone {
		at.handle.Close()
	}
	for _, at := range added {
		g.update(at) // its Router may have got other routes meanwhile
	}
	g.findOverlaps()
	return err
}

// mergeListeners checks listeners, and makes one of those that have the same root and
// Router: two subscriptions would bring everything twice.
func mergeListeners(listeners []Listener) (merged []Listener, err error) {
	for _, l := range listeners {
		if l.Router == nil {
			return nil, fmt.Errorf("listener for %q: no router: set one", l.Root)
		}
		i := slices.IndexFunc(merged, func(other Listener) bool { return other.Root == l.Root && other.Router == l.Router })
		if i < 0 {
			merged = append(merged, l)
			continue
		}
		merged[i].Notice = noticeBoth(merged[i].Notice, l.Notice)
		merged[i].Wait = merged[i].Wait || l.Wait
	}
	return merged, nil
}

func noticeBoth(first, second func(there bool)) func(there bool) {
	switch {
	case first == nil:
		return second
	case second == nil:
		return first
	}
	return func(there bool) {
		first(there)
		second(there)
	}
}

// find is the listener of the same root and Router that there is; nil if there is
// none.
func (g *Group) find(l Listener) *subscribedRoot {
	i := slices.IndexFunc(g.roots, func(at *subscribedRoot) bool { return at.Root == l.Root && at.Router == l.Router })
	if i < 0 {
		return nil
	}
	return g.roots[i]
}

// listen watches a root. With an *inotify.LimitError it does as well.
func (g *Group) listen(l Listener) (*subscribedRoot, error) {
	l.Router.findRepository(l.Root)
	at := &subscribedRoot{Listener: l, routes: l.Router.routes.Load()}
	var err error
	at.handle, err = g.watcher.Add(inotify.Subscription{
		Root:    l.Root,
		Wait:    l.Wait,
		Mask:    at.routes.mask(l.Root),
		SkipDir: at.skipDir(),
		Deliver: func(events []inotify.Event) {
			if slices.ContainsFunc(events, movesRoots) {
				g.findOverlaps()
			}
			if l.Router.ignoreFiles.Update(l.Root, events) {
				g.watcher.Rescan(l.Root)
			}
			l.deliver(events)
		},
	})
	return at, err
}

// skipDir is the rule for the directories of the root that are not watched. It does
// not change with at.routes.
func (at *subscribedRoot) skipDir() func(path string) bool {
	root, routes := at.Root, at.routes
	return func(path string) bool { return routes.skipDir(root, path) }
}

// commit makes these the listeners, and runs the routers that are new.
func (g *Group) commit(roots []*subscribedRoot) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.roots = roots
	var errs []error
	for _, at := range roots {
		r := at.Router
		if slices.Contains(g.routers, r) {
			continue
		}
		g.routers = append(g.routers, r)
		r.join(g)
		if g.routing != nil {
			errs = append(errs, g.run(r))
		}
	}
	return errors.Join(errs...)
}

// watchFor changes what is watched of the roots of a Router to what its routes ask
// for now.
func (g *Group) watchFor(r *Router) {
	g.setting.Lock()
	defer g.setting.Unlock()
	for _, at := range g.roots {
		if at.Router == r {
			g.update(at)
		}
	}
}

func (g *Group) update(at *subscribedRoot) {
	routes := at.Router.routes.Load()
	same := routes.watchesLike(at.routes, at.Root)
	at.routes = routes
	if same {
		return
	}
	if err := at.handle.Update(routes.mask(at.Root), at.skipDir()); err != nil && !errors.Is(err, inotify.ErrClosed) {
		g.problem(err)
	}
}

// Watches counts the directories that are watched now.
func (g *Group) Watches() int { return g.watcher.Watches() }

// Unwatched counts the directories that have no watch, as inotify.Watcher has
// it.
func (g *Group) Unwatched() int { return g.watcher.Unwatched() }

// Run listens until ctx ends, which is no error, or reading fails. Then the
// watcher stops first, so that nothing new gets in, and Run returns when every
// router has stopped as its own Run says. It works once.
func (g *Group) Run(ctx context.Context) error {
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	routing, stopRouting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRouting()
	if ctx.Err() != nil {
		stopRouting() // before anything begins
	}

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
	g.routing = nil // no router begins any more
	g.mu.Unlock()
	stopRouting()
	g.runs.Wait()
	return errors.Join(errs...)
}

// run runs a router until g.routing ends. g.mu is held.
func (g *Group) run(r *Router) error {
	routing := g.routing
	if err := r.begin(routing); err != nil {
		return err
	}
	g.runs.Go(func() { r.wait(routing) })
	return nil
}

// Close ends a Run, without waiting for its callbacks, and gives the inotify
// instance back. Further calls do nothing.
func (g *Group) Close() error {
	g.mu.Lock()
	for _, r := range g.routers {
		r.leave(g)
	}
	g.mu.Unlock()
	return g.watcher.Close()
}

// Listen is a Group from start to end: it watches the listeners' roots, runs
// their routers until ctx ends or something fails, and releases everything.
func Listen(ctx context.Context, listeners ...Listener) error {
	g, err := NewGroup(inotify.Options{}, listeners...)
	if err != nil {
		return err
	}
	return errors.Join(g.Run(ctx), g.Close())
}

// flushTimeout is how long a watcher has to deliver what happened during a run.
const flushTimeout = time.Second

// flush waits until the watcher has delivered what happened before, if it runs. That
// it fails is Run's to report.
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

// join notes that the Group brings events to the router, until it leaves.
func (r *Router) join(g *Group) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.groups[g] = true
}

func (r *Router) leave(g *Group) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.groups, g)
}

// flushGroups waits until the groups have brought all that happened before.
func (r *Router) flushGroups() {
	r.mu.Lock()
	groups := slices.Collect(maps.Keys(r.groups))
	r.mu.Unlock()
	for _, g := range groups {
		g.flush()
	}
}
