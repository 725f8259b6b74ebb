package rules

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// The names of the files that sites have their rules in, at the top of the root.
const (
	RedirectsFile = "_redirects"
	HeadersFile   = "_headers"
)

// IsFile reports whether a name is that of a file of rules.
func IsFile(name string) bool { return name == RedirectsFile || name == HeadersFile }

// A Mistake is what is wrong in a line of a file of rules, which has no effect then.
type Mistake struct {
	Line int // from 1
	Text string
}

// Bounds of a file. What is behind them has no effect.
const (
	maxRules    = 10_000
	maxMistakes = 100
)

// ParseFile parses a file of rules with one of the names.
func ParseFile(name, text string) (all Rules, mistakes []Mistake) {
	var above *Header // the path in _headers that lines are below
	skip := false     // that path is wrong, and so nothing below it counts
	line := 0
	for text := range strings.Lines(text) {
		line++
		text = strings.TrimRight(text, " \t\r\n")
		if line == 1 {
			text = strings.TrimPrefix(text, "\ufeff")
		}
		if trimmed := strings.TrimSpace(text); trimmed == "" || trimmed[0] == '#' {
			continue
		}
		if len(mistakes) == maxMistakes || len(all.redirects)+len(all.headers) == maxRules {
			mistakes = append(mistakes, Mistake{line, "too many rules or mistakes: the rest is not read"})
			return all, mistakes
		}

		var err error
		switch {
		case name == RedirectsFile:
			var r redirect
			if r, err = parseRedirectLine(text); err == nil {
				all.redirects = append(all.redirects, r)
			}
		case text[0] != ' ' && text[0] != '\t':
			var h header
			h, err = parseHeader(Header{For: text, Values: make(http.Header)})
			if above, skip = &h.Header, err != nil; !skip {
				all.headers = append(all.headers, h)
			}
		case skip:
		case above == nil:
			err = errors.New("a header without a path above it")
		default:
			err = above.addLine(text)
		}
		if err != nil {
			mistakes = append(mistakes, Mistake{line, err.Error()})
		}
	}
	return all, mistakes
}

// addLine adds a line of _headers: "Name: value".
func (h *Header) addLine(text string) error {
	name, value, ok := strings.Cut(strings.TrimSpace(text), ":")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	if !ok || value == "" {
		return fmt.Errorf("%q: want Name: value", strings.TrimSpace(text))
	}
	if err := checkField(name, value); err != nil {
		return err
	}
	h.Values.Add(name, value)
	return nil
}

// parseRedirectLine parses a line of _redirects: a pattern, parameters of the query, where
// it leads, the status, and conditions, which are not supported.
func parseRedirectLine(text string) (r redirect, err error) {
	fields := strings.Fields(text)
	for i, field := range fields {
		if field[0] == '#' {
			fields = fields[:i]
			break
		}
	}

	spec := Redirect{From: fields[0]}
	rest := fields[1:]
	for ; len(rest) > 0 && !isTarget(rest[0]); rest = rest[1:] {
		name, value, ok := strings.Cut(rest[0], "=")
		if !ok {
			return r, fmt.Errorf("%q: want where it leads, a path or a URL", rest[0])
		}
		if spec.Query == nil {
			spec.Query = make(map[string]string)
		}
		spec.Query[name] = value
	}
	if len(rest) == 0 {
		return r, fmt.Errorf("%q: want where it leads, a path or a URL", text)
	}
	spec.To, rest = rest[0], rest[1:]

	if len(rest) > 0 {
		digits, force := strings.CutSuffix(rest[0], "!")
		if spec.Status, err = strconv.Atoi(digits); err != nil || spec.Status == 0 {
			return r, fmt.Errorf("%q: want a status; conditions are not supported", rest[0])
		}
		spec.Force = force
	}
	if len(rest) > 1 {
		return r, fmt.Errorf("%q: conditions are not supported", rest[1])
	}
	return parseRedirect(spec)
}

func isTarget(field string) bool {
	return strings.HasPrefix(field, "/") || strings.Contains(field, "://")
}
