package router

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// selfWriting is a route whose runs of 800 ms write the file out in their middle.
var selfWriting = fakeRoute{Route: Route{Name: "r", Delay: -1, Debounce: -1}, work: 800 * ms, writes: "out"}

// copying is a route for *.name whose runs write when a third of their work is done.
func copying(name string, work time.Duration, writes string) fakeRoute {
	return fakeRoute{
		Route: Route{Name: name, Patterns: []string{"*." + name}, Delay: -1, Debounce: -1},
		work:  work, writesAfter: work / 3, writes: writes,
	}
}

func TestALoopIsDelayedAndRefused(t *testing.T) {
	scenario{
		"a build that writes what it watches",
		[]fakeRoute{selfWriting},
		"a@0",
		"r:a@0-800 r:out@800-1600 r:out@1600-2400 r:out@2600-3400 r:out@3800-4600 r:out@5400-6200 r:out@7800-8600 r:out@11800-12600 r:out@19000!loop",
	}.run(t, Options{Grace: -1})
}

// Each loop is refused after a few runs, with an error that names the routes of
// the loop and at least one file.
func TestLoopsAreRefused(t *testing.T) {
	a, b, c := copying("a", 401*ms, "x.b"), copying("b", 511*ms, "x.a"), copying("c", 337*ms, "x.a")
	follow := b.with(func(a *fakeRoute) { a.Name, a.Patterns, a.After, a.Follow = "f", nil, []string{"a"}, true })
	service := b.with(func(a *fakeRoute) { a.OnBusy, a.work = Restart, long })
	for _, tt := range []struct {
		name   string
		routes []fakeRoute
		loop   []string // sorted
	}{
		{"a build that writes what it watches", []fakeRoute{copying("a", 401*ms, "x.a")}, []string{"a"}},
		{"a build that writes more and more files", []fakeRoute{copying("a", 401*ms, "x.a y.a z.a")}, []string{"a"}},
		{"a fast build", []fakeRoute{copying("a", 3*ms, "x.a")}, []string{"a"}},
		{"a slow build", []fakeRoute{copying("a", 40*time.Second, "x.a")}, []string{"a"}},
		{"a build of each file that writes the file", []fakeRoute{copying("a", 401*ms, "x.a").with(func(a *fakeRoute) { a.Per = PerFile })}, []string{"a"}},
		{"a server that writes as it starts", []fakeRoute{copying("a", long, "x.a").with(func(a *fakeRoute) { a.OnBusy, a.writesAfter = Restart, 20*ms })}, []string{"a"}},
		{"two routes", []fakeRoute{a, b}, []string{"a", "b"}},
		{"three routes", []fakeRoute{a, writing(b, "x.c"), c}, []string{"a", "b", "c"}},
		{"a route and one that follows it", []fakeRoute{writing(a, ""), follow}, []string{"a", "f"}},
		{"a build and the server that it is for", []fakeRoute{a, service}, []string{"a", "b"}},
		{"two routes while another runs", []fakeRoute{a, b, copying("j", long, "")}, []string{"a", "b"}},
		{"a route that always asks for another run", []fakeRoute{{Route: Route{Name: "a", Debounce: -1, Callback: func(context.Context, []inotify.Event) error {
			time.Sleep(100 * ms)
			return ErrRestarted
		}}}}, []string{"a"}},
	} {
		inBubble(t, tt.name, func(t *testing.T) {
			sim, log := newSimulation(1), &runLog{runs: make(map[string]int)}
			sim.play(t, Options{Grace: -1, Post: sim.note}, log.routes(tt.routes), func() {
				log.router = sim.router
				sim.router.Events(words("x.j x.a"))
			})
			sim.wantLoops(t, 1, 1, tt.loop)
			if most := 2 * maxGeneration * len(tt.routes); sim.runs > most {
				t.Errorf("%d runs, want at most %d", sim.runs, most)
			}
		})
	}
}

