package httpd

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/execlog/execlogd/httpd/internal/livereload"
	"github.com/execlog/execlogd/httpd/internal/urlpath"
	"github.com/execlog/execlogd/internal/ansi"
)

// A PageError is what pages show in place of what they would be: what is wrong with what
// a job has built, or why a file cannot be read. All of it is shown as it is, never as
// HTML.
type PageError struct {
	// Title says in one line what is wrong.
	Title string

	// Place is where it is wrong; nil if that is not known.
	Place *Place

	// Output is what a command has written. Its colours (SGR of ECMA-48) are shown as
	// colours, other escape sequences are dropped. Of a longer output the last 16 KiB are
	// shown.
	Output string

	// Text is the rest, in words, below the output.
	Text string

	// Paths are the files, relative to the root, that the error is about. Pages that
	// use or show one of them show it. A path with a slash at its end stands for
	// everything in that directory. Without paths every page shows the error.
	Paths []string
}

// A Place is a place in a file.
type Place struct {
	// Name is the place in one word, as in "src/app.js:3:5".
	Name string

	// The rest is shown to the owner of the server alone, as commands are on the status
	// page. File is an absolute path, which Options.Editor makes a link; empty for none.
	// Line and Column count from 1, and are 0 if they are not known. Excerpt are lines of
	// the file, of which the first has the number First.
	File         string
	Line, Column int
	Excerpt      []string
	First        int
}

// SetError sets the error of a source, in place of the one that it had. Nil takes that
// away. A source is a name of the caller's choice, such as that of a job. Pages of our
// client show the error at once, and pages that come later when they come, until it is
// taken away. SetError does not block.
func (s *Server) SetError(source string, e *PageError) {
	if e == nil {
		s.hub.SetError(source, nil)
		return
	}
	shown := livereload.PageError{Title: e.Title, Output: ansi.Parse(strings.ToValidUTF8(e.Output, "\ufffd")), Text: e.Text, Paths: e.Paths}
	if p := e.Place; p != nil {
		shown.Place = p.Name
		shown.Source = &livereload.Source{Lines: p.Excerpt, First: p.First, Line: p.Line}
		if p.File != "" {
			shown.Source.Href = s.current.Load().editor.link(p.File, p.Line, p.Column)
		}
	}
	s.hub.SetError(source, &shown)
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
		s.refuseOrigin(w, r, "listen")
		return
	}

	if r.ContentLength != 0 && r.Header.Get("Upgrade") != "" {
		refuse(w, http.StatusBadRequest, "a request for a websocket has no body")
		return
	}

	own := from.origin == noOrigin || from.origin == ownOrigin
	p := livereload.Peer{Conns: &s.pages, SameOrigin: (s.root != nil || len(s.upstreams) > 0) && own}
	if listener := listenerOf(r.Context()); listener != nil {
		p.Conns = &listener.pages
		addr := r.Context().Value(connKey{}).(net.Conn).RemoteAddr()
		listener.conns.add(addr)
		p.Closed = func() { listener.conns.remove(addr) }
	}
	if recorder, ok := w.(*answerRecorder); ok {
		p.Closed = recorder.finishAfter(p.Closed)
	}
	p.IsOwn = func(page *url.URL) bool {
		return sameHost(page.Scheme, page.Host, from.reached) && s.upstreamOf(page.Path) == nil
	}
	if own {
		p.IsOwner = s.ownerCheck(r)
	}
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

	s.unscripted.load(r, true)
	h := w.Header()
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Cache-Control", "no-cache")
	script := livereload.Client()
	if s.opts.Sync {
		script = livereload.SyncClient()
	}
	h.Set("ETag", script.ETag)
	http.ServeContent(w, withConditions(r, true), "", time.Time{}, strings.NewReader(script.Text))
}

// tokenOf returns the token of the page that answers r.
func tokenOf(r *http.Request) livereload.PageToken {
	return livereload.PageToken{Cursor: accessOf(r).cursor}
}

// noteWorkerFetch tells the hub that a request is answered with a file, if it is one of a
// worker or worklet, of which the browser tells the page nothing. The Referer of what a
// worker loads is a script. That is so for modules of a page as well, which differ in mode
// or destination, where the browser says these. It reports whether the hub was told.
func (s *handler) noteWorkerFetch(r *http.Request) bool {
	if r.Referer() == "" {
		return false
	}
	site := r.Header.Get("Sec-Fetch-Site")
	from, err := url.Parse(r.Referer())
	if !s.live || site != "" && site != "same-origin" || err != nil || !sameHost(from.Scheme, from.Host, accessOf(r).reached) {
		return false
	}
	file, ok := urlpath.Parse(urlpath.Canonical(r.URL.Path))
	if !ok {
		return false
	}

	dest := r.Header.Get("Sec-Fetch-Dest")
	isWorker := strings.HasSuffix(dest, "worker") || strings.HasSuffix(dest, "worklet")
	by, isPath := urlpath.Parse(urlpath.Canonical(from.Path))
	switch {
	case isPath && strings.HasPrefix(s.types.Of(by), "text/javascript"):
		imported := dest == "script" && r.Header.Get("Sec-Fetch-Mode") == "no-cors"
		s.hub.NoteWorkerFetch(by, file, isWorker || imported || dest == "empty")
	case isWorker:
		s.hub.NoteFailedFetch(r.Referer(), file)
	default:
		return false
	}
	return true
}

// noteFailedFetch tells the hub that a request is answered with an error, if the
// request is a fetch by a script of one of our pages.
func (s *handler) noteFailedFetch(r *http.Request) {
	dest, site := r.Header.Get("Sec-Fetch-Dest"), r.Header.Get("Sec-Fetch-Site")
	isFetch := (dest == "empty" || dest == "") && !isNavigation(r)
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
