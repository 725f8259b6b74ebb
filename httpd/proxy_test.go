package httpd

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/execlog/execlogd/httpd/internal/livereload"
)

// application starts an upstream.
func application(t testing.TB, answer http.HandlerFunc) *httptest.Server {
	t.Helper()
	app := httptest.NewServer(answer)
	t.Cleanup(app.Close)
	return app
}

// proxiedElement is the script element of a page of an upstream.
func (r *running) proxiedElement(path string) string {
	return livereload.PageToken{Cursor: r.hub.Cursor(), Proxied: true}.Element(httptest.NewRequest("GET", path, nil))
}

// proxyTo is the whole site as a Proxy of an upstream.
func proxyTo(app *httptest.Server) []Proxy { return []Proxy{{"/", app.Listener.Addr().String()}} }

func TestParseProxy(t *testing.T) {
	tests := []struct{ path, upstream, want string }{
		{"/", "127.0.0.1:3000", "http 127.0.0.1:3000 tcp 127.0.0.1:3000 true"},
		{"/api", "app.localhost:3000", "http app.localhost:3000 tcp localhost:3000 true"},
		{"/api", "localhost:3000", "http localhost:3000 tcp localhost:3000 true"},
		{"/api/", "http://app.example.com", "http app.example.com tcp app.example.com:80 false"},
		{"/", "https://[::1]:8443/", "https [::1]:8443 tcp [::1]:8443 true"},
		{"/", "https://10.0.0.7", "https 10.0.0.7 tcp 10.0.0.7:443 false"},
		{"/", "unix:/run/app.sock", "http localhost unix /run/app.sock true"},

		{"", "127.0.0.1:3000", `path ""`},
		{"api", "127.0.0.1:3000", `path "api"`},
		{"/a/../b", "127.0.0.1:3000", "path"},
		{"//a", "127.0.0.1:3000", "path"},
		{"/a%20b", "127.0.0.1:3000", "path"},
		{"/*", "127.0.0.1:3000", "path"},
		{"/", "", "a host with its port"},
		{"/", "3000", "a host with its port"},
		{"/", ":3000", "a host with its port"},
		{"/", "127.0.0.1", "a host with its port"},
		{"/", "http://127.0.0.1:3000/v1", "a host and a port alone"},
		{"/", "http://user@127.0.0.1:3000", "a host and a port alone"},
		{"/", "http://127.0.0.1:3000?x", "a host and a port alone"},
		{"/", "ftp://127.0.0.1:3000", "https://localhost:3000"},
		{"/", "unix:run/app.sock", "absolute path"},
	}
	for _, tt := range tests {
		u, err := parseProxy(Proxy{tt.path, tt.upstream})
		got := fmt.Sprint(err)
		if err == nil {
			got = fmt.Sprint(u.scheme, " ", u.host, " ", u.network, " ", u.address, " ", u.local)
		}
		if !strings.Contains(got, tt.want) {
			t.Errorf("%s to %s: %s, want %s", tt.path, tt.upstream, got, tt.want)
		}
	}
	if _, err := New(Options{Proxies: []Proxy{{"/", "3000"}}}); err == nil {
		t.Error("New takes it")
	}
}

