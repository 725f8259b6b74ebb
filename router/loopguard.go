package router

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// A route whose runs change what triggers it would run for ever, and so would routes that
// trigger each other. The kernel does not say who has changed a file, so a loop is found
// by time: an event that comes while a run is under way may be caused by that run, and its
// generation is one higher than the run's. Somebody who saves often while slow builds run
// makes such events as well; but in a loop nothing comes while nothing runs. So from the
// generation firstDelayed on a batch waits, twice as long with each generation, for an
// event that comes when no run can have caused it. Such an event shows that there is no
// loop. A batch that gets to maxGeneration without one is refused.
const (
	maxGeneration = 8                      // that is refused
	firstDelayed  = 3                      // generation that waits
	shortestRun   = 400 * time.Millisecond // for which a wait is computed
	longestWait   = time.Minute

	// startup is how long after its start a program that keeps running is taken for the
	// cause of every event.
	startup = time.Second

	// maxCauses bounds the runs that are considered as causes of one event, to the latest,
	// and the runs that are remembered to have led to one another.
	maxCauses = 64

	// maxRefused bounds the files that were refused and are kept for a later batch.
	maxRefused = 1 << 16

	// A file that was reported as part of a loop does not start its route by itself until
	// it has been left alone for as long as muteReported.
	muteReported = time.Minute
	maxReported  = 256 // that are remembered
)

// A LoopError says that a route was triggered again and again by what its own runs led to,
// and that such a batch was not run.
type LoopError struct {
	// Events is the batch that was not run; of a route with PerFile, all that were not.
	Events []inotify.Event

	// Routes are the routes of the loop, each of which triggered the next, and the last
	// the first, which is the one of the batch.
	Routes []string
}

func (e *LoopError) Error() string { return e.Reason() + ": name it in Outputs or Ignore" }

// Reason is the error without what to do about it, for programs whose users do not write a
// Route.
func (e *LoopError) Reason() string {
	const enough = 5
	var files []string
	for _, x := range e.Events[:min(enough, len(e.Events))] {
		files = append(files, inotify.Quote(x.Path))
	}
	if more := len(e.Events) - enough; more > 0 {
		files = append(files, fmt.Sprintf("and %d more", more))
	}

	by := ""
	switch others := e.Routes[min(1, len(e.Routes)):]; len(others) {
	case 0:
	case 1:
		by = " by way of route " + quoted(others, ", ")
	default:
		by = " by way of routes " + quoted(others, ", ")
	}
	return fmt.Sprintf("a loop%s: %d runs in a row were each triggered only by what the one before may have written, lastly %s",
		by, maxGeneration-1, strings.Join(files, ", "))
}

// A cause is a run that may cause events. Its routes are names, because it outlives a
// change of the configuration. The router's lock guards it. A nil cause is outside of the
// router.
type cause struct {
	routes  []string // of the runs that led to one another, the run's own last
	started time.Time
	ended   time.Time // from then on it causes nothing; zero if that is not known yet
}

// generation returns how many runs of a route led to what the cause causes.
func (c *cause) generation(route string) int {
	if c == nil {
		return 0
	}
	n := 0
	for _, name := range c.routes {
		if name == route {
			n++
		}
	}
	return n
}

// length returns how many runs led to one another.
func (c *cause) length() int {
	if c == nil {
		return 0
	}
	return len(c.routes)
}

// active reports whether what happens now may be caused by the run.
func (c *cause) active(now time.Time) bool { return c.ended.IsZero() || now.Before(c.ended) }

// loop returns the routes that led to one another since the first run of a route: that one
// first, and each once.
func (c *cause) loop(route string) []string {
	var routes []string
	for _, name := range c.routes[slices.Index(c.routes, route):] {
		if !slices.Contains(routes, name) {
			routes = append(routes, name)
		}
	}
	return routes
}

