package httpd

import (
	"net/http"
	"net/url"
	"time"
)

// serveWebSocket hands a request of a page that may listen to the hub.
func (s *handler) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	if !s.admitOrigin(w, r) {
		return
	}

	from := accessOf(r)
	own := from.origin == noOrigin || from.origin == ownOrigin
	p := peer{conns: &s.lone, own: s.root != nil && own}
	if listener := listenerOf(r.Context()); listener != nil {
		p.conns = &listener.pages
	}
	p.isOwn = func(page *url.URL) bool { return sameHost(page.Scheme, page.Host, from.reached) }
	s.hub.serve(w, r, p)
}

// Timeouts are how long a client may take for what.
type timeouts struct {
	header time.Duration // to send a request, from its first byte on
	body   time.Duration // to send a body, which nobody wants
	taking time.Duration // to take anything at all of what it was sent
}

var defaultTimeouts = timeouts{
	header: 10 * time.Second,
	body:   5 * time.Second,
	taking: 2 * time.Minute,
}
