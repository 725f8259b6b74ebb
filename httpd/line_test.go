package httpd

import (
	"bytes"
	"context"
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
	"github.com/execlog/execlogd/httpd/internal/waitgroup"
	"go.uber.org/goleak"
)

// pipe is a line and its peer, over a real connection.
func pipe(t *testing.T, patience time.Duration) (*line, *waitgroup.Group, net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	peer, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	var c waitgroup.Group
	l := newLine(conn, []byte("early"), &c, patience)
	t.Cleanup(func() {
		peer.Close()
		l.Close()
		c.Wait(context.Background())
	})
	return l, &c, peer
}

// What the peer does not take at once comes later, in order, and whoever waits
// for it is told.
func TestALineKeepsWhatThePeerHasNotTaken(t *testing.T) {
	for _, tried := range []bool{true, false} {
		t.Run(fmt.Sprint("tried=", tried), func(t *testing.T) {
			l, c, peer := pipe(t, time.Minute)
			if !tried {
				l.fd = -1
			}
			var want []byte
			for i := 0; len(want) < 8<<20; i++ {
				part := bytes.Repeat([]byte{byte(i)}, 800<<10)
				want = append(want, part...)
				if n, err := l.Write(part); n != len(part) || err != nil {
					t.Fatalf("wrote %d bytes: %v", n, err)
				}
				taken := make(chan struct{})
				l.whenTaken(func() { close(taken) })
				got := make([]byte, len(part))
				if _, err := io.ReadFull(peer, got); err != nil || !bytes.Equal(got, part) {
					t.Fatalf("part %d: %v", i, err)
				}
				<-taken
			}
			c.Wait(context.Background())
			if l.isBusy() {
				t.Error("a goroutine is left")
			}
		})
	}
}

func TestALineIsCutWhenThePeerTakesNothing(t *testing.T) {
	l, c, _ := pipe(t, 20*time.Millisecond)
	for !l.isBusy() {
		if _, err := l.Write(make([]byte, 64<<10)); err != nil {
			t.Fatal(err)
		}
	}
	c.Wait(t.Context())
	if why := l.cut(nil); why == nil || !strings.Contains(why.Error(), "i/o timeout") {
		t.Errorf("cut because %v", why)
	}
	if _, err := l.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write afterwards: %v", err)
	}
}

func (l *line) isBusy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.busy
}

func TestALineDoesNotKeepWithoutBound(t *testing.T) {
	l, _, _ := pipe(t, time.Minute)
	for n := 0; ; n++ {
		_, err := l.Write(make([]byte, 64<<10))
		if errors.Is(err, errBehind) {
			return
		}
		if err != nil || n > 1000 {
			t.Fatalf("after %d writes: %v", n, err)
		}
	}
}

func TestWhatCameWithTheRequestIsReadFirst(t *testing.T) {
	l, _, peer := pipe(t, time.Minute)
	io.WriteString(peer, "later")
	var got string
	for len(got) < len("earlylater") {
		buf := make([]byte, 3)
		n, err := l.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got += string(buf[:n])
	}
	if got != "earlylater" {
		t.Errorf("read %q", got)
	}
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
	page := &client{conn: conn, heard: make(chan string, 100)}
	go page.listen()
	page.greet(t, "http://elsewhere/")
	for i := range 20 {
		name := fmt.Sprintf("%d.css", i)
		s.Refresh(name)
		page.expect(t, "/"+name)
	}
	s.Close()
	if got := page.closed(t); got != websocket.StatusGoingAway {
		t.Errorf("closed with %v", got)
	}
	s.lone.Wait(t.Context())
}

// introduced opens a websocket by hand, without a goroutine on this side, and
// returns when the server knows its page.
func (r *running) introduced(t testing.TB) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
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

// Half of a hundred browsers do not answer the goodbye, and changes are on
// their way to all of them.
func TestStoppingLeavesNoGoroutine(t *testing.T) {
	before := goleak.IgnoreCurrent()
	run := serve(t, Options{Grace: 50 * time.Millisecond})
	var answering sync.WaitGroup
	for i := range 100 {
		conn := run.introduced(t)
		if i%2 == 0 {
			answering.Go(func() {
				conn.Write([]byte{0x88, 0x80, 0, 0, 0, 0}) // a goodbye, too
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
		ours := bytes.Count(stacks, []byte("created by github.com/execlog/execlogd/httpd.(*browser).follow"))
		senders := bytes.Count(stacks, []byte("httpd.(*hub).deliver("))
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
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, Options{})
	s.hub.patience.write = time.Hour
	run := serveListener(t, s, narrow{ln.(*net.TCPListener)})
	conn := run.introduced(t)
	ping := append([]byte{0x89, 0x80 | 125, 0, 0, 0, 0}, make([]byte, 125)...)
	many := bytes.Repeat(ping, 1000)
	conn.SetWriteDeadline(time.Now().Add(time.Minute))
	for err == nil {
		_, err = conn.Write(many)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("still there")
	}
	run.awaitBrowsers(t, 0)
}
