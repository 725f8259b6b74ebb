package router

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/execlog/execlogd/inotify"
)

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
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var mu sync.Mutex
				var told []string
				tt.route.Name, tt.route.Callback = "test", discard
				r := mustNew(t, Options{Waiting: func(route string, e inotify.Event) {
					mu.Lock()
					defer mu.Unlock()
					if route != "test" {
						t.Errorf("route %q", route)
					}
					told = append(told, fmt.Sprintf("%s@%d", e.Path, time.Since(start).Milliseconds()))
				}}, tt.route)
				r.writers = func(string) inotify.WriterState { return inotify.UnknownWriter }
				stop := background(t, r)
				synctest.Wait()

				play(t, start, tt.events, r.Events)
				time.Sleep(10 * time.Minute)
				stop()

				if got := strings.Join(told, " "); got != tt.told {
					t.Errorf("events %q\n got %q\nwant %q", tt.events, got, tt.told)
				}
			})
		})
	}
}
