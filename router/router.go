package router

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/router/internal/git"
	"github.com/execlog/execlogd/router/internal/schedule"
)

// What Options get for a field that is zero.
const (
	DefaultGrace = 5 * time.Second

	// DefaultConcurrency is the least that Concurrency is by default.
	DefaultConcurrency = 4
)

// Options are for all routes of a Router. The zero value is right.
type Options struct {
	// Logger gets the errors of callbacks, at level Error, and each run, at level Debug;
	// nil discards them.
	Logger *slog.Logger

	// Grace is how long callbacks that run when the router is told to stop may go on
	// before their context ends; 0 is DefaultGrace, negative is not at all.
	Grace time.Duration

	// Concurrency is how many callbacks run at once, without those of routes with
	// Elsewhere; 0 is GOMAXPROCS or DefaultConcurrency, whichever is more, negative is any
	// number. A batch that is due then waits, and gathers on, for its turn.
	Concurrency int

	// Post is told of the runs of all routes, as Route.Post is of those of one, and after
	// that. Runs of different routes, or paths, may end at the same time.
	Post func(Run)

	// Waiting is told of each file that is still being written and for which a batch of a
	// route has waited a second longer than for anything else, once. It is called by a
	// goroutine of its own, which Run waits for. Nil is nobody.
	Waiting func(route string, file inotify.Event)

	// State, if not nil, is a file that is open for reading and writing, in which the Router
	// keeps, at every moment, the events of routes with Durable that are not finished. A
	// Router of a later process that gets the same file has them in its batches when it has
	// routes, as if they had just come. What cannot be used is ignored, as are events for a
	// route that is no more, or is not for them any more. The file belongs to the Router as
	// long as events may be handed to it, also after Run; it is left open. A file that others
	// can write is not safe to use.
	//
	// However the process ends, an event that was handed over is in a run at least once. It
	// is in exactly one, as the package's Guarantees say, unless that run was under way, or
	// had just ended, at the end of the process.
	State *os.File

	// Problem is told, once, when State cannot be written. The Router goes on, and a later
	// one finds nothing. It is called with the router's lock held, so it must be quick and
	// must not call the Router. Nil is nobody.
	Problem func(error)
}

// A Router gathers events by the rules of its routes and calls back. Its methods may be
// called by any goroutine at any time.
type Router struct {
	logger  *slog.Logger
	post    func(Run)
	waiting func(route string, file inotify.Event)
	problem func(error)
	writers func(path string) inotify.WriterState // inotify.Writers, except in tests

	runs        sync.WaitGroup           // everything that Run waits for
	ignoreFiles git.IgnoreFiles          // has a lock of its own
	routes      atomic.Pointer[routeSet] // for those who need no state
	setting     sync.Mutex               // held while the routes change; locked before mu

	mu       sync.Mutex    // guards what follows, and all routeStates and queues
	states   []*routeState // each after those that it waits for
	byName   map[string]*routeState
	removed  map[string]*routeState        // of routes that are no more, of which runs may be under way
	groups   map[*Group]bool               // that bring events
	gitDirs  map[string]string             // of roots that are in a repository
	overlaps map[string][]inotify.Location // for each root its places in others

	phase      phase
	ctx        context.Context         // of callbacks; nil before Run
	kill       context.CancelCauseFunc // ends ctx
	atOnce     context.Context         // of callbacks with StopAtOnce
	stopNow    context.CancelCauseFunc // ends atOnce
	grace      time.Duration           // of callbacks when Run is told to stop
	maxRunning int                     // callbacks at once
	running    int                     // callbacks
	dirty      bool                    // there is something for update to do
	enqueued   uint64                  // queues that were ever due
	schedule   *schedule.Schedule[*queue]
	saved      *stateLog              // nil without Options.State
	pings      []chan<- struct{}      // closed at the next turn
	pingTimer  schedule.Timer[*queue] // for them; its item is nil
	causes     []*cause               // the runs that may cause events now, in the order of their starts
}

// A phase is where a router is in its life.
type phase uint8

const (
	created phase = iota // events are gathered
	running              // and dispatched
	stopped              // and ignored
)

// New checks the routes and returns a Router for them. It starts nothing and holds nothing
// that must be released. An error names the route and the pattern and says what to do.
func New(opts Options, routes ...Route) (*Router, error) {
	r := &Router{
		logger:     cmp.Or(opts.Logger, slog.New(slog.DiscardHandler)),
		grace:      graceOf(opts.Grace),
		maxRunning: concurrency(opts.Concurrency),
		post:       opts.Post,
		waiting:    opts.Waiting,
		problem:    opts.Problem,
		writers:    inotify.Writers,
		groups:     make(map[*Group]bool),
	}

	r.schedule = schedule.New[*queue](&r.mu, r.wake)
	if opts.State != nil {
		if err := r.openState(opts.State); err != nil {
			return nil, err
		}
	}
	if err := r.SetRoutes(routes...); err != nil {
		return nil, err
	}
	return r, nil
}

// concurrency returns how many callbacks run at once by Options.Concurrency.
func concurrency(n int) int {
	if n < 0 {
		return math.MaxInt
	}
	return cmp.Or(n, max(DefaultConcurrency, runtime.GOMAXPROCS(0)))
}

// graceOf returns how long callbacks may go on by Options.Grace.
func graceOf(d time.Duration) time.Duration { return max(0, cmp.Or(d, DefaultGrace)) }

// SetGrace replaces Options.Grace.
func (r *Router) SetGrace(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.grace = graceOf(d)
}

// SetConcurrency replaces Options.Concurrency. Callbacks that run go on.
func (r *Router) SetConcurrency(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.maxRunning = concurrency(n)
	r.dirty = true
	r.update(time.Now())
}

