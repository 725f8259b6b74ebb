package livereload

import (
	"net/url"
	"strings"
	"testing"

	"github.com/execlog/execlogd/httpd/internal/urlpath"
)

// told formats an update: the paths, and an exclamation mark for a reload.
func told(u update) string {
	if u.reload != nil {
		return u.reload.path + " !"
	}
	var paths []string
	for _, m := range u.assets {
		paths = append(paths, m.path)
	}
	return strings.Join(paths, " ")
}

// Each row says which pages a change reloads or refreshes, and with what.
func TestWhichPagesAChangeAffects(t *testing.T) {
	const host = "127.0.0.1:8000"
	tests := []struct{ name, changed, page, want string }{
		{"html: its own address", "a.html", "/a.html", "/a.html !"},
		{"html: without the extension", "a.html", "/a", "/a.html !"},
		{"html: another page", "a.html", "/b.html", ""},
		{"html: another page's directory", "a.html", "/a/", ""},
		{"html: same name elsewhere", "a.html", "/x/a.html", ""},
		{"html: query and fragment do not matter", "a.html", "/a.html?x=/b#y", "/a.html !"},
		{"html: .htm", "a.htm", "/a.htm", "/a.htm !"},
		{"index: the root", "index.html", "/", "/index.html !"},
		{"index: by name", "index.html", "/index.html", "/index.html !"},
		{"index: without the extension", "index.html", "/index", "/index.html !"},
		{"index: not a directory's page", "index.html", "/a/", ""},
		{"directory index: with slash", "a/index.html", "/a/", "/a/index.html !"},
		{"directory index: by name", "a/index.html", "/a/index.html", "/a/index.html !"},
		{"directory index: without slash", "a/index.html", "/a", "/a/index.html !"},
		{"directory index: not the root", "a/index.html", "/", ""},
		{"encoded page", "a b/ü.html", "/a%20b/%c3%bc.html", "/a b/ü.html !"},
		{"bytes that are not UTF-8", "\xff.html", "/%ff.html", "/\xff.html !"},
		{"unclean page", "a/b.html", "//a/./c/../b.html", "/a/b.html !"},
		{"css: every page", "s/a.css", "/any/page", "/s/a.css"},
		{"css: upper case", "A.CSS", "/", "/A.CSS"},
		{"images: in place", "a.png b.JPG c.jpeg d.gif", "/", "/a.png /b.JPG /c.jpeg /d.gif"},
		{"css ahead of images", "a.png b.css", "/", "/b.css /a.png"},
		{"once for each path", "a.css a.css /a.css ./a.css", "/", "/a.css"},
		{"js: every page", "a.js", "/any", "/a.js !"},
		{"js beats css", "b.css a.js", "/", "/a.js !"},
		{"html beats css", "b.css a.html", "/a", "/a.html !"},
		{"css where the html is not shown", "b.css a.html", "/b", "/b.css"},
		{"script beats html", "a.html a.mjs", "/a", "/a.mjs !"},
		{"svg: every page", "a.svg", "/", "/a.svg !"},
		{"data: every page", "d.json", "/", "/d.json !"},
		{"font: every page", "f.woff2", "/", "/f.woff2 !"},
		{"wasm: every page", "m.wasm", "/", "/m.wasm !"},
		{"webp: every page", "i.webp", "/", "/i.webp !"},
		{"markdown: every page", "r.md", "/", "/r.md !"},
		{"source maps: nobody", "a.css.map b.js.map", "/", ""},
		{"logs and databases: nobody", "a.log b.db c.sqlite3-wal d.unknown Makefile", "/", ""},
		{"unknown kind: the page that shows it", "about b.shtml", "/about", "/about !"},
		{"unknown kind: the missing page at its address", "a.bin", "/a.bin", "/a.bin !"},
		{"unknown kind: css elsewhere", "about b.css", "/", "/b.css"},
		{"foreign page: no unknown kind", "about a.log", "http://other/about", ""},
		{"hidden files: nobody", ".a.html .b/c.js d/.e/f.css", "/", ""},
		{"hidden file on its own page: nobody", ".a.html", "/.a.html", ""},
		{"directory: a page below", "a/", "/a/b/c.html", "/a !"},
		{"directory: its own page", "a/", "/a/", "/a !"},
		{"directory: its own page without slash", "a/", "/a", "/a !"},
		{"directory: a page beside, which may use what is in it", "a/", "/ab/c.html", "/a !"},
		{"directory: a page above", "a/", "/", "/a !"},
		{"the root: every page", "./", "/x/y", "/ !"},
		{"the root by its dot", ".", "/x/y", "/ !"},
		{"the root by a slash", "/", "/x/y", "/ !"},
		{"a directory that looks like css", "a.css/", "/", "/a.css !"},
		{"404.html: its own page", "404.html", "/404.html", "/404.html !"},
		{"404.html: others", "404.html", "/", ""},
		{"a path out of the root is one in it", "../../a.html", "/a.html", "/a.html !"},
		{"foreign page: any html", "a.html", "http://other:80/b.html", "/a.html !"},
		{"foreign page: any directory", "a/", "http://other/b", "/a !"},
		{"foreign page: css in place", "a.css", "http://other/b", "/a.css"},
		{"another port is foreign", "a.html", "http://127.0.0.1:80/b", "/a.html !"},
		{"the same host over TLS", "a.html", "https://127.0.0.1:8000/b", ""},
		{"file page: its own file", "x/a.html", "file:///srv/www/x/a.html", "/x/a.html !"},
		{"file page: another file", "x/b.html", "file:///srv/www/x/a.html", ""},
		{"file page: encoded", "x/ü.html", "file:///srv/www/x/%C3%BC.html", "/x/ü.html !"},
		{"file page elsewhere: any html", "x/b.html", "file:///srv/www2/x/a.html", "/x/b.html !"},
		{"no URL: any html", "b.html", ":", "/b.html !"},
		{"names JSON cannot carry", "\xff.css", "/", "/\xff.css !"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			changed := strings.Fields(tt.changed)
			if strings.Contains(tt.name, "encoded page") {
				changed = []string{tt.changed}
			}
			href := tt.page
			if href[0] == '/' {
				href = "http://" + host + href
			}
			c := newChange(changed)
			got := told(c.updateFor(new(newPage(href, isAt(host), "/srv/www"))))
			if got != tt.want {
				t.Errorf("%q changed\n page %s\n got %q\nwant %q", tt.changed, href, got, tt.want)
			}
			if c.isEmpty() && got != "" {
				t.Error("an empty change has an effect")
			}
		})
	}
}

