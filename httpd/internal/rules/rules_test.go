package rules

import (
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"
)

// What a line of _redirects makes of a request.
func TestRedirects(t *testing.T) {
	tests := []struct{ line, request, want string }{
		{"/old /new", "/old", "301 /new"},
		{"/old /new", "/old/", "301 /new"},
		{"/old/ /new/", "/old", "301 /new/"},
		{"/old /new", "//old", "301 /new"},
		{"/old /new", "/older", ""},
		{"/old /new", "/OLD", ""},
		{"/old /new 302", "/old", "302 /new"},
		{"/old /new  308 # moved", "/old", "308 /new"},
		{"/old /new", "/old?a=b&c", "301 /new?a=b&c"},
		{"/old /new?x=1", "/old?a=b", "301 /new?x=1"},
		{"/old /new#part", "/old", "301 /new#part"},
		{"/old https://example.com/new", "/old", "301 https://example.com/new"},
		{"/old https://example.com", "/old?a", "301 https://example.com?a"},
		{"/news/* /blog/:splat", "/news/2026/a.html", "301 /blog/2026/a.html"},
		{"/news/* /blog/:splat", "/news", "301 /blog/"},
		{"/news/* /blog/:splat", "/newsletter", ""},
		{"/* https://example.com/:splat", "/", "301 https://example.com/"},
		{"/* https://example.com/:splat", "/a/b", "301 https://example.com/a/b"},
		{"/* /index.html 200", "/users/42", "200 /index.html"},
		{"/* /index.html 200", "/", "200 /index.html"},
		{"/app/* /app/index.html 200!", "/app/x", "200 /app/index.html"},
		{"/en/* /en/404.html 404", "/en/none", "404 /en/404.html"},
		{"/gone /gone.html 410", "/gone", "410 /gone.html"},
		{"/:year/:month/:slug /posts/:slug?year=:year", "/2026/11/a-b", "301 /posts/a-b?year=2026"},
		{"/:year/:month/:slug /posts/:slug", "/2026/11", ""},
		{"/u/:id/* /users/:id/:splat 200", "/u/7/a/b", "200 /users/7/a/b"},
		{"/store id=:id /blog/:id", "/store?id=a%2Fb", "301 /blog/a/b"},
		{"/store id=:id /blog/:id", "/store", ""},
		{"/store id=7 type=x /seven", "/store?type=x&id=7", "301 /seven"},
		{"/store id=7 /seven", "/store?id=8", ""},
		{"/caf%C3%A9 /coffee", "/café", "301 /coffee"},
		{"/a%20b /x", "/a b", "301 /x"},

		// Where the request has what a URL has other uses for, or another host.
		{"/o/* /n/:splat", "/o/a b?c", "301 /n/a%20b?c"},
		{"/o/:a /n?q=:a", "/o/a&b=c", "301 /n?q=a%26b%3Dc"},
		{"/o/:a /n/:a", "/o/:a", "301 /n/:a"},
		{"/o/:a/:b /n/:b", "/o/:b/x", "301 /n/x"},
		{"/o/* /:splat", "/o//evil.example", "301 /evil.example"},
		{"/o/* /:splat/evil.example", "/o", "301 /evil.example"},
		{"/o/:a /:a/x", "/o/\\evil.example", "301 /%5Cevil.example/x"},
		{"/o/:a https://example.com/:a", "/o/@evil.example", "301 https://example.com/@evil.example"},
		{"/o/:a /n/:a", "/o/a\r\nX: y", "301 /n/a%0D%0AX:%20y"},
		{"/o/* /n/:splat 200", "/o/../../x", ""},

		// To itself.
		{"/a /a/", "/a", ""},
		{"/* /:splat", "/x/y", ""},
		{"/a /a?x=1", "/a", "301 /a?x=1"},
		{"/a /a?x=1", "/a?x=1", ""},
		{"/a /a?x=1", "/a?x=2", "301 /a?x=1"},
		{"/a /a?x=1#part", "/a?x=1", ""},
		{"/a id=:id /a", "/a?id=1", "301 /a"},
		{"/a id=:id /a?id=:id", "/a?id=1", ""},
	}
	for _, tt := range tests {
		all, wrong := ParseFile(RedirectsFile, tt.line)
		if len(wrong) > 0 {
			t.Errorf("%s: %v", tt.line, wrong)
			continue
		}
		urlPath, query, _ := strings.Cut(tt.request, "?")
		if before, ok := strings.CutSuffix(tt.request, "?c"); ok {
			urlPath, query = before, "c"
		}
		got := ""
		if a, ok := all.Redirect(urlPath, query, true); ok {
			got = fmt.Sprint(a.Status, " ", a.Location, a.Path)
		}
		if got != tt.want {
			t.Errorf("%s for %q: got %q, want %q", tt.line, tt.request, got, tt.want)
		}
	}
}

