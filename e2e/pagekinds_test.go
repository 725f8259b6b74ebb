package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestPageKinds tests that pages are kept up to date whatever they are written in, and
// however they come to the browser.
func TestPageKinds(t *testing.T) {
	runTests(t, []browserTest{
		{"a page that a service worker passes on is kept fresh", testServiceWorker},
		{"a service worker that another project has left can be removed", testForeignWorker},
		{"files that workers and worklets load reload the page", testWorkers},
		{"a page that was saved to disk connects to nothing", testSavedToDisk},
		{"a page with an old page token and without storage loads once again", testTokenWithoutStorage},
		{"XHTML is kept fresh", testXHTML},
		{"SVG is kept fresh as a page, and left alone as an image", testSVG},
	})
}

func testServiceWorker(t *testing.T, browser browser) {
	const worker = `
		addEventListener("install", event => {
			skipWaiting();
			event.waitUntil(caches.open("x").then(cache => cache.addAll(["offline.html"])));
		});
		addEventListener("activate", event => event.waitUntil(clients.claim()));
		addEventListener("fetch", event => event.respondWith(
			event.request.url.includes("offline") ? caches.match(event.request).then(found => found || new Response("not found in the cache")) :
			event.request.url.includes("copy") ? fetch(new Request(event.request, { cache: "no-store" })) : fetch(event.request)));`
	page := func(text string) string {
		return document("<p>" + text + "<script>navigator.serviceWorker.register('worker.js')</script>")
	}
	site, d := serve(t, map[string]string{
		"index.html": page("zero"), "copy.html": page("zero"), "offline.html": document("<p>kept"), "style.css": paint(1), "worker.js": worker,
	})
	p := open(t, browser, d.URL+"/")
	p.shows("navigator.serviceWorker.controller?.state", "activated")

	for _, name := range []string{"index.html", "copy.html"} {
		p.navigate(d.URL + "/" + name)
		p.connected()
		p.edit(site, name, page("one"), "document.querySelector('p').innerText", "one")
		p.connected()
		p.repaint(site, 2)
		p.repaint(site, 1) // Firefox reports a fetch of a worker that is cut short
	}

	// What the worker has fetched ahead is found for a navigation.
	p.navigate(d.URL + "/offline.html")
	p.shows("document.body.innerText.trim()", "kept")
}

func testXHTML(t *testing.T, browser browser) {
	page := func(text string) string {
		return `<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title>t</title><link rel="icon" href="data:,"/>` +
			`<link rel="stylesheet" href="style.css"/></head><body><p>` + text + `</p></body></html>`
	}
	site, d := serve(t, map[string]string{"a.xhtml": page("zero"), "style.css": paint(1)})
	p := open(t, browser, d.URL+"/a.xhtml")
	p.repaint(site, 2)
	p.sameLoads(1)
	p.edit(site, "a.xhtml", page("one"), "document.querySelector('p').textContent", "one")
	p.sameLoads(2)

	// A page that is gone says so.
	remove(t, site, "a.xhtml")
	p.shows("document.documentElement.lastChild.shadowRoot?.textContent.includes('a.xhtml is gone')", "true")
}

func testSVG(t *testing.T, browser browser) {
	picture := func(text string) string {
		return `<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "a>b">]><svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 99 9"><text y="9">` + text + `</text></svg>`
	}
	site, d := serve(t, map[string]string{
		"a.svg": picture("zero"), "style.css": "",
		"index.html": document(`<img src="a.svg"><object data="a.svg" type="image/svg+xml"></object>`),
	})
	p, page := open(t, browser, d.URL+"/a.svg"), open(t, browser, d.URL+"/")
	p.allowErrors("/favicon.ico")
	const inObject = "document.querySelector('object').contentDocument.querySelector('text').textContent"
	page.shows(inObject, "zero")
	page.do("window.visits = 7")

	p.edit(site, "a.svg", picture("one"), "document.querySelector('text').textContent", "one")
	page.shows(inObject, "one")
	page.shows("document.querySelector('img').getAttribute('src').includes('livereload=')", "true")
	page.shows("window.visits", "7")

	// The bytes of an image are the file's.
	page.do("fetch('a.svg').then(answer => answer.text()).then(text => window.text = text)")
	page.shows("window.text", picture("one"))

	// A page that is gone says so.
	remove(t, site, "a.svg")
	p.shows("document.querySelector('foreignObject > *')?.shadowRoot.querySelector('section').getBoundingClientRect().height > 20", "true")
}

