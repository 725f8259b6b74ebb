package job

import (
	"cmp"
	"context"
	"iter"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/execlog/execlogd/router"
)

// DefaultRuns is how many runs a Log remembers if Options does not say.
const DefaultRuns = 100

// A Log remembers the last runs of a Runner, and all that are running, and the last that
// Add gets of other machines. Its
// methods may be called by any goroutine at any time.
type Log struct {
	size int // how many runs are remembered

	mu      sync.Mutex // guards what follows, and the entries
	lastID  uint64
	version uint64   // counts changes
	entries []*entry // in the order of their IDs
	changed chan struct{}
}

// Runs returns all runs that are remembered, the oldest first. Argv and Events
// must not be changed; the output is the caller's.
func (l *Log) Runs() []Run {
	runs := l.Recent(math.MaxInt, maxOutput)
	slices.Reverse(runs)
	return runs
}

// Recent returns the last runs, the newest first: so many at most, each with
// as many bytes of the end of its output at most. It costs less than Runs.
func (l *Log) Recent(runs, output int) []Run {
	l.mu.Lock()
	defer l.mu.Unlock()
	var recent []Run
	for _, e := range slices.Backward(l.entries) {
		if len(recent) == runs {
			break
		}
		recent = append(recent, e.snapshot(output))
	}
	return recent
}

// Changed returns a channel that is closed when next a run begins, has new
// output or ends.
func (l *Log) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.nextChange()
}

// Follow yields each run that is remembered, then each that begins, has new
// output or ends, as it is at that moment, until ctx ends or the caller leaves
// the loop. A caller that is slow sees fewer moments of a run and holds up none; it
// misses a run only if that came and was forgotten meanwhile.
func (l *Log) Follow(ctx context.Context) iter.Seq[Run] {
	return func(yield func(Run) bool) {
		var seen uint64
		for ctx.Err() == nil {
			runs, version, changed := l.changesSince(seen)
			for _, r := range runs {
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

// changesSince returns the runs that have changed after a version, in the order of
// their last changes, the version now, and a channel that is closed at the next
// change.
func (l *Log) changesSince(version uint64) ([]Run, uint64, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	entries := slices.DeleteFunc(slices.Clone(l.entries), func(e *entry) bool { return e.version <= version })
	slices.SortFunc(entries, func(a, b *entry) int { return cmp.Compare(a.version, b.version) })

	var runs []Run
	for _, e := range entries {
		runs = append(runs, e.snapshot(maxOutput))
	}
	return runs, l.version, l.nextChange()
}

// nextChange returns a channel that is closed at the next change. l.mu must be held.
func (l *Log) nextChange() <-chan struct{} {
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.changed
}

// begin adds a run that begins now, and gives it its ID.
func (l *Log) begin(r Run) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastID++
	r.ID, r.Start, r.Outcome = l.lastID, time.Now(), router.Running
	e := &entry{log: l, run: r}
	l.entries = append(l.entries, e)
	l.forget()
	e.noteChange()
	return e
}

// Add adds a run of another machine, whose name it has, and that is over. It gets an ID of this
// log. As many of them are remembered as of this machine's.
func (l *Log) Add(r Run) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastID++
	r.ID = l.lastID
	e := &entry{log: l, run: r}
	e.output.write(r.Output)
	l.entries = append(l.entries, e)
	l.forget()
	e.noteChange()
}

// forget drops the oldest runs that are over and too many. l.mu must be held.
func (l *Log) forget() {
	own := 0
	for _, e := range l.entries {
		if e.run.Machine == "" {
			own++
		}
	}
	extra, extraAdded := own-l.size, len(l.entries)-own-l.size
	l.entries = slices.DeleteFunc(l.entries, func(e *entry) bool {
		of := &extra
		if e.run.Machine != "" {
			of = &extraAdded
		}
		if *of <= 0 || e.run.Outcome == router.Running {
			return false
		}
		*of--
		return true
	})
}

// An entry is a run that may still change. The lock of the log guards it, but for
// the ID and the Route of the run, which never change.
type entry struct {
	log     *Log
	version uint64 // of the log at the last change
	run     Run    // without its output
	output  tail
}

// update changes the entry, and returns the run as it is then, without its output.
func (e *entry) update(change func(*Run)) Run {
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	change(&e.run)
	e.noteChange()
	return e.snapshot(0)
}

// noteChange wakes those who wait for a change. e.log.mu must be held.
func (e *entry) noteChange() {
	e.log.version++
	e.version = e.log.version
	if e.log.changed != nil {
		close(e.log.changed)
		e.log.changed = nil
	}
}

// snapshot returns the run as it is, with so much output at most. e.log.mu must be
// held.
func (e *entry) snapshot(output int) Run {
	r := e.run
	r.Output, r.Written = e.output.last(output), e.output.written
	if r.Outcome == router.Running {
		r.Took = time.Since(r.Start)
	}
	return r
}

// now returns the run as it is, without its output.
func (e *entry) now() Run {
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	return e.snapshot(0)
}

// write adds to the output.
func (e *entry) write(p []byte) {
	if len(p) == 0 {
		return
	}
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	e.output.write(p)
	e.noteChange()
}

// allOutput returns the output so far, or the end of it.
func (e *entry) allOutput() []byte {
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	return e.output.last(maxOutput)
}

// end notes how the run ended, as note has it but for the Outcome and the Problem, and
// returns it. It calls note twice.
func (e *entry) end(note func(*Run)) Run {
	e.log.mu.Lock()
	ended := e.snapshot(maxOutput)
	e.log.mu.Unlock()
	note(&ended)
	problem := problemOf(&ended)

	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	r := &e.run
	note(r)
	r.Took, r.Outcome, r.Problem = time.Since(r.Start), router.OutcomeOf(r.Err), problem

	e.log.forget()
	e.noteChange()
	return e.snapshot(maxOutput)
}