// Loops of many files are refused after a few runs for each file, with one
// message for all files or nearly so.
func TestLoopsOfManyFilesAreRefused(t *testing.T) {
	var sim *simulation
	copies := func(replace bool, suffixes ...string) Callback {
		return func(ctx context.Context, batch []inotify.Event) error {
			return sim.copies(replace, suffixes...)(ctx, batch)
		}
	}
	perFile := func(name, pattern string, do Callback) Route {
		return Route{Name: name, Patterns: []string{pattern}, Per: PerFile, Debounce: -1, Callback: do}
	}
	a, b := perFile("a", "*.a", copies(true, ".b")), perFile("b", "*.b", copies(true, ".a"))
	plainA, ofAll := perFile("a", "*.a", copies(true)), b.with(func(r *Route) { r.Per = PerRoute })
	follower := perFile("b", "*.b", copies(true, ".a")).with(func(r *Route) { r.Patterns, r.After, r.Follow = nil, []string{"a"}, true })
	service := ofAll.with(func(r *Route) {
		r.OnBusy = Restart
		r.Callback = func(ctx context.Context, batch []inotify.Event) error {
			err := b.Callback(ctx, batch)
			<-ctx.Done()
			return err
		}
	})
	again := func(ctx context.Context, batch []inotify.Event) error {
		return errors.Join(b.Callback(ctx, batch), b.Callback(ctx, batch), b.Callback(ctx, batch))
	}
	tests := []struct {
		name   string
		routes []Route // all of which are in the loop
		runs   int     // for each file, at most
		loops  int     // at most
	}{
		{"thumbnails of thumbnails", []Route{perFile("thumb", "*", copies(false, ".thumb"))}, 10, 1},
		{"thumbnails of thumbnails in two sizes", []Route{perFile("thumb", "*", copies(false, ".s", ".l"))}, 20, 1},
		{"two routes by file", []Route{a, b}, 50, 2},
		{"one by file and one of all", []Route{a, ofAll}, 50, 3},
		{"one of all that waits for the other", []Route{a, ofAll.with(func(r *Route) { r.After = []string{"a"} })}, 50, 1},
		{"a service that writes as it starts", []Route{a, service}, 50, 8},
		{"one that follows", []Route{plainA, follower}, 50, 2},
		{"one that follows and writes again and again", []Route{
			plainA.with(func(r *Route) { r.Per, r.Debounce = PerRoute, 0 }),
			{Name: "b", After: []string{"a"}, Follow: true, Callback: again},
		}, 50, 1},
	}
	for _, tt := range tests {
		for _, n := range []int{1, 5, 40} {
			inBubble(t, fmt.Sprintf("%s/%d", tt.name, n), func(t *testing.T) {
				sim = newSimulation(1)
				sim.play(t, Options{Concurrency: 4, Post: sim.note}, tt.routes, func() {
					sim.saveAll(n, "%d.a")
					time.Sleep(time.Hour)
					synctest.Wait()
					for _, s := range sim.router.states {
						if s.busy != s.running {
							t.Errorf("route %q keeps those behind it waiting for %d queues, of which %d run", s.route.Name, s.busy, s.running)
						}
					}
				})
				var loop []string
				for _, route := range tt.routes {
					loop = append(loop, route.Name)
				}
				sim.wantLoops(t, 1, tt.loops, loop)
				if sim.runs > n*tt.runs {
					t.Errorf("%d runs, want at most %d", sim.runs, n*tt.runs)
				}
			})
		}
	}
}

