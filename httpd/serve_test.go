package httpd

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
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
	conn := r.connect(t)
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	return &plainConn{conn, bufio.NewReader(conn)}
}

// ask sends a request and reports whether the connection may be used again.
func (c *plainConn) ask(t testing.TB, headers ...string) (again bool) {
	t.Helper()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n"+strings.Join(headers, "")+"\r\n")
	resp := must(http.ReadResponse(c.lines, nil))(t)
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %v", resp.Status, err)
	}
	return !resp.Close
}

// tryAsk is ask with the error, after which the connection may not be used again.
func (c *plainConn) tryAsk() (again bool, err error) {
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		return false, err
	}
	resp, err := http.ReadResponse(c.lines, nil)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err == nil && !resp.Close, err
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
	early, idle, socket := run.dialPlain(t), run.dialPlain(t), run.dialPlain(t)
	if !idle.ask(t) || !socket.ask(t) { // connections are accepted in turn
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
	io.WriteString(socket, upgrade)
	if resp, err := http.ReadResponse(socket.lines, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("the socket of a page: %v, %v", resp, err)
	}
	run.awaitBrowsers(t, 2)
	if n, err := big.wait(); err != nil || n != size {
		t.Errorf("got %d bytes of %d, %v", n, size, err)
	}
	socket.Close()
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
	for name, stop := range stops {
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

// A client that does not send what it announced holds its connection for a bounded
// time. If there is an answer it comes at once.
func TestRequestTimeouts(t *testing.T) {
	const bound = time.Second // in which a busy client can send its header
	tests := []struct {
		name, request string
		trickle       string // a byte of which comes now and then
		status        int    // 0: no answer
	}{
		{"a body that never comes", "POST /a.html HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n", "", 405},
		{"a large body that never comes", "PUT /a.html HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n", "", 405},
		{"a chunked body that never comes", "POST /a.html HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", "", 405},
		{"a body that is asked for first", "PUT /a.html HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n", "", 405},
		{"a GET with a body that never comes", "GET /a.html HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n", "", 200},
		{"a HEAD with one", "HEAD /a.html HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n", "", 200},
		{"one for another host", "POST / HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 10\r\n\r\n", "", 403},
		{"a body that comes byte by byte", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n", "x", 405},
		{"a page's socket with one", "GET /livereload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n", "", 426},
		{"a status page with one", "GET /.execlogd/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n", "", 200},
		{"a header that never ends", "GET / HTTP/1.1\r\nHost: localhost\r\n", "", 0},
		{"a header that comes byte by byte", "GET / HTTP/1.1\r\nHost: localhost\r\nX: ", "x", 0},
		{"nothing at all", "", "", 0},
	}
	dir := tree(t, "a.html", "<p>a")
	run := serve(t, Options{Root: dir}, func(s *Server) { s.timeouts.body, s.timeouts.header = bound, bound })
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			conn := run.connect(t)
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			io.WriteString(conn, tt.request)
			defer repeat(func(int) {
				time.Sleep(bound / 10)
				io.WriteString(conn, tt.trickle)
			})()
			in := bufio.NewReader(conn)
			if tt.status != 0 {
				resp, err := http.ReadResponse(in, &http.Request{Method: strings.Fields(tt.request)[0]})
				if err != nil {
					t.Fatalf("no answer: %v", err)
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != tt.status || !resp.Close {
					t.Errorf("%s, to be closed %v, %v; want %d", resp.Status, resp.Close, err, tt.status)
				}
			}
			if rest, err := io.ReadAll(in); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the connection is held; %q", rest)
			}
		})
	}
}

// Keep-alive goes on where no body was announced.
func TestKeepAlive(t *testing.T) {
	run := serve(t, Options{Root: t.TempDir()})
	conn := run.dialPlain(t)
	for range 3 {
		if !conn.ask(t, "Content-Length: 0\r\n") {
			t.Error("the connection is closed")
		}
	}
}

// A client that takes nothing of an answer loses it; one that takes a little now
// and then gets all of it, however long that takes.
func TestAnswerThatNobodyReads(t *testing.T) {
	t.Parallel()
	const size = 64 << 20 // more than socket buffers hold
	dir := tree(t, "big.zip", strings.Repeat("x", size))
	run := serve(t, Options{Root: dir}, func(s *Server) { s.timeouts.receive = 2 * time.Second })

	idle := run.download(t, "/big.zip")
	defer idle.conn.Close()
	alive := run.download(t, "/big.zip")
	defer alive.conn.Close()
	var got int64
	for start := time.Now(); time.Since(start) < 5*time.Second; {
		n, err := io.CopyN(io.Discard, alive.Body, 200<<10)
		got += n
		if err != nil {
			t.Fatalf("who reads slowly has lost its answer after %d bytes and %v: %v", got, time.Since(start), err)
		}
		time.Sleep(20 * time.Millisecond) // it is slow
	}
	n, err := alive.wait()
	if err != nil || got+n != size {
		t.Errorf("who reads slowly got %d bytes of %d, %v", got+n, size, err)
	}

	idle.conn.SetReadDeadline(time.Now().Add(time.Minute))
	if n, err := idle.wait(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) || n == size {
		t.Errorf("who read nothing got %d bytes of %d, %v", n, size, err)
	}
}