func testForeignWorker(t *testing.T, browser browser) {
	// The project of before, at the same port.
	before := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/old/worker.js" {
			w.Header().Set("Content-Type", "text/javascript")
			w.Header().Set("Service-Worker-Allowed", "/")
			fmt.Fprint(w, `addEventListener("install", () => skipWaiting());
				addEventListener("activate", event => event.waitUntil(clients.claim()));
				addEventListener("fetch", event => event.respondWith(fetch(event.request)))`)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<!doctype html><link rel="icon" href="data:,"><script>navigator.serviceWorker.register("/old/worker.js", { scope: "/" })</script>`)
	}))
	p := openUnconnected(t, browser, before.URL+"/")
	p.shows("navigator.serviceWorker.controller?.state", "activated")
	before.Close()

	site := t.TempDir()
	write(t, site, map[string]string{"index.html": document("<p>mine"), "style.css": paint(1)})
	_, port, err := net.SplitHostPort(before.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	d, err := startDaemon(t, site, "-root", site, "-port", port)
	if err != nil {
		t.Fatal(err)
	}
	p.allowErrors("worker.js", "ServiceWorker")
	p.navigate(d.URL + "/")
	p.connected()
	const notice = "document.documentElement.lastChild.shadowRoot"
	p.shows(notice+"?.textContent.includes('service worker of another project') && "+notice+".textContent.includes('/old/worker.js')", "true")
	if err := eventually(t.Context(), "a line in the log", func() bool {
		return strings.Contains(d.stderr.String(), "a browser has a service worker of another project\" path=/old/worker.js")
	}); err != nil {
		t.Error(err)
	}

	p.do(notice + ".querySelector('.action').click()")
	p.connected()
	p.shows("navigator.serviceWorker.controller", "null")
	p.shows(notice, "null")
	p.shows("document.querySelector('p').innerText", "mine")
}

func testWorkers(t *testing.T, browser browser) {
	files := map[string]string{
		"style.css":   "",
		"classic.js":  "importScripts('imported.js'); fetch('data.json').then(a => a.text()).then(() => postMessage(imported))",
		"imported.js": "imported = 'classic'",
		"data.json":   "{}",
		"module.js":   "import { middle } from './middle.js'; import('./late.js').then(late => postMessage(middle + late.default))",
		"middle.js":   "export { middle } from './inner.js'",
		"inner.js":    "export const middle = 'module'",
		"late.js":     "export default 'late'",
		"worklet.js":  "import './part.js'",
		"part.js":     "",
		"index.html": document(`<p><script>
			window.ready = [];
			new Worker("classic.js").onmessage = () => ready.push(1);
			new Worker("module.js", { type: "module" }).onmessage = () => ready.push(2);
			new OfflineAudioContext(1, 1, 44100).audioWorklet.addModule("worklet.js").then(() => ready.push(3))</script>`),
	}
	site, p := openSite(t, browser, files)
	p.allowErrors("NS_BINDING_ABORTED", "dynamically imported module", "AbortError", "NetworkError") // Firefox, of what still loads when the page is left
	for _, name := range []string{"classic.js", "imported.js", "data.json", "module.js", "middle.js", "inner.js", "late.js", "worklet.js", "part.js"} {
		p.shows("ready.length", "3")
		p.uses("/" + name)
		p.answered()
		content := files[name] + " "
		if name != "data.json" {
			content = files[name] + "; // changed"
		}
		// On a busy machine a page may load once more than it must.
		saved := time.Now().UnixMilli()
		save(t, site, name, content)
		p.shows(fmt.Sprint("performance.timeOrigin > ", saved), "true")
	}
}

func testSavedToDisk(t *testing.T, browser browser) {
	// Another project is at the address by now, and serves no files: file: pages may listen.
	var sockets atomic.Int32
	_, d := serve(t, nil, "-static=false")
	address := proxyWith(t, d, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.URL.Path == "/livereload" {
			sockets.Add(1)
		}
		next.ServeHTTP(w, r)
	})
	response, err := http.Get(d.URL + "/livereload.js")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	script, err := os.Create(filepath.Join(t.TempDir(), "livereload.js"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := script.ReadFrom(response.Body); err != nil {
		t.Fatal(err)
	}
	script.Close()

	dir := filepath.Dir(script.Name())
	page := func(src string) string {
		return `<!doctype html><script src="` + src + `" onload="window.loaded = true" async></script><p>saved`
	}
	write(t, dir, map[string]string{
		"absolute.html": page(address + "/livereload.js?port=&amp;path=livereload?OLDEPOCHAA.7.1000"),
		"whole.html":    page("livereload.js"),
	})
	for _, name := range []string{"absolute.html", "whole.html"} {
		p := openUnconnected(t, browser, "file://"+filepath.Join(dir, name))
		p.shows("window.loaded", "true")
		time.Sleep(quietTime)
		if n := p.state().sockets; n != 0 || sockets.Load() != 0 {
			t.Errorf("%s: %d sockets opened, %d of them to the server", name, n, sockets.Load())
		}
		p.shows("document.scripts.length", "1")
	}
}

func testTokenWithoutStorage(t *testing.T, browser browser) {
	page := func(text string) string {
		return document("<p>" + text + `<script>Object.defineProperty(window, "sessionStorage", { get() { throw new DOMException("no", "SecurityError") } })</script>` +
			`<script src="livereload.js?port=&amp;path=livereload?OLDEPOCHAA.7.1000" async></script>`)
	}
	site, p := openSite(t, browser, map[string]string{"index.html": page("zero"), "style.css": paint(1)})
	time.Sleep(quietTime)
	p.sameLoads(2)
	p.edit(site, "index.html", page("one"), "document.querySelector('p').innerText", "one")
	p.connected()
	time.Sleep(quietTime)
	p.sameLoads(3)
}
