package httpd

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// at makes a request as it arrives at a local address.
func at(local, method, path, host string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, path, nil)
	r.Host = host
	r.RemoteAddr = "127.0.0.1:50000"
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	addr, err := net.ResolveTCPAddr("tcp", local)
	if err != nil {
		panic(err)
	}
	return r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, addr))
}

// answerTo answers a request without a connection.
func (s *Server) answerTo(r *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, r)
	return rec
}

func (s *Server) answer(path string) *httptest.ResponseRecorder {
	return s.answerTo(at("127.0.0.1:8000", "GET", path, "localhost"))
}

// wds issue 887, CVE-2025-24010, CVE-2025-65717: a name that is not ours,
// which DNS was made to lead to us.
func TestHost(t *testing.T) {
	s := newServer(t, Options{Root: t.TempDir(), AllowHosts: []string{"Preview.Example.com", ".dev.example", "10.1.2.3", "[fd00::5]", "::ffff:10.1.2.4", "fe80::7%eth0"}})
	machine, _ := os.Hostname()
	label, _, _ := strings.Cut(machine, ".")
	const loopback, lan, lan6 = "127.0.0.1:8000", "192.168.7.1:8000", "[fe80::1%lo]:8000"
	tests := []struct {
		want  int
		local string
		hosts []string
	}{
		{200, loopback, []string{
			"localhost", "localhost:8000", "LOCALHOST.:8000", "site.localhost", "127.0.0.1:8000", "127.9.9.9", "[::1]:8000",
			"[::ffff:127.0.0.1]", machine + ":8000", label, label + ".local", strings.ToUpper(label) + ".local.:8000", "localhost:9999", "preview.example.com", "PREVIEW.example.com.:80",
			"dev.example", "a.b.dev.example:1", "10.1.2.3:80", "[fd00::5]", "10.1.2.4", "[fe80::7%eth0]",
		}},
		{200, lan, []string{"192.168.7.1:8000", "192.168.7.1"}},
		{200, lan6, []string{"[fe80::1]:8000"}},
		{403, loopback, []string{
			"evil.example", "evil.example:8000", "evil.local", label + ".local.evil.example", "x." + label + ".local", "localhost.evil.example", "notlocalhost", "127.0.0.1.evil.example",
			"a.preview.example.com", "notdev.example", "192.168.7.1", "0.0.0.0:8000", "1.2.3.4", "2130706433", "0x7f.1",
			"[fd00::6]",
		}},
		{403, lan, []string{"192.168.7.2"}},
		{400, loopback, []string{
			"", ":8000", "[::::", "[::1", "::1", "[::1]x", "[::1]:port", "[localhost]", "[127.0.0.1]", "localhost:",
			"localhost:80:80", "localhost:x", "local host", "localhost\x00", "localhost/", "user@localhost", "localhost#", "..",
			strings.Repeat("a", 64<<10),
		}},
	}
	for _, tt := range tests {
		for _, host := range tt.hosts {
			for _, path := range []string{"/", "/livereload.js", "/livereload", "/none"} {
				rec := s.answerTo(at(tt.local, "GET", path, host))
				refused := rec.Code == 403 || rec.Code == 400
				if refused != (tt.want != 200) || refused && rec.Code != tt.want {
					t.Errorf("%.40q at %s: %s: %d, want %d", host, tt.local, path, rec.Code, tt.want)
				}
				if rec.Code == 403 && !strings.Contains(rec.Body.String(), "-allow-host "+strings.Trim(host, "[]")[:3]) {
					t.Errorf("%.40q: %s: the text names no way out: %s", host, path, rec.Body)
				}
			}
		}
	}
}

