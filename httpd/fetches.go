package httpd

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/execlog/execlogd/httpd/internal/urlpath"
)

// noteTry notes that a request was answered with an error, if it is a fetch of
// one of our pages.
func (s *handler) noteTry(r *http.Request) {
	page, use := triedBy(r)
	from, err := url.Parse(page)
	if s.live && err == nil && use != "" && sameHost(from.Scheme, from.Host, accessOf(r).reached) {
		s.hub.NoteFailedFetch(page, use)
	}
}

// triedBy says by which page a request is and for what, as far as the request
// does; use is "" where it is no fetch of a page of the same origin. Where the
// browser says nothing of the kind, as it does over plain HTTP from another
// machine, it is one if it does not ask for HTML.
func triedBy(r *http.Request) (page, use string) {
	h := r.Header
	dest, from := h.Get("Sec-Fetch-Dest"), h.Get("Sec-Fetch-Site")
	switch {
	case dest != "" && dest != "empty", from != "" && from != "same-origin":
		return "", ""
	case dest == "" && strings.Contains(h.Get("Accept"), "text/html"):
		return "", ""
	}
	page = h.Get("Referer")
	use, _ = urlpath.Parse(urlpath.Canonical(r.URL.Path))
	return page, use
}
