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

// A service is probed again after minProbeInterval, and then after twice the time of
// the last interval each, up to maxProbeInterval.
const (
	minProbeInterval = 2 * time.Millisecond
	maxProbeInterval = 50 * time.Millisecond
)

// probeTimeout is how long one connection may take.
const probeTimeout = time.Second

// A readinessProbe finds out when a service is ready.
type readinessProbe struct {
	address string        // empty is none
	socket  *notifySocket // nil is none
}

// newReadinessProbe prepares for a service that is about to start. It fails if another
// program listens on the service's address, for that would be taken for the service.
func newReadinessProbe(ctx context.Context, s Service) (*readinessProbe, error) {
	p := &readinessProbe{address: s.Address}

	if p.address != "" && listens(ctx, p.address) {
		return nil, fmt.Errorf("another program listens on %s: stop that, or choose another port", p.address)
	}

	if s.Notify {
		socket, err := newNotifySocket()
		if err != nil {
			return nil, err
		}
		p.socket = socket
	}

	return p, nil
}

// await returns nil when the service is ready, or an error when ctx has ended.
func (p *readinessProbe) await(ctx context.Context) error {
	if p.socket != nil {
		select {
		case <-p.socket.ready:
		case <-ctx.Done():
			return ctx.Err()
		}
	}

	for wait := minProbeInterval; p.address != "" && !listens(ctx, p.address); wait = min(2*wait, maxProbeInterval) {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}

	return ctx.Err()
}

func (p *readinessProbe) close() {
	if s := p.socket; s != nil {
		s.conn.Close()
		s.reading.Wait()
		os.RemoveAll(s.dir)
	}
}

// listens reports whether somebody takes connections at an address.
func listens(ctx context.Context, address string) bool {
	dialer := net.Dialer{Timeout: probeTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// A notifySocket is a socket for sd_notify(3), in a directory that nobody else can
// enter. It lives as long as the service, which may send more than READY=1.
type notifySocket struct {
	dir     string
	conn    *net.UnixConn
	ready   chan struct{} // closed at READY=1
	reading sync.WaitGroup
}

func newNotifySocket() (*notifySocket, error) {
	dir, err := os.MkdirTemp("", "execlogd-")
	if err != nil {
		return nil, err
	}

	s := &notifySocket{dir: dir, ready: make(chan struct{})}
	s.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.path(), Net: "unixgram"})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("socket for READY=1: %w", err), os.RemoveAll(dir))
	}

	s.reading.Go(s.read)
	return s, nil
}

func (s *notifySocket) path() string { return filepath.Join(s.dir, "notify") }

// read reads until the socket is closed. What comes with a message, such as the pipe
// at which systemd-notify waits, the kernel closes.
func (s *notifySocket) read() {
	setReady := sync.OnceFunc(func() { close(s.ready) })

	buf := make([]byte, 4<<10)
	for {
		n, err := s.conn.Read(buf)
		if err != nil {
			return
		}

		for line := range bytes.Lines(buf[:n]) {
			if string(bytes.TrimSpace(line)) == "READY=1" {
				setReady()
			}
		}
	}
}
