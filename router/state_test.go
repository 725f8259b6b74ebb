package router

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/statelog"
)

// newState returns an empty file for Options.State.
func newState(t testing.TB) *os.File {
	t.Helper()
	f, err := statelog.Memory("state")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// stateNow returns a copy of a file, which is what another process would find if the one that
// writes it were killed now.
func stateNow(t testing.TB, f *os.File) *os.File {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	content := make([]byte, info.Size())
	if _, err := f.ReadAt(content, 0); err != nil {
		t.Fatal(err)
	}
	again := newState(t)
	if _, err := again.Write(content); err != nil {
		t.Fatal(err)
	}
	return again
}

func durable(a fakeRoute) fakeRoute   { return a.with(func(a *fakeRoute) { a.Durable = true }) }
func following(a fakeRoute) fakeRoute { return a.with(func(a *fakeRoute) { a.Follow = true }) }

// A restart is a row of a table: events, the end of the process, and the runs of the next one.
type restart struct {
	name   string
	routes []fakeRoute
	events string
	killed int    // ms after the start
	next   string // events for the next process
	runs   string // of the next process
}

// play plays the row, with an end of the process by its context or, if stopped is false, by
// kill -9. rewritten says that the file was compacted just before.
func (p restart) play(t *testing.T, stopped, rewritten bool) string {
	state := newState(t)
	first := &runLog{start: time.Now(), runs: make(map[string]int)}
	first.router = mustNew(t, Options{State: state, Grace: 50 * ms}, first.routes(p.routes)...)
	stop := background(t, first.router)
	synctest.Wait()
	go play(t, first.start, p.events, first.router.Events)
	time.Sleep(time.Duration(p.killed) * ms)
	synctest.Wait()
	if stopped {
		stop()
	}
	if rewritten {
		first.router.mu.Lock()
		first.router.rewriteState()
		first.router.mu.Unlock()
	}
	state = stateNow(t, state)
	if !stopped {
		stop()
	}
	time.Sleep(time.Second)

	second := &runLog{start: time.Now(), runs: make(map[string]int)}
	second.router = mustNew(t, Options{State: state, Post: second.note}, second.routes(p.routes)...)
	stop = background(t, second.router)
	synctest.Wait()
	play(t, second.start, p.next, second.router.Events)
	time.Sleep(long)
	stop()
	return second.String()
}

// check plays the row with a file that was compacted at its end, and with one that was not.
func (p restart) check(t *testing.T, stopped bool) {
	for _, rewritten := range []bool{false, true} {
		inBubble(t, fmt.Sprintf("%s, rewritten %t", p.name, rewritten), func(t *testing.T) {
			if got := p.play(t, stopped, rewritten); got != p.runs {
				t.Errorf("events %q until %d, then %q\n got runs %s\nwant runs %s", p.events, p.killed, p.next, got, p.runs)
			}
		})
	}
}

func TestRestart(t *testing.T) {
	plain := fakeRoute{Route: Route{Name: "r", Debounce: -1, Durable: true}, work: 100 * ms}
	content := plain.with(func(a *fakeRoute) { a.Mask = inotify.Modify })
	deletes := plain.with(func(a *fakeRoute) { a.Mask = Reload | inotify.Delete })
	perFile := plain.with(func(a *fakeRoute) { a.Per, a.Hold = PerFile, -1 })
	retrying := plain.with(func(a *fakeRoute) { a.fails, a.Retries = "1", 3 })
	restarting := plain.with(func(a *fakeRoute) { a.OnBusy = Restart })
	ignoring := plain.with(func(a *fakeRoute) { a.OnBusy = Ignore })
	keeps := plain.with(func(a *fakeRoute) {
		a.Callback = func(context.Context, []inotify.Event) error { return ErrKept }
	})
	chain := []fakeRoute{durable(build), durable(pages)}

	rows := []restart{
		{"what waits is run", []fakeRoute{plain}, "a@0 b@5", 10, "", "r:a+b@30-130"},
		{"what runs is run again", []fakeRoute{plain}, "a@0", 80, "", "r:a@30-130"},
		{"what came meanwhile is run with it", []fakeRoute{plain}, "a@0 b@50", 80, "", "r:a+b@30-130"},
		{"what is over is not run again", []fakeRoute{plain}, "a@0", 140, "", ""},
		{"what came again is run once", []fakeRoute{plain}, "a@0 a@5 a@50 a@60", 80, "", "r:a@30-130"},
		{"what was written after a run is run", []fakeRoute{plain}, "a@0 a@140", 150, "", "r:a@30-130"},
		{"what failed is over", []fakeRoute{failing(plain, "1")}, "a@0", 140, "", ""},
		{"what waits for another try is run", []fakeRoute{retrying}, "a@0", 500, "", "r:a@30-130! r:a@1130-1230"},
		{"what is kept is run", []fakeRoute{keeps}, "a@0", 500, "", "r:a@30!"},
		{"each file has its own run", []fakeRoute{perFile}, "a@0 b@50 c@90", 100, "", "r:a@30-130 r:b@30-130 r:c@30-130"},
		{"each file is over by itself", []fakeRoute{perFile}, "a@0 b@50 c@90", 140, "", "r:b@30-130 r:c@30-130"},

		{"what is gone is not run", []fakeRoute{plain}, "a@0 a:d@5 b@6", 10, "", "r:b@30-130"},
		{"that it is gone is run", []fakeRoute{deletes}, "a@0 a:d@5", 10, "", "r:a@30-130"},
		{"what is gone afterwards is not run", []fakeRoute{plain}, "a@0 b@0", 10, "a:d@5", "r:b@30-130"},
		{"what was renamed is run by its new name", []fakeRoute{content}, "a@0 a>b@5", 10, "", "r:b@30-130"},
		{"what was renamed afterwards is run by its new name", []fakeRoute{content}, "a@0", 10, "a>b@5", "r:b@30-130"},
		{"half of a rename was known", []fakeRoute{content}, "a@0 c@0 a:f@5", 10, "a>b@5", "r:c+b@30-130"},
		{"half of a rename of each file was known", []fakeRoute{perFile.with(func(a *fakeRoute) { a.Mask = inotify.Modify })}, "a@0 a:f@5", 10, "a>b@5", "r:b@35-135"},
		{"other events follow half a rename", []fakeRoute{content}, "a@0 a:f@5 c@6 c:f@7", 10, "c>d@5", "r:d@30-130"},

		{"what is restarted is run", []fakeRoute{restarting}, "a@0 b@50 c@95", 100, "", "r:a+b+c@30-130"},
		{"what was restarted is over", []fakeRoute{restarting}, "a@0 b@50 a@55", 250, "", ""},
		{"what was tried again is over", []fakeRoute{retrying}, "a@0 a@500", 2000, "", ""},
		{"what was dropped is not run", []fakeRoute{ignoring}, "a@0 b@50", 80, "", "r:a@30-130"},
		{"a route that is not durable has nothing", []fakeRoute{build, durable(styles)}, "a.md@0 b.scss@0", 10, "", "css:b.scss@30-130"},

		{"what runs is followed again", chain, "a.md@0", 80, "", "build:a.md@30-130 pages:a.md@130"},
		{"what follows is run", []fakeRoute{durable(build), durable(behind(following(plain), "build"))}, "a.md@0", 150, "", "r:a.md@30-130"},
		{"what follows a route that is not durable is run", []fakeRoute{build, durable(behind(following(plain), "build"))}, "a.md@0", 150, "", "r:a.md@30-130"},
		{"what followed is over", chain, "a.md@0", 300, "", ""},
		{"what comes after waits again", []fakeRoute{durable(build), durable(reload)}, "a.md@0 x.html@50", 80, "", "build:a.md@30-130 reload:x.html@130"},
		{"what was cancelled is over", []fakeRoute{durable(failing(build, "1")), durable(reload)}, "a.md@0 x.html@50", 200, "", ""},
		{"what waits for a success goes on waiting", []fakeRoute{durable(failing(build, "1")), durable(keeping(reload))}, "a.md@0 x.html@50", 200, "", ""},
		{
			"a success frees what waits for it",
			[]fakeRoute{durable(build.with(func(a *fakeRoute) { a.Callback = failsForA })), durable(keeping(reload))},
			"a.md@0 x.html@10", 200, "b.md@300", "build:b.md@330 reload:x.html@330",
		},
		{"what need not wait for a success any more is run", []fakeRoute{durable(failing(build, "1")), durable(keeping(reload))}, "a.md@0 x.html@50", 110, "", "build:a.md@30-130!"},
	}
	for _, row := range rows {
		row.check(t, false)
	}
}

// failsForA is a callback.
func failsForA(_ context.Context, batch []inotify.Event) error {
	if batch[0].Path == "a.md" {
		return errors.New("no")
	}
	return nil
}

// What a router that was told to stop has not finished is for the next.
func TestRestartAfterStop(t *testing.T) {
	plain := fakeRoute{Route: Route{Name: "r", Debounce: -1, Durable: true}, work: 100 * ms}
	retrying := plain.with(func(a *fakeRoute) { a.fails, a.Retries = "all", 1 })
	short := plain.with(func(a *fakeRoute) { a.work = 20 * ms })
	rows := []restart{
		{"what waits", []fakeRoute{plain}, "a@0", 10, "", "r:a@30-130"},
		{"a run that is ended", []fakeRoute{plain}, "a@0 b@35", 40, "", "r:a+b@30-130"},
		{"a run that fails when it is ended", []fakeRoute{plain.with(func(a *fakeRoute) { a.failsWhenEnded = true })}, "a@0", 40, "", "r:a@30-130"},
		{"a run that has an end in its grace", []fakeRoute{plain}, "a@0 b@85", 90, "", "r:b@30-130"},
		{"a run that fails in its grace", []fakeRoute{failing(plain, "all")}, "a@0", 90, "", ""},
		{"a run that would be tried again", []fakeRoute{retrying}, "a@0", 90, "", "r:a@30-130! r:a@1130-1230!"},
		{"what follows a run in its grace", []fakeRoute{durable(build), durable(behind(following(short), "build"))}, "a.md@0", 90, "", "r:a.md@30-50"},
		{"what comes after a run that is ended", []fakeRoute{durable(build), durable(reload)}, "a.md@0 x.html@35", 40, "", "build:a.md@30-130 reload:x.html@130"},
		{"what comes after a run that fails in its grace", []fakeRoute{durable(failing(build, "all")), durable(reload)}, "a.md@0 x.html@35", 90, "", ""},
	}
	for _, row := range rows {
		row.check(t, true)
	}
}

// resumed returns what a router has in its batches at its start, as route:paths.
func resumed(t *testing.T, state *os.File, routes ...Route) string {
	t.Helper()
	r := mustNew(t, Options{State: stateNow(t, state)}, routes...)
	var all []string
	for _, s := range r.states {
		for q := range s.allQueues() {
			if !q.batch.empty() {
				all = append(all, s.route.Name+":"+paths(eventsOf(q.batch.take())))
			}
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// What comes after the end of a router is for the next one.
func TestEventsAfterTheEnd(t *testing.T) {
	state := newState(t)
	routes := []Route{
		{Name: "r", Mask: inotify.Modify, Delay: time.Hour, Durable: true, Callback: discard},
		{Name: "other", Delay: time.Hour, Callback: discard},
	}
	r := mustNew(t, Options{State: state}, routes...)
	r.Events(words("a b c"))
	background(t, r)()
	r.Events(words("d e e:d a>x"))
	r.Events(words("b:f"))
	r.Events(words("c:d"))
	if got := resumed(t, state, routes...); got != "r:d+x+b" && got != "r:b+d+x" {
		t.Errorf("the next router has %q, want what was not finished", got)
	}
}

// Only what a watcher has brought for a route that is durable is in the file.
func TestWhatIsNotSaved(t *testing.T) {
	state := newState(t)
	routes := []Route{
		{Name: "r", Durable: true, Callback: discard},
		{Name: "other", Callback: discard},
	}
	r := mustNew(t, Options{State: state}, routes...)
	r.Submit(event("submitted", inotify.Modify))
	r.Submit(event("both", inotify.Modify))
	if err := r.Offer("r", event("offered", inotify.Modify)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Trigger("r", event(".", 0)); err != nil {
		t.Fatal(err)
	}
	r.Events(words("watched both"))
	for range 2 {
		if got := resumed(t, state, routes...); got != "r:both+watched" && got != "r:watched+both" {
			t.Errorf("the next router has %q", got)
		}
		mustSet(t, r, routes...) // which rewrites the file
	}
}

// The routes of the next process may be others.
func TestRestartWithOtherRoutes(t *testing.T) {
	state := newState(t)
	route := Route{Name: "r", Delay: time.Hour, Durable: true, Callback: discard}
	r := mustNew(t, Options{State: state}, route)
	r.Events(words("a.x b.y"))
	with := func(change func(*Route)) Route {
		other := route
		change(&other)
		return other
	}
	for _, tt := range []struct {
		name  string
		route Route
		want  string
	}{
		{"the same", route, "r:a.x+b.y"},
		{"by file", with(func(r *Route) { r.Per = PerFile }), "r:a.x r:b.y"},
		{"other patterns", with(func(r *Route) { r.Patterns = []string{"*.x"} }), "r:a.x"},
		{"another name", with(func(r *Route) { r.Name = "s" }), ""},
		{"not durable", with(func(r *Route) { r.Durable = false }), ""},
		{"another mask", with(func(r *Route) { r.Mask = inotify.Delete }), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := resumed(t, state, tt.route); got != tt.want {
				t.Errorf("the next router has %q, want %q", got, tt.want)
			}
		})
	}
}

// The routes may become others while they are in use.
func TestStateAfterSetRoutes(t *testing.T) {
	state := newState(t)
	route := Route{Name: "r", Delay: time.Hour, Callback: discard}
	durable := route
	durable.Durable = true
	r := mustNew(t, Options{State: state}, route)
	r.Events(words("a"))
	if got := resumed(t, state, durable); got != "" {
		t.Errorf("before the route is durable the next router has %q", got)
	}
	mustSet(t, r, durable)
	if got := resumed(t, state, durable); got != "r:a" {
		t.Errorf("when the route has become durable the next router has %q", got)
	}
	mustSet(t, r)
	mustSet(t, r, durable)
	if got := resumed(t, state, durable); got != "" {
		t.Errorf("when the route was gone the next router has %q", got)
	}
}

// A router that has no routes yet, or whose routes are wrong, leaves what is in the file for
// the one that has some.
func TestStateBeforeRoutes(t *testing.T) {
	state := newState(t)
	route := Route{Name: "r", Delay: time.Hour, Durable: true, Callback: discard}
	mustNew(t, Options{State: state}, route).Events(words("a"))
	if _, err := New(Options{State: state}, Route{Name: "r"}); err == nil {
		t.Fatal("a route without a callback is none")
	}
	r := mustNew(t, Options{State: state})
	mustSet(t, r, route)
	if got := resumed(t, state, route); got != "r:a" {
		t.Errorf("the next router has %q", got)
	}
}

// What the loop guard refuses goes with the next batch, also of the next process.
func TestRestartAfterLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := newState(t)
		loop := fakeRoute{Route: Route{Name: "r", Debounce: -1, Durable: true}, work: 100 * ms, writes: "b"}
		if got := runRoutes(t, Options{State: state}, "a@0", loop); !strings.HasSuffix(got, "!loop") {
			t.Fatalf("no loop: %s", got)
		}
		loop.Callback = discard
		if got := resumed(t, state, loop.Route); got != "r:b" {
			t.Errorf("the next router has %q", got)
		}
	})
}

// What the route's own programs have written is not in the file, once they are known.
func TestOutputsAreNotSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := newState(t)
		route := Route{Name: "r", Delay: time.Hour, Durable: true, Callback: discard, OwnOutput: func(events []inotify.Event) []bool {
			return make([]bool, len(events))
		}}
		own := route
		own.OwnOutput = func(events []inotify.Event) (isOwn []bool) {
			for _, e := range events {
				isOwn = append(isOwn, strings.HasPrefix(e.Path, "out"))
			}
			return isOwn
		}
		r := mustNew(t, Options{State: state}, own)
		stop := background(t, r)
		defer stop()
		synctest.Wait()
		r.Events(words("out1:M in out2:M"))
		if got := resumed(t, state, route); got != "r:out1+in+out2" {
			t.Errorf("before the answer the next router has %q", got)
		}
		time.Sleep(time.Second)
		if got := resumed(t, state, route); got != "r:in" {
			t.Errorf("after the answer the next router has %q", got)
		}
	})
}

