package router

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// A checkedRoute is a route with its defaults and its compiled patterns. It does
// not change.
type checkedRoute struct {
	route      *Route
	rules      *rules
	subscribed inotify.Mask    // what it wants, and what says whether a file is complete or gone
	after      []*checkedRoute // the routes of After
}

// A routeSet is all routes of a Router, checked to work together. It does not
// change, so it may be read without a lock.
type routeSet struct {
	all   []*checkedRoute // as they were given
	order []*checkedRoute // each after those that it waits for
}

// check compiles routes and resolves what they say of each other.
func (r *Router) check(routes []Route) (*routeSet, error) {
	set := new(routeSet)
	for _, route := range routes {
		route = route.withDefaults()
		rs, err := route.rules()
		if err != nil {
			return nil, err
		}
		if route.IgnoreFiles {
			rs.files = r.ignoreFiles.For
		}
		c := &checkedRoute{route: &route, rules: rs}
		if !rs.none {
			c.subscribed = rs.want | gone | arrived | content
		}
		set.all = append(set.all, c)
	}
	var err error
	set.order, err = link(set.all)
	return set, err
}

// mask is what to subscribe to for a root.
func (set *routeSet) mask(root string) inotify.Mask {
	var m inotify.Mask
	for _, c := range set.all {
		if c.rules.in(root) {
			m |= c.subscribed
		}
	}
	return m
}

// skipDir reports whether no route is for anything below a directory.
func (set *routeSet) skipDir(root, path string) bool {
	for _, c := range set.all {
		if c.rules.in(root) && !c.rules.skips(root, relative(path)) {
			return false
		}
	}
	return true
}

// watchesLike reports whether both sets watch the same of a root.
func (set *routeSet) watchesLike(other *routeSet, root string) bool {
	skipping := func(set *routeSet) []string {
		var all []string
		for _, c := range set.all {
			if r := c.route; c.rules.in(root) {
				all = append(all, fmt.Sprintf("%q %q %q %q %t %t", r.Patterns, r.Ignore, r.Hidden, r.Outputs, r.IgnoreFiles, r.NotRecursive))
			}
		}
		slices.Sort(all)
		return slices.Compact(all)
	}
	return set == other || set.mask(root) == other.mask(root) && slices.Equal(skipping(set), skipping(other))
}

// SetRoutes replaces the routes, all of them or, with an error, none. It may be
// called before Run and during it; after it the error is ErrStopped. The Groups
// that bring events to the Router watch what the new routes ask for when
// SetRoutes returns; what they cannot watch, their Options.Problem is told.
//
// A route that was there before, by its name, goes on. What waits for it stays, by
// the new rules, unless it is not for the route any more. A run that is under way
// goes on with the callback that it began with, and the next does not overlap it; if
// it returns ErrRestarted, the next run has its events. With the same Per, the
// failures of routes that come first are not forgotten, nor the generation of a
// loop. What waits for a route that is no more is dropped; a run of it goes on, and
// Run waits for it.
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

// apply makes the set the routes of the Router, and returns the Groups that are to
// watch for it.
func (r *Router) apply(set *routeSet) ([]*Group, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase == stopped {
		return nil, ErrStopped
	}

	old, byName := r.byName, make(map[string]*routeState, len(set.all))
	r.states, r.order = nil, nil
	precedences := make(map[*routeState]map[string]bool) // of those that remember failures
	for _, c := range set.all {
		s := old[c.route.Name]
		switch {
		case s == nil:
			s = newRouteState(r, c)
		case s.route.Per != c.route.Per:
			s = newRouteStateFrom(s, c)
		default:
			if s.remembersFailures() {
				precedences[s] = s.precedence()
			}
			s.change(c)
		}
		r.states = append(r.states, s)
		byName[c.route.Name] = s
	}
	for name, s := range old {
		if byName[name] != s {
			s.retire()
		}
	}
	r.byName = byName
	for _, s := range r.states {
		s.after, s.behind = nil, nil
	}
	for _, c := range set.order {
		s := byName[c.route.Name]
		r.order = append(r.order, s)
		for _, first := range c.after {
			a := byName[first.route.Name]
			s.after = append(s.after, a)
			a.behind = append(a.behind, s)
		}
	}

	now := time.Now()
	for s, before := range precedences {
		first := s.precedence()
		s.failures.keepOnly(first)
		if !maps.Equal(before, first) {
			for q := range s.allQueues() {
				q.restoreKept(now) // what failed may not come first any more
			}
		}
	}
	r.routes.Store(set)
	r.dirty = true // even if no lane is: places may be free, or nothing may come first any more
	r.update(now)
	return slices.Collect(maps.Keys(r.groups)), nil
}

