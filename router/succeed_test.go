package router

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/execlog/execlogd/inotify"
)

// succession plays events to the actors of the first, and from a time on to
// those of the second in their place, and returns all frames as perform does.
func succession(t *testing.T, events string, at time.Duration, first, second []actor) string {
	t.Helper()
	s := &stagehand{start: time.Now(), runs: make(map[string]int)}
	routes := func(actors []actor) (all []Route) {
		for _, a := range actors {
			a.Callback = s.callback(a)
			all = append(all, a.Route)
		}
		return all
	}
	old := mustNew(t, Options{Grace: -1, Post: s.note}, routes(first)...)
	next := mustNew(t, Options{Grace: -1, Post: s.note, Succeeds: old}, routes(second)...)
	s.router = old
	ended := background(t, old)
	synctest.Wait()

	played := make(chan struct{})
	go func() {
		defer close(played)
		play(t, s.start, events, s.events)
	}()
	time.Sleep(at)
	next.takeOver(old)
	s.mu.Lock()
	s.router = next
	s.mu.Unlock()
	ended()
	stop := background(t, next)
	<-played
	time.Sleep(time.Until(s.start.Add(long)))
	stop()
	return s.String()
}

func TestSuccession(t *testing.T) {
	thumbs := actor{Route: Route{Name: "t", Debounce: -1, Per: PerFile}, work: 100 * ms}
	slow := build.with(func(a *actor) { a.work = 1000 * ms })
	// What ends in .log the programs of the route have open, of which the old one
	// knows after 100 ms, and the new one nothing.
	service := actor{Route: Route{Name: "s", Delay: 100 * ms, Debounce: -1, OwnOutput: func(events []inotify.Event) []bool {
		time.Sleep(100 * ms)
		return slices.Repeat([]bool{strings.HasSuffix(events[0].Path, ".log")}, len(events))
	}}}
	restarted := service.with(func(a *actor) {
		a.OwnOutput = func(events []inotify.Event) []bool { return make([]bool, len(events)) }
	})
	tests := []struct {
		name          string
		first, second []actor
		events        string
		at            time.Duration
		frames        string
	}{
		{"what waits goes on", []actor{build}, []actor{build}, "a.md@0", 10 * ms, "build:a.md@30-130"},
		{"with the delay that it has now", []actor{build}, []actor{build.with(func(a *actor) { a.Delay = 200 * ms })}, "a.md@0", 10 * ms, "build:a.md@200-300"},
		{"with what comes later", []actor{build}, []actor{build}, "a.md@0 b.md@20", 10 * ms, "build:a.md+b.md@30-130"},
		{"a run goes on, and the next waits for it", []actor{slow}, []actor{slow}, "a.md@0 b.md@200", 100 * ms, "build:a.md@30-1030 build:b.md@1030-2030"},
		{"a run that has nothing in common with the next too", []actor{slow}, []actor{build}, "a.md@0 b.md@200", 100 * ms, "build:a.md@30-1030 build:b.md@1030-1130"},
		{"the debounce is kept", []actor{build}, []actor{build.with(func(a *actor) { a.Debounce = 1000 * ms })}, "a.md@0 b.md@300", 200 * ms, "build:a.md@30-130 build:b.md@1030-1130"},
		{"what the route is not for any more does not", []actor{build}, []actor{build.with(func(a *actor) { a.Patterns = []string{"b.*"} })}, "a.md@0 b.md@1", 10 * ms, "build:b.md@30-130"},
		{"nor what it does not ask for", []actor{build}, []actor{build.with(func(a *actor) { a.Mask = inotify.Delete })}, "a.md@0", 10 * ms, ""},
		{"what waits for a route that is no more is dropped", []actor{build, styles}, []actor{styles}, "a.md@0 a.scss@1", 10 * ms, "css:a.scss@31-131"},
		{"its run is not", []actor{slow, styles}, []actor{styles}, "a.md@0 b.md@40 a.scss@200", 100 * ms, "build:a.md@30-1030 css:a.scss@230-330"},
		{"a route that is new begins", []actor{build}, []actor{build, styles}, "a.scss@0 a.md@1 b.scss@50", 10 * ms, "build:a.md@31-131 css:b.scss@80-180"},
		{"a file that is open is waited for", []actor{build}, []actor{build}, "a.md:M@0 a.md:w@500", 10 * ms, "build:a.md@530-630"},

		{"a chain goes on", []actor{build, reload}, []actor{build, reload}, "a.md@0 x.html@10", 50 * ms, "build:a.md@30-130 reload:x.html@130"},
		{"with the failure that its end is to know of", []actor{failing(build, "1"), styles, behind(reload, "build", "css")}, []actor{build, styles, behind(reload, "build", "css")}, "a.md@0 a.scss@100 x.html@10", 150 * ms, "build:a.md@30-130! css:a.scss@130-230 reload:x.html@230!cancelled"},
		{"which is none when it is of a route that does not come first any more", []actor{failing(build, "1"), styles, behind(reload, "build", "css")}, []actor{build, styles, behind(reload, "css")}, "a.md@0 a.scss@100 x.html@10", 150 * ms, "build:a.md@30-130! css:a.scss@130-230 reload:x.html@230"},
		{"who has to wait no more does not", []actor{slow, reload}, []actor{slow, behind(reload)}, "a.md@0 x.html@10", 500 * ms, "build:a.md@30-1030 reload:x.html@500"},
		{"who has to wait now does", []actor{slow, behind(reload)}, []actor{slow, reload}, "a.md@0 x.html@10", 50 * ms, "build:a.md@30-1030 reload:x.html@1030"},
		{"not for a run of a route that is no more", []actor{slow, reload}, []actor{behind(reload)}, "a.md@0 x.html@10", 500 * ms, "build:a.md@30-1030 reload:x.html@500"},
		{"what was put aside stays so", []actor{failing(build, "1"), keeping(reload)}, []actor{build, keeping(reload)}, "a.md@0 x.html@10 b.md@500", 300 * ms, "build:a.md@30-130! build:b.md@530-630 reload:x.html@630"},
		{"until nothing comes first", []actor{failing(build, "1"), keeping(reload)}, []actor{build, behind(keeping(reload))}, "a.md@0 x.html@10", 300 * ms, "build:a.md@30-130! reload:x.html@300"},
		{"what follows is passed on to who follows now", []actor{slow, pages}, []actor{slow, pages}, "a.md@0", 500 * ms, "build:a.md@30-1030 pages:a.md@1030"},

		{"each path goes on", []actor{thumbs}, []actor{thumbs}, "a@0 b@40 a@50", 60 * ms, "t:a@30-130 t:b@70-170 t:a@130-230"},
		{"a file is waited for until it is closed", []actor{thumbs}, []actor{thumbs}, "a:M@0 a:M@1500 a:w@3000", 500 * ms, "t:a@3030-3130"},

		{"what its programs have open is known", []actor{service}, []actor{restarted}, "x.log:M@0 x.log:M@500 a@600", 300 * ms, "s:a@700"},
		{"also when that was asked for", []actor{service}, []actor{restarted}, "x.log:M@0 x.log:M@500 a@600", 50 * ms, "s:a@700"},
		{"what is not is no output", []actor{service}, []actor{restarted}, "x.log:M@0 y.log:M@500 y.log:w@501", 300 * ms, "s:y.log@600"},

		{"paths become one route", []actor{thumbs}, []actor{thumbs.with(func(a *actor) { a.Per = PerRoute })}, "a@0 b@10", 20 * ms, "t:a+b@50-150"},
		{"and a route its paths", []actor{thumbs.with(func(a *actor) { a.Per = PerRoute })}, []actor{thumbs}, "a@0 b@10", 20 * ms, "t:a@50-150 t:b@50-150"},

		{"a run that began before it could be restarted is not", []actor{slow}, []actor{slow.with(func(a *actor) { a.OnBusy = Restart })}, "a.md@0 b.md@200", 100 * ms, "build:a.md@30-1030 build:b.md@1030-2030"},
		{"one that could is", []actor{slow.with(func(a *actor) { a.OnBusy = Restart })}, []actor{slow.with(func(a *actor) { a.OnBusy = Restart })}, "a.md@0 b.md@200", 100 * ms, "build:a.md@30-230!restarted build:a.md+b.md@230-1230"},
		{"a loop is not forgotten", []actor{writing(build, "a.md")}, []actor{writing(build, "a.md")}, "a.md@0", 350 * ms, brokenLoop},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if got := succession(t, tt.events, tt.at, tt.first, tt.second); got != tt.frames {
					t.Errorf("events %q\n got frames %s\nwant frames %s", tt.events, got, tt.frames)
				}
			})
		})
	}
}

