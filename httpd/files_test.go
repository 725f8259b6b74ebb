package httpd

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/execlog/execlogd/httpd/internal/inject"
	"github.com/execlog/execlogd/httpd/internal/urlpath"
	"golang.org/x/net/html"
)

func TestWhatAPathShows(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"index.html": "root", "a.html": "a", "a b.txt": "space", "dir/index.html": "dir", "dir/c.html": "c",
		"both.html": "file", "both/x.txt": "x", "plain": "plain", "p%q#r?s.txt": "odd", "back\\slash.txt": "back",
		"a.b.html": "dots", "ü.txt": "u", "\xff.txt": "bytes", "-": "dash", "index.html.html": "double",
	} {
		write(t, dir, name, content)
	}
	run := serve(t, Options{Root: dir, NoLiveReload: true})
	tests := []struct{ name, path, want string }{
		{"the root's index", "/", "200 root"},
		{"an index by name", "/index.html", "200 root"},
		{"a page", "/a.html", "200 a"},
		{"a page without its extension", "/a", "200 a"},
		{"queries do not matter", "/a?x=/etc/passwd#y", "200 a"},
		{"a name with a dot, without its extension", "/a.b", "200 dots"},
		{"an extension is not added to a directory", "/a/", "404"},
		{"a page is no directory", "/a.html/", "404"},
		{"what is below a file is not there", "/a.html/b", "404"},
		{"a directory's index", "/dir/", "200 dir"},
		{"a directory without slash", "/dir", "302 ./dir/"},
		{"a redirect keeps the query", "/dir?a=b&c=%20", "302 ./dir/?a=b&c=%20"},
		{"a directory beats a page of its name", "/both", "302 ./both/"},
		{"a page below", "/dir/c", "200 c"},
		{"a space", "/a%20b.txt", "200 space"},
		{"signs that URLs have uses for", "/p%25q%23r%3Fs.txt", "200 odd"},
		{"a backslash is a letter", "/back%5Cslash.txt", "200 back"},
		{"UTF-8", "/%C3%BC.txt", "200 u"},
		{"any bytes", "/%FF.txt", "200 bytes"},
		{"no extension", "/plain", "200 plain"},
		{"a dash", "/-", "200 dash"},
		{"slashes are one", "//dir//c.html", "200 c"},
		{"a redirect leads to no other host", "//dir", "302 ./dir/"},
		{"nothing", "/none", "404"},
		{"nothing in a directory", "/dir/none", "404"},
		{"a name that is too long", "/" + strings.Repeat("x", 300), "404"},
		{"a path that is too long", "/" + strings.Repeat("x/", 3000), "404"},
		{"a zero byte", "/a%00.html", "404"},
		{"an encoded slash", "/dir%2Fc.html", "404"},
		{"the directory by a dot", "/dir/.", "200 dir"},
		{"the directory by two dots", "/dir/x/..", "200 dir"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resp, body := run.get(t, "GET", tt.path, "Sec-Fetch-Dest", "empty")
			got := fmt.Sprint(resp.StatusCode)
			switch resp.StatusCode {
			case 200:
				got += " " + body
			case 302:
				got += " " + resp.Header.Get("Location")
			}
			if got != tt.want {
				t.Errorf("%s\n got %s\nwant %s", tt.path, got, tt.want)
			}
			if resp.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Error("no nosniff")
			}
		})
	}
}