func TestWhatIsHandedOn(t *testing.T) {
	app := application(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Method", r.Method)
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", r.RequestURI, body)
	})
	root := tree(t, "a.css", "a", "api/x.css", "file", "apis.css", "apis")
	run := serve(t, Options{Root: root, Proxies: []Proxy{{"/api", app.URL}, {"/api/inner", "unix:/none"}}}, func(s *Server) { s.timeouts.upstream = time.Millisecond })
	run.shows(t, "a", "/a.css")
	run.shows(t, "apis", "/apis.css")
	run.status(t, 405, "POST", "/a.css")
	run.status(t, 502, "GET", "/api/inner")
	run.status(t, 404, "GET", "/api/../admin")
	run.status(t, 404, "GET", "/api/%2e%2e%2fadmin")
	run.status(t, 502, "GET", "/api/inner/x")
	run.shows(t, "/api/inner/../x ", "/api/inner/../x")
	for _, path := range []string{"/api", "/api/", "/api/x.css", "/api//x%2Fy/%C3%A9%20?a;b=%zz&c", "/%61pi/x", "/api/inners"} {
		run.shows(t, path+" ", path)
	}
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"} {
		req := must(http.NewRequestWithContext(t.Context(), method, run.url("/api/x"), strings.NewReader("body")))(t)
		resp := must(http.DefaultClient.Do(req))(t)
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || string(body) != "/api/x body" || resp.Header.Get("X-Method") != method || resp.Close {
			t.Errorf("%s: %s %q, %v", method, resp.Status, body, resp.Header)
		}
		resp.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()

	run.change(t, Options{Root: root, Proxies: []Proxy{{"/", app.URL}}})
	run.shows(t, "/a.css ", "/a.css")
	run.shows(t, livereload.Client().Text, "/livereload.js")
	if _, body := run.get(t, "GET", "/.execlogd/"); !strings.Contains(body, "status.js") {
		t.Errorf("the status page: %s", body)
	}
	if got := run.raw(t, "GET http://"+app.Listener.Addr().String()+"/ HTTP/1.1\r\nHost: localhost\r\n\r\n"); !strings.Contains(got, "400") {
		t.Errorf("a proxy for everything: %s", got)
	}
}

func TestHeadersThatAreHandedOn(t *testing.T) {
	var got *http.Request
	app := application(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		h := w.Header()
		h.Set("Connection", "X-Hop")
		h.Set("X-Hop", "1")
		h.Set("X-End", "1")
		h.Set("Strict-Transport-Security", "max-age=1")
		h.Set("Alt-Svc", `h3=":443"`)
		h.Add("Set-Cookie", "a=b; Domain=127.0.0.1; Path=/")
		h.Add("Set-Cookie", "c=d; domain=.example.com")
		h["Date"] = nil
	})
	run := serve(t, Options{Proxies: proxyTo(app), AllowHosts: []string{"site.example"}})
	resp, _ := run.get(t, "GET", "/x", "Host", "site.example", "Cookie", "a=b", "Connection", "X-Mine, Upgrade", "X-Mine", "1", "X-Forwarded-For", "10.1.1.1", "X-Forwarded-Proto", "https", "X-Real-Ip", "10.1.1.1", "X_Forwarded_For", "10.6.6.6", "Upgrade", "h2c", "Accept-Encoding", "br", "If-None-Match", `"e"`, "Sec-Fetch-Dest", "empty")
	for name, want := range map[string]string{
		"Cookie": "a=b", "X-Mine": "", "Connection": "", "Upgrade": "", "X-Real-Ip": "10.1.1.1", "X_forwarded_for": "", "X-Forwarded-For": "10.1.1.1, 127.0.0.1", "X-Forwarded-Host": "site.example", "X-Forwarded-Proto": "https",
		"Accept-Encoding": "br", "If-None-Match": `"e"`, "Via": "1.1 " + run.via, "User-Agent": "Go-http-client/1.1",
	} {
		if got.Header.Get(name) != want {
			t.Errorf("request: %s is %q, want %q", name, got.Header.Get(name), want)
		}
	}
	if got.Host != "site.example" {
		t.Errorf("Host is %q", got.Host)
	}
	for name, want := range map[string]string{"X-Hop": "", "X-End": "1", "Strict-Transport-Security": "", "Alt-Svc": "", "X-Content-Type-Options": "", "Cache-Control": "no-cache"} {
		if resp.Header.Get(name) != want {
			t.Errorf("answer: %s is %q, want %q", name, resp.Header.Get(name), want)
		}
	}
	if cookies := fmt.Sprint(resp.Header["Set-Cookie"]); cookies != "[a=b; Path=/ c=d; domain=.example.com]" {
		t.Errorf("cookies %s", cookies)
	}

	said := http.Header{"Forwarded": {"for=x"}, "X-Real-Ip": {"x"}, "X-Forwarded-Port": {"x"}, "X_real-Ip": {"x"}, "X-Real": {"x"}}
	if dropForwarded(said, false); len(said) != 1 {
		t.Errorf("what a client says of itself is handed on: %v", said)
	}

	away := &upstream{scheme: "http", host: "app.example.com", address: "app.example.com:80", network: "tcp"}
	h := http.Header{"Set-Cookie": {"a=b; Domain=example.com", "a=b; Domain=app.example.org"}}
	if away.shareCookies(h); fmt.Sprint(h["Set-Cookie"]) != "[a=b a=b; Domain=app.example.org]" {
		t.Errorf("cookies of another machine: %v", h)
	}
}

