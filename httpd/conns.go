package httpd

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/execlog/execlogd/httpd/internal/waitgroup"
	"golang.org/x/sys/unix"
)

// Conns are the connections of one http.Server, but for those that became a
// page's socket.
type conns struct {
	waitgroup.Group             // all of them
	final           atomic.Bool // no more are accepted: their next request is the last
	fresh           freshConns
}

// track is an http.Server's ConnState. A connection is new before Serve
// returns.
func (c *conns) track(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		c.Add()
		c.fresh.enter(conn)
	case http.StateActive:
		// The request is there and may yet be dropped, until the handler runs.
	case http.StateIdle:
		c.fresh.leave(conn)
	case http.StateHijacked, http.StateClosed:
		c.fresh.leave(conn)
		c.Done()
	}
}

// boundTaking has the kernel close a connection whose client takes nothing for so
// long of what it was sent, and whose answer would hold it for ever. Whoever takes
// a byte now and then is not concerned.
func boundTaking(conn net.Conn, d time.Duration) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		// Without it the answer has no bound, which is how it was.
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
		})
	}
}

type connKey struct{}

// asks notes that a connection has its request before h answers it.
func (c *conns) asks(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.fresh.leave(r.Context().Value(connKey{}).(net.Conn))
		if c.final.Load() {
			w.Header().Set("Connection", "close")
		}
		h.ServeHTTP(w, r)
	})
}

// outlast waits, once nothing new is accepted, for the last connection and
// then for the last page, or until ctx ends. Idle connections are not closed,
// as http.Server.SetKeepAlivesEnabled would: a request may be on its way.
func (c *conns) outlast(ctx context.Context, pages *connSet) {
	c.final.Store(true)
	if c.Wait(ctx) == nil {
		pages.Wait(ctx)
	}
}

// drain lets the requests come that are on their way, once nothing new is
// accepted. From the moment that srv shuts down it drops requests unanswered,
// and it would wait five seconds for a connection without one.
func (c *conns) drain(srv *http.Server) {
	srv.SetKeepAlivesEnabled(false)
	soon, cancel := context.WithTimeout(context.Background(), freshTimeout)
	defer cancel()
	if c.fresh.crowd.Wait(soon) != nil {
		c.fresh.close()
	}
}

// freshConns are connections that have not asked for anything yet.
type freshConns struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	crowd waitgroup.Group // as many as conns
}

func (f *freshConns) enter(conn net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conns == nil {
		f.conns = make(map[net.Conn]struct{})
	}
	f.conns[conn] = struct{}{}
	f.crowd.Add()
}

func (f *freshConns) leave(conn net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.conns[conn]; known {
		delete(f.conns, conn)
		f.crowd.Done()
	}
}

func (f *freshConns) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for conn := range f.conns {
		conn.Close()
	}
}

type listenerKey struct{}

// A listenerInfo is what the requests of one Serve have in common.
type listenerInfo struct {
	wildcard bool    // the listener is bound to every address
	pages    connSet // the websockets that these requests became
}

// listenerOf returns what is known of the listener of a request; nil where the
// Server is only the handler of somebody else's http.Server.
func listenerOf(ctx context.Context) *listenerInfo {
	l, _ := ctx.Value(listenerKey{}).(*listenerInfo)
	return l
}