// A program that keeps running and starts itself again by what it writes is found
// out after a few starts, whenever it writes.
func TestServersThatTriggerThemselvesAreRefused(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		name   string
		writes []writeAt
	}{
		{"at once", []writeAt{{"out", ms}}},
		{"soon", []writeAt{{"out", 700 * ms}}},
		{"after more than a second", []writeAt{{"out", 1200 * ms}}},
		{"after long", []writeAt{{"out", 20 * s}}},
		{"at two times", []writeAt{{"a", 400 * ms}, {"b", 3 * s}}},
		{"at three times", []writeAt{{"a", 1200 * ms}, {"b", 2 * s}, {"c", 5 * s}}},
		{"a file of another name each time", []writeAt{{"N.out", 1500 * ms}}},
		{"again and again", every(300*ms, 2*time.Hour)},
		{"again and again, slowly", every(4*s, 2*time.Hour)},
		{"at once, and again and again", append([]writeAt{{"out", ms}}, every(900*ms, 2*time.Hour)...)},
	} {
		for way := range new(server).routes() {
			inBubble(t, tt.name+"/"+way, func(t *testing.T) {
				sim, srv := newSimulation(1), &server{writes: tt.writes}
				sim.serve(t, srv, way, nil, func() {
					sim.router.Trigger("server", inotify.Event{Path: "."})
					time.Sleep(time.Hour)
					starts := srv.starts.Load()
					if starts > 30 {
						t.Errorf("%d starts in an hour", starts)
					}

					sim.router.Events(word("save"))
					time.Sleep(10 * s)
					if srv.starts.Load() == starts {
						t.Error("a save does not start it again")
					}
				})
				sim.wantLoops(t, 1, math.MaxInt, []string{"server"})
			})
		}
	}
}

func TestNoLoops(t *testing.T) {
	pages := reload.with(func(a *fakeRoute) { a.Patterns, a.After = nil, []string{"r"} })
	for _, tt := range []scenario{
		{"an output that is named does not trigger", []fakeRoute{selfWriting.with(func(a *fakeRoute) { a.Outputs = []string{"out"} })}, "a@0", "r:a@0-800"},
		{"nor does what is below it", []fakeRoute{writing(selfWriting, "out/x/y").with(func(a *fakeRoute) { a.Outputs = []string{"out/"} })}, "a@0", "r:a@0-800"},
		{"but it triggers others", []fakeRoute{selfWriting.with(func(a *fakeRoute) { a.Outputs = []string{"out"} }), pages}, "a@0", "r:a@0-800 reload:a+out@800"},
		{"an event while nothing runs shows that there is no loop", []fakeRoute{writing(selfWriting, "")}, "a@0 a@700 a@1500 a@2300 a@2500 a@3100 a@3900 a@4700 a@5500", "r:a@0-800 r:a@800-1600 r:a@1600-2400 r:a@2500-3300 r:a@3300-4100 r:a@4100-4900 r:a@5100-5900 r:a@6300-7100"},
		{"what comes between runs is not delayed", []fakeRoute{writing(selfWriting, "")}, "a@0 a@900 a@1800 a@2700 a@3600 a@4500 a@5400 a@6300", "r:a@0-800 r:a@900-1700 r:a@1800-2600 r:a@2700-3500 r:a@3600-4400 r:a@4500-5300 r:a@5400-6200 r:a@6300-7100"},
		{"a route that changes nothing is not delayed", []fakeRoute{selfWriting.with(func(a *fakeRoute) { a.work, a.lastWriting, a.ReadOnly = 40*ms, 9, true })}, "a@0", "r:a@0-40 r:out@40-80 r:out@80-120 r:out@120-160 r:out@160-200 r:out@200-240 r:out@240-280 r:out@280-320 r:out@320-360 r:out@360-400"},
		{"what comes while Post is not done is not delayed", []fakeRoute{withSlowPost(selfWriting).with(func(a *fakeRoute) { a.work, a.writes = 10*ms, "" })}, "a@0 a@40 a@100 a@160 a@220 a@280 a@340", "r:a@0-10 r:a@60-70 r:a@120-130 r:a@180-190 r:a@240-250 r:a@300-310 r:a@360-370"},
		{"what comes while another route runs is not delayed", []fakeRoute{writing(selfWriting, ""), copying("j", long, "").with(func(a *fakeRoute) { a.Patterns = []string{"*.j"} })}, "x.j@0 a@900 a@1800 a@2700 a@3600 a@4500", "j:x.j@0-3600000 r:x.j@0-800 r:a@900-1700 r:a@1800-2600 r:a@2700-3500 r:a@3600-4400 r:a@4500-5300"},
	} {
		tt.run(t, Options{Grace: -1})
	}
}