// The first one that matches counts; where there is a file, the first one with an
// exclamation mark.
func TestWhichRedirectCounts(t *testing.T) {
	all, wrong := ParseFile(RedirectsFile, "/a /1\n/a /2 301!\n/* /3\n")
	if len(wrong) > 0 {
		t.Fatal(wrong)
	}
	for missing, want := range map[bool]string{true: "/1", false: "/2"} {
		if a, _ := all.Redirect("/a", "", missing); a.Location != want {
			t.Errorf("missing %v: got %s, want %s", missing, a.Location, want)
		}
	}
	if a, ok := all.Redirect("/b", "", false); ok {
		t.Errorf("in place of a file: %v", a)
	}
}

func TestHeaders(t *testing.T) {
	all, wrong := ParseFile(HeadersFile, `# a comment
/*
  X-Frame-Options: DENY
  X-All: 1
/assets/*
	# another
	Cache-Control: public, max-age=60
	X-All: 2
/*.js
  link: <a>; rel=preload
  Link: <b>; rel=preload
/:lang/about/
  Content-Language: x
`)
	if len(wrong) > 0 {
		t.Fatal(wrong)
	}
	tests := []struct{ path, want string }{
		{"/", "X-All: 1|X-Frame-Options: DENY"},
		{"/a/b", "X-All: 1|X-Frame-Options: DENY"},
		{"/assets/x.css", "Cache-Control: public, max-age=60|X-All: 2|X-Frame-Options: DENY"},
		{"//assets//x.css", "Cache-Control: public, max-age=60|X-All: 2|X-Frame-Options: DENY"},
		{"/a/../assets/x.css", "Cache-Control: public, max-age=60|X-All: 2|X-Frame-Options: DENY"},
		{"/lib/x.js", "Link: <a>; rel=preload|Link: <b>; rel=preload|X-All: 1|X-Frame-Options: DENY"},
		{"/de/about", "Content-Language: x|X-All: 1|X-Frame-Options: DENY"},
	}
	for _, tt := range tests {
		h := make(http.Header)
		all.SetHeaders(h, tt.path)
		var b strings.Builder
		h.Write(&b)
		if got := strings.TrimSuffix(strings.ReplaceAll(b.String(), "\r\n", "|"), "|"); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.path, got, tt.want)
		}
	}
}

func TestHeadersAddToVary(t *testing.T) {
	all, _ := ParseFile(HeadersFile, "/*\n  Vary: Accept-Language\n  X-A: b")
	h := http.Header{"Vary": {"Origin"}, "X-A": {"a"}}
	all.SetHeaders(h, "/")
	if got := strings.Join(h["Vary"], ", ") + " " + h.Get("X-A"); got != "Origin, Accept-Language b" {
		t.Errorf("got %s", got)
	}
}