// A wildcard listener goes by every address of the machine.
func TestHostOfAWildcardListener(t *testing.T) {
	run := serveOn(t, newServer(t, Options{Root: t.TempDir()}), "0.0.0.0:0")
	_, port, _ := net.SplitHostPort(run.addr)
	run.addr = "127.0.0.1:" + port
	hosts := []string{"0.0.0.0:" + port, "localhost"}
	addrs := must(net.InterfaceAddrs())(t)
	for _, a := range addrs {
		if ip := a.(*net.IPNet).IP; ip.To4() != nil {
			hosts = append(hosts, ip.String())
		} else {
			hosts = append(hosts, "["+ip.String()+"]")
		}
	}
	for _, host := range hosts {
		run.status(t, 200, "GET", "/", "Host", host)
	}
	for _, host := range []string{"198.51.100.7", "evil.example"} {
		run.status(t, 403, "GET", "/", "Host", host)
	}
}

// CVE-2018-14732, CVE-2025-30360, CVE-2025-24010, CVE-2025-56648: pages of
// others listen in, among them pages whose origin is an address.
func TestOrigin(t *testing.T) {
	files := Options{Root: t.TempDir(), AllowHosts: []string{"example.com"}}
	bare := Options{AllowHosts: []string{"example.com"}}
	allowing := files
	allowing.AllowOrigins = []string{"https://www.Example.com", "http://10.0.0.7:8080", "https://tls.example:443", "chrome-extension://abcdef", "null"}
	const loopback, lan = "127.0.0.1:8000", "192.168.7.1:8000"
	tests := []struct {
		name, origin, host, local string
		opts                      Options
		allowed                   bool
	}{
		{"no origin", "-", "localhost:8000", loopback, files, true},
		{"the server's page", "http://localhost:8000", "localhost:8000", loopback, files, true},
		{"the server's page, in capitals", "HTTP://LOCALHOST:8000", "localhost:8000", loopback, files, true},
		{"the server's page in a network", "http://192.168.7.1:8000", "192.168.7.1:8000", lan, files, true},
		{"the server's page behind TLS", "https://example.com", "example.com", loopback, files, true},
		{"the port that is implied", "http://example.com", "example.com:80", loopback, files, true},
		{"a loopback page next door", "http://localhost:80", "127.0.0.1:8000", loopback, files, true},
		{"a loopback page next door, by address", "http://127.0.0.1", "localhost:8000", loopback, files, true},
		{"a loopback page, IPv6", "http://[::1]:3000", "localhost:8000", loopback, files, true},
		{"a loopback page, TLS", "https://app.localhost:3000", "localhost:8000", loopback, files, true},
		{"a listed origin", "https://www.example.com", "localhost:8000", loopback, allowing, true},
		{"a listed origin with port", "http://10.0.0.7:8080", "localhost:8000", loopback, allowing, true},
		{"a listed origin with the port that is implied", "https://tls.example", "localhost:8000", loopback, allowing, true},
		{"a listed extension", "chrome-extension://abcdef", "localhost:8000", loopback, allowing, true},
		{"null, listed", "null", "localhost:8000", loopback, allowing, true},
		{"null where no files are served", "null", "localhost:8000", loopback, bare, true},

		{"another site", "http://evil.example", "localhost:8000", loopback, files, false},
		{"CVE-2025-30360: an address", "http://1.2.3.4", "localhost:8000", loopback, files, false},
		{"an IPv6 address", "http://[2001:db8::1]", "localhost:8000", loopback, files, false},
		{"a name that begins like ours", "http://localhost:8000.evil.example", "localhost:8000", loopback, files, false},
		{"a name that ends like ours", "http://evil-localhost", "localhost:8000", loopback, files, false},
		{"our name as user", "http://localhost:8000@evil.example", "localhost:8000", loopback, files, false},
		{"a loopback page of somebody elsewhere", "http://localhost:3000", "example.com", loopback, files, false},
		{"a loopback page at a server in a network", "http://localhost:3000", "192.168.7.1:8000", lan, files, false},
		{"another port in a network", "http://192.168.7.1:9000", "192.168.7.1:8000", lan, files, false},
		{"a listed host's other scheme", "http://www.example.com", "localhost:8000", loopback, allowing, false},
		{"a listed host's other port", "https://www.example.com:444", "localhost:8000", loopback, allowing, false},
		{"below a listed host", "https://a.www.example.com", "localhost:8000", loopback, allowing, false},
		{"another extension", "chrome-extension://evil", "localhost:8000", loopback, allowing, false},
		{"an extension of our name", "chrome-extension://localhost", "localhost:8000", loopback, files, false},
		{"null where files are served", "null", "localhost:8000", loopback, files, false},
		{"null from a network", "null", "192.168.7.1:8000", lan, bare, false},

		{"empty", "", "localhost:8000", loopback, files, false},
		{"CVE-2026-14631: brackets", "http://[::::", "localhost:8000", loopback, files, false},
		{"no scheme", "localhost:8000", "localhost:8000", loopback, files, false},
		{"no host", "http://", "localhost:8000", loopback, files, false},
		{"a path", "http://localhost:8000/", "localhost:8000", loopback, files, false},
		{"a zero byte", "http://localhost:8000\x00", "localhost:8000", loopback, files, false},
		{"two in one", "http://localhost:8000 http://evil.example", "localhost:8000", loopback, files, false},
		{"64 kB", "http://" + strings.Repeat("a", 64<<10), "localhost:8000", loopback, files, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, tt.opts)
			r := at(tt.local, "GET", "/livereload", tt.host)
			if tt.origin != "-" {
				r.Header.Set("Origin", tt.origin)
			}
			rec := s.answerTo(r)
			want := http.StatusForbidden
			if tt.allowed {
				want = http.StatusUpgradeRequired // only the websocket is missing
			}
			if rec.Code != want {
				t.Errorf("origin %.60q: %d %s", tt.origin, rec.Code, rec.Body)
			}
		})
	}
}

