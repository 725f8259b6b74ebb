package router

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// TestOwnOutput has the programs of a route keep every file open whose name has
// log in it, and those with once in it the first time that somebody looks, and late
// later.
func TestOwnOutput(t *testing.T) {
	all := Route{Delay: 100 * ms, Debounce: -1, Mask: Reload | inotify.Create | inotify.Delete | inotify.MovedFrom}
	restart := timing
	restart.OnBusy = Restart
	closes := timing
	closes.Mask = inotify.CloseWrite
	perFile := timing
	perFile.Per = PerFile
	tests := []timedRow{
		{"what a route writes does not trigger it", all, 0, "log:c@0 log:M@1 log:M@300 log:M@600", ""},
		{"nor each file by itself", perFile, 0, "log:c@0 log:M@1 a@1 log:M@300", "a@101"},
		{"nor hold it back", timing, 0, "log:M@0 a@40 log:M@80 log:M@400", "a@140"},
		{"nor end its run", restart, 300 * ms, "a@0 log:M@110 log:M@210", "a@100"},
		{"during a run neither", timing, 300 * ms, "a@0 log:M@110 b@120 log:M@350", "a@100 b@400"},
		{"what was written just before the end neither", timing, 300 * ms, "a@0 once:M@110 once:M@399 once:w@399", "a@100"},
		{"without a delay neither", Route{Delay: -1, Debounce: -1}, 0, "log:M@0 a@100 log:M@200", "a@100"},
		{"what others write does", timing, 0, "a:M@0 a:w@10", "a@100"},
		{"nor does it wait when the answer costs nothing", Route{Delay: -1, Debounce: -1}, 0, "a@0 b@1", "a@0 b@1"},
		{"an answer that took long is not asked for again at once", Route{Delay: -1, Debounce: -1}, 0, "slow@0 b@1", "slow+b@100"},

		{"a close is its own doing as well", closes, 0, "once:M@0 once:w@50", ""},
		{"when it is closed it is a file like others", timing, 0, "once:M@0 once:w@50 once@100", "once@200"},
		{"unless it is open again", timing, 0, "log:M@0 log:w@50 log:M@100", ""},
		{"a file that comes to its place is another", timing, 0, "once:M@0 b>once@50", "once@150"},
		{"that a log is rotated is no trigger", all, 0, "log:M@0 log>old@50 old:M@60 log:c@70 log:M@71", ""},
		{"nor when it was closed first", all, 0, "once:M@0 once:w@50 once>old@60", ""},
		{"nor what becomes of it in the next rotations", all, 0, "once:M@0 once:w@2000 once>old@2001 log:c@2002 old:d@9000", ""},
		{"nor that the next begins, whatever becomes of it", all, 0, "once:M@0 once:w@2000 once>old@2001 once:c@2002 once:w@2003", ""},
		{"nor when the watcher looks at it", all, 0, "once:M@0 once:w@2000 once>old@2001 old:cmw@2002", ""},
		{"nor of those before it", all, 0, "once:M@0 once:w@2000 once>old@2001 old>older@9000 older:d@99000", ""},
		{"a change of it is", all, 0, "once:M@0 once:w@2000 once>old@2001 old@9000", "old@9100"},
		{"nor that it is removed then", all, 0, "once:M@0 once:w@50 once:d@60", ""},
		{"what becomes of it later is", all, 0, "once:M@0 once:w@50 once:d@1060", "once@1160"},
		{"later a name that it had is as any other", all, 0, "once:M@0 once>old@50 once:c@1060 once:M@1060 once:w@1061", "once@1160"},

		{"a save that waits is not lost", timing, 300 * ms, "x@0 late@110 late:M@200 late:M@250 late:w@300", "x@100 late@400"},
		{"nor does it wait for a log", timing, 0, "late:M@0 late:M@900 late:M@1000 late:M@1800 late:M@2600 late:M@3400", "late@1100"},
		{"a file that is renamed before somebody has looked", Route{Delay: 100 * ms, Debounce: -1, Mask: inotify.Modify}, 0, "log:M@0 slow@2 b:M@3 b>log.1@4", "slow@102"},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			looked := make(map[string]bool)
			tt.route.OwnOutput = func(events []inotify.Event) []bool {
				var own []bool
				for _, e := range events {
					if e.Path == "slow" {
						time.Sleep(20 * ms)
					}
					once := strings.Contains(e.Path, "once") && !looked[e.Path]
					late := e.Path == "late" && looked[e.Path]
					looked[e.Path] = true
					own = append(own, once || late || strings.Contains(e.Path, "log"))
				}
				return own
			}
			got := timed(t, Options{}, tt.route, tt.work, tt.events, nil, func(r *Router, events []inotify.Event) {
				r.Events(events)
				synctest.Wait()
			})
			tt.check(t, got)
		})
	}
}

// A log costs one question, and events of any number of files not many.
func TestOwnOutputIsAskedForSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var questions, took atomic.Int64
		r := mustNew(t, Options{}, Route{
			Name: "test", Callback: discard,
			OwnOutput: func(events []inotify.Event) []bool {
				questions.Add(1)
				time.Sleep(time.Duration(took.Load()))
				return slices.Repeat([]bool{events[0].Path == "log"}, len(events))
			},
		})
		stop := background(t, r)
		defer stop()
		synctest.Wait()
		for range 1000 {
			r.Events(words("log:M"))
			time.Sleep(ms)
		}
		if n := questions.Load(); n != 1 {
			t.Errorf("a thousand writes to a log led to %d questions, want one", n)
		}
		for each := ms; each < 20*ms; each += ms {
			took.Store(int64(each))
			questions.Store(0)
			for i := range 1000 {
				r.Events(words(fmt.Sprint("a", i)))
				time.Sleep(ms)
			}
			n := questions.Load()
			if spent := time.Duration(n) * each; n < 5 || spent > 250*ms {
				t.Errorf("a thousand saves in a second led to %d questions of %v each, which is %v", n, each, spent)
			}
		}
	})
}

// What is submitted is never an output.
func TestSubmittedEventsAreNotAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{start: time.Now()}
		r := mustNew(t, Options{}, Route{Name: "test", Callback: rec.run, OwnOutput: func(events []inotify.Event) []bool {
			t.Errorf("asked for %v", events)
			return nil
		}})
		stop := background(t, r)
		defer stop()
		if err := r.Submit(words("a:M a:w")...).Wait(t.Context()); err != nil {
			t.Error(err)
		}
		if got := rec.batches(); !slices.Equal(got, []string{"a"}) {
			t.Errorf("got %q, want a", got)
		}
	})
}
