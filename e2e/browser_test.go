package e2e

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

func TestBrowser(t *testing.T) {
	browser := startChromium(t)
	tests := []struct {
		name string
		run  func(*testing.T, context.Context)
	}{
		{"a saved page shows itself", testPage},
		{"a saved style sheet keeps the page's state", testStyle},
		{"a saved image is fetched again wherever it is used", testImage},
		{"a page that is not concerned stays", testOtherPage},
		{"a generator that writes everything again disturbs what differs alone", testGenerator},
		{"pages of any shape are kept fresh", testShapes},
		{"a page of the web server next door is kept fresh", testNextDoor},
		{"a page opened from disk is kept fresh", testFromDisk},
		{"livereload-js works unchanged", testStock},
		{"a listing shows what comes and goes", testListing},
		{"a page that links the script by hand is kept fresh", testByHand},
		{"after a burst of saves a page shows the last", testBursts},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // they wait most of the time
			tt.run(t, browser)
		})
	}
}

func testPage(t *testing.T, browser context.Context) {
	site, d := serve(t, map[string]string{
		"index.html": document("<p>zero"),
		"style.css":  "p { color: red }",
	})
	p := open(t, browser, d.URL+"/")
	p.shows("document.body.innerText.trim()", "zero")

	write(t, site, map[string]string{"index.html": document("<p>one")})
	p.shows("document.body.innerText.trim()", "one")

	p.connected()
	if err := replace(filepath.Join(site, "index.html"), document("<p>two")); err != nil {
		t.Fatal(err)
	}
	p.shows("document.body.innerText.trim()", "two")
	p.sameLoads(3)
}

func testStyle(t *testing.T, browser context.Context) {
	site, d := serve(t, map[string]string{
		"index.html": document("<p>text <input>"),
		"style.css":  "p { color: rgb(1, 1, 1) }",
	})
	p := open(t, browser, d.URL+"/")
	p.do("window.visits = 7; document.querySelector('input').value = 'half a sen'")

	write(t, site, map[string]string{"style.css": "p { color: rgb(2, 2, 2) }"})
	p.shows("getComputedStyle(document.querySelector('p')).color", "rgb(2, 2, 2)")
	p.shows("window.visits", "7")
	if err := replace(filepath.Join(site, "style.css"), "p { color: rgb(3, 3, 3) }"); err != nil {
		t.Fatal(err)
	}
	p.shows("getComputedStyle(document.querySelector('p')).color", "rgb(3, 3, 3)")

	p.shows("window.visits", "7")
	p.shows("document.querySelector('input').value", "half a sen")
	p.shows("document.styleSheets.length", "1")
	p.sameLoads(1)
}

func testImage(t *testing.T, browser context.Context) {
	site, d := serve(t, map[string]string{
		"index.html": `<!doctype html><link rel="icon" href="/a.png"><img src="a.png"><img srcset="/a.png 1x, b.png 2x"><input type="image" src="a.png">` +
			`<video poster="a.png"></video><object data="a.png"></object><svg><image href="a.png"/></svg><p style="background: url(a.png)"><img src="b.png">`,
		"a.png": picture(t, 1),
		"b.png": picture(t, 1),
	})
	p := open(t, browser, d.URL+"/")
	p.shows("document.querySelector('img').naturalWidth", "1")

	write(t, site, map[string]string{"a.png": picture(t, 2)})
	p.shows("document.querySelector('img').naturalWidth", "2")
	p.shows("document.documentElement.outerHTML.match(/a[.]png[?]livereload=/g)?.length", "8")
	p.shows("document.documentElement.outerHTML.match(/b[.]png[?]livereload=/g)", "null")
	p.sameLoads(1)
}

// picture is an image in PNG, one pixel high.
func picture(t *testing.T, width int) string {
	t.Helper()
	var b strings.Builder
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, width, 1))); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func testOtherPage(t *testing.T, browser context.Context) {
	site, d := serve(t, map[string]string{
		"a/index.html": document("<p>zero"),
		"b/index.html": document("<p>zero"),
		"style.css":    "p { color: rgb(1, 1, 1) }",
	})
	a, b := open(t, browser, d.URL+"/a/"), open(t, browser, d.URL+"/b/")

	write(t, site, map[string]string{"a/index.html": document("<p>one")})
	a.shows("document.body.innerText.trim()", "one")

	// What came after shows that nothing came to b before it.
	write(t, site, map[string]string{"style.css": "p { color: rgb(2, 2, 2) }"})
	b.shows("getComputedStyle(document.querySelector('p')).color", "rgb(2, 2, 2)")
	a.sameLoads(2)
	b.sameLoads(1)
}

