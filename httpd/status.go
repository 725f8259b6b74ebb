package httpd

import (
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/execlog/execlogd/httpd/internal/status"
)

// statusPath is hidden, so that no file can have it.
const statusPath = "/.execlogd"

// statusPolicy lets the status page load what is beside it and nothing else. Nobody
// may frame it.
const statusPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// maxSubscribers is how many status pages of the owner may follow, and how many of
// all others together. So others cannot keep the owner out.
const maxSubscribers = 32

// statusWriteTimeout is how long a status page may take to take what is sent.
const statusWriteTimeout = 10 * time.Second

// A Watch says how much of a root is watched.
type Watch struct {
	Root      string
	Watched   int // directories
	Unwatched int // directories below it in which changes may be seen late or not at all
}

// A RunState is how far a Run has come.
type RunState string

const (
	RunRunning RunState = "running"
	RunDone    RunState = "done"
	RunFailed  RunState = "failed"
	RunStopped RunState = "stopped" // it was ended from outside, which is no failure
)

// A Run is a command that was run on changes, or that runs. The status page shows its
// command, paths and output, and why it failed, to the owner alone.
type Run struct {
	ID      uint64 // no other run has it
	Route   string // the name of what runs the command
	Machine string // where it ran; empty for this one
	Command string // in one line
	Paths   []string
	Batch   int // how many paths there were, of which Paths may be the first
	Start   time.Time
	Took    time.Duration // so far, while it runs
	State   RunState
	Ready   bool   // it is a service that has been ready
	Outcome string // the state in words: "ready", "done", "restarted", "exit status 1"
	Problem string // what is wrong by its output, if it has failed and that is known
	Place   string // where, as in "src/app.js:3:5"
	Output  []byte // the end of what it has written so far; its colours (SGR) are shown

	// LeftBehind says in words which processes it has left behind, and what
	// became of them; empty if there were none.
	LeftBehind string
}

// serveStatus answers for the status page and what belongs to it.
func (s *handler) serveStatus(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", statusPolicy)
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	if r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		refuse(w, http.StatusForbidden, "other sites may not ask for the status page; type its address")
		return
	}

	switch strings.TrimPrefix(r.URL.Path, statusPath) {
	case "":
		redirectToDir(w, r)
	case "/":
		if query := r.URL.Query(); query.Has("token") {
			s.acceptToken(w, r, query.Get("token"))
			return
		}
		page, err := status.RenderPage(s.snapshot(), s.viewer(r))
		if err != nil {
			s.serveRenderError(w, r, err)
			return
		}
		serveText(w, r, "text/html; charset=utf-8", string(page))
	case "/status.css":
		serveText(w, r, "text/css; charset=utf-8", styleCSS+status.CSS)
	case "/status.js":
		serveText(w, r, "text/javascript; charset=utf-8", status.JS)
	case "/listing.js":
		serveText(w, r, "text/javascript; charset=utf-8", listingJS)
	case "/status.svg":
		serveText(w, r, "image/svg+xml", status.Icon)
	case "/events":
		s.serveEvents(w, r)
	default:
		refuse(w, http.StatusNotFound, "not found")
	}
}

func serveText(w http.ResponseWriter, r *http.Request, contentType, text string) {
	w.Header().Set("Content-Type", contentType)
	writeWhole(w, r, http.StatusOK, strings.NewReader(text))
}

func (s *handler) viewer(r *http.Request) status.Viewer {
	viewer := status.Viewer{Host: accessOf(r).reached, Owner: s.isOwner(r)}
	if s.directory != "" {
		viewer.Project = printable(filepath.Base(s.directory))
	}
	return viewer
}

// serveEvents streams the status page's main element until the client leaves, the
// server stops or its options change. After that the client asks again.
func (s *handler) serveEvents(w http.ResponseWriter, r *http.Request) {
	viewer := s.viewer(r)
	places := s.statusSubscribers[viewer.Owner]
	select {
	case places <- struct{}{}:
		defer func() { <-places }()
	default:
		w.Header().Set("Retry-After", "10")
		refuse(w, http.StatusServiceUnavailable, "too many status pages are open")
		return
	}

	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would gather what we send
	if r.Method == http.MethodHead {
		return
	}

	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.replaced, cancel)()
	conn := http.NewResponseController(w)
	defer conn.SetWriteDeadline(time.Time{})

	changed := func() (either [2]<-chan struct{}) {
		either[0] = s.hub.Changed()
		if s.opts.RunsChanged != nil {
			either[1] = s.opts.RunsChanged()
		}
		return either
	}
	render := func() []byte {
		main, err := s.statusRenderer.Main(s.snapshot(), viewer)
		if err != nil {
			s.logLimited(pageNotRendered, "path", clip(r.URL.Path), "err", err)
		}
		return main
	}
	send := func(text string) error {
		conn.SetWriteDeadline(time.Now().Add(statusWriteTimeout)) // a ResponseWriter that has none needs none
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
		return conn.Flush()
	}
	status.Stream(ctx, changed, render, send)
}

// snapshot is all that there is to show now.
func (s *handler) snapshot() status.Snapshot {
	shot := status.Snapshot{Snapshot: s.hub.Snapshot(status.MaxPages, status.MaxUses)}

	if s.opts.Runs != nil {
		shot.Runs = statusRuns(s.opts.Runs(status.MaxRuns, status.MaxRunOutput))
		shot.Builds = statusRuns(s.opts.Runs(status.MaxBuilds, 0))
	}

	if s.opts.Watches != nil {
		for _, w := range s.opts.Watches() {
			shot.Watches = append(shot.Watches, status.Watch(w))
		}
	}

	for _, site := range s.opts.Sites {
		shot.Sites = append(shot.Sites, site.Hosts...)
	}
	return shot
}

func statusRuns(runs []Run) (list []status.Run) {
	for _, r := range runs {
		list = append(list, status.Run{
			ID: r.ID, Route: r.Route, Machine: r.Machine, Command: r.Command, Paths: r.Paths, Batch: r.Batch, Start: r.Start, Took: r.Took,
			State: string(r.State), Ready: r.Ready, Outcome: r.Outcome, Problem: r.Problem, Place: r.Place, Output: r.Output, LeftBehind: r.LeftBehind,
		})
	}
	return list
}
