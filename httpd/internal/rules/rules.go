package rules

import (
	"net/http"
	"path"
)

// Rules are the redirects and headers of a site. They never change. The zero Rules are
// none.
type Rules struct {
	redirects []redirect
	headers   []header
}

// New checks rules. The first redirect that matches counts. Of several rules with one
// header, the last that matches counts.
func New(redirects []Redirect, headers []Header) (all Rules, err error) {
	for _, spec := range redirects {
		r, err := parseRedirect(spec)
		if err != nil {
			return Rules{}, err
		}
		all.redirects = append(all.redirects, r)
	}
	for _, spec := range headers {
		h, err := parseHeader(spec)
		if err != nil {
			return Rules{}, err
		}
		all.headers = append(all.headers, h)
	}
	return all, nil
}

// With returns the rules with others behind the redirects and ahead of the headers, so that
// the first ones count.
func (all Rules) With(others Rules) Rules {
	return Rules{
		redirects: append(all.redirects[:len(all.redirects):len(all.redirects)], others.redirects...),
		headers:   append(others.headers[:len(others.headers):len(others.headers)], all.headers...),
	}
}

// Redirect returns what a request for a URL path without escapes is answered with: by a
// redirect that counts even if there is a file, or else, with missing, by any.
func (all Rules) Redirect(urlPath, rawQuery string, missing bool) (a Answer, ok bool) {
	if len(all.redirects) == 0 {
		return a, false
	}
	clean := path.Clean("/" + urlPath)
	for i := range all.redirects {
		if r := &all.redirects[i]; r.Force || missing {
			if a, ok = r.answer(clean, rawQuery); ok {
				return a, true
			}
		}
	}
	return a, false
}

// SetHeaders sets the headers of an answer for a URL path without escapes, and returns
// whether there were any.
func (all Rules) SetHeaders(h http.Header, urlPath string) (set bool) {
	if len(all.headers) == 0 {
		return false
	}
	clean := path.Clean("/" + urlPath)
	for i := range all.headers {
		rule := &all.headers[i]
		if _, ok := rule.pattern.match(clean); !ok {
			continue
		}
		for name, values := range rule.Values {
			if name == "Vary" { // what the server says of itself holds as well
				values = append(h[name], values...)
			}
			h[name] = values[:len(values):len(values)]
			set = true
		}
	}
	return set
}
