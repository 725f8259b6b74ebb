package httpd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/execlog/execlogd/httpd/internal/livereload"
	"go.uber.org/goleak"
)

// A pageClient is the browser's end of a websocket.
type pageClient struct {
	conn  *websocket.Conn
	heard chan string // closed when the connection ends
	err   error       // why, once heard is closed
}

// listen reads all that comes, so that pings and goodbyes are answered.
func (c *pageClient) listen() {
	defer close(c.heard)
	for {
		_, text, err := c.conn.Read(context.Background())
		if err != nil {
			c.err = err
			return
		}
		c.heard <- string(text)
	}
}

// dial opens a websocket. Headers come in pairs.
func (r *running) dial(t testing.TB, headers ...string) *pageClient {
	t.Helper()
	return r.dialFor(t, "", headers...)
}

// dialFor opens the websocket of a page that was served with a token.
func (r *running) dialFor(t testing.TB, token string, headers ...string) *pageClient {
	t.Helper()
	c := r.dialMute(t, token, headers...)
	go c.listen()
	t.Cleanup(func() {
		c.conn.CloseNow()
		for range c.heard {
		}
	})
	return c
}

// dialMute is dialFor for a page that reads nothing, and so answers nothing.
func (r *running) dialMute(t testing.TB, token string, headers ...string) *pageClient {
	t.Helper()
	c, resp, err := r.tryDial(t, "/livereload?"+token, headers...)
	if err != nil {
		t.Fatalf("dial: %v (%v)", err, resp)
	}
	return c
}

// tryDial is dialMute where it may fail.
func (r *running) tryDial(t testing.TB, path string, headers ...string) (*pageClient, *http.Response, error) {
	opts := &websocket.DialOptions{HTTPHeader: http.Header{}, HTTPClient: &http.Client{Transport: &http.Transport{}}}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			opts.Host = headers[i+1]
		} else {
			opts.HTTPHeader.Add(headers[i], headers[i+1])
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, resp, err := websocket.Dial(ctx, "ws://"+r.addr+path, opts)
	if err != nil {
		return nil, resp, err
	}
	t.Cleanup(func() { conn.CloseNow() })
	conn.SetReadLimit(1 << 20)
	return &pageClient{conn: conn, heard: make(chan string, 100)}, resp, nil
}

const serverHello = `{"command":"hello","protocols":["http://livereload.com/protocols/official-7"],"serverName":"execlogd"}`

const clientHello = `{"command":"hello","protocols":["http://livereload.com/protocols/official-6","http://livereload.com/protocols/official-7"],"ver":"4.0.2"}`

func (c *pageClient) say(t testing.TB, text string) {
	t.Helper()
	check(t, c.conn.Write(context.Background(), websocket.MessageText, []byte(text)))
}

// hear returns the next message.
func (c *pageClient) hear(t testing.TB) string {
	t.Helper()
	select {
	case text, open := <-c.heard:
		if !open {
			t.Fatalf("connection ended: %v", c.err)
		}
		return text
	case <-time.After(10 * time.Second):
		t.Fatal("nothing heard")
		return ""
	}
}

// greet shakes hands for a page, and returns when the server knows it.
func (c *pageClient) greet(t testing.TB, url string) {
	t.Helper()
	c.say(t, clientHello)
	if got := c.hear(t); got != serverHello {
		t.Fatalf("got %s, want %s", got, serverHello)
	}
	c.show(t, "info", url)
}

// show says what the page shows, and returns when the server has read it:
// the answer to a ping comes behind it.
func (c *pageClient) show(t testing.TB, command, url string) {
	t.Helper()
	info, _ := json.Marshal(map[string]any{"command": command, "plugins": map[string]any{}, "url": url})
	c.say(t, string(info))
	c.sync(t)
}

func (c *pageClient) sync(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	check(t, c.conn.Ping(ctx))
}

// expectNothing makes sure that the server has sent nothing: what it sent
// before it answered a ping would be here.
func (c *pageClient) expectNothing(t testing.TB) {
	t.Helper()
	c.sync(t)
	select {
	case text := <-c.heard:
		t.Errorf("got %s, want nothing", text)
	default:
	}
}