// A mistake is reported with its line, and the other lines count.
func TestMistakes(t *testing.T) {
	tests := []struct {
		file, text string
		line       int
		want       string
	}{
		{RedirectsFile, "\n# x\n/a", 3, "want where it leads"},
		{RedirectsFile, "/a b", 1, "want where it leads"},
		{RedirectsFile, "a /b", 1, "begins with a slash"},
		{RedirectsFile, "https://a.example/* /b", 1, "patterns with a host are not supported"},
		{RedirectsFile, "/a /b 299", 1, "status 299: want one of 200 301"},
		{RedirectsFile, "/a /b x", 1, `"x": want a status`},
		{RedirectsFile, "/a /b 301 Country=de", 1, `"Country=de": conditions are not supported`},
		{RedirectsFile, "/a /b Role=admin", 1, `"Role=admin": want a status; conditions are not supported`},
		{RedirectsFile, "/a/*/b /b", 1, "an asterisk is the last segment"},
		{RedirectsFile, "/a* /b", 1, "an asterisk is the last segment"},
		{RedirectsFile, "/:a/:a /b", 1, "a name is there twice"},
		{RedirectsFile, "/%zz /b", 1, "an escape"},
		{RedirectsFile, "/a https://b.example/ 200", 1, "would be a proxy"},
		{RedirectsFile, "/a //b.example/", 1, "want a path that begins with a slash, or a URL"},
		{RedirectsFile, "/a javascript://x", 1, "want a path that begins with a slash, or a URL"},
		{RedirectsFile, "/:a https://:a.example/", 1, "want a path or a URL"},
		{RedirectsFile, "/:a https://x:a.example/", 1, "want a path or a URL"},
		{RedirectsFile, "/a https://me@b.example/", 1, "the name of a host"},
		{HeadersFile, "  X-A: b", 1, "without a path above"},
		{HeadersFile, "x\n  X-A: b\n  X-B: c\n/a\n  X-A: b", 1, "begins with a slash"},
		{HeadersFile, "/a\n  X-A", 2, "want Name: value"},
		{HeadersFile, "/a\n  ! X-A", 2, "want Name: value"},
		{HeadersFile, "/a\n  X A: b", 2, `"X A" is no name`},
		{HeadersFile, "/a\n  X-A: b\x01", 2, "a control character"},
		{HeadersFile, "/a\n  content-length: 5", 2, "Content-Length is set by the server"},
		{HeadersFile, "/a\n  Access-Control-Allow-Origin: *", 2, "is said by cors"},
		{HeadersFile, "/a\n  Basic-Auth: me:secret", 2, "there are no passwords here"},
	}
	for _, tt := range tests {
		_, wrong := ParseFile(tt.file, tt.text)
		if len(wrong) != 1 || wrong[0].Line != tt.line || !strings.Contains(wrong[0].Text, tt.want) {
			t.Errorf("%q: got %v, want line %d: %s", tt.text, wrong, tt.line, tt.want)
		}
		if len(wrong) == 1 && strings.Contains(wrong[0].Text, "secret") {
			t.Errorf("a password is told: %s", wrong[0].Text)
		}
	}
	all, wrong := ParseFile(RedirectsFile, "/a /b\nwrong\n/c /d")
	if len(wrong) != 1 || len(all.redirects) != 2 {
		t.Errorf("%d redirects beside %v", len(all.redirects), wrong)
	}
}

func FuzzParseFile(f *testing.F) {
	for _, seed := range []string{"/a /b\n/* /:splat 200!\n", "/:a/* https://x.example/:a/:splat?q=:a#f", "/*\n  A: b\n  C: d", "/%2a /x", "/a//b/../:c /d", "\ufeff/a /b"} {
		f.Add(seed, "/a/b", "q=1")
	}
	f.Fuzz(func(t *testing.T, text, request, query string) {
		if _, err := url.ParseRequestURI("/?" + query); err != nil || strings.Contains(query, " ") {
			return // no request has it
		}
		for _, name := range []string{RedirectsFile, HeadersFile} {
			all, wrong := ParseFile(name, text)
			for _, m := range wrong {
				if m.Line < 1 || m.Text == "" {
					t.Errorf("%+v", m)
				}
			}
			h := make(http.Header)
			all.SetHeaders(h, request)
			for name, values := range h {
				for _, value := range values {
					if strings.ContainsAny(name+value, "\r\n\x00") {
						t.Errorf("header %q: %q", name, value)
					}
				}
			}
			a, ok := all.Redirect(request, query, true)
			if !ok || a.Location == "" {
				continue
			}
			u, err := url.Parse(a.Location)
			if err != nil || strings.ContainsAny(a.Location, "\r\n\x00 ") {
				t.Errorf("%q leads to %q: %v", request, a.Location, err)
				continue
			}
			if u.Scheme == "" && (u.Host != "" || !strings.HasPrefix(a.Location, "/") || strings.HasPrefix(a.Location, "//")) {
				t.Errorf("%q leads to another host: %q", path.Clean(request), a.Location)
			}
		}
	})
}
