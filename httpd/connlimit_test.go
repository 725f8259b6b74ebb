package httpd

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

func TestConnectionsAreCountedByAddress(t *testing.T) {
	tests := []struct{ from, want string }{
		{"192.0.2.7:1000", "192.0.2.7"},
		{"[::ffff:192.0.2.7]:1000", "192.0.2.7"},
		{"[2001:db8:1:2:3::4]:1000", "2001:db8:1:2::"},
		{"[fe80::1%eth0]:1000", "fe80::"},
		{"127.0.0.2:1000", "invalid IP"},
		{"[::1]:1000", "invalid IP"},
	}
	for _, tt := range tests {
		addr := must(net.ResolveTCPAddr("tcp", tt.from))(t)
		if got := countedAddress(addr).String(); got != tt.want {
			t.Errorf("%s counts as %s, want %s", tt.from, got, tt.want)
		}
	}
	if countedAddress(&net.UnixAddr{}).IsValid() {
		t.Error("a unix socket has an address to count by")
	}
}

func TestConnectionsOfOneAddressAreLimited(t *testing.T) {
	one, other := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2)}
	limits := connLimits{all: 5, perAddress: 2}
	var c connCounts
	add := func(addr net.Addr, want bool) {
		t.Helper()
		if got := c.tryAdd(addr, limits); got != want {
			t.Errorf("%s with %d connections is let in: %v", addr, c.all, got)
		}
	}
	add(one, true)
	add(one, true)
	add(one, false)
	add(other, true)
	c.remove(one)
	add(one, true)
	for range 2 {
		add(&net.TCPAddr{IP: net.IPv6loopback}, true) // together five
	}
	add(&net.UnixAddr{}, false)
	for range 2 {
		c.remove(one)
		c.remove(&net.TCPAddr{IP: net.IPv6loopback})
	}
	if c.remove(other); c.all != 0 || len(c.byAddress) != 0 {
		t.Errorf("%d connections are left, of %v", c.all, c.byAddress)
	}
}

// Above the limit connections are answered at once, and others are accepted as soon as one
// has ended. A page counts for as long as it is open.
func TestConnectionsAreLimited(t *testing.T) {
	var text bytes.Buffer
	run := serve(t, Options{Root: tree(t, "a.html", "<p>a"), MaxConnections: 2, Logger: slog.New(slog.NewTextHandler(&text, nil))})
	idle := run.dialPlain(t)
	idle.ask(t)
	page := run.dial(t)
	page.greet(t, run.url("/a.html"))

	for range 3 {
		conn := run.dialPlain(t)
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		resp := must(http.ReadResponse(conn.lines, nil))(t)
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusServiceUnavailable || !resp.Close || string(body) != tooMany || err != nil {
			t.Errorf("above the limit: %s %q %v", resp.Status, body, err)
		}
	}
	if !idle.ask(t) {
		t.Error("a connection that there was is to be closed")
	}

	page.conn.CloseNow()
	run.awaitBrowsers(t, 0)
	await(t, func() bool { return connections(run) == 1 }, "the connection of a page counts when it is closed")
	again := run.dialPlain(t)
	if again.ask(t); connections(run) != 2 {
		t.Errorf("%d connections count, want 2", connections(run))
	}
	again.Close()
	idle.Close()
	await(t, func() bool { return connections(run) == 0 }, "connections count when they are closed")

	if n := run.Stats().RefusedConnections; n != 3 {
		t.Errorf("%d connections count as refused, want 3", n)
	}
	run.stop()
	<-run.done
	run.Close()
	if n := strings.Count(text.String(), tooManyConns.message); n != 2 || !strings.Contains(text.String(), "suppressed=2") {
		t.Errorf("three refusals are %d lines of the log:\n%s", n, &text)
	}
}

func connections(run *running) int { return run.Stats().Connections }

// A request for a websocket that announces a body, which no page does, would be one whose
// first frames are its body.
func TestNoBodyBeforeAWebSocket(t *testing.T) {
	run := serve(t, Options{Root: t.TempDir()}, func(s *Server) { s.timeouts.body = 100 * time.Millisecond })
	conn := run.connect(t)
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(conn, strings.Replace(upgrade, "\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n", 1))
	in := bufio.NewReader(conn)
	resp := must(http.ReadResponse(in, nil))(t)
	if resp.StatusCode != http.StatusBadRequest {
		t.Error(resp.Status)
	}
	if _, err := io.ReadAll(in); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection is held")
	}
}