// brokenLoop is what becomes of build when it writes a.md.
const brokenLoop = "build:a.md@30-130 build:a.md@130-230 build:a.md@230-330 build:a.md@430-530 build:a.md@730-830 build:a.md@1230-1330 build:a.md@2130-2230 build:a.md@3830-3930 build:a.md@7130!loop"

// A run of a route that is no more takes a place among those that may run.
func TestSuccessionKeepsConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		began := make(map[string]time.Duration)
		var mu sync.Mutex
		route := func(name string, work time.Duration) Route {
			return Route{Name: name, Patterns: []string{name}, Delay: -1, Callback: func(context.Context, []inotify.Event) error {
				mu.Lock()
				began[name] = time.Since(start)
				mu.Unlock()
				time.Sleep(work)
				return nil
			}}
		}
		old := mustNew(t, Options{Concurrency: 1}, route("a", time.Second))
		next := mustNew(t, Options{Concurrency: 1, Succeeds: old}, route("b", 0))
		ended := background(t, old)
		synctest.Wait()
		old.Events(word("a"))
		synctest.Wait()
		next.takeOver(old)
		ended()
		next.Events(word("b"))
		stop := background(t, next)
		time.Sleep(2 * time.Second)
		stop()
		if fmt.Sprint(began) != "map[a:0s b:1s]" {
			t.Errorf("began %v, want b when a is over", began)
		}
	})
}

