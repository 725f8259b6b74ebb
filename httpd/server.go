package httpd

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/execlog/execlogd/httpd/internal/livereload"
	"github.com/execlog/execlogd/httpd/internal/status"
)

// DefaultGrace is how long a stopping server waits for requests that are
// still being answered.
const DefaultGrace = 5 * time.Second

// Options says what a Server serves and to whom. The zero value serves no
// files and offers live reload to the pages of this machine.
type Options struct {
	// Root is the directory that is served. Empty serves no files: live
	// reload for pages that come from elsewhere.
	Root string

	// Wait says that the Root need not exist yet, as when a build makes it. There are no
	// files then until it does.
	Wait bool

	// Private are paths of files that are never served, by whatever name, symbolic
	// link, hard link or mount a request reaches them. Neither are copies beside
	// them whose names add to theirs, such as site.toml~ or site.toml.bak. A path
	// is looked up at each request. The file that it led to before stays private
	// under its other names until the Server is closed. A path that leads nowhere
	// does no harm. A copy elsewhere is a file like any other.
	Private []string

	// NoLiveReload serves the files as they are, with no script in them, and
	// has neither /livereload and /livereload.js nor the status page.
	NoLiveReload bool

	// NoInject puts no script into the files' pages. A page that is to be kept up to
	// date links livereload.js itself. The server's own pages still have the script.
	NoInject bool

	// Sync does what the reader of a page does to it, clicks, scrolling and what is
	// entered into forms, to all open pages of this server with the same path and query.
	// So whoever can open a page clicks for all who have it open. Fields for passwords and
	// cards are left out.
	Sync bool

	// Logger gets, at level Error, what keeps requests from being answered; at Warn, that
	// descriptors have run out, and pages whose policy blocks live reload; at Info,
	// requests that are refused for their Host or Origin; and at Debug, the life of
	// browsers and connections. Lines above Debug that whoever can connect may cause are
	// limited: of each kind five at once (50 of policies in pages, 1 of descriptors), then
	// one a minute, which has the number of lines that were left out before it as
	// "suppressed". Close logs how many were left out last. Nil discards all.
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

	// Editor is where the places of errors lead, for the owner of the server: "vscode",
	// "idea", "zed", or the pattern of a URL with {file}, and {line} and {column}. As a
	// link runs in the page that shows it, its scheme must not be one of a script. Empty is
	// no link.
	Editor string

	// CORS are the origins whose scripts may read the files, and whose pages may embed
	// them: as in AllowOrigins, or "*" for all. A site in the list can read whatever is
	// served here, in the browser of anybody who can reach the server. Loopback pages at
	// a loopback server may embed files anyway.
	CORS []string

	// Watches returns what is watched, for the status page. It is called often and
	// must not block for long. Nil shows nothing.
	Watches func() []Watch

	// Runs returns what has run last, for the status page: at most so many runs, the
	// newest first, each with at most so many bytes of the end of its output.
	// RunsChanged returns a channel that is closed when Runs would return something
	// else. Both are called often and must not block for long. Without Runs nothing
	// is shown; without RunsChanged the page is up to two seconds late.
	Runs        func(runs, output int) []Run
	RunsChanged func() <-chan struct{}

	// Rebuilding reports whether files are being made, or are about to be, that pages are
	// to wait for. A request for a file that is not there, or for a page without content,
	// then waits for it, for five seconds at most. It also waits for a file that was there
	// when a name has come or gone in its directory within a second. Rebuilding is called
	// often and must not block. Nil is never.
	Rebuilding func() bool

	// Token is a secret by which the owner of the server sees all of the status
	// page from anywhere: /.execlogd/?token=TOKEN. It consists of letters and
	// digits and must not be guessable. If it is empty, the page shows all only to
	// programs of this user and of root on this machine.
	Token string

	// Grace is how long Serve, when it is told to stop, waits for running requests
	// and for browsers to answer the closing of their sockets. 0 means DefaultGrace;
	// with a negative one it does not wait.
	Grace time.Duration
}

