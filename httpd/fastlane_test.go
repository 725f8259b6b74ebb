package httpd

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// laneSite is a site whose files are old enough to be kept.
func laneSite(t testing.TB, opts Options) *running {
	opts.Root = tree(t,
		"a.css", strings.Repeat("p { color: red }\n", 60),
		"page.html", "<!doctype html><head><title>x</title></head><p>text",
		"d/index.html", "<p>d",
		"site.js", "js",
		"100k.unknown", strings.Repeat("0123456789", 10<<10),
		"large.bin", strings.Repeat("x", wholeLimit+1))
	return serve(t, opts, func(s *Server) { s.warm() })
}

// plainServer serves the same without what connections do by themselves.
func plainServer(t testing.TB, s *Server) (addr string) {
	srv := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: maxHeaderBytes, DisableGeneralOptionsHandler: true}
	ln := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	served := make(chan struct{})
	go func() { defer close(served); srv.Serve(ln) }()
	t.Cleanup(func() { srv.Close(); <-served })
	return ln.Addr().String()
}

var dateField = regexp.MustCompile(`(?m)^Date: [^\r]*\r\n`)

// answersTo are all bytes, but for dates, that come for some that are sent in pieces.
func answersTo(t testing.TB, addr string, pieces ...[]byte) string {
	t.Helper()
	conn := must(net.Dial("tcp", addr))(t).(*net.TCPConn)
	defer conn.Close()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for _, piece := range pieces {
			conn.Write(piece) // fails when the server has hung up
		}
		conn.CloseWrite()
	}()
	var all bytes.Buffer
	io.Copy(&all, conn) // a reset is the same as an end
	<-sent
	return dateField.ReplaceAllString(all.String(), "")
}

// askOn sends a request on a connection, and returns its answer.
func askOn(t testing.TB, conn net.Conn, in *bufio.Reader, text string) (*http.Response, string) {
	t.Helper()
	must(io.WriteString(conn, text))(t)
	method, _, _ := strings.Cut(text, " ")
	resp := must(http.ReadResponse(in, &http.Request{Method: method}))(t)
	return resp, string(must(io.ReadAll(resp.Body))(t))
}

const (
	getCSS   = "GET /a.css HTTP/1.1\r\nHost: localhost\r\n\r\n"
	getPage  = "GET /page HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n"
	getFetch = "GET /page.html HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Dest: empty\r\n\r\n"
	getIndex = "GET /d/ HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Dest: document\r\nAccept: text/html\r\n\r\n"
	getStyle = "GET /a.css HTTP/1.1\r\nHost: localhost\r\nReferer: http://localhost/page\r\nSec-Fetch-Dest: style\r\nSec-Fetch-Site: same-origin\r\n\r\n"
	getOther = "GET /a.css HTTP/1.1\r\nHost: localhost\r\nReferer: http://localhost:3000/\r\n\r\n"
	get100K  = "GET /100k.unknown HTTP/1.1\r\nHost: localhost\r\n\r\n"
	headCSS  = "HEAD /a.css HTTP/1.1\r\nHost: localhost\r\n\r\n"
)

func TestConnectionsAnswerByThemselves(t *testing.T) {
	run := laneSite(t, Options{})
	plain := plainServer(t, run.Server)
	for _, request := range []string{getCSS, getPage, getFetch, getIndex, getStyle, getOther, get100K, headCSS} {
		conn := must(net.Dial("tcp", run.addr))(t)
		in := bufio.NewReader(conn)
		for range 2 { // one that has the file kept, and one whose answer is
			askOn(t, conn, in, request)
		}
		before := run.fast.Load()
		resp, _ := askOn(t, conn, in, request)
		if run.fast.Load() != before+1 {
			t.Errorf("%q has gone to net/http", request)
		}
		cached := strings.TrimSuffix(request, "\r\n") + "If-None-Match: " + resp.Header.Get("ETag") + "\r\n\r\n"
		askOn(t, conn, in, cached)
		before = run.fast.Load()
		if resp, _ := askOn(t, conn, in, cached); run.fast.Load() != before+1 || resp.StatusCode != http.StatusNotModified {
			t.Errorf("%q: %s, %d answered", cached, resp.Status, run.fast.Load()-before)
		}
		conn.Close()
		for _, text := range []string{request, cached} {
			if got, want := answersTo(t, run.addr, []byte(text)), answersTo(t, plain, []byte(text)); got != want {
				t.Errorf("%q: got\n%q\nwant\n%q", text, got, want)
			}
		}
	}
	await(t, func() bool { return run.Idle() > 0 }, "a request seems to be answered still")
}

