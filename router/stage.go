package router

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"
)

// A routeState is a route at work: its lanes, and its place among those that it
// waits for. The router's lock guards what changes.
type routeState struct {
	router *Router
	*checkedRoute

	after  []*routeState // the routes of After
	behind []*routeState // the routes in whose After this one is

	shared          *queue            // of a route with PerRoute
	queues          map[key]*queue    // of one with PerFile: those that wait, run or remember
	dirty           []*queue          // what this turn has to look at
	renamedOutputs  map[key]time.Time // names to which outputs were moved, or that they had, and when something happened to them
	newDirs         map[key]bool      // directories that were made since the last run began
	newFiles        map[key]bool      // new files that were neither closed nor written to; for Empty
	movedOut        []entry           // what the latest MovedFrom took away: the MovedTo may follow
	movedOutAwaited bool              // somebody waits for what left

	busy      int      // lanes that wait or run
	running   int      // callbacks
	rejecting int      // batches that were refused and are being reported
	ready     []*queue // in the order in which they became due; skip those that are not queued

	outputs    *outputs
	openChecks openChecks

	previous []*routeState // of its name before it, with another Per, of which runs may go on
	retired  bool          // the route is no more, or has another Per

	blocked   bool      // a route that comes first has something to do
	held      bool      // by that, by what is being refused, or by former
	unblocked time.Time // when it was no more
	failures  failures  // of after, since it is held
	loop      loopGuard

	causedByNothing []string // the route's name alone, for causes that nothing has caused
}

// newRouteState returns the stage of a route that has not run yet.
func newRouteState(r *Router, c *checkedRoute) *routeState {
	s := &routeState{router: r, checkedRoute: c, newFiles: make(map[key]bool), causedByNothing: []string{c.route.Name}}
	s.outputs = &outputs{router: r, state: s}
	if c.route.Per == PerRoute {
		s.shared = newQueue(s, key{})
	} else {
		s.queues = make(map[key]*queue)
	}
	return s
}

// queue is the lane of a path, nil if it has none.
func (s *routeState) queue(k key) *queue {
	if s.shared != nil {
		return s.shared
	}
	return s.queues[k]
}

// makeQueue is the lane of a path, which is made if need be.
func (s *routeState) makeQueue(k key) *queue {
	q := s.queue(k)
	if q == nil {
		q = newQueue(s, k)
		s.queues[k] = q
	}
	return q
}

func (s *routeState) allQueues() iter.Seq[*queue] {
	if s.shared != nil {
		return slices.Values([]*queue{s.shared})
	}
	return maps.Values(s.queues)
}

// ignoresUnwanted reports whether an event that the route does not want can
// change nothing.
func (s *routeState) ignoresUnwanted() bool {
	if len(s.movedOut) > 0 || len(s.queues) > 0 || len(s.newFiles) > 0 || s.route.Retries > 0 && s.running > 0 {
		return false
	}
	return s.shared == nil || s.shared.batch.empty() && len(s.shared.batch.neverClosed) == 0
}

// update sees what the lanes that were touched have to do now.
func (s *routeState) update(now time.Time) {
	if len(s.loop.delayed) > 0 && s.hasCausedNothing(now) {
		s.loop.release()
	}
	for _, q := range s.dirty {
		q.noteChange(now)
		q.countBusy(now)
	}
	s.unrefMovedOut()
	s.updateHeld(now)
	for i := 0; i < len(s.dirty); i++ { // hold may have added some, advance does not
		s.dirty[i].dirty = false
		s.dirty[i].advance(now)
	}
	s.loop.advanceNext(now)
	clear(s.dirty)
	s.dirty = s.dirty[:0]
}

// updateHeld keeps everything that waits back while a route that comes first has
// something to do, and lets it go, or cancels it, when none has any more.
func (s *routeState) updateHeld(now time.Time) {
	// Those that come first have had their turn.
	s.blocked = slices.ContainsFunc(s.after, func(a *routeState) bool { return a.busy > 0 || a.blocked })
	held := s.blocked || s.rejecting > 0 || s.hasPreviousRuns()
	if held == s.held {
		return
	}
	s.held = held
	failure := s.failures.take()
	if !held {
		s.unblocked = now
	}
	for q := range s.allQueues() {
		switch {
		case !held && failure == nil:
			q.restoreKept(now)
		case q.batch.empty():
		case failure != nil && s.route.OnFailure == Keep:
			q.keepForSuccess(now)
		case failure != nil && s.route.OnFailure == Cancel:
			q.reject(newRun(q, now), fmt.Errorf("%w: %w", ErrCancelled, failure))
		default:
			q.markDirty()
		}
	}
}

// noteFailure tells the routes behind that a lane's frame failed, and those that give
// up with them.
func (s *routeState) noteFailure(q *queue, err error) {
	for _, b := range s.behind {
		b.failures.add(q, err)
		if b.route.OnFailure != Continue {
			b.noteFailure(q, err)
		}
	}
}

// clearFailure takes back what fail said.
func (s *routeState) clearFailure(q *queue) {
	for _, b := range s.behind {
		if b.failures.remove(q) {
			b.clearFailure(q)
		}
	}
}

// triggerFollowers passes the events of a frame that succeeded on to the routes that
// follow.
func (s *routeState) triggerFollowers(f *activeRun) {
	for _, b := range s.behind {
		if !b.route.Follow {
			continue
		}
		for _, e := range f.entries {
			b.addPinned(e.event, e.submissions, f.cause)
		}
	}
}

// errorf is an error for those who submitted something.
func (s *routeState) errorf(err error) error { return fmt.Errorf("route %q: %w", s.route.Name, err) }

// failures are the lanes of earlier routes whose last frame failed, in order.
// The zero value is none.
type failures struct {
	errs map[queueID]failure
	seq  int
}

// A queueID is a lane's identity: lanes come and go.
type queueID struct {
	*routeState
	key
}

type failure struct {
	err error
	seq int
}

func (f *failures) add(q *queue, err error) {
	if f.errs == nil {
		f.errs = make(map[queueID]failure)
	}
	f.seq++
	f.errs[queueID{q.state, q.key}] = failure{err, f.seq}
}

func (f *failures) remove(q *queue) bool {
	k := queueID{q.state, q.key}
	_, ok := f.errs[k]
	delete(f.errs, k)
	return ok
}

// take is the first of the failures, nil if there is none, and forgets all.
func (f *failures) take() error {
	var first failure
	for _, x := range f.errs {
		if first.err == nil || x.seq < first.seq {
			first = x
		}
	}
	*f = failures{}
	return first.err
}
