package router

import (
	"fmt"
	"slices"
	"strings"
)

// covers reports whether the segment matches every name that other matches, as
// far as that can be told from their texts. Neither is anyDepth.
func (s segment) covers(other segment) bool {
	if s == other {
		return true
	}
	// What each name begins and ends with that other matches.
	var start, end string
	switch other.kind {
	case literal:
		return s.matches(other.text)
	case prefix:
		start = other.text
	case suffix:
		end = other.text
	case wild:
		start = other.text[:strings.IndexAny(other.text, special)]
		if last := strings.LastIndexAny(other.text, special); other.text[last] != '\\' {
			end = other.text[last+1:]
		}
	case anyDepth:
		return false
	}
	switch s.kind {
	case prefix:
		return strings.HasPrefix(start, s.text)
	case suffix:
		return strings.HasSuffix(end, s.text)
	}
	return false
}

// covers reports whether the glob matches every path that other matches, as far
// as that can be told from their segments.
func (g glob) covers(other glob) bool {
	switch {
	case len(g) == 0:
		return len(other) == 0
	case g[0].kind == anyDepth:
		return g[1:].covers(other) || len(other) > 0 && g.covers(other[1:])
	case len(other) == 0 || other[0].kind == anyDepth:
		return false
	}
	return g[0].covers(other[0]) && g[1:].covers(other[1:])
}

// depths counts the segments that match any number of names.
func (g glob) depths() (n int) {
	for _, s := range g {
		if s.kind == anyDepth {
			n++
		}
	}
	return n
}

// A Conflict is a pattern of a Route that lets nothing in, because of another that
// keeps all of it out.
type Conflict struct {
	Pattern string // in Patterns
	By      string // in Ignore or Outputs
}

// Conflicts returns the patterns of a route that lets nothing in, as far as that
// can be told without looking at files and at little cost. Patterns that do not
// compile count for nothing.
func (r Route) Conflicts() []Conflict {
	const most = 1 << 16 // pairs that are compared
	keepOut := slices.Concat(r.Ignore, r.Outputs)
	if len(r.Patterns)*len(keepOut) > most {
		return nil
	}
	ignored := make([][]glob, len(keepOut))
	for i, p := range keepOut {
		ignored[i], _ = compile(p)
	}
	var conflicts []Conflict
	for _, p := range r.Patterns {
		letIn, err := compile(p)
		if err != nil {
			continue
		}
		if i := slices.IndexFunc(ignored, func(k []glob) bool { return coverAll(k, letIn) }); i >= 0 {
			conflicts = append(conflicts, Conflict{p, keepOut[i]})
		}
	}
	return conflicts
}

// coverAll reports whether what is ignored is all that is let in.
func coverAll(ignored, letIn []glob) bool {
	const most = 6 // directories at any depth in a pattern: each doubles the ways to look at
	return !slices.ContainsFunc(letIn, func(g glob) bool {
		return !slices.ContainsFunc(ignored, func(k glob) bool {
			return k.depths() <= most && append(k, segment{kind: anyDepth}).covers(g)
		})
	})
}

// hide compiles the patterns of Hidden. Unless a pattern of the route spells out
// what one of them matches, they are like those of Ignore.
func (r *rules) hide(route Route) error {
	globs, err := route.globs("hidden name", route.Hidden)
	if err != nil {
		return err
	}
	var names []segment
	for i, g := range globs {
		if len(g) != 2 || g[0].kind != anyDepth || g[1].kind == anyDepth {
			return fmt.Errorf("route %q: hidden names %q: one is a path, not a name: put it into Ignore", route.Name, route.Hidden)
		}
		globs[i] = append(g, segment{kind: anyDepth})
		names = append(names, g[1])
	}
	if slices.ContainsFunc(r.patterns, func(g glob) bool { return g.spellsOut(names) }) {
		r.hidden = names
	} else {
		r.ignore = append(r.ignore, globs...)
	}
	return nil
}

// spellsOut reports whether a segment of the glob matches nothing but names that
// one of those hides.
func (g glob) spellsOut(hidden []segment) bool {
	return slices.ContainsFunc(g, func(s segment) bool {
		return slices.ContainsFunc(hidden, func(h segment) bool { return h.covers(s) })
	})
}

// shows reports whether the glob spells out each name of the path that is hidden.
func (g glob) shows(path string, hidden []segment) bool {
	if path == "" || len(hidden) == 0 {
		return true
	}
	for name := range strings.SplitSeq(path, "/") {
		for _, h := range hidden {
			if h.matches(name) && !slices.ContainsFunc(g, func(s segment) bool { return h.covers(s) && s.matches(name) }) {
				return false
			}
		}
	}
	return true
}
