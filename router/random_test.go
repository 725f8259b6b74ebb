package router

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// Whatever has happened, routes at rest have no queue, no timer and nothing that is due.
// TestMain checks that there is no goroutine.
func TestNothingIsLeftAtRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails := func(context.Context, []inotify.Event) error { return errors.New("no") }
		r := mustNew(t, Options{Concurrency: 2},
			Route{Name: "file", Per: PerFile, Callback: discard},
			Route{Name: "fail", Per: PerFile, Mask: inotify.Changes, Callback: fails},
			Route{Name: "follow", Per: PerFile, After: []string{"file", "fail"}, Follow: true, Callback: discard},
			Route{Name: "route", OnBusy: Restart, After: []string{"fail"}, OnFailure: Continue, Callback: discard})
		r.schedule.Sleep = func(time.Duration) {} // or most of it is waiting
		stop := background(t, r)
		for i := range 100 {
			r.Events(words(fmt.Sprintf("a%d b%[1]d:M d/:c d/c%[1]d d/>e/ a%[1]d>x%[1]d b%[1]d:w e/c%[1]d:d", i)))
			time.Sleep(10 * ms)
		}
		time.Sleep(long)
		r.mu.Lock()
		for _, s := range r.states {
			for q := range s.allQueues() {
				if s.shared == nil || q.busy || !q.batch.empty() || q.run != nil {
					t.Errorf("%s has a queue of %v: %+v", s.route.Name, q.key, q)
				}
			}
			if s.busy+s.running+len(s.ready)+len(s.failures.errs) > 0 || s.held {
				t.Errorf("%s is not at rest: %+v", s.route.Name, s)
			}
		}
		if !r.schedule.Idle() || r.running > 0 {
			t.Errorf("the router is not at rest: %+v", r.schedule)
		}
		r.mu.Unlock()
		stop()
	})
}

// Chains of all kinds under random events, in fake time: nothing overlaps
// itself, no more run than may, no route starts while one that comes first runs,
// and every event ends in a run that is over.
func TestManyChains(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		inBubble(t, fmt.Sprint("seed ", seed), func(t *testing.T) {
			m := &manyChains{rnd: rand.New(rand.NewPCG(seed, 1))}
			m.router = mustNew(t, Options{Concurrency: 1 + m.dice(4), Post: m.note}, m.routes()...)
			m.router.schedule.Sleep = func(time.Duration) {} // or most of it is waiting
			stop := background(t, m.router)
			sent := m.play()
			m.await(t)
			time.Sleep(long)
			stop()
			m.check(t, sent)
		})
	}
}

// The same while the routes are replaced again and again by others with other
// timing, OnBusy, OnFailure and callbacks.
func TestManyChainsAreReplaced(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		inBubble(t, fmt.Sprint("seed ", seed), func(t *testing.T) {
			m := &manyChains{rnd: rand.New(rand.NewPCG(seed, 2))}
			opts := Options{Concurrency: 1 + m.dice(4), Post: m.note}
			routes := m.routes()
			m.router = mustNew(t, opts, routes...)
			m.router.schedule.Sleep = func(time.Duration) {} // or most of it is waiting
			stop := background(t, m.router)
			m.meanwhile = func() {
				if m.dice(10) > 0 {
					return
				}
				for i := range routes {
					routes[i].Delay, routes[i].Debounce = time.Duration(m.dice(3)-1)*20*ms, time.Duration(m.dice(3)-1)*50*ms
					routes[i].OnBusy, routes[i].OnFailure = OnBusy(m.dice(2)), OnFailure(m.dice(2))
					routes[i].Callback = m.callback(time.Duration(m.dice(100))*ms, m.dice(40))
				}
				mustSet(t, m.router, routes...)
			}
			sent := m.play()
			m.await(t)
			time.Sleep(long)
			stop()
			m.check(t, sent)
		})
	}
}

type manyChains struct {
	router      *Router
	submissions []*Submission
	state       *os.File // for the next process, when one was killed
	meanwhile   func()   // between two events; nil is nothing

	mu      sync.Mutex
	rnd     *rand.Rand
	running int
	most    int
	all     []Run
}

func (m *manyChains) dice(n int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rnd.IntN(n)
}

