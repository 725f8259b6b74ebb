package router

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/execlog/execlogd/inotify"
)

func TestRetries(t *testing.T) {
	retrying := func(a fakeRoute, fails string, retries int) fakeRoute {
		return failing(a, fails).with(func(a *fakeRoute) { a.Retries = retries })
	}
	twice := retrying(build, "all", 2)
	each := retrying(build, "1 2", 3).with(func(a *fakeRoute) { a.Per = PerFile })
	follower := pages.with(func(a *fakeRoute) { a.work = 0 })
	for _, p := range []scenario{
		{"a failure alone is final", []fakeRoute{failing(build, "1")}, "a.md@0", "build:a.md@30-130!"},
		{"a failure is made up for after a second", []fakeRoute{retrying(build, "1", 1)}, "a.md@0 b.md@10", "build:a.md+b.md@30-130! build:a.md+b.md@1130-1230"},
		{"each waits twice as long, and there are so many", []fakeRoute{retrying(build, "all", 3)}, "a.md@0", "build:a.md@30-130! build:a.md@1130-1230! build:a.md@3230-3330! build:a.md@7330-7430!"},
		{"without a back-off it is at once", []fakeRoute{twice.with(func(a *fakeRoute) { a.Backoff = -1 })}, "a.md@0", "build:a.md@30-130! build:a.md@130-230! build:a.md@230-330!"},
		{"a back-off of its own", []fakeRoute{retrying(build, "1 2", 2).with(func(a *fakeRoute) { a.Backoff = 200 * ms })}, "a.md@0", "build:a.md@30-130! build:a.md@330-430! build:a.md@830-930"},
		{"a back-off that is longer than five minutes does not grow", []fakeRoute{twice.with(func(a *fakeRoute) { a.Backoff = 10 * time.Minute })}, "a.md@0", "build:a.md@30-130! build:a.md@600130-600230! build:a.md@1200230-1200330!"},
		{"others grow to that", []fakeRoute{twice.with(func(a *fakeRoute) { a.Backoff = 4 * time.Minute })}, "a.md@0", "build:a.md@30-130! build:a.md@240130-240230! build:a.md@540230-540330!"},
		{"success ends it", []fakeRoute{retrying(build, "1 3", 1)}, "a.md@0 b.md@5000", "build:a.md@30-130! build:a.md@1130-1230 build:b.md@5030-5130! build:b.md@6130-6230"},
		{"something new starts at once, and counts anew", []fakeRoute{retrying(build, "1 2 3 4", 2)}, "a.md@0 b.md@2000", "build:a.md@30-130! build:a.md@1130-1230! build:a.md+b.md@2030-2130! build:a.md+b.md@3130-3230! build:a.md+b.md@5230-5330"},
		{"something new during the run as well", []fakeRoute{retrying(build, "1 2", 1)}, "a.md@0 b.md@50", "build:a.md@30-130! build:a.md+b.md@130-230! build:a.md+b.md@1230-1330"},
		{"a change of the same file too", []fakeRoute{retrying(build, "1", 1)}, "a.md@0 a.md@600", "build:a.md@30-130! build:a.md@630-730"},
		{"one that is open is waited for", []fakeRoute{retrying(build, "1", 1)}, "a.md@0 a.md:M@600 a.md:w@2000", "build:a.md@30-130! build:a.md@2030-2130"},

		{"each file has its own", []fakeRoute{each}, "a.md@0 b.md@500", "build:a.md@30-130! build:b.md@530-630! build:a.md@1130-1230 build:b.md@1630-1730"},
		{"and starts at once for its own changes", []fakeRoute{each}, "a.md@0 b.md@1 b.md@300", "build:a.md@30-130! build:b.md@31-131! build:b.md@330-430 build:a.md@1130-1230"},
		{"a file that is gone is not worked on again", []fakeRoute{twice}, "a.md@0 b.md@0 a.md:d@500", "build:a.md+b.md@30-130! build:b.md@1130-1230! build:b.md@3230-3330!"},
		{"nor one that went during the run", []fakeRoute{twice}, "a.md@0 b.md@0 a.md:d@50", "build:a.md+b.md@30-130! build:b.md@1130-1230! build:b.md@3230-3330!"},
		{"unless it came again", []fakeRoute{retrying(build, "1", 1)}, "a.md@0 b.md@0 a.md:d@50 a.md:c@60", "build:a.md+b.md@30-130! build:a.md+b.md@1130-1230"},
		{"nor is there a run without any", []fakeRoute{twice}, "a.md@0 a.md:f@50", "build:a.md@30-130!"},
		{"for each file", []fakeRoute{each}, "a.md@0 b.md@0 a.md:d@50 b.md:f@500", "build:a.md@30-130! build:b.md@30-130!"},
		{"for those below a directory", []fakeRoute{each, retrying(styles, "all", 1)}, "d/a.md@0 d/x.scss@0 b.md@10 d/:f@50", "build:d/a.md@30-130! css:d/x.scss@30-130! build:b.md@40-140! build:b.md@1140-1240"},
		{"a renamed one is worked on under its new name", []fakeRoute{twice}, "a.md@0 a.md>b.md@500", "build:a.md@30-130! build:b.md@530-630! build:b.md@1630-1730! build:b.md@3730-3830!"},

		{"those behind do not wait for it", []fakeRoute{retrying(build, "1", 1), behind(reload, "build")}, "a.md@0 x.html@0 y.html@500", "build:a.md@30-130! reload:x.html@130!cancelled reload:y.html@600 build:a.md@1130-1230"},
		{"but for the run", []fakeRoute{retrying(build, "1", 1), behind(reload, "build")}, "a.md@0 x.html@1080", "build:a.md@30-130! build:a.md@1130-1230 reload:x.html@1230"},
		{"and follow its success", []fakeRoute{retrying(build, "1", 1), follower}, "a.md@0", "build:a.md@30-130! build:a.md@1130-1230 pages:a.md@1230"},
		{"what is followed is worked on again though its file is gone", []fakeRoute{build, retrying(pages, "1", 1).with(func(a *fakeRoute) { a.Patterns, a.work = []string{"*.html"}, 100*ms })}, "a.md@0 a.md:d@180", "build:a.md@30-130 pages:a.md@130-230! pages:a.md@1230-1330"},
		{"what was kept for a success has it", []fakeRoute{retrying(build, "1", 1), keeping(behind(reload, "build"))}, "a.md@0 x.html@0", "build:a.md@30-130! build:a.md@1130-1230 reload:x.html@1230"},
		{"a timeout is a failure", []fakeRoute{retrying(build, "", 1).with(func(a *fakeRoute) { a.Timeout = 50 * ms })}, "a.md@0", "build:a.md@30-80!timeout build:a.md@1080-1130!timeout"},
		{"to be ended for newer events is none", []fakeRoute{retrying(build, "2", 1).with(func(a *fakeRoute) { a.OnBusy = Restart })}, "a.md@0 b.md@50", "build:a.md@30-80!restarted build:a.md+b.md@80-180! build:a.md+b.md@1180-1280"},
		{"to be cancelled is none", []fakeRoute{failing(build, "all"), retrying(reload, "", 3)}, "a.md@0 x.html@0", "build:a.md@30-130! reload:x.html@130!cancelled"},
		{"retries are no loop", []fakeRoute{retrying(build, "all", 8).with(func(a *fakeRoute) { a.Backoff = -1 })}, "a.md@0", "build:a.md@30-130! build:a.md@130-230! build:a.md@230-330! build:a.md@330-430! build:a.md@430-530! build:a.md@530-630! build:a.md@630-730! build:a.md@730-830! build:a.md@830-930!"},
		{
			"a loop is one in spite of them",
			[]fakeRoute{writing(retrying(build, "all", 3), "a.md")},
			"a.md@0", "build:a.md@30-130! build:a.md@130-230! build:a.md@230-330! build:a.md@430-530! build:a.md@730-830! build:a.md@1230-1330! build:a.md@2130-2230! build:a.md@3830-3930! build:a.md@7130!loop",
		},
	} {
		p.run(t, Options{})
	}
}

