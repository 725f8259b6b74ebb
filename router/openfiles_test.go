package router

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// TestUntilClosed uses a fake for inotify.Writers whose answer is in the file's name:
// open1000 is open for writing until 1000 ms after the start, without an event for its
// close, and nothing is known of unknown.
func TestUntilClosed(t *testing.T) {
	file := Route{Delay: 100 * ms, Debounce: -1, Per: PerFile}
	instant := Route{Delay: -1, Debounce: -1, Per: PerFile}
	all := Route{Delay: 100 * ms, Debounce: -1, Hold: UntilClosed}
	settled := file
	settled.Settle = long
	tests := []timedRow{
		{"a save is not delayed", file, 0, "a@0", "a@100"},
		{"nor is it without a delay", instant, 0, "a@0", "a@0"},
		{"a writer that pauses for long is waited for", file, 0, "a:c@0 a:M@1 a:M@3500 a:M@9000 a:w@9001", "a@9101"},
		{"whatever Settle says", settled, 0, "a:M@0 a:M@1000 a:M@40000 a:w@41500", "a@41600"},
		{"and one that never pauses", file, 0, "a:M@0 a:M@1000 a:M@2000 a:M@3000 a:M@40000 a:M@41000 a:w@41500", "a@41600"},
		{"without a delay the close is enough", instant, 0, "a:M@0 a:M@3500 a:w@9000", "a@9000"},
		{"by all files together as well", all, 0, "a:M@0 b@10 a:M@3500 a:w@9000", "a+b@9100"},
		{"files do not wait for each other", file, 0, "a:M@0 b@10 a:M@3500 a:w@9000", "b@110 a@9100"},
		{"a writer that opens it again soon is waited for", file, 0, "a:M@0 a:w@500 a:M@550 a:w@900 a:M@950 a:M@4000 a:w@4100", "a@4200"},
		{"a file that is renamed while it is written is waited for", file, 0, "part:M@0 part>a@500 a:M@4000 a:w@5000", "a@5100"},
		{"what is removed meanwhile is nothing", file, 0, "a:M@0 a:M@3500 a:d@4000", ""},
		{"a file that never is closed never runs", file, 0, "a:M@0 a:M@100000", ""},

		{"who else has it open is waited for", file, 0, "open1000:M@0 open1000:w@10", "open1000@2200"},
		{"until its close is seen", file, 0, "open1000:M@0 open1000:w@10 open1000:w@1100", "open1000@1200"},
		{"a close that nobody saw is found out", file, 0, "open1000:M@0", "open1000@2200"},
		{"a new name for a file that is written", file, 0, ".x>open1000@0 open1000:w@1001", "open1000@1101"},
		{"of whom nobody knows the events say it", file, 0, "unknown:M@0 unknown:w@3000", "unknown@3100"},
		{"and no event is for ever", file, 0, "unknown:M@0 unknown:M@10000", ""},
		{"a bound is one", file.with(func(r *Route) { r.Hold = 2000 * ms }), 0, "open9999:M@0 open9999:M@1000 open9999:M@2000 open9999:M@3000", "open9999@2100 open9999@5000"},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			var k kernel
			start := time.Now()
			writers := func(path string) inotify.WriterState {
				name := filepath.Base(path)
				until, ok := strings.CutPrefix(name, "open")
				open, err := time.ParseDuration(until + "ms")
				switch {
				case name == "unknown":
					return inotify.UnknownWriter
				case ok && err == nil && time.Since(start) < open, k.isOpen(name):
					return inotify.HasWriter
				}
				return inotify.NoWriter
			}
			got := timed(t, Options{}, tt.route, 0, tt.events, func(r *Router) { r.writers = writers }, func(r *Router, events []inotify.Event) {
				k.note(events)
				r.Events(events)
			})
			tt.check(t, got)
		})
	}
}

// A kernel is a fake for inotify.Writers that knows from their events which files are open.
type kernel struct {
	mu   sync.Mutex
	open map[string]bool
}

func (k *kernel) note(events []inotify.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.open == nil {
		k.open = make(map[string]bool)
	}
	for _, e := range events {
		switch {
		case e.Mask&inotify.MovedTo != 0:
			k.open[e.Path] = k.open[e.From]
		case e.Mask&(inotify.CloseWrite|inotify.Delete) != 0:
			k.open[e.Path] = false
		case e.Mask&inotify.Modify != 0:
			k.open[e.Path] = !strings.HasPrefix(e.Path, "open")
		}
	}
}

func (k *kernel) isOpen(path string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.open[path]
}

func TestWaiting(t *testing.T) {
	file := timing
	file.Per = PerFile
	tests := []struct {
		name         string
		route        Route
		events, told string
	}{
		{"nothing is waited for", timing, "a@0 b@500 b@1000", ""},
		{"what is waited for briefly is not told", timing, "a:M@0 a:M@900 a:w@1050", ""},
		{"what is waited for longer is told once", timing, "a:M@0 a:M@1500 a:M@2500 a:M@3500", "a@1100"},
		{"each file is", timing, "a:M@0 b:M@500 a:M@1500 b:M@2500 c:M@3000 c:M@4000", "a@1100 b@1500 c@4000"},
		{"what is written at once while another is waited for is not", timing, "a:M@0 a:M@1500 b:M@2000 b:w@2010 a:M@3000", "a@1100"},
		{"each time", timing, "a:M@0 a:w@1500 a:M@5000 a:w@6500", "a@1100 a@6100"},
		{"a log that is known is not", timing, "l:M@0 b@10 l:M@5000 c@5010 l:M@9000 d@9010", "l@1100"},
		{"nor what is not worth waiting for", noLogs, "x.log:M@0 b@10 x.log:M@1500 x.log:M@3000 x.log:M@4500", ""},
		{"a file by itself is", file, "a:M@0 b:M@500 b:w@1500 a:M@100000 a:w@100010", "a@1100"},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			start := time.Now()
			var mu sync.Mutex
			var told []string
			waiting := func(route string, e inotify.Event) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, fmt.Sprintf("%s:%s@%d", route, e.Path, time.Since(start).Milliseconds()))
			}
			timed(t, Options{Waiting: waiting}, tt.route, 0, tt.events, func(r *Router) {
				r.writers = func(string) inotify.WriterState { return inotify.UnknownWriter }
			}, nil)
			if got := strings.ReplaceAll(strings.Join(told, " "), "test:", ""); got != tt.told {
				t.Errorf("events %q\n got %q\nwant %q", tt.events, got, tt.told)
			}
		})
	}
}