// expect reads messages and compares them with a notation: a path for one that
// is applied in place, a path and an exclamation mark for a page reload.
func (c *pageClient) expect(t testing.TB, want ...string) {
	t.Helper()
	for _, w := range want {
		var m struct {
			Command, Path    string
			LiveCSS, LiveImg bool
		}
		text := c.hear(t)
		if err := json.Unmarshal([]byte(text), &m); err != nil || m.Command != "reload" || m.LiveCSS != m.LiveImg {
			t.Fatalf("message %s: %v", text, err)
		}
		got := m.Path
		if !m.LiveCSS {
			got += " !"
		}
		if got != w {
			t.Errorf("got message %q, want %q", got, w)
		}
	}
}

// closed compares the status with which the server closes.
func (c *pageClient) closed(t testing.TB, want websocket.StatusCode) {
	t.Helper()
	select {
	case text, open := <-c.heard:
		if open {
			t.Fatalf("got %s, want a close", text)
		}
		if got := websocket.CloseStatus(c.err); got != want {
			t.Errorf("closed with %v, want %v (%v)", got, want, c.err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("not closed")
	}
}

func TestHandshakeAndUpdates(t *testing.T) {
	dir := t.TempDir()
	run := serve(t, Options{Root: dir})
	page := run.dial(t, "Origin", run.url(""))
	page.greet(t, run.url("/a/?q#f"))

	run.Refresh("a/index.html")
	page.expect(t, "/a/index.html !")
	run.Refresh("b/index.html")
	page.expectNothing(t)
	run.Refresh("img/é ü.png", "style/ä%20#?.css")
	page.expect(t, "/style/ä%20#?.css", "/img/é ü.png")
	run.Refresh("b.css", "app.js")
	page.expect(t, "/app.js !")

	page.show(t, "url", run.url("/b/"))
	run.Refresh("a/index.html")
	page.expectNothing(t)
	run.Refresh("b/index.html")
	page.expect(t, "/b/index.html !")
}

// What changes while a page introduces itself is kept for it, as for a page
// that may show anything.
func TestUpdatesWaitForInfo(t *testing.T) {
	run := serve(t, Options{Root: t.TempDir()})
	page := run.dial(t)
	page.sync(t)
	run.Refresh("a.css")
	page.expectNothing(t)
	page.say(t, clientHello)
	if got := page.hear(t); got != serverHello {
		t.Fatalf("got %s", got)
	}
	run.Refresh("b.css")
	page.expectNothing(t)
	page.show(t, "info", run.url("/"))
	page.expect(t, "/a.css", "/b.css")

	late := run.dial(t)
	late.say(t, clientHello)
	late.hear(t)
	run.Refresh("some.html")
	late.show(t, "info", run.url("/other"))
	late.expect(t, "/some.html !")
}

// A page that was answered with 404.html says so in the socket's path.
func TestAMissingPageIsReloadedWith404HTML(t *testing.T) {
	dir := tree(t, "404.html", "<p>none")
	run := serve(t, Options{Root: dir})
	_, body := run.get(t, "GET", "/gone")
	if !strings.HasPrefix(body, run.missingElement("/gone")) {
		t.Fatalf("got %q", body)
	}
	missing := run.dialFor(t, livereload.PageToken{Cursor: run.hub.Cursor(), Missing: true}.String())
	other := run.dial(t)
	missing.greet(t, run.url("/gone"))
	other.greet(t, run.url("/"))
	run.Refresh("404.html")
	missing.expect(t, "/404.html !")
	other.expectNothing(t)
	run.Refresh("gone.html")
	missing.expect(t, "/gone.html !")
	missing.conn.CloseNow()
}

// What is not understood is ignored, what is not the protocol ends the
// connection, and neither disturbs anybody else.
func TestFramesOfNonsense(t *testing.T) {
	run := serve(t, Options{})
	bystander := run.dial(t)
	bystander.greet(t, "http://elsewhere/")
	deep := strings.Repeat("[", 20000)
	tests := []struct {
		name   string
		frames []string
		binary bool
		want   websocket.StatusCode
	}{
		{"not JSON", []string{"GET / HTTP/1.1"}, false, websocket.StatusInvalidFramePayloadData},
		{"an empty frame", []string{""}, false, websocket.StatusInvalidFramePayloadData},
		{"null", []string{"null"}, false, websocket.StatusInvalidFramePayloadData},
		{"a number", []string{"7"}, false, websocket.StatusInvalidFramePayloadData},
		{"too deep", []string{deep}, false, websocket.StatusInvalidFramePayloadData},
		{"fields of other types", []string{clientHello, `{"command":"info","url":{}}`}, false, websocket.StatusInvalidFramePayloadData},
		{"binary", []string{clientHello}, true, websocket.StatusUnsupportedData},
		{"no hello", []string{`{"command":"info","url":"/"}`}, false, websocket.StatusProtocolError},
		{"hello without protocols", []string{`{"command":"hello"}`}, false, websocket.StatusProtocolError},
		{"hello of another version", []string{`{"command":"hello","protocols":["http://livereload.com/protocols/official-6"]}`}, false, websocket.StatusProtocolError},
		{"huge", []string{clientHello, strings.Repeat(" ", 64<<10+1)}, false, websocket.StatusMessageTooBig},
		{"garbage after the handshake", []string{clientHello, "]"}, false, websocket.StatusInvalidFramePayloadData},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := run.dial(t)
			kind := websocket.MessageText
			if tt.binary {
				kind = websocket.MessageBinary
			}
			for i, frame := range tt.frames {
				check(t, c.conn.Write(t.Context(), kind, []byte(frame)))
				if i < len(tt.frames)-1 {
					c.hear(t) // the answer to hello
				}
			}
			c.closed(t, tt.want)
		})
	}
	t.Run("ignored", func(t *testing.T) {
		c := run.dial(t)
		c.greet(t, "http://elsewhere/")
		c.say(t, clientHello)
		c.say(t, `{"command":"run","path":"/etc/passwd"}`)
		c.say(t, `{}`)
		c.show(t, "info", "::not a URL::")
		c.expectNothing(t)
		run.Refresh("a.css")
		c.expect(t, "/a.css")
	})
	bystander.expect(t, "/a.css")
}

