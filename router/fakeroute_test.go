package router

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// A fakeRoute is a route whose callback sleeps for work, writes files and fails.
type fakeRoute struct {
	Route
	work           time.Duration
	writes         string        // words, in each run
	writesAfter    time.Duration // after its start; 0 is in the middle of the work
	lastWriting    int           // it writes in no later run; 0 is in all
	fails          string        // the numbers of the runs that fail, or all
	ignoresContext bool
	slowToEnd      time.Duration // from the end of its context to its return
	failsWhenEnded bool          // it returns an error of its own when its context ends
}

// A runLog writes down the runs of fakeRoutes.
type runLog struct {
	start  time.Time
	router *Router

	mu   sync.Mutex
	runs map[string]int
	all  []Run
}

// runRoutes plays events to the routes and returns their runs, sorted by their
// start and then by route, as route:paths@start. A run that took time has -end,
// and one that failed ! and, if it was not its own fault, why.
func runRoutes(t *testing.T, opts Options, events string, routes ...fakeRoute) string {
	t.Helper()
	return runRoutesWith(t, opts, 0, func(*runLog) {}, events, routes...)
}

// runRoutesWith is runRoutes with something else to do at the time 0. There may be events
// before it.
func runRoutesWith(t *testing.T, opts Options, early time.Duration, do func(*runLog), events string, routes ...fakeRoute) string {
	t.Helper()
	s := &runLog{start: time.Now().Add(early), runs: make(map[string]int)}
	opts.Post = s.note
	s.router = mustNew(t, opts, s.routes(routes)...)
	s.router.schedule.Sleep = func(time.Duration) {} // or most of it is waiting
	stop := background(t, s.router)
	synctest.Wait()

	played := make(chan struct{})
	go func() {
		defer close(played)
		play(t, s.start, events, s.router.Events)
	}()
	time.Sleep(early)
	do(s)
	<-played
	time.Sleep(time.Until(s.start.Add(long)))
	stop()
	return s.String()
}

// routes gives routes their callbacks, if they have none of their own.
func (s *runLog) routes(routes []fakeRoute) (all []Route) {
	for _, a := range routes {
		if a.Callback == nil {
			a.Callback = s.callback(a)
		}
		all = append(all, a.Route)
	}
	return all
}

func (s *runLog) callback(a fakeRoute) Callback {
	return func(ctx context.Context, _ []inotify.Event) error {
		s.mu.Lock()
		s.runs[a.Name]++
		run := s.runs[a.Name]
		s.mu.Unlock()

		if a.ignoresContext {
			ctx = context.WithoutCancel(ctx)
		}
		if a.lastWriting == 0 || run <= a.lastWriting {
			wrote := time.AfterFunc(cmp.Or(a.writesAfter, a.work/2), func() { s.router.Events(words(a.writes)) })
			defer wrote.Stop()
		}
		select {
		case <-time.After(a.work):
		case <-ctx.Done():
			time.Sleep(a.slowToEnd)
			if a.failsWhenEnded {
				return errors.New("killed")
			}
			return ctx.Err()
		}
		if a.fails == "all" || slices.Contains(strings.Fields(a.fails), strconv.Itoa(run)) {
			return errors.New("exit status 1")
		}
		return nil
	}
}

func (s *runLog) note(f Run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, f)
}

func (s *runLog) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortStableFunc(s.all, func(x, y Run) int {
		return cmp.Or(x.Start.Compare(y.Start), cmp.Compare(x.Route, y.Route), cmp.Compare(paths(x.Events), paths(y.Events)))
	})
	var all []string
	for _, f := range s.all {
		word := fmt.Sprintf("%s:%s@%d", f.Route, paths(f.Events), f.Start.Sub(s.start).Milliseconds())
		if f.Took > 0 {
			word += fmt.Sprintf("-%d", f.Start.Add(f.Took).Sub(s.start).Milliseconds())
		}
		all = append(all, word+mark(f.Err))
	}
	return strings.Join(all, " ")
}

func mark(err error) string {
	var loop *LoopError
	switch {
	case err == nil:
		return ""
	case errors.Is(err, ErrCancelled):
		return "!cancelled"
	case errors.Is(err, ErrRestarted):
		return "!restarted"
	case errors.As(err, &loop):
		return "!loop"
	case errors.Is(err, context.DeadlineExceeded):
		return "!timeout"
	}
	return "!"
}

// A scenario is a row of a table: events and the runs that they lead to.
type scenario struct {
	name   string
	routes []fakeRoute
	events string
	runs   string
}

func (p scenario) run(t *testing.T, opts Options) {
	inBubble(t, p.name, func(t *testing.T) {
		if got := runRoutes(t, opts, p.events, p.routes...); got != p.runs {
			t.Errorf("events %q\n got runs %s\nwant runs %s", p.events, got, p.runs)
		}
	})
}

// withSlowPost lets Post take 50 ms.
func withSlowPost(a fakeRoute) fakeRoute {
	return a.with(func(a *fakeRoute) { a.Post = func(Run) { time.Sleep(50 * ms) } })
}

// with returns a changed copy.
func (a fakeRoute) with(change func(*fakeRoute)) fakeRoute {
	change(&a)
	return a
}

// Routes of many rows: build takes 100 ms for *.md, and css for *.scss; reload
// is for *.html and waits for both that are there, and pages follows.
var (
	build  = fakeRoute{Route: Route{Name: "build", Patterns: []string{"*.md"}, Debounce: -1}, work: 100 * ms}
	styles = fakeRoute{Route: Route{Name: "css", Patterns: []string{"*.scss"}, Debounce: -1}, work: 100 * ms}
	reload = fakeRoute{Route: Route{Name: "reload", Patterns: []string{"*.html"}, Delay: 100 * ms, Debounce: -1, After: []string{"build"}}}
	pages  = fakeRoute{Route: Route{Name: "pages", Delay: 100 * ms, Debounce: -1, After: []string{"build"}, Follow: true}}
)

func failing(a fakeRoute, runs string) fakeRoute {
	return a.with(func(a *fakeRoute) { a.fails = runs })
}

func writing(a fakeRoute, what string) fakeRoute {
	return a.with(func(a *fakeRoute) { a.writes = what })
}

func behind(a fakeRoute, names ...string) fakeRoute {
	return a.with(func(a *fakeRoute) { a.After = names })
}

func continuing(a fakeRoute) fakeRoute { return a.with(func(a *fakeRoute) { a.OnFailure = Continue }) }
func keeping(a fakeRoute) fakeRoute    { return a.with(func(a *fakeRoute) { a.OnFailure = Keep }) }