func TestTooManyAssetsReloadThePage(t *testing.T) {
	var paths []string
	for i := range maxAssets + 1 {
		paths = append(paths, strings.Repeat("x", i+1)+".css")
	}
	c := newChange(paths[:maxAssets])
	if u := c.updateFor(&page{}); u.reload != nil || len(u.assets) != maxAssets {
		t.Errorf("%d assets became %q", maxAssets, told(u))
	}
	c = newChange(paths)
	if u := c.updateFor(&page{}); told(u) != "/x.css !" {
		t.Errorf("%d assets became %q", maxAssets+1, told(u))
	}
}

// Without files there is no page that is ours.
func TestNoPageIsLocatedWithoutFiles(t *testing.T) {
	for _, href := range []string{"http://localhost/", "file:///srv/a.html", "file:///"} {
		if p := newPage(href, isAt("localhost"), ""); p.located {
			t.Errorf("%s was placed: %v", href, p.files)
		}
	}
}

func TestReloadMessage(t *testing.T) {
	const want = `{"command":"reload","path":"/a \"b\"ü.css","liveCSS":true,"liveImg":true}`
	if got := string(texts(t, newReloadMessage(`a "b"ü.css`, true).frame)[0]); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// What Explain says is what a change does.
func TestExplain(t *testing.T) {
	for path, want := range map[string]string{
		"a/index.html": "those that show or use it are loaded again: /a/index.html /a/index /a/ /a",
		"index.html":   "those that show or use it are loaded again: /index.html /index /",
		"b.html":       "those that show or use it are loaded again: /b.html /b",
		"a/":           "those that use or show something in it are loaded again, and so is every page that does not say what it uses",
		"a.css":        "those that use it fetch it again in place, and so does every page that does not say what it uses",
		"a.png":        "those that use it fetch it again in place, and so does every page that does not say what it uses",
		"a.webp":       "those that use it fetch it again in place, and every page that does not say what it uses is loaded again",
		"a.bmp":        "those that use it fetch it again in place, and every page that does not say what it uses is loaded again",
		"a.js":         "those that use it are loaded again, and so is every page that does not say what it uses",
		"a.log":        "those that show or use it are loaded again",
		".git/a.css":   "none: hidden files are not served",
	} {
		if got := Explain(path); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	for _, url := range urlpath.PathsOf("a/index.html") {
		c := newChange([]string{"a/index.html"})
		if c.shownBy(&page{located: true, files: urlpath.FilesOf(url)}) == nil {
			t.Errorf("a change of a/index.html does not affect %s", url)
		}
	}
}

// isAt is for the pages of a host.
func isAt(host string) func(*url.URL) bool {
	return func(page *url.URL) bool {
		return page.Scheme == "http" && page.Host == host || page.Scheme == "https" && page.Host == host
	}
}
