package router

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// A routeState is a route and everything that is under way for it. The router's lock
// guards it.
type routeState struct {
	router *Router
	*checkedRoute

	// The order of routes.
	after     []*routeState // the routes in After
	behind    []*routeState // the routes in whose After this one is
	isRemoved bool          // the route is no more

	// Whether anything may go.
	blocked   bool // a route that comes first has something waiting or running
	held      bool // by that, by a batch that is being rejected, or by a run of previous
	unblocked time.Time
	finished  time.Time // the last run of the route was over
	failures  failures  // of routes that come first, since it is held
	loop      loopGuard

	// What waits and runs.
	shared    *queue         // of a route with PerRoute; nil otherwise
	queues    map[key]*queue // of one with PerFile: those that wait, run or remember something
	previous  []*queue       // from before the route had another Per, of which runs may be under way
	dirty     []*queue       // that the next update has to look at
	ready     []*queue       // in the order in which they became due, with some that are not due any more
	busy      int            // queues that wait or run, and holds
	running   int            // callbacks
	rejecting int            // batches that are not run and are being reported
	asker     asker

	// What is remembered of files.
	outputs         *outputs
	renamedOutputs  pathTimes    // names that outputs were renamed to, or had, and the last event of each
	newDirs         map[key]bool // directories that were made since the last run began
	newFiles        map[key]bool // files that were made, and neither closed nor written to; with Empty
	movedOut        []entry      // what the latest MovedFrom took out: the MovedTo may follow
	movedOutAwaited bool         // a Submission waits for some of that

	causedByNothing []string // the route's name alone, for causes without a cause
}

// newRouteState returns the state of a route that has not run yet.
func newRouteState(r *Router, c *checkedRoute) *routeState {
	s := &routeState{
		router:          r,
		checkedRoute:    c,
		newFiles:        make(map[key]bool),
		causedByNothing: []string{c.route.Name},
	}
	s.outputs = &outputs{state: s}
	s.makeQueues()
	return s
}

// makeQueues gives the state new queues.
func (s *routeState) makeQueues() {
	s.shared, s.queues = nil, nil
	if s.route.Per == PerRoute {
		s.shared = newQueue(s, key{})
	} else {
		s.queues = make(map[key]*queue)
	}
}

// queue returns the queue of a path; nil if there is none.
func (s *routeState) queue(k key) *queue {
	if s.shared != nil {
		return s.shared
	}
	return s.queues[k]
}

// makeQueue returns the queue of a path, a new one if need be.
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

// ignoresUnwanted reports whether an event that the route does not want changes nothing.
func (s *routeState) ignoresUnwanted() bool {
	if len(s.movedOut) > 0 || len(s.queues) > 0 || len(s.newFiles) > 0 || s.route.Retries > 0 && s.running > 0 {
		return false
	}
	return s.shared == nil || s.shared.batch.empty() && len(s.shared.batch.neverClosed) == 0
}

// update starts what is due, or sets timers, after queues have changed. The routes that
// come first must have been updated.
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

	for i := 0; i < len(s.dirty); i++ { // updateHeld may have added some, advance does not
		s.dirty[i].dirty = false
		s.dirty[i].advance(now)
	}
	s.loop.advanceNext(now)
	clear(s.dirty)
	s.dirty = s.dirty[:0]
}

// updateHeld holds everything that waits while a route that comes first has something to
// do. When none has any more, it lets everything go, or does what OnFailure says.
func (s *routeState) updateHeld(now time.Time) {
	s.blocked = slices.ContainsFunc(s.after, func(first *routeState) bool { return first.busy > 0 || first.blocked })
	s.previous = slices.DeleteFunc(s.previous, func(q *queue) bool { return q.run == nil })

	held := s.blocked || s.rejecting > 0 || len(s.previous) > 0
	if held == s.held {
		return
	}
	s.held = held
	if !held {
		s.unblocked = now
	}

	failure := s.failures.take()
	for q := range s.allQueues() {
		switch {
		case !held && failure == nil:
			q.restoreKept(now)
		case q.batch.empty():
		case failure != nil && s.route.OnFailure == Keep:
			q.markDirty()
			entries := q.batch.take()
			s.noteKept(entries, true)
			q.keptForSuccess = append(q.keptForSuccess, entries...)
			q.countBusy(now)
		case failure != nil && s.route.OnFailure == Cancel:
			q.reject(newRun(q, now), fmt.Errorf("%w: %w", ErrCancelled, failure))
		default:
			q.markDirty()
		}
	}
}