// With PerFile the third generation goes one file at a time.
func TestDelayedFilesGoOneAfterTheOther(t *testing.T) {
	// Runs of 900 ms; the first four save x and y.
	files := copying("f", 900*ms, "x y").with(func(a *fakeRoute) { a.Per, a.Patterns, a.lastWriting = PerFile, nil, 4 })
	for _, tt := range []scenario{
		{"until nothing comes of one", []fakeRoute{files}, "x@0 y@10", "f:x@0-900 f:y@10-910 f:x@900-1800 f:y@910-1810 f:x@2035-2935 f:y@2935-3835"},
		{"or an event of any path comes that no run can have caused", []fakeRoute{files}, "x@0 y@10 z@1900", "f:x@0-900 f:y@10-910 f:x@900-1800 f:y@910-1810 f:x@1900-2800 f:y@1900-2800 f:z@1900-2800"},
		{"except the one of a file that has gone away", []fakeRoute{files}, "x@0 y@10 x:d@1850", "f:x@0-900 f:y@10-910 f:x@900-1800 f:y@910-1810 f:y@2035-2935"},
	} {
		tt.run(t, Options{Grace: -1})
	}
}

// What was refused goes with the next event that no run can have caused.
func TestARefusedBatchGoesWithTheNext(t *testing.T) {
	fast := selfWriting.with(func(a *fakeRoute) { a.work, a.lastWriting = 40*ms, 8 })
	for _, tt := range []scenario{
		{"in one run", []fakeRoute{fast}, "a@0 b@15000 c@16000", "r:a@0-40 r:out@40-80 r:out@80-120 r:out@220-260 r:out@460-500 r:out@900-940 r:out@1740-1780 r:out@3380-3420 r:out@6620!loop r:out+b@15000-15040 r:c@16000-16040"},
		{"who waits for a loop is cancelled with it", []fakeRoute{fast, behind(pages, "r")}, "a@0", "r:a@0-40 r:out@40-80 r:out@80-120 r:out@220-260 r:out@460-500 r:out@900-940 r:out@1740-1780 r:out@3380-3420 pages:a+out@6620!cancelled r:out@6620!loop"},
	} {
		tt.run(t, Options{Grace: -1})
	}
}

// After thumbnails were refused as a loop, a file that is saved has its run.
func TestFileAfterALoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(1)
		sim.play(t, Options{Post: sim.note}, []Route{{Name: "thumb", Per: PerFile, Callback: sim.copies(false, ".thumb")}}, func() {
			sim.saveAll(1, "%d.jpg")
			time.Sleep(long)
			sim.saveAll(1, "%d.png")
		})
		sim.wantLoops(t, 2, 2, []string{"thumb"})
		if !sim.ran["0.png"] || !sim.ran["0.png.thumb"] {
			t.Errorf("ran %v", sim.ran)
		}
	})
}

