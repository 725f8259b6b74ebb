package e2e

import "testing"

// TestPageKinds tests that pages are kept up to date whatever they are written in, and
// however they come to the browser.
func TestPageKinds(t *testing.T) {
	runTests(t, []browserTest{
		{"a page that a service worker passes on is kept fresh", testServiceWorker},
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
		write(t, site, map[string]string{"style.css": paint(1)})
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
