package router

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/execlog/execlogd/inotify"
)

func TestAfter(t *testing.T) {
	site := []fakeRoute{build, styles, behind(pages, "build", "css")}
	for _, tt := range []scenario{
		{"a route waits while another runs that comes first", []fakeRoute{build, reload}, "a.md@0 x.html@10", "build:a.md@30-130 reload:x.html@130"},
		{"it waits while that one has something waiting", []fakeRoute{build, reload}, "x.html@0 a.md@90", "build:a.md@120-220 reload:x.html@220"},
		{"it gathers meanwhile", []fakeRoute{build, reload}, "a.md@0 x.html@10 y.html@70 z.html@129", "build:a.md@30-130 reload:x.html+y.html+z.html@130"},
		{"its own delay counts from its own first event", []fakeRoute{build, reload}, "a.md@0 x.html@80", "build:a.md@30-130 reload:x.html@180"},
		{"unless it is to go at once then", []fakeRoute{build, reload.with(func(a *fakeRoute) { a.NoDelayAfter = true })}, "a.md@0 x.html@80 y.html@140", "build:a.md@30-130 reload:x.html@130 reload:y.html@240"},
		{"which is not before its own debounce is over", []fakeRoute{build, reload.with(func(a *fakeRoute) { a.NoDelayAfter, a.Debounce = true, 200*ms })}, "x.html@0 a.md@110 x.html@180", "reload:x.html@100 build:a.md@140-240 reload:x.html@300"},
		{"it does not wait for who has nothing to do", []fakeRoute{build, reload}, "x.html@0", "reload:x.html@100"},
		{"what comes first does not wait for it", []fakeRoute{build, reload.with(func(a *fakeRoute) { a.work = long / 2 })}, "x.html@0 a.md@200", "reload:x.html@100-1800100 build:a.md@230-330"},
		{"the order of New does not matter", []fakeRoute{reload, build}, "a.md@0 x.html@10", "build:a.md@30-130 reload:x.html@130"},
		{"even for one event without a delay", []fakeRoute{
			{Route: Route{Name: "late", Delay: -1, Debounce: -1, After: []string{"early"}}},
			{Route: Route{Name: "early", Delay: -1, Debounce: -1}, work: 10 * ms},
		}, "a@0", "early:a@0-10 late:a@10"},
		{"what is gone again holds nothing", []fakeRoute{build, reload}, "x.html@0 a.md@90 a.md:d@110", "reload:x.html@110"},
		{"a file that is still written holds both", []fakeRoute{build, reload}, "a.md:M@0 x.html@10 a.md:w@500", "build:a.md@530-630 reload:x.html@630"},
		{"what is gone during a run does not end it", []fakeRoute{build, reload}, "a.md@0 x.html@10 b.md@50 b.md:d@120", "build:a.md@30-130 reload:x.html@130"},
		{"a file closed while what comes first runs was not waited for", []fakeRoute{build, reload}, "a.md@0 x.html:M@5 x.html:w@120", "build:a.md@30-130 reload:x.html@130"},
		{"Hold counts from when what comes first was done", []fakeRoute{build, reload.with(func(a *fakeRoute) { a.Hold = 500 * ms })}, "a.md@0 x.html:M@5 x.html:M@400 x.html:M@800", "build:a.md@30-130 reload:x.html@630 reload:x.html@1400"},
		{"what comes first is done when Post is", []fakeRoute{withSlowPost(build), reload}, "a.md@0 x.html@10", "build:a.md@30-130 reload:x.html@180"},
		{"it waits for those that come before the one that comes first", []fakeRoute{
			styles, behind(build, "css"), reload,
		}, "x.html@0 a.scss@90", "css:a.scss@120-220 reload:x.html@220"},

		{"routes that do not wait for each other are independent", []fakeRoute{
			{Route: Route{Name: "slow", Patterns: []string{"*.md"}, Debounce: -1}, work: time.Second},
			{Route: Route{Name: "quick", Debounce: -1}},
		}, "a.md@0 b.md@100 c@200", "quick:a.md@30 slow:a.md@30-1030 quick:b.md@130 quick:c@230 slow:b.md@1030-2030"},
		{"a route that does not follow is not triggered", []fakeRoute{build, reload}, "a.md@0", "build:a.md@30-130"},
		{"a route that follows is, at once, with the same events", []fakeRoute{build, pages}, "a.md@0 b.md@10", "build:a.md+b.md@30-130 pages:a.md+b.md@130"},
		{"a burst is followed once, by all its events", []fakeRoute{build, pages}, "a.md@0 b.md@70 a.md@80 c.md@150", "build:a.md@30-130 build:b.md+a.md@130-230 build:c.md@230-330 pages:a.md+b.md+c.md@330"},
		{"two routes are followed once", site, "a.md@0 a.scss@20", "build:a.md@30-130 css:a.scss@50-150 pages:a.md+a.scss@150"},
		{"one of two is followed too", site, "a.scss@20", "css:a.scss@50-150 pages:a.scss@150"},
		{"a route without patterns that follows has no events of its own", []fakeRoute{build, pages}, "x.html@0", ""},
		{"with patterns it has", []fakeRoute{build, pages.with(func(a *fakeRoute) { a.Patterns = []string{"*.html"} })}, "a.md@0 x.html@100", "build:a.md@30-130 pages:x.html+a.md@200"},
		{"followers follow each other", []fakeRoute{build, pages, behind(pages, "pages").with(func(a *fakeRoute) { a.Name = "tell" })}, "a.md@0", "build:a.md@30-130 pages:a.md@130 tell:a.md@130"},
		{"what is followed stays though its file goes", []fakeRoute{build, styles, behind(pages, "build", "css").with(func(a *fakeRoute) { a.Patterns = []string{"*.html"} })}, "a.md@0 a.scss@60 a.md:d@140", "build:a.md@30-130 css:a.scss@90-190 pages:a.md+a.scss@190"},
		{"the debounce is kept", []fakeRoute{build, pages.with(func(a *fakeRoute) { a.Debounce = 1000 * ms })}, "a.md@0 b.md@200", "build:a.md@30-130 pages:a.md@130 build:b.md@230-330 pages:b.md@1130"},

		{"what waits for a route that fails is cancelled", []fakeRoute{failing(build, "1"), reload}, "a.md@0 x.html@10", "build:a.md@30-130! reload:x.html@130!cancelled"},
		{"or goes all the same", []fakeRoute{failing(build, "1"), continuing(reload)}, "a.md@0 x.html@10", "build:a.md@30-130! reload:x.html@130"},
		{"or is kept for the next success", []fakeRoute{failing(build, "1 2"), keeping(reload)}, "a.md@0 x.html@10 a.md@500 a.md@1000", "build:a.md@30-130! build:a.md@530-630! build:a.md@1030-1130 reload:x.html@1130"},
		{"and holds back nothing that comes later", []fakeRoute{failing(build, "1"), keeping(reload)}, "a.md@0 x.html@10 y.html@500 a.md@1000", "build:a.md@30-130! reload:y.html@600 build:a.md@1030-1130 reload:x.html@1130"},
		{"with which it goes in the order of its events", []fakeRoute{failing(build, "1"), keeping(reload)}, "a.md@0 x.html@10 a.md@1000 y.html@1010", "build:a.md@30-130! build:a.md@1030-1130 reload:x.html+y.html@1130"},
		{"by each path", []fakeRoute{failing(build, "1"), keeping(reload).with(func(a *fakeRoute) { a.Per = PerFile })}, "a.md@0 x.html@10 y.html@20 a.md@1000", "build:a.md@30-130! build:a.md@1030-1130 reload:x.html@1130 reload:y.html@1130"},
		{"who keeps what waits has failed for those behind it", []fakeRoute{failing(styles, "1"), keeping(behind(build, "css")), reload}, "a.scss@0 a.md@10 x.html@20", "css:a.scss@30-130! reload:x.html@130!cancelled"},
		{"a failure is not followed", []fakeRoute{failing(build, "1"), continuing(pages)}, "a.md@0", "build:a.md@30-130!"},
		{"a failure of the past does not count", []fakeRoute{failing(build, "1"), reload}, "a.md@0 x.html@200", "build:a.md@30-130! reload:x.html@300"},
		{"a failure that the burst makes good does not count", []fakeRoute{failing(build, "1"), behind(pages, "build").with(func(a *fakeRoute) { a.Patterns = []string{"*.html"} })}, "a.md@0 x.html@20 b.md@70", "build:a.md@30-130! build:b.md@130-230 pages:x.html+b.md@230"},
		{"nor for those who were to give up with who did", []fakeRoute{failing(styles, "1"), behind(build, "css"), reload}, "a.scss@0 x.html@20 b.scss@70", "css:a.scss@30-130! css:b.scss@130-230 reload:x.html@230"},
		{"a failure that ends the burst does", []fakeRoute{failing(build, "2"), pages}, "a.md@0 b.md@70", "build:a.md@30-130 build:b.md@130-230! pages:a.md@230!cancelled"},
		{"one that fails is enough", []fakeRoute{build, failing(styles, "1"), behind(pages, "build", "css")}, "a.md@0 a.scss@0", "build:a.md@30-130 css:a.scss@30-130! pages:a.md@130!cancelled"},
		{"whichever is over first", []fakeRoute{build, failing(styles, "1"), behind(pages, "build", "css")}, "a.scss@0 a.md@50", "css:a.scss@30-130! build:a.md@80-180 pages:a.md@180!cancelled"},
		{"a timeout is a failure", []fakeRoute{build.with(func(a *fakeRoute) { a.Timeout = 50 * ms }), reload}, "a.md@0 x.html@10", "build:a.md@30-80!timeout reload:x.html@80!cancelled"},
		{"who is cancelled has failed for those behind it", []fakeRoute{
			failing(styles, "1"), behind(build, "css"), reload,
		}, "a.scss@0 a.md@10 x.html@20", "css:a.scss@30-130! build:a.md@130!cancelled reload:x.html@130!cancelled"},
		{"when Post was told", []fakeRoute{
			failing(styles, "1"), withSlowPost(behind(build, "css")), reload,
		}, "a.scss@0 a.md@10 x.html@20", "css:a.scss@30-130! build:a.md@130!cancelled reload:x.html@180!cancelled"},
		{"whatever comes and goes meanwhile", []fakeRoute{
			failing(styles, "1"), withSlowPost(behind(build, "css")), reload,
		}, "a.scss@0 a.md@10 x.html@20 b.md@140 b.md:d@150", "css:a.scss@30-130! build:a.md@130!cancelled reload:x.html@180!cancelled"},
		{"what comes and fails meanwhile is cancelled too", []fakeRoute{
			failing(styles, "all").with(func(a *fakeRoute) { a.Delay, a.work = -1, 10*ms }), withSlowPost(behind(reload, "css")),
		}, "a.scss@0 x.html@5 b.scss@20 y.html@25 z.html@70", "css:a.scss@0-10! reload:x.html@10!cancelled css:b.scss@20-30! reload:y.html@60!cancelled reload:z.html@170"},
		{"also if nothing of it waited", []fakeRoute{
			failing(styles, "1"), behind(build, "css"), reload,
		}, "a.scss@0 x.html@20", "css:a.scss@30-130! reload:x.html@130!cancelled"},
		{"who goes all the same has not", []fakeRoute{
			failing(styles, "1"), continuing(behind(build, "css")), reload,
		}, "a.scss@0 a.md@10 x.html@20", "css:a.scss@30-130! build:a.md@130-230 reload:x.html@230"},
	} {
		tt.run(t, Options{Grace: -1})
	}
}

