package httpd

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// DefaultGrace is how long a stopping server waits for requests that are
// still being answered.
const DefaultGrace = 5 * time.Second

// How much of a connection's time and of our memory a client gets that does
// not say what it wants. There is no bound on writing: a large file over a
// slow line takes as long as it takes.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
	cutTimeout        = time.Second // for handlers whose connections were cut

	// How long a connection that was accepted just before the end may take to
	// send its request. Browsers open some that never send one.
	freshTimeout = 200 * time.Millisecond
)

// Options says what a Server serves and to whom. The zero value serves no
// files and offers live reload to the pages of this machine.
type Options struct {
	// Root is the directory that is served. Empty serves no files: live
	// reload for pages that come from elsewhere.
	Root string

	// NoLiveReload serves the files as they are, with no script in them, and
	// has neither /livereload and /livereload.js nor the status page.
	NoLiveReload bool

	// NoInject leaves the files' pages alone: whoever wants live reload for one
	// links livereload.js in it. The server's own pages still have the script.
	NoInject bool

	// Logger gets pages whose policy blocks live reload at level Warn, refused
	// strangers at Info and the life of browsers and connections at Debug. Nil
	// discards them.
	Logger *slog.Logger

	// AllowHosts are further names by which the server may be addressed: a
	// name or address without a port, or ".example.com" for a domain with
	// everything below it. Loopback names, addresses that were bound and the
	// name of the machine need not be listed. Every name added here is one
	// that an attacker's DNS must not control.
	AllowHosts []string

	// AllowOrigins are further origins whose pages may listen for changes:
	// "https://www.example.com", "http://10.0.0.7:8080" or "null". Pages of
	// the server itself, and loopback pages at a loopback server, need not be
	// listed. What such a page learns is which paths change and when.
	AllowOrigins []string

	// Watches says what is watched, for the status page. It is called often
	// and must not block for long. Nil shows nothing.
	Watches func() []Watch

	// Runs says what has run last, for the status page: the newest first, so
	// many runs at most, each with so many bytes of the end of its output at
	// most. RunsChanged returns a channel that is closed when that is not so
	// any more. Both are called often and must not block for long. Nil shows
	// nothing; without RunsChanged the page is two seconds late.
	Runs        func(runs, output int) []Run
	RunsChanged func() <-chan struct{}

	// Grace is how long Serve, when stopped, waits for running requests and
	// for browsers to answer the goodbye. 0 means DefaultGrace; negative does
	// not wait.
	Grace time.Duration
}

// A Server serves one directory and keeps the pages that are open in browsers
// up to date. Its methods may be called from any goroutine.
type Server struct {
	log       *slog.Logger
	root      *root  // nil when no files are served
	directory string // Root as an absolute path, "" when no files are served
	live      bool
	injects   bool // the script is put into pages
	gate      gate
	hub       hub
	press     press
	grace     time.Duration
	patience  patience
	warned    warnings
	watches   func() []Watch
	runs      func(runs, output int) []Run
	ran       func() <-chan struct{}
	onlookers chan struct{} // as many as there are status pages
	lone      visit         // of requests that belong to no Serve

	telling sync.Mutex // held from looking at files until the pages are told
	looking sync.Mutex // held while somebody looks at files for the first time

	closing context.Context // ends when Close is called
	close   context.CancelFunc
}

// New opens the root and checks the options. It starts no goroutine; the
// Server holds a file descriptor until Close.
func New(opts Options) (*Server, error) {
	gate, err := newGate(opts)
	if err != nil {
		return nil, err
	}
	s := &Server{
		log:       cmp.Or(opts.Logger, slog.New(slog.DiscardHandler)),
		live:      !opts.NoLiveReload,
		injects:   !opts.NoLiveReload && !opts.NoInject,
		gate:      gate,
		watches:   opts.Watches,
		runs:      opts.Runs,
		ran:       opts.RunsChanged,
		onlookers: make(chan struct{}, maxOnlookers),
		grace:     cmp.Or(opts.Grace, DefaultGrace),
		patience:  defaultPatience,
		hub:       hub{epoch: rand.Text()[:10], when: time.Now().UnixMilli()},
	}
	if opts.Root != "" {
		if s.root, err = openRoot(opts.Root); err != nil {
			return nil, err
		}
		s.directory = s.root.path
	}
	if s.ran == nil {
		s.ran = func() <-chan struct{} { return nil }
	}
	s.closing, s.close = context.WithCancel(context.Background())
	return s, nil
}

// ServeHTTP answers one request. It is all that is needed to use a Server as
// a handler in a program of one's own, which then calls Close to say goodbye
// to the browsers: http.Server.Shutdown does not do that.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if s.closing.Err() != nil {
		refuse(w, http.StatusServiceUnavailable, "the server is stopping")
		return
	}
	if r.RequestURI != "" && (r.RequestURI[0] != '/' || strings.Contains(r.RequestURI, "#")) {
		refuse(w, http.StatusBadRequest, "the request target must be a path")
		return
	}
	if code, why := s.gate.host(r); code != 0 {
		s.log.Info("stranger refused", "host", clip(r.Host), "remote", r.RemoteAddr)
		refuse(w, code, why)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, "only GET and HEAD are understood here")
		return
	}
	s.route(w, r)
}

// route is every URL there is. Ours come first, so that a site cannot shadow
// them.
func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	switch {
	case s.live && r.URL.Path == "/livereload":
		s.serveBrowser(w, r)
	case s.live && r.URL.Path == "/livereload.js":
		s.serveScript(w, r)
	case s.live && (r.URL.Path == statusPath || strings.HasPrefix(r.URL.Path, statusPath+"/")):
		s.serveStatus(w, r)
	case s.root != nil:
		s.serveFile(w, s.badged(r))
	default:
		refuse(w, http.StatusNotFound, "no files are served here, only /livereload.js, /livereload and "+statusPath+"/")
	}
}

