package livereload

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// A Cursor is a point in the life of a Hub: after one change and before the next.
// The zero Cursor is none.
type Cursor struct {
	Epoch  string // names the Hub; each Hub numbers its changes anew
	Number uint64 // of the change; 0 is before the first
	Time   int64  // of the change, or of the start of the Hub; ms since 1970

	// Position is Config.Position, from before the rest; "" in messages, which have a digest.
	Position string
}

// String formats a cursor for a client, with nothing in it that a URL's query would
// have to escape.
func (c Cursor) String() string {
	text := fmt.Sprintf("%s.%d.%d", c.Epoch, c.Number, c.Time)
	if c.Position != "" {
		text += "." + c.Position
	}
	return text
}

// parseCursor parses what String formats. The time may be left out, and is long ago
// then. Of any other text it returns the zero Cursor.
func parseCursor(text string) Cursor {
	epoch, rest, _ := strings.Cut(text, ".")
	digits, time, timed := strings.Cut(rest, ".")
	time, position, _ := strings.Cut(time, ".")
	c := Cursor{Epoch: epoch, Position: position}
	var err error
	if c.Number, err = strconv.ParseUint(digits, 10, 64); err == nil && timed {
		c.Time, err = strconv.ParseInt(time, 10, 64)
	}
	if err != nil {
		return Cursor{}
	}
	return c
}

// A PageToken says how a page was served. The page is given the token with the script
// element, and its client returns it in the URL of the websocket; livereload-js does
// so as well. So a change between the serving of a page and the opening of its
// websocket is not missed.
type PageToken struct {
	Cursor         // from before anything of the page was read
	Proxied bool   // the page is of another server, whose files may be anywhere below the root
	Missing bool   // the page shows that for 404, and not the file that its URL names
	Failed  int    // the page shows that for another status
	Listing bool   // the page lists the names in a directory
	Names   uint64 // FileState.Sum of that list
}

// Element returns the script element for a page that answers r.
//
// The blank port means that of the script; without it a client on port 80 or 443,
// which browsers leave out of URLs, would dial 35729. The script is async: nothing in
// the page waits for it, and the earlier its websocket opens the better.
func (t PageToken) Element(r *http.Request) string {
	return `<script src="` + t.source(r) + `" async></script>`
}

// ElementXML is Element for a page in XML: XHTML or SVG.
func (t PageToken) ElementXML(r *http.Request) string {
	return `<script xmlns="http://www.w3.org/1999/xhtml" src="` + t.source(r) + `" async="async"></script>`
}

// source is the URL of the script as an attribute has it.
func (t PageToken) source(r *http.Request) string {
	return PathToTop(r) + `livereload.js?port=&amp;path=livereload?` + t.String()
}

// PathToTop returns the relative URL that leads from the page that answers r to the
// top of the site. It is relative because a proxy may show the site below a prefix
// that the server does not see.
//
// Segments are counted as browsers do: an empty one counts, and an encoded slash does
// not divide. A base element of the page has no effect on the script, which comes
// before it.
func PathToTop(r *http.Request) string {
	depth := strings.Count(r.URL.EscapedPath(), "/") - 1
	return strings.Repeat("../", max(depth, 0))
}

// String formats a token as the query of the websocket's URL.
func (t PageToken) String() string {
	s := t.Cursor.String()
	if t.Proxied {
		s += ",proxied"
	}
	if t.Missing {
		s += ",missing"
	}
	if t.Failed != 0 {
		s += ",error-" + strconv.Itoa(t.Failed)
	}
	if t.Listing {
		s += ",listing-" + strconv.FormatUint(t.Names, 16)
	}
	return s
}

// parsePageToken parses what String formats. Of any other text, which clients without
// a token may send, it returns the zero PageToken.
func parsePageToken(query string) PageToken {
	text, names, listing := strings.Cut(query, ",listing-")
	text, status, failed := strings.Cut(text, ",error-")
	text, missing := strings.CutSuffix(text, ",missing")
	text, proxied := strings.CutSuffix(text, ",proxied")
	t := PageToken{Cursor: parseCursor(text), Proxied: proxied, Missing: missing, Listing: listing}

	var err error
	if failed {
		t.Failed, err = strconv.Atoi(status)
	}
	if listing && err == nil {
		t.Names, err = strconv.ParseUint(names, 16, 64)
	}
	if err != nil || t.Cursor == (Cursor{}) {
		return PageToken{}
	}
	return t
}

// A digest says what a page had when it was told it: the states of the files that it
// named first, and of those that it shows. Unlike a Cursor it has a meaning for
// other Hubs too.
type digest struct {
	named int    // how many names of files uses covers, invalid ones included
	uses  uint64 // sum of FileState.Sum of the files used
	shows uint64 // the same of the files shown
}

// append formats a digest for a client.
func (d digest) append(b []byte) []byte {
	b = append(strconv.AppendInt(b, int64(d.named), 10), '-')
	b = append(strconv.AppendUint(b, d.uses, 16), '-')
	return strconv.AppendUint(b, d.shows, 16)
}

// parseDigest parses what append formats.
func parseDigest(text string) (d digest, ok bool) {
	_, err := fmt.Sscanf(text, "%d-%x-%x", &d.named, &d.uses, &d.shows)
	return d, err == nil && d.named >= 0
}
