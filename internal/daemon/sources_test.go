package daemon

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/runnable"
	"github.com/execlog/execlogd/internal/testenv"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

// Whether a change right after the beginning of a build is of another save than that which
// has caused the build; pages wait up to 500 ms for a build.
func TestIsFurtherSave(t *testing.T) {
	for _, tt := range []struct {
		name               string
		before, began, now int // in ms
		want               bool
	}{
		{"the second step of a save", 1000, 1010, 1020, false},
		{"another save, and the program waits before it builds", 1000, 1100, 1120, true},
		{"the first change, of which we hear later than the program", 100, 1100, 1120, false},
	} {
		at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
		if got := isFurtherSave(at(tt.now), at(tt.before), at(tt.began), 500*time.Millisecond); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// testSources returns the sources of a builder that does not run, and when it was started.
func testSources(t *testing.T, lines job.BuildLines) (s *sources, c runnable.Route, starts func() []time.Duration) {
	t.Helper()
	began := time.Now()
	started := make(chan time.Duration, 100)
	site := router.Route{Name: "site", Patterns: []string{"*"}, Callback: func(context.Context, []inotify.Event) error {
		started <- time.Since(began)
		return nil
	}}
	pages := router.Route{Name: "pages", Patterns: []string{"*"}, After: []string{"site"}, Callback: func(context.Context, []inotify.Event) error { return nil }}
	r, err := router.New(router.Options{}, site, pages)
	testenv.Check(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = r.Run(ctx)
	}()

	d := &daemon{pipeline: &pipeline{router: r}}
	c = runnable.Route{Route: &config.Route{Route: site, Service: job.Service{Builds: &job.Builds{Lines: lines}}}, Runnable: new(runnable.Runnable)}
	d.active.Store(&resolvedConfig{resolved: []runnable.Route{c}})
	s = d.sourcesOf("site")
	t.Cleanup(func() {
		s.close()
		cancel()
		<-ended
	})
	return s, c, func() (all []time.Duration) {
		for len(started) > 0 {
			all = append(all, <-started)
		}
		return all
	}
}

// A file below the root of a builder that is written all the time, as a log is, holds pages
// up for a while, and not for ever.
func TestSourceThatIsWrittenAllTheTime(t *testing.T) {
	for name, lines := range map[string]job.BuildLines{"with lines": {Begins: []string{"^begin"}}, "without lines": {}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c, _ := testSources(t, lines)
				began := time.Now()
				for held := true; held; held = s.d.pipeline.router.Waits("pages") {
					s.mu.Lock()
					s.changed = time.Now()
					if len(lines.Begins) > 0 {
						s.changes["."] = s.changed
					}
					s.hold(c)
					s.mu.Unlock()
					time.Sleep(sourcesQuiet / 2)
					if time.Since(began) > 2*maxHold {
						t.Fatal("pages still wait")
					}
				}
				if took := time.Since(began); took < maxHold {
					t.Errorf("pages have waited for %v, want %v", took, maxHold)
				}
			})
		})
	}
}

// A program that has died is started again once for its last death, unless a route before
// it has it wait.
func TestStartAfterDeaths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, starts := testSources(t, job.BuildLines{})
		c.Backoff = time.Second
		s.noteDeath(0)
		s.noteDeath(0)
		time.Sleep(time.Minute)
		if got := starts(); len(got) != 1 || got[0] < 2*time.Second {
			t.Errorf("started after %v, want once after 2s", got)
		}
		s.noteDeath(0)
		c.Runnable.Suspended.Store(true)
		time.Sleep(time.Minute)
		if got := starts(); len(got) > 0 {
			t.Errorf("started after %v while it is suspended", got)
		}
	})
}

// However long the backoff is, a program that dies all the time is not started again at once.
func TestLongBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, starts := testSources(t, job.BuildLines{})
		c.Backoff = 3 * time.Hour
		for range 21 {
			s.noteDeath(0)
		}
		time.Sleep(longestBackoff - time.Second)
		if got := starts(); len(got) > 0 {
			t.Errorf("started after %v, want %v", got, longestBackoff)
		}
	})
}

// A program is started again also when it has ended in its first build, or when it was not
// there as it was started again, as while npm installs it. No source has changed meanwhile.
func TestStartAfterTheFirstBuild(t *testing.T) {
	t.Run("ended", func(t *testing.T) {
		s := begin(t, `
-- x.toml --
[[route]]
name = "site"
builder = true
backoff = "10ms"
succeeds = "^ok"
shell = 'echo >>.starts; if [ $(wc -l <.starts) -lt 3 ]; then echo no; exit 1; fi; echo ok; exec sleep 1000'
`)
		s.Await("msg=failed route=site")
		s.Await("msg=failed route=site")
		s.Await("msg=done route=site")
	})

	t.Run("not there", func(t *testing.T) {
		const program = "#!/bin/sh\necho ok\nrm \"$0\"\n"
		s := begin(t, `
-- .bin/ --
-- x.toml --
[[route]]
name = "site"
builder = true
backoff = "10ms"
succeeds = "^ok"
after = "nothing"
run = [".bin/program"]
[[route]]
name = "nothing"
reload = true
[server]
port = 0
root = "."
`)
		install := func() {
			testenv.Check(t, os.WriteFile(filepath.Join(s.Dir, ".bin/new"), []byte(program), 0o755))
			testenv.Check(t, os.Rename(filepath.Join(s.Dir, ".bin/new"), filepath.Join(s.Dir, ".bin/program")))
		}
		s.Await("msg=failed route=site", "is not there")
		install()
		s.Await("msg=done route=site")
		s.Await("msg=failed route=site", "is not there")
		install()
		s.Await("msg=done route=site")
	})
}