// Files that come during the runs of others as often as makes a loop, and then
// do not, run after the next file.
func TestRefusedFilesRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(1)
		begun := 0 // runs, of which no two go on at once as long as they write
		work := func(context.Context, []inotify.Event) error {
			time.Sleep(time.Second)
			sim.mu.Lock()
			begun++
			writes := fmt.Sprint("run", begun)
			if begun == firstDelayed {
				writes += " other"
			}
			if begun > maxGeneration {
				writes = ""
			}
			sim.mu.Unlock()
			sim.router.Events(words(writes))
			time.Sleep(time.Second)
			return nil
		}
		sim.play(t, Options{Post: sim.note}, []Route{{Name: "r", Per: PerFile, Debounce: -1, Callback: work}}, func() {
			sim.saveAll(1, "first%d")
			time.Sleep(long)
			sim.mu.Lock()
			if len(sim.loops) != 1 || paths(sim.loops[0].Events) != "run8+other" {
				t.Errorf("refused %v, want run8 and other", sim.loops)
			}
			sim.mu.Unlock()
			sim.saveAll(1, "last%d")
		})
		sim.wantLoops(t, 1, 1, []string{"r"})
		if !sim.ran["last0"] || !sim.ran["run8"] || !sim.ran["other"] {
			t.Errorf("ran %v", sim.ran)
		}
	})
}

// When the files of a loop run again after another file, the first of them shows that it is
// one, and the others are refused with it.
func TestALoopOfManyFilesIsNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(1)
		sim.play(t, Options{Post: sim.note}, []Route{{Name: "thumb", Per: PerFile, Callback: sim.copies(false, ".thumb")}}, func() {
			sim.saveAll(40, "%d.jpg")
			time.Sleep(long)
			sim.mu.Lock()
			sim.runs = 0
			sim.mu.Unlock()
			sim.saveAll(1, "%d.png")
		})
		if most := 4 * maxGeneration; sim.runs > most || !sim.ran["0.png"] {
			t.Errorf("%d runs after one file, want at most %d", sim.runs, most)
		}
	})
}

// A program that appends to its log is reported once. From then on its log alone does
// not start it again, at whatever times it is written, until somebody asks for that or
// the log has been left alone for a minute.
func TestReportedFilesAloneAreNoTrigger(t *testing.T) {
	const s = time.Second
	for way := range new(server).routes() {
		inBubble(t, way, func(t *testing.T) {
			sim, srv := newSimulation(1), &server{writes: every(300*ms, 2*time.Minute)}
			sim.serve(t, srv, way, nil, func() {
				sim.router.Trigger("server", inotify.Event{Path: "."})
				time.Sleep(90 * s)
				synctest.Wait()
				if n := len(sim.loops); n != 1 {
					t.Errorf("the log is reported %d times, want once", n)
				}

				sim.router.Events(word("save"))
				time.Sleep(s)
				starts := srv.starts.Load()
				for range 1000 {
					sim.router.Events(word("log"))
					time.Sleep(sim.between(50*ms, 5*s))
				}
				if n := srv.starts.Load() - starts; n != 0 {
					t.Errorf("the log that was reported has started it %d times", n)
				}

				sim.router.Trigger("server", word("log")...)
				time.Sleep(s)
				if n := srv.starts.Load() - starts; n != 1 {
					t.Errorf("there are %d starts when the log is asked for, want one", n)
				}

				time.Sleep(4 * time.Minute) // which is two after the last append
				starts = srv.starts.Load()
				sim.router.Events(word("log"))
				time.Sleep(s)
				if srv.starts.Load() == starts {
					t.Error("a save of the log that was left alone does not start it")
				}
			})
		})
	}
}

// With PerFile an event that starts nothing leaves no queue.
func TestMutedFileLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := mustNew(t, Options{}, Route{Name: "r", Per: PerFile, Background: true, Callback: discard})
		stop := background(t, r)
		synctest.Wait()
		r.states[0].loop.reported = map[key]time.Time{keyOf(word("log")[0]): time.Now()}
		r.Events(word("log"))
		if n := len(r.states[0].queues); n != 0 {
			t.Errorf("%d queues are left, want none", n)
		}
		stop()
	})
}

