package router

import "time"

// A program that goes on running, such as a server, writes at its own times: some
// while after it has started, or again and again. Nobody tells its writes from
// those of somebody who saves, but they recur: they come as long after each start,
// or one as long after the other. Somebody who saves does that now and then; what
// a batch has to wait for before it is taken for a loop (see loop.go) upsets it.

// together is how close writes to a path are that count as one.
const together = 50 * time.Millisecond

// maxHistories bounds the paths that are remembered of one lane.
const maxHistories = 256

// forgetReported is for how long nobody may have written to a path before it counts
// again, after it was reported as part of a loop.
const forgetReported = time.Minute

// A history is when a path was written.
type history struct {
	run    *trace        // during which it was written last
	after  time.Duration // after the start of run, first, but for what is suspected anyway
	before time.Duration // the same of the run before that; 0 if there was none
	last   time.Time
	every  time.Duration // between the last two writes during one run
	recurs bool          // the last did
}

// writes are what is known of the writes of a lane's runs. The zero value is
// nothing.
type writes struct {
	run   *trace        // the latest run; nil if what comes of it ends with it
	led   time.Duration // when what led to it came, after the start of the run before
	paths map[key]*history

	// reported are the paths of the batches that were reported as loops, and when
	// each was last written. The program goes on writing them, at times that need not
	// recur, and would otherwise start itself again, and be reported again, for ever.
	reported map[key]time.Time
}

// report notes that a path was reported as part of a loop.
func (w *writes) report(k key, now time.Time) {
	if w.reported == nil || len(w.reported) >= maxHistories {
		w.reported = make(map[key]time.Time)
	}
	w.reported[k] = now
}

// cameAgain notes an event of a path, if that was reported as part of a loop. One that
// has been quiet for long is forgotten.
func (w *writes) cameAgain(k key, now time.Time) {
	last, known := w.reported[k]
	switch {
	case !known:
	case now.Sub(last) >= forgetReported:
		delete(w.reported, k)
	default:
		w.reported[k] = now
	}
}

// haveReported reports whether all that a batch has are paths that were reported as
// part of a loop, and nobody has asked for a run of them.
func (w *writes) haveReported(b *batch) bool {
	if len(w.reported) == 0 {
		return false
	}
	for k, e := range b.entries {
		if _, known := w.reported[k]; !known || e.firm || len(e.tickets) > 0 {
			return false
		}
	}
	return true
}

// begin notes that a run starts, and when what led to it came.
func (w *writes) begin(run *trace, first time.Time) {
	w.led = 0
	if w.run != nil {
		w.led = first.Sub(w.run.started)
	}
	w.run = run
}

// by is the latest run if a write to a path at now recurs, which makes it
// likely to be the run's doing; nil otherwise.
func (w *writes) by(k key, now time.Time) *trace {
	if w.run == nil || now.Sub(w.run.started) <= upheaval {
		return nil // it is suspected anyway, and may be the end of the program before
	}
	h := w.paths[k]
	if h == nil {
		if w.paths == nil || len(w.paths) >= maxHistories {
			w.paths = make(map[key]*history)
		}
		h = new(history)
		w.paths[k] = h
	}
	if h.note(w.run, w.led, now) {
		return w.run
	}
	return nil
}

// note notes a write, and reports whether it recurs.
func (h *history) note(run *trace, led time.Duration, now time.Time) bool {
	after, interval := now.Sub(run.started), now.Sub(h.last)
	h.last = now
	switch {
	case h.run != run:
		h.run, h.after, h.before = run, after, h.after
		h.recurs = alike(after, led) || alike(after, h.before)
	case interval >= together:
		h.recurs = alike(interval, h.every)
		h.every = interval
	}
	return h.recurs
}

// alike reports whether two times may be one and the same to a program, on a
// machine that is busy at times.
func alike(a, b time.Duration) bool {
	return b > 0 && (a-b).Abs() <= max(together, b/8)
}