// A client of a unix socket has no address. It is a proxy mostly, which says whose request it
// hands on.
func TestAddressesFromAUnixSocket(t *testing.T) {
	app := application(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%q", r.Header["X-Forwarded-For"])
	})
	socket := filepath.Join(t.TempDir(), "socket")
	serveListener(t, newServer(t, Options{Proxies: proxyTo(app)}), must(net.Listen("unix", socket))(t))
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", socket) }}}
	for said, want := range map[string]string{"203.0.113.7": `["203.0.113.7"]`, "": "[]"} {
		req := request(t, "GET", "http://localhost/")
		if said != "" {
			req.Header.Set("X-Forwarded-For", said)
		}
		resp := must(client.Do(req))(t)
		if got := string(must(io.ReadAll(resp.Body))(t)); got != want {
			t.Errorf("the upstream gets %s, want %s", got, want)
		}
		resp.Body.Close()
	}
}

// A request is not sent on a connection that the application is about to close, as Gunicorn
// does after two seconds: one that changes something may not be sent again.
func TestUpstreamThatClosesIdleConnections(t *testing.T) {
	ln := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	var conns sync.WaitGroup
	t.Cleanup(conns.Wait)
	t.Cleanup(func() { ln.Close() })
	conns.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				if _, err := http.ReadRequest(r); err == nil {
					io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
				_, _ = r.Peek(1) // what comes now is too late
			})
		}
	})
	run := serve(t, Options{Proxies: []Proxy{{"/", ln.Addr().String()}}})
	run.status(t, 200, "POST", "/")
	time.Sleep(1800 * time.Millisecond)
	run.status(t, 200, "POST", "/")
}

func TestRedirectsOfAnUpstream(t *testing.T) {
	local := must(parseProxy(Proxy{"/", "127.0.0.1:3000"}))(t)
	web := must(parseProxy(Proxy{"/", "https://app.example.com"}))(t)
	tests := []struct {
		of             *upstream
		location, want string
	}{
		{local, "/x", "/x"},
		{local, "x?y", "x?y"},
		{local, "http://127.0.0.1:3000/x?y#z", "/x?y#z"},
		{local, "http://localhost:3000", "/"},
		{local, "//[::1]:3000/a%2Fb", "/a%2Fb"},
		{local, "http://127.0.0.1:3000//evil.example/", "/.//evil.example/"},
		{local, "http://127.0.0.1:4000/", "http://127.0.0.1:4000/"},
		{local, "https://127.0.0.1:3000/", "https://127.0.0.1:3000/"},
		{local, "http://example.com:3000/", "http://example.com:3000/"},
		{web, "https://app.example.com/x", "/x"},
		{web, "https://APP.example.com:443/x", "/x"},
		{web, "http://app.example.com/x", "http://app.example.com/x"},
		{web, "https://example.com/x", "https://example.com/x"},
	}
	for _, tt := range tests {
		h := http.Header{"Location": {tt.location}}
		if tt.of.makeRelative(h); h.Get("Location") != tt.want {
			t.Errorf("%s: %s becomes %s, want %s", tt.of.name, tt.location, h.Get("Location"), tt.want)
		}
	}
}

