package httpd

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"
)

// A secured is a server whose connections speak TLS.
type secured struct {
	*running
	client *tls.Config // that trusts the certificate
}

func serveTLS(t *testing.T, opts Options, prepare ...func(*Server)) *secured {
	t.Helper()
	return serveTLSAt(t, must(net.Listen("tcp", "127.0.0.1:0"))(t), opts, prepare...)
}

func serveTLSAt(t *testing.T, ln net.Listener, opts Options, prepare ...func(*Server)) *secured {
	t.Helper()
	any := httptest.NewTLSServer(nil) // which brings a certificate for 127.0.0.1
	defer any.Close()
	s := newServer(t, opts)
	for _, f := range prepare {
		f(s)
	}

	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	run := &running{Server: s, addr: ln.Addr().String(), stop: stop, done: done}
	go func() {
		defer close(done)
		run.err = s.ServeTLS(ctx, ln, &tls.Config{Certificates: any.TLS.Certificates})
	}()
	t.Cleanup(func() { stop(); <-done })

	trusted := x509.NewCertPool()
	trusted.AddCert(any.Certificate())
	return &secured{run, &tls.Config{RootCAs: trusted}}
}

func (s *secured) url(path string) string { return "https://" + s.addr + path }

// over returns a client that speaks HTTP/2 or HTTP/1.1.
func (s *secured) over(t *testing.T, http2 bool) *http.Client {
	transport := &http.Transport{TLSClientConfig: s.client.Clone(), Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(!http2)
	transport.Protocols.SetHTTP2(http2)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Jar: must(cookiejar.New(nil))(t)}
}

// What is true of a request in plain HTTP is true over TLS.
func TestServeTLS(t *testing.T) {
	opts := secretOptions(t)
	write(t, opts.Root, "page.html", "<!doctype html><p>page")
	run := serveTLS(t, opts)
	for protocol, http2 := range map[string]bool{"HTTP/2.0": true, "HTTP/1.1": false} {
		c := run.over(t, http2)
		resp := must(c.Do(request(t, "GET", run.url("/page.html"), "Sec-Fetch-Dest", "document")))(t)
		body := string(must(io.ReadAll(resp.Body))(t))
		resp.Body.Close()
		if resp.Proto != protocol || !strings.Contains(body, "livereload.js") || resp.Header.Get("Strict-Transport-Security") != "" {
			t.Errorf("%s: got %s %s %v %s", protocol, resp.Proto, resp.Status, resp.Header, body)
		}

		// The connection is of a program of our user.
		resp = must(c.Do(request(t, "GET", run.url("/.execlogd/"))))(t)
		if body := string(must(io.ReadAll(resp.Body))(t)); !showsPrivate(t, body) {
			t.Errorf("%s: the owner is not shown all: %s", protocol, body)
		}
		resp.Body.Close()

		resp, body = ask(t, c, run.url("/.execlogd/?token=TOKEN123"))
		if !showsPrivate(t, body) {
			t.Errorf("%s: the token shows %s %s", protocol, resp.Status, body)
		}
		if first := resp.Request.Response; first == nil || !strings.HasSuffix(first.Header.Get("Set-Cookie"), "; Secure; SameSite=Strict") {
			t.Errorf("%s: the cookie is for plain HTTP as well: %v", protocol, first)
		}

		resp = must(c.Do(request(t, "GET", run.url("/page.html"), "Host", "evil.example")))(t)
		if resp.Body.Close(); resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: another host gets %s", protocol, resp.Status)
		}
	}

	old := run.client.Clone()
	old.MaxVersion = tls.VersionTLS11
	if _, err := tls.Dial("tcp", run.addr, old); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
}

// A page that came over TLS connects over TLS. One that came without it may have been
// changed on its way.
func TestOriginOverTLS(t *testing.T) {
	run := serveTLS(t, Options{Root: tree(t, "a.html", "<p>a"), AllowHosts: []string{"site.example"}})
	c := run.over(t, false)
	for origin, want := range map[string]int{"https://site.example": 101, "http://site.example": 403, "https://site.example:444": 403} {
		conn, resp, err := websocket.Dial(t.Context(), run.url("/livereload"), &websocket.DialOptions{
			HTTPClient: c, Host: "site.example", HTTPHeader: http.Header{"Origin": {origin}},
		})
		if resp == nil || resp.StatusCode != want {
			t.Errorf("%s: %v %v, want %d", origin, resp, err, want)
		}
		if conn != nil {
			conn.CloseNow()
		}
	}
}

