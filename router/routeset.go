package router

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/execlog/execlogd/inotify"
)

// A checkedRoute is a route with its defaults and its compiled patterns. It does not
// change.
type checkedRoute struct {
	route      *Route
	rules      *rules
	subscribed inotify.Mask    // what it wants, and what says whether a file is complete or gone
	after      []*checkedRoute // the routes in After
}

// A routeSet is all routes of a Router, checked to work together. It does not change, so it
// may be read without a lock.
type routeSet struct {
	all   []*checkedRoute // as they were given
	order []*checkedRoute // each after those that it waits for
}

// check compiles routes and resolves the names in After.
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

// mask returns what to subscribe to for a root.
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

// watchesLike reports whether both sets need the same to be watched of a root.
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

// link resolves the names in After, and returns the routes in an order in which each comes
// after those that it waits for.
func link(routes []*checkedRoute) (order []*checkedRoute, err error) {
	byName := make(map[string]*checkedRoute, len(routes))
	for _, c := range routes {
		if byName[c.route.Name] != nil {
			return nil, fmt.Errorf("route %q: there are two of this name: rename one", c.route.Name)
		}
		byName[c.route.Name] = c
	}

	var plain []*Route
	for _, c := range routes {
		for _, name := range c.route.After {
			first := byName[name]
			if first == nil {
				return nil, fmt.Errorf("route %q: after %q: there is no such route: there is %s", c.route.Name, name, quoted(names(routes), ", "))
			}
			if !slices.Contains(c.after, first) {
				c.after = append(c.after, first)
			}
		}
		plain = append(plain, c.route)
	}
	if cycle := Cycle(plain...); cycle != nil {
		return nil, cycleError(cycle)
	}

	placed := make(map[*checkedRoute]bool, len(routes))
	var place func(c *checkedRoute)
	place = func(c *checkedRoute) {
		if placed[c] {
			return
		}
		placed[c] = true
		for _, first := range c.after {
			place(first)
		}
		order = append(order, c)
	}
	for _, c := range routes {
		place(c)
	}
	return order, nil
}

// Cycle returns the names of routes each of which is after the next by After, the first
// once more at the end; nil if there are none. Only Name and After of the routes are read.
// Names in After that no route has are left out.
func Cycle(routes ...*Route) []string {
	after := make(map[string][]string, len(routes))
	for _, route := range routes {
		after[route.Name] = route.After
	}

	// Depth first: a route that is met while it is on the trail is in a cycle.
	var (
		done  = make(map[string]bool) // false while the route is on the trail
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
		for _, before := range after[name] {
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

// cycleError returns the error for routes that wait for each other.
func cycleError(cycle []string) error {
	if len(cycle) == 2 {
		return fmt.Errorf("route %q: it comes after itself: take it out of its After", cycle[0])
	}
	return fmt.Errorf("routes wait for each other: %s: take one out of the After of another", quoted(cycle, " after "))
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
