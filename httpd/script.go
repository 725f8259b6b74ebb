package httpd

import (
	"net/http"
	"strings"
	"time"

	"github.com/execlog/execlogd/httpd/internal/livereload"
)

// serveScript answers with the client. Any page may load it: a page of another
// server on this machine, or a file: page.
//
// A page whose policy blocks the socket has no other way to say so than to load
// the script once more, with the directive in the query.
func (s *handler) serveScript(w http.ResponseWriter, r *http.Request) {
	if directive := r.URL.Query().Get("blocked"); directive != "" {
		page, directive := clip(r.Referer()), clip(directive)
		s.reported.once(page+"\x00"+directive, func() bool {
			return s.logLimited(s.log, policyReported, "page", page, "directive", directive, "remote", r.RemoteAddr)
		})
	}

	h := w.Header()
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", livereload.ScriptETag)
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(livereload.Script))
}
