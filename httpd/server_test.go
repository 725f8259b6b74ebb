package httpd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/execlog/execlogd/httpd/internal/livereload"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	playFleet()
	goleak.VerifyTestMain(m)
}

// write puts a file beneath dir, with the directories it needs.
func write(t testing.TB, dir, name, content string) {
	t.Helper()
	file := filepath.Join(dir, name)
	check(t, os.MkdirAll(filepath.Dir(file), 0o755))
	check(t, os.WriteFile(file, []byte(content), 0o644))
}

// tree makes a directory of files, whose names and contents come in pairs.
func tree(t testing.TB, files ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for i := 0; i < len(files); i += 2 {
		write(t, dir, files[i], files[i+1])
	}
	return dir
}

// numbered are n names, made from a format with a number.
func numbered(n int, format string) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf(format, i))
	}
	return names
}

// repeat does something again and again until stop is called.
func repeat(do func(i int)) (stop func()) {
	over := make(chan struct{})
	var repeating sync.WaitGroup
	repeating.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-over:
				return
			default:
				do(i)
			}
		}
	})
	return func() {
		close(over)
		repeating.Wait()
	}
}

// await waits until a condition holds.
func await(t testing.TB, holds func() bool, otherwise string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(otherwise)
		}
	}
}

// check ends the test if there is an error.
func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// must returns a value, and ends the test if there is an error instead.
func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		check(t, err)
		return value
	}
}

func newServer(t testing.TB, opts Options) *Server {
	t.Helper()
	s := must(New(opts))(t)
	t.Cleanup(func() { s.Close() })
	return s
}

// A running is a server that serves a listener.
type running struct {
	*Server
	addr string
	stop context.CancelFunc
	done <-chan struct{}
	err  error // what Serve returned, once done is closed
}

// stops are the ways to end Serve.
var stops = map[string]func(*running){
	"context": func(r *running) { r.stop() },
	"close":   func(r *running) { r.Close() },
}

// serve starts a server on a port of the loopback interface and stops it at
// the end of the test.
func serve(t testing.TB, opts Options, prepare ...func(*Server)) *running {
	t.Helper()
	s := newServer(t, opts)
	for _, f := range prepare {
		f(s)
	}
	return serveOn(t, s, "127.0.0.1:0")
}

func serveOn(t testing.TB, s *Server, addr string) *running {
	t.Helper()
	ln := must(net.Listen("tcp", addr))(t)
	return serveListener(t, s, ln)
}

func serveListener(t testing.TB, s *Server, ln net.Listener) *running {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	run := &running{Server: s, addr: ln.Addr().String(), stop: stop, done: done}
	go func() {
		defer close(done)
		run.err = s.Serve(ctx, ln)
	}()
	t.Cleanup(func() { stop(); <-done })
	return run
}

func (r *running) url(path string) string { return "http://" + r.addr + path }

// request makes a request. Headers come in pairs.
func request(t testing.TB, method, url string, headers ...string) *http.Request {
	t.Helper()
	req := must(http.NewRequestWithContext(t.Context(), method, url, nil))(t)
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		} else {
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	return req
}

// get requests a path without following redirects. Headers come in pairs.
func (r *running) get(t testing.TB, method, path string, headers ...string) (*http.Response, string) {
	t.Helper()
	req := request(t, method, r.url(path), headers...)
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp := must(client.Do(req))(t)
	defer resp.Body.Close()
	body := must(io.ReadAll(resp.Body))(t)
	return resp, string(body)
}

// status compares the status of an answer.
func (r *running) status(t testing.TB, want int, method, path string, headers ...string) {
	t.Helper()
	if resp, body := r.get(t, method, path, headers...); resp.StatusCode != want {
		t.Errorf("%s %s %q: %s %q, want %d", method, path, headers, resp.Status, body, want)
	}
}

// shows compares the content of an answer to GET.
func (r *running) shows(t testing.TB, want, path string, headers ...string) {
	t.Helper()
	if resp, body := r.get(t, "GET", path, headers...); resp.StatusCode != 200 || body != want {
		t.Errorf("%s %q: %s %q, want %q", path, headers, resp.Status, body, want)
	}
}

