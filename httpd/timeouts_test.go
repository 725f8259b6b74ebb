package httpd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

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
			conn := must(net.Dial("tcp", run.addr))(t)
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			io.WriteString(conn, tt.request)
			stop, stopped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				for tick := time.NewTicker(bound / 10); tt.trickle != ""; {
					select {
					case <-tick.C:
						io.WriteString(conn, tt.trickle)
					case <-stop:
						return
					}
				}
			}()
			defer func() { close(stop); <-stopped }()
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
	dir := tree(t, "a.html", "<p>a")
	run := serve(t, Options{Root: dir})
	conn := must(net.Dial("tcp", run.addr))(t)
	defer conn.Close()
	in := bufio.NewReader(conn)
	for range 3 {
		fmt.Fprint(conn, "GET /a.html HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
		resp := must(http.ReadResponse(in, nil))(t)
		io.Copy(io.Discard, resp.Body)
		if resp.Close {
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
