package router

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

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
	skipping := func(set *routeSet) []string {
		var all []string
		for _, c := range set.all {
			if r := c.route; c.in(root) {
				all = append(all, fmt.Sprintf("%q %q %q %q %t %t", r.Patterns, r.Ignore, r.Hidden, r.Outputs, r.IgnoreFiles, r.NotRecursive))
			}
		}
		slices.Sort(all)
		return slices.Compact(all)
	}
	return set == other || set.mask(root) == other.mask(root) && slices.Equal(skipping(set), skipping(other))
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