func testGenerator(t *testing.T, browser context.Context) {
	files := map[string]string{
		"a.html":    document("<p>a<img src=x.png><script src=app.js></script>"),
		"b.html":    document("<p>b<img src=x.png><script src=app.js></script>"),
		"style.css": "p { color: rgb(1, 1, 1) }",
		"app.js":    "window.visits = 7",
		"x.png":     picture(t, 1),
	}
	site, d := serve(t, files)
	a, b := open(t, browser, d.URL+"/a.html"), open(t, browser, d.URL+"/b.html")
	generate := func(color string) {
		t.Helper()
		files["style.css"] = "p { color: " + color + " }"
		write(t, site, files)
		for _, p := range []*tab{a, b} {
			p.shows("getComputedStyle(document.querySelector('p')).color", color)
		}
	}

	// What came after shows that nothing came before it.
	write(t, site, files)
	generate("rgb(2, 2, 2)")
	a.sameLoads(1)
	b.sameLoads(1)

	files["b.html"] = document("<p>another b<img src=x.png><script src=app.js></script>")
	write(t, site, files)
	b.shows("document.body.innerText.trim()", "another b")
	b.connected()
	generate("rgb(3, 3, 3)")
	write(t, site, files)
	generate("rgb(4, 4, 4)")
	a.sameLoads(1)
	b.sameLoads(2)
}

func testShapes(t *testing.T, browser context.Context) {
	const icon = `<link rel="icon" href="data:,">`
	shapes := []struct{ name, html string }{
		{"text after one tag", icon + "zero"},
		{"no head and no body", "<!doctype html>" + icon + "<p>zero"},
		{"upper case", "<HTML><HEAD>" + icon + "</HEAD><BODY><P>zero</BODY></HTML>"},
		{"head ends in a comment", "<!doctype html><!-- </head><body> --><head>" + icon + "<!-- </head> --></head><body><p>zero</body>"},
		{"head ends in a script", "<!doctype html><head>" + icon + "<script>var end = '</head><body>'</script></head><body><p>zero</body>"},
		{"addresses relative to another server", `<!doctype html><head><base href="http://127.0.0.1:1/">` + icon + "</head><p>zero"},
		{"not in UTF-8", "<!doctype html><meta charset=latin1>" + icon + "<p title='\xe4'>zero"},
	}
	for _, shape := range shapes {
		t.Run(shape.name, func(t *testing.T) {
			site, d := serve(t, map[string]string{"index.html": shape.html})
			p := open(t, browser, d.URL+"/")
			p.shows("document.body.innerText.trim()", "zero")
			p.shows("document.scripts.length - document.querySelectorAll('script:not([src])').length", "1")
			write(t, site, map[string]string{"index.html": strings.Replace(shape.html, "zero", "one", 1)})
			p.shows("document.body.innerText.trim()", "one")
		})
	}
}

func testNextDoor(t *testing.T, browser context.Context) {
	site, d := serve(t, map[string]string{"style.css": "p { color: rgb(1, 1, 1) }"}, "-static=false")
	write(t, site, map[string]string{"index.html": foreignDocument(d, "zero")})
	files := http.FileServer(http.Dir(site))
	neighbour := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// It knows files by the second of their last change, and we are faster.
		w.Header().Set("Cache-Control", "no-store")
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(neighbour.Close)
	p := open(t, browser, neighbour.URL+"/")
	staysFresh(t, p, site, d)
}

func testFromDisk(t *testing.T, browser context.Context) {
	site, d := serve(t, map[string]string{"style.css": "p { color: rgb(1, 1, 1) }"}, "-static=false")
	write(t, site, map[string]string{"index.html": foreignDocument(d, "zero")})
	p := open(t, browser, "file://"+filepath.Join(site, "index.html"))
	staysFresh(t, p, site, d)
}

// staysFresh changes what foreignDocument made: first its style, then itself.
func staysFresh(t *testing.T, p *tab, site string, d *daemon) {
	t.Helper()
	p.shows("document.body.innerText.trim()", "zero")
	write(t, site, map[string]string{"style.css": "p { color: rgb(2, 2, 2) }"})
	p.shows("getComputedStyle(document.querySelector('p')).color", "rgb(2, 2, 2)")
	p.sameLoads(1)
	write(t, site, map[string]string{"index.html": foreignDocument(d, "one")})
	p.shows("document.body.innerText.trim()", "one")
}

