package router

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// An actor of a loop works on *.name and writes when a third is done. The times
// are such that nothing happens at the same moment.
func looping(name string, work time.Duration, writes string) actor {
	return actor{
		Route: Route{Name: name, Patterns: []string{"*." + name}, Delay: -1, Debounce: -1},
		work:  work, when: work / 3, writes: writes,
	}
}

func TestLoopsOfRoutes(t *testing.T) {
	a, b, c := looping("a", 401*ms, "x.b"), looping("b", 511*ms, "x.a"), looping("c", 337*ms, "x.a")
	follow := b.with(func(a *actor) { a.Name, a.Patterns, a.After, a.Follow = "f", nil, []string{"a"}, true })
	service := b.with(func(a *actor) { a.OnBusy, a.work = Restart, long })
	tests := []scene{
		{
			"two routes that trigger each other",
			[]actor{a, b},
			"x.a@0",
			"a:x.a@0-401 b:x.b@133-644 a:x.a@401-802 b:x.b@644-1155 a:x.a@814-1215 b:x.b@1155-1666 a:x.a@1426-1827 b:x.b@1794-2305 a:x.a@2165-2566 b:x.b@2560-3071 a:x.a@3582-3983 b:x.b@4494-5005 a:x.a@6027-6428 b:x.b@7450-7961 a:x.a@10005-10406 b:x.b@12450-12961 a:x.a@17049!loop",
		},
		{
			"three routes",
			[]actor{a, writing(b, "x.c"), c},
			"x.a@0",
			"a:x.a@0-401 b:x.b@133-644 c:x.c@303-640 a:x.a@416-817 b:x.b@644-1155 c:x.c@814-1151 a:x.a@927-1328 b:x.b@1155-1666 c:x.c@1325-1662 a:x.a@1538-1939 b:x.b@1799-2310 c:x.c@2070-2407 a:x.a@2383-2784 b:x.b@2772-3283 c:x.c@3142-3479 a:x.a@3880-4281 b:x.b@4792-5303 c:x.c@5814-6151 a:x.a@6953-7354 b:x.b@8376-8887 c:x.c@9909-10246 a:x.a@11850-12251 b:x.b@14295-14806 c:x.c@16850-17187 a:x.a@20395!loop",
		},
		{
			"a route that follows another and writes what triggers it",
			[]actor{writing(a, ""), follow},
			"x.a@0",
			"a:x.a@0-401 f:x.a@401-912 a:x.a@571-972 f:x.a@972-1483 a:x.a@1142-1543 f:x.a@1543-2054 a:x.a@1814-2215 f:x.a@2342-2853 a:x.a@2713-3114 f:x.a@3370-3881 a:x.a@4392-4793 f:x.a@5304-5815 a:x.a@6837-7238 f:x.a@8260-8771 a:x.a@10815-11216 f:x.a@13260-13771 a:x.a@17859!loop",
		},
		{
			"a service that writes what is built for it",
			[]actor{a, service},
			"x.a@0",
			"a:x.a@0-401 b:x.b@133-534!restarted a:x.a@401-802 b:x.b@534-935!restarted a:x.a@802-1203 b:x.b@935-2419!restarted a:x.a@2185-2586 b:x.b@2836-5237!restarted a:x.a@4336-4737 b:x.b@5237-8638!restarted a:x.a@7237-7638 b:x.b@8638-14039!restarted a:x.a@11638-12039 b:x.b@14039-23440!restarted a:x.a@19039-19440 b:x.b@23440-3600000! a:x.a@32440!loop",
		},
		{
			"while something else runs",
			[]actor{a, b, looping("j", long, "")},
			"x.j@0 x.a@10",
			"j:x.j@0-3600000 a:x.a@10-411 b:x.b@143-654 a:x.a@411-812 b:x.b@654-1165 a:x.a@824-1225 b:x.b@1165-1676 a:x.a@1436-1837 b:x.b@1804-2315 a:x.a@2175-2576 b:x.b@2570-3081 a:x.a@3592-3993 b:x.b@4504-5015 a:x.a@6037-6438 b:x.b@7460-7971 a:x.a@10015-10416 b:x.b@12460-12971 a:x.a@17059!loop",
		},
		{
			"an event while nothing runs shows that it is none",
			[]actor{a.with(func(a *actor) { a.until = 6 }), b},
			"x.a@0 y.a@3300",
			"a:x.a@0-401 b:x.b@133-644 a:x.a@401-802 b:x.b@644-1155 a:x.a@814-1215 b:x.b@1155-1666 a:x.a@1426-1827 b:x.b@1794-2305 a:x.a@2165-2566 b:x.b@2560-3071 a:x.a+y.a@3300-3701 b:x.b@3433-3944 a:x.a@3701-4102",
		},
		{
			"when it is broken, a save runs again",
			[]actor{a.with(func(a *actor) { a.until = 8 }), b},
			"x.a@0 y.a@20000 y.a@30000 x.b@40000",
			"a:x.a@0-401 b:x.b@133-644 a:x.a@401-802 b:x.b@644-1155 a:x.a@814-1215 b:x.b@1155-1666 a:x.a@1426-1827 b:x.b@1794-2305 a:x.a@2165-2566 b:x.b@2560-3071 a:x.a@3582-3983 b:x.b@4494-5005 a:x.a@6027-6428 b:x.b@7450-7961 a:x.a@10005-10406 b:x.b@12450-12961 a:x.a@17049!loop a:x.a+y.a@20000-20401 a:y.a@30000-30401 b:x.b@40000-40511 a:x.a@40170-40571",
		},
		{
			"a route that changes nothing is no part of it",
			[]actor{a.with(func(a *actor) { a.until = 7 }), b.with(func(a *actor) { a.ReadOnly = true })},
			"x.a@0",
			"a:x.a@0-401 b:x.b@133-644 a:x.a@401-802 b:x.b@644-1155 a:x.a@814-1215 b:x.b@1155-1666 a:x.a@1325-1726 b:x.b@1666-2177 a:x.a@1836-2237 b:x.b@2177-2688 a:x.a@2347-2748 b:x.b@2688-3199 a:x.a@2858-3259 b:x.b@3199-3710 a:x.a@3369-3770",
		},
	}
	for _, tt := range tests {
		tt.run(t, Options{Grace: -1})
	}
}

