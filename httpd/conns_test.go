package httpd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
)

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
	conn := must(net.Dial("tcp", r.addr))(t)
	t.Cleanup(func() { conn.Close() })
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
	deadline := time.Now().Add(10 * time.Second)
	for {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		handlers := bytes.Count(stacks, []byte("net/http.(*conn).serve("))
		ours := bytes.Count(stacks, []byte("created by github.com/execlog/execlogd/httpd/internal/livereload.(*conn).readNext"))
		senders := bytes.Count(stacks, []byte("livereload.(*Hub).sendQueue("))
		if handlers == 0 && ours == 10 && senders == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines of browsers, %d of net/http, %d senders:\n%s", ours, handlers, senders, stacks)
		}
		time.Sleep(time.Millisecond)
	}
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
