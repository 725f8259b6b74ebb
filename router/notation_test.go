package router

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/execlog/execlogd/inotify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The tests write events as words:
//
//	a       a is saved: modify and close_write
//	a:cm    one event of a: create|modify; the letters are those of letters
//	a:M     modify alone, by which a is open for writing
//	a:      an event without a mask
//	a>b     a is renamed to b: moved_from a, moved_to b from a
//	a/>b/   the same for a directory; a/:c is a directory made
//
// and @ with milliseconds after a word says when.
const letters = "cmMwdftaox"

var masks = []inotify.Mask{
	inotify.Create, inotify.Modify, inotify.Modify, inotify.CloseWrite, inotify.Delete,
	inotify.MovedFrom, inotify.MovedTo, inotify.Attrib, inotify.Overflow, inotify.DeleteSelf,
}

// event makes an event of a path, which is a directory if it ends in a slash.
func event(path string, mask inotify.Mask) inotify.Event {
	path, dir := strings.CutSuffix(path, "/")
	if dir {
		mask |= inotify.IsDir
	}
	return inotify.Event{Root: "/srv", Path: path, Mask: mask}
}

// word reads the events of one word.
func word(s string) []inotify.Event {
	if from, to, ok := strings.Cut(s, ">"); ok {
		left, came := event(from, inotify.MovedFrom), event(to, inotify.MovedTo)
		came.From = left.Path
		return []inotify.Event{left, came}
	}
	path, kinds, ok := strings.Cut(s, ":")
	if !ok {
		return []inotify.Event{event(path, inotify.Modify), event(path, inotify.CloseWrite)}
	}
	var mask inotify.Mask
	for _, c := range kinds {
		mask |= masks[strings.IndexRune(letters, c)]
	}
	return []inotify.Event{event(path, mask)}
}

// words reads all events of a line.
func words(line string) []inotify.Event {
	var events []inotify.Event
	for s := range strings.FieldsSeq(line) {
		events = append(events, word(s)...)
	}
	return events
}

// play hands the words of a line to send, each at its time from start on.
func play(t *testing.T, start time.Time, line string, send func([]inotify.Event)) {
	for s := range strings.FieldsSeq(line) {
		what, when, _ := strings.Cut(s, "@")
		ms, err := strconv.Atoi(when)
		if err != nil {
			t.Errorf("word %q: %v", s, err)
		}
		time.Sleep(time.Until(start.Add(time.Duration(ms) * time.Millisecond)))
		send(word(what))
	}
}

// paths is the paths of a batch, joined by +.
func paths(batch []inotify.Event) string {
	var all []string
	for _, e := range batch {
		all = append(all, e.Path)
	}
	return strings.Join(all, "+")
}

// A recorder is a callback that writes down its runs and how each began.
type recorder struct {
	start time.Time
	work  time.Duration

	mu   sync.Mutex
	runs []string
}

// run writes paths@milliseconds, and works.
func (r *recorder) run(_ context.Context, batch []inotify.Event) error {
	r.mu.Lock()
	r.runs = append(r.runs, fmt.Sprintf("%s@%d", paths(batch), time.Since(r.start).Milliseconds()))
	r.mu.Unlock()
	time.Sleep(r.work)
	return nil
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.runs, " ")
}

// A timedRow is a row of a table: events, and the runs of a route that they lead to.
type timedRow struct {
	name         string
	route        Route
	work         time.Duration
	events, runs string
}

func (row timedRow) check(t *testing.T, runs string) {
	t.Helper()
	if runs != row.runs {
		t.Errorf("events %q\n got runs %q\nwant runs %q", row.events, runs, row.runs)
	}
}

// timed plays events to a route in fake time, and returns its runs as a recorder does. The
// router has been changed by prepare, and events are handed over by send, if these are not
// nil.
func timed(t *testing.T, opts Options, route Route, work time.Duration, events string, prepare func(*Router), send func(*Router, []inotify.Event)) string {
	rec := &recorder{start: time.Now(), work: work}
	route.Name, route.Callback = "test", rec.run
	r := mustNew(t, opts, route)
	r.schedule.Sleep = func(time.Duration) {}
	if prepare != nil {
		prepare(r)
	}
	stop := background(t, r)
	synctest.Wait()
	play(t, rec.start, events, func(batch []inotify.Event) {
		if send != nil {
			send(r, batch)
		} else {
			r.Events(batch)
		}
	})
	time.Sleep(long)
	stop()
	return rec.String()
}

// inBubble is a subtest in fake time.
func inBubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

// inParallelBubble is inBubble for a parallel subtest.
func inParallelBubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, test)
	})
}

// to returns a callback that sends the paths of its batches.
func to(batches chan<- string) Callback {
	return func(_ context.Context, batch []inotify.Event) error {
		batches <- paths(batch)
		return nil
	}
}

// batches is the runs without their times.
func (r *recorder) batches() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, run := range r.runs {
		batch, _, _ := strings.Cut(run, "@")
		all = append(all, batch)
	}
	return all
}

// mustNew is New for routes that are right.
func mustNew(t testing.TB, opts Options, routes ...Route) *Router {
	t.Helper()
	r, err := New(opts, routes...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// background runs the router until the returned stop, which waits for it.
func background(t testing.TB, r *Router) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

// discard is a callback.
func discard(context.Context, []inotify.Event) error { return nil }
