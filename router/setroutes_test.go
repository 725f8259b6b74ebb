package router

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/execlog/execlogd/inotify"
)

func mustSet(t testing.TB, r *Router, routes ...Route) {
	t.Helper()
	if err := r.SetRoutes(routes...); err != nil {
		t.Fatal(err)
	}
}

func TestSetRoutes(t *testing.T) {
	thumbs := fakeRoute{Route: Route{Name: "t", Debounce: -1, Per: PerFile}, work: 100 * ms}
	slow := build.with(func(a *fakeRoute) { a.work = 1000 * ms })
	retried := failing(build, "1").with(func(a *fakeRoute) { a.Retries = 1 })
	// The programs of the route have files open that end in .log, which the first
	// route knows after 100 ms, and the second one never.
	service := fakeRoute{Route: Route{Name: "s", Delay: 100 * ms, Debounce: -1, OwnOutput: func(events []inotify.Event) []bool {
		time.Sleep(100 * ms)
		return slices.Repeat([]bool{strings.HasSuffix(events[0].Path, ".log")}, len(events))
	}}}
	restarted := service.with(func(a *fakeRoute) {
		a.OwnOutput = func(events []inotify.Event) []bool { return make([]bool, len(events)) }
	})
	tests := []struct {
		name          string
		first, second []fakeRoute
		events        string
		at            time.Duration
		runs          string
	}{
		{"what waits goes on", []fakeRoute{build}, []fakeRoute{build}, "a.md@0", 10 * ms, "build:a.md@30-130"},
		{"with the delay that it has now", []fakeRoute{build}, []fakeRoute{build.with(func(a *fakeRoute) { a.Delay = 200 * ms })}, "a.md@0", 10 * ms, "build:a.md@200-300"},
		{"with what comes later", []fakeRoute{build}, []fakeRoute{build}, "a.md@0 b.md@20", 10 * ms, "build:a.md+b.md@30-130"},
		{"a run goes on, and the next waits for it", []fakeRoute{slow}, []fakeRoute{slow}, "a.md@0 b.md@200", 100 * ms, "build:a.md@30-1030 build:b.md@1030-2030"},
		{"also when the next has another callback", []fakeRoute{slow}, []fakeRoute{build}, "a.md@0 b.md@200", 100 * ms, "build:a.md@30-1030 build:b.md@1030-1130"},
		{"the debounce is kept", []fakeRoute{build}, []fakeRoute{build.with(func(a *fakeRoute) { a.Debounce = 1000 * ms })}, "a.md@0 b.md@300", 200 * ms, "build:a.md@30-130 build:b.md@1030-1130"},
		{"what the route is not for any more does not", []fakeRoute{build}, []fakeRoute{build.with(func(a *fakeRoute) { a.Patterns = []string{"b.*"} })}, "a.md@0 b.md@1", 10 * ms, "build:b.md@30-130"},
		{"nor what it does not ask for", []fakeRoute{build}, []fakeRoute{build.with(func(a *fakeRoute) { a.Mask = inotify.Delete })}, "a.md@0", 10 * ms, ""},
		{"what waits for a route that is no more is dropped", []fakeRoute{build, styles}, []fakeRoute{styles}, "a.md@0 a.scss@1", 10 * ms, "css:a.scss@31-131"},
		{"its run is not", []fakeRoute{slow, styles}, []fakeRoute{styles}, "a.md@0 b.md@40 a.scss@200", 100 * ms, "build:a.md@30-1030 css:a.scss@230-330"},
		{"a route that is new begins", []fakeRoute{build}, []fakeRoute{build, styles}, "a.scss@0 a.md@1 b.scss@50", 10 * ms, "build:a.md@31-131 css:b.scss@80-180"},
		{"a file that is open is waited for", []fakeRoute{build}, []fakeRoute{build}, "a.md:M@0 a.md:w@500", 10 * ms, "build:a.md@530-630"},

		{"a chain goes on", []fakeRoute{build, reload}, []fakeRoute{build, reload}, "a.md@0 x.html@10", 50 * ms, "build:a.md@30-130 reload:x.html@130"},
		{"with the failure that its end is to know of", []fakeRoute{failing(build, "1"), styles, behind(reload, "build", "css")}, []fakeRoute{build, styles, behind(reload, "build", "css")}, "a.md@0 a.scss@100 x.html@10", 150 * ms, "build:a.md@30-130! css:a.scss@130-230 reload:x.html@230!cancelled"},
		{"which is none when it is of a route that does not come first any more", []fakeRoute{failing(build, "1"), styles, behind(reload, "build", "css")}, []fakeRoute{build, styles, behind(reload, "css")}, "a.md@0 a.scss@100 x.html@10", 150 * ms, "build:a.md@30-130! css:a.scss@130-230 reload:x.html@230"},
		{"or of one that has another Per now", []fakeRoute{failing(build, "1"), styles, behind(reload, "build", "css")}, []fakeRoute{build.with(func(a *fakeRoute) { a.Per = PerFile }), styles, behind(reload, "build", "css")}, "a.md@0 a.scss@100 x.html@10", 150 * ms, "build:a.md@30-130! css:a.scss@130-230 reload:x.html@230"},
		{"who has to wait no more does not", []fakeRoute{slow, reload}, []fakeRoute{slow, behind(reload)}, "a.md@0 x.html@10", 500 * ms, "build:a.md@30-1030 reload:x.html@500"},
		{"who has to wait now does", []fakeRoute{slow, behind(reload)}, []fakeRoute{slow, reload}, "a.md@0 x.html@10", 50 * ms, "build:a.md@30-1030 reload:x.html@1030"},
		{"not for a run of a route that is no more", []fakeRoute{slow, reload}, []fakeRoute{behind(reload)}, "a.md@0 x.html@10", 500 * ms, "build:a.md@30-1030 reload:x.html@500"},
		{"what was kept stays so", []fakeRoute{failing(build, "1"), keeping(reload)}, []fakeRoute{build, keeping(reload)}, "a.md@0 x.html@10 b.md@500", 300 * ms, "build:a.md@30-130! build:b.md@530-630 reload:x.html@630"},
		{"until nothing comes first", []fakeRoute{failing(build, "1"), keeping(reload)}, []fakeRoute{build, behind(keeping(reload))}, "a.md@0 x.html@10", 300 * ms, "build:a.md@30-130! reload:x.html@300"},
		{"what follows is passed on to who follows now", []fakeRoute{slow, pages}, []fakeRoute{slow, pages}, "a.md@0", 500 * ms, "build:a.md@30-1030 pages:a.md@1030"},

		{"each path goes on", []fakeRoute{thumbs}, []fakeRoute{thumbs}, "a@0 b@40 a@50", 60 * ms, "t:a@30-130 t:b@70-170 t:a@130-230"},
		{"a file is waited for until it is closed", []fakeRoute{thumbs}, []fakeRoute{thumbs}, "a:M@0 a:M@1500 a:w@3000", 500 * ms, "t:a@3030-3130"},

		{"what its programs have open is known", []fakeRoute{service}, []fakeRoute{restarted}, "x.log:M@0 x.log:M@500 a@600", 300 * ms, "s:a@700"},
		{"also when that was asked for", []fakeRoute{service}, []fakeRoute{restarted}, "x.log:M@0 x.log:M@500 a@600", 50 * ms, "s:a@700"},
		{"what is not is no output", []fakeRoute{service}, []fakeRoute{restarted}, "x.log:M@0 y.log:M@500 y.log:w@501", 300 * ms, "s:y.log@600"},

		{"paths become one route", []fakeRoute{thumbs}, []fakeRoute{thumbs.with(func(a *fakeRoute) { a.Per = PerRoute })}, "a@0 b@10", 20 * ms, "t:a+b@50-150"},
		{"and a route its paths", []fakeRoute{thumbs.with(func(a *fakeRoute) { a.Per = PerRoute })}, []fakeRoute{thumbs}, "a@0 b@10", 20 * ms, "t:a@50-150 t:b@50-150"},

		{"a run that began before it could be restarted is not", []fakeRoute{slow}, []fakeRoute{slow.with(func(a *fakeRoute) { a.OnBusy = Restart })}, "a.md@0 b.md@200", 100 * ms, "build:a.md@30-1030 build:b.md@1030-2030"},
		{"one that could is", []fakeRoute{slow.with(func(a *fakeRoute) { a.OnBusy = Restart })}, []fakeRoute{slow.with(func(a *fakeRoute) { a.OnBusy = Restart })}, "a.md@0 b.md@200", 100 * ms, "build:a.md@30-230!restarted build:a.md+b.md@230-1230"},
		{"what was refused as a loop goes on with another Per", []fakeRoute{writing(build, "a.md")}, []fakeRoute{build.with(func(a *fakeRoute) { a.Per = PerFile })}, "a.md@0 b.md@9000", 8000 * ms, brokenLoop + " build:b.md@9030-9130 build:a.md@9130-9230"},
		{"a back-off goes on", []fakeRoute{retried}, []fakeRoute{retried}, "a.md@0", 500 * ms, "build:a.md@30-130! build:a.md@1130-1230"},
		{"a loop is not forgotten", []fakeRoute{writing(build, "a.md")}, []fakeRoute{writing(build, "a.md")}, "a.md@0", 350 * ms, brokenLoop},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			got := runRoutesWith(t, Options{Grace: -1}, 0, func(s *runLog) {
				time.Sleep(tt.at)
				mustSet(t, s.router, s.routes(tt.second)...)
			}, tt.events, tt.first...)
			if got != tt.runs {
				t.Errorf("events %q\n got runs %s\nwant runs %s", tt.events, got, tt.runs)
			}
		})
	}
}

