package job

import (
	"context"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/execlog/execlogd/router"
)

// DefaultRuns is how many runs a Log remembers if Options does not say.
const DefaultRuns = 100

// A Log remembers the last runs of a Runner, and all that are running. Its
// methods may be called by any goroutine at any time.
type Log struct {
	size int

	mu      sync.Mutex // guards what follows, and the entries
	last    uint64     // ID of the last entry
	version uint64     // counts changes
	entries []*entry   // in the order of their IDs
	changed chan struct{}
}

// Runs returns all that is remembered, the oldest first. Argv and Events
// are not to be changed; the output is the caller's.
func (l *Log) Runs() []Run {
	records, _, _ := l.since(0)
	slices.SortFunc(records, func(a, b Run) int { return int(a.ID) - int(b.ID) })
	return records
}

// Recent returns the last runs, the newest first: so many at most, each with
// as many bytes of the end of its output at most. It costs less than Records.
func (l *Log) Recent(runs, output int) []Run {
	l.mu.Lock()
	defer l.mu.Unlock()
	var records []Run
	for _, e := range slices.Backward(l.entries) {
		if len(records) == runs {
			break
		}
		records = append(records, e.snapshot(output))
	}
	return records
}

// Changed returns a channel that is closed when next a record begins, has new
// output or ends.
func (l *Log) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.change()
}

// Last returns the last run of a route that is over.
func (l *Log) Last(route string) (Run, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range slices.Backward(l.entries) {
		if e.run.Route == route && e.run.Outcome != router.Running {
			return e.snapshot(maxOutput), true
		}
	}
	return Run{}, false
}

// Follow yields each record that is remembered, then each that begins, has new
// output or ends, as it is at that moment, until ctx ends or the caller leaves
// the loop. A caller that is slow sees fewer moments of a record and holds up
// no job; it misses a record only if that came and was forgotten meanwhile.
func (l *Log) Follow(ctx context.Context) iter.Seq[Run] {
	return func(yield func(Run) bool) {
		var seen uint64
		for ctx.Err() == nil {
			records, version, changed := l.since(seen)
			for _, r := range records {
				if ctx.Err() != nil || !yield(r) {
					return
				}
			}
			seen = version
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}
}

// since returns the records that have changed after a version, in the order of
// their last changes, the version now, and what is closed at the next change.
func (l *Log) since(version uint64) ([]Run, uint64, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var news []*entry
	for _, e := range l.entries {
		if e.version > version {
			news = append(news, e)
		}
	}
	slices.SortFunc(news, func(a, b *entry) int { return int(a.version) - int(b.version) })
	records := make([]Run, len(news))
	for i, e := range news {
		records[i] = e.snapshot(maxOutput)
	}
	return records, l.version, l.change()
}

// change is what is closed at the next change. l.mu is held.
func (l *Log) change() <-chan struct{} {
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.changed
}

// begin adds an entry. It gives the record its ID and start.
func (l *Log) begin(r Run) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	r.ID, r.Start, r.Outcome = l.last, time.Now(), router.Running
	e := &entry{log: l, run: r}
	l.entries = append(l.entries, e)
	l.forget()
	e.change()
	return e
}

// forget drops the oldest entries that are over and too many. l.mu is held.
func (l *Log) forget() {
	extra := len(l.entries) - l.size
	l.entries = slices.DeleteFunc(l.entries, func(e *entry) bool {
		if extra <= 0 || e.run.Outcome == router.Running {
			return false
		}
		extra--
		return true
	})
}

// An entry is a record that may still change. Its ID and route do not.
type entry struct {
	log     *Log
	service bool
	version uint64 // of its last change
	run     Run    // without output
	tail    tail
}

// serve makes it the entry of a service.
func (e *entry) serve() *entry {
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	e.service = true
	return e
}

func (e *entry) id() uint64    { return e.run.ID }
func (e *entry) route() string { return e.run.Route }

// change notes a change for those who follow. The log is locked.
func (e *entry) change() {
	e.log.version++
	e.version = e.log.version
	if e.log.changed != nil {
		close(e.log.changed)
		e.log.changed = nil
	}
}

// snapshot is a copy of what is known now, with so much output at most. The log
// is locked.
func (e *entry) snapshot(output int) Run {
	r := e.run
	r.Output, r.Written = e.tail.last(output), e.tail.written
	if r.Outcome == router.Running {
		r.Took = time.Since(r.Start)
	}
	return r
}

// now is the record as it is, without its output.
func (e *entry) now() Run {
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	return e.snapshot(0)
}

func (e *entry) pid() int {
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	return e.run.PID
}

func (e *entry) began(pid int) {
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	e.run.PID = pid
	e.change()
}

// ready notes that a service is ready, unless it is over.
func (e *entry) ready() bool {
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	e.run.Ready = e.run.Outcome == router.Running
	e.change()
	return e.run.Ready
}

func (e *entry) wasReady() bool {
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	return e.run.Ready
}

func (e *entry) write(p []byte) {
	if len(p) == 0 {
		return
	}
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	e.tail.write(p)
	e.change()
}

// end completes the entry with how the run ended, and returns what it is then.
func (e *entry) end(how ending) Run {
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	if e.service {
		how = how.ofService(e.run.Ready)
	}

	r := &e.run
	r.Took = time.Since(r.Start)
	r.Outcome, r.Err, r.stopped = router.OutcomeOf(how.err), how.err, how.stopped
	r.Exit, r.Signal = how.exit, how.signal
	r.Ended, r.Left = how.ended, how.left

	e.log.forget()
	e.change()
	return e.snapshot(maxOutput)
}