// refuses makes sure that nothing is served at some paths, whatever the request.
func (r *running) refuses(t testing.TB, paths ...string) {
	t.Helper()
	for _, path := range paths {
		for _, headers := range [][]string{nil, {"Range", "bytes=0-3"}, {"Sec-Fetch-Dest", "empty"}} {
			resp, body := r.get(t, "GET", path, headers...)
			if resp.StatusCode != 404 || strings.Contains(named.ReplaceAllString(body, ""), "sec") {
				t.Errorf("%s %v: %s %q", path, headers, resp.Status, body)
			}
		}
		if resp, _ := r.get(t, "HEAD", path); resp.StatusCode != 404 || resp.Header.Get("ETag") != "" {
			t.Errorf("HEAD %s: %s with ETag %q", path, resp.Status, resp.Header.Get("ETag"))
		}
	}
}

// connect opens a connection, until the end of the test.
func (r *running) connect(t testing.TB) net.Conn {
	t.Helper()
	conn := must(net.Dial("tcp", r.addr))(t)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// raw sends bytes as they are and returns the status line of the answer, ""
// when the connection is closed without one.
func (r *running) raw(t testing.TB, text string) string {
	t.Helper()
	conn := r.connect(t)
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(conn, text)
	line, err := bufio.NewReader(conn).ReadString('\n')
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("no answer to %.80q", text)
	}
	return strings.TrimSpace(line)
}

// A download is an answer of which the client reads nothing by itself.
type download struct {
	*http.Response
	conn net.Conn
}

func (r *running) download(t testing.TB, path string) download {
	t.Helper()
	conn := r.connect(t)
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
	resp := must(http.ReadResponse(bufio.NewReader(conn), nil))(t)
	return download{resp, conn}
}

// wait reads all that is left.
func (d download) wait() (n int64, err error) {
	defer d.conn.Close()
	return io.Copy(io.Discard, d.Body)
}

func TestNewSaysWhatIsWrongWithTheRoot(t *testing.T) {
	dir := tree(t, "file", "")
	tests := []struct{ name, root, want string }{
		{"missing", filepath.Join(dir, "none"), "no such file or directory"},
		{"not a directory", filepath.Join(dir, "file"), "not a directory"},
	}
	if os.Getuid() != 0 {
		locked := filepath.Join(dir, "locked")
		check(t, os.Mkdir(locked, 0o100))
		tests = append(tests, struct{ name, root, want string }{"not readable", locked, "permission denied"})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(Options{Root: tt.root})
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.root) {
				t.Errorf("got error %v, want %q and the path", err, tt.want)
			}
		})
	}
}

func TestServeReturnsNilWhenToldToStop(t *testing.T) {
	stops := maps.Clone(stops)
	stops["twice"] = func(r *running) { r.Close(); r.Close(); r.stop() }
	stops["from many goroutines"] = func(r *running) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { r.Close() })
		}
		wg.Wait()
	}
	for name, stop := range stops {
		t.Run(name, func(t *testing.T) {
			run := serve(t, Options{Root: t.TempDir()})
			run.get(t, "GET", "/")
			stop(run)
			<-run.done
			if run.err != nil {
				t.Errorf("Serve returned %v", run.err)
			}
			if _, err := net.Dial("tcp", run.addr); err == nil {
				t.Error("the listener is still open")
			}
		})
	}
}

func TestServeAfterCloseReturnsAtOnce(t *testing.T) {
	s := newServer(t, Options{})
	s.Close()
	run := serveOn(t, s, "127.0.0.1:0")
	<-run.done
	if run.err != nil {
		t.Errorf("Serve returned %v", run.err)
	}
}

// A brokenListener fails at once.
type brokenListener struct{ net.Listener }

func (brokenListener) Accept() (net.Conn, error) { return nil, os.ErrInvalid }

func TestServeReturnsTheListenersError(t *testing.T) {
	s := newServer(t, Options{})
	ln := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	if err := s.Serve(t.Context(), brokenListener{ln}); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("got %v, want %v", err, os.ErrInvalid)
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("the listener is still open")
	}
}

