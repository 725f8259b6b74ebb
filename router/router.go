package router

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"sync"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/router/internal/git"
)

// What Options get for a field that is zero.
const (
	DefaultGrace = 5 * time.Second

	// DefaultConcurrency is the least that Concurrency is by default.
	DefaultConcurrency = 4
)

// Options are for all routes of a Router. The zero value is right.
type Options struct {
	// Logger gets the errors of callbacks, at level Error, and each run, at
	// level Debug; nil discards them.
	Logger *slog.Logger

	// Grace is how long callbacks that run when the router is told to stop
	// may go on before their context ends; 0 is DefaultGrace, negative is
	// not at all.
	Grace time.Duration

	// Concurrency is how many callbacks run at once; 0 is GOMAXPROCS or
	// DefaultConcurrency, whichever is more, negative is any number. What
	// is due then waits, and gathers on, for its turn.
	Concurrency int

	// Post is told of the frames of all routes, as Route.Post is of one's
	// and after it. Frames of different routes, or paths, may end at the
	// same time.
	Post func(Frame)

	// Waiting is told of each file that is still being written and for which a
	// batch of a route has waited a second longer than for anything else, once.
	// It is called by a goroutine of its own, which Run waits for. Nil is nobody.
	Waiting func(route string, file inotify.Event)

	// Succeeds is the Router whose place this one is to take while it runs:
	// see Group.Relieve. Nil is none.
	Succeeds *Router
}

// A Router gathers events by the rules of its routes and calls back. Its
// methods may be called by any goroutine at any time.
type Router struct {
	*floor
	logger   *slog.Logger
	grace    time.Duration
	most     int // callbacks at once
	post     func(Frame)
	waiting  func(route string, file inotify.Event)
	succeeds *Router                       // nil when it has
	relieved chan struct{}                 // closed when another has taken its place
	gitDirs  map[string]string             // by root, of those that are in a repository; the lock guards it
	stages   []*stage                      // as in New; the lock guards what they have
	overlaps map[string][]inotify.Location // of each root the places in others; the lock guards it

	// The floor's lock guards what follows.
	order   []*stage // what comes first before what comes after it
	phase   phase
	called  bool // Run was
	touched bool // a lane is, and the turn has something to do
}

// A floor is where runs go on: what a Router has in common with those that
// take its place.
type floor struct {
	runs sync.WaitGroup // of frames that are under way

	writers func(path string) inotify.WriterState // tests may have their own

	mu      sync.Mutex              // guards what follows, and the routers
	router  *Router                 // whose floor it is now
	work    context.Context         // what callbacks get; set from during on
	kill    context.CancelCauseFunc // ends work
	running int                     // callbacks

	ignoreFiles git.IgnoreFiles // with a lock of its own

	causes  []*cause // the runs that may cause events now, by their start; those that are over among them
	queued  uint64
	agenda  agenda
	sources map[*source]bool
}

// New checks the routes and returns a Router for them. It starts nothing and
// holds nothing that must be released. An error names the route and the pattern
// and says what to do.
func New(opts Options, routes ...Route) (*Router, error) {
	r := &Router{
		logger:   cmp.Or(opts.Logger, slog.New(slog.DiscardHandler)),
		grace:    max(0, cmp.Or(opts.Grace, DefaultGrace)),
		most:     cmp.Or(opts.Concurrency, max(DefaultConcurrency, runtime.GOMAXPROCS(0))),
		post:     opts.Post,
		waiting:  opts.Waiting,
		succeeds: opts.Succeeds,
		relieved: make(chan struct{}),
	}
	if r.most < 0 {
		r.most = math.MaxInt
	}
	if r.succeeds != nil {
		r.floor = r.succeeds.floor
	} else {
		r.floor = &floor{router: r, writers: inotify.Writers}
		r.agenda.fire, r.agenda.nap = r.fire, nap
	}
	for _, route := range routes {
		s, err := newStage(r, route.withDefaults())
		if err != nil {
			return nil, err
		}
		r.stages = append(r.stages, s)
	}
	if err := r.link(); err != nil {
		return nil, err
	}
	return r, nil
}

// Events hands events to the routes that want them, in order. It never waits
// for a callback, and keeps no part of the slice but its strings. What comes
// before Run is kept for it; what comes after it was told to stop is ignored,
// and after another has taken its place that one's.
func (r *Router) Events(batch []inotify.Event) { r.events(batch, false) }

// events is Events. A watcher has delivered each event for all roots above its
// file.
func (r *Router) events(batch []inotify.Event, delivered bool) {
	batch = r.listMoved(batch)
	r.mu.Lock()
	defer r.mu.Unlock()
	r = r.now()
	if r.phase == after {
		return
	}
	now := time.Now()
	for _, s := range r.stages {
		s.addAll(batch, now, nil, delivered)
	}
	r.turn(now)
}

