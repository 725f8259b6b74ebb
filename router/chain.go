package router

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// link resolves the names in After, and returns the routes in an order in which
// each comes after those that it waits for.
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

// Cycle returns the names of routes each of which is after the next by After, the
// first once more at the end; nil if there are none. Of the routes only Name and
// After count, and names in After that are no route's do not.
func Cycle(routes ...*Route) []string {
	after := make(map[string][]string, len(routes))
	for _, route := range routes {
		after[route.Name] = route.After
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

// cycleError is the error of routes that wait for each other.
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
		b.failures.add(q, err)
		if b.route.OnFailure != Continue {
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

func (f *failures) add(q *queue, err error) {
	if f.errs == nil {
		f.errs = make(map[queueID]failure)
	}
	f.seq++
	f.errs[queueID{q.state, q.key}] = failure{err, f.seq}
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

// keepOnly forgets the failures of routes that are not named.
func (f *failures) keepOnly(names map[string]bool) {
	maps.DeleteFunc(f.errs, func(id queueID, _ failure) bool { return id.retired || !names[id.route.Name] })
}
