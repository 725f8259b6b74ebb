package router

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// Errors of frames, beside a callback's own.
var (
	// ErrCancelled is of a batch that was not run because a route of After
	// failed; it wraps that failure.
	ErrCancelled = errors.New("cancelled")

	// ErrRestarted is the cause with which the context of a run ends, in
	// favour of newer events, and of its frame. The events of the frame are
	// in the next. A callback that returns it has the same: another run.
	ErrRestarted = errors.New("ended for newer events")

	// ErrKept is of a run that could do nothing with its events: a callback that
	// returns it has failed, and they are in the next batch of the route, or of
	// the path with PerFile. That goes when something new comes for it, or
	// after SetRoutes.
	ErrKept = errors.New("kept for the next run")

	// ErrSkipped is of a callback that had nothing to do, as what it makes is up
	// to date. The Outcome of its frame is Skipped, which is a success.
	ErrSkipped = errors.New("nothing to do")

	// ErrBusy is what Wait says of an event that was dropped because the
	// route ran.
	ErrBusy = errors.New("dropped: the route was running")

	// ErrStopped is what Wait says of an event that was dropped because the
	// router stopped, or its route is no more.
	ErrStopped = errors.New("dropped: the router stopped")
)

// A PanicError is of a callback that panicked.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// A Run is one batch of a route and what came of it.
type Run struct {
	Route  string
	Events []inotify.Event
	Start  time.Time
	Took   time.Duration // by the callback

	// Err is nil if the callback succeeded; otherwise what it returned, the
	// cause of its context's end if it returned that, a *PanicError,
	// ErrRestarted, or why there was no run: ErrCancelled or a *LoopError.
	Err error

	// Outcome is how it ended. If it is Skipped, Err is nil.
	Outcome Outcome

	// Again says that Route.Retries has another run follow this one, which
	// failed, after Backoff.
	Again   bool
	Backoff time.Duration
}

// A activeRun is a Frame on its way.
type activeRun struct {
	Run
	router  *Router
	route   *Route // as it was when the frame began
	queue   *queue
	entries []*entry
	cause   *cause // nil if there is no run

	ctx    context.Context         // of the run, if there is one
	cancel context.CancelCauseFunc // nil if it is never restarted

	// The router's lock guards these.
	restarted bool         // newer events are due
	gone      map[key]bool // paths of the batch, perhaps, that went away during the run; for Retries
	returned  bool         // the callback has returned, and nothing of its doing is to come
}

// newRun takes the batch of a lane. The router's lock is held.
func newRun(q *queue, now time.Time) *activeRun {
	s := q.state
	return &activeRun{router: s.router, route: s.route, queue: q, entries: q.batch.take(), Run: Run{Route: s.route.Name, Start: now}}
}

// restart ends the run in favour of newer events. The router's lock is held.
func (run *activeRun) restart() {
	run.restarted = true
	run.cancel(ErrRestarted)
}

// execute calls back and makes way for the next run.
func (run *activeRun) execute() {
	growStack(len(run.entries))
	run.Err = run.call()
	run.Took = time.Since(run.Start)
	if !run.route.ReadOnly {
		run.router.flushGroups()
	}
	run.end()
	run.report()
}

// growStack makes room for what callbacks are likely to need, while there are
// no frames yet that would have to be moved for it again and again: that takes
// as long as a callback that does little.
//
//go:noinline
func growStack(n int) byte {
	var room [8 << 10]byte
	return room[n%len(room)]
}

// call is the callback with its timeout.
func (run *activeRun) call() (err error) {
	ctx, route := run.ctx, run.route
	if run.cancel != nil {
		defer run.cancel(nil)
	}
	if route.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, route.Timeout,
			fmt.Errorf("stopped at its timeout of %v: %w", route.Timeout, context.DeadlineExceeded))
		defer cancel()
	}
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{p, debug.Stack()}
		}
	}()
	err = route.Callback(ctx, eventsOf(run.entries))
	if err != nil && errors.Is(err, ctx.Err()) && !errors.Is(err, ErrRestarted) {
		err = context.Cause(ctx)
	}
	return err
}

