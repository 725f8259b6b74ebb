package e2e

import (
	"fmt"
	"image"
	"image/png"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestBrowser(t *testing.T) {
	runTests(t, []browserTest{
		{"a saved page shows itself", testPage},
		{"a saved style sheet keeps the page's state", testStyle},
		{"a page that is not concerned stays", testOtherPage},
		{"a generator that writes everything again disturbs what differs alone", testGenerator},
		{"pages of any shape are kept fresh", testShapes},
		{"a page of the web server next door is kept fresh", testNextDoor},
		{"a page of the web server next door may embed files, and read those that it may", testEmbedded},
		{"a page opened from disk is kept fresh", testFromDisk},
		{"livereload-js works unchanged", testStock},
		{"a listing shows what comes and goes", testListing},
		{"a page that links the script by hand is kept fresh", testByHand},
		{"after a burst of saves a page shows the last", testBursts},
	})
}

func testPage(t *testing.T, browser browser) {
	site, p := openSite(t, browser, map[string]string{
		"index.html": document("<p>zero"),
		"style.css":  "p { color: red }",
	})
	p.shows("document.body.innerText.trim()", "zero")

	p.edit(site, "index.html", document("<p>one"), "document.body.innerText.trim()", "one")

	p.connected()
	save(t, site, "index.html", document("<p>two"))
	p.shows("document.body.innerText.trim()", "two")
	p.sameLoads(3)
}

func testStyle(t *testing.T, browser browser) {
	site, p := openSite(t, browser, map[string]string{
		"index.html": document("<p>text <input>"),
		"style.css":  paint(1),
	})
	p.do("window.visits = 7; document.querySelector('input').value = 'half a sen'")

	p.repaint(site, 2)
	p.shows("window.visits", "7")
	save(t, site, "style.css", paint(3))
	p.shows(color, rgb(3))

	p.shows("window.visits", "7")
	p.shows("document.querySelector('input').value", "half a sen")
	p.shows("document.styleSheets.length", "1")
	p.sameLoads(1)
}

// picture returns a PNG image, one pixel high.
func picture(t *testing.T, width int) string {
	t.Helper()
	var b strings.Builder
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, width, 1))); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func testOtherPage(t *testing.T, browser browser) {
	site, d := serve(t, map[string]string{
		"a/index.html": document("<p>zero"),
		"b/index.html": document("<p>zero"),
		"style.css":    paint(1),
	})
	a, b := open(t, browser, d.URL+"/a/"), open(t, browser, d.URL+"/b/")

	a.edit(site, "a/index.html", document("<p>one"), "document.body.innerText.trim()", "one")

	// The second message arrives, so nothing was sent to b before it.
	b.repaint(site, 2)
	a.sameLoads(2)
	b.sameLoads(1)
}

func testGenerator(t *testing.T, browser browser) {
	files := map[string]string{
		"a.html":    document("<p>a<img src=x.png><script src=app.js></script>"),
		"b.html":    document("<p>b<img src=x.png><script src=app.js></script>"),
		"style.css": paint(1),
		"app.js":    "window.visits = 7",
		"x.png":     picture(t, 1),
	}
	site, d := serve(t, files)
	a, b := open(t, browser, d.URL+"/a.html"), open(t, browser, d.URL+"/b.html")

	// The server may look at the files at any moment, so each is replaced as a whole. What
	// differs comes last: a page that loads again loads files that nobody writes any more.
	writeAll := func(differing string) {
		t.Helper()
		for name := range files {
			if name != differing {
				save(t, site, name, files[name])
			}
		}
		save(t, site, differing, files[differing])
	}
	generate := func(n int) {
		t.Helper()
		files["style.css"] = paint(n)
		writeAll("style.css")
		a.shows(color, rgb(n))
		b.shows(color, rgb(n))
	}
	// What a page has is known once the server has answered what the page reported.
	known := func(p *tab) {
		t.Helper()
		p.uses("/style.css", "/app.js", "/x.png")
		p.answered()
	}

	// The second message arrives, so nothing was sent before it.
	known(a)
	known(b)
	writeAll("style.css")
	generate(2)
	a.sameLoads(1)
	b.sameLoads(1)

	files["b.html"] = document("<p>another b<img src=x.png><script src=app.js></script>")
	writeAll("b.html")
	b.shows("document.body.innerText.trim()", "another b")
	b.connected()
	known(b)
	generate(3)
	writeAll("style.css")
	generate(4) // on a busy machine a page may load once more than it must, so loads are not counted here
}

