package router

import (
	"maps"
	"slices"
	"time"
)

// SetRoutes replaces the routes, all of them or, with an error, none. It may be called
// before Run and during it, but not by a Notice; after Run the error is ErrStopped. When
// SetRoutes returns, the Groups that bring events to the Router watch what the new routes
// ask for. What they cannot watch, their inotify.Options.Problem is told.
//
// A route that was there before, by its name, goes on. What waits for it stays, by the new
// rules, unless it is not for the route any more. A run that is under way goes on with the
// callback that it began with, and the next does not overlap it; if it returns
// ErrRestarted, the next run has its events. With the same Per, the failures of routes that
// come first are not forgotten, nor the generation of a loop. What waits for a route that
// is no more is dropped; a run of it goes on, and Run waits for it.
func (r *Router) SetRoutes(routes ...Route) error {
	set, err := r.check(routes)
	if err != nil {
		return err
	}

	r.setting.Lock()
	defer r.setting.Unlock()
	groups, err := r.apply(set)
	if err != nil {
		return err
	}
	for _, g := range groups {
		g.updateRouter(r)
	}
	return nil
}

// apply makes the set the routes of the Router, and returns the Groups that watch for it.
func (r *Router) apply(set *routeSet) ([]*Group, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase == stopped {
		return nil, ErrStopped
	}

	old, byName := r.byName, make(map[string]*routeState, len(set.all))
	r.states, r.order = nil, nil
	before := make(map[*routeState]map[string]bool) // predecessors of those that remember failures
	for _, c := range set.all {
		s := old[c.route.Name]
		switch {
		case s == nil:
			s = newRouteState(r, c)
		case s.route.Per != c.route.Per:
			s = newRouteStateFrom(s, c)
		default:
			if s.remembersFailures() {
				before[s] = s.predecessors()
			}
			s.change(c)
		}
		r.states = append(r.states, s)
		byName[c.route.Name] = s
	}
	for name, s := range old {
		if byName[name] != s {
			// What waits is dropped. Runs go on and mean nothing to other routes.
			s.retired = true
			s.after, s.behind = nil, nil
			s.drop()
		}
	}
	r.byName = byName
	r.connect(set.order)

	now := time.Now()
	for s, was := range before {
		is := s.predecessors()
		s.failures.keepOnly(is)
		if !maps.Equal(was, is) {
			for q := range s.allQueues() {
				q.restoreKept(now) // what has failed may not come first any more
			}
		}
	}
	r.routes.Store(set)
	r.dirty = true // even if no queue is: another may run now, or nothing may come first any more
	r.update(now)
	return slices.Collect(maps.Keys(r.groups)), nil
}

// connect sets which routes come first, given the routes in an order in which they do.
func (r *Router) connect(order []*checkedRoute) {
	for _, s := range r.states {
		s.after, s.behind = nil, nil
	}

	for _, c := range order {
		s := r.byName[c.route.Name]
		r.order = append(r.order, s)
		for _, before := range c.after {
			first := r.byName[before.route.Name]
			s.after = append(s.after, first)
			first.behind = append(first.behind, s)
		}
	}
}

// change gives the state another route of the same name and Per.
func (s *routeState) change(c *checkedRoute) {
	s.checkedRoute = c
	for q := range s.allQueues() {
		q.keptForNew = false
		q.dropUnwanted()
	}
}

// newRouteStateFrom returns the state of a route that has another Per than that of old. It
// gets what waits there. What runs there goes on, and is waited for.
func newRouteStateFrom(old *routeState, c *checkedRoute) *routeState {
	s := newRouteState(old.router, c)

	s.held, s.unblocked = old.held, old.unblocked
	s.previous = append(old.previous, old)
	s.outputs = old.outputs
	s.outputs.state = s

	s.loop.stopped = old.loop.stopped
	s.loop.refused.restore(old.loop.refused.take())
	for _, q := range slices.SortedFunc(old.allQueues(), func(x, y *queue) int { return x.times.first.Compare(y.times.first) }) {
		s.requeue(slices.Concat(q.keptForSuccess, q.batch.take()))
		q.keptForSuccess = nil
	}
	return s
}

// dropUnwanted takes out what waits and the route does not want any more.
func (q *queue) dropUnwanted() {
	q.markDirty()
	for _, k := range slices.Collect(maps.Keys(q.batch.entries)) {
		if e := q.batch.entries[k]; !q.state.stillWants(e) {
			q.batch.remove(k)
			unrefAll(e.submissions, nil)
		}
	}

	q.keptForSuccess = slices.DeleteFunc(q.keptForSuccess, func(e *entry) bool {
		unwanted := !q.state.stillWants(e)
		if unwanted {
			unrefAll(e.submissions, nil)
		}
		return unwanted
	})
}

// drop drops everything that waits.
func (s *routeState) drop() {
	s.unrefMovedOut()
	for q := range s.allQueues() {
		q.stop()
		for _, e := range slices.Concat(q.keptForSuccess, q.batch.take()) {
			unrefAll(e.submissions, ErrStopped)
		}
		q.keptForSuccess = nil
	}
}