// firstFinished returns when the last run of the routes that come first was over.
func (s *routeState) firstFinished() time.Time {
	var last time.Time
	for _, first := range s.after {
		last = later(last, first.finished)
	}
	return last
}

// requeue puts entries that waited elsewhere into the batches of their paths, if the route is
// for them.
func (s *routeState) requeue(entries []*entry) {
	slices.SortFunc(entries, func(x, y *entry) int { return cmp.Compare(x.seq, y.seq) })
	for _, e := range entries {
		if !s.stillWants(e) {
			unrefAll(e.submissions, nil)
			s.router.saved.finish(e)
			continue
		}

		x := *e
		x.seq = 0
		s.insert(x, nil, time.Time{}, e.pinned)
	}
}

// stillWants reports whether an entry that waits by other rules is still for the route. If
// it has CloseWrite it was wanted, whatever the mask is.
func (s *routeState) stillWants(e *entry) bool {
	return e.pinned || s.wants(e.event) || e.event.Mask&inotify.CloseWrite != 0 && s.isFor(e.event)
}

// errorf returns an error for those who have submitted something.
func (s *routeState) errorf(err error) error { return fmt.Errorf("route %q: %w", s.route.Name, err) }

// triggerFollowers hands the events of a run that has succeeded to the routes that follow;
// when the router has stopped, to those of a later process.
func (s *routeState) triggerFollowers(run *activeRun) {
	isOver := s.router.phase == stopped
	for _, b := range s.behind {
		if !b.route.Follow || isOver && !b.isSaved() {
			continue
		}
		for _, e := range run.entries {
			by := e.submissions
			if isOver {
				by = nil // as it will not run
			}
			b.addPinned(e.event, e.watched, by, run.cause)
		}
	}
}

// noteFailure notes for the routes behind that the last run of a queue has failed, and for
// those behind them if they do not go on then.
func (s *routeState) noteFailure(q *queue, err error) {
	for _, b := range s.behind {
		if b.failures.add(q, err) && b.route.OnFailure != Continue {
			b.noteFailure(q, err)
		}
	}
}

// clearFailure undoes noteFailure, as the queue has had a run that succeeded.
func (s *routeState) clearFailure(q *queue) {
	for _, b := range s.behind {
		if b.failures.remove(q) {
			b.clearFailure(q)
		}
	}
}

// remembersFailures reports whether something depends on the failures of routes that come
// first.
func (s *routeState) remembersFailures() bool {
	if len(s.failures.errs) > 0 {
		return true
	}
	for q := range s.allQueues() {
		if len(q.keptForSuccess) > 0 {
			return true
		}
	}
	return false
}

// predecessors returns the names of the routes that come before this one: those in After,
// and what comes before those.
func (s *routeState) predecessors() map[string]bool {
	names := make(map[string]bool)
	for todo := s.after; len(todo) > 0; {
		first := todo[0]
		todo = todo[1:]
		if !names[first.route.Name] {
			names[first.route.Name] = true
			todo = append(slices.Clip(todo), first.after...)
		}
	}
	return names
}

// failures are the queues of routes that come first whose last run has failed. The zero
// value is none.
type failures struct {
	errs map[queueID]failure
	seq  int // of the latest
}

// A queueID identifies a queue, also after it was forgotten.
type queueID struct {
	*routeState
	key
}

type failure struct {
	err error
	seq int
}

// add reports whether the failure was not there yet. There may be many ways from one route
// to another, of which noteFailure is to go on from there once.
func (f *failures) add(q *queue, err error) bool {
	id := queueID{q.state, q.key}
	if f.errs[id].err == err {
		return false
	}
	if f.errs == nil {
		f.errs = make(map[queueID]failure)
	}
	f.seq++
	f.errs[id] = failure{err, f.seq}
	return true
}

func (f *failures) remove(q *queue) bool {
	id := queueID{q.state, q.key}
	_, ok := f.errs[id]
	delete(f.errs, id)
	return ok
}

// take returns the first of the failures, nil if there is none, and forgets all.
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

// keepOnly forgets the failures of routes that are not named, or had another Per.
func (f *failures) keepOnly(names map[string]bool) {
	maps.DeleteFunc(f.errs, func(id queueID, _ failure) bool {
		hadOtherPer := (id.key == key{}) != (id.route.Per == PerRoute)
		return hadOtherPer || !names[id.route.Name]
	})
}
