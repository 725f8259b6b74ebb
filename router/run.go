package router

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// A Run is one batch of a route and what came of it.
type Run struct {
	Route  string
	Events []inotify.Event
	Start  time.Time
	Took   time.Duration // by the callback

	// Err is nil if the callback succeeded. Otherwise it is what the callback returned,
	// the cause of its context's end if it returned the context's error, a *PanicError,
	// ErrRestarted, or why the callback was not called: ErrCancelled or a *LoopError.
	Err error

	// Outcome is how it ended. If it is Skipped, Err is nil.
	Outcome Outcome

	// Again says that another run follows this one, which failed, after Backoff, because
	// the route has Retries.
	Again   bool
	Backoff time.Duration
}

// An activeRun is a Run until it is over.
type activeRun struct {
	Run
	router  *Router
	route   *Route // as it was when the run began
	queue   *queue
	entries []*entry

	// These are nil if the callback is not called.
	cause *cause
	ctx   context.Context

	cancel context.CancelCauseFunc // nil without OnBusy: Restart

	// The router's lock guards these.
	restarted bool         // the context was ended in favour of newer events
	returned  bool         // the callback has, and all events that it has caused have come
	gone      map[key]bool // paths that went away during the run; with Retries
}

// newRun takes the batch of a queue. The router's lock must be held.
func newRun(q *queue, now time.Time) *activeRun {
	s := q.state
	return &activeRun{
		Run:     Run{Route: s.route.Name, Start: now},
		router:  s.router,
		route:   s.route,
		queue:   q,
		entries: q.batch.take(),
	}
}

// execute calls the callback, and lets the next run begin when all is done.
func (run *activeRun) execute() {
	growStack(len(run.entries))
	run.Err = run.call()
	run.Took = time.Since(run.Start)

	// What the callback has changed must be known before the run counts as over.
	if !run.route.ReadOnly {
		run.router.flushGroups()
	}
	run.noteReturn()
	run.report()
}

// growStack makes room for what callbacks are likely to need while the stack is nearly
// empty. Later the runtime would have to copy it, again and again, which takes as long as
// a callback that does little.
//
//go:noinline
func growStack(n int) byte {
	var room [8 << 10]byte
	return room[n%len(room)]
}

// call calls the callback, with its timeout.
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

// noteReturn judges how the callback has ended. From now on the run causes no events.
func (run *activeRun) noteReturn() {
	run.router.mu.Lock()
	defer run.router.mu.Unlock()
	run.returned = true
	run.queue.state.noteRunEnd(run.cause, time.Now())
	if run.restarted && run.Err != nil && !errors.Is(run.Err, ErrRestarted) {
		run.Err = fmt.Errorf("%w: %w", ErrRestarted, run.Err)
	}
	run.Outcome = OutcomeOf(run.Err)
	if run.Outcome == Skipped {
		run.Err = nil
	}

	// The events of these are in the next run anyway.
	q := run.queue
	inNext := errors.Is(run.Err, ErrRestarted) || errors.Is(run.Err, ErrKept)
	run.Again = run.Outcome == Failed && !inNext && run.router.phase == running && q.isCurrent() &&
		q.retries < q.state.route.Retries && len(run.remaining()) > 0
	if run.Again && q.batch.empty() { // nothing new has come
		first := q.state.route.Backoff
		run.Backoff = first
		for range q.retries {
			run.Backoff = min(2*run.Backoff, max(maxBackoff, first))
		}
	}
}

// report logs the run, calls Post, and lets go whatever waits for the run.
func (run *activeRun) report() {
	run.log()
	for _, post := range []func(Run){run.route.Post, run.router.post} {
		if post != nil {
			run.Events = eventsOf(run.entries) // the callback may keep its own
			run.callPost(post)
		}
	}
	run.finish()
}

// callPost calls a Post callback, which may panic.
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
		attrs := []any{"route", run.Route, "took", run.Took, "err", run.Err}
		if panicked, ok := errors.AsType[*PanicError](run.Err); ok {
			attrs = append(attrs, "stack", string(panicked.Stack))
		}
		log.Error("route failed", attrs...)
	}
}

