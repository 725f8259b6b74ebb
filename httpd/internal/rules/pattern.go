// Package rules holds the redirects and the response headers of a site, by patterns of URL
// paths, and parses the files _redirects and _headers that sites have for Netlify and
// others.
package rules

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

// A pattern matches clean URL paths without escapes. ":name" stands for one segment, and
// "*" for any text; a slash and an asterisk at the end match the path before them as well.
// A slash at the end makes no difference.
type pattern struct {
	prefix string         // that all matches begin with
	expr   *regexp.Regexp // nil if prefix is all that matches
}

// splat is the name of what the asterisk of a redirect stands for.
const splat = "splat"

var placeholder = regexp.MustCompile(`:[A-Za-z][A-Za-z0-9_]*`)

// special are the parts of a pattern that stand for others.
var special = regexp.MustCompile(placeholder.String() + `|\*`)

func parsePattern(text string) (p pattern, err error) {
	switch {
	case strings.Contains(text, "://"):
		return p, fmt.Errorf("%q: patterns with a host are not supported: want a path", text)
	case !strings.HasPrefix(text, "/"):
		return p, fmt.Errorf("%q: a pattern begins with a slash", text)
	}
	decoded, err := url.PathUnescape(text)
	if err != nil {
		return p, fmt.Errorf("%q: an escape is not one of a URL", text)
	}
	// An asterisk or a colon that is escaped stands for others too: no file's name has
	// been seen with either.
	text = path.Clean(decoded)

	marks := special.FindAllStringIndex(text, -1)
	if len(marks) == 0 {
		return pattern{prefix: text}, nil
	}
	p.prefix = text[:marks[0][0]]
	rest, isTail := strings.CutSuffix(text, "/*")
	if isTail && len(marks) == 1 {
		p.prefix = rest // which matches as well
	}
	if !isTail {
		rest = text
	}

	var expr strings.Builder
	expr.WriteString(`(?s)\A`)
	at := 0
	for _, mark := range special.FindAllStringIndex(rest, -1) {
		expr.WriteString(regexp.QuoteMeta(rest[at:mark[0]]))
		if name := rest[mark[0]:mark[1]]; name == "*" {
			expr.WriteString(`.*`) // no redirect has one in the middle
		} else {
			fmt.Fprintf(&expr, `(?P<%s>[^/]+)`, name[1:])
		}
		at = mark[1]
	}
	expr.WriteString(regexp.QuoteMeta(rest[at:]))
	if isTail {
		fmt.Fprintf(&expr, `(?:/(?P<%s>.*))?`, splat)
	}
	p.expr, err = regexp.Compile(expr.String() + `\z`)
	if err != nil || len(slices.Compact(slices.Sorted(slices.Values(p.expr.SubexpNames()[1:])))) != p.expr.NumSubexp() {
		return p, fmt.Errorf("%q: a name is there twice", text)
	}
	return p, nil
}

// match returns what the names stand for in a clean path.
func (p pattern) match(clean string) (values map[string]string, ok bool) {
	switch {
	case p.expr == nil:
		return nil, clean == p.prefix
	case !strings.HasPrefix(clean, p.prefix):
		return nil, false
	}
	found := p.expr.FindStringSubmatch(clean)
	if found == nil {
		return nil, false
	}
	values = make(map[string]string)
	for i, name := range p.expr.SubexpNames() {
		if name != "" {
			values[name] = found[i]
		}
	}
	return values, true
}

// expand puts values in the places of the names in text. Other names stay.
func expand(text string, values map[string]string, escape func(string) string) string {
	return placeholder.ReplaceAllStringFunc(text, func(name string) string {
		value, known := values[name[1:]]
		if !known {
			return name
		}
		return escape(value)
	})
}

var errControl = errors.New("a control character: take it out")

// hasControl reports whether a text has characters that no header and no URL has.
func hasControl(text string) bool {
	return strings.ContainsFunc(text, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f })
}