func TestWhoSaysNothingIsDropped(t *testing.T) {
	run := serve(t, Options{}, func(s *Server) { s.hub.Timeouts.Hello = 10 * time.Millisecond })
	run.dial(t).closed(t, -1) // without a word
}

// A peer that is gone without a word does not answer pings.
func TestWhoAnswersNoPingIsDropped(t *testing.T) {
	run := serve(t, Options{}, func(s *Server) {
		s.hub.Timeouts.Ping, s.hub.Timeouts.Pong, s.hub.Timeouts.Close = 10*time.Millisecond, 50*time.Millisecond, 10*time.Millisecond
	})
	lively := run.dial(t)
	lively.greet(t, "http://elsewhere/")
	deaf := run.dialMute(t, "")
	deaf.say(t, clientHello)
	run.awaitBrowsers(t, 2)
	run.awaitBrowsers(t, 1)
	run.Refresh("a.css")
	lively.expect(t, "/a.css")
}

// A client that takes nothing holds up nobody and is dropped.
func TestWhoNeverReadsIsDropped(t *testing.T) {
	run := serve(t, Options{}, func(s *Server) {
		s.hub.Timeouts.Write, s.hub.Timeouts.Close = 100*time.Millisecond, 10*time.Millisecond
	})
	lively := run.dial(t)
	lively.greet(t, "http://elsewhere/")

	conn := run.connect(t)
	conn.(*net.TCPConn).SetReadBuffer(4096)
	io.WriteString(conn, upgrade)
	conn.Write(maskedFrame(clientHello))
	conn.Write(maskedFrame(`{"command":"info","url":"http://elsewhere/"}`))
	run.awaitBrowsers(t, 2)

	long := strings.Repeat("x", 60<<10)
	deadline := time.Now().Add(30 * time.Second)
	for n := 0; run.browsers() == 2; n++ {
		path := fmt.Sprintf("%s%d.png", long, n)
		run.Refresh(path)
		lively.expect(t, "/"+path)
		if time.Now().After(deadline) {
			t.Fatal("still there")
		}
	}
}

// upgrade is the request for a page's socket.
const upgrade = "GET /livereload HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"

// maskedFrame is a text frame as a client sends it, with a mask of zeros.
func maskedFrame(text string) []byte {
	head := []byte{0x81, 0x80 | 126, byte(len(text) >> 8), byte(len(text)), 0, 0, 0, 0}
	return append(head, text...)
}

func (s *Server) browsers() int { return s.hub.Conns() }