func TestServeAgainAndOnSeveralListeners(t *testing.T) {
	s := newServer(t, Options{Root: t.TempDir()})
	first, second := serveOn(t, s, "127.0.0.1:0"), serveOn(t, s, "127.0.0.1:0")
	first.get(t, "GET", "/")
	page := second.dial(t)
	page.greet(t, second.url("/"))

	first.stop()
	<-first.done
	second.get(t, "GET", "/")
	s.Refresh("app.js")
	page.expect(t, "/app.js !")

	again := serveOn(t, s, "127.0.0.1:0")
	again.get(t, "GET", "/")
}

func TestStoppingClosesWebSockets(t *testing.T) {
	for name, stop := range stops {
		t.Run(name, func(t *testing.T) {
			run := serve(t, Options{})
			silent, page := run.dial(t), run.dial(t)
			page.greet(t, "http://elsewhere/")
			stop(run)
			for _, c := range []*pageClient{silent, page} {
				c.closed(t, websocket.StatusGoingAway)
			}
			<-run.done
		})
	}
}

func TestCloseClosesWebSocketsOfAHandler(t *testing.T) {
	s := newServer(t, Options{})
	web := httptest.NewServer(s)
	defer web.Close()

	run := &running{Server: s, addr: web.Listener.Addr().String()}
	page := run.dial(t)
	page.greet(t, "http://elsewhere/")
	s.Close()
	page.closed(t, websocket.StatusGoingAway)
	run.status(t, http.StatusServiceUnavailable, "GET", "/livereload.js")
}

// A browser opens connections in advance; they must not delay the end.
func TestStoppingDoesNotWaitForSilentConnections(t *testing.T) {
	run := serve(t, Options{Grace: time.Hour})
	run.dialPlain(t)
	run.get(t, "GET", "/livereload.js") // accepted later
	begun := time.Now()
	run.stop()
	<-run.done
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
}

// A connection that was accepted belongs to this server: when its request
// comes as the server stops, nobody else can answer it.
func TestStoppingAnswersTheRequestThatIsOnItsWay(t *testing.T) {
	run := serve(t, Options{Root: t.TempDir()})
	conn := run.dialPlain(t)
	run.get(t, "GET", "/") // connections are accepted in turn
	run.stop()
	conn.ask(t)
}

// Each connection that is in use gets an answer to its last request, which says that it is
// the last.
func TestStoppingResetsNoConnection(t *testing.T) {
	run := serve(t, Options{Root: t.TempDir()})
	var clients sync.WaitGroup
	asked := make(chan struct{}, 16)
	for i := range cap(asked) {
		conn := run.dialPlain(t)
		clients.Go(func() {
			asked <- struct{}{}
			for again := true; again; time.Sleep(time.Duration(i) * time.Millisecond) {
				var err error
				if again, err = conn.tryAsk(); err != nil {
					t.Errorf("a client that asks every %d ms: %v", i, err)
				}
			}
		})
	}
	for range cap(asked) {
		<-asked
	}
	time.Sleep(20 * time.Millisecond) // they are in the midst of it
	run.stop()
	clients.Wait()
	<-run.done
}

func TestStoppingWaitsForRequestsWithinGrace(t *testing.T) {
	const size = 32 << 20 // more than socket buffers hold
	dir := tree(t, "big.zip", strings.Repeat("x", size))
	tests := []struct {
		name  string
		grace time.Duration
		whole bool
	}{
		{"enough", time.Minute, true},
		{"none", -1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			run := serve(t, Options{Root: dir, Grace: tt.grace})
			big := run.download(t, "/big.zip")
			run.stop()
			if !tt.whole {
				<-run.done
			}
			time.Sleep(2 * lingerTime) // after which connections without a request are closed
			n, err := big.wait()
			if whole := err == nil && n == size; whole != tt.whole {
				t.Errorf("read %d of %d bytes, error %v", n, size, err)
			}
			<-run.done
		})
	}
}

func TestUnresponsiveBrowserIsCutAfterGrace(t *testing.T) {
	run := serve(t, Options{Grace: 20 * time.Millisecond}, func(s *Server) { s.hub.Timeouts.Close = time.Hour })
	// Nobody reads from it, so nobody answers the close frame.
	run.dialMute(t, "")
	run.awaitBrowsers(t, 1)
	run.stop()
	<-run.done
	if n := run.browsers(); n != 0 {
		t.Errorf("%d browsers are left", n)
	}
}