func TestDoubts(t *testing.T) {
	// Runs of 900 ms; the first four save x and y.
	files := looping("f", 900*ms, "x y").with(func(a *actor) { a.Per, a.Patterns, a.until = PerFile, nil, 4 })
	tests := []scene{
		{"paths in doubt wait, and go by turns until nothing comes of one", []actor{files}, "x@0 y@10", "f:x@0-900 f:y@10-910 f:x@900-1800 f:y@910-1810 f:x@2035-2935 f:y@2935-3835"},
		{"an event of any path that no run may have caused clears all", []actor{files}, "x@0 y@10 z@1900", "f:x@0-900 f:y@10-910 f:x@900-1800 f:y@910-1810 f:x@1900-2800 f:y@1900-2800 f:z@1900-2800"},
		{"one that a run elsewhere may have caused too", []actor{files.with(func(a *actor) { a.Ignore = []string{"*.j"} }), looping("j", long, "")}, "x.j@0 x@0 y@10 z@1900", "f:x@0-900 j:x.j@0-3600000 f:y@10-910 f:x@900-1800 f:y@910-1810 f:x@1900-2800 f:y@1900-2800 f:z@1900-2800"},
		{"who changes nothing is not in doubt", []actor{files.with(func(a *actor) { a.ReadOnly = true })}, "x@0 y@10", "f:x@0-900 f:y@10-910 f:x@900-1800 f:y@910-1810 f:x@1800-2700 f:y@1810-2710"},
		{"a file that goes away has no turn", []actor{files}, "x@0 y@10 x:d@1850", "f:x@0-900 f:y@10-910 f:x@900-1800 f:y@910-1810 f:y@2035-2935"},
	}
	for _, tt := range tests {
		tt.run(t, Options{Grace: -1})
	}
}

