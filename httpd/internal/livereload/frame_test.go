package livereload

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/execlog/execlogd/httpd/internal/waitgroup"
)

// A websocket library at the other end reads each message as it was, also one
// behind the other, where the length takes one, three or nine bytes.
func TestALibraryReadsTextFrames(t *testing.T) {
	var texts []string
	for _, n := range []int{0, 1, 125, 126, 127, 0xffff, 0x10000, 300_000} {
		texts = append(texts, strings.Repeat("ü", n/2)+strings.Repeat("x", n%2))
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The library answers the handshake; the frames are written past it.
		raw := &hijacker{ResponseWriter: w, group: new(waitgroup.Group), timeout: time.Minute}
		conn, err := websocket.Accept(raw, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.CloseNow()
		for _, text := range texts {
			if err := raw.net.send(textFrame([]byte(text))); err != nil {
				t.Error(err)
			}
		}
		conn.Close(websocket.StatusNormalClosure, "")
	}))
	defer srv.Close()

	conn, _, err := websocket.Dial(t.Context(), srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 20)
	for _, want := range texts {
		kind, text, err := conn.Read(t.Context())
		if err != nil {
			t.Fatalf("a message of %d bytes: %v", len(want), err)
		}
		if kind != websocket.MessageText || string(text) != want {
			t.Errorf("a message of %d bytes was read as %v of %d", len(want), kind, len(text))
		}
	}
	if _, _, err := conn.Read(context.Background()); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("behind the messages: %v", err)
	}
}
