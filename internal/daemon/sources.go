package daemon

import (
	"context"
	"path"
	"sync"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/runnable"
	"github.com/execlog/execlogd/job"
)

// How long pages wait for the build of sources that have changed.
const (
	// sourcesQuiet is how long no source may have changed, so that several saves in a
	// row are one reload. A page would be told of a change after a delay as long.
	sourcesQuiet = 100 * time.Millisecond

	// maxBuildDelay is how long after a change a build may begin: the programs wait
	// themselves for more changes, up to 0.7 s. When it is known how long the program
	// takes, twice as long and minBuildDelay is waited for. A change that no build has
	// followed is not waited for again in its directory, until a build begins that no
	// other change explains.
	maxBuildDelay, minBuildDelay = 2 * time.Second, 200 * time.Millisecond

	// sameSave is how long a build may have begun before a change that it has in it:
	// editors save in several steps, and the kernel tells us no earlier than others.
	sameSave = 50 * time.Millisecond
)

// maxUnbuilt bounds how many directories are remembered.
const maxUnbuilt = 10_000

// sources are the sources of a route whose program builds by itself. Pages wait while
// they change and the program has not begun to build. A program that has ended is started
// again.
type sources struct {
	d     *daemon
	route string

	mu      sync.Mutex
	changes map[string]time.Time // the last in each directory that no build has followed
	unbuilt map[string]bool      // directories in which changes lead to no build
	changed time.Time            // the last change that pages wait for
	began   time.Time            // the last build
	delay   time.Duration        // the longest from a change to a build
	release func()               // lets pages go; nil while they do not wait
	timer   *time.Timer          // looks again; nil before the first change

	deaths int         // of the program, one soon after the other
	again  *time.Timer // starts it again; nil before the first
	closed bool
}

// sourcesOf returns the sources of a route of the file.
func (d *daemon) sourcesOf(route string) *sources {
	d.sourcesMu.Lock()
	defer d.sourcesMu.Unlock()
	s := d.sources[route]
	if s == nil {
		s = &sources{d: d, route: route, changes: make(map[string]time.Time), unbuilt: make(map[string]bool)}
		if d.sources == nil {
			d.sources = make(map[string]*sources)
		}
		d.sources[route] = s
	}
	return s
}

// closeSources ends what the sources would do later.
func (d *daemon) closeSources() {
	d.sourcesMu.Lock()
	defer d.sourcesMu.Unlock()
	for _, s := range d.sources {
		s.close()
	}
}

func (s *sources) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, t := range []*time.Timer{s.timer, s.again} {
		if t != nil {
			t.Stop()
		}
	}
}

// find returns what the route is in the active configuration. It is not ok if it is no
// builder there.
func (s *sources) find() (r runnable.Route, ok bool) {
	for _, r := range s.d.active.Load().resolved {
		if r.Name == s.route && r.Service.Builds != nil {
			return r, true
		}
	}
	return r, false
}

// note is the callback of the route for the sources. Files that pages show as they are
// are no sources.
func (s *sources) note(_ context.Context, batch []inotify.Event) error {
	c, ok := s.find()
	if !ok {
		return nil
	}
	s.d.last.noteChange(batch)
	switch {
	case c.Runnable.Suspended.Load():
		return nil // a route before it starts it again
	case !c.Runnable.Running():
		s.start(c)
		return nil
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, e := range batch {
		dir := path.Dir(e.Path)
		if s.closed || s.unbuilt[dir] || s.isShown(e) {
			continue
		}
		s.changed = now
		if now.Sub(s.began) >= sameSave {
			s.changes[dir] = now
		}
	}
	if s.changed != now {
		return nil
	}
	if s.release == nil {
		s.release, _ = s.d.pipeline.router.Hold(s.route)
	}
	s.look(c)
	return nil
}

// start has the route run: for the build that is under way, or else to start the program.
func (s *sources) start(c runnable.Route) {
	_, _ = s.d.pipeline.router.Trigger(s.route, job.BuildEvent(c.Root)) // the router may have stopped
}

// isShown reports whether an open page uses the file of an event.
func (s *sources) isShown(e inotify.Event) bool {
	rel, ok := config.Below(s.d.active.Load().Root, e.Name())
	return ok && s.d.server.Concerns(rel)
}

// noteBuild notes that a build has begun by itself, and has the router know it as a run
// of the route.
func (s *sources) noteBuild() {
	c, ok := s.find()
	if !ok {
		return
	}
	s.start(c)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.began = time.Now()
	for _, at := range s.changes {
		s.delay = max(s.delay, s.began.Sub(at))
	}
	if len(s.changes) == 0 {
		clear(s.unbuilt) // one of them was the cause, and the program was late
	}
	clear(s.changes)
	s.look(c)
}

// look lets pages go, or sets the timer for when to look again. s.mu must be held.
func (s *sources) look(c runnable.Route) {
	if s.release == nil || s.closed {
		return
	}

	now, until := time.Now(), s.changed.Add(sourcesQuiet)
	saysNothing := c.Service.Builds.Lines.None()
	if len(s.changes) > 0 && !saysNothing {
		wait := maxBuildDelay
		if s.delay > 0 {
			wait = min(wait, 2*s.delay+minBuildDelay)
		}
		until = s.changed.Add(wait)
	}
	if now.Before(until) {
		if s.timer == nil {
			s.timer = time.AfterFunc(until.Sub(now), s.lookAgain)
		}
		s.timer.Reset(until.Sub(now))
		return
	}

	for dir := range s.changes {
		if len(s.unbuilt) < maxUnbuilt && !saysNothing {
			s.unbuilt[dir] = true
		}
	}
	clear(s.changes)
	s.release()
	s.release = nil
}

func (s *sources) lookAgain() {
	c, ok := s.find()
	s.mu.Lock()
	defer s.mu.Unlock()
	if ok {
		s.look(c)
	} else if s.release != nil {
		s.release()
		s.release = nil
	}
}

// noteDeath starts a program again that has ended between two builds.
func (s *sources) noteDeath(took time.Duration) {
	c, ok := s.find()
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if took >= longestBackoff {
		s.deaths = 0
	}
	wait := min(max(0, c.Backoff)<<s.deaths, longestBackoff)
	s.deaths = min(s.deaths+1, 20)
	s.again = time.AfterFunc(wait, func() {
		if c, ok := s.find(); ok && !c.Runnable.Running() {
			s.start(c)
		}
	})
}

// longestBackoff is the longest pause before a program that dies is started again.
const longestBackoff = 5 * time.Minute