// A proxy may put the server's own name into Host, and the one that the browser
// asked for into X-Forwarded-Host. It counts as Host does, and from this machine
// alone.
func TestOriginBehindAProxy(t *testing.T) {
	s := newServer(t, Options{Root: t.TempDir(), AllowHosts: []string{"example.com"}})
	const here, there = "127.0.0.1:50000", "192.168.7.9:50000"
	tests := []struct {
		name, origin, forwarded, host, remote string
		allowed                               bool
	}{
		{"the page that the proxy shows", "https://example.com", "example.com", "127.0.0.1:8000", here, true},
		{"by IPv6", "https://example.com", "example.com", "[::1]:8000", "[::1]:50000", true},
		{"by IPv4 in IPv6", "https://example.com", "example.com", "127.0.0.1:8000", "[::ffff:127.0.0.1]:50000", true},
		{"by a unix socket", "https://example.com", "example.com", "localhost", "@", true},
		{"with a port", "https://example.com:8443", "example.com:8443", "127.0.0.1:8000", here, true},
		{"with the port that is implied", "https://example.com", "example.com:443", "127.0.0.1:8000", here, true},
		{"a row of proxies", "https://example.com", "example.com, inner.example", "127.0.0.1:8000", here, true},
		{"Host unchanged", "https://example.com", "example.com", "example.com", here, true},
		{"a proxy that says less", "http://localhost:8000", "", "localhost:8000", here, true},

		{"another site, a name of ours", "https://evil.example", "example.com", "127.0.0.1:8000", here, false},
		{"another site, its name", "https://evil.example", "evil.example", "127.0.0.1:8000", here, false},
		{"another port", "https://example.com:1", "example.com", "127.0.0.1:8000", here, false},
		{"not from this machine", "https://example.com", "example.com", "127.0.0.1:8000", there, false},
		{"Host is not ours", "https://example.com", "example.com", "evil.example", here, false},
		{"a loopback page of somebody elsewhere", "http://localhost:3000", "example.com", "127.0.0.1:8000", here, false},
		{"no name", "https://example.com", "example.com/x", "127.0.0.1:8000", here, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := at("127.0.0.1:8000", "GET", "/livereload", tt.host, "Origin", tt.origin, "X-Forwarded-Host", tt.forwarded)
			r.RemoteAddr = tt.remote
			if tt.remote == "@" {
				r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.UnixAddr{Name: "/run/s", Net: "unix"}))
			}
			rec := s.answerTo(r)
			if allowed := rec.Code == http.StatusUpgradeRequired; allowed != tt.allowed {
				t.Errorf("%d %s", rec.Code, rec.Body)
			}
		})
	}
}