// brokenLoop is what becomes of build when it writes a.md.
const brokenLoop = "build:a.md@30-130 build:a.md@130-230 build:a.md@230-330 build:a.md@430-530 build:a.md@730-830 build:a.md@1230-1330 build:a.md@2130-2230 build:a.md@3830-3930 build:a.md@7130!loop"

// SetRoutes with an error changes nothing.
func TestSetRoutesRefusesWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ran := 0
		r := mustNew(t, Options{}, Route{Name: "r", Delay: time.Second, Callback: func(context.Context, []inotify.Event) error {
			ran++
			return nil
		}})
		stop := background(t, r)
		r.Events(word("a"))
		for _, routes := range [][]Route{
			{{Name: "new", Callback: discard}, {Name: "r", Patterns: []string{"["}, Callback: discard}},
			{{Name: "r", After: []string{"gone"}, Callback: discard}},
			{{Name: "r", After: []string{"s"}, Callback: discard}, {Name: "s", After: []string{"r"}, Callback: discard}},
			{{Name: "r", Callback: discard}, {Name: "r", Callback: discard}},
		} {
			if err := r.SetRoutes(routes...); err == nil {
				t.Errorf("%+v are no error", routes)
			}
		}
		if _, err := r.Trigger("new", word("b")...); err == nil {
			t.Error("a route of what was refused is there")
		}
		time.Sleep(time.Minute)
		stop()
		if ran != 1 {
			t.Errorf("what waited has run %d times, want once", ran)
		}
	})
}

