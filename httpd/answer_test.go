package httpd

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// Each request is reported with what was answered.
func TestAnswered(t *testing.T) {
	answers := make(chan Answer, 10)
	run := serve(t, Options{
		Root:     tree(t, "a.txt", "hello", "big.zip", strings.Repeat("x", 1<<20), "d/x", ""),
		Answered: func(a Answer) { answers <- a },
	})
	tests := []struct {
		method, target, header, want string
	}{
		{"GET", "/a.txt", "", "200 5"},
		{"HEAD", "/a.txt", "", "200 0"},
		{"GET", "/a.txt", "bytes=1-2", "206 2"},
		{"GET", "/big.zip", "", "200 1048576"},
		{"GET", "/d?q=%22", "", "302 0"},
		{"OPTIONS", "/a.txt", "", "204 0"},
	}
	for _, tt := range tests {
		r := must(http.NewRequest(tt.method, run.url(tt.target), nil))(t)
		r.Header.Set("User-Agent", "test")
		r.Header.Set("Referer", "http://a/")
		if tt.header != "" {
			r.Header.Set("Range", tt.header)
		}
		resp := must(http.DefaultTransport.RoundTrip(r))(t)
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		a := <-answers
		if got := fmt.Sprint(a.Status, " ", a.Bytes); got != tt.want || a.Method != tt.method || a.Target != tt.target {
			t.Errorf("%s %s: got %s (%+v), want %s", tt.method, tt.target, got, a, tt.want)
		}
		if a.UserAgent != "test" || a.Referer != "http://a/" || a.Proto != "HTTP/1.1" || !strings.HasPrefix(a.Remote, "127.0.0.1:") || a.Begun.IsZero() || a.Took <= 0 {
			t.Errorf("%+v", a)
		}
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

// A websocket is reported when it ends, with how long it was open.
func TestAnsweredWebSocket(t *testing.T) {
	answers := make(chan Answer, 10)
	run := serve(t, Options{Root: t.TempDir(), Answered: func(a Answer) { answers <- a }})
	page := run.dial(t)
	page.greet(t, run.url("/"))
	select {
	case a := <-answers:
		t.Fatalf("reported while it is open: %+v", a)
	default:
	}
	begun := time.Now()
	page.conn.CloseNow()
	if a := <-answers; a.Status != http.StatusSwitchingProtocols || a.Took < begun.Sub(a.Begun) {
		t.Errorf("%+v", a)
	}
}

// So is one of an application, which is handed on.
func TestAnsweredWebSocketOfAnUpstream(t *testing.T) {
	app := application(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refused" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		if conn, err := websocket.Accept(w, r, nil); err == nil {
			conn.CloseNow()
		}
	})
	answers := make(chan Answer, 10)
	run := serve(t, Options{Proxies: proxyTo(app), Answered: func(a Answer) { answers <- a }})
	for path, want := range map[string]int{"/hmr": http.StatusSwitchingProtocols, "/refused": http.StatusTeapot} {
		if conn, _, err := websocket.Dial(t.Context(), run.url(path), nil); err == nil {
			conn.CloseNow()
		}
		if a := <-answers; a.Status != want || a.Bytes != 0 {
			t.Errorf("%s: %+v, want %d", path, a, want)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}
