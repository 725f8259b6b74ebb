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

// A Frame is one batch of a route and what came of it.
type Frame struct {
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

// A frame is a Frame on its way.
type frame struct {
	Frame
	router  *Router
	route   *Route // as it was when the frame began
	lane    *lane
	entries []*entry
	cause   *cause // nil if there is no run

	ctx    context.Context         // of the run, if there is one
	cancel context.CancelCauseFunc // nil if it is never restarted

	// The router's lock guards these.
	restarted bool         // newer events are due
	gone      map[key]bool // paths of the batch, perhaps, that went away during the run; for Retries
	over      bool         // the callback has returned, and nothing of its doing is to come
}

// newFrame takes the batch of a lane. The router's lock is held.
func newFrame(l *lane, now time.Time) *frame {
	s := l.stage
	return &frame{router: s.router, route: s.route, lane: l, entries: l.batch.take(), Frame: Frame{Route: s.route.Name, Start: now}}
}

// restart ends the run in favour of newer events. The router's lock is held.
func (f *frame) restart() {
	f.restarted = true
	f.cancel(ErrRestarted)
}

// work calls back and makes way for the next run.
func (f *frame) work() {
	growStack(len(f.entries))
	f.Err = f.call()
	f.Took = time.Since(f.Start)
	if !f.route.ReadOnly {
		f.router.catchUp()
	}
	f.end()
	f.report()
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
func (f *frame) call() (err error) {
	ctx, route := f.ctx, f.route
	if f.cancel != nil {
		defer f.cancel(nil)
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
	err = route.Callback(ctx, eventsOf(f.entries))
	if err != nil && errors.Is(err, ctx.Err()) && !errors.Is(err, ErrRestarted) {
		err = context.Cause(ctx)
	}
	return err
}

// end is the moment from which on the run can cause nothing.
func (f *frame) end() {
	f.router.mu.Lock()
	defer f.router.mu.Unlock()
	f.over = true
	now := time.Now()
	f.lane.stage.ends(f.cause, now)
	if f.restarted && f.Err != nil && !errors.Is(f.Err, ErrRestarted) {
		f.Err = fmt.Errorf("%w: %w", ErrRestarted, f.Err)
	}

	f.Outcome = OutcomeOf(f.Err)
	if f.Outcome == Skipped {
		f.Err = nil
	}

	inNext := errors.Is(f.Err, ErrRestarted) || errors.Is(f.Err, ErrKept) // the events, anyway
	if f.Outcome == Failed && !inNext && f.router.phase == during && !f.lane.stage.retired {
		f.Again, f.Backoff = f.lane.again(f)
	}
}

// report tells everybody of the frame, and then lets go who waits for it.
func (f *frame) report() {
	f.log()
	for _, post := range []func(Frame){f.route.Post, f.router.post} {
		if post != nil {
			f.Events = eventsOf(f.entries) // the callback's are its own
			f.tell(post)
		}
	}
	f.settle()
}

// tell is a Post callback, which may panic.
func (f *frame) tell(post func(Frame)) {
	defer func() {
		if p := recover(); p != nil {
			f.router.logger.Error("post callback failed", "route", f.Route, "err", fmt.Sprintf("panic: %v", p), "stack", string(debug.Stack()))
		}
	}()
	post(f.Frame)
}

func (f *frame) log() {
	log := f.router.logger
	switch f.Outcome {
	case Succeeded, Skipped:
		log.Debug("route ran", "route", f.Route, "took", f.Took, "paths", len(f.entries))
	case Restarted, Stopped, Cancelled:
		log.Debug("route did not finish", "route", f.Route, "took", f.Took, "err", f.Err)
	default:
		about := []any{"route", f.Route, "took", f.Took, "err", f.Err}
		if panicked, ok := errors.AsType[*PanicError](f.Err); ok {
			about = append(about, "stack", string(panicked.Stack))
		}
		log.Error("route failed", about...)
	}
}

// settle draws the conclusions from a frame.
func (f *frame) settle() {
	f.router.mu.Lock()
	defer f.router.mu.Unlock()
	r, l, now := f.router, f.lane, time.Now()
	l.touch()
	r.touched = true // also for a route that is no more: its place is free
	if l.run == f {
		l.run = nil
		l.moments.ended = now
		l.stage.running--
		r.running--
	} else {
		l.refusing = false
		l.stage.refusing--
	}
	r.conclude(f, now)
	r.turn(now)
}

// conclude is what a frame means to others, and to its own events.
func (r *Router) conclude(f *frame, now time.Time) {
	l := f.lane
	goesOn := r.phase == during && !l.stage.retired
	switch {
	case f.Err == nil:
		l.retries = 0
		l.stage.forgive(l)
		if goesOn {
			l.stage.lead(f)
		}
	case (f.restarted || errors.Is(f.Err, ErrRestarted)) && goesOn:
		if l.batch.empty() {
			l.skipDelay()
			l.attribute(f.cause)
		}
		l.batch.restore(f.entries)
		return
	case errors.Is(f.Err, ErrRestarted) && r.handOn(f):
		return
	default:
		l.stage.fail(l, fmt.Errorf("route %q: %w", f.Route, f.Err))
	}
	var err error
	if f.Err != nil {
		err = l.stage.errorf(f.Err)
	}
	for _, e := range f.entries {
		release(e.tickets, err)
	}
	switch {
	case !goesOn:
	case errors.Is(f.Err, ErrKept):
		l.keep(f)
	case f.Again:
		l.retry(f, now)
	}
}

// handOn gives the events of a frame, whose route has another Per now, to that. It
// reports whether there is such a route.
func (r *Router) handOn(f *frame) bool {
	s := r.byName[f.Route]
	if s == nil || r.phase != during {
		return false
	}
	s.adopt(f.entries)
	return true
}
