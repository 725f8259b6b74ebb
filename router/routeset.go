package router

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// A routeSet is all routes of a Router, checked to work together. It does not change, so it
// may be read without a lock.
type routeSet struct {
	all   []*checkedRoute // as they were given
	order []*checkedRoute // each after those that it waits for
}

// check compiles routes and resolves the names in After.
func (r *Router) check(routes []Route) (*routeSet, error) {
	set := new(routeSet)
	var given []*Route
	byName := make(map[string]*checkedRoute, len(routes))
	for _, route := range routes {
		c, err := route.check()
		if err != nil {
			return nil, err
		}
		if byName[route.Name] != nil {
			return nil, fmt.Errorf("route %q: there are two of this name: rename one", route.Name)
		}
		if route.IgnoreFiles {
			c.files = r.ignoreFiles.For
		}
		byName[route.Name] = c
		set.all = append(set.all, c)
		given = append(given, c.route)
	}

	for _, c := range set.all {
		for _, name := range c.route.After {
			first := byName[name]
			if first == nil {
				return nil, fmt.Errorf("route %q: after %q: there is no such route: there is %s", c.route.Name, name, quoted(names(set.all), ", "))
			}
			if !slices.Contains(c.after, first) {
				c.after = append(c.after, first)
			}
		}
	}

	order, cycle := sortRoutes(given)
	switch {
	case len(cycle) == 2:
		return nil, fmt.Errorf("route %q: it comes after itself: take it out of its After", cycle[0])
	case cycle != nil:
		return nil, fmt.Errorf("routes wait for each other: %s: take one out of the After of another", quoted(cycle, " after "))
	}
	for _, route := range order {
		set.order = append(set.order, byName[route.Name])
	}
	return set, nil
}

// mask returns what to subscribe to for a root.
func (set *routeSet) mask(root string) inotify.Mask {
	var m inotify.Mask
	for _, c := range set.all {
		if c.in(root) {
			m |= c.subscribed
		}
	}
	return m
}

// skipDir reports whether no route is for anything below a directory.
func (set *routeSet) skipDir(root, path string) bool {
	for _, c := range set.all {
		if c.in(root) && !c.skips(root, relative(path)) {
			return false
		}
	}
	return true
}

// watchesLike reports whether both sets need the same to be watched of a root.
func (set *routeSet) watchesLike(other *routeSet, root string) bool {
	return set == other || set.mask(root) == other.mask(root) && set.skipKey(root) == other.skipKey(root)
}

// skipKey returns what skipDir answers by, except for the ignore files below the root, of which
// events tell.
func (set *routeSet) skipKey(root string) string {
	var all []string
	for _, c := range set.all {
		if r := c.route; c.in(root) {
			outside := ""
			if c.files != nil {
				outside = c.files(root).Outside()
			}
			all = append(all, fmt.Sprintf("%q %q %q %q %t %t %s", r.Patterns, r.Ignore, r.Hidden, r.Outputs, r.IgnoreFiles, r.NotRecursive, outside))
		}
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), "\n")
}

// Cycle returns the names of routes each of which is after the next by After, the first
// once more at the end; nil if there are none. Only Name and After of the routes are read.
// Names in After that no route has are left out.
func Cycle(routes ...*Route) []string {
	_, cycle := sortRoutes(routes)
	return cycle
}

// sortRoutes returns the routes in an order in which each comes after those in its After, or
// else what Cycle does.
func sortRoutes(routes []*Route) (order []*Route, cycle []string) {
	byName := make(map[string]*Route, len(routes))
	for _, route := range routes {
		byName[route.Name] = route
	}

	// Depth first: a route that is met while it is on the trail is in a cycle.
	var (
		done  = make(map[string]bool) // false while the route is on the trail
		trail []string
		walk  func(route *Route) []string
	)
	walk = func(route *Route) []string {
		name := route.Name
		if isDone, seen := done[name]; isDone {
			return nil
		} else if seen {
			return append(trail[slices.Index(trail, name):], name)
		}

		done[name] = false
		trail = append(trail, name)
		for _, before := range route.After {
			if first := byName[before]; first != nil {
				if cycle := walk(first); cycle != nil {
					return cycle
				}
			}
		}
		trail = trail[:len(trail)-1]
		done[name] = true
		order = append(order, route)
		return nil
	}
	for _, route := range routes {
		if cycle := walk(route); cycle != nil {
			return nil, cycle
		}
	}
	return order, nil
}

func names(routes []*checkedRoute) []string {
	var all []string
	for _, c := range routes {
		all = append(all, c.route.Name)
	}
	return all
}

// quoted joins names for an error.
func quoted(names []string, between string) string {
	if len(names) == 0 {
		return "none"
	}
	var all []string
	for _, name := range names {
		all = append(all, strconv.Quote(name))
	}
	return strings.Join(all, between)
}

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
// is no more is dropped; a run of it goes on, and Run waits for it, as does the next run of a
// route of its name.
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

	before := make(map[*routeState]map[string]bool) // predecessors of those that remember failures
	for _, s := range r.states {
		if s.remembersFailures() {
			before[s] = s.predecessors()
		}
	}

	old := r.byName
	r.states, r.byName = nil, make(map[string]*routeState, len(set.all))
	for _, c := range set.order {
		name := c.route.Name
		s := cmp.Or(old[name], r.removed[name])
		if s == nil {
			s = newRouteState(r, c)
		} else {
			s.change(c)
		}
		r.states = append(r.states, s)
		r.byName[name] = s

		s.after, s.behind = nil, nil
		for _, first := range c.after {
			first := r.byName[first.route.Name]
			s.after = append(s.after, first)
			first.behind = append(first.behind, s)
		}
	}

	// What waits for a route that is no more is dropped. Its runs go on and mean nothing to
	// other routes, but if there is one of its name again it must not overlap them.
	maps.Copy(old, r.removed)
	maps.DeleteFunc(old, func(name string, s *routeState) bool { return r.byName[name] != nil })
	for _, s := range old {
		s.isRemoved = true
		s.after, s.behind = nil, nil
		s.drop()
	}
	r.removed = old
	maps.DeleteFunc(r.removed, func(_ string, s *routeState) bool { return s.running == 0 })

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
	r.resume(now)
	r.update(now)
	r.rewriteState()
	return slices.Collect(maps.Keys(r.groups)), nil
}

// change gives the state another route of the same name.
func (s *routeState) change(c *checkedRoute) {
	hasOtherPer := s.route.Per != c.route.Per
	s.checkedRoute, s.isRemoved = c, false
	old := slices.SortedFunc(s.allQueues(), func(x, y *queue) int { return x.times.first.Compare(y.times.first) })
	for _, q := range old {
		q.keptForNew = false
		q.dropUnwanted()
	}
	if !hasOtherPer {
		return
	}

	// What waits goes into other queues. What runs goes on, and is waited for.
	s.makeQueues()
	for _, q := range old {
		q.stop()
		q.delayed = false
		s.previous = append(s.previous, q)
		s.requeue(slices.Concat(q.keptForSuccess, q.batch.take()))
		q.keptForSuccess = nil
	}
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

// drop drops everything that waits, except what a later process is to have.
func (s *routeState) drop() {
	s.unrefMovedOut()
	for q := range s.allQueues() {
		q.stop()
		waiting := q.batch.take()
		for _, e := range slices.Concat(q.keptForSuccess, waiting) {
			unrefAll(e.submissions, ErrStopped)
			e.submissions = nil
		}
		if s.isSaved() && !s.isRemoved {
			q.restore(waiting)
		} else {
			q.keptForSuccess = nil
		}
	}
}