// routes are a to e, of which each is for its own paths, *.a, and for *.all.
// None drops events.
func (m *manyChains) routes() []Route {
	var routes []Route
	for _, name := range "abcde" {
		route := Route{
			Name:      string(name),
			Patterns:  []string{"*." + string(name), "*.all"},
			Delay:     time.Duration(m.dice(3)-1) * 20 * ms,
			Debounce:  time.Duration(m.dice(3)-1) * 50 * ms,
			Per:       Per(m.dice(2)),
			OnBusy:    OnBusy(m.dice(2)),
			OnFailure: OnFailure(m.dice(2)),
			Callback:  m.callback(time.Duration(m.dice(100))*ms, m.dice(40)),
		}
		for _, first := range routes {
			if m.dice(2) == 0 {
				route.After = append(route.After, first.Name)
			}
		}
		route.Follow = len(route.After) > 0 && m.dice(2) == 0
		routes = append(routes, route)
	}
	m.rnd.Shuffle(len(routes), func(i, j int) { routes[i], routes[j] = routes[j], routes[i] })
	return routes
}

func (m *manyChains) callback(work time.Duration, fails int) Callback {
	return func(ctx context.Context, _ []inotify.Event) error {
		m.count(1)
		defer m.count(-1)
		select {
		case <-time.After(work):
		case <-ctx.Done():
			return ctx.Err()
		}
		if m.dice(100) < fails {
			return errors.New("no")
		}
		return nil
	}
}

func (m *manyChains) count(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running += n
	m.most = max(m.most, m.running)
}

func (m *manyChains) note(f Run) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, f)
}

// play sends events and returns what must be in a run, as route:path.
func (m *manyChains) play() []string {
	var sent []string
	for i := range 100 {
		kind := []string{"a", "b", "c", "d", "e", "all"}[m.dice(6)]
		path := fmt.Sprintf("%d.%s", m.dice(10), kind)
		for _, name := range "abcde" {
			if kind == "all" || kind == string(name) {
				sent = append(sent, string(name)+":"+path)
			}
		}
		if i%3 == 0 {
			m.submissions = append(m.submissions, m.router.Submit(event(path, 0)))
		} else {
			m.router.Events(word(path))
		}
		if m.meanwhile != nil {
			m.meanwhile()
		}
		time.Sleep(time.Duration(m.dice(30)) * ms)
	}
	return sent
}

func (m *manyChains) await(t *testing.T) {
	for i, submission := range m.submissions {
		ctx, cancel := context.WithTimeout(t.Context(), long)
		defer cancel()
		if err := submission.Wait(ctx); errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("submission %d is never over", i)
		}
	}
}

func (m *manyChains) check(t *testing.T, sent []string) {
	if m.most > m.router.maxRunning {
		t.Errorf("%d callbacks ran at once, want at most %d", m.most, m.router.maxRunning)
	}
	m.checkCovered(t, sent)
	for _, f := range m.all {
		for _, g := range m.all {
			if f.Start.After(g.Start) && f.Start.Before(g.Start.Add(g.Took)) && !errors.Is(f.Err, ErrCancelled) && m.excludes(f, g) {
				t.Errorf("%s:%s starts at %v while %s:%s runs", f.Route, paths(f.Events), f.Start, g.Route, paths(g.Events))
			}
		}
	}
}

// checkCovered checks that everything that was sent is in a run that was not restarted. What
// was sent may have several names, with a | between them.
func (m *manyChains) checkCovered(t *testing.T, sent []string) {
	covered := make(map[string]bool)
	for _, f := range m.all {
		for _, e := range f.Events {
			covered[f.Route+":"+e.Path] = covered[f.Route+":"+e.Path] || !errors.Is(f.Err, ErrRestarted)
		}
	}
	for _, what := range sent {
		if !slices.ContainsFunc(strings.Split(what, "|"), func(name string) bool { return covered[name] }) {
			t.Errorf("%s is in no run", what)
		}
	}
}

// excludes reports whether f must not start while g runs.
func (m *manyChains) excludes(f, g Run) bool {
	for _, s := range m.router.states {
		if s.route.Name != f.Route {
			continue
		}
		if f.Route == g.Route {
			_, isLoop := errors.AsType[*LoopError](f.Err)
			return !isLoop && (s.shared != nil || paths(f.Events) == paths(g.Events))
		}
		return s.predecessors()[g.Route]
	}
	return false
}
