package httpd

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// A badge is what a page says of itself in the path of its socket. It was
// given to the page with the script element, and the client passes it on
// unread, as the stock client does. With it, a change between the serving of
// a page and the opening of its socket is not missed.
type badge struct {
	epoch   string // of the Server that served the page; changes are numbered anew by each
	number  uint64 // of the last change before the page was read
	missing bool   // what is shown is not the file that the page's URL names
}

// element is the script element that the page gets that answers r. The blank
// port means the script's own, without which a client on port 80 or 443, which
// browsers leave out of URLs, would dial 35729. It is async: nothing in the
// page has to wait for it, and the earlier its socket opens the sooner the page
// hears.
func (b badge) element(r *http.Request) string {
	return `<script src="` + wayUp(r) + `livereload.js?port=&amp;path=livereload?` + b.String() + `" async></script>`
}

// wayUp leads from a page to the top of the site, by a relative URL, since a
// proxy in front of us may show the site below a prefix that we do not see. It
// counts as browsers do: an empty segment is one, an encoded slash is none. A
// base element cannot lead it astray, as the script comes before that.
func wayUp(r *http.Request) string {
	depth := strings.Count(r.URL.EscapedPath(), "/") - 1
	return strings.Repeat("../", max(depth, 0))
}

// String is the query of the socket's URL. It holds nothing that would have
// to be escaped in one.
func (b badge) String() string {
	s := fmt.Sprintf("%s.%d", b.epoch, b.number)
	if b.missing {
		s += ",missing"
	}
	return s
}

// parseBadge reads a query. A client that was given no badge has another
// query or none, which makes a zero badge.
func parseBadge(query string) badge {
	text, missing := strings.CutSuffix(query, ",missing")
	epoch, digits, _ := strings.Cut(text, ".")
	number, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return badge{}
	}
	return badge{epoch: epoch, number: number, missing: missing}
}

type badgeKey struct{}

// badged notes in a request which changes its answer will have seen. It must
// come before anything is read: what changes from then on is news.
func (s *Server) badged(r *http.Request) *http.Request {
	b := badge{epoch: s.epoch, number: s.hub.number()}
	return r.WithContext(context.WithValue(r.Context(), badgeKey{}, b))
}

// badgeOf is the badge for the page that answers r.
func badgeOf(r *http.Request) badge {
	b, _ := r.Context().Value(badgeKey{}).(badge)
	return b
}
