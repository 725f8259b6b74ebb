package httpd

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// secretOptions serve a root, a command, a path and an output that are for the
// owner alone: each has the word "private" in it.
func secretOptions(t testing.TB) Options {
	return Options{
		Root:       t.TempDir(),
		AllowHosts: []string{"preview.example.com"},
		Token:      "TOKEN123",
		Watches:    func() []Watch { return []Watch{{"/private/www", 1, 0}} },
		Runs: func(int, int) []Run {
			return []Run{{ID: 1, Route: "build", Machine: "private-7", Command: "private", Paths: []string{"private.md"}, Batch: 1, State: RunFailed, Outcome: "private", Output: []byte("private")}}
		},
	}
}

// showsPrivate says whether an answer is the status page, or a view of it, with
// what is for the owner.
func showsPrivate(t testing.TB, answer string) bool {
	t.Helper()
	if !strings.Contains(answer, "build") || !strings.Contains(answer, "www") {
		t.Errorf("that is no status page: %s", answer)
	}
	return strings.Contains(answer, "private")
}

// exchange sends bytes as they are over a connection and returns all that
// comes before the peer closes it.
func exchange(t testing.TB, conn net.Conn, request string) string {
	t.Helper()
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	must(io.WriteString(conn, request))(t)
	answer := must(io.ReadAll(conn))(t)
	return string(answer)
}

// What no browser or plain client on this machine sends was sent by a proxy, for
// somebody else.
func TestPrivateIsForDirectRequests(t *testing.T) {
	run := serve(t, secretOptions(t))
	type test struct {
		name, lines string // of the request; US is our address
		private     bool
	}
	tests := []test{
		{"plain", "GET / HTTP/1.1|Host: US", true},
		{"localhost", "GET / HTTP/1.1|Host: localhost:8000", true},
		{"a browser", "GET / HTTP/1.1|Host: US|Connection: keep-alive, close|Cache-Control: max-age=0|sec-ch-ua: \"Chromium\"|Upgrade-Insecure-Requests: 1|" +
			"User-Agent: Mozilla/5.0|Accept: text/html|Sec-Fetch-Site: none|Sec-Fetch-Mode: navigate|Accept-Encoding: gzip|Accept-Language: en|Cookie: a=b|DNT: 1|" +
			"Referer: http://US/|If-None-Match: x|Priority: u=0, i|TE: trailers|Pragma: no-cache", true},

		{"no Host, HTTP/1.0", "GET / HTTP/1.0", false},
		{"HTTP/1.0", "GET / HTTP/1.0|Host: US", false},
		{"a name that others use", "GET / HTTP/1.1|Host: preview.example.com", false},
		{"the rest of an upgrade", "GET / HTTP/1.1|Host: US|Connection: upgrade, close", false},
		{"a header that is for one hop and not there", "GET / HTTP/1.1|Host: US|Connection: close, X-Trace", false},
	}
	for header := range strings.FieldsSeq(`
		X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Forwarded-Prefix x-forwarded-port Forwarded Via X-Real-IP X-Client-IP
		X-Cluster-Client-IP True-Client-IP CF-Connecting-IP CF-Ray CDN-Loop Fastly-Client-IP Fly-Client-IP X-Envoy-External-Address
		X-Original-URL X-Original-Host X-Amzn-Trace-Id X-Request-Id Client-IP Tailscale-User-Login Remote-User Proxy-Connection
		Traceparent Early-Data Max-Forwards SSL-Client-Cert`) {
		for _, value := range []string{"10.0.0.7", ""} {
			line := header + ": " + value
			tests = append(tests, test{line, "GET / HTTP/1.1|Host: US|" + line, false})
		}
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			request := strings.NewReplacer("GET / ", "GET /.execlogd/ ", "US", run.addr, "|", "\r\n").Replace(tt.lines)
			if !strings.Contains(request, "\nConnection:") {
				request += "\r\nConnection: close"
			}
			conn := run.connect(t)
			answer := exchange(t, conn, request+"\r\n\r\n")
			if strings.Contains(tt.lines, "Host:") {
				if got := showsPrivate(t, answer); got != tt.private {
					t.Errorf("what is private is shown: %v, want %v", got, tt.private)
				}
			} else if strings.Contains(answer, "private") {
				t.Errorf("shown: %s", answer)
			}
		})
	}
}