func testStock(t *testing.T, browser context.Context) {
	client, err := os.ReadFile("node_modules/livereload-js/dist/livereload.js")
	if err != nil {
		t.Skipf("livereload-js is not installed (npm ci in e2e, or make test): %v", err)
	}
	page := func(text string) string {
		return document("<p>" + text + `<script src="/livereload-js/livereload.js"></script>`)
	}
	site, d := serve(t, map[string]string{
		"index.html":                  page("zero"),
		"style.css":                   "p { color: rgb(1, 1, 1) }",
		"livereload-js/livereload.js": string(client),
	})
	p := open(t, browser, d.URL+"/")
	p.shows("document.scripts.length", "1")

	write(t, site, map[string]string{"style.css": "p { color: rgb(2, 2, 2) }"})
	p.shows("getComputedStyle(document.querySelector('p')).color", "rgb(2, 2, 2)")
	p.sameLoads(1)

	write(t, site, map[string]string{"index.html": page("one")})
	p.shows("document.body.innerText.trim()", "one")
	p.connected()

	// What our own client is told of beside changes does not reach it.
	write(t, site, map[string]string{"new.log": "", "new/index.html": ""})
	if err := os.Remove(filepath.Join(site, "new.log")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(calm)

	// A command that it does not know would make it hang up; so each load of
	// the page has had one connection, and the last one is still there.
	write(t, site, map[string]string{"style.css": "p { color: rgb(3, 3, 3) }"})
	p.shows("getComputedStyle(document.querySelector('p')).color", "rgb(3, 3, 3)")
	p.sameLoads(2)
	if sockets := p.seen().sockets; sockets != 2 {
		t.Errorf("%d connections for 2 loads of the page", sockets)
	}
}

func testListing(t *testing.T, browser context.Context) {
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
	if err := os.Remove(filepath.Join(site, "list/b.txt")); err != nil {
		t.Fatal(err)
	}
	p.shows(names, "c.txt a.txt")
}

func testByHand(t *testing.T, browser context.Context) {
	page := func(text string) string {
		return document("<p>" + text + `<script src="/livereload.js"></script>`)
	}
	site, d := serve(t, map[string]string{"index.html": page("zero"), "style.css": ""}, "-inject=false")
	p := open(t, browser, d.URL+"/")
	p.shows("document.scripts.length", "1")
	write(t, site, map[string]string{"index.html": page("one")})
	p.shows("document.body.innerText.trim()", "one")
	p.sameLoads(2)
}

// document is a whole page around body, with a style sheet and without a
// favicon, which Chromium would ask for and log as missing.
func document(body string) string {
	return `<!doctype html><html><head><meta charset="utf-8"><link rel="icon" href="data:,">` +
		`<link rel="stylesheet" href="/style.css"></head><body>` + body + `</body></html>`
}

// foreignDocument is a page that d does not serve and that asks it for its
// client. Its style sheet lies beside it.
func foreignDocument(d *daemon, text string) string {
	return strings.Replace(document("<p>"+text), `href="/style.css">`,
		`href="style.css"><script src="`+d.URL+`/livereload.js"></script>`, 1)
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

// startChromium returns a context in which chromedp opens tabs of a Chromium
// that lives as long as the test and can reach this machine alone: its loopback
// address, and names that are mapped there by rules of --host-resolver-rules.
func startChromium(t *testing.T, rules ...string) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skipf("Debian's chromium is not installed: %v", err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox, // tests run as root
		chromedp.DisableGPU,
		chromedp.WSURLReadTimeout(patience),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("host-resolver-rules", strings.Join(append(rules, "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"), ", ")),
		chromedp.Flag("ignore-certificate-errors", true), // a test's own
	)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return ctx
}

// A tab is one open page in Chromium.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	now      observed
	waited   int      // connections that the test has waited for
	forgiven []string // what a fault may say
}

// observed is what a tab has done so far.
type observed struct {
	sockets int      // websockets opened
	infos   int      // handshakes completed: the page has said what it shows
	changes int      // that it was told of, in our own protocol
	said    string   // what it reported since its last load: infos and uses
	faults  []string // errors that a person would see in the console
}

// open shows url in a new tab, which closes with the test, and returns when
// the page is connected. Anything in its console fails the test.
func open(t *testing.T, browser context.Context, url string) *tab {
	t.Helper()
	p := openUnconnected(t, browser, url)
	p.connected()
	return p
}

// openUnconnected is open for a page that may not connect.
func openUnconnected(t *testing.T, browser context.Context, url string) *tab {
	t.Helper()
	p := &tab{t: t}
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithListener(p.observe))
	p.ctx = ctx
	t.Cleanup(func() {
		for _, fault := range p.seen().faults {
			if !slices.ContainsFunc(p.forgiven, func(text string) bool { return strings.Contains(fault, text) }) {
				t.Errorf("console of %s: %s", url, fault)
			}
		}
		cancel()
	})
	// The context of the first call decides how long the tab lives.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("new tab: %v", err)
	}
	limited, stop := context.WithTimeout(ctx, patience)
	defer stop()
	if err := chromedp.Do(limited, chromedp.Navigate(url)); err != nil {
		t.Fatalf("open %s: %v", url, err)
	}
	return p
}