func TestSuccessionAndTickets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		route := func(name string, work time.Duration) Route {
			return Route{Name: name, Delay: time.Second, Callback: func(context.Context, []inotify.Event) error {
				time.Sleep(work)
				return nil
			}}
		}
		old := mustNew(t, Options{}, route("stays", 0), route("goes", 0))
		next := mustNew(t, Options{Succeeds: old}, route("stays", time.Minute), route("new", 0))
		ended := background(t, old)
		synctest.Wait()
		both := old.Submit(word("a:")...)
		kept, err := next.Trigger("new", word("b")...)
		if err != nil {
			t.Fatal(err)
		}
		next.takeOver(old)
		ended()
		start := time.Now()
		stop := background(t, next)
		if err := kept.Wait(t.Context()); err != nil || time.Since(start) > 0 {
			t.Errorf("what waited for the successor is over after %v with %v", time.Since(start), err)
		}
		if err := both.Wait(t.Context()); !errors.Is(err, ErrStopped) || time.Since(start) < time.Minute {
			t.Errorf("after %v: %v, want that a part was dropped, when the rest has run", time.Since(start), err)
		}
		start = time.Now()
		if err := old.Submit(word("a:")...).Wait(t.Context()); err != nil || time.Since(start) < time.Minute {
			t.Errorf("submitted to the old: after %v %v, want that the new has run", time.Since(start), err)
		}
		stop()
	})
}

