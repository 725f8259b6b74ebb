package httpd

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/execlog/execlogd/httpd/internal/status"
)

// DefaultGrace is how long a stopping server waits for requests that are
// still being answered.
const DefaultGrace = 5 * time.Second

// How much of a connection's time and of our memory a client gets that does
// not say what it wants; see patience for more. There is no bound on an answer as
// a whole: a large file over a slow line takes as long as it takes.
const (
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
	cutTimeout     = time.Second // for handlers whose connections were cut

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

	// Private are paths of files that are never served, whatever name, symbolic
	// link, hard link or mount leads to them, nor are copies beside them whose
	// names add to theirs, such as site.toml~ or site.toml.bak. What a path
	// leads to is looked up afresh at each request; what it led to before stays
	// private under its other names, until the Server is closed. A path that
	// leads nowhere does no harm. A copy elsewhere is a file like any other.
	Private []string

	// NoLiveReload serves the files as they are, with no script in them, and
	// has neither /livereload and /livereload.js nor the status page.
	NoLiveReload bool

	// NoInject leaves the files' pages alone: whoever wants live reload for one
	// links livereload.js in it. The server's own pages still have the script.
	NoInject bool

	// Logger gets what keeps requests from being answered at level Error, pages
	// whose policy blocks live reload at Warn, refused strangers at Info, and the
	// life of browsers and connections at Debug. Whatever a visitor can cause
	// above Debug is limited, for each kind: five lines at once (50 of policies in
	// pages), then one a minute, with the number of lines that were left out
	// before it as "suppressed". Nil discards all.
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

	// Token is a secret by which the owner of the server sees all of the status
	// page from anywhere: /.execlogd/?token=TOKEN. It is made of letters and
	// digits, and nobody can guess it. Empty, the page shows all only to programs
	// of this user and of root on this machine.
	Token string

	// Grace is how long Serve, when stopped, waits for running requests and
	// for browsers to answer the goodbye. 0 means DefaultGrace; negative does
	// not wait.
	Grace time.Duration
}

// A Server serves one directory and keeps the pages that are open in browsers
// up to date. Its methods may be called from any goroutine.
type Server struct {
	current  atomic.Pointer[handler]
	hub      hub
	timeouts timeouts
	limits   logLimits
	warned   warnings // of policies in files
	reported warnings // of policies, by pages
	private  privateFiles
	digests  digests
	lone     connSet // of requests that belong to no Serve

	statusSubscribers statusSubscribers
	statusRenderer    status.Renderer

	replacing sync.Mutex // held while current is replaced or given up

	closing context.Context // ends when Close is called
	close   context.CancelFunc
}

// New opens the root and checks the options. It starts no goroutine; the
// Server holds a file descriptor until Close.
func New(opts Options) (*Server, error) {
	s := &Server{
		statusSubscribers: newStatusSubscribers(),
		timeouts:          defaultTimeouts,
	}
	s.hub.init(s.look)
	s.closing, s.close = context.WithCancel(context.Background())
	first, err := s.newHandler(opts, nil)
	if err != nil {
		s.close()
		return nil, err
	}
	s.current.Store(first)
	s.hub.config.Store(first.liveConfig())
	return s, nil
}

// ServeHTTP answers one request. It is all that is needed to use a Server as
// a handler in a program of one's own, which then calls Close to say goodbye
// to the browsers: http.Server.Shutdown does not do that.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	s.boundBody(w, r)
	at := s.hub.now() // before take: see Change
	now, ok := s.acquire()
	if !ok {
		refuse(w, http.StatusServiceUnavailable, "the server is stopping")
		return
	}
	defer now.root.release()
	now.serve(w, r, at)
}

