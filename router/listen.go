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
	*instance
	listeners []Listener
	routers   []*Router   // each once
	relieved  chan *Group // gets the one that takes its place
}

// An instance is a watcher and the Group that it is for now.
type instance struct {
	watcher *inotify.Watcher

	mu    sync.Mutex
	owner *Group
}

// NewGroup watches the listeners' roots; everything that can fail at the start
// fails here, and nothing is held then. What happens from now on is kept for
// Run. The Group must be closed.
func NewGroup(opts inotify.Options, listeners ...Listener) (*Group, error) {
	g, err := groupOf(listeners)
	if err != nil {
		return nil, err
	}
	return g.watch(opts, func(err error) error { return err })
}

// watch gives the Group a watcher of its own, of whose errors it has some judged.
func (g *Group) watch(opts inotify.Options, judge func(error) error) (*Group, error) {
	watcher, err := inotify.New(opts)
	if err != nil {
		return nil, err
	}
	g.instance = &instance{watcher: watcher, owner: g}
	for _, l := range g.listeners {
		_, err := watcher.Add(g.subscription(l))
		if err = judge(err); err != nil {
			return nil, errors.Join(err, watcher.Close())
		}
	}
	g.findOverlaps()
	return g, nil
}

// groupOf is a Group that has no watcher yet.
func groupOf(listeners []Listener) (*Group, error) {
	g := &Group{relieved: make(chan *Group, 1)}
	for _, l := range listeners {
		if l.Router == nil {
			return nil, fmt.Errorf("listener for %q: no router: set one", l.Root)
		}
		same := func(other Listener) bool { return other.Root == l.Root && other.Router == l.Router }
		if i := slices.IndexFunc(g.listeners, same); i >= 0 {
			// Two subscriptions would bring everything twice.
			g.listeners[i].Notice = tellBoth(g.listeners[i].Notice, l.Notice)
			g.listeners[i].Wait = g.listeners[i].Wait || l.Wait
			continue
		}
		g.listeners = append(g.listeners, l)
		if !slices.Contains(g.routers, l.Router) {
			g.routers = append(g.routers, l.Router)
		}
		l.Router.findRepository(l.Root)
	}
	return g, nil
}

