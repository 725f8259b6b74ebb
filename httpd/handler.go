package httpd

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/execlog/execlogd/httpd/internal/filetype"
	"github.com/execlog/execlogd/httpd/internal/livereload"
)

// A handler answers requests by one set of options. It never changes: Change puts
// another in its place, and a request keeps the one that it began with.
type handler struct {
	*Server
	opts         Options
	log          *slog.Logger
	root         *root    // nil when no files are served
	directory    string   // Root as an absolute path, "" when no files are served
	privatePaths []string // absolute
	live         bool     // live reload is on
	rules        *accessRules
	sites        *hostTable
	editor       editor
	hot          *hotFiles
	types        filetype.Types
	connLimits   connLimits
	siteRules    *siteRules
	errorPages   map[int]string // names of files by status
	upstreams    []*upstream    // those of the longest paths first
	encodings    *encodings

	replaced context.Context // ends when another handler is in its place, or the Server is closed
	cancel   context.CancelFunc
}

// newHandler checks options and opens the root, unless it is the one before.
func (s *Server) newHandler(opts Options, before *root) (*handler, error) {
	rules, err := newAccessRules(opts)
	if err != nil {
		return nil, err
	}
	sites, err := newHostTable(opts.Sites)
	if err != nil {
		return nil, err
	}
	editor, err := parseEditor(opts.Editor)
	if err != nil {
		return nil, err
	}
	types, err := parseTypes(opts.Types)
	if err != nil {
		return nil, err
	}
	siteRules, err := newSiteRules(opts)
	if err != nil {
		return nil, err
	}
	errorPages, err := parseErrorPages(opts)
	if err != nil {
		return nil, err
	}
	if opts.SPA != "" {
		if err := CheckPage(opts.SPA); err != nil {
			return nil, fmt.Errorf("spa: %w", err)
		}
	}
	next := &handler{
		Server: s,
		opts:   opts,
		log:    cmp.Or(opts.Logger, slog.New(slog.DiscardHandler)),
		live:   !opts.NoLiveReload,
		rules:  rules,
		sites:  sites,
		editor: editor,
		types:  types,

		connLimits: newConnLimits(opts),
		errorPages: errorPages,
		siteRules:  siteRules,
	}

	if next.upstreams, err = next.newUpstreams(); err != nil {
		return nil, err
	}
	for _, path := range opts.Private {
		path, err := filepath.Abs(path)
		if err != nil {
			return nil, fmt.Errorf("private: %w", err)
		}
		next.privatePaths = append(next.privatePaths, path)
	}

	if opts.Root != "" {
		if next.root, err = openRoot(opts.Root, opts.Wait, before); err != nil {
			return nil, err
		}
		next.directory = next.root.path
		siteRules.setRoot(next.directory)
	}
	next.hot = newHotFiles(opts, next.directory, next.privatePaths, &s.private)
	next.encodings = &encodings{maxBytes: cmp.Or(max(opts.CacheBytes, 0), DefaultCacheBytes) / encodedShare}
	if next.hot == nil {
		next.encodings.maxBytes = 0
	}
	next.replaced, next.cancel = context.WithCancel(s.closing)
	if next.root != nil {
		next.rulesNow() // logs mistakes
	}
	if len(next.upstreams) > 0 {
		context.AfterFunc(next.replaced, next.closeUpstreams)
	}
	return next, nil
}

// Change replaces the options of the Server by others, which are as New takes them.
// An error leaves everything as it was. A request that is being answered keeps the
// options that it began with. Connections, the sockets of pages and the numbering of
// changes go on, also for pages that the new options would not let in.
//
// When Root is another directory, what was known of the files of the old one is
// forgotten, and all open pages are told to load again, except those that would load
// an error. They are not told when no files are served any more. The old directory is
// closed with the last request that reads from it. A Root of the same path is not
// opened again. Errors that were set by SetError stay.
//
// With NoLiveReload, pages that are connected stay so and are told nothing. When live
// reload is on again they are told to load again, as they may have missed something.
// So are pages that connect later, unless their files are as they were.
//
// Refresh and Recheck take their paths to be relative to the root of the moment.
// Change waits for calls of them that are under way. After Close it returns
// [http.ErrServerClosed].
func (s *Server) Change(opts Options) error {
	return s.hub.Reconfigure(func() (*livereload.Config, error) {
		before := s.current.Load()
		next, err := s.newHandler(opts, before.root)
		if err != nil {
			return nil, err
		}

		s.replacing.Lock()
		defer s.replacing.Unlock()
		unused, closed := before, s.closing.Err() != nil
		if closed {
			unused = next
		} else {
			s.current.Store(next)
		}

		unused.cancel()
		if next.root != before.root {
			unused.root.release()
		}
		if closed {
			return nil, http.ErrServerClosed
		}
		return next.liveConfig(), nil
	})
}

