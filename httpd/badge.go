package httpd

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// A position is a point in a Server's life: what came up to a change, and
// nothing after it. The zero position is none.
type position struct {
	epoch  string // of the Server; each numbers its changes anew
	number uint64 // of the change; 0 is before the first
	when   int64  // the time of it, or of the Server's start, in ms since 1970
}

// String holds nothing that would have to be escaped in a query.
func (p position) String() string {
	return fmt.Sprintf("%s.%d.%d", p.epoch, p.number, p.when)
}

// parsePosition reads what String writes, also where the time is not there,
// which makes it long ago. Anything else is the zero position.
func parsePosition(text string) position {
	epoch, rest, _ := strings.Cut(text, ".")
	digits, since, timed := strings.Cut(rest, ".")
	number, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return position{}
	}
	p := position{epoch: epoch, number: number}
	if timed {
		if p.when, err = strconv.ParseInt(since, 10, 64); err != nil {
			return position{}
		}
	}
	return p
}

// A badge is what a page says of itself in the path of its socket. It was
// given to the page with the script element, and the client passes it on
// unread, as the stock client does. With it, a change between the serving of
// a page and the opening of its socket is not missed.
type badge struct {
	position        // before the page was read
	missing  bool   // what is shown is not the file that the page's URL names
	listing  bool   // what is shown is a list of what is in a directory
	names    uint64 // sum of that list
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

// String is the query of the socket's URL.
func (b badge) String() string {
	s := b.position.String()
	if b.missing {
		s += ",missing"
	}
	if b.listing {
		s += ",listing-" + strconv.FormatUint(b.names, 16)
	}
	return s
}

// parseBadge reads a query. A client that was given no badge has another
// query or none, which makes a zero badge.
func parseBadge(query string) badge {
	text, names, listing := strings.Cut(query, ",listing-")
	text, missing := strings.CutSuffix(text, ",missing")
	b := badge{position: parsePosition(text), missing: missing, listing: listing}
	if listing {
		var err error
		if b.names, err = strconv.ParseUint(names, 16, 64); err != nil {
			return badge{}
		}
	}
	if b.position == (position{}) {
		return badge{}
	}
	return b
}
