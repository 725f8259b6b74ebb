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

// A context that is over before Run starts nothing, whatever was kept. A second Run is an
// error.
func TestRunAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{start: time.Now()}
		r := mustNew(t, Options{}, Route{Name: "r", Delay: -1, Callback: rec.run})
		r.Events(word("a"))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.Run(ctx); err != nil || rec.String() != "" {
			t.Errorf("first Run: %v, runs %q", err, rec)
		}
		if err := r.Run(ctx); err == nil || !strings.Contains(err.Error(), "Run was called before") {
			t.Errorf("second Run: %v", err)
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
	stop := background(b, r)
	save := word("a")
	b.ReportAllocs()
	for b.Loop() {
		r.Events(save)
		<-ran
	}
	stop()
}

func TestOutcomeOf(t *testing.T) {
	failure := errors.New("exit status 1")
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"no error", nil, "ok"},
		{"nothing to do", fmt.Errorf("as it was: %w", ErrSkipped), "skipped"},
		{"a failure", failure, "failed"},
		{"a timeout", fmt.Errorf("stopped at its timeout: %w", context.DeadlineExceeded), "failed"},
		{"a loop", &LoopError{}, "failed"},
		{"too many paths", fmt.Errorf("too long: %w", ErrKept), "failed"},
		{"newer events", fmt.Errorf("%w: %w", ErrRestarted, failure), "restarted"},
		{"the end of the router", context.Canceled, "stopped"},
		{"another route in its place", errors.Join(ErrRestarted, context.Canceled), "stopped"},
		{"a panic", &PanicError{Value: 1}, "failed"},
		{"a panic when it was to end", fmt.Errorf("%w: %w", ErrRestarted, &PanicError{Value: 1}), "failed"},
		{"a failure of a route before it", fmt.Errorf("%w: %w", ErrCancelled, failure), "cancelled"},
		{"a panic of a route before it", fmt.Errorf("%w: %w", ErrCancelled, &PanicError{Value: 1}), "cancelled"},
		{"a stop of a route before it", fmt.Errorf("%w: %w", ErrCancelled, context.Canceled), "cancelled"},
	}
	for _, tt := range tests {
		if got := OutcomeOf(tt.err).String(); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}
