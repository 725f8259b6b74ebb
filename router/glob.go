package router

import (
	"errors"
	"fmt"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// maxAlternatives bounds what the braces of one pattern multiply to: enough
// for any list of file types, and no pattern can eat the memory.
const maxAlternatives = 1024

// A glob is a pattern without braces, cut at its slashes.
type glob []segment

// A segment matches one name of a path, or any number of them.
type segment struct {
	kind kind
	text string
}

type kind uint8

const (
	literal  kind = iota // the name is text
	prefix               // the name starts with text
	suffix               // the name ends with text
	wild                 // text is a pattern for doublestar
	anyDepth             // any number of names, also none
)

// CheckPattern says what is wrong with a pattern of a route, and what to do
// about it.
func CheckPattern(pattern string) error {
	_, err := compile(pattern)
	return err
}

// special is what has a meaning in a pattern.
const special = `*?[]{}\`

// compile reads a pattern. Braces are expanded here because matching them
// allocates.
func compile(pattern string) ([]glob, error) {
	switch {
	case pattern == "":
		return nil, errors.New("it is empty: write ** for everything")
	case pattern[0] == '!':
		return nil, errors.New(`nothing is negated here: name it in the other list, or write \! for a name that starts so`)
	case !doublestar.ValidatePattern(pattern):
		return nil, errors.New(`it is no glob: close each [ and {, or write \ before one that is meant as it is`)
	}
	var globs []glob
	alternatives := expand(nil, pattern)
	if len(alternatives) > maxAlternatives {
		return nil, fmt.Errorf("its braces make more than %d patterns: use fewer, or several patterns", maxAlternatives)
	}
	for _, alternative := range alternatives {
		g, err := parse(alternative)
		if err != nil {
			return nil, err
		}
		globs = append(globs, g)
	}
	return globs, nil
}

// expand appends what the braces of a valid pattern stand for, and stops one
// beyond maxAlternatives.
func expand(all []string, pattern string) []string {
	start := find(pattern, "{")
	if start < 0 {
		return append(all, pattern)
	}
	before, rest := pattern[:start], pattern[start+1:]
	end := find(rest, "}")
	inside, after := rest[:end], rest[end+1:]
	for more := true; more && len(all) <= maxAlternatives; {
		part := inside
		comma := find(inside, ",")
		if more = comma >= 0; more {
			part, inside = inside[:comma], inside[comma+1:]
		}
		all = expand(all, before+part+after)
	}
	return all
}

// find is the index of the first byte of pattern that is one of chars and
// neither escaped nor in a class nor in braces that open before it; -1 if
// there is none.
func find(pattern, chars string) int {
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

// classEnd is the index of the ] that ends the class that opens at start.
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

// parse cuts a pattern without braces at its slashes.
func parse(pattern string) (glob, error) {
	body, below := strings.CutSuffix(pattern, "/")
	body, dotted := strings.CutPrefix(body, "./")
	body, slashed := strings.CutPrefix(body, "/")
	var g glob
	if !dotted && !slashed && !strings.Contains(body, "/") {
		g = append(g, segment{kind: anyDepth})
	}
	for part := range strings.SplitSeq(body, "/") {
		s, err := parseSegment(part)
		if err != nil {
			return nil, err
		}
		g = append(g, s)
	}
	if below {
		g = append(g, segment{kind: anyDepth})
	}
	return g, nil
}

// parseSegment chooses the cheapest way to match one name.
func parseSegment(part string) (segment, error) {
	switch part {
	case "":
		return segment{}, errors.New("there is no name before, after or between its slashes: write one")
	case ".", "..":
		return segment{}, fmt.Errorf("%q is in no path: write the pattern relative to the root", part)
	case "**":
		return segment{kind: anyDepth}, nil
	}
	if !doublestar.ValidatePattern(part) {
		return segment{}, errors.New("a class or an escape holds a slash: names have none, cut the pattern there")
	}
	if end, ok := strings.CutPrefix(part, "*"); ok && !strings.ContainsAny(end, special) {
		return segment{suffix, end}, nil
	}
	if start, ok := strings.CutSuffix(part, "*"); ok && !strings.ContainsAny(start, special) {
		return segment{prefix, start}, nil
	}
	if !strings.ContainsAny(part, special) {
		return segment{literal, part}, nil
	}
	return segment{wild, part}, nil
}

// matches reports whether the segment, which is not anyDepth, matches a name.
func (s segment) matches(name string) bool {
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

// matches reports whether the glob matches the whole path; the empty path is
// the root.
func (g glob) matches(path string) bool {
	// Only the last ** met has to be tried again: whatever an earlier one
	// could take, the last can take too.
	rest, at := path, 0
	again, restAgain := -1, ""
	for {
		switch {
		case at < len(g) && g[at].kind == anyDepth:
			at++
			if at == len(g) {
				return true
			}
			again, restAgain = at, rest
			continue
		case rest == "":
			return at == len(g)
		case at < len(g):
			if name, tail, _ := strings.Cut(rest, "/"); g[at].matches(name) {
				rest, at = tail, at+1
				continue
			}
		}
		if again < 0 {
			return false
		}
		_, restAgain, _ = strings.Cut(restAgain, "/")
		rest, at = restAgain, again
	}
}

// reaches reports whether the glob can match something below the directory.
func (g glob) reaches(dir string) bool {
	for _, s := range g {
		if s.kind == anyDepth || dir == "" {
			return true
		}
		name, rest, _ := strings.Cut(dir, "/")
		if !s.matches(name) {
			return false
		}
		dir = rest
	}
	return false
}