// A Server serves one directory and keeps the pages that are open in browsers
// up to date. Its methods may be called from any goroutine.
type Server struct {
	current    atomic.Pointer[handler]
	hub        *livereload.Hub
	timeouts   timeouts
	limits     logLimits
	warned     warnings // about policies in files
	reported   warnings // about policies that pages report
	private    privateFiles
	unscripted unscripted
	digests    digests
	rebuilds   rebuildWaits
	pages      livereload.ConnSet // the websockets of requests that belong to no Serve
	requests   activity           // of all requests

	statusSubscribers map[bool]chan struct{} // semaphores: that of the owner, and that of all others
	statusRenderer    status.Renderer

	replacing sync.Mutex // held while current is replaced or given up

	closing context.Context // ends when Close is called
	close   context.CancelFunc
}

// New opens the root and checks the options. It starts no goroutine; the
// Server holds a file descriptor until Close.
func New(opts Options) (*Server, error) {
	s := &Server{
		statusSubscribers: map[bool]chan struct{}{true: make(chan struct{}, maxSubscribers), false: make(chan struct{}, maxSubscribers)},
		timeouts:          timeouts{header: 10 * time.Second, body: 5 * time.Second, receive: 2 * time.Minute},
	}
	s.requests.since = time.Now()
	s.closing, s.close = context.WithCancel(context.Background())

	first, err := s.newHandler(opts, nil)
	if err != nil {
		s.close()
		return nil, err
	}

	s.current.Store(first)
	s.hub = livereload.New(*first.liveConfig(), s.fileState)
	return s, nil
}

// ServeHTTP answers one request. With it a Server is the handler of another
// http.Server, whose program calls Close to close the browsers' sockets, as
// http.Server.Shutdown does not.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.RequestURI != "*" { // which asks whether there is a server, and for nothing that it has
		s.requests.begin()
		defer s.requests.end()
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")

	// Nothing here wants a body. A client that announces one is answered at once, and
	// its connection closed when the body has come or the time for it is over. A
	// ResponseWriter that has no deadline has no connection to hold either.
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close")
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.timeouts.body))
	}

	// The cursor is taken before the handler, so that a page's cursor is never later
	// than its root: see Change.
	at := s.hub.Cursor()
	now, ok := s.acquire()
	if !ok {
		refuse(w, http.StatusServiceUnavailable, "the server is stopping")
		return
	}
	defer now.root.release()
	now.serve(w, r, at)
}

// refuse answers with one line of text.
func refuse(w http.ResponseWriter, code int, why string) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, why, code)
}

// Refresh tells the open pages that the content of files changed. The paths make one
// change: a page that has to load again is told only that, any other page is told
// which style sheets and images to fetch again, and a page that the change does not
// affect is told nothing. Paths are relative to the root, with slashes. A path with a
// slash at its end is a directory with everything below it.
//
// For pages that report what they use, a file that was written again with the same
// content has not changed; see the package's documentation.
//
// Refresh waits for no browser: what a slow one has not taken yet is merged with what
// comes later. Refresh does read the files that pages report to use. A file that is
// gone or cannot be read becomes an error that the page shows; the page does not load
// again because of it.
//
// Names that are not served, such as hidden files, affect no page.
func (s *Server) Refresh(paths ...string) {
	s.hub.Refresh(paths)
}

// Recheck says that names came or went, or that files became readable or
// unreadable, where Refresh is not called. It opens those of the files that pages
// use. A file that is gone or cannot be read becomes an error of the pages that use
// it, until it can be read again. Then, or when another file has come in its place,
// the pages are told as by Refresh. Pages that list a directory load again when a
// name in it comes or goes. Paths are as in Refresh.
func (s *Server) Recheck(paths ...string) {
	s.hub.Recheck(paths)
}

// Concerns reports whether a change of a file's content would affect a page that is
// open now. The path is as in Refresh.
func (s *Server) Concerns(path string) bool {
	return s.hub.Concerns(path)
}

// OpenPages counts the pages that are open and listen for changes.
func (s *Server) OpenPages() int { return s.hub.OpenPages() }

// Changed returns a channel that is closed when a page opens or leaves, or pages are told of
// a change.
func (s *Server) Changed() <-chan struct{} { return s.hub.Changed() }

// Close stops every Serve, closes all sockets of pages and releases the root.
// It does not wait; Serve does. A request that comes later is answered with
// 503. Closing twice does no harm.
func (s *Server) Close() error {
	s.replacing.Lock()
	defer s.replacing.Unlock()
	if s.closing.Err() != nil {
		return nil
	}

	s.close()
	now := s.current.Load()
	now.logRest()
	s.pages.Close()
	s.private.close()
	return now.root.release()
}
