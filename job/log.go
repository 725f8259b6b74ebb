package job

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// DefaultRecords is how many runs a Log remembers if Options does not say.
const DefaultRecords = 100

// maxEvents is how many events of a batch, and how many arguments, a record
// keeps: a batch may have any number.
const maxEvents = 100

// A Record is one run of a command, or the life of a service from one start
// to its end.
type Record struct {
	ID    uint64 // counts from 1, in the order of Start
	Route string // the name of the command
	Argv  []string
	Dir   string

	// Events are the batch, or its first 100; Batch is how many there were.
	Events []inotify.Event
	Batch  int

	Start   time.Time
	Took    time.Duration // so far, if it is running
	Running bool
	Ready   bool // a service has been ready
	PID     int  // 0 if it did not start

	// Failure is why the run has failed, in one line: how the program ended,
	// that its time was up, or why it did not start; a service has failed that
	// ended by itself, whatever its exit status. It is empty while it
	// runs, when it succeeded, and when it was stopped for another reason
	// than its time, which is no failure.
	Failure string

	// Cause is why the run was stopped: the cause of its context's end, or
	// what Stop and Close, and a Server that starts anew, have for one. It is
	// context.DeadlineExceeded (as errors.Is has it) when its time was up, and
	// nil if the program ended by itself.
	Cause error

	Exit   int            // the exit status; -1 without one
	Signal syscall.Signal // that ended the program; 0 if it exited

	// Ended and Left are the processes that the program left behind when it
	// ended by itself: those that were ended after it, and those that go on as
	// Command.Leave has it.
	Ended, Left Processes

	// Output is what was written to standard output and standard error, or
	// the last 64 KiB of it; Written is how many bytes there were.
	Output  []byte
	Written int64
}

// String is the record in one line, without its output.
func (r Record) String() string {
	how := "ok"
	switch {
	case r.Running:
		how = "running"
	case r.Failure != "":
		how = r.Failure
	case r.Cause != nil:
		how = "stopped"
	}
	return fmt.Sprintf("#%d %s: %s: %s after %v", r.ID, r.Route, r.CommandLine(), how, r.Took.Round(time.Millisecond))
}

// CommandLine is Argv in one line, for people and not for a shell.
func (r Record) CommandLine() string {
	quoted := make([]string, len(r.Argv))
	for i, arg := range r.Argv {
		quoted[i] = inotify.Quote(arg)
	}
	return strings.Join(quoted, " ")
}

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

// Records returns all that is remembered, the oldest first. Argv and Events
// are not to be changed; the output is the caller's.
func (l *Log) Records() []Record {
	records, _, _ := l.since(0)
	slices.SortFunc(records, func(a, b Record) int { return int(a.ID) - int(b.ID) })
	return records
}

// Recent returns the last runs, the newest first: so many at most, each with
// as many bytes of the end of its output at most. It costs less than Records.
func (l *Log) Recent(runs, output int) []Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	var records []Record
	for _, e := range slices.Backward(l.entries) {
		if len(records) == runs {
			break
		}
		records = append(records, e.record(output))
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
func (l *Log) Last(route string) (Record, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range slices.Backward(l.entries) {
		if e.r.Route == route && !e.r.Running {
			return e.record(maxOutput), true
		}
	}
	return Record{}, false
}

// Follow yields each record that is remembered, then each that begins, has new
// output or ends, as it is at that moment, until ctx ends or the caller leaves
// the loop. A caller that is slow sees fewer moments of a record and holds up
// no job; it misses a record only if that came and was forgotten meanwhile.
func (l *Log) Follow(ctx context.Context) iter.Seq[Record] {
	return func(yield func(Record) bool) {
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
func (l *Log) since(version uint64) ([]Record, uint64, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var news []*entry
	for _, e := range l.entries {
		if e.version > version {
			news = append(news, e)
		}
	}
	slices.SortFunc(news, func(a, b *entry) int { return int(a.version) - int(b.version) })
	records := make([]Record, len(news))
	for i, e := range news {
		records[i] = e.record(maxOutput)
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
func (l *Log) begin(r Record) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	r.ID, r.Start, r.Running = l.last, time.Now(), true
	e := &entry{log: l, r: r}
	l.entries = append(l.entries, e)
	l.forget()
	e.change()
	return e
}

// forget drops the oldest entries that are over and too many. l.mu is held.
func (l *Log) forget() {
	extra := len(l.entries) - l.size
	l.entries = slices.DeleteFunc(l.entries, func(e *entry) bool {
		if extra <= 0 || e.r.Running {
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
	r       Record // without output
	tail    tail
}

// serve makes it the entry of a service.
func (e *entry) serve() *entry {
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	e.service = true
	return e
}

func (e *entry) id() uint64    { return e.r.ID }
func (e *entry) route() string { return e.r.Route }

// change notes a change for those who follow. The log is locked.
func (e *entry) change() {
	e.log.version++
	e.version = e.log.version
	if e.log.changed != nil {
		close(e.log.changed)
		e.log.changed = nil
	}
}

// record is a copy of what is known now, with so much output at most. The log
// is locked.
func (e *entry) record(output int) Record {
	r := e.r
	r.Output, r.Written = e.tail.last(output), e.tail.written
	if r.Running {
		r.Took = time.Since(r.Start)
	}
	return r
}

// now is the record as it is, without its output.
func (e *entry) now() Record {
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	return e.record(0)
}

func (e *entry) pid() int {
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	return e.r.PID
}

func (e *entry) began(pid int) {
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	e.r.PID = pid
	e.change()
}

// ready notes that a service is ready, unless it is over.
func (e *entry) ready() bool {
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	e.r.Ready = e.r.Running
	e.change()
	return e.r.Running
}

func (e *entry) wasReady() bool {
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	return e.r.Ready
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

// end completes the entry with how the run ended and returns its record.
func (e *entry) end(o outcome) Record {
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	if e.service {
		o = o.ofService(e.r.Ready)
	}
	e.r.Running, e.r.Took = false, time.Since(e.r.Start)
	e.r.Failure, e.r.Cause, e.r.Exit, e.r.Signal, e.r.Ended, e.r.Left = o.failure, o.cause, o.exit, o.signal, o.ended, o.left
	e.log.forget()
	e.change()
	return e.record(maxOutput)
}
