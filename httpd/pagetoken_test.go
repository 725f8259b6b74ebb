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
	root := t.TempDir()
	for _, name := range []string{"index.html", "a/index.html", "a/b.html", "a b/c%/d?.html", "list/x"} {
		write(t, root, name, "<title>t</title>")
	}
	run := serve(t, Options{Root: root})
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