// A loopGuard keeps a route from triggering itself for ever. The router's lock guards it.
// The zero value is for a route that has not run.
type loopGuard struct {
	ended time.Time     // when the latest run that the route led to could cause nothing any more
	took  time.Duration // from the start of that run

	events  int      // that the route has ever had
	atStart int      // events when the latest run began
	delayed []*queue // with a delayed batch; those that are not delayed any more are skipped
	next    *queue   // the delayed queue of the highest generation, which goes next

	stopped  *cause    // of the batch that was refused last
	refused  batch     // what was not run and goes with a later batch
	reported pathTimes // files of refused batches, which start nothing by themselves, and when each was last written to
}

// noteRunStart notes that a run of the route starts, which was itself caused by from, and
// returns it as a cause of events from now on.
func (s *routeState) noteRunStart(from *cause, now time.Time) *cause {
	c := &cause{routes: s.causedByNothing, started: now}
	if from != nil {
		c.routes = append(slices.Clip(from.routes[max(0, len(from.routes)-maxCauses+1):]), s.route.Name)
	}
	if s.route.OnBusy == Restart {
		c.ended = now.Add(startup) // program knows what it causes later
	}

	s.loop.atStart = s.loop.events
	if s.route.ReadOnly {
		return c
	}
	r := s.router
	r.causes = slices.DeleteFunc(r.causes, func(c *cause) bool { return !c.active(now) })
	if len(r.causes) >= maxCauses {
		r.causes = slices.Delete(r.causes, 0, 1)
	}
	r.causes = append(r.causes, c)
	r.noteCauseEnd(c)
	return c
}

// noteRunEnd notes that a run of the route is over; with Background that the program that
// it has started keeps running.
func (s *routeState) noteRunEnd(c *cause, now time.Time) {
	r := s.router
	switch {
	case s.route.Background:
		c.ended = now.Add(startup)
		if !s.route.ReadOnly && !slices.Contains(r.causes, c) {
			r.causes = append(r.causes, c)
		}
	case c.active(now):
		c.ended = now
	}
	r.noteCauseEnd(c)
}

// noteCauseEnd notes for all routes that led to a run when that causes nothing any more.
func (r *Router) noteCauseEnd(c *cause) {
	for _, s := range r.states {
		if g := &s.loop; slices.Contains(c.routes, s.route.Name) && c.ended.After(g.ended) {
			g.ended, g.took = c.ended, c.ended.Sub(c.started)
		}
	}
}

// causeOf returns the run that may have caused an event of the route for a path. Of several
// it is the one of the highest generation, then the one to which most runs led, then the
// latest.
func (s *routeState) causeOf(k key, now time.Time) *cause {
	var found *cause
	name, generation := s.route.Name, 0
	consider := func(c *cause) {
		g := c.generation(name)
		if found == nil || g > generation || g == generation && c.length() >= found.length() {
			found, generation = c, g
		}
	}
	for _, c := range s.router.causes {
		if c.active(now) {
			consider(c)
		}
	}

	if q := s.queue(k); q != nil && q.program.repeats(k, now) {
		consider(q.program.run)
	}
	return found
}

// attribute notes the cause of an event that is about to come into the batch. A batch has
// the cause of the lowest generation among its events, and of these the one to which the
// fewest runs led. An event that no run of the route can have caused lets all delayed
// batches go.
func (q *queue) attribute(c *cause) {
	g, name := &q.state.loop, q.state.route.Name
	g.events++
	generation, old := c.generation(name), q.batch.cause.generation(name)
	if q.batch.empty() || generation < old || generation == old && c.length() < q.batch.cause.length() {
		q.batch.cause = c
	}
	if generation == 0 {
		g.release()
	}
}

// generation returns how many runs of the route led to the batch, or 0 if the route is
// never part of a loop.
func (q *queue) generation() int {
	if q.state.route.ReadOnly {
		return 0
	}
	return q.batch.cause.generation(q.state.route.Name)
}

