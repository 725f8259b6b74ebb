package job

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// A port is tried again after knock, then after twice the time each, up to
// maxKnock.
const (
	knock    = 2 * time.Millisecond
	maxKnock = 50 * time.Millisecond
)

// A sign is by what a service is known to be ready.
type sign struct {
	address string   // empty is none
	notices *notices // nil is none
}

// sign prepares for what a service that is about to start will show. Who
// listens on its address already would be taken for it.
func (s *Server) sign(ctx context.Context) (*sign, error) {
	g := &sign{address: s.service.Address}
	if g.address != "" && listens(ctx, g.address) {
		return nil, fmt.Errorf("another program listens on %s: stop that, or choose another port", g.address)
	}
	if s.service.Notify {
		n, err := listenNotices()
		if err != nil {
			return nil, err
		}
		g.notices = n
	}
	return g, nil
}

// env is what tells the service how to give the sign.
func (g *sign) env() []string {
	if g.notices == nil {
		return nil
	}
	return []string{"NOTIFY_SOCKET=" + g.notices.path()}
}

// await returns nil when the sign was given, or an error when ctx has ended.
func (g *sign) await(ctx context.Context) error {
	if g.notices != nil {
		select {
		case <-g.notices.ready:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for wait := knock; g.address != "" && !listens(ctx, g.address); wait = min(2*wait, maxKnock) {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}

func (g *sign) close() {
	if g.notices != nil {
		g.notices.close()
	}
}

// listens reports whether somebody takes connections at an address.
func listens(ctx context.Context, address string) bool {
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// notices is a socket for sd_notify(3) in a directory that nobody else can
// enter. It lives as long as the service, which may have more to say.
type notices struct {
	dir   string
	conn  *net.UnixConn
	ready chan struct{} // closed at READY=1
	done  sync.WaitGroup
}

func listenNotices() (*notices, error) {
	dir, err := os.MkdirTemp("", "execlogd-")
	if err != nil {
		return nil, err
	}
	n := &notices{dir: dir, ready: make(chan struct{})}
	n.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: n.path(), Net: "unixgram"})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("socket for READY=1: %w", err), os.RemoveAll(dir))
	}
	n.done.Go(n.listen)
	return n, nil
}

func (n *notices) path() string { return filepath.Join(n.dir, "notify") }

// listen reads until the socket is closed. What comes with a message, such as
// the pipe that systemd-notify waits at, the kernel closes.
func (n *notices) listen() {
	once := sync.OnceFunc(func() { close(n.ready) })
	buf := make([]byte, 4<<10)
	for {
		size, err := n.conn.Read(buf)
		if err != nil {
			return
		}
		for line := range bytes.Lines(buf[:size]) {
			if string(bytes.TrimSpace(line)) == "READY=1" {
				once()
			}
		}
	}
}

func (n *notices) close() {
	n.conn.Close()
	n.done.Wait()
	os.RemoveAll(n.dir)
}
