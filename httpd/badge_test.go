package httpd

import (
	"net/http/httptest"
	"strings"
	"testing"
)

// element and missingElement are the script elements of the pages at a path
// that are served before anything has changed, listingElement that of a list.
func (r *running) element(path string) string {
	return badge{position: r.hub.now()}.element(httptest.NewRequest("GET", path, nil))
}

func (r *running) missingElement(path string) string {
	return badge{position: r.hub.now(), missing: true}.element(httptest.NewRequest("GET", path, nil))
}

func (r *running) listingElement(path string) string {
	names := r.current.Load().look(listingOf + path).sum
	return badge{position: r.hub.now(), listing: true, names: names}.element(httptest.NewRequest("GET", path, nil))
}

// badgeIn is the badge of a page as it was served.
func badgeIn(t testing.TB, page string) string {
	t.Helper()
	_, rest, _ := strings.Cut(page, "path=livereload?")
	query, _, ok := strings.Cut(rest, `"`)
	if !ok {
		t.Fatalf("no badge in %s", page)
	}
	return query
}

func TestBadge(t *testing.T) {
	for _, b := range []badge{
		{},
		{position: position{"E", 7, 1733333333333}},
		{position: position{"E", 1 << 63, 0}, missing: true},
		{position: position{"E", 1, -1}, listing: true},
		{position: position{"E", 1, 1}, listing: true, names: 1<<64 - 1},
		{position: position{"E", 1, 1}, missing: true, listing: true},
	} {
		if got := parseBadge(b.String()); got != b {
			t.Errorf("%+v became %q became %+v", b, b.String(), got)
		}
	}
	for _, query := range []string{"", "token=abc", "E", "E.", "E.-1", "E.x,missing", "missing", "E.1.x", "E.1.2.3", "E..2", "E.1,listing-", "E.1,listing-x"} {
		if got := parseBadge(query); got != (badge{}) {
			t.Errorf("%q became %+v, want none", query, got)
		}
	}
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

// A page is served, and before its socket is open, things change.
func TestAPageHearsWhatChangedBeforeItsSocketOpened(t *testing.T) {
	many := make([]string, maxPast+1)
	for i := range many {
		many[i] = "other.html"
	}
	tests := []struct {
		name           string
		before, during []string // one Refresh each
		want           string
	}{
		{"nothing", nil, nil, ""},
		{"only before it was served", []string{"a.html", "x.css"}, nil, ""},
		{"its file", []string{"b.html"}, []string{"a.html"}, "/a.html !"},
		{"another page's file", nil, []string{"b.html"}, ""},
		{"a style sheet, twice", nil, []string{"x.css", "x.css"}, "/x.css"},
		{"a style sheet and its file", nil, []string{"x.css", "a.html"}, "/a.html !"},
		{"more than is remembered", nil, many, "/ !"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, Options{Root: t.TempDir()})
			for _, p := range tt.before {
				s.Refresh(p)
			}
			number := s.hub.now().number
			for _, p := range tt.during {
				s.Refresh(p)
			}
			slot := s.hub.join()
			defer s.hub.leave(slot)
			s.hub.catchUp(slot, newPage("http://h/a.html", isAt("h"), s.current.Load().directory), number)
			if got := told(s.hub.taken(slot)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