// A run that its callback gives up in favour of the next one's rules, as when
// its command has changed, leaves it its events.
func TestSuccessionHandsEventsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changed := make(chan struct{})
		var post, got []string
		old := mustNew(t, Options{Post: func(f Frame) { post = append(post, mark(f.Err)) }}, Route{Name: "r", Delay: -1, Callback: func(context.Context, []inotify.Event) error {
			<-changed
			return fmt.Errorf("changed: %w", ErrRestarted)
		}})
		next := mustNew(t, Options{Succeeds: old}, Route{Name: "r", Delay: -1, Callback: func(_ context.Context, batch []inotify.Event) error {
			got = append(got, paths(batch))
			return nil
		}})
		ended := background(t, old)
		synctest.Wait()
		old.Events(words("a b"))
		synctest.Wait()
		next.takeOver(old)
		ended()
		stop := background(t, next)
		next.Events(word("c"))
		close(changed)
		time.Sleep(time.Second)
		stop()
		if fmt.Sprint(post, got) != "[!restarted] [a+b+c]" {
			t.Errorf("frames %v, then runs with %v", post, got)
		}
	})
}

func TestSuccessorRunsTooSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := mustNew(t, Options{}, Route{Name: "r", Callback: discard})
		next := mustNew(t, Options{Succeeds: old}, Route{Name: "r", Callback: discard})
		stop := background(t, old)
		synctest.Wait()
		if err := next.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "not been relieved") {
			t.Errorf("Run beside the old: %v", err)
		}
		stop()
		background(t, next)() // and when that has ended, in its place
	})
}

// Who writes while one group relieves the other, again and again, misses
// nothing, and no run overlaps another.
func TestRelieveLosesNothing(t *testing.T) {
	t.Run("with its own instance", func(t *testing.T) { testRelief(t, false) })
	t.Run("with the same instance", func(t *testing.T) { testRelief(t, true) })
}

func testRelief(t *testing.T, same bool) {
	const writers, saves, reliefs = 4, 150, 30
	dir := t.TempDir()
	var mu sync.Mutex
	last := make(map[string]string) // what a run has read, by path
	var running atomic.Int32
	var made int
	newGroup := func(old *Router, g *Group) (*Router, *Group) {
		made++
		ignore := []string{".*"}
		if !same {
			ignore = append(ignore, fmt.Sprint("no-such-", made))
		}
		r := mustNew(t, Options{Succeeds: old}, Route{Name: "r", Ignore: ignore, Delay: 1 * ms, Debounce: -1, ReadOnly: true, Callback: func(_ context.Context, batch []inotify.Event) error {
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
		}})
		listener := Listener{Root: dir, Router: r}
		next, err := NewGroup(inotify.Options{}, listener)
		if g != nil {
			next.Close()
			next, err = g.Successor(inotify.Options{}, listener)
		}
		if err != nil {
			t.Fatal(err)
		}
		if g != nil && (next.watcher == g.watcher) != same {
			t.Errorf("the same watcher: %v, want %v", next.watcher == g.watcher, same)
		}
		return r, next
	}
	var writing, wg sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for n := range saves {
				write(t, filepath.Join(dir, fmt.Sprint(w, "-", n%7)), fmt.Sprint(n))
				time.Sleep(1 * ms)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, g := newGroup(nil, nil)
	ended := make(chan error, 1)
	run := func(g *Group) { wg.Go(func() { ended <- errors.Join(g.Run(ctx), g.Close()) }) }
	run(g)
	for range reliefs {
		next, relief := newGroup(r, g)
		relief.Relieve(g)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		r, g = next, relief
		run(g)
		time.Sleep(10 * ms)
	}
	writing.Wait()
	if err := g.watcher.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * ms)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	wg.Wait()
	for w := range writers {
		for n := saves - 7; n < saves; n++ {
			name := fmt.Sprint(w, "-", n%7)
			if last[name] != fmt.Sprint(n) {
				t.Errorf("%s: the last run read %q, want %d", name, last[name], n)
			}
		}
	}
}