// After the end SetRoutes returns ErrStopped.
func TestSetRoutesAfterRun(t *testing.T) {
	r := mustNew(t, Options{}, Route{Name: "r", Callback: discard})
	background(t, r)()
	if err := r.SetRoutes(Route{Name: "s", Callback: discard}); !errors.Is(err, ErrStopped) {
		t.Errorf("got %v, want ErrStopped", err)
	}
}

// A run of a route that is no more counts for Concurrency. SetConcurrency lets more run.
func TestSetRoutesAndConcurrency(t *testing.T) {
	first := fakeRoute{Route: Route{Name: "a", Patterns: []string{"a"}, Delay: -1}, work: time.Second}
	second := fakeRoute{Route: Route{Name: "b", Patterns: []string{"b"}, Delay: -1}}
	for most, want := range map[int]string{1: "a:a@0-1000 b:b@1000", 2: "a:a@0-1000 b:b@0", -1: "a:a@0-1000 b:b@0"} {
		inBubble(t, fmt.Sprint(most), func(t *testing.T) {
			got := runRoutesWith(t, Options{Concurrency: 1}, 0, func(s *runLog) {
				synctest.Wait()
				mustSet(t, s.router, s.routes([]fakeRoute{second})...)
				s.router.Events(word("b"))
				s.router.SetConcurrency(most)
			}, "a@0", first)
			if got != want {
				t.Errorf("with %d callbacks at once, got runs %s, want %s", most, got, want)
			}
		})
	}
}