// A proxy that adds nothing, and other users of the machine, are known by their
// user.
func TestPrivateIsForOurUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root, who can be somebody else")
	}
	dir := must(os.MkdirTemp("", "execlogd-owner-"))(t) // which others may enter
	t.Cleanup(func() { os.RemoveAll(dir) })
	check(t, os.Chmod(dir, 0o755))
	s := newServer(t, secretOptions(t))
	run := serveOn(t, s, "127.0.0.1:0")
	run6 := serveOn(t, s, "[::]:0")
	_, port6, _ := net.SplitHostPort(run6.addr)
	socket := filepath.Join(dir, "socket")
	ln := must(net.Listen("unix", socket))(t)
	serveListener(t, s, ln)
	check(t, os.Chmod(socket, 0o777))
	for _, to := range []struct{ name, network, addr string }{
		{"tcp", "tcp", run.addr},
		{"tcp6", "tcp", "[::1]:" + port6},
		{"tcp to a socket for IPv6", "tcp", "127.0.0.1:" + port6},
		{"unix", "unix", socket},
	} {
		for _, uid := range []int{0, 12345, overflowUser} {
			t.Run(fmt.Sprintf("%s by %d", to.name, uid), func(t *testing.T) {
				if got := showsPrivate(t, askAs(t, uid, to.network, to.addr)); got != (uid == 0) {
					t.Errorf("what is private is shown: %v", got)
				}
			})
		}
	}
}

// askAs asks for the status page in a process of another user.
func askAs(t testing.TB, uid int, network, addr string) string {
	t.Helper()
	self := must(os.Open("/proc/self/exe"))(t) // which a user may not reach by its path
	defer self.Close()
	cmd := exec.Command("/proc/self/fd/3", "-test.run=^TestAsk$")
	cmd.ExtraFiles = []*os.File{self}
	cmd.Dir = "/"
	cmd.Env = []string{"ASK_NETWORK=" + network, "ASK_ADDR=" + addr}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	answer, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	return string(answer)
}