// boundBody sees to it that a client which announces a body does not hold its
// connection by never sending it. Nothing here wants a body: the request is
// answered at once, and the connection closed when the body has come or its time
// is up.
func (s *Server) boundBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 {
		return
	}
	w.Header().Set("Connection", "close")
	// A ResponseWriter that is no connection has none to hold.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.timeouts.body))
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
// Who closes ln while ctx lives ([net.ErrClosed]) only has no more connections
// accepted. Those that were are served to their end: the socket of a page until
// the page goes, any other until its next request, which is answered with
// Connection: close, or until it was idle for two minutes. Serve returns nil
// after the last of them, or when it is told to stop, as above.
//
// An address that ln is bound to may be used as Host.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(s.closing, stop)()

	listener := &listenerInfo{wildcard: isWildcard(ln.Addr())}
	var conns conns
	srv := &http.Server{
		Handler: conns.asks(s),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			boundTaking(conn, s.timeouts.taking)
			return context.WithValue(ctx, connKey{}, conn)
		},
		BaseContext:                  func(net.Listener) context.Context { return context.WithValue(ctx, listenerKey{}, listener) },
		ConnState:                    conns.track,
		ErrorLog:                     log.New(errorLog{s}, "", 0),
		ReadHeaderTimeout:            s.timeouts.header,
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
	if errors.Is(err, net.ErrClosed) {
		err = nil
		conns.outlast(ctx, &listener.pages)
	}
	listener.pages.dismiss()
	ln.Close()
	<-served
	conns.drain(srv)
	s.drain(srv, &listener.pages)
	if err != nil {
		return fmt.Errorf("serve %s: %w", ln.Addr(), err)
	}
	return nil
}

// An errorLog is where an http.Server says what went wrong with a connection.
type errorLog struct{ server *Server }

// Write is io.Writer's. Most of what comes is about a client that does not speak
// HTTP; by its beginning it knows what is a fault of ours, or of the machine.
func (l errorLog) Write(text []byte) (int, error) {
	s, log := l.server, l.server.current.Load().log
	line := strings.TrimSuffix(string(text), "\n")
	if err, ok := strings.CutPrefix(line, "http: Accept error: "); ok {
		s.logLimited(log, notAccepted, "err", err)
	} else if what, ok := strings.CutPrefix(line, "http: panic serving "); ok {
		err, stack, _ := strings.Cut(what, "\n")
		s.logLimited(log, handlerPanicked, "err", err, "stack", stack)
	} else {
		log.Debug(line)
	}
	return len(text), nil
}

// drain stops srv: what runs gets the grace period, and what is left is cut.
func (s *Server) drain(srv *http.Server, pages *connSet) {
	now := s.current.Load()
	grace, cancel := context.WithTimeout(context.Background(), max(now.grace, 0))
	defer cancel()
	err := srv.Shutdown(grace)
	if err == nil {
		err = pages.Wait(grace)
	}
	if err != nil {
		now.log.Info("requests cut", "err", err)
	}
	pages.cut()
	srv.Close()
	late, cancel := context.WithTimeout(context.Background(), cutTimeout)
	defer cancel()
	if err := pages.Wait(late); err != nil {
		now.log.Info("browsers still there", "err", err)
	}
}

// Refresh tells the open pages that the content of files changed, as one
// decision: a page that must be loaded again is told just that, any other page
// gets the style sheets and images to fetch again, and a page that nothing
// concerns hears nothing. Paths are relative to the root, with slashes; a path
// with a slash at its end is a directory and everything below it.
//
// A file that was written again with the same content is no change for the pages
// that say what they use; see the package's documentation.
//
// Refresh waits for no browser: what a slow one has not fetched yet is merged.
// It does read those of the files that some page says it uses: one that cannot be
// read, or is gone, becomes an error that the page shows, and is no reason to load
// it again.
//
// Names that are not served, such as dot files, concern nobody.
func (s *Server) Refresh(paths ...string) {
	s.hub.refresh(paths)
}

// Recheck says that names came or went, or that files may be read now or not
// any more, as far as Refresh is not told. It opens what some page uses of
// them. A file that is gone or cannot be read becomes an error of the pages
// that use it, which goes when it can be read again; then, or when another
// file has come to its place, the pages are told as by Refresh. Pages that
// list a directory are loaded again when a name in it comes or goes. Paths are
// as in Refresh.
func (s *Server) Recheck(paths ...string) {
	s.hub.recheck(paths)
}

// Concerns reports whether the change of a file's content would concern a page
// that is open now. The path is as in Refresh.
func (s *Server) Concerns(path string) bool {
	return s.hub.concernsPath(path)
}

// Close stops every Serve, says goodbye to all browsers and releases the root.
// It does not wait; Serve does. A request that comes later is answered with
// 503. Closing twice does no harm.
func (s *Server) Close() error {
	s.replacing.Lock()
	defer s.replacing.Unlock()
	if s.closing.Err() != nil {
		return nil
	}
	s.close()
	s.logRest(s.current.Load().log)
	s.lone.dismiss()
	s.private.close()
	return s.current.Load().root.release()
}