// The file stays small, whatever was in it.
func TestStateIsCompacted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := newState(t)
		route := Route{Name: "r", Per: PerFile, Delay: -1, Debounce: -1, Hold: -1, Durable: true, Callback: discard}
		r := mustNew(t, Options{State: state}, route)
		defer background(t, r)()
		synctest.Wait()
		most := int64(0)
		for i := range 200 {
			var events []inotify.Event
			for j := range 100 {
				events = append(events, event(fmt.Sprintf("a directory with a long name/file %d", 100*i+j), inotify.Modify))
			}
			r.Events(events)
			time.Sleep(time.Second)
			info, err := state.Stat()
			if err != nil {
				t.Fatal(err)
			}
			most = max(most, info.Size())
		}
		if most > 1<<20 {
			t.Errorf("the file had up to %d bytes, of 20,000 files one after the other", most)
		}
		if got := resumed(t, state, route); got != "" {
			t.Errorf("the next router has %q", got)
		}
	})
}

// A router whose file cannot be written says so once and works; the next has nothing.
func TestStateCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := newState(t)
		ran := make(chan string, 2)
		var problems []error
		route := Route{Name: "r", Durable: true, Callback: to(ran)}
		r := mustNew(t, Options{State: state, Problem: func(err error) { problems = append(problems, err) }}, route)
		defer background(t, r)()
		r.Events(words("a"))
		r.saved.log.Close()
		r.Events(words("b"))
		if got := <-ran; got != "a+b" {
			t.Errorf("the run has %q", got)
		}
		r.Events(words("c"))
		<-ran
		if len(problems) != 1 || !strings.Contains(problems[0].Error(), "the next start will not know") {
			t.Errorf("problems: %v", problems)
		}
	})
}