func TestPagesOfAnUpstreamHaveTheScript(t *testing.T) {
	const page = "<!doctype html><html><head><title>t</title></head></html>"
	var asked http.Header
	var log lockedLog
	app := application(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r.Header
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("ETag", `"e"`)
		h.Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
		h.Set("Cache-Control", "max-age=600")
		body := page
		switch r.URL.Path {
		case "/chunks":
			http.NewResponseController(w).Flush()
		case "/text":
			h.Set("Content-Type", "text/plain")
		case "/own":
			body = `<script src="/livereload.js"></script>`
		case "/empty":
			body = ""
		case "/error":
			w.WriteHeader(500)
		case "/encoded":
			h.Set("Content-Encoding", "gzip")
			var packed bytes.Buffer
			z := gzip.NewWriter(&packed)
			io.WriteString(z, page)
			z.Close()
			body = packed.String()
		case "/download":
			h.Set("Content-Disposition", "attachment; filename=x")
		case "/a/b":
			h.Set("Content-Type", "Text/HTML; charset=UTF-8")
		case "/nonce":
			h.Set("Content-Security-Policy", "script-src 'nonce-YWJj' 'strict-dynamic', object-src 'none'")
		case "/blocked":
			h.Set("Content-Security-Policy", "script-src 'sha256-x'; connect-src 'none'")
		}
		if r.Method != "HEAD" || r.URL.Path != "/chunks" {
			io.WriteString(w, body)
		}
	})
	run := serve(t, Options{Proxies: proxyTo(app), Logger: log.logger()})
	const browser = "text/html"
	for _, path := range []string{"/", "/a/b", "/chunks", "/error", "/blocked"} {
		resp, body := run.get(t, "GET", path, "Accept", browser, "Accept-Encoding", "gzip", "If-None-Match", `"e"`, "Range", "bytes=0-3")
		want := strings.Replace(page, "<head>", "<head>"+run.proxiedElement(path), 1)
		if body != want {
			t.Errorf("%s: %s, want %s", path, body, want)
		}
		h := resp.Header
		if path != "/chunks" && resp.ContentLength != int64(len(want)) || h.Get("ETag")+h.Get("Last-Modified") != "" || h.Get("Cache-Control") != "no-cache" || h.Get("Vary") != "Sec-Fetch-Dest" {
			t.Errorf("%s: %d, %v", path, resp.ContentLength, h)
		}
		if asked.Get("Accept-Encoding") != "identity" || asked.Get("If-None-Match")+asked.Get("Range") != "" {
			t.Errorf("%s: the upstream was asked %v", path, asked)
		}
		if head, _ := run.get(t, "HEAD", path, "Accept", browser); head.StatusCode != resp.StatusCode || head.ContentLength > 0 || head.Header.Get("ETag") != "" {
			t.Errorf("HEAD %s: %v", path, head.Header)
		}
	}
	for _, path := range []string{"/text", "/own", "/empty", "/encoded", "/encoded", "/download"} {
		resp, body := run.get(t, "GET", path, "Accept", browser)
		if resp.StatusCode != 200 || resp.Header.Get("ETag") != `"e"` || resp.ContentLength != int64(len(body)) || strings.Contains(body, "?port=") {
			t.Errorf("%s: %q, %v", path, body, resp.Header)
		}
	}
	if _, body := run.get(t, "GET", "/nonce", "Accept", browser); !strings.Contains(body, `<head><script nonce="YWJj" src="livereload.js?`) {
		t.Errorf("with a nonce: %s", body)
	}
	run.shows(t, page, "/", "Sec-Fetch-Dest", "empty", "Accept", "*/*")
	if resp, _ := run.get(t, "GET", "/", "Sec-Fetch-Dest", "empty"); resp.Header.Get("Vary") != "Sec-Fetch-Dest" || resp.Header.Get("ETag") == "" {
		t.Errorf("what a script gets: %v", resp.Header)
	}
	if resp := must(http.Post(run.url("/"), "text/plain", strings.NewReader("x")))(t); resp.ContentLength != int64(len(page)) {
		t.Errorf("the answer to a form has %d bytes", resp.ContentLength)
	} else {
		resp.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()
	for line, times := range map[string]int{
		`level=INFO msg="page has no script for live reload, as its content is encoded" path=/encoded encoding=gzip`: 1,
		`path=/blocked directive="connect-src 'none'"`:                                                               1,
		`path=/blocked directive="script-src 'sha256-x'"`:                                                            1,
		`path=/nonce`: 0,
	} {
		if n := strings.Count(log.String(), line); n != times {
			t.Errorf("%q is logged %d times, want %d:\n%s", line, n, times, log.String())
		}
	}

	run.change(t, Options{Proxies: proxyTo(app), NoInject: true})
	run.shows(t, page, "/", "Accept", browser)
	run.change(t, Options{Proxies: proxyTo(app), NoLiveReload: true})
	run.shows(t, page, "/livereload.js", "Accept", browser)
}