// A folder is what is said of the files of a test, and what became of them. Of
// its routes each works on *.name, or *, and does what a row says.
type folder struct {
	router *Router

	mu    sync.Mutex
	rnd   *rand.Rand
	runs  int
	ran   map[string]bool // by path
	loops []*LoopError
}

func newFolder(seed uint64) *folder {
	return &folder{rnd: rand.New(rand.NewPCG(seed, 1)), ran: make(map[string]bool)}
}

func (d *folder) note(f Frame) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if loop, ok := errors.AsType[*LoopError](f.Err); ok && !errors.Is(f.Err, ErrCancelled) {
		d.loops = append(d.loops, loop)
		return
	}
	d.runs++
	for _, e := range f.Events {
		d.ran[e.Path] = true
	}
}

// between is a time from least to most.
func (d *folder) between(least, most time.Duration) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return least + time.Duration(d.rnd.Int64N(int64(most-least)))
}

// grow is a callback that writes other files of the names that it gets, with
// suffixes in the place of theirs, or after them.
func (d *folder) grow(replace bool, suffixes ...string) Callback {
	return func(_ context.Context, batch []inotify.Event) error {
		work := d.between(300*ms, 500*ms)
		time.Sleep(work / 2)
		for _, e := range batch {
			name := e.Path
			if replace {
				name, _, _ = strings.Cut(name, ".")
			}
			for _, suffix := range suffixes {
				d.router.Events(word(name + suffix))
			}
		}
		time.Sleep(work / 2)
		return nil
	}
}

// play runs the routes and what happens, until all is long over.
func (d *folder) play(t *testing.T, routes []Route, happens func()) {
	d.router = mustNew(t, Options{Concurrency: 4, Post: d.note}, routes...)
	d.router.agenda.nap = func(time.Duration) {} // or most of it is waiting
	stop := background(t, d.router)
	happens()
	time.Sleep(long)
	stop()
}

// save is what comes of files of these names, all at once.
func (d *folder) save(n int, name string) func() {
	return func() {
		for i := range n {
			d.router.Events(word(fmt.Sprintf(name, i)))
		}
	}
}