func TestPerFile(t *testing.T) {
	thumbs := fakeRoute{Route: Route{Name: "t", Delay: 100 * ms, Debounce: -1, Per: PerFile}}
	slow := thumbs.with(func(a *fakeRoute) { a.work = 300 * ms })
	for _, tt := range []scenario{
		{"each file has its own delay", []fakeRoute{thumbs}, "a@0 b@60 a@90", "t:a@100 t:b@160"},
		{"different files run side by side", []fakeRoute{slow}, "a@0 b@10", "t:a@100-400 t:b@110-410"},
		{"one file does not", []fakeRoute{slow}, "a@0 a@150 a@170", "t:a@100-400 t:a@400-700"},
		{"also if something came and went meanwhile", []fakeRoute{slow}, "a@0 a@150 a:d@160 a@200", "t:a@100-400 t:a@400-700"},
		{"an open file holds only itself", []fakeRoute{thumbs}, "a:M@0 b@10 a:w@500", "t:b@110 t:a@600"},
		{"each file has its own debounce", []fakeRoute{thumbs.with(func(a *fakeRoute) { a.Debounce = 500 * ms })}, "a@0 b@200 a@250", "t:a@100 t:b@300 t:a@600"},
		{"a debounce is remembered no longer than it lasts", []fakeRoute{thumbs.with(func(a *fakeRoute) { a.Debounce = 500 * ms })}, "a@0 a@550", "t:a@100 t:a@650"},
		{"a removed file is not dispatched", []fakeRoute{thumbs}, "a@0 b@0 a:d@50", "t:b@100"},
		{"a renamed file runs under its new name", []fakeRoute{thumbs}, "a:M@0 a:w@10 a>b@20", "t:b@120"},
		{"also for who does not ask for renames", []fakeRoute{thumbs.with(func(a *fakeRoute) { a.Mask = inotify.Modify })}, "a@0 a>b@20", "t:b@120"},
		{"a renamed directory takes what waits below along", []fakeRoute{thumbs.with(func(a *fakeRoute) { a.Mask = inotify.Modify })}, "d/a@0 d/b@0 x@0 d/>e/@20", "t:x@100 t:e/a@120 t:e/b@120"},
		{"one that follows has the files of the other", []fakeRoute{build, pages.with(func(a *fakeRoute) { a.Per = PerFile })}, "a.md@0 b.md@0", "build:a.md+b.md@30-130 pages:a.md@130 pages:b.md@130"},
		{"one that is followed is so when the last file is done", []fakeRoute{slow, behind(pages, "t")}, "a@0 b@100", "t:a@100-400 t:b@200-500 pages:a+b@500"},
		{"a file that fails cancels what waits", []fakeRoute{failing(slow, "1"), behind(pages, "t")}, "a@0 b@100", "t:a@100-400! t:b@200-500 pages:b@500!cancelled"},
		{"a file that fails and then does not is made good", []fakeRoute{failing(slow, "1"), behind(pages, "t")}, "a@0 b@100 a@200", "t:a@100-400! t:b@200-500 t:a@400-700 pages:b+a@700"},
	} {
		tt.run(t, Options{Grace: -1})
	}
}