// finish makes room for the next run of the queue.
func (run *activeRun) finish() {
	run.router.mu.Lock()
	defer run.router.mu.Unlock()
	r, q, now := run.router, run.queue, time.Now()

	q.markDirty()
	r.dirty = true // also for a route that is no more, as another may run now

	if q.run == run {
		q.run = nil
		q.times.ended, q.state.finished = now, now
		q.state.running--
		if !run.route.Elsewhere {
			r.running--
		}
	} else {
		q.rejecting = false
		q.state.rejecting--
	}

	run.settle(now)
	r.update(now)
}

// settle hands on what the run means to other routes, and what becomes of its events. The
// router's lock must be held.
func (run *activeRun) settle(now time.Time) {
	r, q := run.router, run.queue
	s := q.state
	continues := r.phase == running && !s.isRemoved
	switch {
	case run.Err == nil:
		q.retries = 0
		s.clearFailure(q)
		if !s.isRemoved {
			s.triggerFollowers(run)
		}

	case errors.Is(run.Err, ErrRestarted) && continues && q.isCurrent():
		if q.batch.empty() {
			q.skipDelay()
			q.attribute(run.cause)
		}
		q.restore(run.entries)
		return

	case errors.Is(run.Err, ErrRestarted) && continues:
		s.requeue(run.entries)
		return

	case run.isForLater(): // what comes after it waits as well

	default:
		s.noteFailure(q, fmt.Errorf("route %q: %w", run.Route, run.Err))
	}

	var err error
	if run.Err != nil {
		err = s.errorf(run.Err)
	}
	for _, e := range run.entries {
		unrefAll(e.submissions, err)
	}
	if run.isForLater() || continues && (run.Again || errors.Is(run.Err, ErrKept)) {
		run.putBack(now)
		return
	}
	for _, e := range run.entries {
		r.saved.finish(e)
	}
}

// isForLater reports whether a later process is to have the events of the run, because the
// router has stopped and has ended it, or would have had another one follow.
func (run *activeRun) isForLater() bool {
	r, s := run.router, run.queue.state
	if r.phase != stopped || s.isRemoved || !s.isSaved() || run.Err == nil {
		return false
	}
	switch run.Outcome {
	case Restarted, Stopped:
		return true
	case Failed:
		_, isLoop := errors.AsType[*LoopError](run.Err)
		return !isLoop && (r.ctx.Err() != nil || errors.Is(run.Err, ErrKept) || run.queue.retries < s.route.Retries)
	default:
		return false
	}
}

// putBack puts the events of a run that has failed back: for a retry, whose back-off ends
// early if something new comes, or until then. Submissions do not wait for them any more.
func (run *activeRun) putBack(now time.Time) {
	r, q, entries := run.router, run.queue, run.entries
	if run.Again {
		entries = run.remaining()
		for _, e := range run.entries {
			if run.isPointless(e) {
				r.saved.finish(e)
			}
		}
	}
	for _, e := range entries {
		e.submissions = nil
	}

	switch {
	case !q.isCurrent():
		q.state.requeue(entries)
		return
	case !q.batch.empty() || len(entries) == 0:
	case run.Again:
		q.skipDelay()
		q.retries++
		q.times.retryAt = now.Add(run.Backoff)
	default:
		q.keptForNew = true
	}
	q.restore(entries)
}

// noteNew must be called before something new comes into the batch. What was kept, or was
// in its back-off, goes with it, after its Delay. noteNew reports whether nothing else was
// in the batch.
func (q *queue) noteNew() (first bool) {
	q.markDirty()
	first = q.batch.empty()
	if q.keptForNew || !q.times.retryAt.IsZero() {
		q.keptForNew, q.times.retryAt = false, time.Time{}
		first, q.wasEmpty = true, true
	}
	q.retries = 0
	return first
}

