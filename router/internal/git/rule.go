package git

import (
	"bytes"
	"path"
	"slices"
	"strings"

	"github.com/execlog/execlogd/router/internal/glob"
)

// A Line is a line of an ignore file.
type Line struct {
	File   string // absolute
	Number int    // from 1 on
	Text   string
}

// A rule is a line of an ignore file, in the syntax of gitignore(5).
type rule struct {
	Line
	glob    glob.Glob // relative to the file's directory
	base    bool      // the pattern has no slash and is for the last name of a path
	negated bool
	dirOnly bool
}

// ignores reports whether the rule, which may be nil for none, has its paths ignored.
func (r *rule) ignores() bool { return r != nil && !r.negated }

// parse reads the rules of the ignore file of a path. It leaves out lines that can match
// nothing.
func parse(path string, text []byte) (rules []rule) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))

	n := 0
	for line := range bytes.Lines(text) {
		n++
		line = bytes.TrimSuffix(line, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if r, ok := parseLine(string(line)); ok {
			r.File, r.Number = path, n
			rules = append(rules, r)
		}
	}
	return rules
}

func parseLine(line string) (r rule, ok bool) {
	if strings.HasPrefix(line, "#") {
		return r, false
	}
	pattern := trimSpaces(line)
	r.Text = pattern
	pattern, r.negated = strings.CutPrefix(pattern, "!")
	pattern, r.dirOnly = strings.CutSuffix(pattern, "/")
	if pattern == "" {
		return r, false
	}
	r.base = !strings.Contains(pattern, "/")

	parts := strings.Split(strings.TrimPrefix(pattern, "/"), "/")
	for i, part := range parts {
		if i < len(parts)-1 && (len(part)-len(strings.TrimRight(part, `\`)))%2 == 1 {
			part = part[:len(part)-1] // a backslash before a slash changes nothing
		}
		s, ok := parseSegment(part, len(parts) > 1 || pattern[0] == '/')
		if !ok {
			return r, false
		}
		r.glob = append(r.glob, s)
		if s.IsAnyDepth() && i == len(parts)-1 {
			r.glob = append(r.glob, glob.AnyName) // a/** is what is in a, without a itself
		}
	}
	return r, true
}

// trimSpaces cuts off the spaces at the end, except one after a backslash.
func trimSpaces(line string) string {
	end := 0
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case ' ':
			continue
		case '\\':
			i++
		}
		end = min(i+1, len(line))
	}
	return line[:end]
}

// parseSegment reads the part of a pattern between two slashes. Two stars alone
// match any number of names only in a pattern that has a slash.
func parseSegment(part string, hasSlash bool) (glob.Segment, bool) {
	if len(part) > 1 && strings.Trim(part, "*") == "" {
		if hasSlash {
			return glob.AnyDepth, true
		}
		return glob.AnyName, true
	}

	// What follows translates the part from git's syntax to doublestar's.
	var b strings.Builder
	for i := 0; i < len(part); {
		switch c := part[i]; c {
		case '[':
			class, size := parseClass(part[i:])
			if size == 0 {
				return glob.Segment{}, false
			}
			b.WriteString(class)
			i += size
		case '\\':
			if i+1 == len(part) {
				return glob.Segment{}, false
			}
			b.WriteString(part[i : i+2])
			i += 2
		case '{', '}', ']':
			b.WriteString(`\` + string(c))
			i++
		default:
			b.WriteByte(c)
			i++
		}
	}
	s, err := glob.CompileSegment(b.String())
	return s, err == nil
}

// posixClasses are the named classes of POSIX, as ranges.
var posixClasses = map[string]string{
	"alnum": "a-zA-Z0-9", "alpha": "a-zA-Z", "blank": " \t", "cntrl": "\x01-\x1f\x7f", "digit": "0-9",
	"graph": `\!-.0-\[\\\]\^-~`, "lower": "a-z", "print": ` -.0-\[\\\]\^-~`, "punct": `\!-.:-@\[\\\]\^_` + "`" + `{-~`,
	"space": " \t\n\v\f\r", "upper": "A-Z", "xdigit": "0-9A-Fa-f",
}

// parseClass reads the class that s begins with. It returns the class as doublestar
// writes it and its size in s, which is 0 if the class has no end.
func parseClass(s string) (class string, size int) {
	var b strings.Builder
	b.WriteByte('[')
	i := 1
	if i < len(s) && (s[i] == '!' || s[i] == '^') {
		b.WriteByte('^')
		i++
	}

	for start := i; i < len(s) && (s[i] != ']' || i == start); {
		if name, rest, ok := strings.Cut(s[i:], ":]"); ok && strings.HasPrefix(name, "[:") {
			ranges, known := posixClasses[name[2:]]
			if !known {
				return "", 0
			}
			b.WriteString(ranges)
			i = len(s) - len(rest)
			continue
		}

		from, next := classChar(s, i)
		if next == 0 {
			return "", 0
		}
		i = next
		b.WriteString(`\` + from)
		if i+1 < len(s) && s[i] == '-' && s[i+1] != ']' {
			to, next := classChar(s, i+1)
			if next == 0 {
				return "", 0
			}
			b.WriteString(`-\` + to)
			i = next
		}
	}

	if i >= len(s) {
		return "", 0
	}
	b.WriteByte(']')
	return b.String(), i + 1
}

// classChar returns the character of a class at i and the index of the next one,
// which is 0 if there is none.
func classChar(s string, i int) (c string, next int) {
	if s[i] == '\\' {
		i++
	}
	if i >= len(s) {
		return "", 0
	}
	return s[i : i+1], i + 1
}

// lastMatch returns the last of the rules for a path that is relative to their
// file's directory; nil if there is none.
func lastMatch(rules []rule, rel string, dir bool) *rule {
	base := path.Base(rel)
	for i := range slices.Backward(rules) {
		r := &rules[i]
		if r.dirOnly && !dir {
			continue
		}

		if r.base && r.glob[0].Match(base) || !r.base && r.glob.Match(rel) {
			return r
		}
	}
	return nil
}
