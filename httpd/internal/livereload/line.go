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
)

// Buffers of a websocket, which has them for as long as it is open. What is
// larger than the reader's is read into its place. The writer's has room for
// any control frame, so that each of those is one write; it has no others to
// send.
const (
	readBuffer  = 128
	writeBuffer = 128
)

// keptLimit bounds what a line keeps for a peer that does not read. An update
// always fits, and no other is begun before it is taken; what could grow is
// the answers to a peer that asks and does not listen.
const keptLimit = 1 << 20

// A hijacker is a ResponseWriter whose connection becomes a line when it is
// hijacked. What net/http had for the connection is let go of.
type hijacker struct {
	http.ResponseWriter
	conns    *ConnSet
	patience time.Duration
	line     *nonblockingConn
}

// Hijack is http.Hijacker's.
func (t *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(t.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	early, _ := rw.Reader.Peek(rw.Reader.Buffered())
	t.line = newNonblockingConn(conn, bytes.Clone(early), &t.conns.Group, t.patience)
	return t.line, bufio.NewReadWriter(bufio.NewReaderSize(t.line, readBuffer), bufio.NewWriterSize(t.line, writeBuffer)), nil
}

// A nonblockingConn is a connection on which a write does not wait for the peer: what the
// peer does not take at once is kept, and a goroutine sends it. At rest there
// is no such goroutine, and while the peer reads there is none either.
type nonblockingConn struct {
	net.Conn
	fd       int              // of the socket until the line ends; -1 where a write cannot be tried, as under TLS
	socket   io.Closer        // ends the connection without a word
	early    []byte           // what came behind the request and has not been read yet
	group    *waitgroup.Group // has the goroutine
	patience time.Duration    // for the peer to take what it was sent

	mu       sync.Mutex    // guards what follows
	kept     []byte        // what the goroutine has yet to send
	flushing bool          // there is a goroutine
	whenIdle func()        // to be called when there is none any more
	parting  bool          // no more messages
	ended    bool          // the connection is closed
	end      chan struct{} // closed with it; nil when nobody waits for that
	reason   error         // it is
}

func newNonblockingConn(conn net.Conn, early []byte, crowd *waitgroup.Group, patience time.Duration) *nonblockingConn {
	l := &nonblockingConn{Conn: conn, fd: -1, socket: conn, early: early, group: crowd, patience: patience}
	switch c := conn.(type) {
	case *net.TCPConn:
		l.fd = descriptor(c)
	case *net.UnixConn:
		l.fd = descriptor(c)
	case *tls.Conn:
		l.socket = c.NetConn() // its own Close may wait for the peer
	}
	return l
}

func descriptor(c syscall.Conn) int {
	fd := -1
	if raw, err := c.SyscallConn(); err == nil {
		raw.Control(func(n uintptr) { fd = int(n) })
	}
	return fd
}

// Read is net.Conn's.
func (l *nonblockingConn) Read(p []byte) (int, error) {
	if len(l.early) == 0 {
		return l.Conn.Read(p)
	}
	n := copy(p, l.early)
	l.early = l.early[n:]
	if len(l.early) == 0 {
		l.early = nil
	}
	return n, nil
}

// send writes a whole frame. The websocket does not know of it, and has frames
// of its own, each one write.
func (l *nonblockingConn) send(frame []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.parting {
		return net.ErrClosed
	}
	_, err := l.write(frame)
	return err
}

// endMessages has send fail from now on: nothing may follow a goodbye.
func (l *nonblockingConn) endMessages() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parting = true
}

var errPeerBehind = errors.New("the peer does not read")

// Write is net.Conn's. It fails when the line is cut or broken, or when much
// is kept already.
func (l *nonblockingConn) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.write(p)
}

// write is called with the lock.
func (l *nonblockingConn) write(p []byte) (n int, err error) {
	if l.ended {
		return 0, net.ErrClosed
	}
	if !l.flushing {
		n, err = l.try(p)
	}
	switch {
	case err != nil || n == len(p):
		return n, err
	case len(l.kept) > keptLimit:
		return n, errPeerBehind
	}
	l.kept = append(l.kept, p[n:]...)
	if !l.flushing {
		l.flushing = true
		l.group.Add()
		go l.finish()
	}
	return len(p), nil
}

// try writes what the peer has room for. The lock is held, so that nobody
// closes the descriptor.
func (l *nonblockingConn) try(p []byte) (int, error) {
	if l.fd < 0 {
		return 0, nil
	}
	n, err := syscall.Write(l.fd, p)
	for err == syscall.EINTR {
		n, err = syscall.Write(l.fd, p)
	}
	switch {
	case err == syscall.EAGAIN:
		return 0, nil
	case err != nil:
		return 0, os.NewSyscallError("write", err)
	}
	return n, nil
}

// finish sends what is kept, or cuts the line when the peer does not take it.
func (l *nonblockingConn) finish() {
	defer l.group.Done()
	for kept := l.next(); kept != nil; kept = l.next() {
		l.SetWriteDeadline(time.Now().Add(l.patience))
		if _, err := l.Conn.Write(kept); err != nil {
			l.cut(fmt.Errorf("write: %w", err))
		}
	}
}

// next is what is kept; nil ends the goroutine.
func (l *nonblockingConn) next() []byte {
	l.mu.Lock()
	kept, taken := l.kept, l.whenIdle
	l.kept = nil
	if kept != nil {
		l.mu.Unlock()
		return kept
	}
	l.flushing, l.whenIdle = false, nil
	l.mu.Unlock()
	if taken != nil {
		taken()
	}
	return nil
}

// onIdle calls f when nothing is kept, which may be now.
func (l *nonblockingConn) onIdle(f func()) {
	l.mu.Lock()
	if l.flushing {
		l.whenIdle = f
		l.mu.Unlock()
		return
	}
	l.mu.Unlock()
	f()
}

// cut closes the connection, and returns the first reason that was given.
func (l *nonblockingConn) cut(why error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reason = cmp.Or(l.reason, why)
	if !l.ended {
		if l.end != nil {
			close(l.end)
		}
		l.ended, l.kept = true, nil
		l.socket.Close()
	}
	return l.reason
}

// pause waits for d, and says whether the line is still there then.
func (l *nonblockingConn) pause(d time.Duration) bool {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return false
	}
	if l.end == nil {
		l.end = make(chan struct{})
	}
	end := l.end
	l.mu.Unlock()

	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-end:
		return false
	}
}

// isOver reports whether the line is cut, or the peer has hung up and nothing more
// comes from it.
func (l *nonblockingConn) isOver() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended || l.fd < 0 || len(l.early) > 0 {
		return l.ended
	}
	var next [1]byte
	n, _, err := syscall.Recvfrom(l.fd, next[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return n == 0 && err == nil || err == syscall.ECONNRESET
}

// Close is net.Conn's.
func (l *nonblockingConn) Close() error {
	l.cut(nil)
	return nil
}
