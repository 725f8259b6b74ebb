package e2e

import (
	"strings"
	"testing"
)

// What a browser gets compressed is shown, and swapped or loaded again, as what it gets as it is.
func TestCompressedFiles(t *testing.T) { inBrowsers(t, testCompressedFiles) }

func testCompressedFiles(t *testing.T, browser browser) {
	fill := strings.Repeat("as large as what is compressed ", 100)
	sheet := func(n int) string { return paint(n) + "/*" + fill + "*/" }
	page := func(text string) string { return document("<p>" + text + "</p><!--" + fill + "-->") }
	dir := t.TempDir()
	write(t, dir, map[string]string{"index.html": page("one"), "style.css": sheet(1)})
	d, err := startDaemon(t, dir, "-port", "0", "-compress")
	if err != nil {
		t.Fatal(err)
	}
	p := open(t, browser, d.URL+"/")
	p.shows("performance.getEntries().filter(e => e.encodedBodySize > 0 && 4 * e.encodedBodySize < e.decodedBodySize).map(e => new URL(e.name).pathname).filter(path => !path.startsWith('/livereload')).sort().join()", "/,/style.css")
	p.do("window.kept = 1")
	p.edit(dir, "style.css", sheet(2), color+"+window.kept", rgb(2)+"1")
	p.edit(dir, "index.html", page("two"), "document.querySelector('p').innerText", "two")
	p.connected()
	p.shows(color, rgb(2))
}