func TestEmptyFiles(t *testing.T) {
	uploads := fakeRoute{Route: Route{Name: "u", Delay: 100 * ms, Debounce: -1, Per: PerFile, Empty: true}}
	for _, tt := range []scenario{
		{"a new file is heeded when it is closed", []fakeRoute{uploads}, "a:c@0 a:w@500", "u:a@600"},
		{"also if that comes as one event", []fakeRoute{uploads}, "a:cw@0", "u:a@100"},
		{"also in the batch of a whole route", []fakeRoute{uploads.with(func(a *fakeRoute) { a.Per = PerRoute })}, "a:c@0 b@10 a:w@20", "u:b+a@110"},
		{"once if it is written", []fakeRoute{uploads}, "a:c@0 a:M@300 a:w@500", "u:a@600"},
		{"once if it is written quickly", []fakeRoute{uploads}, "a:c@0 a:M@10 a:w@20", "u:a@110"},
		{"one that was there is not", []fakeRoute{uploads}, "a:w@0", ""},
		{"nor one that was heeded before", []fakeRoute{uploads}, "a:c@0 a:w@1 a:w@500", "u:a@101"},
		{"nor what is never open for writing", []fakeRoute{uploads}, "link:c@0 d/:c@0", ""},
		{"nor what is ignored", []fakeRoute{uploads}, ".a:c@0 .a:w@1", ""},
		{"nor what goes", []fakeRoute{uploads}, "a:c@0 a:w@1 a:d@50 b:c@0 b:d@10 b:w@20", ""},
		{"it may be made again", []fakeRoute{uploads}, "a:c@0 a:d@10 a:c@20 a:w@30", "u:a@130"},
		{"it may be renamed", []fakeRoute{uploads.with(func(a *fakeRoute) { a.Mask = inotify.Modify })}, "a:c@0 a:w@1 a>b@50", "u:b@150"},
		{"or its directory", []fakeRoute{uploads.with(func(a *fakeRoute) { a.Mask = inotify.Modify })}, "d/a:c@0 d/a:w@1 d/>e/@50", "u:e/a@150"},
		{"what is renamed while it is open is not the one that was made", []fakeRoute{uploads.with(func(a *fakeRoute) { a.Mask = inotify.Modify })}, "d/a:c@0 d/>e/@50 d/a:w@100", ""},
		{"who does not ask for it hears nothing", []fakeRoute{uploads.with(func(a *fakeRoute) { a.Empty = false })}, "a:c@0 a:w@1", ""},
	} {
		tt.run(t, Options{Grace: -1})
	}
}

