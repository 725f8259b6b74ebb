package daemon

import (
	"context"
	"path"
	"slices"
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
	// editors save in several steps, and the kernel tells us no earlier than others. A
	// further save, or one of more than maxSameSave changes, as in a checkout, may have come
	// too late for the build, and another may follow.
	sameSave    = 50 * time.Millisecond
	maxSameSave = 8

	// fewWrites is how many changes of its output are a build of which nothing else says
	// when it is over. With more, and while it goes on writing, pages wait for the quiet of
	// the route, and longer where the build takes long.
	fewWrites = 4

	// maxHold is how long pages wait at most, since they began to or since a line has said
	// that a build begins: something else, such as a log, may be written all the time.
	maxHold = 10 * time.Second
)

// maxUnbuilt bounds how many directories are remembered.
const maxUnbuilt = 10_000

// sources are the sources of a route whose program builds by itself. Pages wait while
// they change and the program has not begun to build. A program that has ended is started
// again.
type sources struct {
	d     *daemon
	route string

	mu      sync.Mutex           // guards what follows
	changes map[string]time.Time // the last in each directory that no build has followed
	unbuilt map[string]bool      // directories in which changes lead to no build
	changed time.Time            // the last change that pages wait for
	began   time.Time            // the last build
	early   int                  // changes within sameSave after that
	late    time.Time            // the last of these that may have come too late for it
	delay   time.Duration        // the longest from a change to a build
	writes  int                  // changes of the output that pages wait for
	first   time.Time            // the first of these
	written time.Time            // the last
	held    time.Time            // when pages began to wait
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
	isFurther := isFurtherSave(now, s.changed, s.began, s.wait())
	for _, e := range batch {
		dir := path.Dir(e.Path)
		if s.closed || s.unbuilt[dir] || s.isShown(e) {
			continue
		}
		s.changed = now
		if now.Sub(s.began) >= sameSave {
			s.changes[dir] = now
			continue
		}
		if s.early++; isFurther || s.early > maxSameSave {
			s.late = now
		}
	}
	if s.changed == now {
		s.hold(c)
	}
	return nil
}

// isFurtherSave reports whether a change is not of the save because of which the last build
// has begun, since the change before it may be, wait before the build at most.
func isFurtherSave(now, before, began time.Time, wait time.Duration) bool {
	return now.Sub(before) >= sameSave && began.Sub(before) <= wait
}

// noteOutput is the callback of the route for the output. A program that says nothing builds
// while it writes.
func (s *sources) noteOutput(_ context.Context, batch []inotify.Event) error {
	c, ok := s.find()
	if !ok || !c.Runnable.Running() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.written = time.Now()
	if s.writes == 0 {
		s.first = s.written
	}
	s.writes += len(batch)
	s.hold(c)
	return nil
}

// hold has pages wait, and looks when they may go. s.mu must be held.
func (s *sources) hold(c runnable.Route) {
	if s.release == nil {
		s.release, _ = s.d.pipeline.router.Hold(s.route)
		s.held = time.Now()
	}
	s.look(c)
}

// start has the route run: for the build that is under way, or else to start the program.
func (s *sources) start(c runnable.Route) {
	_, _ = s.d.pipeline.router.Trigger(s.route, job.BuildEvent(c.Root)) // the router may have stopped
}

// isShown reports whether an open page uses the file of an event.
func (s *sources) isShown(e inotify.Event) bool {
	return slices.ContainsFunc(s.d.sites(), func(of servedSite) bool {
		rel, ok := config.Below(of.Root, e.Name())
		return ok && of.server.Concerns(rel)
	})
}

// noteBuild notes that a build has begun by itself, and has the router know it as a run
// of the route.
func (s *sources) noteBuild() {
	began := time.Now()
	c, ok := s.find()
	if !ok {
		return
	}
	s.start(c)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.began = began
	for _, at := range s.changes {
		s.delay = max(s.delay, s.began.Sub(at))
	}
	if len(s.changes) == 0 {
		clear(s.unbuilt) // one of them was the cause, and the program was late
	}
	clear(s.changes)
	s.early, s.late = 0, time.Time{}
	s.look(c)
}

// look lets pages go, or sets the timer for when to look again. s.mu must be held.
func (s *sources) look(c runnable.Route) {
	if s.release == nil || s.closed {
		return
	}

	now, until := time.Now(), s.changed.Add(sourcesQuiet)
	since := s.held
	saysNothing := c.Service.Builds.Lines.None()
	if !saysNothing {
		since = later(since, s.began)
	}
	switch {
	case saysNothing:
		until = later(until, s.written.Add(s.pause(c)))
	case len(s.changes) > 0:
		until = s.changed.Add(s.wait())
	case !s.late.IsZero():
		until = later(until, s.late.Add(s.wait()))
	}
	until = earlier(until, since.Add(maxHold))
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
	s.late, s.writes = time.Time{}, 0
	s.release()
	s.release = nil
	if saysNothing {
		s.d.noteRoots(s.d.active.Load(), s.route)
	}
}

// wait returns how long after a change a build may begin.
func (s *sources) wait() time.Duration {
	if s.delay == 0 {
		return maxBuildDelay
	}
	return min(maxBuildDelay, 2*s.delay+minBuildDelay)
}

// pause returns how long after a change of the output a build is over of which nothing else
// says so.
func (s *sources) pause(c runnable.Route) time.Duration {
	quiet := max(c.Quiet, 0)
	if s.writes < fewWrites || quiet == 0 {
		return sourcesQuiet
	}
	return max(sourcesQuiet, quiet, min(s.written.Sub(s.first)/4, 5*quiet))
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
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

// noteDeath starts a program again that has ended, or that could not be started.
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
	wait := min(max(0, min(c.Backoff, longestBackoff))<<s.deaths, longestBackoff)
	s.deaths = min(s.deaths+1, 20)
	if s.again != nil {
		s.again.Stop()
	}
	s.again = time.AfterFunc(wait, func() {
		// A route before it that has failed meanwhile starts it when it succeeds.
		if c, ok := s.find(); ok && !c.Runnable.Running() && !c.Runnable.Suspended.Load() {
			s.start(c)
		}
	})
}

// longestBackoff is the longest pause before a program that dies is started again.
const longestBackoff = 5 * time.Minute