// Within the grace period a browser may take its time to answer the close frame.
func TestServeWaitsForBrowsersWithinGrace(t *testing.T) {
	run := serve(t, Options{Grace: time.Minute}, func(s *Server) { s.hub.Timeouts.Close = time.Hour })
	slow := run.dialMute(t, "")
	run.awaitBrowsers(t, 1)
	run.stop()
	select {
	case <-run.done:
		t.Error("Serve did not wait")
	case <-time.After(100 * time.Millisecond):
	}
	go slow.listen()
	slow.closed(t, websocket.StatusGoingAway)
	<-run.done
}

func TestNoLiveReloadServesFilesOnly(t *testing.T) {
	dir := tree(t, "index.html", "<p>hi", "livereload.js", "mine")
	run := serve(t, Options{Root: dir, NoLiveReload: true})
	if resp, body := run.get(t, "GET", "/"); body != "<p>hi" || resp.Header.Get("Cache-Control") != "" {
		t.Errorf("got %q, Cache-Control %q", body, resp.Header.Get("Cache-Control"))
	}
	run.shows(t, "mine", "/livereload.js")
	run.Refresh("index.html")
}

// Without injection a page is what its file is, for every request, and the
// rest of live reload is there. Pages of our own are not the site's.
func TestNoInjectLeavesPagesAlone(t *testing.T) {
	dir := tree(t, "a.html", "<p>hi", "404.html", "<p>gone", "list/x", "")
	run := serve(t, Options{Root: dir, NoInject: true})
	resp, body := run.get(t, "GET", "/a.html", "Sec-Fetch-Dest", "document")
	if body != "<p>hi" || resp.Header.Get("Cache-Control") != "no-cache" || resp.Header.Get("Vary") != "" {
		t.Errorf("page: %q, headers %v", body, resp.Header)
	}
	if resp, body := run.get(t, "GET", "/none"); body != "<p>gone" || resp.StatusCode != 404 {
		t.Errorf("404.html: %s %q", resp.Status, body)
	}
	if _, body := run.get(t, "GET", "/list/"); !strings.Contains(body, "livereload.js") {
		t.Error("the listing does not refresh itself")
	}
	c := run.dial(t)
	c.greet(t, run.url("/a.html"))
	run.Refresh("a.html")
	c.expect(t, "/a.html !")
}

func TestNoFilesServesLiveReloadOnly(t *testing.T) {
	run := serve(t, Options{})
	resp, body := run.get(t, "GET", "/livereload.js?x=1")
	h := resp.Header
	if body != livereload.Client().Text || h.Get("Content-Type") != "text/javascript; charset=utf-8" || h.Get("Cross-Origin-Resource-Policy") != "cross-origin" {
		t.Errorf("script: %d bytes, headers %v", len(body), h)
	}
	run.status(t, 304, "GET", "/livereload.js", "If-None-Match", h.Get("ETag"))
	run.status(t, 404, "GET", "/")
	run.status(t, 426, "GET", "/livereload")
}

// A site cannot shadow what is ours.
func TestOurURLsComeFirst(t *testing.T) {
	dir := tree(t, "livereload.js", "mine", "livereload/index.html", "mine")
	run := serve(t, Options{Root: dir})
	run.shows(t, livereload.Client().Text, "/livereload.js")
	run.status(t, 426, "GET", "/livereload")
}

func TestOnlyGETAndHEAD(t *testing.T) {
	run := serve(t, Options{Root: t.TempDir()})
	for _, method := range []string{"POST", "PUT", "DELETE", "TRACE", "PROPFIND", "NONSENSE", "get"} {
		for _, path := range []string{"/", "/none", "/livereload", "/livereload.js"} {
			resp, _ := run.get(t, method, path)
			if resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD, OPTIONS" {
				t.Errorf("%s %s: %s, Allow %q", method, path, resp.Status, resp.Header.Get("Allow"))
			}
		}
	}
}

// named matches the address in a page about what is not found, and a link on the way.
var named = regexp.MustCompile("<code>.*</code>")