func testShapes(t *testing.T, browser browser) {
	const icon = `<link rel="icon" href="data:,">`
	shapes := []struct{ name, html string }{
		{"text after one tag", icon + "zero"},
		{"no head and no body", "<!doctype html>" + icon + "<p>zero"},
		{"upper case", "<HTML><HEAD>" + icon + "</HEAD><BODY><P>zero</BODY></HTML>"},
		{"head ends in a comment", "<!doctype html><!-- </head><body> --><head>" + icon + "<!-- </head> --></head><body><p>zero</body>"},
		{"head ends in a script", "<!doctype html><head>" + icon + "<script>var end = '</head><body>'</script></head><body><p>zero</body>"},
		{"addresses relative to another server", `<!doctype html><head><base href="http://127.0.0.1:1/">` + icon + "</head><p>zero"},
		{"not in UTF-8", "<!doctype html><meta charset=latin1>" + icon + "<p title='\xe4'>zero"},
		{"an application that changes its URL at once", "<!doctype html>" + icon + "<p>zero<script>history.replaceState(0, '', '/routes/of/its/own')</script>"},
	}
	files := map[string]string{}
	for i, shape := range shapes {
		files[fmt.Sprint(i, ".html")] = shape.html
	}
	site, d := serve(t, files, fmt.Sprintf("-spa=%d.html", len(shapes)-1))
	p := open(t, browser, d.URL+"/0.html")
	for i, shape := range shapes {
		t.Log(shape.name) // which is shown if it fails
		name := fmt.Sprint(i, ".html")
		if i > 0 {
			p.navigate(d.URL + "/" + name)
			p.connected()
		}
		p.shows("document.body.innerText.trim()", "zero")
		p.shows("document.scripts.length - document.querySelectorAll('script:not([src])').length", "1")
		p.edit(site, name, strings.Replace(shape.html, "zero", "one", 1), "document.body.innerText.trim()", "one")
		p.connected()
	}
}

func testNextDoor(t *testing.T, browser browser) {
	staysFresh(t, browser, func(site string) string {
		files := http.FileServer(http.Dir(site))
		neighbour := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// The server distinguishes changes by the second, and the test is faster.
			w.Header().Set("Cache-Control", "no-store")
			files.ServeHTTP(w, r)
		}))
		t.Cleanup(neighbour.Close)
		return neighbour.URL + "/"
	})
}

func testEmbedded(t *testing.T, browser browser) {
	files := map[string]string{
		"style.css": paint(1), "a.js": "window.loaded = 7", "a.png": picture(t, 3), "a.json": "[1]", "module.js": "export default 8",
	}
	page := func(from string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, `<!doctype html><link rel="icon" href="data:,"><link rel="stylesheet" href="`+from+`/style.css"><p>text<img src="`+from+`/a.png">`+
				`<script src="`+from+`/a.js"></script><script>
					fetch("`+from+`/a.json", { headers: { "x-a": "b" } }).then(a => a.text()).then(text => window.read = text, () => window.read = "refused");
					import("`+from+`/module.js").then(m => window.read2 = m.default, () => window.read2 = "refused")</script>`)
		})
	}
	for _, allowed := range []bool{false, true} {
		var from string
		neighbour := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { page(from).ServeHTTP(w, r) }))
		t.Cleanup(neighbour.Close)
		_, port, _ := strings.Cut(strings.TrimPrefix(neighbour.URL, "http://"), ":")
		other := "http://other.localhost:" + port // another site, if not for us
		browser.mapName("other.localhost:"+port, "127.0.0.1:"+port)
		want, want2 := "refused", "refused"
		var flags []string
		if allowed {
			want, want2 = "[1]", "8"
			flags = []string{"-cors=" + other, "-cors=" + neighbour.URL}
		}
		_, d := serve(t, files, flags...)
		from = d.URL
		for _, address := range []string{neighbour.URL, other} {
			p := openUnconnected(t, browser, address+"/")
			p.allowErrors("CORS", "Cross-Origin", "net::ERR_FAILED", "a.json", "module.js")
			p.shows(color, rgb(1))
			p.shows("document.querySelector('img').naturalWidth", "3")
			p.shows("window.loaded", "7")
			p.shows("window.read", want)
			p.shows("window.read2", want2)
		}
	}
}

func testFromDisk(t *testing.T, browser browser) {
	staysFresh(t, browser, func(site string) string { return "file://" + filepath.Join(site, "index.html") })
}

// staysFresh changes the style sheet of a foreignDocument, then the page itself, and
// checks that a tab shows it. What address returns for the directory is the page's URL.
func staysFresh(t *testing.T, browser browser, address func(site string) string) {
	t.Helper()
	site, d := serve(t, map[string]string{"style.css": paint(1)}, "-static=false")
	write(t, site, map[string]string{"index.html": foreignDocument(d, "zero")})
	p := open(t, browser, address(site))
	p.shows("document.body.innerText.trim()", "zero")
	p.repaint(site, 2)
	p.sameLoads(1)
	p.edit(site, "index.html", foreignDocument(d, "one"), "document.body.innerText.trim()", "one")
}