// A group that is stopped does not hand over, and what it has ends as ever.
func TestRelieveOfAGroupThatStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	began := make(chan struct{})
	dir := t.TempDir()
	old := mustNew(t, Options{Grace: -1}, Route{Name: "r", Delay: -1, Callback: func(ctx context.Context, _ []inotify.Event) error {
		close(began)
		<-ctx.Done()
		return nil
	}})
	g, err := NewGroup(inotify.Options{}, Listener{Root: dir, Router: old})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	next := mustNew(t, Options{Grace: -1, Succeeds: old}, Route{Name: "r", Callback: discard})
	relief, err := g.Successor(inotify.Options{}, Listener{Root: dir, Router: next})
	if err != nil {
		t.Fatal(err)
	}
	defer relief.Close()
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	old.Submit(inotify.Event{Path: "x"})
	<-began
	cancel()
	relief.Relieve(g)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := relief.Run(ctx); err != nil { // ends the run, if that was handed over
		t.Error(err)
	}
}

// What decides is what is watched, not what is done with it.
func TestSuccessorSharesItsInstance(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	route := Route{Name: "r", Patterns: []string{"*.md"}, Callback: discard}
	old := mustNew(t, Options{}, route)
	g, err := NewGroup(inotify.Options{}, Listener{Root: dir, Router: old})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	tests := []struct {
		name   string
		change func(r *Route)
		root   string
		same   bool
	}{
		{"nothing", func(*Route) {}, dir, true},
		{"timing", func(r *Route) { r.Delay, r.Debounce, r.Per = time.Second, -1, PerFile }, dir, true},
		{"another name", func(r *Route) { r.Name = "x" }, dir, true},
		{"other patterns", func(r *Route) { r.Patterns = []string{"*.txt"} }, dir, false},
		{"others are ignored", func(r *Route) { r.Ignore = []string{} }, dir, false},
		{"outputs", func(r *Route) { r.Outputs = []string{"out/"} }, dir, false},
		{"other events", func(r *Route) { r.Mask = inotify.Attrib }, dir, false},
		{"another root", func(*Route) {}, other, false},
	}
	for _, tt := range tests {
		changed := route
		tt.change(&changed)
		next, err := g.Successor(inotify.Options{}, Listener{Root: tt.root, Router: mustNew(t, Options{Succeeds: old}, changed)})
		if err != nil {
			t.Fatal(err)
		}
		if same := next.watcher == g.watcher; same != tt.same {
			t.Errorf("%s: the same instance is %v", tt.name, same)
		}
		if err := next.Close(); err != nil {
			t.Error(err)
		}
	}
	if g.Watches() != 1 {
		t.Error("a successor that was given up has taken the instance along")
	}
	stranger, err := g.Successor(inotify.Options{}, Listener{Root: dir, Router: mustNew(t, Options{}, route)})
	if err != nil || stranger.watcher == g.watcher {
		t.Errorf("a router that succeeds nobody has the same instance, or %v", err)
	}
	stranger.Close()
}

// With another Per, the next run waits for those under way, and gets the events
// of one that gives up.
func TestSuccessionToAnotherPer(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"a run that ends as ever", nil, "[a c]"},
		{"one that gives up", ErrRestarted, "[a c+a]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
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
				old := mustNew(t, Options{}, Route{Name: "r", Delay: -1, Per: PerFile, Callback: work(changed, tt.err)})
				mid := mustNew(t, Options{Succeeds: old}, Route{Name: "r", Delay: -1, Callback: work(at, nil)})
				next := mustNew(t, Options{Succeeds: mid}, Route{Name: "r", Delay: -1, Callback: work(at, nil)})
				ended := background(t, old)
				synctest.Wait()
				old.Events(word("a"))
				synctest.Wait()
				mid.takeOver(old)
				ended()
				next.takeOver(mid)
				stop := background(t, next)
				next.Events(word("c"))
				time.Sleep(time.Second)
				close(changed)
				time.Sleep(time.Second)
				stop()
				if s := fmt.Sprint(got); s != tt.want {
					t.Errorf("runs with %s, want %s", s, tt.want)
				}
			})
		})
	}
}

