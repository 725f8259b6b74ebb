package livereload

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/execlog/execlogd/httpd/internal/waitgroup"
	"golang.org/x/sys/unix"
)

// The buffers of a websocket, which it has for as long as it is open. The websocket reads
// what is larger than the reader's past it, and writes only control frames, each of which
// fits into the writer's.
const (
	readBuffer  = 128
	writeBuffer = 128
)

// maxBacklog is how much is kept for a peer that does not read. An update always fits, as
// none is begun while there is a backlog; the answers to a peer that asks and does not
// read may not.
const maxBacklog = 1 << 20

// A hijacker is a ResponseWriter whose connection becomes a nonblockingConn when it is
// hijacked. What net/http had for the connection is let go.
type hijacker struct {
	http.ResponseWriter
	group   *waitgroup.Group
	timeout time.Duration
	net     *nonblockingConn
}

// Hijack implements http.Hijacker.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.net = newNonblockingConn(conn, h.group, h.timeout)

	// What came behind the request is in the buffer of the new reader.
	early, _ := rw.Reader.Peek(rw.Reader.Buffered())
	reader := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(early), h.net), max(readBuffer, len(early)))
	reader.Peek(len(early))
	return h.net, bufio.NewReadWriter(reader, bufio.NewWriterSize(h.net, writeBuffer)), nil
}

// A nonblockingConn is a connection whose Write does not wait for the peer. What the peer
// does not take at once is kept, and a goroutine sends it. While the peer reads there is
// no such goroutine.
type nonblockingConn struct {
	net.Conn
	fd      int              // of the socket, until the connection is closed; -1 where a write cannot be tried, as under TLS
	socket  io.Closer        // closes the connection without a word
	group   *waitgroup.Group // of the goroutine
	timeout time.Duration    // for the peer to take what it was sent

	mu       sync.Mutex // guards what follows
	backlog  []byte     // that the goroutine has yet to send
	flushing bool       // there is a goroutine
	whenIdle func()     // is called once the goroutine has sent all
	ending   bool       // no more messages are sent
	closed   bool
	done     chan struct{} // see gone
	reason   error         // why it was closed
}

func newNonblockingConn(conn net.Conn, group *waitgroup.Group, timeout time.Duration) *nonblockingConn {
	c := &nonblockingConn{Conn: conn, fd: -1, socket: conn, group: group, timeout: timeout}
	switch conn := conn.(type) {
	case syscall.Conn:
		if raw, err := conn.SyscallConn(); err == nil {
			raw.Control(func(fd uintptr) { c.fd = int(fd) })
		}
	case *tls.Conn:
		c.socket = conn.NetConn() // its own Close may wait for the peer
	}
	return c
}

// send writes whole frames past the websocket, whose own frames are one write each.
func (c *nonblockingConn) send(frames []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return net.ErrClosed
	}
	_, err := c.write(frames)
	return err
}

// endMessages makes send fail from now on: nothing may follow a close frame.
func (c *nonblockingConn) endMessages() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending = true
}

var errPeerBehind = errors.New("the peer does not read")

// Write implements net.Conn. It fails when the connection is closed or broken, or when
// the backlog is too large.
func (c *nonblockingConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.write(p)
}

// write is Write; c.mu must be held.
func (c *nonblockingConn) write(p []byte) (n int, err error) {
	if c.closed {
		return 0, net.ErrClosed
	}
	if !c.flushing {
		n, err = c.tryWrite(p)
	}
	switch {
	case err != nil || n == len(p):
		return n, err
	case len(c.backlog) > maxBacklog:
		return n, errPeerBehind
	}

	c.backlog = append(c.backlog, p[n:]...)
	if !c.flushing {
		c.flushing = true
		c.group.Add()
		go c.flush()
	}
	return len(p), nil
}

// tryWrite writes as much as the socket has room for. c.mu must be held, so that nobody
// closes the descriptor.
func (c *nonblockingConn) tryWrite(p []byte) (int, error) {
	if c.fd < 0 {
		return 0, nil
	}
	for {
		n, err := unix.Write(c.fd, p)
		switch err {
		case nil:
			return n, nil
		case unix.EAGAIN:
			return 0, nil
		case unix.EINTR:
		default:
			return 0, os.NewSyscallError("write", err)
		}
	}
}

// flush sends the backlog, and closes the connection when the peer does not take it.
func (c *nonblockingConn) flush() {
	defer c.group.Done()
	for {
		c.mu.Lock()
		backlog := c.backlog
		c.backlog = nil
		if backlog == nil {
			whenIdle := c.whenIdle
			c.flushing, c.whenIdle = false, nil
			c.mu.Unlock()
			if whenIdle != nil {
				whenIdle()
			}
			return
		}
		c.mu.Unlock()

		c.SetWriteDeadline(time.Now().Add(c.timeout))
		if _, err := c.Conn.Write(backlog); err != nil {
			c.close(fmt.Errorf("write: %w", err))
		}
	}
}

// onIdle calls f once there is no backlog, which may be now.
func (c *nonblockingConn) onIdle(f func()) {
	c.mu.Lock()
	if c.flushing {
		c.whenIdle = f
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	f()
}

// close closes the connection at once, and returns the first reason that was given.
func (c *nonblockingConn) close(reason error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reason = cmp.Or(c.reason, reason)

	if !c.closed {
		if c.done != nil {
			close(c.done)
		}
		c.closed, c.backlog = true, nil
		c.socket.Close()
	}
	return c.reason
}

// Close implements net.Conn.
func (c *nonblockingConn) Close() error {
	c.close(nil)
	return nil
}

// gone returns a channel that is closed with the connection. Few connections are ever
// asked for it, so that most do without.
func (c *nonblockingConn) gone() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.closed {
			close(c.done)
		}
	}
	return c.done
}

// isOver reports whether the connection is closed, or the peer has hung up and nothing
// more comes from it.
func (c *nonblockingConn) isOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.fd < 0 {
		return c.closed
	}
	var next [1]byte
	n, _, err := unix.Recvfrom(c.fd, next[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return n == 0 && err == nil || err == unix.ECONNRESET
}
