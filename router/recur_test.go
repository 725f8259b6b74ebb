package router

import (
	"context"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// A server is a program that goes on running until it is started again, and
// writes files at some times after its start.
type server struct {
	router *Router
	writes []saveAt // after its start
	every  saveAt   // again and again; zero is not at all
	starts atomic.Int64
	stop   context.CancelFunc // of the one that runs
	over   chan struct{}      // closed when that is over
}

type saveAt struct {
	path string // N in it is the number of the start
	at   time.Duration
}

// run is a server in the foreground, for a route that restarts it.
func (s *server) run(ctx context.Context, _ []inotify.Event) error {
	start, number := time.Now(), s.starts.Add(1)
	save := func(path string) {
		path = strings.ReplaceAll(path, "N", strconv.FormatInt(number, 10))
		s.router.Events(word(path))
	}
	sleep := func(until time.Duration) bool {
		select {
		case <-time.After(time.Until(start.Add(until))):
			return true
		case <-ctx.Done():
			return false
		}
	}
	for _, w := range s.writes {
		if !sleep(w.at) {
			return ctx.Err()
		}
		save(w.path)
	}
	for at := s.every.at; at > 0; at += s.every.at {
		if !sleep(at) {
			return ctx.Err()
		}
		save(s.every.path)
	}
	<-ctx.Done()
	return ctx.Err()
}

// start is a server in the background, in the place of the one before.
func (s *server) start(context.Context, []inotify.Event) error {
	s.end()
	ctx, cancel := context.WithCancel(context.Background())
	s.stop, s.over = cancel, make(chan struct{})
	go func() {
		defer close(s.over)
		_ = s.run(ctx, nil)
	}()
	return nil
}

func (s *server) end() {
	if s.stop != nil {
		s.stop()
		<-s.over
	}
}

// routes are the two ways to have a server.
func (s *server) routes() map[string]Route {
	return map[string]Route{
		"restart": {Name: "server", Delay: -1, Debounce: -1, OnBusy: Restart, Callback: s.run},
		"service": {Name: "server", Delay: -1, Debounce: -1, Background: true, Callback: s.start},
	}
}

// A server that starts itself again by what it writes is found out after a few
// starts, whenever it writes.
func TestServersThatTriggerThemselves(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		name   string
		writes []saveAt
		every  saveAt
	}{
		{"at once", []saveAt{{"out", ms}}, saveAt{}},
		{"soon", []saveAt{{"out", 700 * ms}}, saveAt{}},
		{"after more than a second", []saveAt{{"out", 1200 * ms}}, saveAt{}},
		{"after long", []saveAt{{"out", 20 * s}}, saveAt{}},
		{"at two times", []saveAt{{"a", 400 * ms}, {"b", 3 * s}}, saveAt{}},
		{"at three times", []saveAt{{"a", 1200 * ms}, {"b", 2 * s}, {"c", 5 * s}}, saveAt{}},
		{"a file of another name each time", []saveAt{{"N.out", 1500 * ms}}, saveAt{}},
		{"again and again", nil, saveAt{"log", 300 * ms}},
		{"again and again, slowly", nil, saveAt{"log", 4 * s}},
		{"at once, and again and again", []saveAt{{"out", ms}}, saveAt{"log", 900 * ms}},
	} {
		for way := range new(server).routes() {
			t.Run(tt.name+"/"+way, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d := newFolder(1)
					srv := &server{writes: tt.writes, every: tt.every}
					d.router = mustNew(t, Options{Grace: -1, Post: d.note}, srv.routes()[way])
					d.router.agenda.nap = func(time.Duration) {} // or most of it is waiting
					srv.router = d.router
					stop := background(t, d.router)
					d.router.Trigger("server", inotify.Event{Path: "."})
					time.Sleep(time.Hour)
					starts := srv.starts.Load()
					// It still does what it is for.
					d.router.Events(word("save"))
					time.Sleep(10 * s)
					stop()
					srv.end()
					if len(d.loops) == 0 || starts > 30 {
						t.Errorf("%d starts in an hour, taken for a loop %d times", starts, len(d.loops))
					}
					if srv.starts.Load() == starts {
						t.Error("a save does not start it again")
					}
				})
			})
		}
	}
}