// refuse answers with one line of text.
func refuse(w http.ResponseWriter, code int, why string) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, why, code)
}

// clip shortens what a stranger sent to what belongs into a log.
func clip(s string) string {
	return s[:min(len(s), 256)]
}

// Serve answers connections from ln until ctx ends or Close is called, and
// then returns nil; an error of the listener is returned as one. In either
// case ln is closed, browsers get a goodbye frame (1001), running requests get
// Options.Grace to finish, what is left then is cut, and Serve waits for all
// that. It may be called again, and for several listeners at once.
//
// An address that ln is bound to may be used as Host.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(s.closing, stop)()

	visit := &visit{wildcard: isWildcard(ln.Addr())}
	var fresh freshConns
	srv := &http.Server{
		Handler: fresh.asks(s),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, conn)
		},
		BaseContext:                  func(net.Listener) context.Context { return context.WithValue(ctx, visitKey{}, visit) },
		ConnState:                    fresh.track,
		ErrorLog:                     slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ReadHeaderTimeout:            readHeaderTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		DisableGeneralOptionsHandler: true,
	}

	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	var err error
	select {
	case <-ctx.Done():
	case err = <-served:
		served <- err // for the wait below
	}
	visit.dismiss()
	ln.Close()
	<-served
	fresh.drain(srv)
	s.drain(srv, visit)
	if err != nil {
		return fmt.Errorf("serve %s: %w", ln.Addr(), err)
	}
	return nil
}

// drain stops srv: what runs gets the grace period, and what is left is cut.
func (s *Server) drain(srv *http.Server, visit *visit) {
	grace, cancel := context.WithTimeout(context.Background(), max(s.grace, 0))
	defer cancel()
	err := srv.Shutdown(grace)
	if err == nil {
		err = visit.wait(grace)
	}
	if err != nil {
		s.log.Info("requests cut", "err", err)
	}
	visit.cut()
	srv.Close()
	late, cancel := context.WithTimeout(context.Background(), cutTimeout)
	defer cancel()
	if err := visit.wait(late); err != nil {
		s.log.Info("browsers still there", "err", err)
	}
}

// Refresh tells the open pages that the content of files changed, as one
// decision: a page that must be loaded again is told just that, any other page
// gets the style sheets and images to fetch again, and a page that nothing
// concerns hears nothing. Paths are relative to the root, with slashes; a path
// with a slash at its end is a directory and everything below it.
//
// Refresh waits for no browser: what a slow one has not fetched yet is merged.
// It does open those of the files that some page says it uses, to see that
// they can be read: one that cannot, or is gone, becomes an error that the page
// shows, and is no reason to load it again.
//
// Names that are not served, such as dot files, concern nobody.
func (s *Server) Refresh(paths ...string) {
	s.tell(newChange(paths))
}

// Recheck says that names came or went, or that files may be read now or not
// any more, as far as Refresh is not told. It opens what some page uses of
// them. A file that is gone or cannot be read becomes an error of the pages
// that use it, which goes when it can be read again; then, or when another
// file has come to its place, the pages are told as by Refresh. Pages that
// list a directory are loaded again when a name in it comes or goes. Paths are
// as in Refresh.
func (s *Server) Recheck(paths ...string) {
	s.tell(newNames(paths))
}

func (s *Server) tell(c change) {
	if !s.live || c.empty() {
		return
	}
	s.telling.Lock() // an older sight must not come after a newer one
	defer s.telling.Unlock()
	told := s.hub.broadcast(c, s.lookAt(s.hub.about(&c)))
	s.log.Debug("pages refreshed", "paths", len(c.files), "names", c.names, "browsers", told)
}

// Close stops every Serve, says goodbye to all browsers and releases the root.
// It does not wait; Serve does. A request that comes later is answered with
// 503. Closing twice does no harm.
func (s *Server) Close() error {
	s.close()
	s.lone.dismiss()
	if s.root == nil {
		return nil
	}
	return s.root.close()
}

// freshConns are connections that have not asked for anything yet.
type freshConns struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	crowd crowd // as many as conns
}

// track is an http.Server's ConnState.
func (f *freshConns) track(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		f.enter(conn)
	case http.StateActive:
		// The request is there and may yet be dropped, until the handler runs.
	default:
		f.leave(conn)
	}
}

type connKey struct{}

// asks notes that a connection has its request before h answers it.
func (f *freshConns) asks(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.leave(r.Context().Value(connKey{}).(net.Conn))
		h.ServeHTTP(w, r)
	})
}

func (f *freshConns) enter(conn net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conns == nil {
		f.conns = make(map[net.Conn]struct{})
	}
	f.conns[conn] = struct{}{}
	f.crowd.enter()
}

func (f *freshConns) leave(conn net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.conns[conn]; known {
		delete(f.conns, conn)
		f.crowd.leave()
	}
}

// drain lets the requests come that are on their way, once nothing new is
// accepted. From the moment that srv shuts down it drops requests unanswered,
// and it would wait five seconds for a connection without one.
func (f *freshConns) drain(srv *http.Server) {
	srv.SetKeepAlivesEnabled(false)
	soon, cancel := context.WithTimeout(context.Background(), freshTimeout)
	defer cancel()
	if f.crowd.wait(soon) == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for conn := range f.conns {
		conn.Close()
	}
}
