package livereload

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

const extendedClientHello = `{"command":"hello","protocols":["` + officialProtocol + `","` + extendedProtocol + `"]}`

// serveHub serves the websocket of a hub, and returns its URL and the set that the
// connections are in.
func serveHub(t *testing.T, h *Hub) (string, *ConnSet) {
	t.Helper()
	set := new(ConnSet)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeWebSocket(w, r, Peer{Conns: set, SameOrigin: true, IsOwn: func(*url.URL) bool { return true }})
	}))
	t.Cleanup(func() {
		set.Cut()
		set.Wait(context.Background())
		srv.Close()
	})
	return srv.URL, set
}

// connect opens a websocket to a hub.
func connect(t *testing.T, h *Hub, opts *websocket.DialOptions) (*websocket.Conn, *ConnSet) {
	t.Helper()
	url, set := serveHub(t, h)
	ws, _, err := websocket.Dial(t.Context(), url, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.CloseNow() })
	return ws, set
}

// What comes in one packet with the request is not lost.
func TestMessageBehindTheRequestIsRead(t *testing.T) {
	address, _ := serveHub(t, newHub(t.TempDir()))
	peer, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	hello := extendedClientHello + strings.Repeat(" ", 2*readBuffer)
	fmt.Fprintf(peer, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n\x81\xfe%c%c\x00\x00\x00\x00%s", len(hello)>>8, len(hello)&0xff, hello)
	peer.SetReadDeadline(time.Now().Add(10 * time.Second))
	if answer, err := bufio.NewReader(peer).ReadString('}'); !strings.HasSuffix(answer, `"serverName":"execlogd"}`) {
		t.Errorf("got %q, %v", answer, err)
	}
}

// A client is pinged again and again.
func TestPingsAreRepeated(t *testing.T) {
	h := newHub(t.TempDir())
	h.Timeouts.Ping = time.Millisecond
	pings := make(chan struct{}, 100)
	ws, _ := connect(t, h, &websocket.DialOptions{OnPingReceived: func(context.Context, []byte) bool {
		select {
		case pings <- struct{}{}:
		default:
		}
		return true
	}})
	ws.CloseRead(t.Context()) // reads pings
	for i := range 3 {
		select {
		case <-pings:
		case <-time.After(10 * time.Second):
			t.Fatalf("after %d pings came no other", i)
		}
	}
}

// The long message of a client that has left while it waited for its turn costs nothing.
func TestLongMessageOfAClientThatHasLeft(t *testing.T) {
	h := newHub(t.TempDir())
	var looks atomic.Int32
	look := h.look
	h.look = func(path string) FileState { looks.Add(1); return look(path) }
	ws, set := connect(t, h, nil)

	h.longMessages.Lock()
	info := fmt.Sprintf(`{"command":"info","path":"/a.html","url":"http://h/a.html","uses":["/x.css"],"padding":%q}`, strings.Repeat("x", longMessage))
	for _, text := range []string{extendedClientHello, info} {
		if err := ws.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := ws.Read(t.Context()); err != nil {
		t.Fatal(err) // the answer to hello
	}
	ws.CloseNow()
	for left := false; !left; {
		time.Sleep(time.Millisecond)
		set.mu.Lock()
		for c := range set.conns {
			left = c.net.isOver()
		}
		set.mu.Unlock()
	}
	h.longMessages.Unlock()
	set.Wait(t.Context())
	if n := looks.Load(); n > 0 {
		t.Errorf("looked at %d files for it", n)
	}
}