// Whatever is in the file, a router begins.
func FuzzState(f *testing.F) {
	l := new(stateLog)
	l.save("r", &entry{event: inotify.Event{Root: "/srv", Path: "a", From: "b", Mask: inotify.MovedTo}, pinned: true})
	l.save("r", &entry{event: event("c", inotify.Modify), kept: true})
	l.finish(&entry{id: 1})
	f.Add(l.record)
	f.Add([]byte{entryFinished})
	f.Fuzz(func(t *testing.T, record []byte) {
		entries, err := savedEntries([][]byte{record})
		if err != nil {
			return
		}

		// What was understood is the same when it is written and read again.
		again := new(stateLog)
		for _, x := range entries {
			again.save(x.route, &x.entry)
		}
		same, err := savedEntries([][]byte{again.record})
		if err != nil || len(same) != len(entries) {
			t.Fatalf("%d entries became %d: %v", len(entries), len(same), err)
		}
		for i, x := range same {
			if y := entries[i]; x.route != y.route || x.event != y.event || x.flags() != y.flags() {
				t.Errorf("%+v became %+v", y, x)
			}
		}
	})
}

// Chains of all kinds under random events, in a process that is killed again and again: every
// event ends in a run that is over.
func TestManyChainsAreKilled(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		inBubble(t, fmt.Sprint("seed ", seed), func(t *testing.T) {
			m := &manyChains{rnd: rand.New(rand.NewPCG(seed, 3))}
			opts := Options{Concurrency: 1 + m.dice(4), State: newState(t), Grace: -1}
			routes := m.routes()
			for i := range routes {
				routes[i].Durable, routes[i].Retries, routes[i].Mask = true, m.dice(2), inotify.Modify
			}
			stop := m.begin(t, opts, routes)

			var sent []string
			for i := range 200 {
				kind := []string{"a", "b", "c", "d", "e", "all"}[m.dice(6)]
				path := fmt.Sprintf("%d.%s", i, kind)
				events, old := word(path), path
				if m.dice(5) == 0 {
					path = "new" + path
					events = append(events, word(old+">"+path)...)
				}
				half := m.dice(len(events))
				m.router.Events(events[:half])
				if m.dice(10) == 0 {
					stop()
					opts.State = m.state
					stop = m.begin(t, opts, routes)
				}
				m.router.Events(events[half:])
				for _, name := range "abcde" {
					if kind == "all" || kind == string(name) {
						sent = append(sent, fmt.Sprintf("%c:%s|%[1]c:%[3]s", name, path, old)) // the run may have begun before the rename
					}
				}
				time.Sleep(time.Duration(m.dice(30)) * ms)
			}
			time.Sleep(long)
			stop()
			m.checkCovered(t, sent)
		})
	}
}

