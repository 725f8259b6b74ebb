package router

import (
	"slices"
	"time"
)

// dueTimes are the times that say when a batch may go. A zero time is long ago: what
// it stands for has not happened and delays nothing.
type dueTimes struct {
	first     time.Time // the first event of the batch
	started   time.Time // the last run began
	ended     time.Time // the last run was over
	unblocked time.Time // the routes that come first were last done
	retryAt   time.Time // the end of the back-off after a failure
	delayed   time.Time // the loop guard's delay ends
	written   time.Time // the last write to a file that is still open
	released  time.Time // the batch was ready, and the last of its open files was closed
	quiet     time.Time // the burst that the batch is part of is over
}

// ready returns when the batch may go if none of its files is open.
func (t dueTimes) ready(r *Route) time.Time {
	times := [...]time.Time{t.first.Add(r.Delay), t.started.Add(r.Debounce), t.ended, t.retryAt, t.unblocked, t.delayed, t.quiet}
	return slices.MaxFunc(times[:], time.Time.Compare)
}

// due returns when the batch may go. With UntilClosed that counts only when none of
// its files is open.
func (t dueTimes) due(r *Route) time.Time {
	ready := t.ready(r)

	// What follows the close of a temporary file is its rename: that has a Delay.
	closed := t.released.Add(r.Delay)
	if r.Hold == UntilClosed {
		return later(ready, closed)
	}
	settled := later(t.written.Add(r.Settle), closed)
	return later(ready, earlier(settled, ready.Add(r.Hold)))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// earliest returns the earlier of two times of which a zero one is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// A checkout, an unpacked archive or an install writes many files, for longer than a
// Delay. Such a burst is one batch, which ends when no further path has come for Quiet.
const (
	// maxSaved is how many paths are no burst, however they come: as many as an
	// editor saves at once.
	maxSaved = 8

	// fewPaths is how many paths are a burst as well, if one of them came late in the
	// Delay.
	fewPaths = 4

	// longestQuiet is how many times Quiet a burst that lasts long waits for.
	longestQuiet = 5

	// longestBurst is how long a batch waits for the end of a burst.
	longestBurst = 10 * time.Second
)

// arrivals say how the paths of a batch came. The zero value is for a batch to which
// none came by an event.
type arrivals struct {
	paths int       // that came by an event
	last  time.Time // a path came that was not in the batch
}

// note notes that an event is about to put a path into a batch.
func (a *arrivals) note(b *batch, k key, now time.Time) {
	if b.empty() {
		*a = arrivals{}
	}
	if b.entries[k] == nil {
		a.paths++
		a.last = now
	}
}

// quiet returns when the burst is over, given the first event of the batch; zero if
// there is none. What came before unblocked is not waited for.
func (a arrivals) quiet(r *Route, first, unblocked time.Time) time.Time {
	late := a.paths >= fewPaths && a.last.Sub(first) > r.Delay/2
	isBurst := r.Per == PerRoute && (a.paths > maxSaved || late)
	if !isBurst || !a.last.After(unblocked) {
		return time.Time{}
	}

	wait := r.Quiet
	if !first.IsZero() {
		// The pauses in a burst that lasts long are longer as well.
		wait = max(wait, min(a.last.Sub(first)/4, longestQuiet*r.Quiet))
	}
	return earlier(a.last.Add(wait), first.Add(longestBurst))
}
