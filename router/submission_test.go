package router

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// Each row submits the words of submit at 0, together with the events, and
// says when Wait returns, in ms, and with what.
func TestSubmit(t *testing.T) {
	const never = -1
	failed := func(s string) string { return strings.ReplaceAll(s, "; ", "\n") }
	site := []fakeRoute{build, styles, behind(pages, "build", "css")}
	tests := []struct {
		name           string
		routes         []fakeRoute
		submit, events string
		returned       int
		err            string
		runs           string
	}{
		{"what nobody wants is over at once", []fakeRoute{build}, "x", "", 0, "", ""},
		{"what somebody wants is over with its run", []fakeRoute{build}, "a.md", "", 130, "", "build:a.md@30-130"},
		{"an event without a mask is wanted whatever is asked for", []fakeRoute{build}, "a.md:", "", 130, "", "build:a.md@30-130"},
		{"but not by routes whose patterns are for others", []fakeRoute{build}, "x:", "", 0, "", ""},
		{"the last of several runs counts", []fakeRoute{build, styles.with(func(a *fakeRoute) { a.work = 500 * ms })}, "a.md a.scss", "", 530, "", "build:a.md@30-130 css:a.scss@30-530"},
		{"also while another retries", []fakeRoute{failing(styles, "all").with(func(a *fakeRoute) { a.Retries, a.Backoff = 2, 10*ms }), build.with(func(a *fakeRoute) { a.work = 500 * ms })}, "a.md a.scss", "", 530, `route "css": exit status 1`, "build:a.md@30-530 css:a.scss@30-130! css:a.scss@140-240! css:a.scss@260-360!"},
		{"what follows counts too", []fakeRoute{build, pages.with(func(a *fakeRoute) { a.work = 70 * ms })}, "a.md", "", 200, "", "build:a.md@30-130 pages:a.md@130-200"},
		{"what waits behind counts too", []fakeRoute{build, reload}, "a.md x.html", "", 130, "", "build:a.md@30-130 reload:x.html@130"},
		{"what others do does not", []fakeRoute{build, reload}, "x.html", "a.md@150", 100, "", "reload:x.html@100 build:a.md@180-280"},
		{"what joins others waits with them", []fakeRoute{build}, "a.md:", "b.md@0 a.md@10", 130, "", "build:a.md+b.md@30-130"},
		{"what comes during a run waits for the next", []fakeRoute{build}, "a.md", "b.md@-50", 180, "", "build:b.md@-20-80 build:a.md@80-180"},
		{"an error is told", []fakeRoute{failing(build, "1")}, "a.md b.md", "", 130, `route "build": exit status 1`, "build:a.md+b.md@30-130!"},
		{
			"all errors are",
			[]fakeRoute{failing(build, "1"), failing(styles, "1").with(func(a *fakeRoute) { a.Delay = 50 * ms }), behind(reload, "build", "css")},
			"a.md x.html b.scss", "", 150,
			failed(`route "build": exit status 1; route "css": exit status 1; route "reload": cancelled: route "build": exit status 1`),
			"build:a.md@30-130! css:b.scss@50-150! reload:x.html@150!cancelled",
		},
		{"the errors of others are not", []fakeRoute{build, failing(styles, "1"), site[2]}, "x.html", "a.scss@0", 0, "", "css:a.scss@30-130!"},
		{"what is cancelled says why", []fakeRoute{build, failing(styles, "1"), site[2]}, "a.md", "a.scss@0", 130, `route "pages": cancelled: route "css": exit status 1`, "build:a.md@30-130 css:a.scss@30-130! pages:a.md@130!cancelled"},
		{"what a busy route drops says so", []fakeRoute{build.with(func(a *fakeRoute) { a.OnBusy = Ignore })}, "a.md", "b.md@-50", 0, `route "build": dropped: the route was running`, "build:b.md@-20-80"},
		{"what is restarted goes on", []fakeRoute{build.with(func(a *fakeRoute) { a.OnBusy = Restart })}, "a.md", "b.md@50", 180, "", "build:a.md@30-80!restarted build:a.md+b.md@80-180"},
		{"a file that goes away ends the wait", []fakeRoute{build}, "a.md", "a.md:d@20", 20, "", ""},
		{"a file that is renamed does not", []fakeRoute{build}, "a.md", "a.md>b.md@20", 130, "", "build:b.md@30-130"},
		{"a file that is renamed out of sight does", []fakeRoute{build}, "a.md", "a.md:f@20", 20, "", ""},
		{"one renamed to what nobody wants does", []fakeRoute{build}, "a.md", "a.md>b@20", 20, "", ""},
		{"what is no file does not go away", []fakeRoute{build}, "a.md:", "a.md:d@10 a.md:c@20", 130, "", "build:a.md@30-130"},
		{"what is open is waited for", []fakeRoute{build}, "a.md:M", "a.md:w@500", 630, "", "build:a.md@530-630"},
		{"also if it was something of a file before", []fakeRoute{build}, "a.md:", "a.md@-20 a.md:d@5", 110, "", "build:a.md@10-110"},
		{"after the router nothing is followed", []fakeRoute{build.with(func(a *fakeRoute) { a.work, a.ignoresContext = 2*long, true }), pages}, "a.md", "", int(2*long/ms) + 30, "", "build:a.md@30-7200030"},
		{"nor run again", []fakeRoute{build.with(func(a *fakeRoute) { a.OnBusy, a.work, a.slowToEnd = Restart, 2*long, 2*long })}, "a.md", "b.md@50", int(2*long/ms) + 80, `route "build": ended for newer events`, "build:a.md@30-7200080!restarted"},
		{"with the router the wait ends", []fakeRoute{build.with(func(a *fakeRoute) { a.Delay = 2 * long })}, "a.md", "", int(long / ms), "dropped: the router stopped", ""},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			before := 0 * ms
			if strings.Contains(tt.events, "@-") {
				before = 50 * ms
			}
			returned, got := never, ""
			runs := runRoutesWith(t, Options{}, before, func(s *runLog) {
				submission := s.router.Submit(words(tt.submit)...)
				start := time.Now()
				go func() {
					err := submission.Wait(context.WithoutCancel(t.Context()))
					returned = int(time.Since(start).Milliseconds())
					if err != nil {
						got = err.Error()
					}
				}()
			}, tt.events, tt.routes...)
			synctest.Wait()
			if runs != tt.runs {
				t.Errorf("\n got runs %s\nwant runs %s", runs, tt.runs)
			}
			if returned != tt.returned || got != tt.err {
				t.Errorf("Wait returned at %d with %q\nwant at %d with %q", returned, got, tt.returned, tt.err)
			}
		})
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	r := mustNew(t, Options{}, Route{Name: "r", Callback: discard})
	submission := r.Submit(word("a")...) // nobody runs the router
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if err := submission.Wait(ctx); !errors.Is(err, enough) {
		t.Errorf("Wait: %v", err)
	}
}