// begin runs a router with the state of opts. When it is killed, it ends, the next is to begin
// with m.state, and runs that end later do not count.
func (m *manyChains) begin(t *testing.T, opts Options, routes []Route) (kill func()) {
	isKilled := false
	opts.Post = func(f Run) {
		m.mu.Lock()
		killed := isKilled
		m.mu.Unlock()
		if !killed {
			m.note(f)
		}
	}
	m.router = mustNew(t, opts, routes...)
	m.router.schedule.Sleep = func(time.Duration) {} // or most of it is waiting
	stop := background(t, m.router)
	return func() {
		m.router.mu.Lock() // so that no run has been noted, and is not over
		m.mu.Lock()
		isKilled = true
		m.state = stateNow(t, opts.State)
		m.mu.Unlock()
		m.router.mu.Unlock()
		stop()
	}
}

// The process may end between the two halves of a rename.
func TestRestartInRename(t *testing.T) {
	for _, per := range []Per{PerRoute, PerFile} {
		state := newState(t)
		route := Route{Name: "r", Mask: inotify.Modify, Per: per, Delay: time.Hour, Durable: true, Callback: discard}
		r := mustNew(t, Options{State: state}, route)
		r.Events(words("a c"))
		r.Events(word("a>b")[:1])

		next := stateNow(t, state)
		mustNew(t, Options{State: next}, route).Events(word("a>b")[1:])
		want := map[Per]string{PerRoute: "r:c+b", PerFile: "r:b r:c"}[per]
		if got := resumed(t, next, route); got != want {
			t.Errorf("the next router has %q, want %q", got, want)
		}
	}
}

// A file that was removed and made again is not said to be gone.
func TestRestartWithNewFile(t *testing.T) {
	state := newState(t)
	route := Route{Name: "r", Mask: inotify.Modify | inotify.Delete, Delay: time.Hour, Durable: true, Callback: discard}
	mustNew(t, Options{State: state}, route).Events(words("a a:d a:c"))
	_, records, err := statelog.Open(stateNow(t, state))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := savedEntries(records)
	if err != nil || len(entries) != 1 || entries[0].event.Mask != inotify.Modify {
		t.Errorf("in the file is %+v (%v), want that a was modified", entries, err)
	}
}
