package httpd

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/execlog/execlogd/httpd/internal/livereload"
)

// element and missingElement are the script elements of the pages at a path
// that are served before anything has changed, listingElement that of a list.
func (r *running) element(path string) string {
	return livereload.PageToken{Cursor: r.hub.Cursor()}.Element(httptest.NewRequest("GET", path, nil))
}

func (r *running) missingElement(path string) string {
	return livereload.PageToken{Cursor: r.hub.Cursor(), Missing: true}.Element(httptest.NewRequest("GET", path, nil))
}

func (r *running) listingElement(path string) string {
	names := r.current.Load().fileState(livereload.ListingOf(path)).Sum
	return livereload.PageToken{Cursor: r.hub.Cursor(), Listing: true, Names: names}.Element(httptest.NewRequest("GET", path, nil))
}

// tokenIn is the token of a page as it was served.
func tokenIn(t testing.TB, page string) string {
	t.Helper()
	_, rest, _ := strings.Cut(page, "path=livereload?")
	query, _, ok := strings.Cut(rest, `"`)
	if !ok {
		t.Fatalf("no token in %s", page)
	}
	return query
}

// Whatever address a page has, and whatever prefix a proxy cuts from it, its
// script is the one at the top of the site.
func TestTheScriptIsFoundBelowAPrefix(t *testing.T) {
	run := serve(t, Options{Root: site(t, "index.html", "a/index.html", "a/b.html", "a b/c%/d?.html", "list/x")})
	tests := []struct{ path, want string }{
		{"/", ""},
		{"/index.html", ""},
		{"/a/", "../"},
		{"/a/b", "../"},
		{"/a/b.html?x=/y/z", "../"},
		{"/a%20b/c%25/d%3f.html", "../../"},
		{"//", "../"},
		{"/a//b.html", "../../"},
		{"//a/b.html", "../../"},
		{"/list/", "../"},
		{"/list//", "../../"},
		{"/none", ""},
		{"/none/x/y.html", "../../"},
		{"/a%2Fb.html", ""},
		{"/none%2F%2f/x", "../"},
	}
	for _, tt := range tests {
		_, body := run.get(t, "GET", tt.path)
		if !strings.Contains(body, `<script src="`+tt.want+`livereload.js?`) {
			t.Errorf("%s: no script %slivereload.js in %s", tt.path, tt.want, body)
		}
	}
}

// A page of our client is told what it has asked for in vain, and nobody else is.
func TestAPageIsToldItsFailedFetches(t *testing.T) {
	run := serve(t, Options{Root: site(t, "a.html")})
	p, other, stock := run.open(t, "/a.html"), run.open(t, "/b.html"), run.dial(t)
	stock.greet(t, run.url("/a.html"))
	fetch := func(path string, headers ...string) {
		run.get(t, "GET", path, append([]string{"Referer", run.url("/a.html"), "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "same-origin"}, headers...)...)
	}
	fetch("/x%20y.json?q")
	if got, want := p.hear(t), `{"command":"tried","files":["/x%20y.json"]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	fetch("/a.html") // is there
	fetch("/.git/config")
	fetch("/y", "Sec-Fetch-Site", "cross-site")
	fetch("/y", "Sec-Fetch-Site", "same-site")
	fetch("/y", "Sec-Fetch-Dest", "document")
	fetch("/y", "Referer", "http://example.com/a.html")
	fetch("/y", "Referer", run.url("/a.htm"))
	fetch("/y", "Referer", "%")
	fetch("/y", "Sec-Fetch-Dest", "", "Accept", "text/html,*/*")
	p.use(t, nil, "/z")
	p.is(t, "at")
	fetch("/z") // it has said so itself
	p.expectNothing(t)
	other.expectNothing(t)
	stock.expectNothing(t)
	fetch("/w", "Sec-Fetch-Dest", "", "Sec-Fetch-Site", "", "Accept", "*/*") // as over plain HTTP
	p.is(t, "tried")

	t.Run("before its socket is open", func(t *testing.T) {
		p := run.info(t, "/a.html", map[string]any{"uses": []string{"/w"}})
		p.is(t, "at")
		if got, want := p.hear(t), `{"command":"tried","files":["/x%20y.json","/z"]}`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// Escaped, a name that is not ASCII takes three times its bytes.
func TestAPageIsToldAFailedFetchOfALongName(t *testing.T) {
	run := serve(t, Options{Root: site(t, "a.html")})
	p := run.open(t, "/a.html")
	long := strings.Repeat("/"+strings.Repeat("%D1%8F", 120), 4) // 964 bytes
	run.get(t, "GET", long, "Referer", run.url("/a.html"), "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "same-origin")
	if got, want := p.hear(t), `{"command":"tried","files":["`+long+`"]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