func TestSubmitAfterTheEnd(t *testing.T) {
	r := mustNew(t, Options{}, Route{Name: "r", Callback: discard})
	background(t, r)()
	if err := r.Submit(word("a")...).Wait(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("Submit: %v", err)
	}
	submission, err := r.Trigger("r", word("a")...)
	if err != nil {
		t.Fatal(err)
	}
	if err := submission.Wait(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("Trigger: %v", err)
	}
}

func TestTrigger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := runRoutesWith(t, Options{}, 0, func(s *runLog) {
			if _, err := s.router.Trigger("css", inotify.Event{Root: "/srv", Path: "."}); err != nil {
				t.Error(err)
			}
		}, "", build, styles, behind(pages, "css"))
		if want := "css:.@0-100 pages:.@100"; runs != want {
			t.Errorf("runs %s, want %s", runs, want)
		}
	})
	r := mustNew(t, Options{}, build.called(), pages.called())
	if _, err := r.Trigger("css"); err == nil || err.Error() != `no route "css": there is "build", "pages"` {
		t.Errorf("unknown route: %v", err)
	}
}

// An offered file is treated as if it had just come, unless it is known to be still written,
// or is removed.
func TestOffer(t *testing.T) {
	each := fakeRoute{Route: Route{Name: "each", Patterns: []string{"*.x"}, Mask: inotify.Attrib | Reload, Delay: 100 * ms, Debounce: -1, Per: PerFile}}
	others := fakeRoute{Route: Route{Name: "others", Patterns: []string{"*.x"}, Mask: inotify.Delete}}
	synctest.Test(t, func(t *testing.T) {
		runs := runRoutesWith(t, Options{}, 10*ms, func(s *runLog) {
			if err := s.router.Offer("each", words("a.x:cw open.x:cmw gone.x:cm b.y:cm .dir/c.x:cm")...); err != nil {
				t.Error(err)
			}
		}, "open.x:M@-10 gone.x:d@50 open.x:w@500", each, others)
		if want := "others:gone.x@80 each:a.x@100 each:open.x@600"; runs != want {
			t.Errorf("runs %s, want %s", runs, want)
		}
	})
	r := mustNew(t, Options{}, each.called())
	if err := r.Offer("css"); err == nil || err.Error() != `no route "css": there is "each"` {
		t.Errorf("unknown route: %v", err)
	}
	background(t, r)()
	if err := r.Offer("each", word("a.x:c")...); err != ErrStopped {
		t.Errorf("after the end: %v", err)
	}
}

// called is the Route of a fakeRoute, with a callback.
func (a fakeRoute) called() Route {
	a.Callback = discard
	return a.Route
}

