package httpd

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// A plainConn is a connection that sends only what the test says.
type plainConn struct {
	net.Conn
	lines *bufio.Reader
}

func (r *running) dialPlain(t testing.TB) *plainConn {
	t.Helper()
	conn := must(net.Dial("tcp", r.addr))(t)
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	return &plainConn{conn, bufio.NewReader(conn)}
}

// ask sends a request and reports whether the connection may be used again.
func (c *plainConn) ask(t testing.TB) (again bool) {
	t.Helper()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	resp := must(http.ReadResponse(c.lines, nil))(t)
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %v", resp.Status, err)
	}
	return !resp.Close
}

// isOver reports whether the server has closed the connection.
func (c *plainConn) isOver() bool {
	_, err := c.lines.ReadByte()
	return err == io.EOF
}

// serveOpen is serve for tests that close the listener.
func serveOpen(t testing.TB, opts Options) (*running, net.Listener) {
	t.Helper()
	ln := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	return serveListener(t, newServer(t, opts), ln), ln
}

func (r *running) goesOn(t testing.TB) {
	t.Helper()
	select {
	case <-r.done:
		t.Fatalf("Serve has returned %v", r.err)
	case <-time.After(20 * time.Millisecond):
	}
}

// returns waits for Serve to return nil, without being told to stop.
func (r *running) returns(t testing.TB) {
	t.Helper()
	select {
	case <-r.done:
		if r.err != nil {
			t.Errorf("Serve returned %v", r.err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Serve does not return")
	}
}

// When the listener is closed, the connections are served to their end.
func TestConnectionsSurviveTheirListener(t *testing.T) {
	const size = 32 << 20 // more than socket buffers hold
	dir := tree(t, "index.html", "<p>hi", "big.zip", strings.Repeat("x", size))
	run, ln := serveOpen(t, Options{Root: dir})
	page := run.dial(t)
	page.greet(t, run.url("/"))
	big := run.download(t, "/big.zip")
	early, idle, upgrade := run.dialPlain(t), run.dialPlain(t), run.dialPlain(t)
	if !idle.ask(t) || !upgrade.ask(t) { // connections are accepted in turn
		t.Fatal("connections are not kept")
	}

	ln.Close()
	run.goesOn(t)
	if conn, err := net.Dial("tcp", run.addr); err == nil {
		conn.Close()
		t.Error("the listener is still open")
	}
	for name, conn := range map[string]*plainConn{"early": early, "idle": idle} {
		if conn.ask(t) || !conn.isOver() {
			t.Errorf("the %s connection was not closed behind its answer", name)
		}
	}
	fmt.Fprintf(upgrade, "GET /livereload HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	if resp, err := http.ReadResponse(upgrade.lines, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("the socket of a page: %v, %v", resp, err)
	}
	run.awaitBrowsers(t, 2)
	if n, err := big.wait(); err != nil || n != size {
		t.Errorf("got %d bytes of %d, %v", n, size, err)
	}
	upgrade.Close()
	run.awaitBrowsers(t, 1)
	run.goesOn(t)
	run.Refresh("a.css")
	page.expect(t, "/a.css")
	page.conn.Close(websocket.StatusNormalClosure, "")
	run.returns(t)
}

// The last of the connections may be any of them.
func TestServeReturnsAfterTheLastConnection(t *testing.T) {
	run, ln := serveOpen(t, Options{Root: t.TempDir()})
	idle := run.dialPlain(t)
	idle.ask(t)
	ln.Close()
	run.goesOn(t)
	idle.ask(t)
	run.returns(t)

	run, ln = serveOpen(t, Options{Root: t.TempDir()})
	ln.Close()
	run.returns(t)
}

// Serve can be told to stop while it waits for the last connections.
func TestStoppingWithoutAListener(t *testing.T) {
	const size = 32 << 20
	dir := tree(t, "big.zip", strings.Repeat("x", size))
	for name, stop := range map[string]func(*running){
		"context": func(r *running) { r.stop() },
		"close":   func(r *running) { r.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			run, ln := serveOpen(t, Options{Root: dir, Grace: 50 * time.Millisecond})
			page := run.dial(t)
			page.greet(t, run.url("/"))
			run.download(t, "/big.zip")
			idle := run.dialPlain(t)
			idle.ask(t)
			ln.Close()
			run.goesOn(t)
			begun := time.Now()
			stop(run)
			page.closed(t, websocket.StatusGoingAway)
			run.returns(t)
			if took := time.Since(begun); took > 3*time.Second {
				t.Errorf("took %v", took)
			}
			if !idle.isOver() {
				t.Error("the idle connection is still open")
			}
		})
	}
}