func testStock(t *testing.T, browser browser) {
	client, err := os.ReadFile("node_modules/livereload-js/dist/livereload.js")
	if err != nil {
		t.Skipf("livereload-js is not installed (npm ci in e2e, or make test): %v", err)
	}
	page := func(text string) string {
		return document("<p>" + text + `<script src="/livereload-js/livereload.js"></script>`)
	}
	site, p := openSite(t, browser, map[string]string{
		"index.html":                  page("zero"),
		"style.css":                   paint(1),
		"livereload-js/livereload.js": string(client),
	})
	p.shows("document.scripts.length", "1")

	p.repaint(site, 2)
	p.sameLoads(1)

	p.edit(site, "index.html", page("one"), "document.body.innerText.trim()", "one")
	p.connected()

	// It does not get the messages that only our own client knows.
	write(t, site, map[string]string{"new.log": "", "new/index.html": ""})
	remove(t, site, "new.log")
	time.Sleep(quietTime)

	// An unknown command would make it disconnect. So each load of the page has had
	// one connection, and the last one is still open.
	p.repaint(site, 3)
	p.sameLoads(2)
	if sockets := p.state().sockets; sockets != 2 {
		t.Errorf("%d connections for 2 loads of the page", sockets)
	}
}

func testListing(t *testing.T, browser browser) {
	site, d := serve(t, map[string]string{"favicon.ico": "", "list/b.txt": "12"})
	p := open(t, browser, d.URL+"/list/")
	names := "[...document.querySelectorAll('tbody th')].map(e => e.innerText).join(' ')"
	p.shows(names, "b.txt")
	p.do("document.querySelector('.size a').click()")
	p.connected()
	p.shows("document.querySelector('[aria-sort]').innerText.trim()", "Size\u00a0↓")

	write(t, site, map[string]string{"list/c.txt": "123", "list/a.txt": "1"})
	p.shows(names, "c.txt b.txt a.txt")
	p.connected()
	remove(t, site, "list/b.txt")
	p.shows(names, "c.txt a.txt")
}

func testByHand(t *testing.T, browser browser) {
	page := func(text string) string {
		return document("<p>" + text + `<script src="/livereload.js"></script>`)
	}
	site, p := openSite(t, browser, map[string]string{"index.html": page("zero"), "style.css": ""}, "-inject=false")
	p.shows("document.scripts.length", "1")
	p.edit(site, "index.html", page("one"), "document.body.innerText.trim()", "one")
	p.sameLoads(2)
}

// document returns a complete page with this body and a style sheet. It has no
// favicon, because Chromium would log a missing one as an error.
func document(body string) string {
	return `<!doctype html><html><head><meta charset="utf-8"><link rel="icon" href="data:,">` +
		`<link rel="stylesheet" href="/style.css"></head><body>` + body + `</body></html>`
}

// foreignDocument returns a page that d does not serve and that loads its client from
// d. Its style sheet is beside it.
func foreignDocument(d *daemon, text string) string {
	return strings.Replace(document("<p>"+text), `href="/style.css">`,
		`href="style.css"><script src="`+d.URL+`/livereload.js"></script>`, 1)
}

// openSite serves a new site with these files, and opens its index page.
func openSite(t *testing.T, browser browser, files map[string]string, flags ...string) (site string, p *tab) {
	t.Helper()
	site, d := serve(t, files, flags...)
	return site, open(t, browser, d.URL+"/")
}

// serve starts execlogd on a new site with these files.
func serve(t *testing.T, files map[string]string, flags ...string) (site string, d *daemon) {
	t.Helper()
	site = t.TempDir()
	write(t, site, files)
	d, err := startDaemon(t, site, append([]string{"-root", site, "-port", "0"}, flags...)...)
	if err != nil {
		t.Fatal(err)
	}
	return site, d
}

// Files are saved in bursts while pages reload: in the end a page shows what is on
// disk, whatever its websocket has missed.
func testBursts(t *testing.T, browser browser) {
	numbered := func(n int) string { return document(fmt.Sprintf("<p>%d</p>", n)) }
	site, p := openSite(t, browser, map[string]string{
		"index.html":  numbered(0),
		"style.css":   "p { z-index: 0 }",
		"favicon.ico": "", // asked for by a page that is caught empty, between truncation and write
	})
	random := rand.New(rand.NewPCG(1, 2))
	for n := 1; n <= 24; n++ {
		write(t, site, map[string]string{"style.css": fmt.Sprintf("p { z-index: %d }", n)})
		if n%8 == 0 || random.IntN(2) == 0 {
			write(t, site, map[string]string{"index.html": numbered(n)})
		}
		// The next save comes before, during or after the reload.
		time.Sleep(time.Duration(random.IntN(250)) * time.Millisecond)
		if n%8 == 0 {
			p.shows("document.querySelector('p').innerText", fmt.Sprint(n))
			p.shows("getComputedStyle(document.querySelector('p')).zIndex", fmt.Sprint(n))
		}
	}
}