// Events hands events to the routes that want them, in order. It never waits for a
// callback, and keeps no part of the slice but its strings. What comes before Run is kept
// for it; what comes after it was told to stop is ignored, or is kept in Options.State for a
// later process.
func (r *Router) Events(batch []inotify.Event) { r.events(batch, false) }

// events is Events. If a watcher has delivered the events, there is one for each root
// above a file.
func (r *Router) events(batch []inotify.Event, delivered bool) {
	batch = r.withMovedFiles(batch)
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for _, s := range r.states {
		if r.phase == stopped && !s.isSaved() {
			continue
		}
		s.addAll(batch, now, nil, delivered)
	}
	if r.phase == stopped {
		r.saveState() // and nothing else happens any more
		return
	}
	r.update(now)
}

// Mask returns what to subscribe to for a root: everything that a route asks for, and what
// is needed to know when a file is complete or gone; 0 if no route is for anything in it.
func (r *Router) Mask(root string) inotify.Mask {
	return r.routes.Load().mask(root)
}

// SkipDir reports whether no route is for anything below a directory, whose path is
// relative to the root. It is made for [inotify.Subscription].
func (r *Router) SkipDir(root, path string) bool {
	return r.routes.Load().skipDir(root, path)
}

// Run calls the routes' callbacks until ctx ends. Then batches that wait are dropped,
// callbacks that run may go on for Options.Grace before their context ends, and Run
// returns nil when the last has returned, however long that takes. Callbacks see the
// values of ctx. A second Run is an error.
func (r *Router) Run(ctx context.Context) error {
	if err := r.begin(ctx); err != nil {
		return err
	}
	r.wait(ctx)
	return nil
}

// begin starts to dispatch, unless ctx is over. wait must be called then.
func (r *Router) begin(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx != nil {
		return errors.New("router: Run was called before: make a new Router for another run")
	}
	r.ctx, r.kill = context.WithCancelCause(context.WithoutCancel(ctx))
	r.atOnce, r.stopNow = context.WithCancelCause(r.ctx)
	if ctx.Err() != nil {
		return nil
	}

	r.phase = running
	r.dirty = true // there may be a Ping
	for _, s := range r.states {
		for q := range s.allQueues() {
			q.markDirty()
		}
	}
	r.update(time.Now())
	return nil
}

// wait is the rest of Run after begin.
func (r *Router) wait(ctx context.Context) {
	<-ctx.Done()

	// No run starts from now on, and all events are ignored.
	r.mu.Lock()
	r.phase = stopped
	r.schedule.StopAll()
	r.answerPings()
	for _, s := range r.states {
		s.drop()
	}
	grace := r.grace
	r.mu.Unlock()

	r.stopNow(fmt.Errorf("stopped with the router: %w", context.Canceled))
	kill := time.AfterFunc(grace, func() {
		r.kill(fmt.Errorf("stopped with the router after a grace of %v: %w", grace, context.Canceled))
	})
	defer kill.Stop()
	r.runs.Wait()
	r.kill(nil)
}

// update does whatever is to be done after something has changed: it starts runs and sets
// timers. In the end Options.State has what has changed. r.mu must be held.
func (r *Router) update(now time.Time) {
	defer r.saveState()
	if !r.dirty {
		return
	}
	r.dirty = false
	for _, s := range r.states {
		s.update(now)
	}
	if r.phase != running {
		return
	}

	for q := r.nextReady(); q != nil; q = r.nextReady() {
		q.start(now)
	}
	r.schedule.Arm(now)
}

// wake is called by the schedule when queues are due. r.mu must be held.
func (r *Router) wake(now time.Time) {
	if r.phase != running {
		return
	}
	for q, ok := r.schedule.Next(now); ok; q, ok = r.schedule.Next(now) {
		if q == nil {
			r.answerPings()
			continue
		}
		q.markDirty()
	}
	r.update(now)
}

// Ping waits until the router has taken a turn: its timer has gone off, and it has started
// what was due. So it proves that batches which are due are not left lying. It takes a Run
// under way, or one to come. It returns early with the error of ctx, unless the router hangs
// in the middle of a turn. When Run was told to stop the error is ErrStopped.
func (r *Router) Ping(ctx context.Context) error {
	turn := make(chan struct{})
	r.mu.Lock()
	if r.phase == stopped {
		r.mu.Unlock()
		return ErrStopped
	}
	now := time.Now()
	r.pings = append(r.pings, turn)
	r.schedule.Set(&r.pingTimer, now)
	if r.phase == running {
		r.schedule.Arm(now)
	}
	r.mu.Unlock()

	select {
	case <-turn:
		return nil // also at a stop
	case <-ctx.Done():
		return ctx.Err()
	}
}

// answerPings ends the calls of Ping. r.mu must be held.
func (r *Router) answerPings() {
	for _, turn := range r.pings {
		close(turn)
	}
	r.pings = nil
}

// nextReady takes out the queue whose turn it is, unless too many callbacks run: that of
// the route of which the fewest callbacks run, so that many files of one route do not keep
// others waiting, and then the one that has waited longest.
func (r *Router) nextReady() *queue {
	var best *routeState
	for _, s := range r.states {
		for len(s.ready) > 0 && !s.ready[0].due {
			s.popReady()
		}
		mayRun := r.running < r.maxRunning || s.route.Elsewhere
		if mayRun && len(s.ready) > 0 && (best == nil || s.running < best.running ||
			s.running == best.running && s.ready[0].order < best.ready[0].order) {
			best = s
		}
	}

	if best == nil {
		return nil
	}
	return best.popReady()
}

// popReady takes out the queue at the head of ready.
func (s *routeState) popReady() *queue {
	q := s.ready[0]
	s.ready[0] = nil
	s.ready = s.ready[1:]
	q.inReady = false
	return q
}