// Loops in which each path has runs of its own are broken after a few rounds,
// with one message for all their files or nearly so.
func TestLoopsOfManyFiles(t *testing.T) {
	perFile := func(name, pattern string, do Callback) Route {
		return Route{Name: name, Patterns: []string{pattern}, Per: PerFile, Debounce: -1, Callback: do}
	}
	tests := []struct {
		name   string
		routes func(*folder) []Route
		save   string
		runs   int // for each file, at most
		loops  int // at most
		cycle  []string
	}{
		{
			"thumbnails of thumbnails",
			func(d *folder) []Route { return []Route{perFile("thumb", "*", d.grow(false, ".thumb"))} },
			"%d.jpg", 8, 1,
			[]string{"thumb"},
		},
		{
			"in two sizes",
			func(d *folder) []Route { return []Route{perFile("thumb", "*", d.grow(false, ".s", ".l"))} },
			"%d.jpg", 16, 1,
			[]string{"thumb"},
		},
		{
			"two routes, each by file",
			func(d *folder) []Route {
				return []Route{perFile("a", "*.a", d.grow(true, ".b")), perFile("b", "*.b", d.grow(true, ".a"))}
			},
			"%d.a", 28, 2,
			[]string{"a", "b"},
		},
		{
			"one by file and one of all",
			func(d *folder) []Route {
				b := perFile("b", "*.b", d.grow(true, ".a"))
				b.Per = PerRoute
				return []Route{perFile("a", "*.a", d.grow(true, ".b")), b}
			},
			"%d.a", 28, 3,
			[]string{"a", "b"},
		},
		{
			"one of all that waits for the other",
			func(d *folder) []Route {
				b := perFile("b", "*.b", d.grow(true, ".a"))
				b.Per, b.After = PerRoute, []string{"a"}
				return []Route{perFile("a", "*.a", d.grow(true, ".b")), b}
			},
			"%d.a", 28, 1,
			[]string{"a", "b"},
		},
		{
			"a service that writes as it starts",
			func(d *folder) []Route {
				b := perFile("b", "*.b", func(ctx context.Context, batch []inotify.Event) error {
					err := d.grow(true, ".a")(ctx, batch)
					<-ctx.Done()
					return err
				})
				b.Per, b.OnBusy = PerRoute, Restart
				return []Route{perFile("a", "*.a", d.grow(true, ".b")), b}
			},
			"%d.a", 40, 8,
			[]string{"a", "b"},
		},
		{
			"one that follows",
			func(d *folder) []Route {
				b := Route{Name: "b", After: []string{"a"}, Follow: true, Per: PerFile, Debounce: -1, Callback: d.grow(true, ".a")}
				return []Route{perFile("a", "*.a", d.grow(true)), b}
			},
			"%d.a", 28, 2,
			[]string{"a", "b"},
		},
		{
			"one that follows and writes again and again",
			func(d *folder) []Route {
				again := func(ctx context.Context, batch []inotify.Event) error {
					return errors.Join(d.grow(true, ".a")(ctx, batch), d.grow(true, ".a")(ctx, batch), d.grow(true, ".a")(ctx, batch))
				}
				b := Route{Name: "b", After: []string{"a"}, Follow: true, Callback: again}
				return []Route{{Name: "a", Patterns: []string{"*.a"}, Callback: d.grow(true)}, b}
			},
			"%d.a", 30, 1,
			[]string{"a", "b"},
		},
	}
	for _, tt := range tests {
		for _, n := range []int{1, 5, 40} {
			t.Run(fmt.Sprintf("%s/%d", tt.name, n), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d := newFolder(1)
					d.play(t, tt.routes(d), d.save(n, tt.save))
					if len(d.loops) == 0 || len(d.loops) > tt.loops || d.runs > n*tt.runs {
						t.Fatalf("%d loops after %d runs, want at most %d after %d", len(d.loops), d.runs, tt.loops, n*tt.runs)
					}
					cycle := slices.Sorted(slices.Values(d.loops[0].Routes))
					if !slices.Equal(cycle, tt.cycle) || len(d.loops[0].Events) == 0 {
						t.Errorf("a loop of %q by %q, want %q", cycle, paths(d.loops[0].Events), tt.cycle)
					}
				})
			})
		}
	}
}

// After thumbnails were refused as a loop, a file that is saved has its run.
func TestFileAfterALoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFolder(1)
		d.play(t, []Route{{Name: "thumb", Per: PerFile, Callback: d.grow(false, ".thumb")}}, func() {
			d.save(1, "%d.jpg")()
			time.Sleep(long)
			d.save(1, "%d.png")()
		})
		if !d.ran["0.png"] || !d.ran["0.png.thumb"] || len(d.loops) != 2 {
			t.Errorf("ran %v, %d loops", d.ran, len(d.loops))
		}
	})
}

// Files that come during the runs of others as often as makes a loop, and then
// do not, are run when that is seen.
func TestRefusedFilesRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFolder(1)
		begun := 0 // runs, of which no two go on at once as long as they bring others
		work := func(context.Context, []inotify.Event) error {
			time.Sleep(time.Second)
			d.mu.Lock()
			begun++
			brings := fmt.Sprint("run", begun)
			if begun == 1+trusted {
				brings += " other"
			}
			if begun > 1+maxRounds {
				brings = ""
			}
			d.mu.Unlock()
			d.router.Events(words(brings))
			time.Sleep(time.Second)
			return nil
		}
		d.play(t, []Route{{Name: "r", Per: PerFile, Debounce: -1, Callback: work}}, func() {
			d.save(1, "first%d")()
			time.Sleep(long)
			d.mu.Lock()
			if len(d.loops) != 1 || paths(d.loops[0].Events) != "run8+other" {
				t.Errorf("refused %v, want run8 and other", d.loops)
			}
			d.mu.Unlock()
			d.save(1, "last%d")()
		})
		if len(d.loops) != 1 || !d.ran["last0"] || !d.ran["run8"] || !d.ran["other"] {
			t.Errorf("ran %v, %d loops", d.ran, len(d.loops))
		}
	})
}

