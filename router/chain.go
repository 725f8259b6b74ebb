package router

import (
	"maps"
	"slices"
)

// triggerFollowers hands the events of a run that has succeeded to the routes that follow.
func (s *routeState) triggerFollowers(run *activeRun) {
	for _, b := range s.behind {
		if !b.route.Follow {
			continue
		}
		for _, e := range run.entries {
			b.addPinned(e.event, e.submissions, run.cause)
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