// Many successions are as light as one.
func TestSuccessionForgets(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	route := Route{Name: "r", Callback: discard}
	first := mustNew(t, Options{}, route)
	if err := first.begin(ctx); err != nil {
		t.Fatal(err)
	}
	second := mustNew(t, Options{Succeeds: first}, route)
	second.takeOver(first)
	third := mustNew(t, Options{Succeeds: second}, route)
	third.takeOver(second)
	forgotten := []weak.Pointer[Router]{weak.Make(first), weak.Make(second)}
	first, second = nil, nil
	runtime.GC()
	for i, r := range forgotten {
		if r.Value() != nil {
			t.Errorf("router %d is kept", i+1)
		}
	}
	cancel()
	if err := third.Run(ctx); err != nil {
		t.Error(err)
	}
}

// Who is told to stop while it is to be relieved, whichever comes first, leaves
// the watcher to the successor, which has nothing to complain of.
func TestRelieveAtTheEnd(t *testing.T) {
	dir := t.TempDir()
	for _, over := range []bool{true, false} {
		old := mustNew(t, Options{}, Route{Name: "r", Delay: time.Minute, Callback: discard})
		g, err := NewGroup(inotify.Options{}, Listener{Root: dir, Router: old})
		if err != nil {
			t.Fatal(err)
		}
		ran := make(chan struct{}, 1)
		next := mustNew(t, Options{Succeeds: old}, Route{Name: "r", Delay: -1, Callback: func(context.Context, []inotify.Event) error {
			ran <- struct{}{}
			return nil
		}})
		relief, err := g.Successor(inotify.Options{}, Listener{Root: dir, Router: next})
		if err != nil {
			t.Fatal(err)
		}
		old.Events(word("x"))
		relief.Relieve(g)
		ctx, cancel := context.WithCancel(t.Context())
		if over {
			cancel()
		}
		if err := errors.Join(g.Run(ctx), g.Close()); err != nil {
			t.Error(err)
		}
		if !over {
			time.AfterFunc(100*ms, cancel)
		}
		if err := errors.Join(relief.Run(ctx), relief.Close()); err != nil {
			t.Errorf("told to stop before: %v: %v", over, err)
		}
		cancel()
		if has := len(ran) > 0; has == over {
			t.Errorf("told to stop before: %v: what waits has run: %v", over, has)
		}
	}
}

// What was queued before the successor listened is told to it all the same.
func TestRelieveDeliversWhatIsQueued(t *testing.T) {
	const files = 3000 // more than is read at once
	dir := t.TempDir()
	old := mustNew(t, Options{}, Route{Name: "r", Delay: time.Second, Callback: discard})
	g, err := NewGroup(inotify.Options{}, Listener{Root: dir, Router: old})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for n := range files {
		write(t, filepath.Join(dir, fmt.Sprint(n)), "1")
	}
	ran := make(chan int, 1)
	next := mustNew(t, Options{Succeeds: old}, Route{Name: "r", Ignore: []string{"other"}, Delay: time.Second, Callback: func(_ context.Context, batch []inotify.Event) error {
		ran <- len(batch)
		return nil
	}})
	relief, err := g.Successor(inotify.Options{}, Listener{Root: dir, Router: next})
	if err != nil {
		t.Fatal(err)
	}
	defer relief.Close()
	relief.Relieve(g)
	ctx, cancel := context.WithCancel(t.Context())
	if err := g.Run(ctx); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- relief.Run(ctx) }()
	select {
	case got := <-ran:
		if got != files {
			t.Errorf("ran for %d files, want %d", got, files)
		}
	case <-time.After(10 * time.Second):
		t.Error("nothing ran")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