// What connections answer is what the handler would answer now.
func TestConnectionsAnswerWithWhatThereIs(t *testing.T) {
	run := laneSite(t, Options{})
	root := run.current.Load().directory
	conn := must(net.Dial("tcp", run.addr))(t)
	defer conn.Close()
	in := bufio.NewReader(conn)
	warm := func(request string) {
		t.Helper()
		before := run.fast.Load()
		for range 4 {
			askOn(t, conn, in, request)
		}
		if run.fast.Load() == before {
			t.Fatal("all requests have gone to net/http")
		}
	}

	warm(getPage)
	run.Refresh("other.css")
	if _, body := askOn(t, conn, in, getPage); !strings.Contains(body, run.hub.Cursor().String()) {
		t.Errorf("the page has an old cursor: %s", body)
	}

	for _, request := range []string{getPage, getFetch, getCSS} {
		warm(request)
		nextTick(t, root)
		name := "page.html"
		if request == getCSS {
			name = "a.css"
		}
		text := "<p>" + request
		write(t, root, name, text)
		if _, body := askOn(t, conn, in, request); !strings.Contains(body, text) {
			t.Errorf("after a save: %q", body)
		}
	}

	warm(getCSS)
	nextTick(t, root)
	write(t, root, "_headers", "/a.css\n  X-New: yes\n")
	if resp, _ := askOn(t, conn, in, getCSS); resp.Header.Get("X-New") != "yes" {
		t.Error("a new rule has no effect")
	}
	remove(t, root, "_headers")
	warm(getCSS)
	write(t, root, "_redirects", "/a.css /page 301!\n")
	if resp, _ := askOn(t, conn, in, getCSS); resp.StatusCode != http.StatusMovedPermanently {
		t.Error("a new redirect has no effect")
	}
	remove(t, root, "_redirects")

	warm(getCSS)
	run.change(t, Options{Root: tree(t, "a.css", "other root")})
	if _, body := askOn(t, conn, in, getCSS); body != "other root" {
		t.Errorf("after a change of the root: %q", body)
	}
	run.warm()
	warm(getCSS)
	run.change(t, Options{})
	if resp, _ := askOn(t, conn, in, getCSS); resp.StatusCode != http.StatusNotFound {
		t.Errorf("without a root: %s", resp.Status)
	}
}

// What a path shows for want of a file, and who a request says that it is, count.
func TestWhatConnectionsLeaveToTheHandler(t *testing.T) {
	run := laneSite(t, Options{SPA: "page.html", CleanURLs: true})
	for _, request := range []string{
		"GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /page.html HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET //a.css HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /a.css HTTP/1.1\r\nHost: evil.example\r\n\r\n",
		"GET /a.css HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-1\r\n\r\n",
		"GET /a.css HTTP/1.1\r\nHost: localhost\r\nReferer: http://localhost/site.js\r\n\r\n",
		"GET /a.css HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 10.0.0.7\r\n\r\n",
	} {
		conn := must(net.Dial("tcp", run.addr))(t)
		in := bufio.NewReader(conn)
		for range 4 {
			askOn(t, conn, in, request)
		}
		conn.Close()
		if n := run.fast.Swap(0); n > 0 {
			t.Errorf("%q was answered by the connection", request)
		}
	}
}

// A machine may lose an address, and its server must not go by that any more. Only that of the
// connection itself lasts as long as it.
func TestAddressesThatMayGoAreLeftToTheHandler(t *testing.T) {
	root := tree(t, "a.css", "a")
	s := newServer(t, Options{Root: root})
	s.warm()
	run := serveListener(t, s, must(net.Listen("tcp", "0.0.0.0:0"))(t))
	_, port, _ := net.SplitHostPort(run.addr)
	for host, want := range map[string]bool{"localhost": true, "127.0.0.1": true, "0.0.0.0": false} {
		conn := must(net.Dial("tcp", "127.0.0.1:"+port))(t)
		in := bufio.NewReader(conn)
		for range 4 {
			if resp, _ := askOn(t, conn, in, "GET /a.css HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); resp.StatusCode != http.StatusOK {
				t.Errorf("for %s: %s", host, resp.Status)
			}
		}
		conn.Close()
		if got := run.fast.Swap(0) > 0; got != want {
			t.Errorf("for %s the connection answers: %v, want %v", host, got, want)
		}
	}
}