// Uploads that come for minutes, at any time and most of them during the runs of
// others, are no loop. None waits long after the last has come.
func TestUploadsAreNoLoop(t *testing.T) {
	gallery := Route{Name: "gallery", After: []string{"work"}, Follow: true, Callback: func(context.Context, []inotify.Event) error {
		time.Sleep(2 * time.Second)
		return nil
	}}
	for name, others := range map[string][]Route{"alone": nil, "followed": {gallery}} {
		for seed := range uint64(3) {
			t.Run(fmt.Sprintf("%s/seed %d", name, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					const files = 500
					d := newFolder(seed)
					work := func(context.Context, []inotify.Event) error {
						time.Sleep(d.between(0, 2*time.Second))
						return nil
					}
					d.play(t, append(others, Route{Name: "work", Patterns: []string{"*.up"}, Per: PerFile, Callback: work}), func() {
						for i := range files {
							d.router.Events(word(fmt.Sprintf("%d.up", i)))
							time.Sleep(d.between(0, 800*ms))
						}
						time.Sleep(30 * time.Second)
						d.mu.Lock()
						defer d.mu.Unlock()
						if len(d.ran) != files || len(d.loops) > 0 {
							t.Errorf("%d of %d files ran, and %d loops", len(d.ran), files, len(d.loops))
						}
					})
				})
			})
		}
	}
}

// Somebody who saves every few seconds while slow builds run, and a job of ten
// minutes, be it one that follows the builds, is no loop.
func TestSavesAreNoLoop(t *testing.T) {
	sleeper := func(d time.Duration) Callback {
		return func(context.Context, []inotify.Event) error {
			time.Sleep(d)
			return nil
		}
	}
	build := Route{Name: "build", Patterns: []string{"*.src"}, Callback: sleeper(5 * time.Second)}
	job := Route{Name: "job", Patterns: []string{"job"}, Callback: sleeper(10 * time.Minute)}
	for name, other := range map[string]Route{
		"elsewhere": job,
		"behind":    {Name: "job", Patterns: []string{"job"}, After: []string{"build"}, Follow: true, Callback: job.Callback},
	} {
		for seed := range uint64(3) {
			t.Run(fmt.Sprintf("%s/seed %d", name, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					const saves = 300
					d := newFolder(seed)
					d.play(t, []Route{build, other}, func() {
						d.router.Events(word("job"))
						for i := range saves {
							d.router.Events(word(fmt.Sprintf("%d.src", i)))
							time.Sleep(d.between(time.Second, 5*time.Second))
						}
						time.Sleep(30 * time.Second)
						d.mu.Lock()
						defer d.mu.Unlock()
						if n := len(d.ran); n < saves || len(d.loops) > 0 {
							t.Errorf("%d of %d saves ran, and %d loops", n, saves, len(d.loops))
						}
					})
				})
			})
		}
	}
}

// What is remembered of runs does not grow.
func TestTracesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{route: Route{Name: "r"}}
		var a acting
		var last *trace
		now := time.Now()
		for range 10 * mostDepth {
			last = newTrace(s, last, now)
			if last.depth > mostDepth {
				t.Fatalf("a run is remembered of which %d others are", last.depth)
			}
			a.add(last)
			last.end(now, false)
		}
		if n := len(a.runs); n > 1 {
			t.Errorf("%d runs are remembered that are over", n)
		}
		for range 2 * mostActing {
			a.add(newTrace(s, nil, now))
		}
		if n := len(a.at(now)); n != mostActing {
			t.Errorf("%d runs are suspected, want %d", n, mostActing)
		}
	})
}
