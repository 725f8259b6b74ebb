// Package glob compiles and matches the patterns of routes. Paths are relative to
// a root and written with slashes; the empty path is the root.
//
// The syntax is that of github.com/bmatcuk/doublestar with two additions. A
// pattern without a slash matches a name at any depth, and a slash at the end
// matches a directory with everything below it.
package glob

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// maxAlternatives bounds how many globs the braces of one pattern expand to: it is
// enough for any list of file types, and no pattern can use up the memory.
const maxAlternatives = 1024

// special are the characters that have a meaning in a pattern.
const special = `*?[]{}\`

var escapeOrStars = regexp.MustCompile(`(?s)\\.|\*+`)

// A Glob is a pattern without braces, split at its slashes.
type Glob []Segment

// A Segment is the part of a pattern between two slashes. It matches one name, or
// if it is AnyDepth any number of names.
type Segment struct {
	kind kind
	text string
}

type kind uint8

const (
	literal  kind = iota // the name is text
	prefix               // the name starts with text
	suffix               // the name ends with text
	wildcard             // text is a pattern for doublestar
	anyDepth             // any number of names, also none
)

var (
	AnyDepth = Segment{kind: anyDepth} // the segment **
	AnyName  = Segment{kind: suffix}   // the segment *
)

// Compile compiles a pattern into one Glob for each combination of the
// alternatives in its braces. They are expanded here because matching braces
// allocates. The error says what to do about it.
func Compile(pattern string) ([]Glob, error) {
	switch {
	case pattern == "":
		return nil, errors.New("it is empty: write ** for everything")
	case pattern[0] == '!':
		return nil, errors.New(`nothing is negated here: name it in the other list, or write \! for a name that starts so`)
	case !doublestar.ValidatePattern(pattern):
		return nil, errors.New(`it is no glob: close each [ and {, or write \ before one that is meant as it is`)
	}

	alternatives := expand(nil, pattern)
	if len(alternatives) > maxAlternatives {
		return nil, fmt.Errorf("its braces make more than %d patterns: use fewer, or several patterns", maxAlternatives)
	}

	var globs []Glob
	for _, alternative := range alternatives {
		g, err := split(alternative)
		if err != nil {
			return nil, err
		}
		globs = append(globs, g)
	}
	return globs, nil
}

// expand appends the patterns that the braces of a valid pattern stand for. It
// stops one beyond maxAlternatives.
func expand(all []string, pattern string) []string {
	start := indexOutside(pattern, "{")
	if start < 0 {
		return append(all, pattern)
	}
	before, rest := pattern[:start], pattern[start+1:]
	end := indexOutside(rest, "}")
	inside, after := rest[:end], rest[end+1:]

	for more := true; more && len(all) <= maxAlternatives; {
		part := inside
		comma := indexOutside(inside, ",")
		if more = comma >= 0; more {
			part, inside = inside[:comma], inside[comma+1:]
		}
		all = expand(all, before+part+after)
	}
	return all
}

// indexOutside returns the index of the first byte of pattern that is one of chars
// and is neither escaped, nor in a class, nor in braces that open before it. It
// returns -1 if there is none.
func indexOutside(pattern, chars string) int {
	depth := 0
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		if depth == 0 && strings.IndexByte(chars, c) >= 0 {
			return i
		}

		switch c {
		case '\\':
			i++
		case '[':
			i = classEnd(pattern, i)
		case '{':
			depth++
		case '}':
			depth--
		}
	}
	return -1
}

// classEnd returns the index of the ] that ends the class that opens at start.
func classEnd(pattern string, start int) int {
	for i := start + 1; i < len(pattern); i++ {
		switch pattern[i] {
		case '\\':
			i++
		case ']':
			return i
		}
	}
	return len(pattern)
}

// split splits a pattern without braces at its slashes.
func split(pattern string) (Glob, error) {
	body, below := strings.CutSuffix(pattern, "/")
	body, dotted := strings.CutPrefix(body, "./")
	body, rooted := strings.CutPrefix(body, "/")

	var g Glob
	if !dotted && !rooted && !strings.Contains(body, "/") {
		g = append(g, AnyDepth)
	}
	for part := range strings.SplitSeq(body, "/") {
		s, err := CompileSegment(part)
		if err != nil {
			return nil, err
		}
		g = append(g, s)
	}
	if below {
		g = append(g, AnyDepth)
	}
	return g, nil
}

// CompileSegment compiles the part of a pattern between two slashes, which has no
// braces, into the kind of segment that is cheapest to match.
func CompileSegment(part string) (Segment, error) {
	switch part {
	case "":
		return Segment{}, errors.New("there is no name before, after or between its slashes: write one")
	case ".", "..":
		return Segment{}, fmt.Errorf("%q is in no path: write the pattern relative to the root", part)
	case "**":
		return AnyDepth, nil
	}
	if !doublestar.ValidatePattern(part) {
		return Segment{}, errors.New("a class or an escape holds a slash: names have none, cut the pattern there")
	}
	// Neighbouring stars mean the same as one, but doublestar says that a*** does
	// not match a.
	part = escapeOrStars.ReplaceAllStringFunc(part, func(s string) string {
		if s[0] == '*' {
			return "*"
		}
		return s
	})

	switch i := strings.IndexAny(part, special); {
	case i < 0:
		return Segment{literal, part}, nil
	case part[i] == '*' && i == len(part)-1 && i > 0:
		return Segment{prefix, part[:i]}, nil
	case part[i] == '*' && i == 0 && !strings.ContainsAny(part[1:], special):
		return Segment{suffix, part[1:]}, nil
	}
	return Segment{wildcard, part}, nil
}

// Below returns a Glob that matches what g matches and everything below that.
func (g Glob) Below() Glob { return append(slices.Clip(g), AnyDepth) }

// IsAnyDepth reports whether the segment matches any number of names.
func (s Segment) IsAnyDepth() bool { return s.kind == anyDepth }

// Match reports whether the segment, which is not AnyDepth, matches a name.
func (s Segment) Match(name string) bool {
	switch s.kind {
	case literal:
		return name == s.text
	case prefix:
		return strings.HasPrefix(name, s.text)
	case suffix:
		return strings.HasSuffix(name, s.text)
	}
	return doublestar.MatchUnvalidated(s.text, name)
}

// Match reports whether the glob matches the whole path.
func (g Glob) Match(path string) bool {
	// After a mismatch the last ** takes one more name and the rest is tried again.
	// Earlier ones need no such retry: the last can take whatever they could.
	rest, at := path, 0
	retryAt, retryRest := -1, ""
	for {
		switch {
		case at < len(g) && g[at].kind == anyDepth:
			at++
			if at == len(g) {
				return true
			}
			retryAt, retryRest = at, rest
			continue
		case rest == "":
			return at == len(g)
		case at < len(g):
			if name, tail, _ := strings.Cut(rest, "/"); g[at].Match(name) {
				rest, at = tail, at+1
				continue
			}
		}

		if retryAt < 0 {
			return false
		}
		_, retryRest, _ = strings.Cut(retryRest, "/")
		rest, at = retryRest, retryAt
	}
}

// MatchAny reports whether one of the globs matches the path.
func MatchAny(globs []Glob, path string) bool {
	return slices.ContainsFunc(globs, func(g Glob) bool { return g.Match(path) })
}

// CanMatchBelow reports whether the glob can match a path below the directory.
func (g Glob) CanMatchBelow(dir string) bool {
	for _, s := range g {
		if s.kind == anyDepth || dir == "" {
			return true
		}
		name, rest, _ := strings.Cut(dir, "/")
		if !s.Match(name) {
			return false
		}
		dir = rest
	}
	return false
}