// A page that wants to say X-Forwarded-Host has to ask first, and is told nothing that
// allows it.
func TestNoPageMayForward(t *testing.T) {
	run := serve(t, Options{Root: t.TempDir()})
	resp, _ := run.get(t, "OPTIONS", "/livereload", "Origin", "https://evil.example",
		"Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "x-forwarded-host")
	if resp.StatusCode != 204 || resp.Header.Get("Access-Control-Allow-Origin") != "" || resp.Header.Get("Access-Control-Allow-Headers") != "" {
		t.Errorf("%s, headers %v", resp.Status, resp.Header)
	}
}

// The same over a real connection, with a text that says what to do.
func TestForeignOriginOverTheWire(t *testing.T) {
	run := serve(t, Options{Root: t.TempDir()})
	for _, header := range []string{"Origin", "Host"} {
		_, resp, err := run.tryDial(t, "/livereload", header, map[string]string{"Origin": "https://evil.example", "Host": "evil.example"}[header])
		if err == nil || resp == nil || resp.StatusCode != 403 {
			t.Errorf("%s: %v, %v", header, resp, err)
		}
	}
	resp, body := run.get(t, "GET", "/livereload", "Origin", "https://evil.example")
	if resp.StatusCode != 403 || !strings.Contains(body, "-allow-origin https://evil.example") {
		t.Errorf("%s: %s", resp.Status, body)
	}
}

// CVE-2025-24010, GHSA-67mh-4wv8-2f99, CVE-2025-30359: nothing lets a page of
// another origin read, and nothing but the client may be embedded elsewhere.
func TestNoCORS(t *testing.T) {
	root := tree(t, "a.js", "secret()", "index.html", "secret")
	run := serve(t, Options{Root: root})
	for _, path := range []string{"/", "/a.js", "/none", "/livereload.js", "/livereload"} {
		resp, _ := run.get(t, "GET", path, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")
		for name := range resp.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s: %s", path, name)
			}
		}
		want := map[string]string{"/livereload.js": "cross-origin", "/livereload": ""}
		policy, ok := want[path]
		if !ok {
			policy = "same-site"
		}
		if got := resp.Header.Get("Cross-Origin-Resource-Policy"); got != policy {
			t.Errorf("%s: Cross-Origin-Resource-Policy %q, want %q", path, got, policy)
		}
	}
}

