package glob

import (
	"slices"
	"strings"
)

// maxDepths bounds the ** segments of a glob that is compared with others: each
// doubles the ways to compare.
const maxDepths = 6

// CoverAll reports whether each path that one of the inner globs matches is matched
// by one of the outer globs, or is below such a path, as far as that can be told
// from the patterns.
func CoverAll(outer, inner []Glob) bool {
	return !slices.ContainsFunc(inner, func(in Glob) bool {
		return !slices.ContainsFunc(outer, func(out Glob) bool {
			return out.depths() <= maxDepths && out.Below().covers(in)
		})
	})
}

// depths counts the ** segments.
func (g Glob) depths() (n int) {
	for _, s := range g {
		if s.kind == anyDepth {
			n++
		}
	}
	return n
}

// covers reports whether the glob matches every path that other matches, as far as
// that can be told from their segments.
func (g Glob) covers(other Glob) bool {
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

// covers reports whether the segment matches every name that other matches, as far
// as that can be told from their texts. s is not AnyDepth.
func (s Segment) covers(other Segment) bool {
	if s == other {
		return true
	}

	// How each name that other matches begins and ends.
	var start, end string
	switch other.kind {
	case literal:
		return s.Match(other.text)
	case prefix:
		start = other.text
	case suffix:
		end = other.text
	case wildcard:
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

// Name returns the segment of a glob that matches a single name at any depth. It is
// not ok for any other glob.
func (g Glob) Name() (name Segment, ok bool) {
	if len(g) != 2 || g[0].kind != anyDepth || g[1].kind == anyDepth {
		return Segment{}, false
	}
	return g[1], true
}

// SpellsOut reports whether a segment of the glob matches only names that one of the
// hidden segments matches, so that the glob is meant for hidden names.
func (g Glob) SpellsOut(hidden []Segment) bool {
	return slices.ContainsFunc(g, func(s Segment) bool {
		return slices.ContainsFunc(hidden, func(h Segment) bool { return h.covers(s) })
	})
}

// Shows reports whether the glob spells out each name of the path that one of the
// hidden segments matches.
func (g Glob) Shows(path string, hidden []Segment) bool {
	if path == "" || len(hidden) == 0 {
		return true
	}

	for name := range strings.SplitSeq(path, "/") {
		for _, h := range hidden {
			if h.Match(name) && !slices.ContainsFunc(g, func(s Segment) bool { return h.covers(s) && s.Match(name) }) {
				return false
			}
		}
	}
	return true
}
