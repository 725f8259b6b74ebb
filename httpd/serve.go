package httpd

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/execlog/execlogd/httpd/internal/livereload"
	"github.com/execlog/execlogd/httpd/internal/waitgroup"
	"golang.org/x/sys/unix"
)

// How much time and memory a client may take that does not say what it wants; see
// timeouts for more. There is no bound on an answer as a whole: a large file over a
// slow line takes as long as it takes.
const (
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
	cutTimeout     = time.Second // for handlers whose connections were cut

	// How long a connection stays open at the end to send a request that is on its way.
	// Browsers open some that never send one.
	lingerTime = 200 * time.Millisecond
)

// Timeouts are how long a client may take.
type timeouts struct {
	header  time.Duration // to send the header of a request, from its first byte on
	body    time.Duration // to send a body, which nobody wants
	receive time.Duration // to receive anything at all of what it was sent

	upstream time.Duration // for an upstream that is not there to come
}

// Serve answers connections from ln until ctx ends or Close is called, and then
// returns nil. An error of the listener is returned. In either case ln is closed and
// the sockets of pages are closed with status 1001. A request that is on its way is
// answered, with Connection: close; a connection that sends none for 200 ms is closed.
// Running requests get Options.Grace to finish, what is left then is cut, and Serve
// waits for all of that.
// It may be called again, and for several listeners at once.
//
// Closing ln while ctx lives ([net.ErrClosed]) only keeps new connections out. The
// accepted ones are served to their end: the socket of a page until the page goes, any
// other until its next request, which is answered with Connection: close, or until it
// was idle for two minutes. Serve returns nil after the last of them, or when it is
// told to stop, as above. A connection that the kernel has accepted and Serve has not
// may get no answer.
//
// An address that ln is bound to may be used as Host.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	return s.serveListener(ctx, ln, &listenerInfo{})
}

// ServeStatus is Serve for a listener at which nothing but the status page is served,
// also with Options.NoLiveReload. Who may see what is as it is at other listeners.
func (s *Server) ServeStatus(ctx context.Context, ln net.Listener) error {
	return s.serveListener(ctx, ln, &listenerInfo{statusOnly: true})
}

func (s *Server) serveListener(ctx context.Context, ln net.Listener, listener *listenerInfo) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(s.closing, stop)()

	listener.stopping, listener.conns = ctx, &s.conns
	cut, cutRest := context.WithCancel(context.WithoutCancel(ctx))
	defer cutRest()
	listener.cut = cut
	tcp, isTCP := ln.Addr().(*net.TCPAddr)
	listener.wildcard = isTCP && tcp.AddrPort().Addr().Unmap().IsUnspecified()
	var conns httpConns
	srv := &http.Server{
		Handler: conns.handler(s, s.timeouts.receive),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			if lane, ok := conn.(*laneConn); ok {
				ctx = context.WithValue(ctx, laneKey{}, lane)
			}
			conn = socketOf(conn)
			setUserTimeout(conn, s.timeouts.receive)
			return context.WithValue(ctx, connKey{}, conn)
		},
		BaseContext: func(net.Listener) context.Context { return context.WithValue(ctx, listenerKey{}, listener) },
		ConnState: func(conn net.Conn, state http.ConnState) {
			conns.track(conn, state)
			s.conns.countEnd(conn, state)
		},
		ErrorLog:                     log.New(errorLog{s}, "", 0),
		ReadHeaderTimeout:            s.timeouts.header,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		DisableGeneralOptionsHandler: true,
	}

	served := make(chan error, 1)
	limited := limitedListener{ln, s, listener.tls != nil}
	go func() { served <- listener.accept(srv, s.fastLane(limited, listener, &conns)) }()
	var err error
	select {
	case <-ctx.Done():
	case err = <-served:
		served <- err // for the wait below
	}
	if errors.Is(err, net.ErrClosed) {
		// Nothing new is accepted: wait for the last connection and then for the last
		// page. Idle connections are not closed, as http.Server.SetKeepAlivesEnabled
		// would: a request may be on its way.
		err = nil
		conns.final.Store(true)
		if conns.all.Wait(ctx) == nil {
			listener.pages.Wait(ctx)
			listener.proxied.Wait(ctx)
		}
	}

	stop()
	listener.pages.Close()
	ln.Close()
	<-served
	s.shutdown(srv, &conns, listener, cutRest)
	if err != nil {
		return fmt.Errorf("serve %s: %w", ln.Addr(), err)
	}
	return nil
}

// shutdown stops srv: what runs gets the grace period, and what is left is cut.
func (s *Server) shutdown(srv *http.Server, conns *httpConns, listener *listenerInfo, cutRest func()) {
	pages := &listener.pages
	now := s.current.Load()
	grace, cancel := context.WithTimeout(context.Background(), max(cmp.Or(now.opts.Grace, DefaultGrace), 0))
	defer cancel()
	err := conns.drain(grace)
	if err == nil {
		err = pages.Wait(grace)
	}
	if err == nil {
		err = listener.proxied.Wait(grace)
	}
	if err != nil {
		now.log.Info("requests cut", "err", err)
	}

	pages.Cut()
	cutRest()
	conns.cut()
	srv.Close()
	late, cancel := context.WithTimeout(context.Background(), cutTimeout)
	defer cancel()
	if err := cmp.Or(pages.Wait(late), listener.proxied.Wait(late)); err != nil {
		now.log.Info("browsers still there", "err", err)
	}
}