// delayUntil returns until when the batch is delayed: a zero time for a low generation. It
// is not ok while that depends on other queues and runs; then advanceNext asks again.
//
// With PerFile only one delayed batch goes at a time, so that files each of which leads to
// several others do not multiply.
func (g *loopGuard) delayUntil(q *queue, now time.Time) (until time.Time, ok bool) {
	generation := q.generation()
	if generation < firstDelayed {
		q.delayed = false
		return time.Time{}, true
	}
	if !q.delayed {
		q.delayed = true
		g.delayed = append(g.delayed, q)
	}
	if g.next == nil || !g.next.delayed || generation > g.next.generation() {
		g.next = q
	}
	if g.next != q || q.mayGetSameGeneration(generation) {
		return time.Time{}, false
	}

	ended, took := g.ended, g.took
	first, c := q.times.first, q.batch.cause
	if c == q.program.run && first.After(ended) {
		// A program wrote it long after its start.
		ended, took = first, first.Sub(c.started)
	}
	return later(first, ended).Add(delay(generation, took)), true
}

// delay returns how long a batch waits after a run that took so long: a fourth of that for
// the first generation that waits, and twice as long for each further one.
func delay(generation int, took time.Duration) time.Duration {
	return min(longestWait, max(took, shortestRun)/4<<(generation-firstDelayed))
}

// mayGetSameGeneration reports whether a run is under way whose events would have the
// generation of the batch, or a higher one, so that the wait for an event of a lower
// generation cannot begin. A run of another route may take long. It delays a whole route
// only before its batch is refused.
func (q *queue) mayGetSameGeneration(generation int) bool {
	s := q.state
	return slices.ContainsFunc(s.router.causes, func(c *cause) bool {
		isOwn := c.routes[len(c.routes)-1] == s.route.Name
		return c.ended.IsZero() && c.generation(s.route.Name) >= generation &&
			(isOwn || s.shared == nil || generation >= maxGeneration)
	})
}

// advanceNext lets the next delayed queue go if it is time. It must be called in each
// update, because what that queue waits for happens elsewhere.
func (g *loopGuard) advanceNext(now time.Time) {
	if g.next != nil && !g.next.delayed {
		g.delayed = slices.DeleteFunc(g.delayed, func(q *queue) bool { return !q.delayed })
		g.next = nil
		for _, q := range g.delayed {
			if g.next == nil || q.generation() > g.next.generation() {
				g.next = q
			}
		}
	}

	if g.next != nil {
		g.next.advance(now)
	}
}

// release takes all delayed batches back to generation 0, because there is no loop.
func (g *loopGuard) release() {
	for _, q := range g.delayed {
		if q.delayed {
			q.markDirty()
			q.batch.cause, q.delayed = nil, false
		}
	}
	g.delayed, g.next = nil, nil
}

// hasCausedNothing reports whether nothing has come of the latest run of the route, and
// nothing can come of it any more: no run to which the route has led is under way, and no
// such batch waits.
func (s *routeState) hasCausedNothing(now time.Time) bool {
	name := s.route.Name
	if s.loop.events != s.loop.atStart {
		return false
	}

	if slices.ContainsFunc(s.router.causes, func(c *cause) bool { return c.active(now) && c.generation(name) > 0 }) {
		return false
	}

	for _, other := range s.router.states {
		for q := range other.allQueues() {
			if other != s && !q.batch.empty() && q.batch.cause.generation(name) > 0 {
				return false
			}
		}
	}
	return true
}

