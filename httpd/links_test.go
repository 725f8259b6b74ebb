package httpd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/execlog/execlogd/httpd/internal/livereload"
)

// linkedSite is a site whose pages use files through symbolic links.
func linkedSite(t *testing.T) (root string) {
	root = tree(t,
		"a.html", "a", "shared/x.css", "x1", "shared/b.html", "b", "shared/list/one.txt", "1",
		"releases/1/c.html", "c1", "releases/1/c.css", "c1", "releases/2/c.html", "c2", "releases/2/c.css", "c2")
	symlink(t, "shared/x.css", root+"/x.css")
	symlink(t, "x.css", root+"/chain.css")
	symlink(t, "shared", root+"/linked")
	symlink(t, "releases/1", root+"/current")
	symlink(t, "shared/later.css", root+"/later.css")
	return root
}

// A page hears of a change of what its paths lead through.
func TestLinkedFilesAreTold(t *testing.T) {
	root := linkedSite(t)
	run := serve(t, Options{Root: root})
	tests := []struct {
		name, page string
		uses       []string
		do         func()
		want       string // the message
	}{
		{"the target of a link", "/a.html", []string{"/x.css"}, func() {
			write(t, root, "shared/x.css", "x2")
			run.Refresh("shared/x.css")
		}, `"files":["/x.css"]`},
		{"the target of a link to a link", "/a.html", []string{"/chain.css"}, func() {
			write(t, root, "shared/x.css", "x3")
			run.Refresh("shared/x.css")
		}, `"files":["/chain.css"]`},
		{"a file in a linked directory", "/a.html", []string{"/linked/x.css"}, func() {
			write(t, root, "shared/x.css", "x4")
			run.Refresh("shared/x.css")
		}, `"files":["/linked/x.css"]`},
		{"a page in a linked directory", "/linked/b.html", nil, func() {
			write(t, root, "shared/b.html", "b2")
			run.Refresh("shared/b.html")
		}, `"reload":true`},
		{"a link that leads elsewhere now", "/current/c.html", []string{"/current/c.css"}, func() {
			symlink(t, "releases/2", root+"/.next")
			check(t, os.Rename(root+"/.next", root+"/current"))
			run.Recheck("current")
		}, `"reload":true`},
		{"what a link leads to comes", "/a.html", []string{"/later.css"}, func() {
			write(t, root, "shared/later.css", "l")
			run.Refresh("shared/later.css")
		}, `"files":["/later.css"]`},
		{"the directory of a target changes as a whole", "/a.html", []string{"/x.css"}, func() {
			write(t, root, "shared/x.css", "x5")
			run.Refresh("shared/")
		}, `"files":["/x.css"]`},
	}
	for _, tt := range tests {
		p, before := run.open(t, tt.page, tt.uses...), livereload.PageToken{Cursor: run.hub.Cursor()}.String()
		tt.do()
		if got := p.hear(t); !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}

		// A page whose socket opens after the change learns the same.
		q := run.info(t, tt.page, map[string]any{"uses": tt.uses, "token": before})
		if got := q.hear(t); !strings.Contains(got, tt.want) {
			t.Errorf("%s, missed: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

// A list of a directory that is reached through a link hears of names in it.
func TestALinkedListingIsTold(t *testing.T) {
	root := linkedSite(t)
	run := serve(t, Options{Root: root})
	_, page := run.get(t, "GET", "/linked/list/")
	p := run.info(t, "/linked/list/", map[string]any{"token": tokenIn(t, page), "uses": []string{}})
	p.is(t, "at")
	write(t, root, "shared/list/two.txt", "2")
	run.Recheck("shared/list/two.txt")
	if got := p.hear(t); !strings.Contains(got, `"reload":true`) {
		t.Errorf("got %s", got)
	}
}

// A link that leads out is not said to be gone, and its owner and the log say what it is.
func TestALinkThatLeadsOutSaysSo(t *testing.T) {
	root := outside(t)
	write(t, root, "x.css", "mine")
	symlink(t, "../secret.txt", root+"/out.txt")
	var log lockedLog
	run := serve(t, Options{Root: root, Logger: log.logger()})

	p := run.open(t, "/index.html", "/x.css")
	symlink(t, "../secret.txt", root+"/.new")
	check(t, os.Rename(root+"/.new", root+"/x.css"))
	run.Recheck("x.css")
	got := p.hear(t)
	if !strings.Contains(got, "/x.css is a link that leads out") || strings.Contains(got, "removed") || strings.Contains(got, filepath.Dir(root)) {
		t.Errorf("the page is told %s", got)
	}

	for range 2 {
		resp, body := run.get(t, "GET", "/out.txt", "Sec-Fetch-Dest", "document")
		if resp.StatusCode != 404 || !strings.Contains(body, "leads out of the directory") || !strings.Contains(body, "../secret.txt") {
			t.Errorf("the owner gets %s: %s", resp.Status, body)
		}
	}
	if _, body := run.get(t, "GET", "/out.txt", "Sec-Fetch-Dest", "document", "Via", "1.1 proxy"); strings.Contains(body, "leads out") || strings.Contains(body, "secret") {
		t.Errorf("a stranger gets %s", body)
	}
	if text := log.String(); strings.Count(text, "link leads out") != 1 || !strings.Contains(text, "path=/out.txt") {
		t.Errorf("log: %s", text)
	}
}
