package router

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// logged is a logger and what it wrote, without times.
func logged() (*slog.Logger, *bytes.Buffer) {
	var out bytes.Buffer
	return slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})), &out
}

func TestOutcomes(t *testing.T) {
	tests := []struct {
		name     string
		callback Callback
		log      string
	}{
		{"a run", discard, `level=DEBUG msg="route ran" route=r took=0s paths=1`},
		{"an error is logged once", func(context.Context, []inotify.Event) error {
			time.Sleep(70 * ms)
			return errors.New("exit status 2")
		}, `level=ERROR msg="route failed" route=r took=70ms err="exit status 2"`},
		{"a timeout ends the context and says so", func(ctx context.Context, _ []inotify.Event) error {
			<-ctx.Done()
			return ctx.Err()
		}, `level=ERROR msg="route failed" route=r took=1s err="stopped at its timeout of 1s: context deadline exceeded"`},
		{"an error after a timeout is the callback's own", func(ctx context.Context, _ []inotify.Event) error {
			<-ctx.Done()
			return errors.New("killed")
		}, `level=ERROR msg="route failed" route=r took=1s err=killed`},
		{"a panic is an error of the run", func(context.Context, []inotify.Event) error {
			panic("no such page")
		}, `level=ERROR msg="route failed" route=r took=0s err="panic: no such page" stack="goroutine `},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			logger, out := logged()
			calls := 0
			r := mustNew(t, Options{Logger: logger}, Route{
				Name: "r", Timeout: time.Second,
				Callback: func(ctx context.Context, batch []inotify.Event) error {
					if calls++; calls > 1 {
						return nil
					}
					return tt.callback(ctx, batch)
				},
			})
			stop := background(t, r)
			r.Events(word("a"))
			time.Sleep(long)
			r.Events(word("b"))
			time.Sleep(long)
			stop()

			first, rest, _ := strings.Cut(out.String(), "\n")
			if !strings.HasPrefix(first, tt.log) {
				t.Errorf("got log %s\nwant    %s", first, tt.log)
			}
			if want := `level=DEBUG msg="route ran" route=r took=0s paths=1` + "\n"; rest != want {
				t.Errorf("the next run logged %q, want %q", rest, want)
			}
			if strings.Contains(first, "stack=") && !strings.Contains(first, "TestOutcomes") {
				t.Errorf("the stack does not lead to the panic: %s", first)
			}
		})
	}
}

func TestLifecycle(t *testing.T) {
	tests := []struct {
		name         string
		stop         int // when Run is told to, in ms; it is called at 1000
		work         time.Duration
		grace        time.Duration
		events, runs string
		returned     int // when Run returned
	}{
		{"what came before Run is kept", 2000, 0, 0, "a@0 b@500", "a+b@1000", 2000},
		{"what came just before Run has its delay", 2000, 0, 0, "a@950", "a@1050", 2000},
		{"a batch that waits is dropped", 1500, 0, 0, "a@1000 b@1450", "a@1100", 1500},
		{"what comes after the end is ignored", 1500, 0, 0, "a@1600", "", 1500},
		{"a run that outlasts the grace is told", 1500, 1000 * ms, 700 * ms, "a@1300", "a@1400 context canceled@2200", 2200},
		{"a run within the grace ends by itself", 1500, 600 * ms, 700 * ms, "a@1300", "a@1400 done@2000", 2000},
		{"a run gets no follower after the end", 1500, 600 * ms, 0, "a@1300 b@1450", "a@1400 done@2000", 2000},
		{"the default grace is 5 s", 1500, long, 0, "a@1300", "a@1400 context canceled@6500", 6500},
		{"without grace a run ends at once", 1500, long, -1, "a@1300", "a@1400 context canceled@1500", 1500},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			start := time.Now()
			var mu sync.Mutex
			var runs []string
			note := func(what string) {
				mu.Lock()
				defer mu.Unlock()
				runs = append(runs, fmt.Sprintf("%s@%d", what, time.Since(start).Milliseconds()))
			}
			r := mustNew(t, Options{Grace: tt.grace}, Route{Name: "r", Delay: 100 * ms, Callback: func(ctx context.Context, batch []inotify.Event) error {
				note(paths(batch))
				if tt.work == 0 {
					return nil
				}
				select {
				case <-time.After(tt.work):
					note("done")
				case <-ctx.Done():
					note(ctx.Err().Error())
				}
				return ctx.Err()
			}})
			var returned time.Duration
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				time.Sleep(time.Second)
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(tt.stop)*ms-time.Second)
				defer cancel()
				if err := r.Run(ctx); err != nil {
					t.Errorf("Run: %v", err)
				}
				returned = time.Since(start)
			}()
			play(t, time.Now(), tt.events, r.Events)
			<-ended
			time.Sleep(long)

			mu.Lock()
			defer mu.Unlock()
			if got := strings.Join(runs, " "); got != tt.runs {
				t.Errorf("events %q\n got runs %q\nwant runs %q", tt.events, got, tt.runs)
			}
			if got := int(returned.Milliseconds()); got != tt.returned {
				t.Errorf("Run returned at %d, want %d", got, tt.returned)
			}
		})
	}
}

