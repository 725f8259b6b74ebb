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
	site := []actor{build, styles, behind(pages, "build", "css")}
	tests := []struct {
		name           string
		actors         []actor
		submit, events string
		returned       int
		err            string
		frames         string
	}{
		{"what nobody wants is over at once", []actor{build}, "x", "", 0, "", ""},
		{"what somebody wants is over with its frame", []actor{build}, "a.md", "", 130, "", "build:a.md@30-130"},
		{"an event without a mask is wanted whatever is asked for", []actor{build}, "a.md:", "", 130, "", "build:a.md@30-130"},
		{"but not by routes whose patterns are for others", []actor{build}, "x:", "", 0, "", ""},
		{"the last of several frames counts", []actor{build, styles.with(func(a *actor) { a.work = 500 * ms })}, "a.md a.scss", "", 530, "", "build:a.md@30-130 css:a.scss@30-530"},
		{"what follows counts too", []actor{build, pages.with(func(a *actor) { a.work = 70 * ms })}, "a.md", "", 200, "", "build:a.md@30-130 pages:a.md@130-200"},
		{"what waits behind counts too", []actor{build, reload}, "a.md x.html", "", 130, "", "build:a.md@30-130 reload:x.html@130"},
		{"what others do does not", []actor{build, reload}, "x.html", "a.md@150", 100, "", "reload:x.html@100 build:a.md@180-280"},
		{"what joins others waits with them", []actor{build}, "a.md:", "b.md@0 a.md@10", 130, "", "build:a.md+b.md@30-130"},
		{"what comes during a run waits for the next", []actor{build}, "a.md", "b.md@-50", 180, "", "build:b.md@-20-80 build:a.md@80-180"},
		{"an error is told", []actor{failing(build, "1")}, "a.md b.md", "", 130, `route "build": exit status 1`, "build:a.md+b.md@30-130!"},
		{
			"all errors are",
			[]actor{failing(build, "1"), failing(styles, "1").with(func(a *actor) { a.Delay = 50 * ms }), behind(reload, "build", "css")},
			"a.md x.html b.scss", "", 150,
			failed(`route "build": exit status 1; route "css": exit status 1; route "reload": cancelled: route "build": exit status 1`),
			"build:a.md@30-130! css:b.scss@50-150! reload:x.html@150!cancelled",
		},
		{"the errors of others are not", []actor{build, failing(styles, "1"), site[2]}, "x.html", "a.scss@0", 0, "", "css:a.scss@30-130!"},
		{"what is cancelled says why", []actor{build, failing(styles, "1"), site[2]}, "a.md", "a.scss@0", 130, `route "pages": cancelled: route "css": exit status 1`, "build:a.md@30-130 css:a.scss@30-130! pages:a.md@130!cancelled"},
		{"what a busy route drops says so", []actor{build.with(func(a *actor) { a.OnBusy = Ignore })}, "a.md", "b.md@-50", 0, `route "build": dropped: the route was running`, "build:b.md@-20-80"},
		{"what is restarted goes on", []actor{build.with(func(a *actor) { a.OnBusy = Restart })}, "a.md", "b.md@50", 180, "", "build:a.md@30-80!restarted build:a.md+b.md@80-180"},
		{"a file that goes away ends the wait", []actor{build}, "a.md", "a.md:d@20", 20, "", ""},
		{"a file that is renamed does not", []actor{build}, "a.md", "a.md>b.md@20", 130, "", "build:b.md@30-130"},
		{"a file that is renamed out of sight does", []actor{build}, "a.md", "a.md:f@20", 20, "", ""},
		{"one renamed to what nobody wants does", []actor{build}, "a.md", "a.md>b@20", 20, "", ""},
		{"what is no file does not go away", []actor{build}, "a.md:", "a.md:d@10 a.md:c@20", 130, "", "build:a.md@30-130"},
		{"what is open is waited for", []actor{build}, "a.md:M", "a.md:w@500", 630, "", "build:a.md@530-630"},
		{"also if it was something of a file before", []actor{build}, "a.md:", "a.md@-20 a.md:d@5", 110, "", "build:a.md@10-110"},
		{"after the router nothing is followed", []actor{build.with(func(a *actor) { a.work, a.deaf = 2*long, true }), pages}, "a.md", "", int(2*long/ms) + 30, "", "build:a.md@30-7200030"},
		{"nor run again", []actor{build.with(func(a *actor) { a.OnBusy, a.work, a.lag = Restart, 2*long, 2*long })}, "a.md", "b.md@50", int(2*long/ms) + 80, `route "build": ended for newer events`, "build:a.md@30-7200080!restarted"},
		{"with the router the wait ends", []actor{build.with(func(a *actor) { a.Delay = 2 * long })}, "a.md", "", int(long / ms), "dropped: the router stopped", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				before := 0 * ms
				if strings.Contains(tt.events, "@-") {
					before = 50 * ms
				}
				returned, got := never, ""
				frames := performWith(t, Options{}, before, func(r *Router) {
					ticket := r.Submit(words(tt.submit)...)
					start := time.Now()
					go func() {
						err := ticket.Wait(context.WithoutCancel(t.Context()))
						returned = int(time.Since(start).Milliseconds())
						if err != nil {
							got = err.Error()
						}
					}()
				}, tt.events, tt.actors...)
				synctest.Wait()
				if frames != tt.frames {
					t.Errorf("\n got frames %s\nwant frames %s", frames, tt.frames)
				}
				if returned != tt.returned || got != tt.err {
					t.Errorf("Wait returned at %d with %q\nwant at %d with %q", returned, got, tt.returned, tt.err)
				}
			})
		})
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	r := mustNew(t, Options{}, Route{Name: "r", Callback: discard})
	ticket := r.Submit(word("a")...) // nobody runs the router
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if err := ticket.Wait(ctx); !errors.Is(err, enough) {
		t.Errorf("Wait: %v", err)
	}
}

