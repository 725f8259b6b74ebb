package router

import (
	"context"
	"errors"
	"fmt"
)

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