// change gives the stage another route of the same name and Per.
func (s *routeState) change(c *checkedRoute) {
	s.checkedRoute = c
	for q := range s.allQueues() {
		q.keptForNew = false
		q.dropUnwanted()
	}
}

// newRouteStateFrom returns the stage of a route that has another Per than the one of
// old. It gets what waits there. What runs there goes on, and is waited for.
func newRouteStateFrom(old *routeState, c *checkedRoute) *routeState {
	s := newRouteState(old.router, c)
	s.held, s.unblocked = old.held, old.unblocked
	s.previous = append(old.previous, old)
	s.outputs = old.outputs
	s.outputs.state = s
	s.loop.stopped = old.loop.stopped
	s.loop.refused.restore(old.loop.refused.take())
	for _, q := range slices.SortedFunc(old.allQueues(), func(x, y *queue) int { return x.times.first.Compare(y.times.first) }) {
		s.adopt(slices.Concat(q.keptForSuccess, q.batch.take()))
		q.keptForSuccess = nil
	}
	return s
}

// retire is the end of a stage whose route is no more. What waits is dropped. Runs
// go on and mean nothing to other routes.
func (s *routeState) retire() {
	s.retired = true
	s.after, s.behind = nil, nil
	s.drop()
}

// hasPreviousRuns reports whether runs go on that began by another Per.
func (s *routeState) hasPreviousRuns() bool {
	s.previous = slices.DeleteFunc(s.previous, func(o *routeState) bool { return o.running == 0 })
	return len(s.previous) > 0
}

// adopt puts entries that waited elsewhere into the lanes of their paths, if
// the route is for them.
func (s *routeState) adopt(entries []*entry) {
	slices.SortFunc(entries, func(x, y *entry) int { return cmp.Compare(x.seq, y.seq) })
	for _, e := range entries {
		if !s.stillWants(e) {
			unrefAll(e.submissions, nil)
			continue
		}
		k := keyOf(e.event)
		q := s.makeQueue(k)
		q.noteNew()
		if e.pinned && q.batch.empty() {
			q.skipDelay()
		}
		q.attribute(nil)
		x := *e
		x.seq = 0
		q.batch.merge(k, x)
	}
}

// stillWants reports whether what waits by other rules is still for the route. That
// it has CloseWrite says that it was, whatever the mask is.
func (s *routeState) stillWants(e *entry) bool {
	return e.pinned || s.rules.wants(e.event) || e.event.Mask&inotify.CloseWrite != 0 && s.rules.isFor(e.event)
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

// drop drops all that waits.
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

// remembersFailures reports whether something depends on the failures of routes that
// come first.
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

// precedence is the names of the routes that come before this one: those of After,
// and what comes before those.
func (s *routeState) precedence() map[string]bool {
	names := make(map[string]bool)
	for todo := s.after; len(todo) > 0; {
		a := todo[0]
		todo = todo[1:]
		if !names[a.route.Name] {
			names[a.route.Name] = true
			todo = append(slices.Clip(todo), a.after...)
		}
	}
	return names
}
