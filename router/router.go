package router

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// DefaultGrace is how long callbacks may go on after Run was told to stop if
// Options does not say.
const DefaultGrace = 5 * time.Second

// Options are for all routes of a Router. The zero value is right.
type Options struct {
	// Logger gets the errors of callbacks, at level Error, and each run, at
	// level Debug; nil discards them.
	Logger *slog.Logger

	// Grace is how long callbacks that run when the router is told to stop
	// may go on before their context ends; 0 is DefaultGrace, negative is
	// not at all.
	Grace time.Duration
}

// A Router gathers events by the rules of its routes and calls back. Its
// methods may be called by any goroutine at any time.
type Router struct {
	grace  time.Duration
	lanes  []*lane
	called atomic.Bool    // Run was
	runs   sync.WaitGroup // of callbacks
}

// New checks the routes and returns a Router for them. It starts nothing and
// holds nothing that must be released. An error names the route and the pattern
// and says what to do.
func New(opts Options, routes ...Route) (*Router, error) {
	r := &Router{grace: max(0, cmp.Or(opts.Grace, DefaultGrace))}
	logger := cmp.Or(opts.Logger, slog.New(slog.DiscardHandler))
	names := make(map[string]bool)
	for _, route := range routes {
		l, err := newLane(route.withDefaults(), logger, &r.runs)
		if err != nil {
			return nil, err
		}
		if names[route.Name] {
			return nil, fmt.Errorf("route %q: there are two of this name: rename one", route.Name)
		}
		names[route.Name] = true
		r.lanes = append(r.lanes, l)
	}
	return r, nil
}

// Events hands events to the routes that want them, in order. It never waits
// for a callback, and keeps no part of the slice but its strings. What comes
// before Run is kept for it; what comes after it was told to stop is ignored.
func (r *Router) Events(batch []inotify.Event) {
	now := time.Now()
	for _, l := range r.lanes {
		l.events(batch, now)
	}
}

// Mask is what to subscribe to: everything that a route asks for, and what is
// needed to know when a file is complete or gone.
func (r *Router) Mask() inotify.Mask {
	var m inotify.Mask
	for _, l := range r.lanes {
		m |= l.heeds
	}
	return m
}

// SkipDir reports whether no route is for anything below a directory, whose
// path is relative to its root. It is made for [inotify.Subscription].
func (r *Router) SkipDir(path string) bool {
	for _, l := range r.lanes {
		if !l.rules.skips(relative(path)) {
			return false
		}
	}
	return true
}

// Run calls the routes' callbacks until ctx ends. Then batches that wait are
// dropped, callbacks that run may go on for Options.Grace before their
// context ends, and Run returns nil when the last has returned, however long
// that takes. Callbacks see the values of ctx. A second Run is an error.
func (r *Router) Run(ctx context.Context) error {
	if r.called.Swap(true) {
		return errors.New("router: Run was called before: make a new Router for another run")
	}
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	if ctx.Err() == nil {
		for _, l := range r.lanes {
			l.begin(work)
		}
	}
	<-ctx.Done()
	for _, l := range r.lanes {
		l.end()
	}
	kill := time.AfterFunc(r.grace, func() {
		cancel(fmt.Errorf("stopped with the router after a grace of %v: %w", r.grace, context.Canceled))
	})
	defer kill.Stop()
	r.runs.Wait()
	return nil
}
