package router

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/execlog/execlogd/inotify"
)

const ms = time.Millisecond

// long is enough for every bound to pass.
const long = time.Hour

// timing is a route with Delay 100 ms, no Debounce and the default bounds.
var timing = Route{Delay: 100 * ms, Debounce: -1}

// noLogs is timing for a route that does not wait for logs.
var noLogs = Route{Delay: 100 * ms, Debounce: -1, WaitsFor: func(e inotify.Event) bool { return !strings.HasSuffix(e.Path, ".log") }}

func TestTiming(t *testing.T) {
	debounced := Route{Delay: 100 * ms, Debounce: 500 * ms}
	instant := Route{Delay: -1, Debounce: -1}
	bounded := Route{Delay: 100 * ms, Debounce: -1, Hold: 1000 * ms}
	tests := []timedRow{
		{"nothing happens, nothing runs", timing, 0, "", ""},
		{"a lone save runs after the delay", timing, 0, "a@0", "a@100"},
		{"a burst is one run", timing, 0, "b@0 a@60 b@90", "b+a@100"},
		{"the delay counts from the first event", timing, 0, "a@0 b@60 c@99 d@120", "a+b+c@100 d@220"},
		{"a pause ends the burst", timing, 0, "a@0 b@400", "a@100 b@500"},
		{"without a delay nothing waits", instant, 0, "a@0 b@1", "a@0 b@1"},
		{"the defaults are 30 and 200 ms", Route{}, 0, "a@0 b@50", "a@30 b@230"},

		{"runs start a debounce apart", debounced, 0, "a@0 b@150", "a@100 b@600"},
		{"what comes within the debounce waits together", debounced, 0, "a@0 b@150 c@400 b@599", "a@100 b+c@600"},
		{"the debounce drops nothing at its end", debounced, 0, "a@0 b@595 c@605 d@1050", "a@100 b+c@695 d@1195"},
		{"the debounce counts from the start of a run", debounced, 300 * ms, "a@0 b@450", "a@100 b@600"},

		{"runs never overlap", timing, 300 * ms, "a@0 b@150", "a@100 b@400"},
		{"what comes during a run makes one further run", timing, 300 * ms, "a@0 b@150 c@250 b@390", "a@100 b+c@400"},
		{"a file closed during a run was not waited for", timing, 300 * ms, "a@0 b:M@110 b:w@350", "a@100 b@400"},
		{"what comes at the end of a run has its delay", timing, 300 * ms, "a@0 b@390", "a@100 b@490"},
		{"without a delay runs do not overlap either", instant, 300 * ms, "a@0 b@100 c@200", "a@0 b+c@300"},

		{"a directory is never open", timing, 0, "d/:M@0", "d@100"},
		{"an open file holds the batch until it is closed", timing, 0, "a:M@0 a:M@500 a:w@900", "a@1000"},
		{"an open file holds the other files", timing, 0, "a:M@0 b@10 a:w@900", "a+b@1000"},
		{"a close before the delay is over changes nothing", timing, 0, "a:M@0 a:w@50", "a@100"},
		{"a held batch has its delay again only once", timing, 0, "a:M@0 a:w@500 b:M@550 b:w@620", "a+b@620"},
		{"without a delay the close is enough", instant, 0, "a:M@0 a:w@70", "a@70"},
		{"a slow copy is announced once", timing, 0, "a:M@0 a:M@1900 a:M@3800 a:M@5700 a:w@7000", "a@7100"},
		{"a file that stays open and quiet is announced after Settle", timing, 0, "a:M@0 a:M@500", "a@2500"},
		{"its close alone is nothing new", timing, 0, "a:M@0 a:w@5000", "a@2000"},
		{"a write and its close are", timing, 0, "a:M@0 a:M@5000 a:w@5200", "a@2000 a@5300"},
		{"a bound of its own", Route{Delay: 100 * ms, Debounce: -1, Settle: 300 * ms}, 0, "a:M@0 a:M@250", "a@550"},
		{"without settling nothing is held", Route{Delay: 100 * ms, Debounce: -1, Settle: -1}, 0, "a:M@0 a:w@150", "a@100"},
		{"a log that is never quiet gets through after Hold", bounded, 0, "a:M@0 a:M@300 a:M@600 a:M@900 a:M@1200", "a@1100 a@2300"},
		{"a log that used up Hold holds back nothing else", bounded, 0, "l:M@0 l:M@600 l:M@1000 b@1800 l:M@1850 l:M@2500 l:M@3200", "l@1100 b+l@1900 l@3600"},
		{"also when it was closed", bounded, 0, "l:M@0 l:M@600 l:M@1000 l:w@1200 l:M@1300 b@1310 l:w@1700", "l@1100 l+b@1410"},
		{"or made anew", bounded, 0, "l:M@0 l:M@600 l:M@1000 l:d@1200 l:c@1200 l:M@1300 b@1310 l:w@1700", "l@1100 l+b@1410"},
		{"or rotated, under its old name and its new one", Route{Delay: 100 * ms, Debounce: -1, Hold: 1000 * ms, Mask: inotify.Modify}, 0, "l:M@0 l:M@600 l:M@1000 l>l.1@1200 l.1:M@1300 b@1310 l.1:M@1400 l:c@1500 l:M@1510 c@1520 l:M@1600", "l@1100 l.1+b@1410 l+c@1620"},
		{"but not for ever", bounded, 0, "l:M@0 l:M@600 l:M@1000 l:w@1200 l:M@700000 b@700010 l:w@700500", "l@1100 l+b@700600"},
		{"a log that is quiet in between holds back nothing twice either", timing, 0, "l:M@0 b@10 l:M@5000 c@5010 l:M@9000 d@9010", "l+b@2000 l+c@5110 l+d@9110"},
		{"a log that waits takes nothing from the delay of others", bounded, 0, "l:M@0 l:M@600 l:M@1000 l:M@1500 b@1800 c@1850 l:M@1860", "l@1100 l+b+c@1900"},
		{"a file that is not worth waiting for holds back nothing else", noLogs, 0, "x.log:M@0 b@10 x.log:M@300 x.log:M@600 c:M@700 x.log:M@900 c:w@950", "x.log+b@110 x.log+c@1050"},
		{"and itself until it is complete", noLogs, 0, "x.log:M@0 x.log:M@1500 x.log:w@2500", "x.log@2600"},
		{"Hold can be none", Route{Delay: 100 * ms, Debounce: -1, Hold: -1}, 0, "a:M@0 a:M@90", "a@100"},
		{"Hold counts from when the batch could go", Route{Delay: 100 * ms, Debounce: -1, Hold: 500 * ms}, 1000 * ms, "a@0 b:M@200 b:M@1000 b:M@1500", "a@100 b@1600"},
		{"a removed file holds nothing", timing, 0, "b@0 a:M@0 a:d@500", "b@600"},
		{"a file renamed away holds nothing", timing, 0, "b@0 a:M@0 a:f@500", "b@600"},
		{"a removed file that is still written holds nothing", Route{Delay: 100 * ms, Debounce: -1, Mask: inotify.Modify | inotify.Delete}, 0, "a:M@0 a:d@10 a:M@20", "a@100"},
		{"a file renamed while open is held under its new name", timing, 0, "a:M@0 a>b@50 b:w@400", "b@500"},
		{"a replaced file is not open", timing, 0, "a:M@0 a:t@50", "a@100"},
		{"a file found by a scan is not open", timing, 0, "a:cmw@0", "a@100"},
		{"a file whose time is set is not taken for open", timing, 0, "a:Ma@0", "a@100"},
		{"nor for closed", timing, 0, "a:M@0 a:Ma@50 a:w@900", "a@1000"},
		{"a close alone triggers nothing", timing, 0, "a:w@0", ""},
		{"a close triggers a route that asks for it", Route{Delay: 100 * ms, Debounce: -1, Mask: inotify.CloseWrite}, 0, "a:M@0 a:w@900", "a@1000"},
		{"files made one after another are announced in time", Route{Delay: 100 * ms, Debounce: -1, Mask: inotify.Create}, 0, "a:c@0 b:c@60 c:c@120", "a+b@100 c@220"},
		{"a file made and slowly filled is held as well", Route{Delay: 100 * ms, Debounce: -1, Mask: inotify.Create}, 0, "a:c@0 a:M@10 a:M@500 a:w@600", "a@700"},

		{"a slow temporary file vanishes at its rename", timing, 0, "t:c@0 t:M@1 t:M@400 t:w@500 t>a@501", "a@600"},
		{"what is gone again is not dispatched", timing, 0, "a@0 a:d@50", ""},
		{"what is gone again does not start the delay", timing, 0, "a@0 a:d@50 b@80", "b@180"},
		{"an overflow is not dispatched", timing, 0, ".:o@0", ""},
		{"an event that nobody asked for does nothing", timing, 0, "a:a@0 a:c@1 a:d@2", ""},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			tt.check(t, timed(t, Options{}, tt.route, tt.work, tt.events, nil, nil))
		})
	}
}