// Whoever connects and speaks something else leaves nothing in the log. A client that does
// not trust the certificate leaves one line.
func TestHandshakesThatFail(t *testing.T) {
	var log lockedLog
	run := serveTLS(t, Options{Root: tree(t, "a.html", "<p>a"), Logger: log.logger()}, func(s *Server) { s.timeouts.header = time.Second })

	conn := run.dialPlain(t)
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	resp := must(http.ReadResponse(conn.lines, nil))(t)
	if body := string(must(io.ReadAll(resp.Body))(t)); resp.StatusCode != 400 || !strings.Contains(body, "HTTP request to an HTTPS server") {
		t.Errorf("plain HTTP gets %s %q", resp.Status, body)
	}

	for name, junk := range map[string]string{
		"nothing":          "",
		"text":             "\x00\x01\x02 hello\r\n",
		"half a handshake": "\x16\x03\x01\x02\x00\x01",
	} {
		conn := run.connect(t)
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(conn, junk)
		if _, err := io.ReadAll(bufio.NewReader(conn)); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: the connection is held: %v", name, err)
		}
	}
	odd := run.client.Clone()
	odd.NextProtos = []string{"junk/1"}
	if _, err := tls.Dial("tcp", run.addr, odd); err == nil {
		t.Error("an unknown protocol is spoken")
	}
	if lines := log.lines(); lines != nil {
		t.Errorf("junk is logged: %q", lines)
	}

	for range 3 {
		if _, err := tls.Dial("tcp", run.addr, nil); err == nil {
			t.Fatal("the certificate is trusted")
		}
	}
	await(t, func() bool { return len(log.lines()) > 0 }, "that a client does not trust the certificate is not logged")
	if lines := log.lines(); len(lines) != 1 || !strings.Contains(lines[0], "does not trust the certificate") {
		t.Errorf("got %q", lines)
	}
}

// A client of HTTP/2 that takes nothing of an answer loses it, and one that takes a little
// now and then gets all of it. One that asks for more meanwhile is answered.
func TestHTTP2AnswerThatNobodyReads(t *testing.T) {
	t.Parallel()
	const size, window = 16 << 20, 4 << 20 // that of net/http's client
	const timeout = time.Second
	run := serveTLS(t, Options{Root: tree(t, "big.zip", strings.Repeat("x", size), "a.html", "<p>a")}, func(s *Server) { s.timeouts.receive = timeout })
	c := run.over(t, true)
	idle := must(c.Get(run.url("/big.zip")))(t)
	defer idle.Body.Close()
	alive := must(c.Get(run.url("/big.zip")))(t)
	defer alive.Body.Close()

	got := 0
	for begun := time.Now(); time.Since(begun) < 2*timeout; {
		n, err := io.CopyN(io.Discard, alive.Body, 100<<10)
		got += int(n)
		if err != nil {
			t.Fatalf("who reads slowly has lost its answer after %d bytes: %v", got, err)
		}
		time.Sleep(timeout / 50) // it is slow
	}
	if n, err := io.Copy(io.Discard, alive.Body); err != nil || got+int(n) != size {
		t.Errorf("who reads slowly got %d bytes of %d, %v", got+int(n), size, err)
	}
	await(t, func() bool { return run.Idle() > 0 }, "the handler waits for a client that reads nothing")
	if n, err := io.Copy(io.Discard, idle.Body); err == nil || n > window+window/4 {
		t.Errorf("who read nothing got %d bytes of %d, %v", n, size, err)
	}
}

// A deadline for writing is none for an answer that rests, as an event stream does.
func TestHTTP2DeadlineIsOfWriting(t *testing.T) {
	const deadline = 50 * time.Millisecond
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w, end := newHTTP2Writer(w, deadline)
		defer end()
		stream := http.NewResponseController(w)
		for range 3 {
			stream.SetWriteDeadline(time.Now().Add(deadline))
			io.WriteString(w, "x")
			stream.Flush()
			time.Sleep(2 * deadline) // to prove that nothing happens
		}
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	resp := must(srv.Client().Get(srv.URL))(t)
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "xxx" || resp.ProtoMajor != 2 {
		t.Errorf("%s: got %q, %v", resp.Proto, body, err)
	}
}

// A stop ends connections of HTTP/2 as well, and no request that is on its way.
func TestStopOverTLS(t *testing.T) {
	run := serveTLS(t, Options{Root: tree(t, "a.html", "<p>a")})
	c := run.over(t, true)
	get := func() (*http.Response, error) { return c.Get(run.url("/a.html")) }
	resp := must(get())(t)
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()

	begun := time.Now()
	run.stop()
	<-run.done
	if took := time.Since(begun); run.err != nil || took > DefaultGrace/2 {
		t.Errorf("an idle connection ends after %v: %v", took, run.err)
	}
	if _, err := get(); err == nil {
		t.Error("it is served after the end")
	}
}

// A client that does not read does not hold up a stop, as TLS would that says farewell to it
// after the answers to its pings.
func TestStopOverTLSWithoutReader(t *testing.T) {
	t.Parallel()
	small := func(_, _ string, raw syscall.RawConn) (err error) {
		outer := raw.Control(func(fd uintptr) {
			err = cmp.Or(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<10), unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<10))
		})
		return cmp.Or(outer, err)
	}
	listens := net.ListenConfig{Control: small}
	run := serveTLSAt(t, must(listens.Listen(t.Context(), "tcp", "127.0.0.1:0"))(t), Options{Root: tree(t, "a.html", "<p>a"), Grace: 5 * time.Second})
	client := run.client.Clone()
	client.NextProtos = []string{"h2"}
	conn := must(tls.DialWithDialer(&net.Dialer{Control: small}, "tcp", run.addr, client))(t)
	defer conn.Close()
	const settings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"     // RFC 9113, 6.5
	const ping = "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678" // 6.7
	must(io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+settings))(t)
	for range 80 { // http.Server has 10,000 answers wait at most
		must(io.WriteString(conn, strings.Repeat(ping, 100)))(t)
	}
	time.Sleep(2 * lingerTime) // the connection has been quiet for so long that it is closed

	run.stop()
	select {
	case <-run.done:
		if run.err != nil {
			t.Error(run.err)
		}
	case <-time.After(10 * time.Second):
		t.Error("a stop waits for a client that does not read")
	}
}