// A page's style sheet that a connection answers is noted as any other.
func TestUsesThatConnectionsAnswerAreNoted(t *testing.T) {
	run := laneSite(t, Options{})
	conn := must(net.Dial("tcp", run.addr))(t)
	defer conn.Close()
	in := bufio.NewReader(conn)
	for range 4 {
		askOn(t, conn, in, getPage)
		askOn(t, conn, in, getStyle)
	}
	run.unscripted.mu.Lock()
	run.unscripted.pages = nil
	run.unscripted.mu.Unlock()
	before := run.fast.Load()
	askOn(t, conn, in, getPage)
	askOn(t, conn, in, getStyle)
	if run.fast.Load() != before+2 {
		t.Fatal("the requests have gone to net/http")
	}
	run.unscripted.mu.Lock()
	defer run.unscripted.mu.Unlock()
	if page := run.unscripted.pages["/page"]; !page.used || page.scripted {
		t.Errorf("the page is noted as %+v", page)
	}
}

// A page of this machine may embed files for who is on this machine. The same bytes from
// elsewhere have another answer.
func TestWhoSendsTheBytesCounts(t *testing.T) {
	run := laneSite(t, Options{})
	from := func(ip net.IP) (embed string) {
		conn := must((&net.Dialer{LocalAddr: &net.TCPAddr{IP: ip}}).Dial("tcp", run.addr))(t)
		defer conn.Close()
		in := bufio.NewReader(conn)
		before := run.fast.Load()
		for range 4 {
			resp, _ := askOn(t, conn, in, getOther)
			embed = resp.Header.Get("Cross-Origin-Resource-Policy")
		}
		if run.fast.Load() == before {
			t.Error("all requests have gone to net/http")
		}
		return embed
	}
	if embed := from(net.IPv4(127, 0, 0, 1)); embed != "cross-origin" {
		t.Errorf("from this machine: %s", embed)
	}
	for _, addr := range must(net.InterfaceAddrs())(t) {
		if network, ok := addr.(*net.IPNet); ok && network.IP.To4() != nil && !network.IP.IsLoopback() {
			if embed := from(network.IP); embed != "same-site" {
				t.Errorf("from %v: %s", network.IP, embed)
			}
			return
		}
	}
	t.Skip("no address but loopback ones")
}

// They are reported as any other.
func TestAnswersOfConnectionsAreReported(t *testing.T) {
	reported := make(chan Answer, 10)
	run := laneSite(t, Options{Answered: func(a Answer) { reported <- a }})
	conn := must(net.Dial("tcp", run.addr))(t)
	defer conn.Close()
	in := bufio.NewReader(conn)
	for _, request := range []string{getStyle, headCSS} {
		var answers []Answer
		for range 4 {
			askOn(t, conn, in, request)
			a := <-reported
			if a.Begun.IsZero() || a.Took < 0 {
				t.Errorf("it began at %v and took %v", a.Begun, a.Took)
			}
			a.Begun, a.Took = time.Time{}, 0
			answers = append(answers, a)
		}
		if answers[0] != answers[3] {
			t.Errorf("of net/http %+v, of the connection %+v", answers[0], answers[3])
		}
	}
	if run.fast.Load() != 5 {
		t.Errorf("%d answers by the connection, want 5", run.fast.Load())
	}
}

func TestAWebSocketOnAConnectionThatHasAnswered(t *testing.T) {
	run := laneSite(t, Options{})
	var conn net.Conn
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		in := bufio.NewReader(c)
		for range 4 {
			askOn(t, c, in, strings.ReplaceAll(getCSS, "localhost", run.addr))
		}
		conn = c
		return c, nil
	}}}
	ws, _, err := websocket.Dial(t.Context(), "ws://"+run.addr+"/livereload", &websocket.DialOptions{HTTPClient: client})
	check(t, err)
	defer ws.CloseNow()
	if run.fast.Load() == 0 || conn == nil {
		t.Fatal("the connection has answered nothing")
	}
	check(t, ws.Write(t.Context(), websocket.MessageText, []byte(ourClientHello)))
	if _, text, err := ws.Read(t.Context()); err != nil || string(text) != ourHello {
		t.Errorf("got %s, %v", text, err)
	}
}