// The events that programs make when they save file.txt, traced on a real
// kernel. The route is the one that reloads pages.
func TestSaves(t *testing.T) {
	tests := []struct{ writer, events, batch string }{
		{"a shell, VS Code, cp, rsync --inplace", "file.txt:M file.txt:w", "file.txt"},
		{"a shell that truncates first", "file.txt:M file.txt:M file.txt:M file.txt:w", "file.txt"},
		{"sed -i, perl -i, patch", "sedXq2:c sedXq2:a sedXq2:M sedXq2:w sedXq2>file.txt", "file.txt"},
		{"rsync", ".file.txt.Vw1:c .file.txt.Vw1:M .file.txt.Vw1:w .file.txt.Vw1:a .file.txt.Vw1>file.txt", "file.txt"},
		{"mv on one file system", "file.txt:t", "file.txt"},
		{"mv across file systems, tar, install, git checkout", "file.txt:d file.txt:c file.txt:M file.txt:a file.txt:w", "file.txt"},
		{"vim", "4913:c 4913:a 4913:w 4913:d file.txt>file.txt~ file.txt:c file.txt:M file.txt:a file.txt:w file.txt:a file.txt~:d", "file.txt"},
		{"vim with backupcopy=yes", ".file.txt.swp:c .file.txt.swp:M file.txt~:c file.txt~:M file.txt~:w file.txt:M file.txt:a file.txt:w file.txt~:d .file.txt.swp:d", "file.txt"},
		{"emacs", ".#file.txt:c file.txt>file.txt~ file.txt:c file.txt:M file.txt:w .#file.txt:d file.txt:a", "file.txt"},
		{"emacs with file-precious-flag", "file.txt~:cmw tmpA1b2:c tmpA1b2:M tmpA1b2:w tmpA1b2>file.txt", "file.txt"},
		{"JetBrains", "file.txt___jb_tmp___:c file.txt___jb_tmp___:M file.txt___jb_tmp___:w file.txt>file.txt___jb_old___ file.txt___jb_tmp___>file.txt file.txt___jb_old___:d", "file.txt"},
		{"dpkg", "conf.dpkg-new:c conf.dpkg-new:M conf.dpkg-new:w conf.dpkg-tmp:c conf.dpkg-new>conf conf.dpkg-tmp:d", "conf"},
		{"git checkout that makes a directory", "sub/:c sub/file.txt:cmw", "sub/file.txt"},
		{"a site generator that swaps directories", "new/:c new/a.html:M new/a.html:w public/>old/ new/>public/ old/a.html:d old/:d", "public+public/a.html"},
	}
	for _, tt := range tests {
		// The kernel hands events over one at a time or many together.
		for _, together := range []bool{false, true} {
			inBubble(t, fmt.Sprintf("%s, in one read: %t", tt.writer, together), func(t *testing.T) {
				rec := &recorder{start: time.Now()}
				r := mustNew(t, Options{}, Route{Name: "reload", Mask: Reload, Delay: 100 * ms, Callback: rec.run})
				stop := background(t, r)
				synctest.Wait()

				events := words(tt.events)
				if together {
					r.Events(events)
				} else {
					for _, e := range events {
						r.Events([]inotify.Event{e})
						time.Sleep(ms)
					}
				}
				time.Sleep(long)
				stop()

				if got := rec.batches(); !slices.Equal(got, []string{tt.batch}) {
					t.Errorf("events %q\n got batches %q\nwant one, %q", tt.events, got, tt.batch)
				}
			})
		}
	}
}
