package router

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// link finds the stages that After names, and the order in which all have
// their turn.
func (r *Router) link() error {
	byName := make(map[string]*stage)
	for _, s := range r.stages {
		if byName[s.route.Name] != nil {
			return fmt.Errorf("route %q: there are two of this name: rename one", s.route.Name)
		}
		byName[s.route.Name] = s
	}
	for _, s := range r.stages {
		for _, name := range s.route.After {
			a := byName[name]
			if a == nil {
				return fmt.Errorf("route %q: after %q: there is no such route: there is %s", s.route.Name, name, r.names())
			}
			if !slices.Contains(s.after, a) {
				s.after = append(s.after, a)
				a.behind = append(a.behind, s)
			}
		}
	}
	var routes []Route
	for _, s := range r.stages {
		routes = append(routes, s.route)
	}
	if cycle := Cycle(routes...); cycle != nil {
		return cycleError(cycle)
	}
	for _, s := range r.stages {
		r.place(s)
	}
	return nil
}

// place puts s into the order, behind all that comes before it.
func (r *Router) place(s *stage) {
	if slices.Contains(r.order, s) {
		return
	}
	for _, a := range s.after {
		r.place(a)
		s.above = union(union(s.above, a.above), []*stage{a})
	}
	r.order = append(r.order, s)
}

// Cycle returns the names of routes each of which is after the next by After, the
// first once more at the end; nil if there are none. Of the routes only Name and
// After count, and names in After that are no route's do not.
func Cycle(routes ...Route) []string {
	byName := make(map[string]Route, len(routes))
	for _, route := range routes {
		byName[route.Name] = route
	}

	var (
		done  = make(map[string]bool) // false while the route is in the trail
		trail []string
		walk  func(name string) []string
	)
	walk = func(name string) []string {
		if isDone, seen := done[name]; isDone {
			return nil
		} else if seen {
			return append(trail[slices.Index(trail, name):], name)
		}
		done[name] = false
		trail = append(trail, name)
		for _, before := range byName[name].After {
			if cycle := walk(before); cycle != nil {
				return cycle
			}
		}
		trail = trail[:len(trail)-1]
		done[name] = true
		return nil
	}
	for _, route := range routes {
		if cycle := walk(route.Name); cycle != nil {
			return cycle
		}
	}
	return nil
}

// cycleError is the error of routes that wait for each other.
func cycleError(cycle []string) error {
	if len(cycle) == 2 {
		return fmt.Errorf("route %q: it comes after itself: take it out of its After", cycle[0])
	}
	var names []string
	for _, name := range cycle {
		names = append(names, strconv.Quote(name))
	}
	return fmt.Errorf("routes wait for each other: %s: take one out of the After of another", strings.Join(names, " after "))
}

// union appends to all what is not in it yet. Each list has nothing twice.
func union(all, more []*stage) []*stage {
	switch {
	case len(all) == 0:
		return slices.Clone(more)
	case len(more) == 1 && !slices.Contains(all, more[0]):
		return append(all, more[0])
	case len(more) <= 1:
		return all
	}
	in := make(map[*stage]bool, len(all))
	for _, s := range all {
		in[s] = true
	}
	for _, s := range more {
		if !in[s] {
			all = append(all, s)
		}
	}
	return all
}

// names is the names of all routes, for errors.
func (r *Router) names() string {
	if len(r.stages) == 0 {
		return "none"
	}
	return quoted(r.stages, ", ")
}

func quoted(stages []*stage, between string) string {
	var names []string
	for _, s := range stages {
		names = append(names, fmt.Sprintf("%q", s.route.Name))
	}
	return strings.Join(names, between)
}