func TestOnBusy(t *testing.T) {
	queue := fakeRoute{Route: Route{Name: "r", Delay: 100 * ms, Debounce: -1}, work: 1000 * ms}
	ignore := queue.with(func(a *fakeRoute) { a.OnBusy = Ignore })
	restart := queue.with(func(a *fakeRoute) { a.OnBusy = Restart })
	for _, tt := range []scenario{
		{"queue: what comes makes one further run", []fakeRoute{queue}, "a@0 b@200 c@300", "r:a@100-1100 r:b+c@1100-2100"},

		{"ignore: what comes during a run is dropped", []fakeRoute{ignore}, "a@0 b@200 c@1000", "r:a@100-1100"},
		{"ignore: what comes before and after is not", []fakeRoute{ignore}, "a@0 b@50 c@200 d@1150", "r:a+b@100-1100 r:d@1250-2250"},
		{"ignore: what comes first does not count as a run", []fakeRoute{build.with(func(a *fakeRoute) { a.work = 1000 * ms }), behind(ignore, "build").with(func(a *fakeRoute) { a.Patterns = []string{"*.html"} })}, "a.md@0 x.html@500", "build:a.md@30-1030 r:x.html@1030-2030"},
		{"ignore: a file that is still written afterwards counts", []fakeRoute{ignore}, "a@0 b:M@1000 b:M@1150 b:w@1200", "r:a@100-1100 r:b@1250-2250"},

		{"ignore: what comes when only Post is not done is not dropped", []fakeRoute{withSlowPost(ignore)}, "a@0 b@1120", "r:a@100-1100 r:b@1220-2220"},
		{"ignore: a file renamed to one that runs is dropped", []fakeRoute{ignore.with(func(a *fakeRoute) { a.Per = PerFile })}, "b@0 a@150 a>b@200", "r:b@100-1100"},

		{"restart: the run ends when the next is due and starts again with all", []fakeRoute{restart}, "a@0 b@200", "r:a@100-300!restarted r:a+b@300-1300"},
		{"restart: what comes meanwhile is one restart", []fakeRoute{restart}, "a@0 b@200 c@250", "r:a@100-300!restarted r:a+b+c@300-1300"},
		{"restart: not before the file is complete", []fakeRoute{restart}, "a@0 b:M@200 b:w@700", "r:a@100-800!restarted r:a+b@800-1800"},
		{"restart: the same path is there once", []fakeRoute{restart}, "a@0 b@0 b@200 a@210", "r:a+b@100-300!restarted r:a+b@300-1300"},
		{"restart: what was not covered is carried on and on", []fakeRoute{restart}, "a@0 b@200 c@400", "r:a@100-300!restarted r:a+b@300-500!restarted r:a+b+c@500-1500"},
		{"restart: what was covered is not", []fakeRoute{restart}, "a@0 b@1200", "r:a@100-1100 r:b@1300-2300"},
		{"restart: what failed of itself is not", []fakeRoute{failing(restart, "1")}, "a@0 b@1200", "r:a@100-1100! r:b@1300-2300"},
		{"restart: a run that succeeds all the same has covered its own", []fakeRoute{restart.with(func(a *fakeRoute) { a.ignoresContext = true })}, "a@0 b@200", "r:a@100-1100 r:b@1100-2100"},
		{"restart: what has gone since is no reason", []fakeRoute{restart}, "a@0 b@200 b:d@250", "r:a@100-1100"},
		{"restart: also if it went before the run ended", []fakeRoute{restart.with(func(a *fakeRoute) { a.slowToEnd = 100 * ms })}, "a@0 b@200 b:d@350", "r:a@100-400!restarted r:a@400-1400"},
		{"restart: whatever the callback says of it", []fakeRoute{restart.with(func(a *fakeRoute) { a.failsWhenEnded = true })}, "a@0 b@200", "r:a@100-300!restarted r:a+b@300-1300"},
		{"restart: a run that has hardly begun", []fakeRoute{restart.with(func(a *fakeRoute) { a.Delay = -1 })}, "a@0 b@0", "r:a@0!restarted r:a+b@0-1000"},
		{"restart: runs start a debounce apart", []fakeRoute{restart.with(func(a *fakeRoute) { a.Debounce = 500 * ms })}, "a@0 b@150", "r:a@100-600!restarted r:a+b@600-1600"},
		{"restart: it waits for what comes first, still running", []fakeRoute{build, behind(restart, "build").with(func(a *fakeRoute) { a.Follow = true; a.work = 10_000 * ms })}, "a.md@0 b.md@500", "build:a.md@30-130 r:a.md@130-630!restarted build:b.md@530-630 r:a.md+b.md@630-10630"},
		{"restart: it is no failure", []fakeRoute{restart, behind(pages, "r")}, "a@0 b@200", "r:a@100-300!restarted r:a+b@300-1300 pages:a+b@1300"},
	} {
		tt.run(t, Options{Grace: -1})
	}
}