// After an answer a connection may be idle for longer than a header may take, which holds
// for the next one as it does in net/http.
func TestTimeoutsOfConnectionsThatHaveAnswered(t *testing.T) {
	const header = 100 * time.Millisecond
	s := newServer(t, Options{Root: tree(t, "a.css", "a")})
	s.warm()
	s.timeouts.header = header
	run := serveOn(t, s, "127.0.0.1:0")
	for range 3 { // has the answer kept
		answersTo(t, run.addr, []byte(getCSS))
	}
	conn := must(net.Dial("tcp", run.addr))(t)
	defer conn.Close()
	in := bufio.NewReader(conn)
	before := run.fast.Load()
	askOn(t, conn, in, getCSS)
	time.Sleep(2 * header)
	askOn(t, conn, in, getCSS)
	if run.fast.Load() != before+2 {
		t.Fatal("the requests have gone to net/http")
	}

	must(io.WriteString(conn, getCSS[:20]))(t)
	conn.SetReadDeadline(time.Now().Add(idleTimeout / 4))
	if rest, err := io.ReadAll(in); err != nil {
		t.Errorf("a header that does not end: %q, %v", rest, err)
	}
}

// A server that stops answers what comes on a connection with Connection: close.
func TestAConnectionThatHasAnsweredIsClosed(t *testing.T) {
	run := laneSite(t, Options{})
	conn := must(net.Dial("tcp", run.addr))(t)
	defer conn.Close()
	in := bufio.NewReader(conn)
	for range 4 {
		askOn(t, conn, in, getCSS)
	}
	run.stop()
	await(t, func() bool {
		other, err := net.Dial("tcp", run.addr)
		if err == nil {
			other.Close()
		}
		return err != nil
	}, "connections are still accepted")
	if resp, _ := askOn(t, conn, in, getCSS); !resp.Close {
		t.Error("the connection stays open")
	}
	<-run.done
	if run.fast.Load() != 2 {
		t.Errorf("%d answers by the connection, want 2", run.fast.Load())
	}
}

// Connections that answer by themselves are as net/http's: for whatever bytes, in whatever
// pieces, the answers are the same.
func FuzzConnection(f *testing.F) {
	run := laneSite(f, Options{})
	remove(f, run.current.Load().directory, "large.bin") // which gets its ETag when it is older
	plain := plainServer(f, run.Server)
	pipeline := getCSS + headCSS + getPage + getFetch + getIndex
	seeds := []string{
		getCSS, pipeline, pipeline + pipeline, getCSS + "GE", getCSS + "\r\n" + getCSS, getCSS + getCSS[:20],
		strings.ReplaceAll(getCSS, "\r\n", "\n"), getCSS + strings.ReplaceAll(getCSS, "\r\n", "\n") + getCSS,
		"GET /a.css HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n" + getCSS,
		"GET /a.css HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n" + getCSS,
		"GET /a.css HTTP/1.1\r\n\r\n" + getCSS,
		"GET http://localhost/a.css HTTP/1.1\r\nHost: localhost\r\n\r\n" + getCSS,
		"GET /a.css HTTP/1.1\r\nHost: localhost\r\nAccept: a\r\n b\r\n\r\n" + getCSS,
		"GET /a.css HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n" + getCSS,
		"GET /a.css HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello" + getCSS,
		"GET /a.css HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + getCSS,
		"GET /a.css HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\r\n" + getCSS,
		"GET /a.css HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" + getCSS,
		"GET /a.css HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n" + getCSS,
		"GET /a.css HTTP/1.0\r\nHost: localhost\r\n\r\n" + getCSS,
		"GET /a.css?x=1 HTTP/1.1\r\nHost: localhost\r\n\r\n" + getCSS,
		"GET /a%2ecss HTTP/1.1\r\nHost: localhost\r\n\r\n" + getCSS,
		"GET /../a.css HTTP/1.1\r\nHost: localhost\r\n\r\nGET //a.css HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /a.css\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n" + getCSS,
		"GET /a.css HTTP/1.1\r\nHost: localhost\r\nAccept : x\r\n\r\n" + getCSS,
		"GET /a.css HTTP/1.1\r\nHost: localhost\r\nCookie: " + strings.Repeat("x", laneBuffer) + "\r\n\r\n" + getCSS,
		"GET /a.css HTTP/1.1\r\nHost: localhost\r\nCookie: " + strings.Repeat("x", maxHeaderBytes+(8<<10)) + "\r\n\r\n" + getCSS,
		"POST /a.css HTTP/1.1\r\nHost: localhost\r\n\r\n" + getCSS, "get /a.css HTTP/1.1\r\nHost: localhost\r\n\r\n" + getCSS,
		"GET  /a.css HTTP/1.1\r\nHost: localhost\r\n\r\n" + getCSS, "GET /a.css HTTP/1.1 \r\nHost: localhost\r\n\r\n" + getCSS,
		"GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n" + getCSS, "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n" + getCSS,
		getCSS + get100K + get100K + getCSS,
		"GET /a.css HTTP/1.1\r\nHost: localhost\r\nRange: bytes=1-3\r\n\r\n" + getCSS,
		"\x16\x03\x01\x02\x00", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "", "\r\n\r\n", "\r\n\r\n" + getCSS,
	}
	for i, seed := range seeds {
		f.Add([]byte(seed), uint16(0), uint16(0))
		f.Add([]byte(seed), uint16(7*i+3), uint16(60))
	}
	for range 3 { // has the answers kept
		answersTo(f, run.addr, []byte(pipeline))
	}
	f.Fuzz(func(t *testing.T, text []byte, one, two uint16) {
		first := min(int(one), len(text))
		second := min(first+int(two), len(text))
		want := answersTo(t, plain, text)
		for range 2 {
			if got := answersTo(t, run.addr, text[:first], text[first:second], text[second:]); got != want {
				t.Fatalf("%q and %q and %q are answered by\n%q\nwant\n%q", text[:first], text[first:second], text[second:], got, want)
			}
		}
	})
}