// forgive lets faults pass that say one of these.
func (p *tab) forgive(texts ...string) {
	p.forgiven = append(p.forgiven, texts...)
}

func (p *tab) observe(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch event := event.(type) {
	case *network.EventWebSocketCreated:
		p.now.sockets++
	case *network.EventWebSocketFrameSent:
		switch text := event.Response.PayloadData; {
		case bytes.Contains(text, []byte(`"command":"info"`)):
			p.now.infos++
			p.now.said = string(text)
		case bytes.Contains(text, []byte(`"command":"uses"`)):
			p.now.said += string(text)
		}
	case *network.EventWebSocketFrameReceived:
		if bytes.Contains(event.Response.PayloadData, []byte(`"command":"change"`)) {
			p.now.changes++
		}
	case *runtime.EventExceptionThrown:
		p.now.faults = append(p.now.faults, describe(event.ExceptionDetails))
	case *runtime.EventConsoleAPICalled:
		if event.Type == runtime.ConsoleAPICalledTypeError || event.Type == runtime.ConsoleAPICalledTypeWarning {
			for _, arg := range event.Args {
				p.now.faults = append(p.now.faults, fmt.Sprintf("%s: %s %s", event.Type, arg.Value, arg.Description))
			}
		}
	case *log.EventEntryAdded:
		if event.Entry.Level == log.EntryLevelError {
			p.now.faults = append(p.now.faults, event.Entry.Text+" "+event.Entry.URL)
		}
	}
}

func describe(e *runtime.ExceptionDetails) string {
	if e.Exception == nil {
		return e.Text
	}
	return e.Text + " " + e.Exception.Description
}

func (p *tab) seen() observed {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

// connected waits for one more load of the page to have told execlogd what it
// shows.
func (p *tab) connected() {
	p.t.Helper()
	p.waited++
	if err := eventually(p.ctx, "the page to connect", func() bool { return p.seen().infos >= p.waited }); err != nil {
		p.t.Fatalf("%v; it has seen %+v", err, p.seen())
	}
}

// sameLoads checks how often the page has been loaded, first time included.
func (p *tab) sameLoads(want int) {
	p.t.Helper()
	for p.waited < want {
		p.connected()
	}
	if got := p.seen().infos; got != want {
		p.t.Errorf("the page was loaded %d times, want %d", got, want)
	}
}

// shows polls a JavaScript expression until its value is want.
func (p *tab) shows(expression, want string) {
	p.t.Helper()
	var got string
	err := eventually(p.ctx, expression+" to be "+want, func() bool {
		// While the page reloads there is nothing to ask.
		value, err := evaluate[string](p, "String("+expression+")")
		if err == nil {
			got = value
		}
		return got == want
	})
	if err != nil {
		p.t.Fatalf("%v; it is %q", err, got)
	}
}

// do runs JavaScript in the page.
func (p *tab) do(script string) {
	p.t.Helper()
	if _, err := evaluate[chromedp.Void](p, script); err != nil {
		p.t.Fatalf("%s: %v", script, err)
	}
}

func evaluate[T any](p *tab, script string) (T, error) {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](script))
}

// Saves come in bursts, while pages are being loaded again: what a page shows
// in the end is what is on the disk, whatever its socket missed.
func testBursts(t *testing.T, browser context.Context) {
	numbered := func(n int) string { return document(fmt.Sprintf("<p>%d</p>", n)) }
	site, d := serve(t, map[string]string{
		"index.html":  numbered(0),
		"style.css":   "p { z-index: 0 }",
		"favicon.ico": "", // asked for by a page that is caught empty, between truncation and write
	})
	p := open(t, browser, d.URL+"/")
	random := rand.New(rand.NewPCG(1, 2))
	for n := 1; n <= 24; n++ {
		write(t, site, map[string]string{"style.css": fmt.Sprintf("p { z-index: %d }", n)})
		if n%8 == 0 || random.IntN(2) == 0 {
			write(t, site, map[string]string{"index.html": numbered(n)})
		}
		// Now before, now while and now after the page is loaded again.
		time.Sleep(time.Duration(random.IntN(250)) * time.Millisecond)
		if n%8 == 0 {
			p.shows("document.querySelector('p').innerText", fmt.Sprint(n))
			p.shows("getComputedStyle(document.querySelector('p')).zIndex", fmt.Sprint(n))
		}
	}
}