func TestSetRoutesAndSubmissions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		route := func(name string, work time.Duration) Route {
			return Route{Name: name, Delay: time.Second, Callback: func(context.Context, []inotify.Event) error {
				time.Sleep(work)
				return nil
			}}
		}
		r := mustNew(t, Options{}, route("stays", 0), route("goes", 0))
		stop := background(t, r)
		synctest.Wait()
		both := r.Submit(word("a:")...)
		start := time.Now()
		mustSet(t, r, route("stays", time.Minute), route("new", 0))
		if err := both.Wait(t.Context()); !errors.Is(err, ErrStopped) || time.Since(start) < time.Minute {
			t.Errorf("after %v: %v, want that a part was dropped, when the rest has run", time.Since(start), err)
		}
		kept, err := r.Trigger("new", word("b")...)
		if err != nil {
			t.Fatal(err)
		}
		if err := kept.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		stop()
	})
}

// With another Per, or when the route was removed and is there again, the next run waits for
// those under way, and has the events of one that returns ErrRestarted or ErrKept.
func TestSetRoutesWhileARunGoesOn(t *testing.T) {
	for _, tt := range []struct {
		name    string
		was, is Per
		removed bool // and added again
		err     error
		want    string
	}{
		{"another Per", PerFile, PerRoute, false, nil, "[a c]"},
		{"for a run that gives up", PerFile, PerRoute, false, ErrRestarted, "[a c+a]"},
		{"for one that keeps its events", PerFile, PerRoute, false, ErrKept, "[a c+a]"},
		{"for one of the same Per that gives up", PerRoute, PerRoute, false, ErrRestarted, "[a a+c]"},
		{"removed and added again", PerFile, PerFile, true, nil, "[a a]"},
		{"removed and added again with another Per", PerFile, PerRoute, true, ErrRestarted, "[a a]"},
	} {
		inBubble(t, tt.name, func(t *testing.T) {
			changed := make(chan struct{})
			var mu sync.Mutex
			var got []string
			var running atomic.Int32
			work := func(ends <-chan struct{}, err error) Callback {
				return func(_ context.Context, batch []inotify.Event) error {
					if running.Add(1) > 1 {
						t.Error("runs overlap")
					}
					defer running.Add(-1)
					mu.Lock()
					got = append(got, paths(batch))
					mu.Unlock()
					<-ends
					return err
				}
			}
			at := make(chan struct{})
			close(at)
			r := mustNew(t, Options{}, Route{Name: "r", Delay: -1, Per: tt.was, Callback: work(changed, tt.err)})
			stop := background(t, r)
			synctest.Wait()
			r.Events(word("a"))
			synctest.Wait()
			if tt.removed {
				mustSet(t, r)
			}
			for range 2 {
				mustSet(t, r, Route{Name: "r", Delay: -1, Per: tt.is, Callback: work(at, nil)})
			}
			if tt.removed {
				r.Events(word("a"))
			} else {
				r.Events(word("c"))
			}
			time.Sleep(time.Second)
			close(changed)
			time.Sleep(time.Second)
			stop()
			if s := fmt.Sprint(got); s != tt.want {
				t.Errorf("runs with %s, want %s", s, tt.want)
			}
		})
	}
}

// No write is missed while the routes change again and again, and no run overlaps another.
func TestSetRoutesLosesNothing(t *testing.T) {
	t.Run("with the same directories", func(t *testing.T) { testLosesNothing(t, true) })
	t.Run("with other directories", func(t *testing.T) { testLosesNothing(t, false) })
}

