package httpd

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/execlog/execlogd/httpd/internal/livereload"
	"github.com/execlog/execlogd/httpd/internal/urlpath"
)

// A PageError is what pages show in place of what they would be: the output
// of a job that failed, or the reason why a file cannot be read.
type PageError struct {
	// Title says in one line what is wrong. Text is the rest, in as many lines as it
	// takes. Both are shown as they are, never as HTML; of a longer text the last
	// 16 KiB.
	Title, Text string

	// Paths are the files, relative to the root, that the error is about. Pages that
	// use or show one of them show it. A path with a slash at its end stands for
	// everything in that directory. Without paths every page shows the error.
	Paths []string
}

// SetError sets the error of a source, in place of the one that it had. Nil takes that
// away. A source is a name of the caller's choice, such as that of a job. Pages of our
// client show the error at once, and pages that come later when they come, until it is
// taken away. SetError does not block.
func (s *Server) SetError(source string, e *PageError) {
	s.hub.SetError(source, (*livereload.PageError)(e))
}

// Explain says in a sentence which pages a change of a file's content affects and what
// it does to them, as far as the file's name decides it. The path is as in
// Server.Refresh.
func Explain(path string) string { return livereload.Explain(path) }

// ExplainNames is Explain for a name that comes or goes, or a file that becomes
// readable or unreadable. The path is as in Server.Recheck.
func ExplainNames(path string) string { return livereload.ExplainNames(path) }

// serveWebSocket hands the request of a page that may listen to the hub.
func (s *handler) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	from := accessOf(r)
	if from.origin == invalidOrigin || from.origin == foreignOrigin {
		s.refuseOrigin(w, r)
		return
	}

	own := from.origin == noOrigin || from.origin == ownOrigin
	p := livereload.Peer{Conns: &s.pages, SameOrigin: s.root != nil && own}
	if listener := listenerOf(r.Context()); listener != nil {
		p.Conns = &listener.pages
	}
	p.IsOwn = func(page *url.URL) bool { return sameHost(page.Scheme, page.Host, from.reached) }
	s.hub.ServeWebSocket(w, r, p)
}

// serveScript answers with the client. Any page may load it: a page of another server
// on this machine, or a file: page.
//
// A page whose policy blocks its socket reports that by loading the script once more,
// with the directive in the query.
func (s *handler) serveScript(w http.ResponseWriter, r *http.Request) {
	if directive := r.URL.Query().Get("blocked"); directive != "" {
		page, directive := clip(r.Referer()), clip(directive)
		s.reported.once(page+"\x00"+directive, func() bool {
			return s.logLimited(policyReported, "page", page, "directive", directive, "remote", r.RemoteAddr)
		})
	}

	h := w.Header()
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", livereload.ScriptETag)
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(livereload.Script))
}

// tokenOf returns the token of the page that answers r.
func tokenOf(r *http.Request) livereload.PageToken {
	return livereload.PageToken{Cursor: accessOf(r).cursor}
}

// noteFailedFetch tells the hub that a request is answered with an error, if the
// request is a fetch by a script of one of our pages. Where the browser does not say
// what a request is for, as over plain HTTP from another machine, it is a fetch if it
// does not ask for HTML.
func (s *handler) noteFailedFetch(r *http.Request) {
	dest, site := r.Header.Get("Sec-Fetch-Dest"), r.Header.Get("Sec-Fetch-Site")
	isFetch := dest == "empty" || dest == "" && !strings.Contains(r.Header.Get("Accept"), "text/html")
	if !s.live || !isFetch || site != "" && site != "same-origin" {
		return
	}

	page := r.Header.Get("Referer")
	from, err := url.Parse(page)
	if err != nil || !sameHost(from.Scheme, from.Host, accessOf(r).reached) {
		return
	}
	if file, ok := urlpath.Parse(urlpath.Canonical(r.URL.Path)); ok {
		s.hub.NoteFailedFetch(page, file)
	}
}