// What is done for an answer takes no memory, however many sites there are.
func TestConnectionsAllocateNothing(t *testing.T) {
	other := newServer(t, Options{Root: t.TempDir()})
	t.Run("one site", func(t *testing.T) { allocatesNothing(t, Options{}) })
	t.Run("two sites", func(t *testing.T) {
		allocatesNothing(t, Options{Sites: []Site{{Hosts: []string{"docs.example.com"}, Server: other}}})
	})
}

func allocatesNothing(t *testing.T, opts Options) {
	run := laneSite(t, opts)
	conn := must(net.Dial("tcp", run.addr))(t)
	defer conn.Close()
	in := bufio.NewReader(conn)
	for range 4 {
		askOn(t, conn, in, getCSS)
	}
	lane := &laneConn{server: run.Server, conns: new(httpConns)}
	for key := range run.current.Load().hot.answers {
		allocs := testing.AllocsPerRun(100, func() {
			s, a := lane.answer([]byte(key))
			if a == nil {
				t.Fatal("there is no answer")
			}
			s.noteAnswer(a, lane)
			s.requests.end()
		})
		if allocs > 1 { // of the test: the key
			t.Errorf("%v allocations for an answer", allocs)
		}
	}
}

// BenchmarkConnection compares what connections answer by themselves with what net/http
// does, whose requests have a field more.
func BenchmarkConnection(b *testing.B) {
	run := laneSite(b, Options{})
	for _, request := range []struct{ name, text string }{{"1KiB", getCSS}, {"page", getPage}, {"100KiB", get100K}} {
		for _, by := range []struct{ name, field string }{{"connection", ""}, {"net-http", "X-Forwarded-For: 10.0.0.7\r\n"}} {
			b.Run(request.name+"/"+by.name, func(b *testing.B) {
				conn := must(net.Dial("tcp", run.addr))(b)
				defer conn.Close()
				in := bufio.NewReader(conn)
				text := []byte(strings.TrimSuffix(request.text, "\r\n") + by.field + "\r\n")
				for range 3 {
					askOn(b, conn, in, string(text))
				}
				must(conn.Write(text))(b)
				size := 0 // of the answer
				resp := must(http.ReadResponse(in, nil))(b)
				head := must(httputil.DumpResponse(resp, false))(b)
				size = len(head) + int(must(io.Copy(io.Discard, resp.Body))(b))

				answer := make([]byte, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					must(conn.Write(text))(b)
					must(io.ReadFull(conn, answer))(b)
				}
			})
		}
	}
}
