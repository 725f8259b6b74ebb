package livereload

import (
	"context"
	"fmt"
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

// connect opens a websocket to a hub, and returns the set that the connection is in.
func connect(t *testing.T, h *Hub, opts *websocket.DialOptions) (*websocket.Conn, *ConnSet) {
	t.Helper()
	set := new(ConnSet)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeWebSocket(w, r, Peer{Conns: set, SameOrigin: true, IsOwn: func(*url.URL) bool { return true }})
	}))
	ws, _, err := websocket.Dial(t.Context(), srv.URL, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ws.CloseNow()
		set.Cut()
		set.Wait(context.Background())
		srv.Close()
	})
	return ws, set
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