// CVE-2025-32395 and CVE-2026-14631: request lines and headers of nonsense get
// an answer that says so, and the server lives on.
func TestMalformedRequests(t *testing.T) {
	run := serve(t, Options{Root: t.TempDir()})
	tests := []struct{ name, request, want string }{
		{"a fragment", "GET /a#b HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"},
		{"a fragment first", "GET #b HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"},
		{"an absolute target", "GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"},
		{"an absolute target of others", "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"},
		{"an asterisk", "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", "204"},
		{"an asterisk at another host", "OPTIONS * HTTP/1.1\r\nHost: evil.example\r\n\r\n", "403"},
		{"an asterisk to GET", "GET * HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"},
		{"no slash", "GET index.html HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"},
		{"CONNECT", "CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"},
		{"a bad escape", "GET /%zz HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"},
		{"no Host", "GET / HTTP/1.1\r\n\r\n", "400"},
		{"no Host in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", "400"},
		{"an empty Host", "GET / HTTP/1.1\r\nHost: \r\n\r\n", "400"},
		{"two Hosts", "GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", "400"},
		{"brackets for a Host", "GET / HTTP/1.1\r\nHost: [::::\r\n\r\n", "400"},
		{"a zero byte in Host", "GET / HTTP/1.1\r\nHost: local\x00host\r\n\r\n", "400"},
		{"64 kB of Host", "GET / HTTP/1.1\r\nHost: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", "4"},
		{"a method of signs", "G<E>T / HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"},
		{"brackets for an Origin", "GET /livereload HTTP/1.1\r\nHost: localhost\r\nOrigin: http://[::::\r\n\r\n", "403"},
		{"two Origins", "GET /livereload HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nOrigin: http://evil.example\r\n\r\n", "403"},
		{"no HTTP at all", "hello\r\n\r\n", "400"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if status := run.raw(t, tt.request); !strings.HasPrefix(status, "HTTP/1.") || !strings.HasPrefix(status[9:], tt.want) {
				t.Errorf("got %q, want %s", status, tt.want)
			}
		})
	}
	run.status(t, 200, "GET", "/")
}

// What New says of an entry can be asked beforehand.
func TestAllowedNamesAreChecked(t *testing.T) {
	check := func(entry string, said error, opts Options) {
		t.Helper()
		_, err := New(opts)
		if err == nil || said == nil || err.Error() != said.Error() || !strings.Contains(err.Error(), fmt.Sprintf("%q", entry)) {
			t.Errorf("%q: New says %v, the check says %v", entry, err, said)
		}
	}
	for _, host := range []string{"", ".", "example.com:80", "http://example.com", "*.example.com", "a b"} {
		check(host, CheckHost(host), Options{AllowHosts: []string{host}})
	}
	for _, origin := range []string{"", "example.com", "http://example.com/", "*", "https://*", "http://a b"} {
		check(origin, CheckOrigin(origin), Options{AllowOrigins: []string{origin}})
	}
	for _, err := range []error{
		CheckHost("example.com"), CheckHost(".example.com"), CheckHost("10.1.2.3"), CheckHost("[fd00::5]"),
		CheckOrigin("null"), CheckOrigin("https://example.com"), CheckOrigin("HTTP://10.0.0.7:80"),
	} {
		if err != nil {
			t.Error(err)
		}
	}
}

// FuzzAccess: no Host and no Origin is too strange, and a request that is let in names
// a host that is ours.
func FuzzAccess(f *testing.F) {
	for _, host := range []string{"localhost", "[::1]:80", "[::::", "", "evil", "a:b:c", "127.0.0.1:", "[::1%25x]", "localhost:80@evil"} {
		for _, origin := range []string{"null", "http://localhost", "http://[::::", "", "https://evil", "http://localhost:80@evil"} {
			f.Add(host, origin)
		}
	}
	s := newServer(f, Options{})
	rules := s.current.Load().rules
	f.Fuzz(func(t *testing.T, host, origin string) {
		r := at("127.0.0.1:8000", "GET", "/livereload", host, "Origin", origin)
		a := rules.resolve(r)
		if a.allowed {
			lower := strings.ToLower(host)
			if !strings.Contains(lower, "localhost") && !strings.Contains(lower, "127.") && !strings.Contains(lower, ":") && !strings.Contains(lower, rules.machine[1]) {
				t.Errorf("host %q was let in", host)
			}
			again, ok := hostname(host)
			if twice, _ := hostname(again); !strings.Contains(again, ":") && (!ok || twice != again) {
				t.Errorf("host %q became %q, then %q", host, again, twice)
			}
		}
		if a.origin >= allowedOrigin && origin != "null" && strings.Contains(origin, "@") {
			t.Errorf("origin %q was let in", origin)
		}
		s.answerTo(r)
	})
}