func tellBoth(first, second func(there bool)) func(there bool) {
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

func (g *Group) subscription(l Listener) inotify.Subscription {
	return inotify.Subscription{
		Root:    l.Root,
		Wait:    l.Wait,
		Mask:    l.Router.Mask(l.Root),
		SkipDir: func(path string) bool { return l.Router.SkipDir(l.Root, path) },
		Deliver: func(events []inotify.Event) {
			if slices.ContainsFunc(events, movesRoots) {
				g.instance.findOverlaps()
			}
			if l.Router.ignoreFiles.Update(l.Root, events) {
				g.watcher.Rescan(l.Root)
			}
			l.deliver(events)
		},
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

	routed := make([]error, len(g.routers))
	var wg, relieving sync.WaitGroup
	if ctx.Err() != nil {
		stopRouting() // before anything begins
	}
	for i, r := range g.routers {
		defer r.heed(&source{ctx: watching, flush: g.watcher.Flush})()
		// It is at work before another can take its place.
		if routed[i] = r.begin(routing); routed[i] != nil {
			stopWatching()
			continue
		}
		wg.Go(func() { r.stay(routing) })
	}
	var next *Group
	relieving.Go(func() {
		select {
		case next = <-g.relieved:
			if next.instance != g.instance {
				// What happened before is ours, and the end of a write with it.
				_ = g.watcher.Flush(watching)
			}
			stopWatching()
		case <-watching.Done():
		}
	})
	err := g.watcher.Run(watching)
	stopWatching()
	relieving.Wait()
	if next == nil {
		select {
		case next = <-g.relieved: // as we were told to stop
		default:
		}
	}
	if next != nil && err == nil {
		next.takeOver(g)
	}
	stopRouting()
	wg.Wait()
	return errors.Join(append(routed, err)...)
}

// Successor makes a Group that is to take the place of g by Relieve. Its
// Routers succeed those of g (Options.Succeeds). It is made as by NewGroup; but
// where its listeners have the same roots in the same order, and their routes
// the same masks, patterns and ignored names, g's inotify instance is to go on,
// with g's options and notices. Otherwise both have one until Relieve is done;
// when that takes more watches than there may be (an *inotify.LimitError), the
// rest is watched as soon as g's are gone, or else polled, and opts.Problem is
// told.
func (g *Group) Successor(opts inotify.Options, listeners ...Listener) (*Group, error) {
	next, err := groupOf(listeners)
	if err != nil {
		return nil, err
	}
	if slices.EqualFunc(g.listeners, next.listeners, Listener.goesOnAs) {
		next.instance = g.instance
		next.findOverlaps()
		return next, nil
	}
	return next.watch(opts, func(err error) error {
		if limit, ok := errors.AsType[*inotify.LimitError](err); ok && limit.Needed > 0 {
			if opts.Problem != nil {
				opts.Problem(err)
			}
			return nil
		}
		return err
	})
}

// goesOnAs reports whether a subscription for l does for next as well: what l's
// Router gets then is its successor's.
func (l Listener) goesOnAs(next Listener) bool {
	return next.Router != nil && next.Router.succeeds == l.Router && next.Root == l.Root &&
		next.Router.Mask(l.Root) == l.Router.Mask(l.Root) &&
		slices.Equal(next.Router.interests(l.Root), l.Router.interests(l.Root))
}

// interests are what decides which directories are skipped in a root.
func (r *Router) interests(root string) []string {
	var all []string
	for _, s := range r.stages {
		if s.rules.in(root) {
			all = append(all, fmt.Sprintf("%q %q %q %q %t", s.route.Patterns, s.route.Ignore, s.route.Hidden, s.route.Outputs, s.route.IgnoreFiles))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Relieve has g take the place of the Group that it is a Successor of, while
// that runs, so that nothing is lost: when old's watcher has delivered what
// happened before, each Router of g takes the place of the one that it
// succeeds, and old's Run returns; then g's Run must be called, whatever became
// of its context. Relieve does not wait.
//
// A route that both Routers have, by its name, goes on: what waits, by the new
// rules; the run under way, which the next does not overlap, and which leaves it
// its events if it returns ErrRestarted; and, with the same Per, what has failed
// and what is known of loops. What waits for a route that is no more is dropped; a
// run of it goes on, and the new Router's Run waits for it as for its own. With
// inotify instances of their own, what happens between the making of g and the end
// of old is told by both.
//
// If old is stopped or fails before that, nothing is taken over.
func (g *Group) Relieve(old *Group) {
	select {
	case old.relieved <- g:
	default: // it is another's
	}
}

// takeOver is the moment at which g takes the place of old.
func (g *Group) takeOver(old *Group) {
	for _, r := range g.routers {
		if slices.Contains(old.routers, r.succeeds) {
			r.takeOver(r.succeeds)
		}
	}
	if g.instance == old.instance {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.owner = g
	}
}

// Close ends a Run, without waiting for its callbacks, and gives the inotify
// instance back, unless that is another's now, or not yet its own. Further calls
// do nothing.
func (g *Group) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.owner != g {
		return nil
	}
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

// catchingUp is how long a watcher has to deliver what happened during a run.
const catchingUp = time.Second

// A source is a watcher that brings events to a router.
type source struct {
	ctx   context.Context // ends with the watcher's Run
	flush func(context.Context) error
}

// heed makes the router wait for a source at the end of its runs, until stop.
func (r *Router) heed(s *source) (stop func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sources == nil {
		r.sources = make(map[*source]bool)
	}
	r.sources[s] = true
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.sources, s)
	}
}

// catchUp waits until the sources have brought all that happened before. That
// they fail is theirs to report.
func (r *Router) catchUp() {
	r.mu.Lock()
	sources := slices.Collect(maps.Keys(r.sources))
	r.mu.Unlock()
	for _, s := range sources {
		ctx, cancel := context.WithTimeout(s.ctx, catchingUp)
		_ = s.flush(ctx)
		cancel()
	}
}
