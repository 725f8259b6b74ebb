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
	route *Route
	rules *rules
	heeds inotify.Mask    // what it wants, and what says whether a file is complete or gone
	after []*checkedRoute // the routes of After
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
			c.heeds = rs.want | gone | arrived | content
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
			m |= c.heeds
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
		g.watchFor(r)
	}
	return nil
}

// apply makes the set the routes of the Router, and returns the Groups that are to
// watch for it.
func (r *Router) apply(set *routeSet) ([]*Group, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase == after {
		return nil, ErrStopped
	}

	old, byName := r.byName, make(map[string]*stage, len(set.all))
	r.stages, r.order = nil, nil
	precedences := make(map[*stage]map[string]bool) // of those that remember failures
	for _, c := range set.all {
		s := old[c.route.Name]
		switch {
		case s == nil:
			s = newStage(r, c)
		case s.route.Per != c.route.Per:
			s = newStageFrom(s, c)
		default:
			if s.remembersFailures() {
				precedences[s] = s.precedence()
			}
			s.change(c)
		}
		r.stages = append(r.stages, s)
		byName[c.route.Name] = s
	}
	for name, s := range old {
		if byName[name] != s {
			s.retire()
		}
	}
	r.byName = byName
	for _, s := range r.stages {
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
		s.failures.keep(first)
		if !maps.Equal(before, first) {
			for l := range s.all() {
				l.bringBack(now) // what failed may not come first any more
			}
		}
	}
	r.routes.Store(set)
	r.touched = true // even if no lane is: places may be free, or nothing may come first any more
	r.turn(now)
	return slices.Collect(maps.Keys(r.groups)), nil
}

// change gives the stage another route of the same name and Per.
func (s *stage) change(c *checkedRoute) {
	s.checkedRoute = c
	for l := range s.all() {
		l.kept = false
		l.dropUnwanted()
	}
}

// newStageFrom returns the stage of a route that has another Per than the one of
// old. It gets what waits there. What runs there goes on, and is waited for.
func newStageFrom(old *stage, c *checkedRoute) *stage {
	s := newStage(old.router, c)
	s.held, s.freed = old.held, old.freed
	s.former = append(old.former, old)
	s.outputs = old.outputs
	s.outputs.stage = s
	s.loop.stopped = old.loop.stopped
	s.loop.refused.restore(old.loop.refused.take())
	for _, l := range slices.SortedFunc(old.all(), func(x, y *lane) int { return x.moments.first.Compare(y.moments.first) }) {
		s.adopt(slices.Concat(l.aside, l.batch.take()))
		l.aside = nil
	}
	return s
}

// retire is the end of a stage whose route is no more. What waits is dropped. Runs
// go on and mean nothing to other routes.
func (s *stage) retire() {
	s.retired = true
	s.after, s.behind = nil, nil
	s.drop()
}

// hasFormerRuns reports whether runs go on that began by another Per.
func (s *stage) hasFormerRuns() bool {
	s.former = slices.DeleteFunc(s.former, func(o *stage) bool { return o.running == 0 })
	return len(s.former) > 0
}

// adopt puts entries that waited elsewhere into the lanes of their paths, if
// the route is for them.
func (s *stage) adopt(entries []*entry) {
	slices.SortFunc(entries, func(x, y *entry) int { return cmp.Compare(x.seq, y.seq) })
	for _, e := range entries {
		if !s.stillWants(e) {
			release(e.tickets, nil)
			continue
		}
		k := keyOf(e.event)
		l := s.lane(k)
		l.renew()
		if e.firm && l.batch.empty() {
			l.skipDelay()
		}
		l.attribute(nil)
		x := *e
		x.seq = 0
		l.batch.put(k, x)
	}
}

// stillWants reports whether what waits by other rules is still for the route. That
// it has CloseWrite says that it was, whatever the mask is.
func (s *stage) stillWants(e *entry) bool {
	return e.firm || s.rules.wants(e.event) || e.event.Mask&inotify.CloseWrite != 0 && s.rules.isFor(e.event)
}

// dropUnwanted takes out what waits and the route does not want any more.
func (l *lane) dropUnwanted() {
	l.touch()
	for _, k := range slices.Collect(maps.Keys(l.batch.entries)) {
		if e := l.batch.entries[k]; !l.stage.stillWants(e) {
			l.batch.drop(k)
			release(e.tickets, nil)
		}
	}
	l.aside = slices.DeleteFunc(l.aside, func(e *entry) bool {
		unwanted := !l.stage.stillWants(e)
		if unwanted {
			release(e.tickets, nil)
		}
		return unwanted
	})
}

// drop drops all that waits.
func (s *stage) drop() {
	s.releaseLeft()
	for l := range s.all() {
		l.wait()
		for _, e := range slices.Concat(l.aside, l.batch.take()) {
			release(e.tickets, ErrStopped)
		}
		l.aside = nil
	}
}

// remembersFailures reports whether something depends on the failures of routes that
// come first.
func (s *stage) remembersFailures() bool {
	if len(s.failures.errs) > 0 {
		return true
	}
	for l := range s.all() {
		if len(l.aside) > 0 {
			return true
		}
	}
	return false
}

// precedence is the names of the routes that come before this one: those of After,
// and what comes before those.
func (s *stage) precedence() map[string]bool {
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

// keep forgets failures of routes that are not named.
func (f *failures) keep(names map[string]bool) {
	maps.DeleteFunc(f.errs, func(at spot, _ failure) bool { return at.retired || !names[at.route.Name] })
}