func TestBlockingScript(t *testing.T) {
	tests := []struct{ policy, nonce, want string }{
		{"", "", ""},
		{"connect-src 'none'", "", ""},
		{"default-src 'self'", "", ""},
		{"script-src 'self'", "", ""},
		{"script-src *", "", ""},
		{"script-src app.example.com", "", ""},
		{"script-src 'none'; script-src-elem 'self'", "", ""},
		{"script-src 'nonce-abc'", "abc", ""},
		{"script-src 'nonce-abc' 'strict-dynamic'", "abc", ""},
		{"default-src 'none'", "", "default-src 'none'"},
		{"script-src", "", "script-src"},
		{"script-src 'sha256-x'", "", "script-src 'sha256-x'"},
		{"script-src 'unsafe-inline' data:", "", "script-src 'unsafe-inline' data:"},
		{"script-src 'self' 'strict-dynamic'", "", "script-src 'self' 'strict-dynamic'"},
		{"script-src 'nonce-xyz'", "abc", "script-src 'nonce-xyz'"},
	}
	for _, tt := range tests {
		if got, _ := blockingScript(tt.policy, tt.nonce); got != tt.want {
			t.Errorf("%q blocks by %q, want %q", tt.policy, got, tt.want)
		}
	}
}

// What an upstream has sent is handed back before it sends more: the beginning of a page,
// with the script, and events.
func TestPartsAreHandedBackAtOnce(t *testing.T) {
	more := make(chan struct{})
	app := application(t, func(w http.ResponseWriter, r *http.Request) {
		kinds := map[string]string{"/page": "text/html", "/events": "text/event-stream", "/file": "text/plain"}
		w.Header().Set("Content-Type", kinds[r.URL.Path])
		if r.URL.Path == "/file" {
			w.Header().Set("Content-Length", fmt.Sprint(len("<!doctype html><p>1\n<p>2\n")))
		}
		io.WriteString(w, "<!doctype html><p>1\n")
		http.NewResponseController(w).Flush()
		select {
		case <-more:
		case <-r.Context().Done():
		}
		io.WriteString(w, "<p>2\n")
	})
	run := serve(t, Options{Proxies: proxyTo(app)})
	client := http.Client{Timeout: 10 * time.Second}
	for path, first := range map[string]string{"/page": "<!doctype html>" + run.proxiedElement("/page") + "<p>1\n", "/events": "<!doctype html><p>1\n", "/file": "<!doctype html><p>1\n"} {
		resp := must(client.Do(request(t, "GET", run.url(path), "Accept", "text/html")))(t)
		lines := bufio.NewReader(resp.Body)
		for _, want := range []string{first, "<p>2\n"} {
			if line, err := lines.ReadString('\n'); line != want || err != nil {
				t.Errorf("%s: got %q, %v, want %q", path, line, err, want)
			}
			if want == first {
				select {
				case more <- struct{}{}: // for which the application may not wait yet
				case <-time.After(client.Timeout):
				}
			}
		}
		resp.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()
}

// The script is not put ahead of a doctype that comes later.
func TestAPageThatBeginsWithNothing(t *testing.T) {
	var parts [2]string
	app := application(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, parts[0])
		http.NewResponseController(w).Flush()
		time.Sleep(3 * headPause)
		io.WriteString(w, parts[1])
	})
	run := serve(t, Options{Proxies: proxyTo(app)})
	for _, page := range []string{
		" \n|<!doctype html>*<p>1", "<!-- c -->|<!doctype html>*<p>1", "\ufeff|<!doctype html>*<p>1",
		"<|!doctype html>*<p>1", "<!doc|type html>*<p>1", "<!doctype| html>*<p>1", " <!-- <b>|--><!doctype html>*<p>1", "<!-- c --|><!doctype html>*<p>1",
		"*\n|<p>1", "*<|p>1", "*<html|><p>1", "*<!-- c|", "<!doctype html>*|<p>1", "*<p>1|<p>2",
	} {
		before, after, _ := strings.Cut(strings.Replace(page, "*", "", 1), "|")
		parts = [2]string{before, after}
		want := strings.NewReplacer("|", "", "*", run.proxiedElement("/")).Replace(page)
		run.shows(t, want, "/", "Accept", "text/html")
	}
}