func TestSubmitAfterTheEnd(t *testing.T) {
	r := mustNew(t, Options{}, Route{Name: "r", Callback: discard})
	background(t, r)()
	if err := r.Submit(word("a")...).Wait(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("Submit: %v", err)
	}
	ticket, err := r.Trigger("r", word("a")...)
	if err != nil {
		t.Fatal(err)
	}
	if err := ticket.Wait(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("Trigger: %v", err)
	}
}

func TestTrigger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		frames := performWith(t, Options{}, 0, func(r *Router) {
			if _, err := r.Trigger("css", inotify.Event{Root: "/srv", Path: "."}); err != nil {
				t.Error(err)
			}
		}, "", build, styles, behind(pages, "css"))
		if want := "css:.@0-100 pages:.@100"; frames != want {
			t.Errorf("frames %s, want %s", frames, want)
		}
	})
	r := mustNew(t, Options{}, build.called(), pages.called())
	if _, err := r.Trigger("css"); err == nil || err.Error() != `no route "css": there is "build", "pages"` {
		t.Errorf("unknown route: %v", err)
	}
}

// What is offered is the route's as if it had just come, unless it is known to be
// still written, or goes.
func TestOffer(t *testing.T) {
	each := actor{Route: Route{Name: "each", Patterns: []string{"*.x"}, Mask: inotify.Attrib | Reload, Delay: 100 * ms, Debounce: -1, Per: PerFile}}
	others := actor{Route: Route{Name: "others", Patterns: []string{"*.x"}, Mask: inotify.Delete}}
	synctest.Test(t, func(t *testing.T) {
		frames := performWith(t, Options{}, 10*ms, func(r *Router) {
			if err := r.Offer("each", words("a.x:cw open.x:cmw gone.x:cm b.y:cm .dir/c.x:cm")...); err != nil {
				t.Error(err)
			}
		}, "open.x:M@-10 gone.x:d@50 open.x:w@500", each, others)
		if want := "others:gone.x@80 each:a.x@100 each:open.x@600"; frames != want {
			t.Errorf("frames %s, want %s", frames, want)
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

// called is the route of an actor with a callback.
func (a actor) called() Route {
	a.Callback = discard
	return a.Route
}

// What waits for a frame goes on when Post has returned, also if it panicked,
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

// Who submits what triggers himself means it.
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
		var frames []string
		r, err := New(Options{Post: func(f Run) {
			mu.Lock()
			defer mu.Unlock()
			frames = append(frames, fmt.Sprintf("%s: %v, %v", f.Route, f.Outcome, f.Err))
		}},
			Route{Name: "build", Retries: 3, Callback: func(context.Context, []inotify.Event) error {
				return fmt.Errorf("all is as it was: %w", ErrSkipped)
			}},
			Route{Name: "pages", After: []string{"build"}, ReadOnly: true, Callback: func(context.Context, []inotify.Event) error { return nil }},
		)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		if err := r.Submit(inotify.Event{Path: "a.md"}).Wait(t.Context()); err != nil {
			t.Errorf("Wait returns %v", err)
		}
		time.Sleep(time.Hour)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got, want := strings.Join(frames, "; "), "build: skipped, <nil>; pages: ok, <nil>"; got != want {
			t.Errorf("got frames %s\nwant %s", got, want)
		}
	})
}
