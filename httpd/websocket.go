package httpd

import (
	"net/http"
	"net/url"

	"github.com/execlog/execlogd/httpd/internal/livereload"
)

// serveWebSocket hands a request of a page that may listen to the hub.
func (s *handler) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	if !s.admitOrigin(w, r) {
		return
	}

	from := accessOf(r)
	own := from.origin == noOrigin || from.origin == ownOrigin
	p := livereload.Peer{Conns: &s.lone, SameOrigin: s.root != nil && own}
	if listener := listenerOf(r.Context()); listener != nil {
		p.Conns = &listener.pages
	}
	p.IsOwn = func(page *url.URL) bool { return sameHost(page.Scheme, page.Host, from.reached) }
	s.hub.ServeWebSocket(w, r, p)
}