// The websocket of an application, and its events, end with Serve, which does not wait for
// them.
func TestWebSocketsOfAnUpstream(t *testing.T) {
	var ended atomic.Int32
	app := application(t, func(w http.ResponseWriter, r *http.Request) {
		defer ended.Add(1)
		if r.URL.Path == "/events" {
			w.Header().Set("Content-Type", "text/event-stream")
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		for {
			kind, text, err := conn.Read(r.Context())
			if err != nil || conn.Write(r.Context(), kind, append([]byte("echo "), text...)) != nil {
				return
			}
		}
	})
	run := serve(t, Options{Proxies: proxyTo(app)})
	run.status(t, http.StatusForbidden, "GET", "/hmr", "Origin", "https://evil.example", "Connection", "Upgrade", "Upgrade", "websocket")
	page, _, err := run.tryDial(t, "/hmr", "Origin", run.url(""))
	check(t, err)
	go page.listen()
	page.say(t, "hello")
	if got := page.hear(t); got != "echo hello" {
		t.Errorf("got %q", got)
	}
	events := must(http.DefaultClient.Do(request(t, "GET", run.url("/events"))))(t)
	defer events.Body.Close()
	await(t, func() bool { return connections(run) == 2 }, "the websocket is not counted as a connection")

	begun := time.Now()
	run.stop()
	<-run.done
	if took := time.Since(begun); took > DefaultGrace {
		t.Errorf("Serve took %v to end", took)
	}
	await(t, func() bool { return ended.Load() == 2 }, "what goes on without an end has not ended")
	for range page.heard {
	}
	await(t, func() bool { return connections(run) == 0 }, "connections are counted that are gone")
	http.DefaultClient.CloseIdleConnections()
}

// What is handed on when Serve is told to stop is answered within the grace period, and cut
// after it.
func TestStoppingWaitsForAnUpstream(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	var gone atomic.Int32
	app := application(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		select {
		case <-answer:
		case <-r.Context().Done():
			gone.Add(1)
		}
		io.WriteString(w, "answered")
	})
	t.Cleanup(func() { close(answer) })
	for _, grace := range []time.Duration{time.Minute, -1} {
		run := serve(t, Options{Proxies: proxyTo(app), Grace: grace})
		conn := run.connect(t)
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		<-asked
		run.stop()
		if grace > 0 {
			select {
			case answer <- struct{}{}:
			case <-run.done:
			}
		}
		<-run.done
		if got, _ := io.ReadAll(conn); bytes.HasSuffix(got, []byte("answered")) != (grace > 0) {
			t.Errorf("with a grace of %v the answer is %q", grace, got)
		}
	}
	await(t, func() bool { return gone.Load() == 1 }, "what is handed on goes on after Serve")
}

// The last answer on a connection says so, also when an application sends a hint before it.
func TestAHintBeforeTheLastAnswer(t *testing.T) {
	app := application(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
	})
	run, ln := serveOpen(t, Options{Proxies: proxyTo(app)})
	conn := run.dialPlain(t)
	ask := func() (again bool) {
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		hint := must(http.ReadResponse(conn.lines, nil))(t)
		last := must(http.ReadResponse(conn.lines, nil))(t)
		if hint.StatusCode != http.StatusEarlyHints || last.StatusCode != http.StatusOK {
			t.Fatalf("%s, %s", hint.Status, last.Status)
		}
		return !last.Close
	}
	if !ask() { // the connection is accepted
		t.Fatal("the connection is not kept")
	}
	ln.Close()
	run.goesOn(t)
	if ask() {
		t.Error("the connection is kept")
	}
	conn.Close()
	run.returns(t)
}

