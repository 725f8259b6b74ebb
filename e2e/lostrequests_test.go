package e2e

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLostRequests counts requests that fail while the service is restarted: on
// connections of their own, and one after another on a connection that stays open. It
// runs for make losses.
func TestLostRequests(t *testing.T) {
	if *losses == 0 {
		t.Skip("runs with -losses")
	}
	table := newTable("how it ends", "ends", "connections", "refused", "reset", "requests on kept connections", "reset", "refused")
	defer table.print()
	for _, c := range []lossCase{
		{fault: "restart"},
		{fault: "restart", socket: true},
		{fault: "kill"},
		{fault: "kill", socket: true},
	} {
		c.writer = "no files"
		t.Run(c.String(), func(t *testing.T) {
			rounds := max(*losses/2, 1)
			h := newLossHost(t, c)
			requesting, stop := context.WithCancel(t.Context())
			defer stop()
			var single, kept requestCounts
			var clients sync.WaitGroup
			for range 2 {
				clients.Go(func() { h.request(requesting, &single, false) })
				clients.Go(func() { h.request(requesting, &kept, true) })
			}
			for range rounds {
				h.pause(*lossesPause)
				faults[c.fault](h)
				h.ready()
			}
			h.pause(*lossesPause)
			stop()
			clients.Wait()
			table.row(c, rounds, single.all.Load(), single.refused.Load(), single.reset.Load(), kept.all.Load(), kept.reset.Load(), kept.refused.Load())
			lost := single.refused.Load() + kept.refused.Load()
			if c.fault == "restart" {
				lost += single.reset.Load() + kept.reset.Load()
			}
			if lost > 0 {
				t.Errorf("%d requests were lost", lost)
			}
		})
	}
}

// requestCounts count requests: all, those whose connection was refused, and those whose
// connection ended without a whole answer.
type requestCounts struct {
	all, refused, reset atomic.Int64
}

// request sends requests one after another until ctx ends. If keep, each connection is
// used until the server closes it.
func (h *lossHost) request(ctx context.Context, counts *requestCounts, keep bool) {
	var conn *visitorConn // nil if none is open
	hangUp := func() {
		if conn != nil {
			conn.Close()
			conn = nil
		}
	}
	defer hangUp()
	for ; ctx.Err() == nil; time.Sleep(rand.N(2 * time.Millisecond)) {
		if conn != nil && conn.gone() {
			hangUp()
		}
		if conn == nil {
			dialled, err := h.dial(ctx, "tcp", "127.0.0.1:8000")
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				counts.all.Add(1)
				counts.refused.Add(1)
				continue
			}
			conn = &visitorConn{Conn: dialled, answers: bufio.NewReader(dialled)}
		}
		again, err := conn.get(keep)
		counts.all.Add(1)
		if err != nil {
			counts.reset.Add(1)
		}
		if !again {
			hangUp()
		}
	}
}

// A visitorConn is a connection that sends requests one after another, and never
// repeats one by itself, as net/http's client does.
type visitorConn struct {
	net.Conn
	answers *bufio.Reader
}

// gone reports whether the server has closed the connection, so that no careful client
// would send another request on it.
func (c *visitorConn) gone() bool {
	raw, err := c.Conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return true
	}
	gone := true
	raw.Read(func(fd uintptr) bool {
		_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		gone = !errors.Is(err, unix.EAGAIN)
		return true
	})
	return gone
}

// get requests the page, and reports whether the connection can be used again.
func (c *visitorConn) get(keep bool) (again bool, err error) {
	c.SetDeadline(time.Now().Add(maxWait))
	request := "GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n"
	if !keep {
		request += "Connection: close\r\n"
	}
	if _, err := io.WriteString(c, request+"\r\n"); err != nil {
		return false, err
	}
	resp, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return keep && !resp.Close, err
}