// A program that appends to its log is reported once. From then on its log alone does
// not start it again, at whatever times it is written, until somebody asks for that or
// the log has been left alone for a minute.
func TestReportedFilesAloneAreNoTrigger(t *testing.T) {
	const s = time.Second
	var appends []saveAt // for two minutes after each start
	for at := 300 * ms; at < 2*time.Minute; at += 300 * ms {
		appends = append(appends, saveAt{"log", at})
	}
	for way := range new(server).routes() {
		t.Run(way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newFolder(1)
				srv := &server{writes: appends}
				d.router = mustNew(t, Options{Grace: -1, Post: d.note}, srv.routes()[way])
				d.router.agenda.nap = func(time.Duration) {} // or most of it is waiting
				srv.router = d.router
				stop := background(t, d.router)
				defer srv.end()
				defer stop()
				d.router.Trigger("server", inotify.Event{Path: "."})
				time.Sleep(90 * s)
				synctest.Wait()
				if n := len(d.loops); n != 1 {
					t.Errorf("the log is reported %d times, want once", n)
				}

				d.router.Events(word("save"))
				time.Sleep(s)
				starts := srv.starts.Load()
				for range 1000 {
					d.router.Events(word("log"))
					time.Sleep(d.between(50*ms, 5*s))
				}
				if n := srv.starts.Load() - starts; n != 0 {
					t.Errorf("the log that was reported has started it %d times", n)
				}

				d.router.Trigger("server", word("log")...)
				time.Sleep(s)
				if n := srv.starts.Load() - starts; n != 1 {
					t.Errorf("there are %d starts when the log is asked for, want one", n)
				}

				time.Sleep(4 * time.Minute) // which is two after the last append
				starts = srv.starts.Load()
				d.router.Events(word("log"))
				time.Sleep(s)
				if srv.starts.Load() == starts {
					t.Error("a save of the log that was left alone does not start it")
				}
			})
		})
	}
}

// Who saves again and again, at times as people have them, is never taken for a
// loop, also when each save starts a server again, or a build takes as long as it
// takes, and the server itself is quiet.
func TestManySavesAreNoLoop(t *testing.T) {
	const s = time.Second
	for name, pause := range map[string]func(d *folder) time.Duration{
		"quickly":       func(d *folder) time.Duration { return d.between(300*ms, 3*s) },
		"steadily":      func(d *folder) time.Duration { return d.between(s, 5*s) },
		"now and then":  func(d *folder) time.Duration { return d.logNormal(10*s, 1) },
		"in bursts":     func(d *folder) time.Duration { return d.logNormal(2*s, 1.5) },
		"by the clock":  func(d *folder) time.Duration { return 2 * s },
		"by the minute": func(d *folder) time.Duration { return time.Minute },
	} {
		for way := range new(server).routes() {
			t.Run(name+"/"+way, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					const saves = 100_000 / 12
					d := newFolder(1)
					srv := new(server)
					build := Route{Name: "build", Delay: -1, Debounce: -1, Callback: func(context.Context, []inotify.Event) error {
						time.Sleep(d.between(100*ms, 4*s))
						return nil
					}}
					d.router = mustNew(t, Options{Grace: -1, Post: d.note}, srv.routes()[way], build)
					d.router.agenda.nap = func(time.Duration) {} // or most of it is waiting
					srv.router = d.router
					stop := background(t, d.router)
					for range saves {
						d.router.Events(word("main.go"))
						time.Sleep(pause(d))
					}
					stop()
					srv.end()
					if len(d.loops) > 0 {
						t.Errorf("%d of %d saves were taken for a loop, first %v", len(d.loops), saves, d.loops[0].Routes)
					}
				})
			})
		}
	}
}

// logNormal is a time around a median, as pauses of people are distributed.
func (d *folder) logNormal(median time.Duration, sigma float64) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Duration(float64(median) * math.Exp(sigma*d.rnd.NormFloat64()))
}