// end is the moment from which on the run can cause nothing.
func (run *activeRun) end() {
	run.router.mu.Lock()
	defer run.router.mu.Unlock()
	run.returned = true
	now := time.Now()
	run.queue.state.noteRunEnd(run.cause, now)
	if run.restarted && run.Err != nil && !errors.Is(run.Err, ErrRestarted) {
		run.Err = fmt.Errorf("%w: %w", ErrRestarted, run.Err)
	}

	run.Outcome = OutcomeOf(run.Err)
	if run.Outcome == Skipped {
		run.Err = nil
	}

	inNext := errors.Is(run.Err, ErrRestarted) || errors.Is(run.Err, ErrKept) // the events, anyway
	if run.Outcome == Failed && !inNext && run.router.phase == during && !run.queue.state.retired {
		run.Again, run.Backoff = run.queue.nextRetry(run)
	}
}

// report tells everybody of the frame, and then lets go who waits for it.
func (run *activeRun) report() {
	run.log()
	for _, post := range []func(Run){run.route.Post, run.router.post} {
		if post != nil {
			run.Events = eventsOf(run.entries) // the callback's are its own
			run.callPost(post)
		}
	}
	run.finish()
}

// callPost is a Post callback, which may panic.
func (run *activeRun) callPost(post func(Run)) {
	defer func() {
		if p := recover(); p != nil {
			run.router.logger.Error("post callback failed", "route", run.Route, "err", fmt.Sprintf("panic: %v", p), "stack", string(debug.Stack()))
		}
	}()
	post(run.Run)
}

func (run *activeRun) log() {
	log := run.router.logger
	switch run.Outcome {
	case Succeeded, Skipped:
		log.Debug("route ran", "route", run.Route, "took", run.Took, "paths", len(run.entries))
	case Restarted, Stopped, Cancelled:
		log.Debug("route did not finish", "route", run.Route, "took", run.Took, "err", run.Err)
	default:
		about := []any{"route", run.Route, "took", run.Took, "err", run.Err}
		if panicked, ok := errors.AsType[*PanicError](run.Err); ok {
			about = append(about, "stack", string(panicked.Stack))
		}
		log.Error("route failed", about...)
	}
}

// finish draws the conclusions from a frame.
func (run *activeRun) finish() {
	run.router.mu.Lock()
	defer run.router.mu.Unlock()
	r, q, now := run.router, run.queue, time.Now()
	q.markDirty()
	r.dirty = true // also for a route that is no more: its place is free
	if q.run == run {
		q.run = nil
		q.times.ended = now
		q.state.running--
		r.running--
	} else {
		q.rejecting = false
		q.state.rejecting--
	}
	r.applyResult(run, now)
	r.update(now)
}

// applyResult is what a frame means to others, and to its own events.
func (r *Router) applyResult(run *activeRun, now time.Time) {
	q := run.queue
	goesOn := r.phase == during && !q.state.retired
	switch {
	case run.Err == nil:
		q.retries = 0
		q.state.clearFailure(q)
		if goesOn {
			q.state.triggerFollowers(run)
		}
	case (run.restarted || errors.Is(run.Err, ErrRestarted)) && goesOn:
		if q.batch.empty() {
			q.skipDelay()
			q.attribute(run.cause)
		}
		q.batch.restore(run.entries)
		return
	case errors.Is(run.Err, ErrRestarted) && r.handOver(run):
		return
	default:
		q.state.noteFailure(q, fmt.Errorf("route %q: %w", run.Route, run.Err))
	}
	var err error
	if run.Err != nil {
		err = q.state.errorf(run.Err)
	}
	for _, e := range run.entries {
		unrefAll(e.submissions, err)
	}
	switch {
	case !goesOn:
	case errors.Is(run.Err, ErrKept):
		q.keepForNew(run)
	case run.Again:
		q.retry(run, now)
	}
}

// handOver gives the events of a frame, whose route has another Per now, to that. It
// reports whether there is such a route.
func (r *Router) handOver(run *activeRun) bool {
	s := r.byName[run.Route]
	if s == nil || r.phase != during {
		return false
	}
	s.adopt(run.entries)
	return true
}