func TestHiddenFilesAreNotThere(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".env", ".env.html", ".git/config", "a/.b/c.txt", "a/.d", "a/x.txt", ".well-known/.x", "a/.well-known/x", ".well-known.bak/x", ".well-knownx"} {
		write(t, dir, name, "secret")
	}
	run := serve(t, Options{Root: dir})
	run.refuses(t,
		"/.env", "/.env.html", "/.git/config", "/.git/", "/.git", "/a/.b/c.txt", "/a/.d", "/%2eenv", "/a/%2E%62/c.txt",
		"/.env?raw", "/.env?raw??", "/.env?import&inline", "/.env?.svg", "/.env/", "/.env/.", "/.env%00", "/.env%00.html", "/.env;x", "/a/../.env", "/x/..%2f.env",
		"/.well-known/.x", "/a/.well-known/x", "/.well-known.bak/x", "/.well-knownx", "/a/../.well-known/.x", "/...", "/..a")
	_, list := run.get(t, "GET", "/a/")
	if strings.Contains(list, `"./.b`) || strings.Contains(list, `"./.d`) || !strings.Contains(list, `"./x.txt"`) {
		t.Errorf("listing: %s", list)
	}
	run.status(t, 404, "GET", "/.ENV")
}

// Of names that begin with a dot, .well-known at the top is served (RFC 8615), and is in no
// list.
func TestWellKnownFilesAreServed(t *testing.T) {
	root := tree(t, ".well-known/security.txt", "Contact:", ".well-known/acme-challenge/token", "token", "a/x.txt", "x")
	symlink(t, ".well-known", root+"/linked")
	symlink(t, "../.well-known", root+"/a/.well-known")
	run := serve(t, Options{Root: root})
	run.shows(t, "Contact:", "/.well-known/security.txt")
	run.shows(t, "token", "/.well-known/acme-challenge/token")
	run.shows(t, "token", "/linked/acme-challenge/token")
	run.status(t, 404, "GET", "/a/.well-known/security.txt")
	if _, list := run.get(t, "GET", "/"); strings.Contains(list, "well-known") || !strings.Contains(list, "linked") {
		t.Errorf("listing: %s", list)
	}
	p := run.open(t, "/a/", "/.well-known/security.txt")
	write(t, root, ".well-known/security.txt", "new")
	run.Refresh(".well-known/security.txt")
	if got := p.hear(t); !strings.Contains(got, `"reload":true`) {
		t.Errorf("a page that uses one is told %s", got)
	}
}

// outside has a root, and beside it what must never be served.
func outside(t *testing.T) (root string) {
	parent := t.TempDir()
	root = filepath.Join(parent, "site")
	write(t, parent, "secret.txt", "secret")
	write(t, parent, "site-secret/index.html", "secret")
	write(t, root, "index.html", "mine")
	write(t, root, "in/inner.txt", "inner")
	return root
}

func symlink(t *testing.T, target, name string) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(name), 0o755))
	check(t, os.Symlink(target, name))
}

