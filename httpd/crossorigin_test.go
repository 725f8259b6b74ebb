package httpd

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
)

// sharing are the headers of an answer that say who may have it.
func sharing(rec *httptest.ResponseRecorder) string {
	h := rec.Header()
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", h.Get("Cross-Origin-Resource-Policy"), h.Get("Access-Control-Allow-Origin"), strings.Join(h.Values("Vary"), ",")))
}

// Who may embed a file, or read it.
func TestCrossOrigin(t *testing.T) {
	const here, lan = "127.0.0.1:8000", "192.168.7.1:8000"
	listed := []string{"https://A.example", "http://127.0.0.1:5173"}
	tests := []struct {
		name, local, host string
		cors              []string
		headers           []string
		want              string
	}{
		{"no page", here, "127.0.0.1:8000", nil, nil, "same-site"},
		{"a page next door", here, "127.0.0.1:8000", nil, []string{"Referer", "http://localhost:3000/"}, "cross-origin"},
		{"a page next door, by another name", here, "localhost:8000", nil, []string{"Referer", "http://127.0.0.1:3000/a/b?c"}, "cross-origin"},
		{"a page next door that says its origin", here, "127.0.0.1:8000", nil, []string{"Origin", "http://app.localhost:3000"}, "cross-origin"},
		{"a page of another site", here, "127.0.0.1:8000", nil, []string{"Referer", "https://evil.example/"}, "same-site"},
		{"a page of another site that names one in its URL", here, "127.0.0.1:8000", nil, []string{"Referer", "https://evil.example/http://localhost:3000/"}, "same-site"},
		{"a page of another site that names one as its user", here, "127.0.0.1:8000", nil, []string{"Referer", "https://localhost:80@evil.example/"}, "same-site"},
		{"a page next door, through a proxy", here, "127.0.0.1:8000", nil, []string{"Referer", "http://localhost:3000/", "Via", "1.1 x"}, "same-site"},
		{"a loopback page at another machine", lan, "192.168.7.1:8000", nil, []string{"Referer", "http://localhost:3000/"}, "same-site"},
		{"a sandboxed frame", here, "127.0.0.1:8000", nil, []string{"Origin", "null"}, "same-site"},
		{"nonsense", here, "127.0.0.1:8000", nil, []string{"Referer", "%"}, "same-site"},

		{"a script of any site", here, "127.0.0.1:8000", []string{"*"}, []string{"Origin", "https://a.example"}, "cross-origin *"},
		{"a sandboxed frame, for all", here, "127.0.0.1:8000", []string{"*"}, []string{"Origin", "null"}, "cross-origin *"},
		{"a script of a site in the list", here, "127.0.0.1:8000", listed, []string{"Origin", "https://a.example"}, "cross-origin https://a.example Origin"},
		{"a script next door in the list", here, "localhost:8000", listed, []string{"Origin", "http://127.0.0.1:5173"}, "cross-origin http://127.0.0.1:5173 Origin"},
		{"an image in a page of a site in the list", here, "127.0.0.1:8000", listed, []string{"Referer", "https://a.example/"}, "cross-origin  Origin"},
		{"a script of a site that is not in the list", here, "127.0.0.1:8000", listed, []string{"Origin", "https://b.example"}, "same-site  Origin"},
		{"the same site with another scheme", here, "127.0.0.1:8000", listed, []string{"Origin", "http://a.example"}, "same-site  Origin"},
		{"a sandboxed frame, for a list", here, "127.0.0.1:8000", listed, []string{"Origin", "null"}, "same-site  Origin"},
		{"no page, for a list", here, "127.0.0.1:8000", listed, nil, "same-site  Origin"},
	}
	root := tree(t, "a.css", "")
	for _, tt := range tests {
		s := newServer(t, Options{Root: root, CORS: tt.cors})
		for _, path := range []string{"/a.css", "/none.css"} {
			r := at(tt.local, "GET", path, tt.host, append(tt.headers, "Sec-Fetch-Dest", "style")...)
			got := strings.TrimSuffix(strings.ReplaceAll(sharing(s.answerTo(r)), ",Sec-Fetch-Dest", ""), "Sec-Fetch-Dest")
			if strings.TrimSpace(got) != tt.want {
				t.Errorf("%s: %s: got %q, want %q", tt.name, path, got, tt.want)
			}
		}
	}
}

// A browser asks before a script sends what a form cannot.
func TestPreflight(t *testing.T) {
	s := newServer(t, Options{Root: tree(t, "a.json", "{}"), CORS: []string{"https://a.example"}})
	ask := func(path, origin string) *httptest.ResponseRecorder {
		return s.answerTo(at("127.0.0.1:8000", "OPTIONS", path, "127.0.0.1:8000", "Origin", origin,
			"Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "x-a, range"))
	}
	rec := ask("/a.json", "https://a.example")
	if h := rec.Header(); rec.Code != 204 || sharing(rec) != "cross-origin https://a.example Origin,Access-Control-Request-Headers" ||
		h.Get("Access-Control-Allow-Methods") != "GET, HEAD" || h.Get("Access-Control-Allow-Headers") != "x-a, range" {
		t.Errorf("%d %v", rec.Code, h)
	}
	if rec := ask("/a.json", "https://b.example"); rec.Header().Get("Access-Control-Allow-Methods") != "" || rec.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("for another site: %d %v", rec.Code, rec.Header())
	}

	// What is not a file is shared with nobody.
	for _, path := range []string{"/livereload", "/livereload.js", "/.execlogd/", "/.execlogd"} {
		rec := ask(path, "https://a.example")
		got := s.answerTo(at("127.0.0.1:8000", "GET", path, "127.0.0.1:8000", "Origin", "https://a.example"))
		for name := range rec.Header() {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("asked for %s: %s", path, name)
			}
		}
		if rec.Code != 204 || got.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %d when asked, %v", path, rec.Code, got.Header())
		}
	}
	if rec := newServer(t, Options{Root: t.TempDir()}).answerTo(at("127.0.0.1:8000", "OPTIONS", "/a.json", "127.0.0.1:8000",
		"Origin", "https://a.example", "Access-Control-Request-Method", "GET")); rec.Code != 204 || rec.Header().Get("Access-Control-Allow-Methods") != "" {
		t.Errorf("without Options.CORS: %d", rec.Code)
	}
}

func TestCORSIsChecked(t *testing.T) {
	for _, entry := range []string{"", "a.example", "https://a.example/", "https://*", "**"} {
		if _, err := New(Options{CORS: []string{entry}}); err == nil {
			t.Errorf("%q is accepted", entry)
		}
	}
}

// A page of Options.CORS is not the owner, though its browser is.
func TestALinkIsNotExplainedToAnotherSite(t *testing.T) {
	root := outside(t)
	symlink(t, "../secret.txt", root+"/out.txt")
	run := serve(t, Options{Root: root, CORS: []string{"*"}})
	_, body := run.get(t, "GET", "/out.txt", "Origin", "https://a.example", "Accept", "text/html", "Sec-Fetch-Dest", "empty")
	if strings.Contains(body, "../secret.txt") {
		t.Errorf("got %s", body)
	}
}