// A Run says that another follows, and when. A Submission has the failure at once.
func TestRetryIsAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs []Run
		fails := errors.New("not now")
		r := mustNew(t, Options{Post: func(f Run) { runs = append(runs, f) }}, Route{
			Name: "x", Debounce: -1, Retries: 2, Backoff: 5 * time.Second,
			Callback: func(context.Context, []inotify.Event) error { return fails },
		})
		stop := background(t, r)
		submission := r.Submit(event("a", 0))
		if err := submission.Wait(t.Context()); !errors.Is(err, fails) {
			t.Errorf("got %v, want %v", err, fails)
		}
		time.Sleep(long)
		stop()
		for i, want := range []struct {
			again   bool
			backoff time.Duration
		}{{true, 5 * time.Second}, {true, 10 * time.Second}, {false, 0}} {
			if i >= len(runs) || runs[i].Again != want.again || runs[i].Backoff != want.backoff {
				t.Errorf("run %d of %+v, want %+v", i, runs, want)
			}
		}
	})
}

// A Submission waits for every other route while one of them retries.
func TestARetryDoesNotEndTheWaitForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		r := mustNew(t, Options{},
			Route{Name: "fails", Delay: -1, Debounce: -1, Retries: 5, Backoff: 10 * ms, Callback: func(context.Context, []inotify.Event) error {
				return errors.New("not now")
			}},
			Route{Name: "slow", Delay: -1, Debounce: -1, Callback: func(context.Context, []inotify.Event) error {
				time.Sleep(time.Minute)
				return nil
			}})
		stop := background(t, r)
		_ = r.Submit(event("a", 0)).Wait(t.Context())
		if waited := time.Since(start); waited < time.Minute {
			t.Errorf("Wait returns after %v, while a route runs", waited)
		}
		stop()
	})
}

// What was kept goes with the next event, delays no other route, and goes at once when the
// routes are replaced.
func TestKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		kept := build.with(func(a *fakeRoute) {
			a.Retries = 3 // which is for others
			a.Callback = func(context.Context, []inotify.Event) error {
				if runs++; runs > 3 {
					return nil
				}
				return fmt.Errorf("too long: %w", ErrKept)
			}
		})
		got := runRoutesWith(t, Options{}, 0, func(s *runLog) {
			time.Sleep(7 * time.Second)
			mustSet(t, s.router, s.routes([]fakeRoute{kept, reload})...)
		}, "a.md@0 x.html@1000 b.md@5000 c.md@6000 c.md:d@6500", kept, reload)
		if want := "build:a.md@30! reload:x.html@1100 build:a.md+b.md@5030! build:a.md+b.md+c.md@6030! build:a.md+b.md@7000"; got != want {
			t.Errorf("got runs %s, want %s", got, want)
		}
	})
}
