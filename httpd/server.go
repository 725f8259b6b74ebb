package httpd

import (
	"context"
	"crypto/rand"
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

	// FollowSymlinks serves what symbolic links below the Root lead to outside of it, by
	// absolute paths or by "..". What is hidden or Private is not served there either, nor
	// are the files of /proc and /sys. Whoever can make a link below the Root can show
	// everybody what the server may read.
	FollowSymlinks bool

	// Private are paths of files that are never served, by whatever name, symbolic
	// link, hard link or mount a request reaches them. Neither are copies beside
	// them whose names add to theirs, such as site.toml~ or site.toml.bak. A path
	// is looked up at each request. The file that it led to before stays private
	// under its other names until the Server is closed. A path that leads nowhere
	// does no harm. A copy elsewhere is a file like any other.
	Private []string

	// Types are the content types of files by the extensions of their names, in place of
	// those of the table that there is: ".md": "text/markdown; charset=utf-8".
	Types map[string]string

	// SPA is the name of a file beneath the root, index.html mostly, that browsers are
	// shown where they are led to a path without a file, as an application with routes
	// of its own needs it. A path that ends like a file of another type than a page is
	// not found all the same, and so is what a script fetches. Empty is none.
	SPA string

	// CleanURLs leads browsers from /a.html to /a, and from /a/index.html to /a/.
	CleanURLs bool

	// ErrorPages are the names of files beneath the root that browsers are shown in place
	// of an error, by status: 403, 404, 500 or 503. For 404 the default is 404.html.
	ErrorPages map[int]string

	// Redirects say what is answered where there is no file. The first that matches
	// counts.
	Redirects []Redirect

	// Headers say which headers answers have. Of several rules with one header, the last
	// that matches counts.
	Headers []HeaderRule

	// NoRuleFiles serves _redirects and _headers at the top of the root as files. Without
	// it they have further redirects and headers, as sites at Netlify have them, behind
	// those of the options. They are read again when they change, and the log names their
	// mistakes.
	NoRuleFiles bool

	// Proxies hand on the requests for parts of the site to other servers, with any method
	// and body, and their answers back, with the script in pages that browsers are shown. No
	// file is served there. What live reload needs, /livereload, /livereload.js and
	// /.execlogd/, is never handed on.
	Proxies []Proxy

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
	// descriptors or connections have run out, and pages whose policy blocks live reload; at Info,
	// requests that are refused for their Host or Origin; and at Debug, the life of
	// browsers and connections. Lines above Debug that whoever can connect may cause are
	// limited: of each kind five at once (50 of policies in pages, 1 of descriptors and of connections), then
	// one a minute, which has the number of lines that were left out before it as
	// "suppressed". Close logs how many were left out last. Nil discards all.
	Logger *slog.Logger

	// AllowHosts are further names by which the server may be addressed: a
	// name or address without a port, or ".example.com" for a domain with
	// everything below it. Loopback names, addresses that were bound and the
	// name of the machine need not be listed. Every name added here is one
	// that an attacker's DNS must not control.
	AllowHosts []string

	// Sites are answered for by other Servers, at the listeners of this one, which answers
	// for all other hosts. They are not closed with this Server.
	Sites []Site

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

	// CacheBytes is how much of the content of files that were asked for lately is kept in
	// memory, and CacheFiles of how many of them. A file is looked at for each request all
	// the same, so that what is served is never an older version. 0 means DefaultCacheBytes
	// and DefaultCacheFiles; with a negative one nothing is kept.
	CacheBytes int64
	CacheFiles int

	// Compress compresses files of types and sizes for which it pays (1 KiB to 8 MiB), by the
	// one of br, zstd and gzip that the browser likes best. What was compressed is kept in
	// memory, of a quarter of CacheBytes. To a browser on the same machine compressed content
	// comes later.
	Compress bool

	// Precompressed sends the file with .br, .zst or .gz behind its name in place of another to
	// a browser that takes it, if it is not older. Pages that get the script are not sent so.
	Precompressed bool

	// Position and Since are for a root that several machines serve and tell each other of,
	// so that a page which was served by one of them and connects to another catches up.
	// Position says how far this machine is in the changes of all, in letters, digits and
	// dashes; "" if that is not known. Whatever comes before it must be seen in the files. Since
	// says when this machine was told first of a change after a position, which is one that a
	// client has sent; it is not ok if that is not known. Both are called often and must not
	// block. Nil is for a root that is not shared.
	Position func() string
	Since    func(position string) (since time.Time, ok bool)

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

	// Answered is called after each request, and at the end of each websocket, for a log of
	// requests. Requests for "*" are left out, and so is what net/http answers itself because it
	// is not HTTP, and a connection that is refused. Answered is called often, by many
	// goroutines at once, and must not block. Nil costs nothing.
	Answered func(Answer)

	// MaxConnections is how many connections Serve has at once, at all listeners together,
	// with those of open pages. What is above is answered with 503 and closed at once. 0,
	// and more than three quarters of the descriptors that the process may have, mean three
	// quarters of them, or half if they are few.
	MaxConnections int

	// MaxConnectionsPerAddress is how many connections Serve has at once from one address,
	// or from one network of 64 bits in IPv6. Those from this machine are not limited, as a
	// proxy may stand for many clients. 0 is no limit.
	MaxConnectionsPerAddress int

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
	fast       atomic.Int64       // requests that connections have answered by themselves
	conns      connCounts         // of all Serves
	via        string             // the name of the Server among proxies

	cacheHits, cacheMisses atomic.Uint64

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
		timeouts:          timeouts{header: 10 * time.Second, body: 5 * time.Second, receive: 2 * time.Minute, upstream: maxRebuildWait},
	}
	s.requests.since = time.Now()
	s.via = "execlogd-" + rand.Text()[:8]
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

	// The cursor is taken before the handler, so that a page's cursor is never later
	// than its root: see Change.
	at := s.hub.Cursor()
	now, ok := s.acquire()
	if !ok {
		s.boundBody(w, r)
		refuse(w, http.StatusServiceUnavailable, "the server is stopping")
		return
	}
	defer now.root.release()
	if site := now.sites.find(r.Host); site != nil && r.RequestURI != "*" {
		site.ServeHTTP(w, r)
		return
	}
	if now.opts.Answered == nil || r.RequestURI == "*" {
		now.serve(w, r, at)
		return
	}
	recorder := newAnswerRecorder(w, r, now.opts.Answered)
	defer recorder.finish()
	now.serve(recorder, r, at)
	recorder.returned()
}

// boundBody bounds the body of a request that wants none. A client that announces one is
// answered at once, and its connection closed when the body has come or the time for it is
// over. A ResponseWriter that has no deadline has no connection to hold either.
func (s *Server) boundBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close")
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.timeouts.body))
	}
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
	s.current.Load().hot.dropChanged(paths)
	s.hub.Refresh(paths)
}

// Recheck says that names came or went, or that files became readable or
// unreadable, where Refresh is not called. It opens those of the files that pages
// use. A file that is gone or cannot be read becomes an error of the pages that use
// it, until it can be read again. Then, or when another file has come in its place,
// the pages are told as by Refresh. Pages that list a directory load again when a
// name in it comes or goes. Paths are as in Refresh.
func (s *Server) Recheck(paths ...string) {
	s.current.Load().hot.dropChanged(paths)
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