// Saves and uploads are never taken for a loop, however often they come while
// runs go on: of half a million none is refused, or hardly one, and each has had its
// run soon after the last has come.
func TestHonestEventsAreNoLoop(t *testing.T) {
	t.Parallel()
	const (
		s      = time.Second
		events = 20_000 // of each row and seed
	)
	sleep := func(sim *simulation, least, most time.Duration) Callback {
		return func(context.Context, []inotify.Event) error {
			time.Sleep(sim.between(least, most))
			return nil
		}
	}
	for _, tt := range []struct {
		name   string
		pause  func(*simulation) time.Duration
		routes func(*simulation) []Route
	}{
		{"saves during slow builds", func(sim *simulation) time.Duration { return sim.between(100*ms, 2*s) }, func(sim *simulation) []Route {
			return []Route{{Name: "work", Callback: sleep(sim, 4*s, 6*s)}}
		}},
		{"saves about as often as builds", func(sim *simulation) time.Duration { return sim.between(s, 5*s) }, func(sim *simulation) []Route {
			return []Route{{Name: "work", Callback: sleep(sim, 2*s, 4*s)}}
		}},
		{"saves during a job of ten minutes", func(sim *simulation) time.Duration { return sim.between(s, 5*s) }, func(sim *simulation) []Route {
			return []Route{
				{Name: "work", Callback: sleep(sim, 5*s, 5*s+1)},
				{Name: "job", After: []string{"work"}, Follow: true, Callback: sleep(sim, 600*s, 600*s+1)},
			}
		}},
		{"uploads during runs of other uploads", func(sim *simulation) time.Duration { return sim.between(0, 800*ms) }, func(sim *simulation) []Route {
			return []Route{{Name: "work", Per: PerFile, Callback: sleep(sim, 0, 2*s)}}
		}},
		{"uploads in bursts", func(sim *simulation) time.Duration { return sim.logNormal(200*ms, 2) }, func(sim *simulation) []Route {
			return []Route{{Name: "work", Per: PerFile, Callback: sleep(sim, 0, 2*s)}}
		}},
		{"uploads from which a gallery is made", func(sim *simulation) time.Duration { return sim.between(0, 800*ms) }, func(sim *simulation) []Route {
			return []Route{
				{Name: "work", Per: PerFile, Callback: sleep(sim, 0, 2*s)},
				{Name: "gallery", After: []string{"work"}, Follow: true, Callback: sleep(sim, 2*s, 2*s+1)},
			}
		}},
	} {
		for seed := range uint64(3) {
			inParallelBubble(t, fmt.Sprintf("%s/seed %d", tt.name, seed), func(t *testing.T) {
				sim := newSimulation(seed)
				sim.play(t, Options{Concurrency: 4, Post: sim.note}, tt.routes(sim), func() {
					for i := range events {
						sim.router.Events(word(fmt.Sprintf("%d.up", i)))
						time.Sleep(tt.pause(sim))
					}
					time.Sleep(30 * s)
					sim.mu.Lock()
					defer sim.mu.Unlock()
					if n := len(sim.ran); n != events {
						t.Errorf("%d of %d files have run", n, events)
					}
				})
				sim.wantLoops(t, 0, 0, nil)
			})
		}
	}

	// Each save starts a server again, while builds take as long as they take.
	for name, pause := range map[string]func(*simulation) time.Duration{
		"quickly":       func(sim *simulation) time.Duration { return sim.between(300*ms, 3*s) },
		"steadily":      func(sim *simulation) time.Duration { return sim.between(s, 5*s) },
		"now and then":  func(sim *simulation) time.Duration { return sim.logNormal(10*s, 1) },
		"in bursts":     func(sim *simulation) time.Duration { return sim.logNormal(2*s, 1.5) },
		"by the clock":  func(*simulation) time.Duration { return 2 * s },
		"by the minute": func(*simulation) time.Duration { return time.Minute },
	} {
		for way := range new(server).routes() {
			inParallelBubble(t, name+"/"+way, func(t *testing.T) {
				sim := newSimulation(1)
				build := Route{Name: "build", Delay: -1, Debounce: -1, Callback: sleep(sim, 100*ms, 4*s)}
				sim.serve(t, new(server), way, []Route{build}, func() {
					for range events {
						sim.router.Events(word("main.go"))
						time.Sleep(pause(sim))
					}
				})
				// The seed decides all but what happens at one moment, so that one in some
				// millions of saves has all of those before it during a run.
				sim.wantLoops(t, 0, 1, nil)
			})
		}
	}
}

