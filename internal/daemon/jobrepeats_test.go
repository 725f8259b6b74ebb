package daemon

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/router"
)

// A file that each of its jobs changes is refused; one that somebody changes all the time is not.
func TestJobRepeats(t *testing.T) {
	batch := []inotify.Event{{Root: "/srv", Path: "a", Mask: inotify.Modify}}
	t.Run("a loop", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var j jobRepeats
			for n := range maxRepeats {
				if err := j.check(t.Context(), "r", batch, nil); err != nil {
					t.Fatalf("job %d: %v", n, err)
				}
				j.end("r", batch[0])
				time.Sleep(repeatTime / 2)
			}
			_, isLoop := errors.AsType[*router.LoopError](j.check(t.Context(), "r", batch, nil))
			if !isLoop {
				t.Errorf("job %d is not refused", maxRepeats)
			}
			if err := j.check(t.Context(), "r", batch, nil); err != nil {
				t.Errorf("after that: %v", err)
			}
		})
	})
	t.Run("a loop of a file that has jobs of another route", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var j jobRepeats
			for n := range maxRepeats {
				for _, route := range []string{"r", "s"} {
					if err := j.check(t.Context(), route, batch, nil); err != nil {
						t.Fatalf("job %d of %s: %v", n, route, err)
					}
				}
				for _, route := range []string{"r", "s"} {
					j.end(route, batch[0])
				}
				time.Sleep(repeatTime / 2)
			}
			_, isLoop := errors.AsType[*router.LoopError](j.check(t.Context(), "r", batch, nil))
			if !isLoop {
				t.Errorf("job %d is not refused", maxRepeats)
			}
		})
	})
	t.Run("no loop", func(t *testing.T) {
		for name, pause := range map[string]time.Duration{"pauses": repeatTime + time.Millisecond, "asked for": 0} {
			synctest.Test(t, func(t *testing.T) {
				var j jobRepeats
				own := batch
				if pause == 0 {
					own = []inotify.Event{{Root: "/srv", Path: "a"}}
				}
				began := time.Now()
				for range 3 * maxRepeats {
					if err := j.check(t.Context(), "r", own, nil); err != nil {
						t.Fatalf("%s: %v", name, err)
					}
					j.end("r", own[0])
					time.Sleep(pause)
				}
				if took := time.Since(began); took != 3*maxRepeats*pause {
					t.Errorf("%s: jobs were held back: %v", name, took)
				}
			})
		}
	})
	t.Run("saved while it is held back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var j jobRepeats
			newer := make(chan struct{})
			close(newer)
			for range 10 * maxRepeats {
				if err := j.check(t.Context(), "r", batch, newer); err != nil && !errors.Is(err, router.ErrRestarted) {
					t.Fatal(err)
				}
				j.end("r", batch[0])
			}
		})
	})
}
