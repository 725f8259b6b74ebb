package httpd

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// A site may be an application. Its websockets are connections of the server at whose listener
// they are, and end with the site.
func TestASiteThatIsHandedOn(t *testing.T) {
	app := application(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			w.Header().Set("Content-Type", "text/html")
			io.WriteString(w, "<!doctype html><p>app of "+r.Host)
			return
		}
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		conn.Write(r.Context(), websocket.MessageText, []byte("hello"))
		conn.Read(r.Context())
	})
	site := must(New(Options{Proxies: proxyTo(app), AllowHosts: []string{"app.example.com"}}))(t)
	defer site.Close()
	run := serve(t, Options{Root: tree(t, "index.html", "<p>own"), Sites: []Site{{Hosts: []string{"app.example.com"}, Server: site}}})
	if _, body := run.get(t, "GET", "/", "Host", "app.example.com"); !strings.Contains(body, "<p>app of app.example.com") || !strings.Contains(body, "livereload.js") {
		t.Errorf("the application has %q", body)
	}
	if _, body := run.get(t, "GET", "/", "Accept", "text/html"); !strings.Contains(body, "<p>own") {
		t.Errorf("the server has %q", body)
	}
	run.status(t, http.StatusForbidden, "POST", "/", "Host", "app.example.com", "Origin", "http://localhost")

	dial := func(origin string) (*websocket.Conn, error) {
		conn, _, err := websocket.Dial(t.Context(), run.url("/hmr"), &websocket.DialOptions{Host: "app.example.com", HTTPHeader: http.Header{"Origin": {origin}}})
		return conn, err
	}
	if _, err := dial("http://localhost"); err == nil {
		t.Error("a page of another site has a websocket of the application")
	}
	conn, err := dial("http://app.example.com")
	check(t, err)
	defer conn.CloseNow()
	_, _, err = conn.Read(t.Context())
	check(t, err)
	await(t, func() bool { return connections(run) == 1 }, "the websocket is not counted as a connection of the server")
	site.Close()
	ended := make(chan error, 1)
	go func() {
		_, _, err := conn.Read(t.Context())
		ended <- err
	}()
	if err := <-ended; err == nil {
		t.Error("the websocket goes on without its site")
	}
	await(t, func() bool { return connections(run) == 0 }, "the websocket is counted for ever")
	http.DefaultClient.CloseIdleConnections()
}

// A connection answers for each site by itself, and follows when a host becomes another's.
func TestHosts(t *testing.T) {
	sites := make(map[string]*Server) // by what they show
	for _, name := range []string{"docs", "all", "deep"} {
		opts := Options{Root: tree(t, "index.html", "<p>"+name), AllowHosts: []string{"docs.example.com", ".example.com"}}
		sites[name] = must(New(opts))(t)
		sites[name].warm()
		t.Cleanup(func() { sites[name].Close() })
	}
	opts := Options{Root: tree(t, "index.html", "<p>own"), Sites: []Site{
		{Hosts: []string{"Docs.example.com."}, Server: sites["docs"]},
		{Hosts: []string{".example.com"}, Server: sites["all"]},
		{Hosts: []string{".a.b.example.com"}, Server: sites["deep"]},
	}}
	run := serve(t, opts, func(s *Server) { s.warm() })
	conn := must(net.Dial("tcp", run.addr))(t)
	defer conn.Close()
	in := bufio.NewReader(conn)
	fast := func() (n int64) {
		n = run.fast.Load()
		for _, s := range sites {
			n += s.fast.Load()
		}
		return n
	}
	want := func(host, want string) {
		t.Helper()
		request := "GET / HTTP/1.1\r\nUser-Agent: x\r\nhost: " + host + "\r\n\r\n"
		for range 4 {
			if _, body := askOn(t, conn, in, request); !strings.Contains(body, want) {
				t.Fatalf("%s has %q, want %s", host, body, want)
			}
		}
		before := fast()
		askOn(t, conn, in, request)
		if fast() != before+1 && want[0] == '<' {
			t.Errorf("a request for %s has gone to net/http", host)
		}
	}
	for _, tt := range []struct{ host, shows string }{
		{"localhost", "<p>own"},
		{"docs.example.com", "<p>docs"},
		{"DOCS.example.com.:80", "<p>docs"},
		{"example.com", "<p>all"},
		{"x.b.example.com", "<p>all"},
		{"a.b.example.com", "<p>deep"},
		{"x.a.b.example.com", "<p>deep"},
		{"anexample.com", "this server does not go by the name"},
	} {
		want(tt.host, tt.shows)
	}

	opts.Sites = []Site{{Hosts: []string{"localhost", "docs.example.com"}, Server: sites["all"]}}
	check(t, run.Change(opts))
	want("docs.example.com", "<p>all")
	want("localhost", "<p>all")
	want("example.com", "this server does not go by the name")

	for _, wrong := range [][]Site{{{Hosts: []string{"a b"}}}, {{Hosts: []string{"a"}, Server: sites["all"]}, {Hosts: []string{"A."}, Server: sites["docs"]}}} {
		if err := run.Change(Options{Sites: wrong}); err == nil {
			t.Errorf("%v is no error", wrong)
		}
	}
}