// liveConfig is what live reload has to know of the handler.
func (s *handler) liveConfig() *livereload.Config {
	return &livereload.Config{Directory: s.directory, Enabled: s.live, Sync: s.opts.Sync, ErrorPages: s.errorPages, IsProxied: func(path string) bool { return s.upstreamOf(path) != nil }, Logger: s.log, Position: s.opts.Position, Since: s.opts.Since}
}

// acquire returns the handler for a request, whose root must be released after it. ok
// is false after Close.
func (s *Server) acquire() (now *handler, ok bool) {
	for s.closing.Err() == nil {
		if now = s.current.Load(); now.root.acquire() {
			return now, true
		}
	}
	return nil, false
}

// allowedMethods are the methods that everything here has.
const allowedMethods = "GET, HEAD, OPTIONS"

// serve answers a request. The cursor is one from before the handler was acquired.
func (s *handler) serve(w http.ResponseWriter, r *http.Request, at livereload.Cursor) {
	ofServer := r.Method == http.MethodOptions && r.RequestURI == "*" // and of no file
	if r.RequestURI != "" && !ofServer && (r.RequestURI[0] != '/' || strings.Contains(r.RequestURI, "#")) {
		s.boundBody(w, r)
		refuse(w, http.StatusBadRequest, "the request target must be a path")
		return
	}
	r, ok := s.admit(w, r, at)
	if !ok {
		return
	}
	if to := s.upstreamFor(r); to != nil {
		s.serveProxied(w, r, to)
		return
	}
	s.boundBody(w, r)
	switch {
	case s.isPreflight(r):
		s.answerPreflight(w, r)
		return
	case r.Method == http.MethodOptions:
		w.Header().Set("Allow", allowedMethods)
		w.WriteHeader(http.StatusNoContent)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", allowedMethods)
		refuse(w, http.StatusMethodNotAllowed, "only GET, HEAD and OPTIONS are understood here")
		return
	}

	// These are all URLs that there are. Ours come first, so that a site cannot
	// shadow them.
	statusOnly := isStatusOnly(r)
	switch path := r.URL.Path; {
	case statusOnly && path == "/":
		w.Header().Set("Location", "."+statusPath+"/")
		w.WriteHeader(http.StatusSeeOther)
	case (s.live || statusOnly) && isStatus(path):
		s.serveStatus(w, r)
	case statusOnly:
		refuse(w, http.StatusNotFound, "only "+statusPath+"/ is served here")
	case s.live && path == "/livereload":
		s.serveWebSocket(w, r)
	case s.live && path == "/livereload.js":
		s.serveScript(w, r)
	case s.root != nil:
		s.serveFile(w, r)
	default:
		refuse(w, http.StatusNotFound, "no files are served here, only /livereload.js, /livereload and "+statusPath+"/")
	}
}

// isStatusOnly reports whether a request came to a listener that serves nothing but the
// status page.
func isStatusOnly(r *http.Request) bool {
	listener := listenerOf(r.Context())
	return listener != nil && listener.statusOnly
}

// isOurs reports whether a URL path is one of live reload.
func (s *handler) isOurs(path string) bool {
	return s.live && (isStatus(path) || path == "/livereload" || path == "/livereload.js")
}

// isStatus reports whether a URL path is that of the status page or below it.
func isStatus(path string) bool {
	return path == statusPath || strings.HasPrefix(path, statusPath+"/")
}