func TestNobodyWaitsLongerThanAMinute(t *testing.T) {
	if got := delay(maxGeneration, time.Hour); got != time.Minute {
		t.Errorf("%v", got)
	}
}

func TestLoopErrorNamesFilesAndRoutes(t *testing.T) {
	for _, tt := range []struct {
		events string
		routes []string
		want   string
	}{
		{"a:M", []string{"r"}, "a loop: 7 runs in a row were each triggered only by what the one before may have written, lastly a: name it in Outputs or Ignore"},
		{"a:M b:M c:M d:M e:M", []string{"r"}, "a loop: 7 runs in a row were each triggered only by what the one before may have written, lastly a, b, c, d, e: name it in Outputs or Ignore"},
		{"a:M b:M c:M d:M e:M f:M g:M", []string{"r"}, "a loop: 7 runs in a row were each triggered only by what the one before may have written, lastly a, b, c, d, e, and 2 more: name it in Outputs or Ignore"},
		{"a:M", []string{"r", "s"}, `a loop by way of route "s": 7 runs in a row were each triggered only by what the one before may have written, lastly a: name it in Outputs or Ignore`},
		{"a:M", []string{"r", "s", "t"}, `a loop by way of routes "s", "t": 7 runs in a row were each triggered only by what the one before may have written, lastly a: name it in Outputs or Ignore`},
	} {
		if got := (&LoopError{Events: words(tt.events), Routes: tt.routes}).Error(); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

// What is remembered of causes is bounded, though runs lead to one another for
// ever and many are under way.
func TestCausesAreForgotten(t *testing.T) {
	r := mustNew(t, Options{}, Route{Name: "r", Callback: discard})
	s, now := r.states[0], time.Now()
	var last *cause
	for range 10 * maxCauses {
		last = s.noteRunStart(last, now)
		s.noteRunEnd(last, now)
	}
	if last.length() > maxCauses || len(r.causes) > 1 {
		t.Errorf("%d runs are remembered that led to the last, and %d as causes of new events", last.length(), len(r.causes))
	}
	for range 2 * maxCauses {
		s.noteRunStart(nil, now)
	}
	if len(r.causes) != maxCauses {
		t.Errorf("%d runs are considered as causes, want %d", len(r.causes), maxCauses)
	}
}

// A simulation plays events to routes in fake time, and notes what came of them.
type simulation struct {
	router *Router

	mu    sync.Mutex
	rnd   *rand.Rand
	runs  int
	ran   map[string]bool // by path
	loops []*LoopError
}

func newSimulation(seed uint64) *simulation {
	return &simulation{rnd: rand.New(rand.NewPCG(seed, 1)), ran: make(map[string]bool)}
}

// note is a Post callback.
func (s *simulation) note(f Run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if loop, ok := errors.AsType[*LoopError](f.Err); ok && !errors.Is(f.Err, ErrCancelled) {
		s.loops = append(s.loops, loop)
		return
	}
	s.runs++
	for _, e := range f.Events {
		s.ran[e.Path] = true
	}
}

// wantLoops checks how many loops were found, and of which routes they are said to be.
func (s *simulation) wantLoops(t *testing.T, least, most int, routes []string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.loops); n < least || n > most {
		t.Errorf("%d batches refused as a loop after %d runs, want %d to %d", n, s.runs, least, most)
		return
	}
	if least == 0 {
		return
	}
	var got []string
	for _, loop := range s.loops {
		if len(loop.Events) == 0 || len(loop.Routes) == 0 {
			t.Errorf("a loop of the routes %q by the files %q", loop.Routes, paths(loop.Events))
		}
		got = append(got, loop.Routes...)
	}
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, routes) {
		t.Errorf("loops of the routes %q, want of %q", got, routes)
	}
}