// noteGoneInRun notes that a path went away during a run, which is not retried for it then,
// or that it came again. For a directory it does so for what is below it.
func (s *routeState) noteGoneInRun(k key, mask inotify.Mask, wanted bool) {
	if s.route.Retries == 0 || s.running == 0 || mask&(gone|arrived) == 0 {
		return
	}

	note := func(run *activeRun) {
		switch {
		case run == nil:
		case mask&arrived != 0:
			delete(run.gone, k)
		case !wanted:
			if run.gone == nil {
				run.gone = make(map[key]bool)
			}
			run.gone[k] = true
		}
	}

	if mask&inotify.IsDir == 0 {
		if q := s.queue(k); q != nil {
			note(q.run)
		}
		return
	}
	for q := range s.allQueues() {
		note(q.run)
	}
}

// remaining returns the entries of a run whose files are still there.
func (run *activeRun) remaining() []*entry {
	return slices.DeleteFunc(slices.Clone(run.entries), run.isPointless)
}

// isPointless reports whether an entry is not to be tried again, because its file is gone.
func (run *activeRun) isPointless(e *entry) bool { return !e.pinned && run.isGone(keyOf(e.event)) }

// isGone reports whether the path, or a directory above it, went away during the run.
func (run *activeRun) isGone(k key) bool {
	for {
		if run.gone[k] {
			return true
		}
		i := strings.LastIndexByte(k.path, '/')
		if i < 0 {
			return false
		}
		k.path = k.path[:i]
	}
}

// Errors of runs, beside a callback's own.
var (
	// ErrCancelled is the error of a batch that was not run because a route in After has
	// failed. It wraps that failure.
	ErrCancelled = errors.New("cancelled")

	// ErrRestarted is the cause with which the context of a run ends in favour of newer
	// events, and the error of that run. Its events are in the next. A callback that
	// returns it has another run.
	ErrRestarted = errors.New("ended for newer events")

	// ErrKept is the error of a run that could do nothing with its events. A callback
	// that returns it has failed, and has the events again in the next batch of the
	// route, or of the path with PerFile. That goes when something new comes, or after
	// SetRoutes.
	ErrKept = errors.New("kept for the next run")

	// ErrSkipped is what a callback returns that had nothing to do, because what it makes
	// is up to date. The Outcome is Skipped, which is a success.
	ErrSkipped = errors.New("nothing to do")

	// ErrBusy is what Wait returns for an event that was dropped because the route was
	// running.
	ErrBusy = errors.New("dropped: the route was running")

	// ErrStopped is what Wait returns for an event that was dropped because the router
	// has stopped, or the route is no more.
	ErrStopped = errors.New("dropped: the router stopped")
)

// A PanicError is the error of a callback that panicked.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// An Outcome is how a run ended, as far as it makes a difference to somebody who
// waits for it or looks at a log.
type Outcome uint8

const (
	// Running is the outcome of a run that has not ended.
	Running Outcome = iota

	// Succeeded is the outcome of a run without an error.
	Succeeded

	// Skipped is the outcome of a run that succeeded because there was nothing
	// to do.
	Skipped

	// Failed is the outcome of a run that returned an error, panicked, took
	// longer than its timeout, or was refused as a loop.
	Failed

	// Restarted is the outcome of a run that was ended because newer events had
	// come. The next run has its events.
	Restarted

	// Stopped is the outcome of a run that was ended from outside for any other
	// reason, such as the end of the router. It has not failed.
	Stopped

	// Cancelled is the outcome of a batch that was not run because a route of
	// After had failed.
	Cancelled
)

// OutcomeOf judges the error of a run. An error that is context.Canceled, as
// errors.Is has it, is Stopped even if it is also [ErrRestarted].
func OutcomeOf(err error) Outcome {
	_, panicked := errors.AsType[*PanicError](err)

	switch {
	case err == nil:
		return Succeeded
	case errors.Is(err, ErrSkipped):
		return Skipped
	case errors.Is(err, ErrCancelled): // before the others, as it wraps a failure
		return Cancelled
	case panicked:
		return Failed // whether or not the run was being ended
	case errors.Is(err, context.Canceled):
		return Stopped
	case errors.Is(err, ErrRestarted):
		return Restarted
	default:
		return Failed
	}
}

var outcomes = [...]string{"running", "ok", "skipped", "failed", "restarted", "stopped", "cancelled"}

// String is the outcome in one word, such as "ok" or "failed".
func (o Outcome) String() string {
	if int(o) >= len(outcomes) {
		return "unknown"
	}
	return outcomes[o]
}