// An application that is not there is waited for, then its page says so, and shows it when
// it is there.
func TestAnUpstreamThatIsAway(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "app.sock")
	var log lockedLog
	run := serve(t, Options{Proxies: []Proxy{{"/", "unix:" + socket}}, Logger: log.logger()}, func(s *Server) { s.timeouts.upstream = 50 * time.Millisecond })
	resp, body := run.get(t, "GET", "/x", "Accept", "text/html")
	token := livereload.PageToken{Cursor: run.hub.Cursor(), Failed: 502}
	if resp.StatusCode != 502 || !strings.Contains(body, "The application") || !strings.Contains(body, `http-equiv="refresh"`) || !strings.Contains(body, token.Element(resp.Request)) || !strings.Contains(body, socket) {
		t.Errorf("%s\n%s", resp.Status, body)
	}
	if resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", resp.Header)
	}
	if _, body := run.get(t, "GET", "/x", "Accept", "text/html", "X-Forwarded-For", "10.0.0.1"); strings.Contains(body, socket) {
		t.Errorf("others are told where it is: %s", body)
	}
	if resp, body := run.get(t, "POST", "/x", "Accept", "text/html"); resp.StatusCode != 502 || strings.Contains(body, "refresh") {
		t.Errorf("the answer to a form: %s %s", resp.Status, body)
	}
	if resp, body := run.get(t, "GET", "/x", "Sec-Fetch-Dest", "empty"); resp.StatusCode != 502 || body != "the application does not answer\n" {
		t.Errorf("what a script gets: %s %q", resp.Status, body)
	}
	if n := strings.Count(log.String(), "upstream does not answer"); n != 1 {
		t.Errorf("it is logged %d times:\n%s", n, log.String())
	}

	start := func() *http.Server {
		ln := must(net.Listen("unix", socket))(t)
		app := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "here") })}
		go app.Serve(ln)
		t.Cleanup(func() { app.Close() })
		return app
	}
	app := start()
	run.shows(t, "here", "/x")
	app.Close()
	run.timeouts.upstream = time.Minute
	shown := make(chan string, 1)
	go func() {
		_, body := run.get(t, "POST", "/x")
		shown <- body
	}()
	await(t, func() bool { return run.rebuilds.waiting.Load() == 1 || len(shown) > 0 }, "nobody waits for the application")
	start()
	if body := <-shown; body != "here" {
		t.Errorf("who has waited gets %q", body)
	}
}

func TestWhoMayChangeAnUpstream(t *testing.T) {
	var asked atomic.Int32
	app := application(t, func(w http.ResponseWriter, r *http.Request) { asked.Add(1) })
	run := serve(t, Options{Proxies: proxyTo(app), AllowOrigins: []string{"https://login.example"}})
	tests := []struct {
		name, method string
		headers      []string
		want         int
	}{
		{"a program", "POST", nil, 200},
		{"a page of this site", "POST", []string{"Origin", run.url("")}, 200},
		{"one that sends no Referer", "POST", []string{"Origin", "null", "Sec-Fetch-Site", "same-origin"}, 200},
		{"an origin in the list", "POST", []string{"Origin", "https://login.example", "Sec-Fetch-Site", "cross-site"}, 200},
		{"another site", "POST", []string{"Origin", "https://evil.example"}, 403},
		{"a frame without an origin", "DELETE", []string{"Origin", "null", "Sec-Fetch-Site", "cross-site"}, 403},
		{"another site that only reads", "GET", []string{"Origin", "https://evil.example"}, 200},
		{"another site that asks first", "OPTIONS", []string{"Origin", "https://evil.example", "Access-Control-Request-Method", "PUT"}, 200},
		{"another host", "GET", []string{"Host", "evil.example"}, 403},
		{"another host with a body", "POST", []string{"Host", "evil.example"}, 403},
		{"what has been here", "GET", []string{"Via", "1.1 x, 1.1 " + run.via}, 508},
	}
	for _, tt := range tests {
		before := asked.Load()
		resp, body := run.get(t, tt.method, "/", tt.headers...)
		if resp.StatusCode != tt.want || (asked.Load() > before) != (tt.want == 200) {
			t.Errorf("%s: %s %q, want %d; the upstream was asked %d times", tt.name, resp.Status, body, tt.want, asked.Load()-before)
		}
	}
}