// between is a random time from least to most.
func (s *simulation) between(least, most time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return least + time.Duration(s.rnd.Int64N(int64(most-least)))
}

// logNormal is a random time around a median, as the pauses of people are.
func (s *simulation) logNormal(median time.Duration, sigma float64) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Duration(float64(median) * math.Exp(sigma*s.rnd.NormFloat64()))
}

// copies is a callback that writes other files of the names that it gets, with
// suffixes in the place of theirs, or after them.
func (s *simulation) copies(replace bool, suffixes ...string) Callback {
	return func(_ context.Context, batch []inotify.Event) error {
		work := s.between(300*ms, 500*ms)
		time.Sleep(work / 2)
		for _, e := range batch {
			name := e.Path
			if replace {
				name, _, _ = strings.Cut(name, ".")
			}
			for _, suffix := range suffixes {
				s.router.Events(word(name + suffix))
			}
		}
		time.Sleep(work / 2)
		return nil
	}
}

// saveAll saves files of these names at once.
func (s *simulation) saveAll(n int, name string) {
	for i := range n {
		s.router.Events(word(fmt.Sprintf(name, i)))
	}
}

// play runs routes and what happens, until all is long over.
func (s *simulation) play(t *testing.T, opts Options, routes []Route, happens func()) {
	s.router = mustNew(t, opts, routes...)
	s.router.schedule.Sleep = func(time.Duration) {} // or most of it is waiting
	stop := background(t, s.router)
	happens()
	time.Sleep(long)
	stop()
}

// serve runs a server, other routes, and what happens.
func (s *simulation) serve(t *testing.T, srv *server, way string, others []Route, happens func()) {
	s.router = mustNew(t, Options{Grace: -1, Post: s.note}, append(others, srv.routes()[way])...)
	s.router.schedule.Sleep = func(time.Duration) {} // or most of it is waiting
	srv.router = s.router
	stop := background(t, s.router)
	happens()
	stop()
	srv.end()
}

// A server is a program that keeps running until it is started again, and writes
// files at some times after its start.
type server struct {
	router *Router
	writes []writeAt
	starts atomic.Int64
	stop   context.CancelFunc // of the one that runs
	over   chan struct{}      // closed when that is over
}

// A writeAt is a write at some time after a start.
type writeAt struct {
	path string // N in it is the number of the start
	at   time.Duration
}

// every is writes to a log at an interval, for so long.
func every(interval, most time.Duration) (all []writeAt) {
	for at := interval; at < most; at += interval {
		all = append(all, writeAt{"log", at})
	}
	return all
}

// routes are the two ways to have a server.
func (s *server) routes() map[string]Route {
	return map[string]Route{
		"restart": {Name: "server", Delay: -1, Debounce: -1, OnBusy: Restart, Callback: s.run},
		"service": {Name: "server", Delay: -1, Debounce: -1, Background: true, Callback: s.start},
	}
}

// run is a server in the foreground, for a route that restarts it.
func (s *server) run(ctx context.Context, _ []inotify.Event) error {
	start, number := time.Now(), s.starts.Add(1)
	for _, w := range s.writes {
		select {
		case <-time.After(time.Until(start.Add(w.at))):
			s.router.Events(word(strings.ReplaceAll(w.path, "N", fmt.Sprint(number))))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// start is a server in the background, in the place of the one before.
func (s *server) start(context.Context, []inotify.Event) error {
	s.end()
	ctx, cancel := context.WithCancel(context.Background())
	s.stop, s.over = cancel, make(chan struct{})
	go func() {
		defer close(s.over)
		_ = s.run(ctx, nil)
	}()
	return nil
}

func (s *server) end() {
	if s.stop != nil {
		s.stop()
		<-s.over
	}
}
