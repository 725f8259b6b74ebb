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

// An actor is a route whose callback works, and writes and fails as it is
// told.
type actor struct {
	Route
	work   time.Duration
	writes string        // words, in each run
	when   time.Duration // after its start; 0 is in the middle of the work
	until  int           // it writes in no later run; 0 is in all
	fails  string        // the numbers of the runs that fail, or all
	deaf   bool          // to its context
	lag    time.Duration // from the end of its context to its own
	rude   bool          // it says nothing of its context
}

// A stagehand writes down the frames of actors.
type stagehand struct {
	start  time.Time
	router *Router

	mu     sync.Mutex
	runs   map[string]int
	frames []Run
}

// perform plays events to the actors and returns their frames, sorted by their
// start and then by route, as route:paths@start. A run that took time has -end,
// and one that failed ! and, if it was not its own fault, why.
func perform(t *testing.T, opts Options, events string, actors ...actor) string {
	t.Helper()
	return performWith(t, opts, 0, func(*Router) {}, events, actors...)
}

// performWith is perform with something else to do at the time 0, before which
// there may be events.
func performWith(t *testing.T, opts Options, early time.Duration, do func(*Router), events string, actors ...actor) string {
	t.Helper()
	s := &stagehand{start: time.Now().Add(early), runs: make(map[string]int)}
	var routes []Route
	for _, a := range actors {
		a.Callback = s.callback(a)
		routes = append(routes, a.Route)
	}
	opts.Post = s.note
	s.router = mustNew(t, opts, routes...)
	s.router.schedule.Sleep = func(time.Duration) {} // or most of it is waiting
	stop := background(t, s.router)
	synctest.Wait()

	played := make(chan struct{})
	go func() {
		defer close(played)
		play(t, s.start, events, s.events)
	}()
	time.Sleep(early)
	do(s.router)
	<-played
	time.Sleep(time.Until(s.start.Add(long)))
	stop()
	return s.String()
}

