package job

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/execlog/execlogd/router"
)

// history lists the runs of a log: 1 is over, 2… is running, 3x is of another machine.
func history(l *Log) string {
	var s strings.Builder
	for _, r := range l.Runs() {
		fmt.Fprintf(&s, " %d", r.ID)
		if r.Outcome == router.Running {
			s.WriteString("…")
		}
		if r.Machine != "" {
			s.WriteString("x")
		}
	}
	return strings.TrimSpace(s.String())
}

func TestLogForgets(t *testing.T) {
	tests := []struct {
		name  string
		steps string // + begins the next, a number ends it
		want  string
	}{
		{"nothing", "", ""},
		{"what runs", "+ +", "1… 2…"},
		{"what is over", "+ 1 + 2", "1 2"},
		{"the oldest is forgotten", "+ 1 + 2 + 3 + 4", "2 3 4"},
		{"what runs is not", "+ + 2 + 3 + 4 + 5", "1… 4 5"},
		{"until it is over", "+ + 2 + 3 + 4 1 + 5", "3 4 5"},
		{"however many", "+ + + + +", "1… 2… 3… 4… 5…"},
		{"and then at once", "+ + + + + 2 4", "1… 3… 5…"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := &Log{size: 3}
			entries := []*entry{nil}
			for step := range strings.FieldsSeq(tt.steps) {
				if step == "+" {
					entries = append(entries, l.begin(Run{}))
					continue
				}
				var id int
				fmt.Sscan(step, &id)
				entries[id].end(succeeds)
			}
			if got := history(l); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// Runs of other machines are remembered beside this machine's, as many of them, and neither
// have the others forgotten.
func TestLogAdds(t *testing.T) {
	tests := []struct {
		name  string
		steps string // + begins the next of this machine, a ends it, x adds one of another machine
		want  string
	}{
		{"one", "x", "1x"},
		{"in the order in which they are known", "+a x +a", "1 2x 3"},
		{"the oldest is forgotten", "x x x x x", "3x 4x 5x"},
		{"own runs stay", "+a + x x x x x", "1 2… 5x 6x 7x"},
		{"others stay", "x x +a +a +a +a", "1x 2x 4 5 6"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := &Log{size: 3}
			var last *entry
			for _, step := range strings.ReplaceAll(tt.steps, " ", "") {
				switch step {
				case '+':
					last = l.begin(Run{})
				case 'a':
					last.end(succeeds)
				case 'x':
					l.Add(Run{ID: 99, Machine: "there", Outcome: router.Succeeded})
				}
			}
			if got := history(l); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// A run that is added is as it was on its machine, but for the ID, and those who follow get it.
func TestLogAddsWholeRuns(t *testing.T) {
	l := &Log{size: 3}
	changed := l.Changed()
	start := time.Now().Add(-time.Hour)
	l.Add(Run{ID: 99, Route: "thumbs", Machine: "there", Start: start, Took: time.Second, Outcome: router.Failed, Err: errors.New("exit status 3"), Exit: 3, Output: []byte("output")})
	if !isClosed(changed) {
		t.Fatal("nobody is told of it")
	}
	for r := range l.Follow(t.Context()) {
		if r.ID != 1 || r.Route != "thumbs" || r.Machine != "there" || !r.Start.Equal(start) || r.Took != time.Second || r.Err == nil || r.Exit != 3 || string(r.Output) != "output" || r.Written != 6 {
			t.Errorf("it is %+v", r)
		}
		break
	}
	if cut := l.Recent(1, 3)[0]; string(cut.Output) != "put" {
		t.Errorf("the end of its output is %q", cut.Output)
	}
}

// A follower sees each run begin, have output and end. One that sleeps meanwhile sees
// the runs as they are when it wakes.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Log{size: 3}
		ctx, cancel := context.WithCancel(t.Context())
		quick, slow := follow(ctx, l, 0), follow(ctx, l, 35*time.Second)
		for i := range 2 {
			e := l.begin(Run{Route: "r"})
			time.Sleep(10 * time.Second)
			e.write(fmt.Appendf(nil, "output %d\n", i))
			time.Sleep(10 * time.Second)
			e.end(func(r *Run) { r.Err = errors.New("exit status 1") })
			time.Sleep(10 * time.Second)
		}
		cancel()
		time.Sleep(time.Hour) // until the slow one is back
		synctest.Wait()
		want := []string{
			"0s #1 running", "10s #1 running output 0", "20s #1 failed output 0",
			"30s #2 running", "40s #2 running output 1", "50s #2 failed output 1",
		}
		if !slices.Equal(*quick, want) {
			t.Errorf("the quick one saw\n%s", strings.Join(*quick, "\n"))
		}
		if want := []string{"0s #1 running", "35s #1 failed output 0"}; !slices.Equal(*slow, want) {
			t.Errorf("the slow one saw\n%s", strings.Join(*slow, "\n"))
		}
	})
}

func TestRecent(t *testing.T) {
	l := &Log{size: 10}
	if got := l.Recent(2, 4); len(got) != 0 {
		t.Errorf("at first %v", got)
	}
	for i := range 3 {
		e := l.begin(Run{})
		e.write(fmt.Appendf(nil, "output %d", i))
		if i != 1 {
			e.end(succeeds)
		}
	}
	var got []string
	for _, r := range l.Recent(2, 4) {
		got = append(got, fmt.Sprintf("#%d %s of %d, %v", r.ID, r.Output, r.Written, r.Outcome))
	}
	if want := []string{"#3 ut 2 of 8, ok", "#2 ut 1 of 8, running"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestChanged(t *testing.T) {
	l := &Log{size: 10}
	var e *entry
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"begins", func() { e = l.begin(Run{}) }},
		{"has output", func() { e.write([]byte("x")) }},
		{"ends", func() { e.end(succeeds) }},
	} {
		changed, also := l.Changed(), l.Changed()
		before := isClosed(changed)
		step.do()
		if before || !isClosed(changed) || !isClosed(also) {
			t.Errorf("changed before it %s: %v, then: %v and %v", step.name, before, isClosed(changed), isClosed(also))
		}
	}
}

func succeeds(*Run) {}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// follow notes what a follower sees that sleeps after each run.
func follow(ctx context.Context, l *Log, sleep time.Duration) *[]string {
	start := time.Now()
	var seen []string
	go func() {
		for r := range l.Follow(ctx) {
			seen = append(seen, strings.TrimSpace(fmt.Sprintf("%v #%d %s %s", time.Since(start), r.ID, r.State(), r.Output)))
			time.Sleep(sleep)
		}
	}()
	return &seen
}

// Readers and writers of the log do not disturb each other, and a Run that was read
// does not change.
func TestLogConcurrently(t *testing.T) {
	l := &Log{size: 10}
	ctx, cancel := context.WithCancel(t.Context())
	var readers, writers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for r := range l.Follow(ctx) {
				if int64(len(r.Output)) != min(r.Written, maxOutput) {
					t.Errorf("%d bytes of output of %d", len(r.Output), r.Written)
				}
				clear(r.Output)
				l.Runs()
				l.Recent(1, maxOutput)
			}
		})
		writers.Go(func() {
			for range 100 {
				e := l.begin(Run{Route: "r"})
				for range 10 {
					e.write([]byte(strings.Repeat("x", 1000)))
				}
				e.end(succeeds)
			}
		})
	}
	writers.Wait()
	cancel()
	readers.Wait()
	for _, r := range l.Runs() {
		if string(r.Output) != strings.Repeat("x", 10_000) {
			t.Errorf("%v has another's output", r)
		}
	}
}

// The log has each run, and Done is told of it when it is over.
func TestRecord(t *testing.T) {
	var told []Run
	jobs := newTestRunnerWith(t, Options{Done: func(r Run) { told = append(told, r) }})
	start := time.Now()
	got := jobs.run(Command{Name: "build", Argv: []string{"sh", "-c", "echo $$; exit 3", "{path}"}}, "a", "b")
	if len(told) != 1 || told[0].ID != got.ID {
		t.Errorf("told of %v", told)
	}
	switch {
	case got.Route != "build", got.Argv[3] != jobs.dir+"/a", got.Dir != jobs.dir,
		!slices.Equal(got.Events, jobs.events("a", "b")), got.Batch != 2,
		got.Start.Before(start), got.Took <= 0, got.Took > time.Since(start),
		fmt.Sprintln(got.PID) != string(got.Output), got.Outcome != router.Failed, got.Err.Error() != "exit status 3", got.Exit != 3, got.Signal != 0:
		t.Errorf("got %+v", got)
	}
}