// CVE-2026-41612, CVE-2021-23430, CVE-2024-43800, GHSA-g7r4-m6w7-qqqr,
// CVE-2025-58751 and CVE-2025-58752: dots, encodings, backslashes, and a
// directory beside ours whose name begins like it.
func TestTraversal(t *testing.T) {
	root := outside(t)
	run := serve(t, Options{Root: root})
	for _, path := range []string{
		"/../secret.txt", "/in/../../secret.txt", "/..%2fsecret.txt", "/%2e%2e/secret.txt", "/%2e%2e%2fsecret.txt", "/.%2e/secret.txt",
		"/%252e%252e/secret.txt", "/..\\secret.txt", "/..%5csecret.txt", "/in/..%5c..%5csecret.txt", "/....//secret.txt",
		"/..;/secret.txt", "/../site-secret/", "/..%2fsite-secret/", "/%c0%ae%c0%ae/secret.txt", "//../secret.txt", "/./../secret.txt",
		root + "/../secret.txt", "/" + root + "/index.html", "/@fs" + filepath.Dir(root) + "/secret.txt", "/proc/self/environ",
	} {
		status := run.raw(t, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		if !strings.Contains(status, " 404 ") {
			t.Errorf("%s: %s", path, status)
		}
	}
}

// vite 5281, miniserve 590 and 1495, actor-ts 575: symbolic links out of the
// root, for files, directories, chains, index pages and entries of a listing.
func TestLinksDoNotLeadOut(t *testing.T) {
	root := outside(t)
	parent := filepath.Dir(root)
	for name, target := range map[string]string{
		"absolute.txt": parent + "/secret.txt", "relative.txt": "../secret.txt", "up": "..", "chain1.txt": "chain2.txt", "chain2.txt": "relative.txt",
		"page/index.html": "../../secret.txt", "list/entry.txt": "../../secret.txt", "sibling": "../site-secret", "ext.html": "../secret.txt",
		"404.html": "../secret.txt", "loop": "loop", "dangling": "gone", "own-absolute.html": root + "/index.html",
		"fine.txt": "in/inner.txt", "finedir": "in",
	} {
		symlink(t, target, filepath.Join(root, name))
	}
	run := serve(t, Options{Root: root})
	run.refuses(t,
		"/absolute.txt", "/relative.txt", "/up/", "/up/secret.txt", "/up/site-secret/", "/chain1.txt", "/page/", "/page/index.html",
		"/list/entry.txt", "/sibling/", "/sibling", "/ext", "/ext.html", "/loop", "/loop/", "/dangling", "/finedir/../../secret.txt", "/own-absolute.html")
	if _, list := run.get(t, "GET", "/list/"); strings.Contains(list, "entry.txt") {
		t.Error("the listing shows what leads out")
	}
	run.shows(t, "inner", "/fine.txt")
	run.shows(t, "inner", "/finedir/inner.txt")
}

// vite 5281, SWS containment cache: a link that is switched between check and
// use. There is no check apart from the use.
func TestALinkThatIsSwitchedAllTheTime(t *testing.T) {
	root := outside(t)
	symlink(t, "in/inner.txt", root+"/flip.txt")
	run := serve(t, Options{Root: root})
	stop := repeat(func(i int) {
		os.Symlink([]string{"../secret.txt", "in/inner.txt"}[i%2], root+"/.new")
		os.Rename(root+"/.new", root+"/flip.txt")
	})
	defer stop()
	run.flips(t, func(body string) {
		if strings.Contains(body, "secret") {
			t.Fatal("served what is outside")
		}
	})
}

// flips asks for /flip.txt until it has been there and not been there. Each answer is
// checked.
func (r *running) flips(t testing.TB, checkAnswer func(body string)) {
	t.Helper()
	codes := make(map[int]int)
	for start := time.Now(); len(codes) < 2 && time.Since(start) < time.Minute || time.Since(start) < 200*time.Millisecond; {
		rec := r.answer("/flip.txt")
		checkAnswer(rec.Body.String())
		codes[rec.Code]++
	}
	if codes[200] == 0 || codes[404] == 0 {
		t.Errorf("answers by status: %v, want some of each", codes)
	}
}

func TestUnreadableFilesAreForbidden(t *testing.T) {
	root := site(t, "a.txt")
	s := newServer(t, Options{Root: root})
	openToAll(t, root)
	check(t, os.Chmod(root+"/a.txt", 0))
	asNobody(t, func() {
		if rec := s.answer("/a.txt"); rec.Code != 403 {
			t.Errorf("got %d", rec.Code)
		}
	})
}

func TestContentTypes(t *testing.T) {
	const utf8 = "; charset=utf-8"
	root := t.TempDir()
	run := serve(t, Options{Root: root, Types: map[string]string{".mine": "text/x-mine", ".PAGE": "text/html", ".latin": "text/html; charset=iso-8859-1"}})
	tests := []struct{ name, content, want string }{
		{"a.html", "<p>ü", "text/html" + utf8},
		{"b.html", "<meta charset=latin1><p>\xe9", "text/html"},
		{"g.html", "<meta charset=latin1><p>ASCII", "text/html"},
		{"h.html", "<META http-equiv='Content-Type' content='text/html; charset = latin1'><p>", "text/html"},
		{"i.html", "<meta name=description content='the charset=latin1'><p>ü", "text/html" + utf8},
		{"j.html", "<!-- <meta charset=latin1> --><p>the charset and the encoding, ü", "text/html" + utf8},
		{"k.html", "<?xml version='1.0' encoding='latin1'?><p>", "text/html"},
		{"l.html", strings.Repeat(" ", 1024) + "<meta charset=latin1><p>ü", "text/html" + utf8},
		{"m.html", "<script>'<meta charset=latin1>'</script><p>", "text/html"},
		{"n.html", "\ufeff<p>ü", "text/html" + utf8},
		{"o.html", "\xff\xfe<\x00p\x00>\x00", "text/html"},
		{"p.html", "", "text/html" + utf8},
		{"c.html", "<p>\xe9", "text/html"},
		{"d.HTM", "", "text/html" + utf8},
		{"e.html", strings.Repeat("ü", inject.ScanLimit), "text/html" + utf8},
		{"f.html", "x" + strings.Repeat("ü", inject.ScanLimit), "text/html" + utf8},
		{"a.css", "", "text/css" + utf8},
		{"a.js", "", "text/javascript" + utf8},
		{"a.mjs", "", "text/javascript" + utf8},
		{"a.json", "", "application/json"},
		{"a.svg", "", "image/svg+xml"},
		{"a.wasm", "", "application/wasm"},
		{"a.webmanifest", "", "application/manifest+json"},
		{"a.woff2", "", "font/woff2"},
		{"a.avif", "", "image/avif"},
		{"a.webp", "", "image/webp"},
		{"a.txt", "<html>", "text/plain" + utf8},
		{"a.md", "# <b>", "text/plain" + utf8},
		{"LICENSE", "words", "text/plain" + utf8},
		{"page", "<!doctype html><title>x", "text/html" + utf8},
		{"a.shtml", "<meta charset=latin1><p>\xe9", "text/html"},
		{"a.ts", "let a: number = 1", "text/javascript" + utf8},
		{"b.ts", strings.Repeat("G"+strings.Repeat("\x00", 187), 3), "video/mp2t"},
		{"a.svelte", "<script>let a</script>", "text/plain" + utf8},
		{"data", "<?xml version='1.0' encoding='latin1'?><a/>", "application/xml"},
		{"a.xyz", "words", "text/plain" + utf8},
		{"a.mine", "words", "text/x-mine"},
		{"b.MINE", "words", "text/x-mine"},
		{"a.page", "<p>ü", "text/html" + utf8},
		{"b.page", "<meta charset=latin1><p>", "text/html"},
		{"a.latin", "<p>\xe9", "text/html; charset=iso-8859-1"},
		{"bytes", "\x00\x01\x02", "application/octet-stream"},
	}
	for _, tt := range tests {
		write(t, root, tt.name, tt.content)
		resp, _ := run.get(t, "GET", "/"+tt.name)
		if got := resp.Header.Get("Content-Type"); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	for _, page := range []string{"/a.page", "/a.latin"} {
		if _, body := run.get(t, "GET", page); !strings.Contains(body, "livereload.js") {
			t.Errorf("%s has no script: %s", page, body)
		}
	}
}

func TestTypesAreChecked(t *testing.T) {
	for _, entry := range [][2]string{{"md", "text/plain"}, {".", "text/plain"}, {"", "text/plain"}, {".a/b", "text/plain"}, {".a.b", "text/plain"}, {".md", ""}, {".md", "text"}, {".md", "text/plain; charset"}} {
		if _, err := New(Options{Types: map[string]string{entry[0]: entry[1]}}); err == nil {
			t.Errorf("%q is accepted", entry)
		}
	}
}

// A page with the script in it is a representation of its own: length,
// validators and ranges are those of what is sent.
func TestInjectedPagesAreWholeResponses(t *testing.T) {
	root := t.TempDir()
	big := "<!doctype html><html><head><title>x</title></head>" + strings.Repeat("<p>\xe9\xff\n", 100_000)
	write(t, root, "big.html", big)
	const at = len("<!doctype html><html><head>")
	run := serve(t, Options{Root: root})
	want := big[:at] + run.element("/") + big[at:]

	resp, body := run.get(t, "GET", "/big.html", "Sec-Fetch-Dest", "document")
	if body != want || resp.ContentLength != int64(len(want)) {
		t.Errorf("got %d bytes, Content-Length %d, want %d", len(body), resp.ContentLength, len(want))
	}
	if resp.Header.Get("Cache-Control") != "no-cache" || resp.Header.Get("Vary") != "Sec-Fetch-Dest" {
		t.Errorf("headers %v", resp.Header)
	}
	etag := run.settledETag(t, "/big.html")

	resp, body = run.get(t, "HEAD", "/big.html")
	if body != "" || resp.ContentLength != int64(len(want)) || resp.Header.Get("ETag") != etag {
		t.Errorf("HEAD: Content-Length %d, ETag %s", resp.ContentLength, resp.Header.Get("ETag"))
	}
	resp, body = run.get(t, "GET", "/big.html", "Range", fmt.Sprintf("bytes=%d-%d", at-2, at+len(run.element("/"))+1), "If-Range", etag)
	if resp.StatusCode != 206 || body != want[at-2:at+len(run.element("/"))+2] {
		t.Errorf("range: %s %q", resp.Status, body)
	}
	run.status(t, 304, "GET", "/big.html", "If-None-Match", etag)
	resp, body = run.get(t, "GET", "/big.html", "Sec-Fetch-Dest", "empty")
	if body != big || resp.Header.Get("ETag") == etag || resp.Header.Get("Vary") != "Sec-Fetch-Dest" {
		t.Errorf("fetched by a script: %d bytes, want %d; headers %v", len(body), len(big), resp.Header)
	}
	for _, dest := range []string{"iframe", "frame", "embed", "object"} {
		if _, body = run.get(t, "GET", "/big.html", "Sec-Fetch-Dest", dest); body != want {
			t.Errorf("%s: no script", dest)
		}
	}
}

// A page gets the script, whoever asks for it for the browser; a fragment does not.
func TestWhatGetsTheScript(t *testing.T) {
	const navigation = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	root := tree(t,
		"a.html", "<p>", "a.xhtml", `<html xmlns="http://www.w3.org/1999/xhtml"><head></head></html>`,
		"a.svg", `<svg xmlns="http://www.w3.org/2000/svg"></svg>`, "a.xml", "<a></a>", "a.js", "//", "empty.svg", "<svg/>")
	run := serve(t, Options{Root: root})
	tests := []struct {
		name, path, dest, accept string
		headers                  []string
		want                     string // the document around the script, "" if it has none
	}{
		{"a navigation", "/a.html", "document", navigation, nil, "*<p>"},
		{"a program that says nothing", "/a.html", "", "", nil, "*<p>"},
		{"a service worker passes a navigation on", "/a.html", "empty", navigation, nil, "*<p>"},
		{"plain HTTP from another machine", "/a.html", "", navigation, nil, "*<p>"},
		{"a fetch", "/a.html", "empty", "*/*", nil, ""},
		{"a fetch over plain HTTP from another machine", "/a.html", "", "*/*", nil, ""},
		{"a fragment for jQuery", "/a.html", "empty", "text/html, */*; q=0.01", []string{"X-Requested-With", "XMLHttpRequest"}, ""},
		{"a fragment for jQuery over plain HTTP", "/a.html", "", "text/html, */*; q=0.01", []string{"X-Requested-With", "XMLHttpRequest"}, ""},
		{"HTML for a style sheet", "/a.html", "style", navigation, nil, ""},
		{"XHTML", "/a.xhtml", "document", navigation, nil, `<html xmlns="http://www.w3.org/1999/xhtml"><head>*</head></html>`},
		{"XHTML in a frame", "/a.xhtml", "iframe", navigation, nil, `<html xmlns="http://www.w3.org/1999/xhtml"><head>*</head></html>`},
		{"XHTML that is fetched", "/a.xhtml", "empty", "*/*", nil, ""},
		{"SVG", "/a.svg", "document", navigation, nil, `<svg xmlns="http://www.w3.org/2000/svg">*</svg>`},
		{"SVG as an object", "/a.svg", "object", "*/*", nil, `<svg xmlns="http://www.w3.org/2000/svg">*</svg>`},
		{"SVG as an image", "/a.svg", "image", "image/avif,image/svg+xml,*/*;q=0.8", nil, ""},
		{"SVG as an image over plain HTTP", "/a.svg", "", "image/avif,image/svg+xml,*/*;q=0.8", nil, ""},
		{"SVG without anything in it", "/empty.svg", "document", navigation, nil, ""},
		{"other XML", "/a.xml", "document", navigation, nil, ""},
		{"a script", "/a.js", "document", navigation, nil, ""},
	}
	for _, tt := range tests {
		_, body := run.get(t, "GET", tt.path, append(tt.headers, "Sec-Fetch-Dest", tt.dest, "Accept", tt.accept)...)
		element := run.element(tt.path)
		if tt.path != "/a.html" {
			token, _, _ := strings.Cut(strings.TrimPrefix(element, `<script src="`), `"`)
			element = `<script xmlns="http://www.w3.org/1999/xhtml" src="` + token + `" async="async"></script>`
		}
		want := strings.Replace(tt.want, "*", element, 1)
		if want == "" {
			file, err := os.ReadFile(root + tt.path)
			check(t, err)
			want = string(file)
		}
		if body != want {
			t.Errorf("%s: got %s\nwant %s", tt.name, body, want)
		}
	}
}

func TestRangesAndConditionsOfFiles(t *testing.T) {
	root := tree(t, "a.mp4", "0123456789")
	run := serve(t, Options{Root: root})
	resp, _ := run.get(t, "GET", "/a.mp4")
	etag, modified := resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")
	tests := []struct{ header, value, want string }{
		{"Range", "bytes=2-4", "206 234"},
		{"Range", "bytes=-3", "206 789"},
		{"Range", "bytes=50-", "416"},
		{"Range", "nonsense", "200 0123456789"},
		{"If-None-Match", etag, "304"},
		{"If-None-Match", `"x"`, "200 0123456789"},
		{"If-Modified-Since", modified, "304"},
		{"If-Match", `"x"`, "412"},
	}
	for _, tt := range tests {
		resp, body := run.get(t, "GET", "/a.mp4", tt.header, tt.value)
		got := fmt.Sprint(resp.StatusCode)
		if resp.StatusCode < 300 {
			got += " " + body
		}
		if got != tt.want {
			t.Errorf("%s: %s: got %q, want %q", tt.header, tt.value, got, tt.want)
		}
	}
}

// A file that is replaced by one of the same size and time is another file.
func TestETagTellsFilesApart(t *testing.T) {
	root := tree(t, "a.css", "old", ".new", "new")
	at := time.Now().Add(-time.Hour)
	for _, name := range []string{"a.css", ".new"} {
		check(t, os.Chtimes(filepath.Join(root, name), at, at))
	}
	run := serve(t, Options{Root: root})
	resp, _ := run.get(t, "GET", "/a.css")
	check(t, os.Rename(root+"/.new", root+"/a.css"))
	run.shows(t, "new", "/a.css", "If-None-Match", resp.Header.Get("ETag"))
}

func TestMissingPages(t *testing.T) {
	root := t.TempDir()
	run := serve(t, Options{Root: root})
	resp, body := run.get(t, "GET", "/none")
	if resp.StatusCode != 404 || !strings.Contains(body, run.missingElement("/none")) {
		t.Errorf("our own: %s %q", resp.Status, body)
	}
	write(t, root, "404.html", "<head><title>gone")
	for _, method := range []string{"GET", "HEAD"} {
		resp, body = run.get(t, method, "/none/x", "Range", "bytes=0-1", "If-None-Match", "*")
		want := "<head>" + run.missingElement("/none/x") + "<title>gone"
		if resp.StatusCode != 404 || resp.ContentLength != int64(len(want)) || method == "GET" && body != want {
			t.Errorf("%s: %s, Content-Length %d, %q", method, resp.Status, resp.ContentLength, body)
		}
	}
	if resp, body = run.get(t, "GET", "/none.css", "Sec-Fetch-Dest", "style"); resp.StatusCode != 404 || body != "not found\n" {
		t.Errorf("a style sheet: %s %q", resp.Status, body)
	}
	run.status(t, 200, "GET", "/404.html")
}

// Every entry's link leads to it, whatever bytes its name has, and no name is
// taken for markup.
func TestListing(t *testing.T) {
	root := t.TempDir()
	names := []string{
		"plain.txt", "with space.txt", "<script>alert(1)<!--.txt", `"quoted'&amp;".txt`, "javascript:alert(1)", "a:b", "100%.txt", "hash#.txt",
		"question?.txt", "\xff\xfe.txt", "ü.txt", "back\\slash", "new\nline", "%2e%2e", "+plus", "semi;colon", "~tilde", "-dash",
	}
	for _, name := range names {
		write(t, root, name, "content of "+name)
	}
	write(t, root, "sub dir/plain.txt", "x")
	run := serve(t, Options{Root: root})
	resp, list := run.get(t, "GET", "/")
	if resp.Header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(list, run.listingElement("/")) {
		t.Errorf("headers %v", resp.Header)
	}
	if strings.Contains(list, "<script>alert") {
		t.Error("a name became markup")
	}
	found := make(map[string]bool)
	for _, href := range hrefs(list) {
		target, err := resp.Request.URL.Parse(href)
		if err != nil || target.Host != resp.Request.URL.Host {
			t.Errorf("link %q leads to %v, %v", href, target, err)
			continue
		}
		_, body := run.get(t, "GET", target.EscapedPath())
		found[strings.TrimPrefix(body, "content of ")] = true
	}
	for _, name := range names {
		if !found[name] {
			t.Errorf("no link leads to %q", name)
		}
	}
	if !strings.Contains(list, `href="./sub%20dir/"`) || strings.Index(list, "sub%20dir") > strings.Index(list, "plain.txt") {
		t.Error("directories do not come first")
	}
	if _, list = run.get(t, "GET", "/sub%20dir/"); !strings.Contains(list, `href="./../"`) || !strings.Contains(list, `title="1 bytes"`) {
		t.Errorf("no way up, or the size of another file: %s", list)
	}
}

// A listing is sorted by links, which work without a script and behind a
// proxy's prefix.
func TestListingIsSorted(t *testing.T) {
	root := t.TempDir()
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, f := range []struct {
		name string
		size int
	}{{"B", 20}, {"a", 3}, {"c", 100}, {"d2/x", 0}, {"d1/x", 0}} {
		write(t, root, f.name, strings.Repeat("x", f.size))
		check(t, os.Chtimes(filepath.Join(root, f.name), day, day.AddDate(0, 0, i)))
	}
	for i, dir := range []string{"d1", "d2"} {
		check(t, os.Chtimes(filepath.Join(root, dir), day, day.AddDate(0, 0, 10+i)))
	}
	run := serve(t, Options{Root: root})
	const byName, bySize, byDate = "./", "./?sort=size&order=desc", "./?sort=date&order=desc"
	tests := []struct{ query, names, sorted, links string }{
		{"", "d1/ d2/ a B c", "Name ascending", "./?sort=name&order=desc " + bySize + " " + byDate},
		{"?sort=name&order=desc", "d2/ d1/ c B a", "Name descending", byName + " " + bySize + " " + byDate},
		{"?sort=size&order=desc", "d1/ d2/ c B a", "Size descending", byName + " ./?sort=size&order=asc " + byDate},
		{"?sort=size&order=asc", "d1/ d2/ a B c", "Size ascending", byName + " " + bySize + " " + byDate},
		{"?sort=date", "d2/ d1/ c a B", "Changed (UTC) descending", byName + " " + bySize + " ./?sort=date&order=asc"},
		{"?sort=date&order=asc", "d1/ d2/ B a c", "Changed (UTC) ascending", byName + " " + bySize + " " + byDate},
		{"?sort=%3Cscript%3E&order=x&other=1", "d1/ d2/ a B c", "Name ascending", "./?sort=name&order=desc " + bySize + " " + byDate},
	}
	for _, tt := range tests {
		_, body := run.get(t, "GET", "/"+tt.query)
		doc := must(html.Parse(strings.NewReader(body)))(t)
		var names, sorted, links []string
		for n := range doc.Descendants() {
			switch attr := attributes(n); {
			case n.Data != "th":
			case attr["scope"] == "row":
				names = append(names, textOf(n))
			default:
				links = append(links, attributes(n.FirstChild)["href"])
				if attr["aria-sort"] != "" {
					sorted = append(sorted, strings.TrimRight(textOf(n), "\u00a0↑↓")+" "+attr["aria-sort"])
				}
			}
		}
		if got := strings.Join(names, " "); got != tt.names {
			t.Errorf("%s: got %s, want %s", tt.query, got, tt.names)
		}
		if got := strings.Join(sorted, " "); got != tt.sorted {
			t.Errorf("%s: sorted by %s, want %s", tt.query, got, tt.sorted)
		}
		if got := strings.Join(links, " "); got != tt.links {
			t.Errorf("%s: links %s, want %s", tt.query, got, tt.links)
		}
	}
	if _, body := run.get(t, "GET", "/"); !strings.Contains(body, "<p>2 directories, 3 files, 123 B</p>") {
		t.Errorf("no summary: %s", body)
	}
}

func attributes(n *html.Node) map[string]string {
	all := make(map[string]string)
	for _, a := range n.Attr {
		all[a.Key] = a.Val
	}
	return all
}

func textOf(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return b.String()
}

// hrefs are the links of a page, as a browser reads them.
func hrefs(page string) (found []string) {
	for _, part := range strings.Split(page, `href="`)[1:] {
		href, _, _ := strings.Cut(part, `"`)
		found = append(found, strings.NewReplacer("&#43;", "+", "&amp;", "&", "&#39;", "'").Replace(href))
	}
	return found
}

func TestHumanSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 9949: "9.9 kB", 9951: "10 kB", 999_499: "999 kB", 999_500: "1.0 MB",
		123_456_789: "123 MB", 1 << 62: "4.6 EB",
	} {
		if got := humanSize(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// FuzzFileName: a name is never hidden, never leads up, and is the path's.
func FuzzFileName(f *testing.F) {
	for _, seed := range []string{"/", "", "/a/b/", "/../a", "/.a", "//", "/a/./b", "/\x00", "/a/.."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		name, _, ok := urlpath.FileName(path)
		if !ok {
			return
		}
		if name != "." && (!filepath.IsLocal(name) || name[0] == '.' || strings.Contains(name, "/.") || strings.ContainsRune(name, 0)) {
			t.Errorf("%q became %q", path, name)
		}
		u := url.URL{Path: "/" + name}
		if again, _, ok := urlpath.FileName(u.Path); !ok || again != name {
			t.Errorf("%q is not the name of itself: %q", name, again)
		}
	})
}

func BenchmarkServeFile(b *testing.B) {
	root := tree(b,
		"a.css", strings.Repeat("p { color: red }\n", 600),
		"a.html", "<!doctype html><head><title>x</title></head>"+strings.Repeat("<p>text\n", 1200))
	run := serve(b, Options{Root: root})
	for _, name := range []string{"a.css", "a.html"} {
		b.Run(name, func(b *testing.B) {
			client := http.Client{Transport: &http.Transport{DisableCompression: true}}
			defer client.CloseIdleConnections()
			b.ReportAllocs()
			for b.Loop() {
				resp := must(client.Get(run.url("/" + name)))(b)
				n, _ := io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				b.SetBytes(n)
			}
		})
	}
}