// now is the Router, or the one that has taken its place. r.mu is held.
func (r *Router) now() *Router {
	if r.phase == after {
		return r.floor.router
	}
	return r
}

// Mask is what to subscribe to for a root: everything that a route asks for, and
// what is needed to know when a file is complete or gone; 0 if no route is for
// anything in it.
func (r *Router) Mask(root string) inotify.Mask {
	var m inotify.Mask
	for _, s := range r.stages {
		if s.rules.in(root) {
			m |= s.heeds
		}
	}
	return m
}

// SkipDir reports whether no route is for anything below a directory, whose
// path is relative to the root. It is made for [inotify.Subscription].
func (r *Router) SkipDir(root, path string) bool {
	for _, s := range r.stages {
		if s.rules.in(root) && !s.rules.skips(root, relative(path)) {
			return false
		}
	}
	return true
}

// Run calls the routes' callbacks until ctx ends. Then batches that wait are
// dropped, callbacks that run may go on for Options.Grace before their
// context ends, and Run returns nil when the last has returned, however long
// that takes. Callbacks see the values of ctx, or of the ctx of the Router that
// this one succeeds. A second Run is an error.
func (r *Router) Run(ctx context.Context) error {
	if err := r.begin(ctx); err != nil {
		return err
	}
	r.stay(ctx)
	return nil
}

// stay is Run from begin on.
func (r *Router) stay(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-r.relieved:
	}
	if !r.end() {
		return // the runs are another's
	}
	kill := time.AfterFunc(r.grace, func() {
		r.kill(fmt.Errorf("stopped with the router after a grace of %v: %w", r.grace, context.Canceled))
	})
	defer kill.Stop()
	r.runs.Wait()
	r.kill(nil)
}

// begin dispatches what was kept and all that comes, unless ctx is over.
func (r *Router) begin(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.called:
		return errors.New("router: Run was called before: make a new Router for another run")
	case r.phase == before && r.floor.router != r && r.floor.router.phase == during:
		return errors.New("router: the one that it succeeds has not been relieved: see Group.Relieve")
	}
	r.called = true
	if r.phase == during {
		return nil // it took over
	}
	r.floor.router = r
	r.work, r.kill = context.WithCancelCause(context.WithoutCancel(ctx))
	if ctx.Err() == nil {
		r.open(time.Now())
	}
	return nil
}

// open dispatches what waits and all that comes. r.mu is held.
func (r *Router) open(now time.Time) {
	r.phase = during
	for _, s := range r.stages {
		for l := range s.all() {
			l.touch()
		}
	}
	r.turn(now)
}

// end drops what waits and ignores all that comes. No run starts after it. It
// reports whether the router had its place until then.
func (r *Router) end() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.floor.router != r {
		return false
	}
	r.phase = after
	r.agenda.clear()
	for _, s := range r.stages {
		s.drop()
	}
	return true
}

// turn sees what is to be done after something has changed. r.mu is held.
func (r *Router) turn(now time.Time) {
	if !r.touched {
		return
	}
	r.touched = false
	for _, s := range r.order {
		s.turn(now)
	}
	if r.phase != during {
		return
	}
	for r.running < r.most {
		l := r.next()
		if l == nil {
			break
		}
		l.start(now)
	}
	r.agenda.arm(now)
}

// fire is the timer's. A timer that was stopped too late does no harm.
func (f *floor) fire() {
	f.mu.Lock()
	due := f.agenda.armed
	f.mu.Unlock()
	f.agenda.nap(time.Until(due))

	f.mu.Lock()
	defer f.mu.Unlock()
	if f.router.phase != during {
		return
	}
	if f.agenda.armed.Equal(due) {
		f.agenda.armed = time.Time{}
	}
	now := time.Now()
	f.agenda.due(now)
	f.router.turn(now)
	f.agenda.arm(now) // also if it was too soon
}

// enqueue puts a lane that is due last.
func (r *Router) enqueue(l *lane) {
	l.queued = true
	if l.listed {
		return
	}
	r.queued++
	l.listed, l.place = true, r.queued
	l.stage.ready = append(l.stage.ready, l)
}

// next takes out the lane whose turn it is: of the route of which the fewest
// run, so that many files of one do not keep the others waiting, the one that
// waits longest.
func (r *Router) next() *lane {
	var best *stage
	for _, s := range r.stages {
		s.ready = s.ready[s.stale():]
		if len(s.ready) > 0 && (best == nil || s.running < best.running ||
			s.running == best.running && s.ready[0].place < best.ready[0].place) {
			best = s
		}
	}
	if best == nil {
		return nil
	}
	l := best.ready[0]
	best.ready[0] = nil
	best.ready = best.ready[1:]
	l.listed = false
	return l
}

// stale counts the lanes at the head of the queue that need no run any more.
func (s *stage) stale() int {
	for i, l := range s.ready {
		if l.queued {
			return i
		}
		l.listed = false
	}
	return len(s.ready)
}