func TestConcurrency(t *testing.T) {
	many := fakeRoute{Route: Route{Name: "many", Delay: -1, Debounce: -1, Per: PerFile, Hold: DefaultHold, Ignore: []string{"x*"}}, work: 100 * ms}
	one := fakeRoute{Route: Route{Name: "one", Patterns: []string{"x*"}, Delay: -1, Debounce: -1}, work: 100 * ms}
	elsewhere := many.with(func(a *fakeRoute) { a.Name, a.Elsewhere, a.ReadOnly = "away", true, true })
	for _, tt := range []scenario{
		{"no more run than may", []fakeRoute{many}, "a@0 b@0 c@0 d@0 e@0", "many:a@0-100 many:b@0-100 many:c@100-200 many:d@100-200 many:e@200-300"},
		{"what waits for its turn gathers", []fakeRoute{many, one}, "a@0 b@0 x1@10 x2@20", "many:a@0-100 many:b@0-100 one:x1+x2@100-200"},
		{"many of one route do not keep another waiting", []fakeRoute{many, one}, "a@0 b@0 c@0 d@0 e@0 x@10", "many:a@0-100 many:b@0-100 many:c@100-200 one:x@100-200 many:d@200-300 many:e@200-300"},
		{"nor one that came later", []fakeRoute{one, many}, "a@0 b@50 c@60 x@70", "many:a@0-100 many:b@50-150 one:x@100-200 many:c@150-250"},
		{"any number may be elsewhere", []fakeRoute{elsewhere}, "a@0 b@0 c@0 d@0 e@0", "away:a@0-100 away:b@0-100 away:c@0-100 away:d@0-100 away:e@0-100"},
		{"what is elsewhere takes nobody's turn", []fakeRoute{elsewhere, one}, "a@0 b@0 c@0 x@10", "away:a@0-100 away:b@0-100 away:c@0-100 one:x@10-110"},
		{"nor waits for one", []fakeRoute{many, elsewhere}, "a@0 b@0 c@10", "away:a@0-100 away:b@0-100 many:a@0-100 many:b@0-100 away:c@10-110 many:c@100-200"},
		{"nor gives one", []fakeRoute{many, elsewhere}, "a@0 b@150 c@150 d@150", "away:a@0-100 many:a@0-100 away:b@150-250 away:c@150-250 away:d@150-250 many:b@150-250 many:c@150-250 many:d@250-350"},
		{"what is due at the same time runs in order", []fakeRoute{many.with(func(a *fakeRoute) { a.Delay = 50 * ms })}, "a@0 b@0 c@0 d@0 e@0", "many:a@50-150 many:b@50-150 many:c@150-250 many:d@150-250 many:e@250-350"},
		{"what goes while it waits needs no turn", []fakeRoute{many}, "a@0 b@0 c@0 d@0 c:d@50", "many:a@0-100 many:b@0-100 many:d@100-200"},
		{"what opens while it waits is held", []fakeRoute{many}, "a@0 b@0 c@0 c:M@50 d@60 c:w@250", "many:a@0-100 many:b@0-100 many:d@100-200 many:c@250-350"},
		{"what comes first may come up while it waits", []fakeRoute{many, behind(one, "build"), build}, "a@0 b@0 x@0 a.md@90", "many:a@0-100 many:b@0-100 many:a.md@100-200 build:a.md@120-220 one:x@220-320"},
	} {
		tt.run(t, Options{Concurrency: 2})
	}
}

// Routes of which each is after both of the layer before have 2^40 ways to the first.
func TestFailureOfManyLayers(t *testing.T) {
	const layers = 40
	routes := []Route{{Name: "0a", Delay: -1, Callback: func(context.Context, []inotify.Event) error { return errors.New("no") }}}
	before := []string{"0a"}
	for i := range layers {
		var layer []string
		for _, side := range []string{"a", "b"} {
			name := fmt.Sprint(i+1, side)
			layer = append(layer, name)
			routes = append(routes, Route{Name: name, After: before, Follow: true, Callback: discard})
		}
		before = layer
	}
	r := mustNew(t, Options{}, routes...)
	stop := background(t, r)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := r.Submit(inotify.Event{Path: "x"}).Wait(ctx); errors.Is(err, context.DeadlineExceeded) {
		panic("noteFailure goes each of the ways") // with the lock held, so that nothing else could end
	}
	stop()
}

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
		var got []string
		for _, f := range runs {
			got = append(got, fmt.Sprint(f.Again, f.Backoff))
		}
		if want := []string{"true 5s", "true 10s", "false 0s"}; !slices.Equal(got, want) {
			t.Errorf("runs %q, want %q", got, want)
		}
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
