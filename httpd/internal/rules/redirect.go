package rules

import (
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
)

// A Redirect says what is answered in place of the file of a path, if there is none.
type Redirect struct {
	From  string            // a pattern: "/old/*", "/blog/:year/:slug"
	Query map[string]string // that the request has: values, or names as in From (":id")
	To    string            // a path of the site, or a URL: with the names of From and Query, and :splat for the asterisk

	// Status is that of the answer: 301 (the default), 302, 303, 307 or 308 lead the
	// browser there. With 200, 404 or 410 the answer is the file at the path To.
	Status int

	// Force has it count even if there is a file.
	Force bool
}

// A redirect is a Redirect that was checked.
type redirect struct {
	Redirect
	from     pattern
	to       url.URL // Path is decoded, with names
	internal bool    // to is a path of the site
}

// leads reports whether the browser is sent elsewhere.
func (r *redirect) leads() bool { return 300 <= r.Status && r.Status < 400 }

var statuses = []int{200, 301, 302, 303, 307, 308, 404, 410}

func parseRedirect(spec Redirect) (r redirect, err error) {
	if spec.Status == 0 {
		spec.Status = http.StatusMovedPermanently
	}
	r.Redirect = spec
	if r.from, err = parsePattern(spec.From); err != nil {
		return r, err
	}
	if n := strings.Count(spec.From, "*"); n > 1 || n == 1 && !strings.HasSuffix(spec.From, "/*") {
		return r, fmt.Errorf("%q: an asterisk is the last segment", spec.From)
	}
	if hasControl(spec.To) {
		return r, errControl
	}
	to, err := url.Parse(spec.To)
	if err != nil {
		return r, fmt.Errorf("%q: want a path or a URL", spec.To)
	}

	r.to = *to
	r.internal = to.Scheme == "" && to.Host == "" && strings.HasPrefix(to.Path, "/")
	external := (to.Scheme == "http" || to.Scheme == "https") && to.Host != ""
	switch {
	case !r.internal && !external:
		return r, fmt.Errorf("%q: want a path that begins with a slash, or a URL of http or https", spec.To)
	case placeholder.MatchString(to.Hostname()) || strings.Contains(to.Host, "*") || to.User != nil:
		return r, fmt.Errorf("%q: want the name of a host, which does not depend on the request", spec.To)
	case !slices.Contains(statuses, spec.Status):
		return r, fmt.Errorf("status %d: want one of %v", spec.Status, strings.Trim(fmt.Sprint(statuses), "[]"))
	case !r.leads() && external:
		return r, fmt.Errorf("status %d with another server would be a proxy, which rules are not", spec.Status)
	}
	return r, nil
}

// An Answer is what a redirect answers a request with.
type Answer struct {
	Status int

	// Location is where the browser is led: a URL with a scheme, or a path of the site
	// with escapes, from the slash on; "" if it is not led elsewhere.
	Location string

	Path string // without escapes, of the file that is the answer
}

// answer returns what a request for a clean path is answered with.
func (r *redirect) answer(clean, rawQuery string) (a Answer, ok bool) {
	values, ok := r.from.match(clean)
	if !ok {
		return a, false
	}
	var query url.Values
	if len(r.Query) > 0 {
		query, _ = url.ParseQuery(rawQuery)
	}
	for name, want := range r.Query {
		if !query.Has(name) {
			return a, false
		}
		if got := query.Get(name); strings.HasPrefix(want, ":") {
			if values == nil {
				values = make(map[string]string)
			}
			values[want[1:]] = got
		} else if got != want {
			return a, false
		}
	}

	same := func(s string) string { return s }
	to := r.to
	to.Path, to.RawPath = expand(r.to.Path, values, same), ""
	if !r.leads() {
		return Answer{Status: r.Status, Path: to.Path}, true
	}
	to.RawQuery = expand(r.to.RawQuery, values, url.QueryEscape)
	to.Fragment, to.RawFragment = expand(r.to.Fragment, values, same), ""
	if to.RawQuery == "" && len(r.Query) == 0 {
		to.RawQuery = rawQuery
	}
	if r.internal && path.Clean(to.Path) == clean && to.RawQuery == rawQuery {
		return a, false // to itself, for ever
	}
	if r.internal {
		to.Path = "/" + strings.TrimLeft(to.Path, "/") // not another host
	}
	return Answer{Status: r.Status, Location: to.String()}, true
}