func (s *stagehand) callback(a actor) Callback {
	return func(ctx context.Context, _ []inotify.Event) error {
		s.mu.Lock()
		s.runs[a.Name]++
		run := s.runs[a.Name]
		s.mu.Unlock()

		if a.deaf {
			ctx = context.WithoutCancel(ctx)
		}
		if a.until == 0 || run <= a.until {
			wrote := time.AfterFunc(cmp.Or(a.when, a.work/2), func() { s.events(words(a.writes)) })
			defer wrote.Stop()
		}
		select {
		case <-time.After(a.work):
		case <-ctx.Done():
			time.Sleep(a.lag)
			if a.rude {
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

// events hands events to the router that there is.
func (s *stagehand) events(batch []inotify.Event) {
	s.mu.Lock()
	r := s.router
	s.mu.Unlock()
	r.Events(batch)
}

func (s *stagehand) note(f Run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frames = append(s.frames, f)
}

func (s *stagehand) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortStableFunc(s.frames, func(x, y Run) int {
		return cmp.Or(x.Start.Compare(y.Start), cmp.Compare(x.Route, y.Route), cmp.Compare(paths(x.Events), paths(y.Events)))
	})
	var all []string
	for _, f := range s.frames {
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

// A scene is a row of a table: events and the frames that they lead to.
type scene struct {
	name   string
	actors []actor
	events string
	frames string
}

func (p scene) run(t *testing.T, opts Options) {
	t.Run(p.name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			if got := perform(t, opts, p.events, p.actors...); got != p.frames {
				t.Errorf("events %q\n got frames %s\nwant frames %s", p.events, got, p.frames)
			}
		})
	})
}

// telling makes Post take 50 ms.
func telling(a actor) actor {
	return a.with(func(a *actor) { a.Post = func(Run) { time.Sleep(50 * ms) } })
}

// with returns the actor changed.
func (a actor) with(change func(*actor)) actor {
	change(&a)
	return a
}

// Actors of many rows: build takes 100 ms for *.md, and css for *.scss; reload
// is for *.html and waits for both that are there, and pages follows.
var (
	build  = actor{Route: Route{Name: "build", Patterns: []string{"*.md"}, Debounce: -1}, work: 100 * ms}
	styles = actor{Route: Route{Name: "css", Patterns: []string{"*.scss"}, Debounce: -1}, work: 100 * ms}
	reload = actor{Route: Route{Name: "reload", Patterns: []string{"*.html"}, Delay: 100 * ms, Debounce: -1, After: []string{"build"}}}
	pages  = actor{Route: Route{Name: "pages", Delay: 100 * ms, Debounce: -1, After: []string{"build"}, Follow: true}}
)

func failing(a actor, runs string) actor { return a.with(func(a *actor) { a.fails = runs }) }
func writing(a actor, what string) actor { return a.with(func(a *actor) { a.writes = what }) }
func behind(a actor, names ...string) actor {
	return a.with(func(a *actor) { a.After = names })
}
func stubborn(a actor) actor { return a.with(func(a *actor) { a.OnFailure = Continue }) }
func keeping(a actor) actor  { return a.with(func(a *actor) { a.OnFailure = Keep }) }

func TestAfter(t *testing.T) {
	site := []actor{build, styles, behind(pages, "build", "css")}
	tests := []scene{
		{"a route waits while another runs that comes first", []actor{build, reload}, "a.md@0 x.html@10", "build:a.md@30-130 reload:x.html@130"},
		{"it waits while that one has something waiting", []actor{build, reload}, "x.html@0 a.md@90", "build:a.md@120-220 reload:x.html@220"},
		{"it gathers meanwhile", []actor{build, reload}, "a.md@0 x.html@10 y.html@70 z.html@129", "build:a.md@30-130 reload:x.html+y.html+z.html@130"},
		{"its own delay counts from its own first event", []actor{build, reload}, "a.md@0 x.html@80", "build:a.md@30-130 reload:x.html@180"},
		{"it does not wait for who has nothing to do", []actor{build, reload}, "x.html@0", "reload:x.html@100"},
		{"what comes first does not wait for it", []actor{build, reload.with(func(a *actor) { a.work = long / 2 })}, "x.html@0 a.md@200", "reload:x.html@100-1800100 build:a.md@230-330"},
		{"the order of New does not matter", []actor{reload, build}, "a.md@0 x.html@10", "build:a.md@30-130 reload:x.html@130"},
		{"even for one event without a delay", []actor{
			{Route: Route{Name: "late", Delay: -1, Debounce: -1, After: []string{"early"}}},
			{Route: Route{Name: "early", Delay: -1, Debounce: -1}, work: 10 * ms},
		}, "a@0", "early:a@0-10 late:a@10"},
		{"what is gone again holds nothing", []actor{build, reload}, "x.html@0 a.md@90 a.md:d@110", "reload:x.html@110"},
		{"a file that is still written holds both", []actor{build, reload}, "a.md:M@0 x.html@10 a.md:w@500", "build:a.md@530-630 reload:x.html@630"},
		{"what is gone during a run does not end it", []actor{build, reload}, "a.md@0 x.html@10 b.md@50 b.md:d@120", "build:a.md@30-130 reload:x.html@130"},
		{"a file closed while what comes first runs was not waited for", []actor{build, reload}, "a.md@0 x.html:M@5 x.html:w@120", "build:a.md@30-130 reload:x.html@130"},
		{"Hold counts from when what comes first was done", []actor{build, reload.with(func(a *actor) { a.Hold = 500 * ms })}, "a.md@0 x.html:M@5 x.html:M@400 x.html:M@800", "build:a.md@30-130 reload:x.html@630 reload:x.html@1400"},
		{"what comes first is done when Post is", []actor{telling(build), reload}, "a.md@0 x.html@10", "build:a.md@30-130 reload:x.html@180"},
		{"it waits for those that come before the one that comes first", []actor{
			styles, behind(build, "css"), reload,
		}, "x.html@0 a.scss@90", "css:a.scss@120-220 reload:x.html@220"},

		{"a route that does not follow is not triggered", []actor{build, reload}, "a.md@0", "build:a.md@30-130"},
		{"a route that follows is, at once, with the same events", []actor{build, pages}, "a.md@0 b.md@10", "build:a.md+b.md@30-130 pages:a.md+b.md@130"},
		{"a burst is followed once, by all its events", []actor{build, pages}, "a.md@0 b.md@70 a.md@80 c.md@150", "build:a.md@30-130 build:b.md+a.md@130-230 build:c.md@230-330 pages:a.md+b.md+c.md@330"},
		{"two routes are followed once", site, "a.md@0 a.scss@20", "build:a.md@30-130 css:a.scss@50-150 pages:a.md+a.scss@150"},
		{"one of two is followed too", site, "a.scss@20", "css:a.scss@50-150 pages:a.scss@150"},
		{"a route without patterns that follows has no events of its own", []actor{build, pages}, "x.html@0", ""},
		{"with patterns it has", []actor{build, pages.with(func(a *actor) { a.Patterns = []string{"*.html"} })}, "a.md@0 x.html@100", "build:a.md@30-130 pages:x.html+a.md@200"},
		{"followers follow each other", []actor{build, pages, behind(pages, "pages").with(func(a *actor) { a.Name = "tell" })}, "a.md@0", "build:a.md@30-130 pages:a.md@130 tell:a.md@130"},
		{"what is followed stays though its file goes", []actor{build, styles, behind(pages, "build", "css").with(func(a *actor) { a.Patterns = []string{"*.html"} })}, "a.md@0 a.scss@60 a.md:d@140", "build:a.md@30-130 css:a.scss@90-190 pages:a.md+a.scss@190"},
		{"the debounce is kept", []actor{build, pages.with(func(a *actor) { a.Debounce = 1000 * ms })}, "a.md@0 b.md@200", "build:a.md@30-130 pages:a.md@130 build:b.md@230-330 pages:b.md@1130"},

		{"what waits for a route that fails is cancelled", []actor{failing(build, "1"), reload}, "a.md@0 x.html@10", "build:a.md@30-130! reload:x.html@130!cancelled"},
		{"or goes all the same", []actor{failing(build, "1"), stubborn(reload)}, "a.md@0 x.html@10", "build:a.md@30-130! reload:x.html@130"},
		{"or is kept for the next success", []actor{failing(build, "1 2"), keeping(reload)}, "a.md@0 x.html@10 a.md@500 a.md@1000", "build:a.md@30-130! build:a.md@530-630! build:a.md@1030-1130 reload:x.html@1130"},
		{"and holds back nothing that comes later", []actor{failing(build, "1"), keeping(reload)}, "a.md@0 x.html@10 y.html@500 a.md@1000", "build:a.md@30-130! reload:y.html@600 build:a.md@1030-1130 reload:x.html@1130"},
		{"with which it goes in the order of its events", []actor{failing(build, "1"), keeping(reload)}, "a.md@0 x.html@10 a.md@1000 y.html@1010", "build:a.md@30-130! build:a.md@1030-1130 reload:x.html+y.html@1130"},
		{"by each path", []actor{failing(build, "1"), keeping(reload).with(func(a *actor) { a.Per = PerFile })}, "a.md@0 x.html@10 y.html@20 a.md@1000", "build:a.md@30-130! build:a.md@1030-1130 reload:x.html@1130 reload:y.html@1130"},
		{"who keeps what waits has failed for those behind it", []actor{failing(styles, "1"), keeping(behind(build, "css")), reload}, "a.scss@0 a.md@10 x.html@20", "css:a.scss@30-130! reload:x.html@130!cancelled"},
		{"a failure is not followed", []actor{failing(build, "1"), stubborn(pages)}, "a.md@0", "build:a.md@30-130!"},
		{"a failure of the past does not count", []actor{failing(build, "1"), reload}, "a.md@0 x.html@200", "build:a.md@30-130! reload:x.html@300"},
		{"a failure that the burst makes good does not count", []actor{failing(build, "1"), behind(pages, "build").with(func(a *actor) { a.Patterns = []string{"*.html"} })}, "a.md@0 x.html@20 b.md@70", "build:a.md@30-130! build:b.md@130-230 pages:x.html+b.md@230"},
		{"nor for those who were to give up with who did", []actor{failing(styles, "1"), behind(build, "css"), reload}, "a.scss@0 x.html@20 b.scss@70", "css:a.scss@30-130! css:b.scss@130-230 reload:x.html@230"},
		{"a failure that ends the burst does", []actor{failing(build, "2"), pages}, "a.md@0 b.md@70", "build:a.md@30-130 build:b.md@130-230! pages:a.md@230!cancelled"},
		{"one that fails is enough", []actor{build, failing(styles, "1"), behind(pages, "build", "css")}, "a.md@0 a.scss@0", "build:a.md@30-130 css:a.scss@30-130! pages:a.md@130!cancelled"},
		{"whichever is over first", []actor{build, failing(styles, "1"), behind(pages, "build", "css")}, "a.scss@0 a.md@50", "css:a.scss@30-130! build:a.md@80-180 pages:a.md@180!cancelled"},
		{"a timeout is a failure", []actor{build.with(func(a *actor) { a.Timeout = 50 * ms }), reload}, "a.md@0 x.html@10", "build:a.md@30-80!timeout reload:x.html@80!cancelled"},
		{"who is cancelled has failed for those behind it", []actor{
			failing(styles, "1"), behind(build, "css"), reload,
		}, "a.scss@0 a.md@10 x.html@20", "css:a.scss@30-130! build:a.md@130!cancelled reload:x.html@130!cancelled"},
		{"when Post was told", []actor{
			failing(styles, "1"), telling(behind(build, "css")), reload,
		}, "a.scss@0 a.md@10 x.html@20", "css:a.scss@30-130! build:a.md@130!cancelled reload:x.html@180!cancelled"},
		{"whatever comes and goes meanwhile", []actor{
			failing(styles, "1"), telling(behind(build, "css")), reload,
		}, "a.scss@0 a.md@10 x.html@20 b.md@140 b.md:d@150", "css:a.scss@30-130! build:a.md@130!cancelled reload:x.html@180!cancelled"},
		{"what comes and fails meanwhile is cancelled too", []actor{
			failing(styles, "all").with(func(a *actor) { a.Delay, a.work = -1, 10*ms }), telling(behind(reload, "css")),
		}, "a.scss@0 x.html@5 b.scss@20 y.html@25 z.html@70", "css:a.scss@0-10! reload:x.html@10!cancelled css:b.scss@20-30! reload:y.html@60!cancelled reload:z.html@170"},
		{"also if nothing of it waited", []actor{
			failing(styles, "1"), behind(build, "css"), reload,
		}, "a.scss@0 x.html@20", "css:a.scss@30-130! reload:x.html@130!cancelled"},
		{"who goes all the same has not", []actor{
			failing(styles, "1"), stubborn(behind(build, "css")), reload,
		}, "a.scss@0 a.md@10 x.html@20", "css:a.scss@30-130! build:a.md@130-230 reload:x.html@230"},
	}
	for _, tt := range tests {
		tt.run(t, Options{Grace: -1})
	}
}

func TestPerFile(t *testing.T) {
	thumbs := actor{Route: Route{Name: "t", Delay: 100 * ms, Debounce: -1, Per: PerFile}}
	slow := thumbs.with(func(a *actor) { a.work = 300 * ms })
	tests := []scene{
		{"each file has its own delay", []actor{thumbs}, "a@0 b@60 a@90", "t:a@100 t:b@160"},
		{"different files run side by side", []actor{slow}, "a@0 b@10", "t:a@100-400 t:b@110-410"},
		{"one file does not", []actor{slow}, "a@0 a@150 a@170", "t:a@100-400 t:a@400-700"},
		{"also if something came and went meanwhile", []actor{slow}, "a@0 a@150 a:d@160 a@200", "t:a@100-400 t:a@400-700"},
		{"an open file holds only itself", []actor{thumbs}, "a:M@0 b@10 a:w@500", "t:b@110 t:a@600"},
		{"each file has its own debounce", []actor{thumbs.with(func(a *actor) { a.Debounce = 500 * ms })}, "a@0 b@200 a@250", "t:a@100 t:b@300 t:a@600"},
		{"a debounce is remembered no longer than it lasts", []actor{thumbs.with(func(a *actor) { a.Debounce = 500 * ms })}, "a@0 a@550", "t:a@100 t:a@650"},
		{"a removed file is not dispatched", []actor{thumbs}, "a@0 b@0 a:d@50", "t:b@100"},
		{"a renamed file runs under its new name", []actor{thumbs}, "a:M@0 a:w@10 a>b@20", "t:b@120"},
		{"also for who does not ask for renames", []actor{thumbs.with(func(a *actor) { a.Mask = inotify.Modify })}, "a@0 a>b@20", "t:b@120"},
		{"a renamed directory takes what waits below along", []actor{thumbs.with(func(a *actor) { a.Mask = inotify.Modify })}, "d/a@0 d/b@0 x@0 d/>e/@20", "t:x@100 t:e/a@120 t:e/b@120"},
		{"one that follows has the files of the other", []actor{build, pages.with(func(a *actor) { a.Per = PerFile })}, "a.md@0 b.md@0", "build:a.md+b.md@30-130 pages:a.md@130 pages:b.md@130"},
		{"one that is followed is so when the last file is done", []actor{slow, behind(pages, "t")}, "a@0 b@100", "t:a@100-400 t:b@200-500 pages:a+b@500"},
		{"a file that fails cancels what waits", []actor{failing(slow, "1"), behind(pages, "t")}, "a@0 b@100", "t:a@100-400! t:b@200-500 pages:b@500!cancelled"},
		{"a file that fails and then does not is made good", []actor{failing(slow, "1"), behind(pages, "t")}, "a@0 b@100 a@200", "t:a@100-400! t:b@200-500 t:a@400-700 pages:b+a@700"},
	}
	for _, tt := range tests {
		tt.run(t, Options{Grace: -1})
	}
}

func TestEmptyFiles(t *testing.T) {
	uploads := actor{Route: Route{Name: "u", Delay: 100 * ms, Debounce: -1, Per: PerFile, Empty: true}}
	tests := []scene{
		{"a new file is heeded when it is closed", []actor{uploads}, "a:c@0 a:w@500", "u:a@600"},
		{"also if that comes as one event", []actor{uploads}, "a:cw@0", "u:a@100"},
		{"also in the batch of a whole route", []actor{uploads.with(func(a *actor) { a.Per = PerRoute })}, "a:c@0 b@10 a:w@20", "u:b+a@110"},
		{"once if it is written", []actor{uploads}, "a:c@0 a:M@300 a:w@500", "u:a@600"},
		{"once if it is written quickly", []actor{uploads}, "a:c@0 a:M@10 a:w@20", "u:a@110"},
		{"one that was there is not", []actor{uploads}, "a:w@0", ""},
		{"nor one that was heeded before", []actor{uploads}, "a:c@0 a:w@1 a:w@500", "u:a@101"},
		{"nor what is never open for writing", []actor{uploads}, "link:c@0 d/:c@0", ""},
		{"nor what is ignored", []actor{uploads}, ".a:c@0 .a:w@1", ""},
		{"nor what goes", []actor{uploads}, "a:c@0 a:w@1 a:d@50 b:c@0 b:d@10 b:w@20", ""},
		{"it may be made again", []actor{uploads}, "a:c@0 a:d@10 a:c@20 a:w@30", "u:a@130"},
		{"it may be renamed", []actor{uploads.with(func(a *actor) { a.Mask = inotify.Modify })}, "a:c@0 a:w@1 a>b@50", "u:b@150"},
		{"or its directory", []actor{uploads.with(func(a *actor) { a.Mask = inotify.Modify })}, "d/a:c@0 d/a:w@1 d/>e/@50", "u:e/a@150"},
		{"what is renamed while it is open is not the one that was made", []actor{uploads.with(func(a *actor) { a.Mask = inotify.Modify })}, "d/a:c@0 d/>e/@50 d/a:w@100", ""},
		{"who does not ask for it hears nothing", []actor{uploads.with(func(a *actor) { a.Empty = false })}, "a:c@0 a:w@1", ""},
	}
	for _, tt := range tests {
		tt.run(t, Options{Grace: -1})
	}
}

func TestOnBusy(t *testing.T) {
	queue := actor{Route: Route{Name: "r", Delay: 100 * ms, Debounce: -1}, work: 1000 * ms}
	ignore := queue.with(func(a *actor) { a.OnBusy = Ignore })
	restart := queue.with(func(a *actor) { a.OnBusy = Restart })
	tests := []scene{
		{"queue: what comes makes one further run", []actor{queue}, "a@0 b@200 c@300", "r:a@100-1100 r:b+c@1100-2100"},

		{"ignore: what comes during a run is dropped", []actor{ignore}, "a@0 b@200 c@1000", "r:a@100-1100"},
		{"ignore: what comes before and after is not", []actor{ignore}, "a@0 b@50 c@200 d@1150", "r:a+b@100-1100 r:d@1250-2250"},
		{"ignore: what comes first does not count as a run", []actor{build.with(func(a *actor) { a.work = 1000 * ms }), behind(ignore, "build").with(func(a *actor) { a.Patterns = []string{"*.html"} })}, "a.md@0 x.html@500", "build:a.md@30-1030 r:x.html@1030-2030"},
		{"ignore: a file that is still written afterwards counts", []actor{ignore}, "a@0 b:M@1000 b:M@1150 b:w@1200", "r:a@100-1100 r:b@1250-2250"},

		{"ignore: what comes when only Post is not done is not dropped", []actor{telling(ignore)}, "a@0 b@1120", "r:a@100-1100 r:b@1220-2220"},
		{"ignore: a file renamed to one that runs is dropped", []actor{ignore.with(func(a *actor) { a.Per = PerFile })}, "b@0 a@150 a>b@200", "r:b@100-1100"},

		{"restart: the run ends when the next is due and starts again with all", []actor{restart}, "a@0 b@200", "r:a@100-300!restarted r:a+b@300-1300"},
		{"restart: what comes meanwhile is one restart", []actor{restart}, "a@0 b@200 c@250", "r:a@100-300!restarted r:a+b+c@300-1300"},
		{"restart: not before the file is complete", []actor{restart}, "a@0 b:M@200 b:w@700", "r:a@100-800!restarted r:a+b@800-1800"},
		{"restart: the same path is there once", []actor{restart}, "a@0 b@0 b@200 a@210", "r:a+b@100-300!restarted r:a+b@300-1300"},
		{"restart: what was not covered is carried on and on", []actor{restart}, "a@0 b@200 c@400", "r:a@100-300!restarted r:a+b@300-500!restarted r:a+b+c@500-1500"},
		{"restart: what was covered is not", []actor{restart}, "a@0 b@1200", "r:a@100-1100 r:b@1300-2300"},
		{"restart: what failed of itself is not", []actor{failing(restart, "1")}, "a@0 b@1200", "r:a@100-1100! r:b@1300-2300"},
		{"restart: a run that succeeds all the same has covered its own", []actor{restart.with(func(a *actor) { a.deaf = true })}, "a@0 b@200", "r:a@100-1100 r:b@1100-2100"},
		{"restart: what has gone since is no reason", []actor{restart}, "a@0 b@200 b:d@250", "r:a@100-1100"},
		{"restart: also if it went before the run ended", []actor{restart.with(func(a *actor) { a.lag = 100 * ms })}, "a@0 b@200 b:d@350", "r:a@100-400!restarted r:a@400-1400"},
		{"restart: whatever the callback says of it", []actor{restart.with(func(a *actor) { a.rude = true })}, "a@0 b@200", "r:a@100-300!restarted r:a+b@300-1300"},
		{"restart: a run that has hardly begun", []actor{restart.with(func(a *actor) { a.Delay = -1 })}, "a@0 b@0", "r:a@0!restarted r:a+b@0-1000"},
		{"restart: runs start a debounce apart", []actor{restart.with(func(a *actor) { a.Debounce = 500 * ms })}, "a@0 b@150", "r:a@100-600!restarted r:a+b@600-1600"},
		{"restart: it waits for what comes first, still running", []actor{build, behind(restart, "build").with(func(a *actor) { a.Follow = true; a.work = 10_000 * ms })}, "a.md@0 b.md@500", "build:a.md@30-130 r:a.md@130-630!restarted build:b.md@530-630 r:a.md+b.md@630-10630"},
		{"restart: it is no failure", []actor{restart, behind(pages, "r")}, "a@0 b@200", "r:a@100-300!restarted r:a+b@300-1300 pages:a+b@1300"},
	}
	for _, tt := range tests {
		tt.run(t, Options{Grace: -1})
	}
}

func TestConcurrency(t *testing.T) {
	many := actor{Route: Route{Name: "many", Delay: -1, Debounce: -1, Per: PerFile, Hold: DefaultHold, Ignore: []string{"x*"}}, work: 100 * ms}
	one := actor{Route: Route{Name: "one", Patterns: []string{"x*"}, Delay: -1, Debounce: -1}, work: 100 * ms}
	tests := []scene{
		{"no more run than may", []actor{many}, "a@0 b@0 c@0 d@0 e@0", "many:a@0-100 many:b@0-100 many:c@100-200 many:d@100-200 many:e@200-300"},
		{"what waits for its turn gathers", []actor{many, one}, "a@0 b@0 x1@10 x2@20", "many:a@0-100 many:b@0-100 one:x1+x2@100-200"},
		{"many of one route do not keep another waiting", []actor{many, one}, "a@0 b@0 c@0 d@0 e@0 x@10", "many:a@0-100 many:b@0-100 many:c@100-200 one:x@100-200 many:d@200-300 many:e@200-300"},
		{"what is due at the same time runs in order", []actor{many.with(func(a *actor) { a.Delay = 50 * ms })}, "a@0 b@0 c@0 d@0 e@0", "many:a@50-150 many:b@50-150 many:c@150-250 many:d@150-250 many:e@250-350"},
		{"what goes while it waits needs no turn", []actor{many}, "a@0 b@0 c@0 d@0 c:d@50", "many:a@0-100 many:b@0-100 many:d@100-200"},
		{"what opens while it waits is held", []actor{many}, "a@0 b@0 c@0 c:M@50 d@60 c:w@250", "many:a@0-100 many:b@0-100 many:d@100-200 many:c@250-350"},
		{"what comes first may come up while it waits", []actor{many, behind(one, "build"), build}, "a@0 b@0 x@0 a.md@90", "many:a@0-100 many:b@0-100 many:a.md@100-200 build:a.md@120-220 one:x@220-320"},
	}
	for _, tt := range tests {
		tt.run(t, Options{Concurrency: 2})
	}
}
