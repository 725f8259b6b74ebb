package httpd

import (
	"net/http"
	"net/url"
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
