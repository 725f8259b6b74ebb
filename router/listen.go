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

// A Listener brings what happens below a directory to a Router. Several
// listeners may have the same one.
type Listener struct {
	Root   string
	Router *Router

	// Notice is told when Root is gone or leads elsewhere, and when there is
	// something at it again. It runs in the watcher's goroutine and must not
	// block. Nil is for those who need not know.
	Notice func(there bool)
}

// deliver hands events to the router.
func (l Listener) deliver(events []inotify.Event) {
	l.Router.Events(events)
	if l.Notice == nil {
		return
	}
	const gone = inotify.DeleteSelf | inotify.MoveSelf
	for _, e := range events {
		if e.Path == "." && e.Mask&(gone|inotify.Create) != 0 {
			l.Notice(e.Mask&gone == 0)
		}
	}
}

// A Group is listeners that share one inotify instance, start together and
// stop together.
type Group struct {
	watcher *inotify.Watcher
	routers []*Router // each once
	drain   func()
	drained chan struct{} // closed by drain
}

// NewGroup watches the listeners' roots; everything that can fail at the start
// fails here, and nothing is held then. What happens from now on is kept for
// Run. The Group must be closed.
func NewGroup(opts inotify.Options, listeners ...Listener) (*Group, error) {
	watcher, err := inotify.New(opts)
	if err != nil {
		return nil, err
	}
	g := &Group{watcher: watcher, drained: make(chan struct{})}
	g.drain = sync.OnceFunc(func() { close(g.drained) })
	for _, l := range listeners {
		if err := g.add(l); err != nil {
			return nil, errors.Join(err, watcher.Close())
		}
	}
	return g, nil
}

func (g *Group) add(l Listener) error {
	if l.Router == nil {
		return fmt.Errorf("listener for %q: no router: set one", l.Root)
	}
	if !slices.Contains(g.routers, l.Router) {
		g.routers = append(g.routers, l.Router)
	}
	return g.watcher.Add(inotify.Subscription{
		Root:    l.Root,
		Mask:    l.Router.Mask(l.Root),
		SkipDir: func(path string) bool { return l.Router.SkipDir(l.Root, path) },
		Deliver: l.deliver,
	})
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
	var wg sync.WaitGroup
	for i, r := range g.routers {
		defer r.heed(&source{ctx: watching, flush: g.watcher.Flush})()
		wg.Go(func() {
			// A router that ends before it is told to has failed.
			defer stopWatching()
			routed[i] = r.Run(routing)
		})
	}
	wg.Go(func() {
		select {
		case <-g.drained:
			// What happened before is ours, and the end of a write with it.
			_ = g.watcher.Flush(watching)
			stopWatching()
		case <-watching.Done():
		}
	})
	err := g.watcher.Run(watching)
	select {
	case <-g.drained:
		for _, r := range g.routers {
			r.rest(ctx)
		}
	default:
	}
	stopWatching()
	stopRouting()
	wg.Wait()
	return errors.Join(append(routed, err)...)
}

// Drain ends a Run so that nothing is lost: the watcher stops, and Run returns
// when all that was delivered by then has been dispatched and is over. The end
// of Run's context ends it earlier, as ever. Drain does not wait.
func (g *Group) Drain() { g.drain() }

// Close ends a Run, without waiting for its callbacks, and gives the inotify
// instance back. Further calls do nothing.
func (g *Group) Close() error { return g.watcher.Close() }

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