// What waits for a run goes on when Post has returned, also if it panicked,
// and Post may use the router.
func TestPost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, out := logged()
		var mu sync.Mutex
		var seen []string
		start := time.Now()
		note := func(what string, after time.Duration) {
			time.Sleep(after)
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, fmt.Sprintf("%s@%d", what, time.Since(start).Milliseconds()))
		}
		var r *Router
		r = mustNew(t, Options{Logger: logger, Post: func(f Run) { note("all:"+f.Route, 20*ms) }},
			Route{Name: "a", Patterns: []string{"a"}, Delay: -1, Callback: discard, Post: func(f Run) {
				note("a", 30*ms)
				r.Submit(event("b", 0))
				panic("no")
			}},
			Route{Name: "b", Patterns: []string{"b"}, Delay: -1, Callback: discard, After: []string{"a"}, Follow: true, Post: func(f Run) {
				note("b:"+paths(f.Events), 0)
			}})
		stop := background(t, r)
		if err := r.Submit(word("a")...).Wait(t.Context()); err != nil {
			t.Error(err)
		}
		note("waited", 0)
		stop()
		if got, want := strings.Join(seen, " "), "a@30 all:a@50 b:b+a@50 all:b@70 waited@70"; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if want := `level=ERROR msg="post callback failed" route=a err="panic: no" stack="goroutine `; !strings.Contains(out.String(), want) {
			t.Errorf("log %s\nwant %s", out, want)
		}
	})
}

// A callback that submits what triggers its own route is not taken for a loop.
func TestSubmittedEventsAreNoLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *Router
		runs := 0
		r = mustNew(t, Options{}, Route{Name: "again", Debounce: -1, Callback: func(context.Context, []inotify.Event) error {
			if runs++; runs < 3*maxGeneration {
				r.Submit(word("a")...)
			}
			return nil
		}})
		stop := background(t, r)
		r.Submit(word("a")...)
		time.Sleep(long)
		stop()
		if runs != 3*maxGeneration {
			t.Errorf("%d runs, want %d", runs, 3*maxGeneration)
		}
	})
}

// A callback that has nothing to do has succeeded: what comes after it runs, and it
// is not run again.
func TestASkippedRunHasSucceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var runs []string
		r := mustNew(t, Options{Post: func(f Run) {
			mu.Lock()
			defer mu.Unlock()
			runs = append(runs, fmt.Sprintf("%s: %v, %v", f.Route, f.Outcome, f.Err))
		}},
			Route{Name: "build", Retries: 3, Callback: func(context.Context, []inotify.Event) error {
				return fmt.Errorf("all is as it was: %w", ErrSkipped)
			}},
			Route{Name: "pages", After: []string{"build"}, ReadOnly: true, Callback: discard})
		stop := background(t, r)
		if err := r.Submit(inotify.Event{Path: "a.md"}).Wait(t.Context()); err != nil {
			t.Errorf("Wait returns %v", err)
		}
		time.Sleep(time.Hour)
		stop()
		if got, want := strings.Join(runs, "; "), "build: skipped, <nil>; pages: ok, <nil>"; got != want {
			t.Errorf("got runs %s\nwant %s", got, want)
		}
	})
}

// Each row has a route held from 0 to 300, and says what runs.
func TestHold(t *testing.T) {
	undelayed := reload.with(func(a *fakeRoute) { a.NoDelayAfter = true })
	for _, tt := range []struct {
		name         string
		routes       []fakeRoute
		events, runs string
	}{
		{"a route that comes after it waits", []fakeRoute{build, reload}, "x.html@10", "reload:x.html@300"},
		{"it runs itself", []fakeRoute{build, reload}, "x.html@10 a.md@50", "build:a.md@80-180 reload:x.html@300"},
		{"a run that goes on is waited for as well", []fakeRoute{build, reload}, "x.html@10 a.md@250", "build:a.md@280-380 reload:x.html@380"},
		{"a failure is no other", []fakeRoute{failing(build, "1"), keeping(reload)}, "x.html@10 a.md@50 a.md@400", "build:a.md@80-180! build:a.md@430-530 reload:x.html@530"},
		{"who needs no delay after a run does after none", []fakeRoute{build, undelayed}, "x.html@250", "reload:x.html@350"},
		{"and none if there was one", []fakeRoute{build, undelayed}, "a.md@10 x.html@130", "build:a.md@40-140 reload:x.html@300"},
		{"what is behind those waits as well", []fakeRoute{styles, behind(build, "css"), reload}, "x.html@10", "reload:x.html@300"},
	} {
		inBubble(t, tt.name, func(t *testing.T) {
			first := tt.routes[0].Name
			got := runRoutesWith(t, Options{}, 0, func(s *runLog) {
				release, err := s.router.Hold(first)
				if err != nil {
					t.Fatal(err)
				}
				time.AfterFunc(300*ms, release)
				if !s.router.Waits(reload.Name) || s.router.Waits(first) {
					t.Errorf("%s waits, %v, and %s, %v", reload.Name, s.router.Waits(reload.Name), first, s.router.Waits(first))
				}
			}, tt.events, tt.routes...)
			if got != tt.runs {
				t.Errorf("%s\n got %s\nwant %s", tt.events, got, tt.runs)
			}
		})
	}
	if _, err := mustNew(t, Options{}).Hold("none"); err == nil {
		t.Error("a route that is not there is held")
	}
}
