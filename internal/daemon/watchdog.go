package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// A lifeSign is the proof that a part of the daemon works, which it gives again and again.
type lifeSign struct {
	part string

	// prove returns nil when the part has done something that it only does when it works, or
	// an error. It has any time, and need not return at the end of ctx where the part hangs.
	prove func(ctx context.Context) error

	// progress returns a number that changes while the part is busy with something that may
	// take long. Nil is for a part that is never busy for long.
	progress func() uint64

	underway chan error // has the result of prove; nil when it was not called, or has returned
	seen     uint64     // of progress
}

// give returns nil when the part proves before the end of round that it works, or has got on
// with something that takes long. A proof that is under way then goes on, until ctx ends, and
// the next call waits for it.
func (s *lifeSign) give(ctx, round context.Context, background *sync.WaitGroup) error {
	if s.underway == nil {
		underway := make(chan error, 1)
		background.Go(func() { underway <- s.prove(ctx) })
		s.underway = underway
	}

	select {
	case err := <-s.underway:
		s.underway = nil
		return err
	case <-round.Done():
	}
	if s.progress != nil {
		if now := s.progress(); now != s.seen {
			s.seen = now
			return nil
		}
	}
	return context.Cause(round)
}

// watchdog pings the watchdog of systemd (WatchdogSec= in systemd.service(5)), if there is one,
// for as long as the kernel's queue is read, the router turns, and HTTP answers. It pings three
// times in the interval after which systemd ends the process.
func (d *daemon) watchdog(ctx context.Context) error {
	interval, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		d.log.Warn("no watchdog", "err", err)
	}
	if interval > 0 {
		signs, end := d.lifeSigns()
		defer end()
		d.ping(ctx, interval/3, signs, func() { d.notify("WATCHDOG=1") })
	}
	<-ctx.Done()
	return nil
}

// ping calls pinged once in every period in which all signs are given, until ctx ends.
func (d *daemon) ping(ctx context.Context, period time.Duration, signs []*lifeSign, pinged func()) {
	var background sync.WaitGroup
	defer background.Wait()
	ticks := time.NewTicker(period)
	defer ticks.Stop()
	errLate := fmt.Errorf("no answer within %v", period)

	for ctx.Err() == nil {
		round, end := context.WithTimeoutCause(ctx, period, errLate)
		errs := giveAll(ctx, round, signs, &background)
		end()

		if err := errors.Join(errs...); err == nil {
			pinged()
		}
		for i, err := range errs {
			if err != nil && ctx.Err() == nil {
				d.log.Error("hangs, and is ended by the watchdog of systemd if that goes on", "part", signs[i].part, "err", err)
			}
		}

		select {
		case <-ticks.C:
		case <-ctx.Done():
		}
	}
}

// giveAll has all signs given, and returns the error of each.
func giveAll(ctx, round context.Context, signs []*lifeSign, background *sync.WaitGroup) []error {
	errs := make([]error, len(signs))
	var giving sync.WaitGroup
	for i, s := range signs {
		giving.Go(func() { errs[i] = s.give(ctx, round, background) })
	}
	giving.Wait()
	return errs
}

// lifeSigns returns the signs of all parts. end must be called after the last.
func (d *daemon) lifeSigns() (signs []*lifeSign, end func()) {
	if p := d.pipeline; p != nil {
		signs = append(signs,
			&lifeSign{part: "inotify", prove: p.group.Flush, progress: d.scanned.Load},
			&lifeSign{part: "router", prove: p.router.Ping})
	}

	http, end := httpSign(d.server.Serve, d.log)
	sockets := &lifeSign{part: "http sockets", prove: func(ctx context.Context) error { return d.accepts.prove(ctx, d.web.sockets()) }}
	return append(signs, http, sockets), end
}

// httpSign returns the sign of a server: it answers a request. serve serves at a listener until
// its context ends. end must be called after the last sign.
func httpSign(serve func(context.Context, net.Listener) error, log *slog.Logger) (sign *lifeSign, end func()) {
	ctx, stop := context.WithCancel(context.Background())
	loop := &loopback{conns: make(chan net.Conn), closed: make(chan struct{})}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := serve(ctx, loop); err != nil {
			log.Error("watchdog", "err", err)
		}
	})

	client := &http.Client{Transport: &http.Transport{DialContext: loop.dial}}
	sign = &lifeSign{part: "http", prove: func(ctx context.Context) error { return request(ctx, client) }}
	return sign, func() {
		client.CloseIdleConnections()
		stop()
		serving.Wait()
	}
}

// request sends a request that every server of ours answers without a look at a file.
func request(ctx context.Context, client *http.Client) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodOptions, "http://localhost", nil)
	if err != nil {
		return err
	}
	r.URL.Opaque = "*"
	resp, err := client.Do(r)
	switch {
	case ranOut(err):
		return nil // which says nothing about the server
	case err != nil:
		return err
	}
	return resp.Body.Close()
}

// ranOut reports whether an error is that there are no descriptors left.
func ranOut(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// A loopback is a listener to which only this process can connect, in every sandbox.
type loopback struct {
	conns  chan net.Conn
	closed chan struct{}
	close  sync.Once
}

func (l *loopback) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *loopback) Close() error {
	l.close.Do(func() { close(l.closed) })
	return nil
}

func (l *loopback) Addr() net.Addr { return &net.UnixAddr{Net: "unix"} }

// dial connects by a pair of sockets of the kernel.
func (l *loopback) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	var ends [2]net.Conn
	var errs [2]error
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "watchdog")
		ends[i], errs[i] = net.FileConn(f) // which is a duplicate
		f.Close()
	}

	err = errors.Join(errs[:]...)
	if err == nil {
		select {
		case l.conns <- ends[0]:
			return ends[1], nil
		case <-l.closed:
			err = net.ErrClosed
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	for _, end := range ends {
		if end != nil {
			end.Close()
		}
	}
	return nil, err
}

// accepts counts for each listener how often Accept has returned.
type accepts struct{ counts sync.Map } // of *atomic.Uint64 by net.Listener

// count returns a listener that is counted until end is called.
func (a *accepts) count(ln net.Listener) (counted net.Listener, end func()) {
	n := new(atomic.Uint64)
	a.counts.Store(ln, n)
	return countedListener{ln, n}, func() { a.counts.Delete(ln) }
}

type countedListener struct {
	net.Listener
	accepted *atomic.Uint64
}

func (l countedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	l.accepted.Add(1) // also with an error: it is at work
	return conn, err
}

// prove returns nil when no connection waits at any of the listeners for long. It asks the kernel,
// and does not connect: in a sandbox a socket of a socket unit is in another network.
func (a *accepts) prove(ctx context.Context, lns []net.Listener) error {
	for _, ln := range lns {
		n, ok := a.counts.Load(ln)
		if !ok {
			continue // it is being closed
		}
		accepted := n.(*atomic.Uint64)
		for before := accepted.Load(); isWaitedFor(ln) && accepted.Load() == before; {
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				return fmt.Errorf("%s: connections are not accepted: %w", ln.Addr(), context.Cause(ctx))
			}
		}
	}
	return nil
}

// isWaitedFor reports whether connections wait at a listener.
func isWaitedFor(ln net.Listener) (waiting bool) {
	c, ok := socketOf(ln).(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		waiting = err == nil && n > 0
	})
	return err == nil && waiting
}