// setUserTimeout has the kernel close a connection whose client takes nothing for so
// long of what it was sent, and whose answer would hold it for ever. A client that
// takes a byte now and then is not affected. Without the option the answer has no
// bound.
func setUserTimeout(conn net.Conn, d time.Duration) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = control(tcp, func(fd int) error {
			return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
		})
	}
}

// control calls do with the descriptor of a connection.
func control(conn syscall.Conn, do func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	outer := raw.Control(func(fd uintptr) { err = do(int(fd)) })
	return cmp.Or(outer, err)
}

// connKey is the key of a request's net.Conn in its context, which is that beneath TLS.
type connKey struct{}

type listenerKey struct{}

// A listenerInfo is what the requests of one Serve have in common.
type listenerInfo struct {
	wildcard   bool               // the listener is bound to every address
	statusOnly bool               // nothing but the status page is served
	tls        *tls.Config        // nil for plain HTTP
	conns      *connCounts        // of the Server that serves; a request may be for another: see Site
	pages      livereload.ConnSet // the websockets that these requests became
	proxied    waitgroup.Group    // requests that are handed on, and websockets that these became
	stopping   context.Context    // ends when Serve is to end
	cut        context.Context    // ends when what is left then is cut
}

// listenerOf returns what is known of the listener of a request; nil where the
// Server is only the handler of another http.Server.
func listenerOf(ctx context.Context) *listenerInfo {
	l, _ := ctx.Value(listenerKey{}).(*listenerInfo)
	return l
}

// httpConns are the connections of one http.Server, except those that became the
// socket of a page.
type httpConns struct {
	all   waitgroup.Group
	final atomic.Bool // no more are accepted: the next request of each is its last

	mu    sync.Mutex
	open  map[net.Conn]struct{}
	quiet map[net.Conn]quietConn
}

// A quietConn is a connection that has sent nothing, or nothing since its last answer.
type quietConn struct {
	since      time.Time
	halfClosed bool // we send nothing any more
}

// track is an http.Server's ConnState. It hears of a new connection before
// http.Server.Serve returns.
func (c *httpConns) track(conn net.Conn, state http.ConnState) {
	if lane, ok := conn.(*laneConn); ok {
		lane.track(state)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew, http.StateIdle:
		if c.quiet == nil {
			c.quiet = make(map[net.Conn]quietConn)
		}
		c.quiet[conn] = quietConn{since: time.Now()}
	default:
		delete(c.quiet, conn)
	}

	switch state {
	case http.StateNew:
		if c.open == nil {
			c.open = make(map[net.Conn]struct{})
		}
		c.open[conn] = struct{}{}
		c.all.Add()
	case http.StateHijacked, http.StateClosed:
		delete(c.open, conn)
		c.all.Done()
	}
}

// handler has each connection know when a request of it is the last, and those of HTTP/2 how
// long a client may take nothing.
func (c *httpConns) handler(h http.Handler, receive time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.final.Load() {
			w.Header().Set("Connection", "close")
		}
		if r.ProtoMajor == 2 {
			var end func()
			w, end = newHTTP2Writer(w, receive)
			defer end()
		}
		h.ServeHTTP(w, r)
	})
}

// drain serves the connections to their end once nothing new is accepted: until the next
// answer, which says so, or until they are quiet for a while. http.Server.Shutdown would
// close connections on which a request is on its way. The error is the cause of ctx.
func (c *httpConns) drain(ctx context.Context) error {
	c.final.Store(true)
	for begun := time.Now(); ; {
		tick, end := context.WithTimeout(ctx, lingerTime/10)
		err := c.all.Wait(tick)
		end()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		c.closeQuiet(begun)
	}
}

// cut closes the sockets of all connections. http.Server.Close waits for each client of TLS
// that does not read, for five seconds.
func (c *httpConns) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.open {
		socketOf(conn).Close()
	}
}

// closeQuiet closes the connections that have been quiet for a while after a time. What a
// client sends to a closed connection is answered by a reset, so that the half that it reads
// is closed first: then it closes the other one.
func (c *httpConns) closeQuiet(after time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn, q := range c.quiet {
		if lane, ok := conn.(*laneConn); ok {
			q.since = lane.quietSince(q.since)
		}
		if time.Since(q.since) < lingerTime || time.Since(after) < lingerTime {
			continue
		}
		socket := socketOf(conn) // TLS would wait for a client that does not read
		half, ok := socket.(interface{ CloseWrite() error })
		if !ok || q.halfClosed || half.CloseWrite() != nil {
			socket.Close()
			continue
		}
		c.quiet[conn] = quietConn{since: time.Now(), halfClosed: true}
	}
}
