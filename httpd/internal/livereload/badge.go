package livereload

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// A Cursor is a point in a Server's life: what came up to a change, and
// nothing after it. The zero position is none.
type Cursor struct {
	Epoch  string // of the Server; each numbers its changes anew
	Number uint64 // of the change; 0 is before the first
	Time   int64  // the time of it, or of the Server's start, in ms since 1970
}

// String holds nothing that would have to be escaped in a query.
func (p Cursor) String() string {
	return fmt.Sprintf("%s.%d.%d", p.Epoch, p.Number, p.Time)
}

// parseCursor reads what String writes, also where the time is not there,
// which makes it long ago. Anything else is the zero position.
func parseCursor(text string) Cursor {
	epoch, rest, _ := strings.Cut(text, ".")
	digits, since, timed := strings.Cut(rest, ".")
	number, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return Cursor{}
	}
	p := Cursor{Epoch: epoch, Number: number}
	if timed {
		if p.Time, err = strconv.ParseInt(since, 10, 64); err != nil {
			return Cursor{}
		}
	}
	return p
}

// A PageToken is what a page says of itself in the path of its socket. It was
// given to the page with the script element, and the client passes it on
// unread, as the stock client does. With it, a change between the serving of
// a page and the opening of its socket is not missed.
type PageToken struct {
	Cursor         // before the page was read
	Missing bool   // what is shown is not the file that the page's URL names
	Listing bool   // what is shown is a list of what is in a directory
	Names   uint64 // sum of that list
}

// Element is the script element that the page gets that answers r. The blank
// port means the script's own, without which a client on port 80 or 443, which
// browsers leave out of URLs, would dial 35729. It is async: nothing in the
// page has to wait for it, and the earlier its socket opens the sooner the page
// hears.
func (b PageToken) Element(r *http.Request) string {
	return `<script src="` + PathToTop(r) + `livereload.js?port=&amp;path=livereload?` + b.String() + `" async></script>`
}

// PathToTop leads from a page to the top of the site, by a relative URL, since a
// proxy in front of us may show the site below a prefix that we do not see. It
// counts as browsers do: an empty segment is one, an encoded slash is none. A
// base element cannot lead it astray, as the script comes before that.
func PathToTop(r *http.Request) string {
	depth := strings.Count(r.URL.EscapedPath(), "/") - 1
	return strings.Repeat("../", max(depth, 0))
}

// String is the query of the socket's URL.
func (b PageToken) String() string {
	s := b.Cursor.String()
	if b.Missing {
		s += ",missing"
	}
	if b.Listing {
		s += ",listing-" + strconv.FormatUint(b.Names, 16)
	}
	return s
}

// parsePageToken reads a query. A client that was given no badge has another
// query or none, which makes a zero badge.
func parsePageToken(query string) PageToken {
	text, names, listing := strings.Cut(query, ",listing-")
	text, missing := strings.CutSuffix(text, ",missing")
	b := PageToken{Cursor: parseCursor(text), Missing: missing, Listing: listing}
	if listing {
		var err error
		if b.Names, err = strconv.ParseUint(names, 16, 64); err != nil {
			return PageToken{}
		}
	}
	if b.Cursor == (Cursor{}) {
		return PageToken{}
	}
	return b
}
