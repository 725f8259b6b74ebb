package router

import (
	"errors"
	"fmt"
	"slices"
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
	for _, s := range r.stages {
		if err := r.place(s, nil); err != nil {
			return err
		}
	}
	return nil
}

// place puts s into the order, behind all that comes before it. The trail is
// of the stages that wait for it.
func (r *Router) place(s *stage, trail []*stage) error {
	if slices.Contains(r.order, s) {
		return nil
	}
	if i := slices.Index(trail, s); i >= 0 {
		return circle(append(trail[i:], s))
	}
	for _, a := range s.after {
		if err := r.place(a, append(trail, s)); err != nil {
			return err
		}
		s.above = union(union(s.above, a.above), []*stage{a})
	}
	r.order = append(r.order, s)
	return nil
}

// circle is the error of stages that wait for each other.
func circle(trail []*stage) error {
	if len(trail) == 2 {
		return fmt.Errorf("route %q: it comes after itself: take it out of its After", trail[0].route.Name)
	}
	return errors.New("routes wait for each other: " + quoted(trail, " after ") + ": take one out of the After of another")
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
