package httpd

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"time"
)

// A handler is a Server by one set of options. It never changes: Change puts
// another in its place, and a request keeps the one that it began with.
type handler struct {
	*Server
	log         *slog.Logger
	root        *root // nil when no files are served
	private     privateList
	directory   string // Root as an absolute path, "" when no files are served
	live        bool
	injects     bool // the script is put into pages
	rules       *accessRules
	token       string // of the owner; "" when there is none
	grace       time.Duration
	watches     func() []Watch
	runs        func(runs, output int) []Run
	runsChanged func() <-chan struct{}

	replaced context.Context // ends when another is in its place, or the Server closed
	cancel   context.CancelFunc
}

// newHandler checks options, and opens the root unless it is the one before.
func (s *Server) newHandler(opts Options, before *root) (*handler, error) {
	rules, err := newAccessRules(opts)
	if err != nil {
		return nil, err
	}
	next := &handler{
		Server:      s,
		log:         cmp.Or(opts.Logger, slog.New(slog.DiscardHandler)),
		live:        !opts.NoLiveReload,
		injects:     !opts.NoLiveReload && !opts.NoInject,
		rules:       rules,
		token:       opts.Token,
		grace:       cmp.Or(opts.Grace, DefaultGrace),
		watches:     opts.Watches,
		private:     privateList{seen: &s.private},
		runs:        opts.Runs,
		runsChanged: opts.RunsChanged,
	}
	for _, path := range opts.Private {
		path, err := filepath.Abs(path)
		if err != nil {
			return nil, fmt.Errorf("private: %w", err)
		}
		next.private.paths = append(next.private.paths, path)
	}
	if next.runsChanged == nil {
		next.runsChanged = func() <-chan struct{} { return nil }
	}
	if opts.Root != "" {
		if next.root, err = openRoot(opts.Root, before); err != nil {
			return nil, err
		}
		next.directory = next.root.path
	}
	next.replaced, next.cancel = context.WithCancel(s.closing)
	return next, nil
}

// Change has the Server go by other options from now on, as New takes them. An
// error leaves everything as it was. A request that is being answered ends by
// the options that it began with; connections, the sockets of pages and the
// numbering of changes live on, also of pages that would not be let in any
// more.
//
// When Root is another directory, what was known of the files of the one before
// is forgotten, and all open pages are told to load again, but for those that
// would load an error. They are not told when no files are served any more.
// The directory before is closed with the last request that reads from it. A
// Root that leads to the same path is not opened again. Errors that were set by
// SetError stay.
//
// With NoLiveReload, pages that are connected stay so and hear of nothing. When
// live reload is back they are told to load again, as they may have missed
// something. So is everyone who comes later, unless the files of the page
// are as they were.
//
// Refresh and Recheck take their paths to be relative to the root of the
// moment. A Change waits for those that are under way, and after Close it is
// [http.ErrServerClosed].
func (s *Server) Change(opts Options) error {
	return s.hub.changeSite(func() (*config, error) {
		before := s.current.Load()
		next, err := s.newHandler(opts, before.root)
		if err != nil {
			return nil, err
		}
		if !s.replaceHandler(before, next) {
			return nil, http.ErrServerClosed
		}
		return next.liveConfig(), nil
	})
}

// liveConfig is what live reload has to know of the handler.
func (s *handler) liveConfig() *config {
	return &config{directory: s.directory, live: s.live, log: s.log}
}

// replaceHandler puts another handler in the place of the one before, and gives up
// the root that is not needed any more. It is false after Close.
func (s *Server) replaceHandler(before, next *handler) bool {
	s.replacing.Lock()
	defer s.replacing.Unlock()
	unused, open := before, s.closing.Err() == nil
	if open {
		s.current.Store(next)
	} else {
		unused = next
	}
	unused.cancel()
	if next.root != before.root {
		unused.root.release()
	}
	return open
}

// acquire returns the handler for a request, whose root must be released after
// it. It is not ok after Close.
func (s *Server) acquire() (now *handler, ok bool) {
	for s.closing.Err() == nil {
		if now = s.current.Load(); now.root.acquire() {
			return now, true
		}
	}
	return nil, false
}

// serve answers a request. The position is one from before the handler was
// taken.
func (s *handler) serve(w http.ResponseWriter, r *http.Request, at position) {
	if r.RequestURI != "" && (r.RequestURI[0] != '/' || strings.Contains(r.RequestURI, "#")) {
		refuse(w, http.StatusBadRequest, "the request target must be a path")
		return
	}
	r, ok := s.admit(w, r)
	if !ok {
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, "only GET and HEAD are understood here")
		return
	}
	s.route(w, r, at)
}

// route is every URL there is. Ours come first, so that a site cannot shadow
// them.
func (s *handler) route(w http.ResponseWriter, r *http.Request, at position) {
	switch {
	case s.live && r.URL.Path == "/livereload":
		s.serveWebSocket(w, r)
	case s.live && r.URL.Path == "/livereload.js":
		s.serveScript(w, r)
	case s.live && (r.URL.Path == statusPath || strings.HasPrefix(r.URL.Path, statusPath+"/")):
		s.serveStatus(w, r)
	case s.root != nil:
		s.serveFile(w, badged(r, at))
	default:
		refuse(w, http.StatusNotFound, "no files are served here, only /livereload.js, /livereload and "+statusPath+"/")
	}
}