// refuse takes out the batch, and all others that are delayed, and reports them as a loop.
// What a program that was not started again goes on to write is not reported again. All of
// it goes with a later batch.
func (g *loopGuard) refuse(q *queue, now time.Time) {
	s, c := q.state, q.batch.cause
	run := newRun(q, now)
	q.delayed = false
	for _, other := range g.delayed {
		if other.delayed && other != q {
			run.entries = append(run.entries, other.batch.take()...)
			other.countBusy(now)
			other.rest(now)
		}
	}
	for _, e := range run.entries {
		s.keepRefused(e)
		if s.route.keepsRunning() {
			g.reported.note(keyOf(e.event), now, maxReported)
		}
	}

	if c == g.stopped {
		for _, e := range run.entries {
			unrefAll(e.submissions, nil)
			s.router.saved.finish(e)
		}
		q.countBusy(now)
		q.rest(now)
		return
	}
	g.stopped = c
	q.reject(run, &LoopError{Events: eventsOf(run.entries), Routes: c.loop(s.route.Name)})
}

// keepRefused has an entry go with a later batch.
func (s *routeState) keepRefused(e *entry) {
	if len(s.loop.refused.entries) >= maxRefused {
		return
	}
	kept := *e
	kept.seq, kept.submissions = 0, nil
	s.merge(&s.loop.refused, keyOf(e.event), kept)
	e.id = 0 // which kept has
}

// restoreRefused puts what was refused back before a batch starts that no run of the route
// has caused: into that batch, or with PerFile into those of the paths. As these are likely
// to be part of a loop, they are delayed, and refused again at the next generation.
func (g *loopGuard) restoreRefused(q *queue) {
	s := q.state
	if g.refused.empty() || q.generation() > 0 {
		return
	}

	var before *cause
	if s.shared == nil && g.stopped != nil {
		before = &cause{routes: g.stopped.routes[slices.Index(g.stopped.routes, s.route.Name)+1:]}
	}
	for _, e := range g.refused.take() {
		if !s.stillWants(e) { // the routes have changed
			s.router.saved.finish(e)
			continue
		}

		to := s.makeQueue(keyOf(e.event))
		if to != q {
			to.markDirty()
		}
		if to.batch.empty() {
			to.batch.cause = before
		}
		to.restore([]*entry{e})
	}
}

const (
	// maxWritten bounds the paths of one program whose times are remembered.
	maxWritten = 256

	// sameWrite is how close two events of a path are that count as one write.
	sameWrite = 50 * time.Millisecond
)

// A program is the latest run of a queue, if the program that it has started keeps running
// and writes at times of its own: some time after each start, or again and again. What is
// written at the same intervals as before is taken to be written by the program. People do
// not save so regularly, all the less when their saves have to wait for the loop guard. The
// zero value is no program.
type program struct {
	run     *cause
	trigger time.Duration // from the start before that to the event that led to it
	written map[key]*writeTimes
}

// writeTimes are the times at which a path was written.
type writeTimes struct {
	run      *cause
	after    time.Duration // from the start of run to the first write
	last     time.Time
	interval time.Duration // between the last two writes of one run
	repeats  bool          // the last write came at an interval that was there before
}

// repeats reports whether a path is written at an interval at which it, or the path that
// led to the start, was written before. It is called with each event of the path. Just
// after the start every event is taken to be caused by the program anyway.
func (p *program) repeats(k key, now time.Time) bool {
	if p.run == nil || now.Sub(p.run.started) <= startup {
		return false
	}
	w := p.written[k]
	if w == nil {
		if p.written == nil || len(p.written) >= maxWritten {
			p.written = make(map[key]*writeTimes)
		}
		w = new(writeTimes)
		p.written[k] = w
	}

	after, interval := now.Sub(p.run.started), now.Sub(w.last)
	w.last = now
	switch {
	case w.run != p.run:
		w.repeats = isSameInterval(after, p.trigger) || isSameInterval(after, w.after)
		w.run, w.after = p.run, after
	case interval >= sameWrite:
		w.repeats = isSameInterval(interval, w.interval)
		w.interval = interval
	}
	return w.repeats
}

// isSameInterval allows for the delays of a busy machine. An interval of 0 is not known.
func isSameInterval(a, b time.Duration) bool {
	return b > 0 && (a-b).Abs() <= max(sameWrite, b/8)
}