// A body that does not come holds its connection for a while, and no longer.
func TestABodyForAnUpstreamThatDoesNotCome(t *testing.T) {
	const limit = 100 * time.Millisecond
	app := application(t, func(w http.ResponseWriter, r *http.Request) {
		if io.Copy(io.Discard, r.Body); r.URL.Path == "/slow" {
			time.Sleep(3 * limit)
		}
	})
	run := serve(t, Options{Proxies: proxyTo(app)}, func(s *Server) { s.timeouts.header, s.timeouts.body = limit, limit })
	for host, want := range map[string]string{"localhost": "408", "evil.example": "403"} {
		conn := run.connect(t)
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(conn, "POST / HTTP/1.1\r\nHost: "+host+"\r\nContent-Length: 9\r\n\r\nsome")
		answer, err := io.ReadAll(conn)
		if errors.Is(err, os.ErrDeadlineExceeded) || !strings.HasPrefix(string(answer), "HTTP/1.1 "+want) {
			t.Errorf("%s: %v, %q", host, err, answer)
		}
	}

	// One that comes leaves no time limit behind.
	conn := run.connect(t)
	in := bufio.NewReader(conn)
	for range 2 {
		io.WriteString(conn, "POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nsome")
		resp := must(http.ReadResponse(in, nil))(t)
		if resp.StatusCode != 200 || resp.Close {
			t.Errorf("a body that comes: %s", resp.Status)
		}
	}
}

// An application may answer while the body of a request comes. That comes to its end.
func TestABodyThatIsAnsweredEarly(t *testing.T) {
	app := application(t, func(w http.ResponseWriter, r *http.Request) {
		conn := http.NewResponseController(w)
		check(t, conn.EnableFullDuplex())
		check(t, conn.Flush())
		io.Copy(w, r.Body)
	})
	const limit, parts = 200 * time.Millisecond, 10
	run := serve(t, Options{Proxies: proxyTo(app)}, func(s *Server) { s.timeouts.header, s.timeouts.body = 5*limit, limit })
	conn := run.connect(t)
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", parts)
	resp := must(http.ReadResponse(bufio.NewReader(conn), nil))(t)
	for range parts {
		time.Sleep(limit / 4)
		io.WriteString(conn, "x")
	}
	if body, err := io.ReadAll(resp.Body); err != nil || len(body) != parts {
		t.Errorf("%d parts of %d have come: %v", len(body), parts, err)
	}

	// One that does not come ends with the answer.
	conn = run.connect(t)
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nsome")
	if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a body that does not come holds its connection")
	}
}

// Nothing is known of the files of an application, so its pages follow all files that pages
// load, beside pages whose files are known.
func TestPagesOfAnUpstreamReload(t *testing.T) {
	app := application(t, func(http.ResponseWriter, *http.Request) {})
	dir := site(t, "index.html", "public/x.css", "app.js", "views/page.html", "server.py")
	run := serve(t, Options{Root: dir, Proxies: []Proxy{{"/app", app.URL}}})
	ours := run.open(t, "/")
	proxied := run.info(t, "/app/x", map[string]any{"uses": []string{"/app/x.css"}})
	proxied.is(t, "at")
	for _, tt := range []struct{ changed, want string }{
		{"public/x.css", "/public/x.css"},
		{"views/page.html", "/views/page.html !"},
		{"app.js", "/app.js !"},
		{"server.py", ""},
		{"./", "/ !"},
	} {
		run.save(t, dir, tt.changed)
		if tt.want == "" {
			proxied.expectNothing(t)
			continue
		}
		proxied.is(t, tt.want)
		proxied.conn.CloseNow()
		proxied = run.info(t, "/app/x", nil)
		proxied.is(t, "at")
	}
	ours.is(t, "/ !")
}
