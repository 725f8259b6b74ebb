package router

import "time"

const (
	// maxWritten bounds the paths of one program whose times are remembered.
	maxWritten = 256

	// sameWrite is how close two events of a path are that count as one write.
	sameWrite = 50 * time.Millisecond
)

// A program is the latest run of a queue, if the program that it has started keeps running
// and writes at times of its own: some time after each start, or again and again. What is
// written at the same intervals as before is taken to be written by the program. People do
// not save so regularly, all the less when their saves have to wait for the loop guard. The
// zero value is no program.
type program struct {
	run     *cause
	trigger time.Duration // from the start before that to the event that led to it
	written map[key]*writeTimes
}

// writeTimes are the times at which a path was written.
type writeTimes struct {
	run      *cause
	after    time.Duration // from the start of run to the first write
	last     time.Time
	interval time.Duration // between the last two writes of one run
	repeats  bool          // the last write came at an interval that was there before
}

// repeats reports whether a path is written at an interval at which it, or the path that
// led to the start, was written before. It is called with each event of the path. Just
// after the start every event is taken to be caused by the program anyway.
func (p *program) repeats(k key, now time.Time) bool {
	if p.run == nil || now.Sub(p.run.started) <= startup {
		return false
	}
	w := p.written[k]
	if w == nil {
		if p.written == nil || len(p.written) >= maxWritten {
			p.written = make(map[key]*writeTimes)
		}
		w = new(writeTimes)
		p.written[k] = w
	}

	after, interval := now.Sub(p.run.started), now.Sub(w.last)
	w.last = now
	switch {
	case w.run != p.run:
		w.repeats = isSameInterval(after, p.trigger) || isSameInterval(after, w.after)
		w.run, w.after = p.run, after
	case interval >= sameWrite:
		w.repeats = isSameInterval(interval, w.interval)
		w.interval = interval
	}
	return w.repeats
}

// isSameInterval allows for the delays of a busy machine. An interval of 0 is not known.
func isSameInterval(a, b time.Duration) bool {
	return b > 0 && (a-b).Abs() <= max(sameWrite, b/8)
}