func testLosesNothing(t *testing.T, same bool) {
	const writers, saves, changes = 4, 150, 30
	dir := t.TempDir()
	for w := range writers {
		mkdir(t, filepath.Join(dir, fmt.Sprint(w)))
	}
	var mu sync.Mutex
	last := make(map[string]string) // what a run has read, by path
	var running atomic.Int32
	route := func(n int) Route {
		ignore := []string{".*"}
		if !same {
			ignore = append(ignore, fmt.Sprint("no-such-", n))
		}
		return Route{Name: "r", Ignore: ignore, Delay: 1 * ms, Debounce: -1, ReadOnly: true, Callback: func(_ context.Context, batch []inotify.Event) error {
			if running.Add(1) > 1 {
				t.Error("two runs at once")
			}
			defer running.Add(-1)
			for _, e := range batch {
				text, err := os.ReadFile(e.Name())
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				last[e.Path] = string(text)
				mu.Unlock()
			}
			return nil
		}}
	}
	r := mustNew(t, Options{}, route(0))
	g := listenGroup(t, Listener{Root: dir, Router: r})

	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for n := range saves {
				write(t, filepath.Join(dir, fmt.Sprint(w), fmt.Sprint(n%7)), fmt.Sprint(n))
				time.Sleep(1 * ms)
			}
		})
	}
	for n := range changes {
		mustSet(t, r, route(n))
		time.Sleep(5 * ms)
	}
	writing.Wait()
	flush(t, g)

	// All that is written was read, as soon as the last run is over.
	if err := r.Submit(inotify.Event{Root: dir, Path: "0/0"}).Wait(t.Context()); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for w := range writers {
		for n := saves - 7; n < saves; n++ {
			name := fmt.Sprint(w, "/", n%7)
			if last[name] != fmt.Sprint(n) {
				t.Errorf("%s: the last run read %q, want %d", name, last[name], n)
			}
		}
	}
}

// When SetRoutes returns, what the routes ask for is watched, and nothing else.
func TestSetRoutesChangesWhatIsWatched(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b", "b/c"} {
		mkdir(t, filepath.Join(dir, name))
	}
	batches := make(chan string, 100)
	route := Route{Name: "r", Delay: -1, Debounce: -1, ReadOnly: true, Mask: inotify.CloseWrite, Callback: to(batches)}
	r := mustNew(t, Options{}, route)
	g := listenGroup(t, Listener{Root: dir, Router: r})
	tests := []struct {
		name    string
		change  func(r *Route)
		watches int
		write   string
		want    string
	}{
		{"nothing", func(*Route) {}, 4, "a/x", "a/x"},
		{"timing", func(r *Route) { r.Debounce, r.Per = time.Millisecond, PerFile }, 4, "b/c/x", "b/c/x"},
		{"other patterns", func(r *Route) { r.Patterns = []string{"a/*"} }, 2, "a/x", "a/x"},
		{"others are ignored", func(r *Route) { r.Ignore = []string{"a"} }, 3, "b/c/x", "b/c/x"},
		{"other hidden names", func(r *Route) { r.Ignore, r.Hidden = []string{}, []string{"c"} }, 3, "b/x", "b/x"},
		{"outputs", func(r *Route) { r.Outputs = []string{"b/"} }, 2, "a/x", "a/x"},
		{"nothing below the root", func(r *Route) { r.NotRecursive = true }, 1, "x", "x"},
		{"all again", func(*Route) {}, 4, "b/c/x", "b/c/x"},
		{"other events", func(r *Route) { r.Mask = inotify.Create }, 4, "b/c/new", "b/c/new"},
	}
	for _, tt := range tests {
		changed := route
		tt.change(&changed)
		mustSet(t, r, changed)
		if n := g.Watches(); n != tt.watches {
			t.Errorf("%s: %d directories are watched, want %d", tt.name, n, tt.watches)
		}
		write(t, filepath.Join(dir, tt.write), "x")
		if got := <-batches; got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

// Thousands of routes, each after another, are replaced in a moment.
func BenchmarkSetRoutesOfAChain(b *testing.B) {
	const n = 4000
	routes := make([]Route, n)
	for i := range routes {
		routes[i] = Route{Name: fmt.Sprint("r", i), Patterns: []string{fmt.Sprint(i)}, Callback: discard}
		if i > 0 {
			routes[i].After = []string{fmt.Sprint("r", i-1)}
		}
	}
	r := mustNew(b, Options{}, routes...)
	for b.Loop() {
		mustSet(b, r, routes...)
	}
}