// TestAsk is what askAs runs.
func TestAsk(t *testing.T) {
	network, addr := os.Getenv("ASK_NETWORK"), os.Getenv("ASK_ADDR")
	if network == "" {
		t.Skip("it is part of TestPrivateIsForOurUser")
	}
	conn := must(net.Dial(network, addr))(t)
	fmt.Print(exchange(t, conn, "GET /.execlogd/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
}

// A connection that is not there any more, or that the tables do not have, is
// nobody's.
func TestPeerIsUnknown(t *testing.T) {
	if uid, known := peerOf(at("127.0.0.1:1", "GET", "/", "localhost")).user(); known {
		t.Errorf("a connection that never was is of user %d", uid)
	}
	for uid, want := range map[int]bool{0: true, 1000: true, 1001: false, overflowUser: false} {
		if isOwnUser(uid, 1000) != want {
			t.Errorf("user %d is the server's: %v, want %v", uid, !want, want)
		}
	}
	if isOwnUser(overflowUser, overflowUser) {
		t.Error("a user that has no id here is taken for the server's")
	}
	ln := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer ln.Close()
	conn := must(net.Dial("tcp", ln.Addr().String()))(t)
	peer := netip.MustParseAddrPort(conn.LocalAddr().String())
	own := netip.MustParseAddrPort(conn.RemoteAddr().String())
	// The kernel shows the end that no program has accepted yet as root's.
	if uid, known := socketUser("/proc/net/tcp", own, peer); known {
		t.Errorf("a connection that nobody has accepted is of user %d", uid)
	}
	far := must(ln.Accept())(t)
	defer far.Close()
	if uid, known := socketUser("/proc/net/tcp", peer, own); !known || uid != os.Geteuid() {
		t.Errorf("an open connection is of user %d, %v", uid, known)
	}
	conn.Close() // the kernel has the socket without its owner now, and shows root
	if uid, known := socketUser("/proc/net/tcp", peer, own); known {
		t.Errorf("a closed one is of user %d", uid)
	}
}

// tokenClient is a browser that is somewhere else, behind a proxy.
func tokenClient(t testing.TB) *http.Client {
	jar := must(cookiejar.New(nil))(t)
	return &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
}

func ask(t testing.TB, c *http.Client, url string) (*http.Response, string) {
	t.Helper()
	resp := must(c.Do(request(t, "GET", url, "X-Forwarded-For", "10.0.0.7")))(t)
	defer resp.Body.Close()
	body := must(io.ReadAll(resp.Body))(t)
	return resp, string(body)
}

// The token makes any browser the owner's, for the status page alone, and is
// nowhere to be seen afterwards.
func TestTokenShowsAll(t *testing.T) {
	run := serve(t, secretOptions(t))
	for _, path := range []string{"/.execlogd/?token=TOKEN123", "/.execlogd?token=TOKEN123"} {
		c := tokenClient(t)
		if _, body := ask(t, c, run.url("/.execlogd/")); showsPrivate(t, body) {
			t.Fatal("all is shown without the token")
		}
		resp, body := ask(t, c, run.url(path))
		if !showsPrivate(t, body) || resp.Request.URL.String() != run.url("/.execlogd/") || strings.Contains(body, "TOKEN") {
			t.Errorf("%s leads to %s: %s", path, resp.Request.URL, body)
		}
		// What follows has it too, and the site has not.
		stream := must(c.Do(request(t, "GET", run.url("/.execlogd/events"), "X-Forwarded-For", "10.0.0.7")))(t)
		lines := bufio.NewScanner(stream.Body)
		if now := next(t, lines); !showsPrivate(t, now) {
			t.Errorf("the stream has %s", now)
		}
		stream.Body.Close()
		for path, want := range map[string]int{"/.execlogd/": 1, "/": 0, "/a/": 0} {
			if cookies := c.Jar.Cookies(request(t, "GET", run.url(path)).URL); len(cookies) != want {
				t.Errorf("%s is sent %v", path, cookies)
			}
		}
	}

	resp, _ := run.get(t, "GET", "/.execlogd/?token=TOKEN123")
	_, port, _ := net.SplitHostPort(run.addr)
	if got, want := resp.Header.Get("Set-Cookie"), "execlogd-"+port+"=TOKEN123; HttpOnly; SameSite=Strict"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if resp.StatusCode != 303 || resp.Header.Get("Location") != "./" || resp.Header.Get("Referrer-Policy") != "no-referrer" || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s, %v", resp.Status, resp.Header)
	}
	resp, _ = run.get(t, "GET", "/.execlogd/?token=TOKEN123", "X-Forwarded-Proto", "https")
	if !strings.Contains(resp.Header.Get("Set-Cookie"), "; Secure") {
		t.Errorf("over TLS: %q", resp.Header.Get("Set-Cookie"))
	}
}

func TestWrongTokenShowsNothing(t *testing.T) {
	run := serve(t, secretOptions(t))
	for _, token := range []string{"", "TOKEN12", "TOKEN1234", "token123"} {
		resp, body := run.get(t, "GET", "/.execlogd/?token="+token)
		if resp.StatusCode != 403 || resp.Header.Get("Set-Cookie") != "" || !strings.Contains(body, "open the address") {
			t.Errorf("%q: %s %s", token, resp.Status, body)
		}
		_, port, _ := net.SplitHostPort(run.addr)
		if _, body := run.get(t, "GET", "/.execlogd/", "X-Forwarded-For", "x", "Cookie", "execlogd-"+port+"="+token); showsPrivate(t, body) {
			t.Errorf("the cookie %q shows all", token)
		}
	}
	run.status(t, 403, "GET", "/.execlogd/?token=TOKEN123", "Sec-Fetch-Site", "cross-site")
	opts := secretOptions(t)
	opts.Token = ""
	without := serve(t, opts)
	without.status(t, 403, "GET", "/.execlogd/?token=")
}

// Behind a proxy nobody knows on which machine the browser is: neither a page
// on its machine nor one without an origin may listen then.
func TestLoopbackPagesAreOnThisMachine(t *testing.T) {
	for _, origin := range []string{"null", "http://localhost:3000"} {
		run := serve(t, Options{})
		for _, forwarded := range []bool{false, true} {
			headers := []string{"Origin", origin}
			if forwarded {
				headers = append(headers, "X-Real-IP", "10.0.0.7")
			}
			want := http.StatusUpgradeRequired
			if forwarded {
				want = http.StatusForbidden
			}
			if resp, body := run.get(t, "GET", "/livereload", headers...); resp.StatusCode != want {
				t.Errorf("%s, forwarded: %v: %s %s", origin, forwarded, resp.Status, body)
			}
		}
	}
}

// BenchmarkOwner is what it costs to ask the kernel whose a connection is.
func BenchmarkOwner(b *testing.B) {
	run := serve(b, Options{})
	conn := run.connect(b)
	r := at(run.addr, "GET", "/", run.addr)
	r.RemoteAddr = conn.LocalAddr().String()
	r = r.WithContext(context.WithValue(r.Context(), connKey{}, conn))
	now := run.current.Load()
	for b.Loop() {
		r := r.WithContext(context.WithValue(r.Context(), accessKey{}, now.rules.resolve(r)))
		if !now.isOwner(r) {
			b.Fatal("not the owner")
		}
	}
}