func TestRunTwice(t *testing.T) {
	r := mustNew(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Run(ctx); err != nil {
		t.Errorf("first Run: %v", err)
	}
	if err := r.Run(ctx); err == nil || !strings.Contains(err.Error(), "Run was called before") {
		t.Errorf("second Run: %v", err)
	}
}

// A context that is over before Run starts nothing, whatever was kept.
func TestRunAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{start: time.Now()}
		r := mustNew(t, Options{}, Route{Name: "r", Delay: -1, Callback: rec.run})
		r.Events(word("a"))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
		if got := rec.String(); got != "" {
			t.Errorf("runs %q after the end", got)
		}
	})
}

func TestRoutesAreIndependent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &recorder{start: time.Now(), work: time.Second}
		quick := &recorder{start: time.Now()}
		r := mustNew(t, Options{},
			Route{Name: "slow", Patterns: []string{"*.md"}, Debounce: -1, Callback: slow.run},
			Route{Name: "quick", Debounce: -1, Callback: quick.run})
		stop := background(t, r)
		synctest.Wait()
		play(t, time.Now(), "a.md@0 b.md@100 c@200", r.Events)
		time.Sleep(long)
		stop()
		if got, want := slow.String(), "a.md@30 b.md@1030"; got != want {
			t.Errorf("slow runs %q, want %q", got, want)
		}
		if got, want := quick.String(), "a.md@30 b.md@130 c@230"; got != want {
			t.Errorf("quick runs %q, want %q", got, want)
		}
	})
}

func TestRootsAreKeptApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var names []string
		r := mustNew(t, Options{}, Route{Name: "r", Callback: func(_ context.Context, batch []inotify.Event) error {
			for _, e := range batch {
				names = append(names, e.Name())
			}
			return nil
		}})
		stop := background(t, r)
		a, b := event("x", inotify.Modify|inotify.CloseWrite), event("x", inotify.Modify|inotify.CloseWrite)
		b.Root = "/home"
		r.Events([]inotify.Event{a, b})
		time.Sleep(long)
		stop()
		if got, want := strings.Join(names, " "), "/srv/x /home/x"; got != want {
			t.Errorf("batch %q, want %q", got, want)
		}
	})
}

func TestCallbacksSeeTheValuesOfRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type name struct{}
		var got any
		r := mustNew(t, Options{}, Route{Name: "r", Callback: func(ctx context.Context, _ []inotify.Event) error {
			got = ctx.Value(name{})
			return nil
		}})
		r.Events(word("a"))
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), name{}, "value"), time.Second)
		defer cancel()
		if err := r.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
		if got != "value" {
			t.Errorf("value %v, want that of Run's context", got)
		}
	})
}

// Many callers, runs and an end in the middle, in real time for the race
// detector: no run overlaps, and what came before the last run began is in one.
func TestManyCallers(t *testing.T) {
	const callers, each = 8, 300
	var running, overlaps atomic.Int32
	var mu sync.Mutex
	seen := make(map[string]int)
	all := make(chan struct{})
	r := mustNew(t, Options{}, Route{Name: "r", Delay: -1, Debounce: -1, Callback: func(_ context.Context, batch []inotify.Event) error {
		if running.Add(1) > 1 {
			overlaps.Add(1)
		}
		defer running.Add(-1)
		mu.Lock()
		defer mu.Unlock()
		for _, e := range batch {
			seen[e.Path]++
		}
		if len(seen) == callers*each {
			close(all)
		}
		return nil
	}})
	stop := background(t, r)
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				r.Events(word(fmt.Sprintf("%d/%d", c, i)))
			}
		})
	}
	wg.Wait()
	<-all
	stop()
	for path, n := range seen {
		if n != 1 {
			t.Errorf("%s was in %d batches", path, n)
		}
	}
	if overlaps.Load() > 0 {
		t.Errorf("%d runs overlapped", overlaps.Load())
	}
}

// The time from Events to the callback's first instruction, when there is no Delay.
func BenchmarkDispatch(b *testing.B) {
	ran := make(chan struct{})
	r := mustNew(b, Options{}, Route{Name: "r", Delay: -1, Debounce: -1, Callback: func(context.Context, []inotify.Event) error {
		ran <- struct{}{}
		return nil
	}})
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	save := word("a")
	b.ReportAllocs()
	for b.Loop() {
		r.Events(save)
		<-ran
	}
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}