// awaitBrowsers returns when n browsers are connected.
func (r *running) awaitBrowsers(t testing.TB, n int) {
	t.Helper()
	await(t, func() bool { return r.browsers() == n }, fmt.Sprintf("there are not %d browsers", n))
}

// Under TLS no write can be tried. The rest is the same.
func TestBrowsersOverTLS(t *testing.T) {
	s := newServer(t, Options{})
	srv := httptest.NewTLSServer(s)
	defer srv.Close()
	conn, _, err := websocket.Dial(t.Context(), srv.URL+"/livereload", &websocket.DialOptions{HTTPClient: srv.Client()})
	if err != nil {
		t.Fatal(err)
	}
	page := &pageClient{conn: conn, heard: make(chan string, 100)}
	go page.listen()
	page.greet(t, "http://elsewhere/")
	for i := range 20 {
		name := fmt.Sprintf("%d.css", i)
		s.Refresh(name)
		page.expect(t, "/"+name)
	}
	s.Close()
	page.closed(t, websocket.StatusGoingAway)
	s.pages.Wait(t.Context())
}

// introduced opens a websocket by hand, without a goroutine on this side, and
// returns when the server knows its page.
func (r *running) introduced(t testing.TB) net.Conn {
	t.Helper()
	conn := r.connect(t)
	io.WriteString(conn, introduction())
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	heard, buf := "", make([]byte, 4096)
	for !strings.HasSuffix(heard, "\x8a\x00") {
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("heard %q: %v", heard, err)
		}
		heard += string(buf[:n])
	}
	return conn
}

// Half of a hundred browsers do not answer the close frame, and changes are on
// their way to all of them.
func TestStoppingLeavesNoGoroutine(t *testing.T) {
	before := goleak.IgnoreCurrent()
	run := serve(t, Options{Grace: 50 * time.Millisecond})
	var answering sync.WaitGroup
	for i := range 100 {
		conn := run.introduced(t)
		if i%2 == 0 {
			answering.Go(func() {
				conn.Write([]byte{0x88, 0x80, 0, 0, 0, 0}) // a close frame, too
				io.Copy(io.Discard, conn)
			})
		}
	}
	for i := range 100 {
		run.Refresh(fmt.Sprintf("%d.css", i))
	}
	run.stop()
	<-run.done
	if n := run.browsers(); n != 0 {
		t.Errorf("%d browsers are left", n)
	}
	answering.Wait()
	goleak.VerifyNone(t, before)
}

// A browser at rest is one goroutine, which waits for it to speak.
func TestABrowserAtRestIsOneGoroutine(t *testing.T) {
	run := serve(t, Options{})
	for range 10 {
		run.introduced(t)
	}
	run.Refresh("a.css")
	var stacks []byte
	atRest := func() bool {
		stacks = make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		handlers := bytes.Count(stacks, []byte("net/http.(*conn).serve("))
		ours := bytes.Count(stacks, []byte("created by github.com/execlog/execlogd/httpd/internal/livereload.(*conn).readNext"))
		senders := bytes.Count(stacks, []byte("livereload.(*Hub).sendQueue("))
		return handlers == 0 && ours == 10 && senders == 0
	}
	await(t, atRest, "ten browsers at rest are not ten goroutines")
}

// A narrow listener's connections have little room in the kernel for what is
// not read.
type narrow struct{ *net.TCPListener }

func (n narrow) Accept() (net.Conn, error) {
	conn, err := n.AcceptTCP()
	if err != nil {
		return nil, err
	}
	conn.SetWriteBuffer(4096)
	return conn, nil
}

// Who asks and does not listen gets so many answers and no more.
func TestWhoAsksAndDoesNotListenIsDropped(t *testing.T) {
	ln := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	s := newServer(t, Options{})
	s.hub.Timeouts.Write = time.Hour
	run := serveListener(t, s, narrow{ln.(*net.TCPListener)})
	conn := run.introduced(t)
	ping := append([]byte{0x89, 0x80 | 125, 0, 0, 0, 0}, make([]byte, 125)...)
	many := bytes.Repeat(ping, 1000)
	conn.SetWriteDeadline(time.Now().Add(time.Minute))
	var err error
	for err == nil {
		_, err = conn.Write(many)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("still there")
	}
	run.awaitBrowsers(t, 0)
}
