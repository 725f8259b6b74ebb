package httpd

import (
	"bytes"
	"context"
	_ "embed"
	"html/template"
	"io"
	"net/http"
	"path"
	"strings"
	"time"
)

// statusPath is a hidden one, which no file can have.
const statusPath = "/.execlogd"

// statusPolicy lets the status page load what is beside it and nothing else,
// and nobody frame it.
const statusPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Of the owner's status pages so many may follow, and as many of all others
// together, who cannot keep the owner out.
const maxOnlookers = 32

// onlookers count the status pages that follow.
type onlookers struct{ owner, others chan struct{} }

func newOnlookers() onlookers {
	return onlookers{make(chan struct{}, maxOnlookers), make(chan struct{}, maxOnlookers)}
}

// How the stream of the status page goes.
const (
	streamPause = time.Second / 4  // between two snapshots
	streamLook  = 2 * time.Second  // without news: watches come and go by themselves
	streamBeat  = 15 * time.Second // to the next line at the latest, for proxies that cut what is silent
	streamWrite = 10 * time.Second // for a status page to take what is sent
)

var (
	//go:embed status.html
	statusHTML string
	//go:embed status.css
	statusCSS string
	//go:embed status.js
	statusJS string
	//go:embed status.svg
	statusSVG string
)

var statusTemplate = template.Must(template.New("status").Funcs(template.FuncMap{
	"iso":   func(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") },
	"clock": func(ms int64) string { return time.UnixMilli(ms).UTC().Format("15:04:05 UTC") },
}).Parse(statusHTML))

// A Watch says how much of a root is watched.
type Watch struct {
	Root      string
	Watched   int // directories
	Unwatched int // directories below it in which changes may be seen late or not at all
}

// serveStatus answers for the status page and what belongs to it.
func (s *service) serveStatus(w http.ResponseWriter, r *http.Request) {
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
		s.serveStatusPage(w, r)
	case "/status.css":
		serveText(w, r, "text/css; charset=utf-8", faceCSS+statusCSS)
	case "/status.js":
		serveText(w, r, "text/javascript; charset=utf-8", statusJS)
	case "/status.svg":
		serveText(w, r, "image/svg+xml", statusSVG)
	case "/events":
		s.serveEvents(w, r)
	default:
		refuse(w, http.StatusNotFound, "not found")
	}
}

func serveText(w http.ResponseWriter, r *http.Request, kind, text string) {
	w.Header().Set("Content-Type", kind)
	writeWhole(w, r, http.StatusOK, strings.NewReader(text))
}

func (s *service) serveStatusPage(w http.ResponseWriter, r *http.Request) {
	var text bytes.Buffer
	err := statusTemplate.Execute(&text, struct {
		view
		Now int64

		// What a script makes more of, when there is more.
		NoPage   pageRow
		NoChange changeRow
		NoWatch  watchRow
		NoError  errorRow
		NoRun    runRow
	}{view: s.view(s.gate.reached(r), s.isOwner(r)), Now: time.Now().UnixMilli()})
	if err != nil {
		s.logLimited(s.log, pageNotRendered, "path", clip(r.URL.Path), "err", err)
		refuse(w, http.StatusInternalServerError, "this page cannot be rendered")
		return
	}
	serveText(w, r, "text/html; charset=utf-8", text.String())
}

// serveEvents streams views until the client leaves, the server stops or its
// options change, after which the client asks again.
func (s *service) serveEvents(w http.ResponseWriter, r *http.Request) {
	host, owner := s.gate.reached(r), s.isOwner(r)
	places := s.onlookers.others
	if owner {
		places = s.onlookers.owner
	}
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
	defer context.AfterFunc(s.over, cancel)()
	line := http.NewResponseController(w)
	defer line.SetWriteDeadline(time.Time{})
	stream(ctx, s.hub.stirred, s.ran, func() []byte { return s.view(host, owner).json() }, func(text string) error {
		line.SetWriteDeadline(time.Now().Add(streamWrite)) // where that is possible
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
		return line.Flush()
	})
}

// stream sends what look sees, as server-sent events, whenever it is something
// new, until ctx ends or send fails. The channels that stirred and ran return
// are closed when there may be something new.
func stream(ctx context.Context, stirred, ran func() <-chan struct{}, look func() []byte, send func(string) error) {
	idle := time.NewTicker(streamLook)
	defer idle.Stop()
	var last []byte
	var spoken time.Time
	for text := "retry: 1000\n"; ; text = "" {
		news, runs := stirred(), ran()
		if seen := look(); !bytes.Equal(seen, last) {
			last = seen
			text += "data: " + string(seen) + "\n\n"
		} else if time.Since(spoken) >= streamBeat-streamLook {
			text = ":\n\n"
		}
		if text != "" {
			if send(text) != nil {
				return
			}
			spoken = time.Now()
		}
		if !pause(ctx, streamPause) {
			return
		}
		select {
		case <-news:
		case <-runs:
		case <-idle.C:
		case <-ctx.Done():
			return
		}
	}
}

// pause waits, and says whether that was all.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// view is what there is to see for somebody who has reached us by host. Where
// the roots are, from where others look at pages, and what exactly has run, is
// for the owner; others see the names of the roots and routes.
func (s *service) view(host string, owner bool) view {
	v := newView(s.hub.snapshot(maxListed), host)
	v.Owner = owner
	for i := range v.Pages {
		if !owner {
			v.Pages[i].Remote = ""
		}
	}
	v.Runs = s.runRows(owner)
	if s.watches == nil {
		return v
	}
	for i, watch := range s.watches() {
		if !owner {
			watch.Root = path.Base(watch.Root)
		}
		v.Watched += watch.Watched
		v.Watches = append(v.Watches, watchRow{i, printable(watch.Root), watch.Watched, watch.Unwatched})
	}
	return v
}
