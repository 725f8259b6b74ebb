package job

import (
	"bytes"
	"context"
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

// A readinessProbe finds out when a service is ready: when it has sent READY=1, if it is
// to, and takes connections at its address, if it has one.
type readinessProbe struct {
	address string // empty is none

	// A socket for sd_notify(3), in a directory that nobody else can enter. It lives
	// as long as the service, which may send more than READY=1.
	dir      string // empty is none
	conn     *net.UnixConn
	notified chan struct{} // closed at READY=1
	reading  sync.WaitGroup
}

// newReadinessProbe prepares for a service that is about to start. It fails if another
// program listens on the service's address, for that would be taken for the service.
func newReadinessProbe(ctx context.Context, s Service) (*readinessProbe, error) {
	p := &readinessProbe{address: s.Address}
	if p.address != "" && listens(ctx, p.address) {
		return nil, fmt.Errorf("another program listens on %s: stop that, or choose another port", p.address)
	}
	if !s.Notify {
		return p, nil
	}

	var err error
	if p.dir, err = os.MkdirTemp("", "execlogd-"); err != nil {
		return nil, err
	}
	if p.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: p.socket(), Net: "unixgram"}); err != nil {
		os.RemoveAll(p.dir)
		return nil, fmt.Errorf("socket for READY=1: %w", err)
	}
	p.notified = make(chan struct{})
	p.reading.Go(p.read)
	return p, nil
}

// socket is the path of the socket.
func (p *readinessProbe) socket() string { return filepath.Join(p.dir, "notify") }

// read reads from the socket until it is closed. What comes with a message, such as the
// pipe at which systemd-notify waits, the kernel closes.
func (p *readinessProbe) read() {
	setNotified := sync.OnceFunc(func() { close(p.notified) })

	buf := make([]byte, 4<<10)
	for {
		n, err := p.conn.Read(buf)
		if err != nil {
			return
		}

		for line := range bytes.Lines(buf[:n]) {
			if string(bytes.TrimSpace(line)) == "READY=1" {
				setNotified()
			}
		}
	}
}

// await returns nil when the service is ready, or an error when ctx has ended.
func (p *readinessProbe) await(ctx context.Context) error {
	if p.dir != "" {
		select {
		case <-p.notified:
		case <-ctx.Done():
		}
	}

	for wait := minProbeInterval; ctx.Err() == nil && p.address != "" && !listens(ctx, p.address); wait = min(2*wait, maxProbeInterval) {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}

	return ctx.Err()
}

func (p *readinessProbe) close() {
	if p.dir != "" {
		p.conn.Close()
		p.reading.Wait()
		os.RemoveAll(p.dir)
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
