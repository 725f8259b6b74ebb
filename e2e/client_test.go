package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdppage "github.com/chromedp/cdproto/page"
)

// TestClient tests what our own client does and other LiveReload clients do not.
func TestClient(t *testing.T) {
	runTests(t, []browserTest{
		{"a page never shows itself without its styles", testNoFlash},
		{"overlapping saves of an imported sheet end in the last", testImport},
		{"an imported sheet is loaded again wherever it is imported", testImports},
		{"a sheet that cannot be renewed in place hinders no other", testNotRenewed},
		{"files are renewed in place beside thousands of another origin", testManyElsewhere},
		{"elements whose properties are others than those of HTML hinder nothing", testOtherProperties},
		{"what is in a shadow root is swapped as well", testShadow},
		{"a sheet that a script constructs reloads the page", testAdopted},
		{"what nobody uses disturbs nobody", testUnused},
		{"images are fetched again in place wherever they are used", testImages},
		{"scripts, modules, data and fonts reload the pages that use them", testLoadedBy},
		{"what was missing comes", testMissing},
		{"what a script tried to fetch comes", testTried},
		{"scroll, focus and what was typed outlive a reload", testState},
		{"what the author changes where nobody has typed is shown", testUntouched},
		{"a field of another kind", testOtherField},
		{"what was typed is put into no other element", testSameElement},
		{"what was typed in frames and shadow roots outlives a reload", testStateWithin},
		{"what was typed in two frames of one page", testTwinFrames},
		{"what was typed outlives a reload where types must be trusted", testTrustedTypes},
		{"a frame shows what its element says by now", testFrameElsewhere},
		{"what was typed outlives a page that is broken meanwhile", testBrokenMeanwhile},
		{"a reader who scrolls is left alone", testScrolls},
		{"storage that is forbidden does no harm", testNoStorage},
		{"a change between serving and socket is caught", testBetween},
		{"a change while a file is loaded slowly is caught", testSlowFile},
		{"a page that was saved with its page token reloads once", testSavedPageToken},
		{"a restarted server is found, and nothing is reloaded", testRestart},
		{"a change while the server was away reloads the page", testAwayChange},
		{"a page that the back button brings back catches up", testBack},
		{"the back button brings a page back that has found its server gone", testBackAfterRestart},
		{"a socket that cannot be made leaves nothing in the page", testNoSocket},
		{"a page that was frozen catches up", testFrozen},
		{"a hidden page waits until it is seen", testHidden},
		{"leaving a page leaves nothing in its console", testLeaving},
		{"an error shows until it is dismissed or mended", testOverlay},
		{"a failed build shows where it failed", testPlace},
		{"an error is as large on a phone, whatever the page", testPhone},
		{"a frame with a client of its own sees to itself", testFrames},
		{"a page behind a policy of 'self' has it all", testPolicy},
		{"a policy that forbids the socket is named in the log", testForbidden},
	})
}

// The scripts that are served, without comments and white space, are those in the
// sources, in one function: TypeScript's parser finds the same in both.
func TestClientAsServed(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("node_modules/typescript"); err != nil {
		t.Skipf("typescript is not installed (npm ci in e2e, or make test): %v", err)
	}
	for _, tt := range []struct{ flags, files []string }{
		{nil, []string{"panel.js", "worker.js", "client.js"}},
		{[]string{"-sync"}, []string{"panel.js", "worker.js", "sync.js", "client.js"}},
	} {
		_, d := serve(t, nil, tt.flags...)
		response, err := http.Get(d.URL + "/livereload.js")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		compare := exec.Command("node", append([]string{"-e", compareScripts}, tt.files...)...)
		compare.Stdin = response.Body
		if out, err := compare.CombinedOutput(); err != nil {
			t.Errorf("%q: %v\n%s", tt.flags, err, out)
		}
	}
}

// compareScripts compares a script on standard input with the sources that are named.
const compareScripts = `
		const ts = require("typescript");
		const tree = (text) => {
			const outline = (node) => {
				const children = [];
				ts.forEachChild(node, (child) => { children.push(outline(child)) });
				return [node.kind, node.text && node.kind !== ts.SyntaxKind.SourceFile ? node.text : "", children];
			};
			return JSON.stringify(outline(ts.createSourceFile("client.js", text, ts.ScriptTarget.Latest, false, ts.ScriptKind.JS)), null, 1);
		};
		const read = (file) => require("fs").readFileSync(file, "utf8");
		const files = process.argv.slice(1).map((file) => read("../httpd/internal/livereload/" + file));
		require("assert").equal(tree(read(0)), tree('(() => { "use strict";' + files.join("") + "})();"));`

// color is a JavaScript expression for the colour of the paragraph of document.
const color = "getComputedStyle(document.querySelector('p')).color"

func paint(n int) string { return fmt.Sprintf("p { color: %s }", rgb(n)) }

// repaint saves the style sheet of a site, and waits until the page shows it.
func (p *tab) repaint(site string, n int) {
	p.t.Helper()
	p.edit(site, "style.css", paint(n), color, rgb(n))
}

func rgb(n int) string { return fmt.Sprintf("rgb(%d, %[1]d, %[1]d)", n) }

// watchColors records the colour of the paragraph in window.seen, each frame.
const watchColors = `window.seen = new Set();
	(function note() { seen.add(` + color + `); requestAnimationFrame(note) })()`

func testNoFlash(t *testing.T, browser browser) {
	site, d := serve(t, map[string]string{"index.html": document("<p>text"), "style.css": paint(1)})
	var fetched atomic.Int32
	slow := proxyWith(t, d, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.URL.Query().Has("livereload") {
			fetched.Add(1)
			time.Sleep(200 * time.Millisecond) // frames in which a flash would show
		}
		next.ServeHTTP(w, r)
	})
	p := open(t, browser, slow+"/")
	p.do(watchColors)
	p.repaint(site, 2)
	p.shows("[...seen].join(' ')", rgb(1)+" "+rgb(2))
	p.shows("document.styleSheets.length", "1")
	p.sameLoads(1)
	if n := fetched.Load(); n != 1 {
		t.Errorf("the style sheet was fetched %d times, want once", n)
	}
}

func testShadow(t *testing.T, browser browser) {
	site, p := openSite(t, browser, map[string]string{
		"index.html": document(`<p>text<div id="host"></div><script>
			host.attachShadow({ mode: "open" }).innerHTML = '<link rel="stylesheet" href="shadow.css"><b>text</b><img src="a.png">'</script>`),
		"style.css":  paint(1),
		"shadow.css": "b { z-index: 1 }",
		"a.png":      picture(t, 1),
	})
	p.uses("/shadow.css", "/a.png")
	write(t, site, map[string]string{"shadow.css": "b { z-index: 2 }", "a.png": picture(t, 2)})
	p.shows("getComputedStyle(host.shadowRoot.querySelector('b')).zIndex", "2")
	p.shows("host.shadowRoot.querySelector('img').naturalWidth", "2")
	p.sameLoads(1)
}

func testImport(t *testing.T, browser browser) {
	site, p := openSite(t, browser, map[string]string{
		"index.html":     document("<p>text"),
		"style.css":      "@import 'css/middle.css';",
		"css/middle.css": "@import 'inner.css'; b { color: red }",
		"css/inner.css":  paint(1),
	})
	p.shows(color, rgb(1))
	p.do(watchColors)
	for n := 2; n <= 9; n++ {
		time.Sleep(90 * time.Millisecond) // some while the last are being fetched
		// A file that is read between truncation and write is empty.
		save(t, site, "css/inner.css", paint(n))
		if n%3 != 0 {
			continue
		}
		save(t, site, "style.css", fmt.Sprintf("@import 'css/middle.css'; i { z-index: %d }", n))
	}
	p.shows(color, rgb(9))
	p.shows("document.styleSheets.length", "1")
	p.shows("[...seen].includes('rgb(0, 0, 0)')", "false")
	p.sameLoads(1)
}

func testImports(t *testing.T, browser browser) {
	rule := func(name string, n int) string { return fmt.Sprintf(".%s { z-index: %d }", name, n) }
	site, d := serve(t, map[string]string{
		"index.html": strings.Replace(document(`<p>text<i class="mine"></i><i class="linked"></i><i class="layered"></i><i class="both"></i><i class="deep"></i>`), "</head>",
			`<style nonce="x">@import "layered.css" layer(low) supports(display: grid) screen; @import url(missing.css) supports(display: nonsense);
			.mine { z-index: 1 } .both { z-index: 2 }</style></head>`, 1),
		"style.css":     `@import url("linked.css") (min-width: 1px); .both { z-index: 1 }`,
		"linked.css":    "@import 'deep/part.css';" + rule("linked", 1),
		"layered.css":   rule("layered", 1) + rule("both", 9),
		"deep/part.css": rule("deep", 1),
	})
	proxied := proxyWith(t, d, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		w.Header().Set("Content-Security-Policy", "style-src 'self' 'nonce-x'")
		next.ServeHTTP(w, r)
	})
	p := open(t, browser, proxied+"/")
	p.uses("/style.css", "/linked.css", "/layered.css", "/deep/part.css")
	const all = "['mine', 'both', 'layered', 'linked', 'deep'].map(name => getComputedStyle(document.querySelector('.' + name)).zIndex).join('')"
	p.shows(all, "12111")
	p.edit(site, "layered.css", rule("layered", 2)+rule("both", 9), all, "12211") // what is not in a layer outweighs it
	p.edit(site, "deep/part.css", rule("deep", 2), all, "12212")
	// What imports it comes again, and has it as it is now.
	p.edit(site, "linked.css", "@import 'deep/part.css';"+rule("linked", 3), all, "12232")
	p.edit(site, "style.css", "@import url(linked.css) (min-width: 1px); p { color: "+rgb(1)+" }", color, rgb(1))
	p.shows(all, "12232")
	p.allowErrors("404", "part.css", "MIME type")
	remove(t, site, "deep/part.css")
	p.shows(panel+".textContent.includes('part.css')", "true")
	p.shows(all, "12232") // what there was is better than nothing
	p.edit(site, "deep/part.css", rule("deep", 5), all, "12235")
	p.shows("document.styleSheets.length", "2")
	p.sameLoads(1)
}

func testNotRenewed(t *testing.T, browser browser) {
	site, p := openSite(t, browser, map[string]string{
		"index.html": document("<p>text"),
		"style.css":  "@import 'part.css';",
		"part.css":   paint(1),
	})
	p.uses("/style.css", "/part.css")
	p.allowErrors("https://")
	write(t, site, map[string]string{"style.css": `@import "https://";`}) // half an address, say
	time.Sleep(quietTime)
	p.edit(site, "style.css", "@import 'part.css'; p { color: "+rgb(2)+" }", color, rgb(2))
	p.sameLoads(1)

	// A script that removes the rule meanwhile.
	write(t, site, map[string]string{"style.css": "@import 'part.css'; i { z-index: 1 }"})
	p.shows(color, rgb(1))
	p.do(`new MutationObserver(() => { for (const sheet of document.styleSheets) if (sheet.cssRules[1]) sheet.deleteRule(0); }).observe(document.documentElement, { childList: true })`)
	p.edit(site, "part.css", paint(3), color, rgb(3))
	p.sameLoads(2)
}

func testManyElsewhere(t *testing.T, browser browser) {
	site, p := openSite(t, browser, map[string]string{
		"index.html": document(`<p>text<script>
			document.currentScript.style = "--tiles: " + Array.from({ length: 10000 }, (_, i) => "url(http://tiles.test/" + i + ")")</script>`),
		"style.css": paint(1),
		"late.css":  paint(1),
	})
	p.uses("/style.css")
	time.Sleep(time.Second)
	p.do(`document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href: "/late.css" }))`)
	p.uses("/late.css")
	p.edit(site, "late.css", paint(2), color, rgb(2))
	p.sameLoads(1)
}

func testOtherProperties(t *testing.T, browser browser) {
	for _, body := range []string{
		`<form style="margin: 0"><select name="style"></select></form>`, // in a form its fields are properties
		`<form><input name="matches"></form>`,
		`<own-map style="map.json"></own-map><script>customElements.define("own-map", class extends HTMLElement { get style() { return "map.json" } })</script>`,
		`<own-image src="a.png"></own-image><script>document.querySelector("own-image").srcset = [{ width: 1 }]</script>`,
	} {
		site, p := openSite(t, browser, map[string]string{"index.html": document("<p>text" + body), "style.css": paint(1)})
		p.edit(site, "style.css", paint(2), color, rgb(2))
		p.sameLoads(1)
	}
}

func testAdopted(t *testing.T, browser browser) {
	site, p := openSite(t, browser, map[string]string{
		"index.html": document(`<p>text<script type="module">
			const sheet = new CSSStyleSheet();
			sheet.replaceSync(await (await fetch("/own.css")).text());
			document.adoptedStyleSheets = [sheet];</script>`),
		"style.css": "",
		"own.css":   paint(1),
	})
	p.shows(color, rgb(1))
	p.uses("/own.css")
	p.edit(site, "own.css", paint(2), color, rgb(2))
	p.sameLoads(2)
}

func testUnused(t *testing.T, browser browser) {
	site, p := openSite(t, browser, map[string]string{"index.html": document("<p>text"), "style.css": paint(1)})
	p.uses("/style.css")
	write(t, site, map[string]string{
		"other.css": paint(7), "other.js": "", "other.json": "{}", "other.png": picture(t, 1), "other.html": "<p>", "a/style.css": paint(8),
	})
	time.Sleep(quietTime) // nothing must come of it
	p.repaint(site, 2)
	p.sameLoads(1)
	if changes := p.state().changes; changes != 1 {
		t.Errorf("the page was told of %d changes, want 1", changes)
	}
}

func testImages(t *testing.T, browser browser) {
	svg := func(n int) string {
		return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="1"><g id="x"/></svg>`, n)
	}
	site, p := openSite(t, browser, map[string]string{
		"index.html": `<!doctype html><link rel="icon" href="/a.svg"><link rel="stylesheet" href="style.css"><input type="image" src="a.svg">` +
			`<video poster="a.svg"></video><object data="a.svg"></object><svg><image href="a.svg"/></svg>` +
			`<img src="a.svg"><picture><source srcset="b.svg 2x, a.svg 1x"><img src="b.svg"></picture><svg><use href="a.svg#x"/></svg>` +
			`<p style="background: url(a.svg)">text<div></div><iframe srcdoc="<img src=a.svg>"></iframe>`,
		"style.css": "@media (min-width: 1px) { div { --image: url(a.svg); background: var(--image), url('a.svg') } }",
		"a.svg":     svg(1),
		"b.svg":     svg(1),
	})
	p.shows("document.querySelector('img').naturalWidth", "1")
	p.uses("/a.svg", "/b.svg")
	p.do("window.visits = 7")
	p.edit(site, "a.svg", svg(2), "document.querySelector('img').naturalWidth", "2")
	p.shows("document.querySelector('picture img').naturalWidth", "2")
	p.shows("getComputedStyle(document.querySelector('div')).backgroundImage.match(/livereload=/g).length", "2")
	p.shows("document.documentElement.outerHTML.match(/a[.]svg[?]livereload=/g)?.length", "8")
	p.shows("document.querySelector('object').contentDocument.documentElement.getAttribute('width')", "2") // which has a client of its own
	p.shows("document.querySelector('use').getAttribute('href').endsWith('#x')", "true")
	p.shows("document.querySelector('iframe').contentDocument.querySelector('img').naturalWidth", "2")
	p.shows("document.documentElement.outerHTML.includes('b.svg?')", "false")
	p.shows("window.visits", "7")
}

func testLoadedBy(t *testing.T, browser browser) {
	site, d := serve(t, map[string]string{
		"a.html": document(`<style>@font-face { font-family: F; src: url(f.woff2) }</style><p style="font-family: F">text` +
			`<script src="classic.js"></script><script type="module" src="module.js"></script>`),
		"b.html":     document("<p>text"),
		"style.css":  paint(1),
		"classic.js": "", "module.js": "import './imported.js'", "f.woff2": "",
		"imported.js": "fetch('data.json').then(response => response.json()); import('./late.js')",
		"late.js":     "", "data.json": "{}",
	})
	a, b := open(t, browser, d.URL+"/a.html"), open(t, browser, d.URL+"/b.html")
	a.allowErrors("f.woff2", "OTS parsing error") // it is none
	files := []string{"classic.js", "module.js", "imported.js", "late.js", "data.json", "f.woff2"}
	for i, name := range files {
		a.uses("/classic.js", "/module.js", "/imported.js", "/late.js", "/data.json", "/f.woff2")
		content, err := os.ReadFile(filepath.Join(site, name))
		if err != nil {
			t.Fatal(err)
		}
		a.do("window.old = true")
		a.edit(site, name, string(content)+" ", "window.old + ' ' + document.readyState", "undefined complete")
		a.sameLoads(i + 2)
	}
	b.repaint(site, 2)
	b.sameLoads(1)
	if changes := b.state().changes; changes != 1 {
		t.Errorf("the other page was told of %d changes, want 1", changes)
	}
}

func testMissing(t *testing.T, browser browser) {
	site, p := openSite(t, browser, map[string]string{
		"index.html": document(`<p>text<link rel="stylesheet" href="late.css"><img src="late.png"><script src="late.js"></script>`),
		"style.css":  "",
	})
	p.allowErrors("404", "MIME type")
	p.uses("/late.css", "/late.png", "/late.js")
	p.edit(site, "late.css", paint(1), color, rgb(1))
	p.edit(site, "late.png", picture(t, 3), "document.querySelector('img').naturalWidth", "3")
	p.edit(site, "late.js", "window.came = true", "window.came", "true")
}

// A page uses files by fetch and does not read the answers, which Chromium does not
// report: one before its websocket is open, and one after it.
func testTried(t *testing.T, browser browser) {
	page := document(`<p>zero<script>
		const look = name => fetch(name).then(({ ok }) => { if (ok) document.querySelector("p").append(name) });
		look("early.json?x"); setTimeout(look, 1000, "data/late%20one.json")</script>`)
	site, d := serve(t, map[string]string{"a/index.html": page, "b/index.html": page, "style.css": ""})
	p, other := open(t, browser, d.URL+"/a/#part"), open(t, browser, d.URL+"/b/")
	p.allowErrors("404", "NetworkError when attempting to fetch") // of the page itself, as it is left
	other.allowErrors("404")
	p.uses("/a/early.json", "/a/data/late%20one.json")
	other.uses("/b/early.json", "/b/data/late%20one.json")
	p.edit(site, "a/early.json", "{}", "document.querySelector('p').innerText.trim()", "zeroearly.json?x")
	p.uses("/a/early.json", "/a/data/late%20one.json")
	p.edit(site, "a/data/late one.json", "{}", "document.querySelector('p').innerText.includes('late')", "true")
	other.sameLoads(1)
}

// form is a page with all kinds of input, and with scrolling.
func form(title string) string {
	return document(`<h1>` + title + `</h1><form><input name="text"><input name="text"><input type="checkbox" name="box" value="1"><input type="checkbox" name="box" value="2" checked>` +
		`<input type="password" name="secret"><input type="file"><textarea>preset</textarea>` +
		`<select name="one"><option>a<option>b<option>c</select><select multiple><option>x<option>y<option>z</select></form>` +
		`<div id="editable" contenteditable>preset</div><div class="box" style="height: 100px; overflow: auto"><div style="height: 2000px"></div></div>` +
		`<div id="late"></div><script>addEventListener("load", () => setTimeout(() => late.style.height = "5000px", 300))</script>`)
}

func testState(t *testing.T, browser browser) {
	site, d := serve(t, map[string]string{"index.html": form("zero"), "style.css": ""})
	p := open(t, browser, d.URL+"/#part")
	p.shows("late.style.height", "5000px")
	p.keys("[name=text]", "first")
	p.keys("[name=secret]", "hush")
	p.keys("textarea", "typed ")
	p.keys("[contenteditable]", "typed ")
	p.do(`document.querySelector("[name=box]").click(); document.querySelectorAll("[name=box]")[1].click()`)
	p.keys("[name=one]", "c")
	p.keys("[multiple]", keyArrowDown+keyArrowDown)
	p.do(`document.querySelectorAll("[name=text]")[1].value = "by a script"`)
	p.keys("[name=text]", "") // has the focus
	p.do(`document.activeElement.setSelectionRange(1, 3);
		scrollTo(0, 1234); document.querySelector(".box").scrollTop = 777`)

	write(t, site, map[string]string{"index.html": strings.Replace(form("one"), "<form>", "<p>more<form>", 1)})
	p.shows("document.querySelector('h1').innerText", "one")
	p.shows("scrollY", "1234")
	p.shows("document.querySelector('.box').scrollTop", "777")
	p.shows("document.querySelector('[name=text]').value", "first")
	if browser.name() == "chromium" { // Firefox keeps it itself, as at any reload
		p.shows("document.querySelectorAll('[name=text]')[1].value", "") // a script can type it again
	}
	p.shows("document.querySelector('textarea').value.includes('typed ')", "true")
	p.shows("document.querySelector('[contenteditable]').innerText.includes('typed')", "true")
	p.shows("[...document.querySelectorAll('[name=box]')].map(e => e.checked).join()", "true,false")
	p.shows("document.querySelector('[name=one]').value + document.querySelector('[multiple]').value", "cy")
	p.shows("document.querySelector('[name=secret]').value", "")
	p.shows("[document.activeElement.name, document.activeElement.selectionStart, document.activeElement.selectionEnd].join()", "text,1,3")
	p.shows("Object.keys(sessionStorage).length", "0")
	p.sameLoads(2)
}

func testUntouched(t *testing.T, browser browser) {
	page := func(n int) string {
		return document(fmt.Sprintf(`<input id="typed" value="%d"><input id="box" type="checkbox" value="%[1]d" %s><input id="range" type="range" value="%[1]d"><input id="filled">`+
			`<textarea id="area">%[1]d</textarea><select id="choice"><option>%[1]d<option>a<option>b</select><select id="chosen"><option>%[1]d<option>a<option>b</select>`+
			`<script>filled.value = "script %[1]d"; area.scrollTop; choice.options[0].selected = true</script>`, n, []string{"", "checked"}[n%2]))
	}
	site, p := openSite(t, browser, map[string]string{"index.html": page(1), "style.css": ""})
	p.keys("#typed", "me")
	p.keys("#chosen", "b")
	const all = "[typed, box, range, filled, area, choice, chosen].map(e => e.value + (e.checked ?? '')).join()"
	p.shows(all, "me1false,1true,1false,script 1false,1,1,b")
	p.edit(site, "index.html", page(2), all, "me1false,2false,2false,script 2false,2,2,b")
	p.edit(site, "index.html", page(3), all, "me1false,3true,3false,script 3false,3,3,b") // and what was given back is kept again
}

// A field in which the caret was may be one of another kind when the page is there again.
func testOtherField(t *testing.T, browser browser) {
	page := func(field string) string { return document(field + `<input id="after">`) }
	site, p := openSite(t, browser, map[string]string{"index.html": page(`<input id="field">`), "style.css": ""})
	p.keys("#after", "typed")
	p.keys("#field", "1")
	const all = "field.localName + field.type + after.value + (document.activeElement === field)"
	p.edit(site, "index.html", page(`<input id="field" type="number">`), all, "inputnumbertypedtrue")
	p.edit(site, "index.html", page(`<input id="field">`), all, "inputtexttypedtrue")
	p.edit(site, "index.html", page(`<select id="field"><option>1</select>`), all, "selectselect-onetypedtrue")
}

// What was typed waits for an element of its kind, and no value that an author has set is
// lost to it.
func testSameElement(t *testing.T, browser browser) {
	page := func(title, boxes, text, kind, late string) string {
		return document(`<h1>` + title + `</h1><form><input type="hidden" name="id" value="1"><input type="hidden" name="name"><p><input></p></form>` +
			`<form id="sizes">` + boxes + `<input type="radio" name="size" value="s"><input type="radio" name="size" value="m"></form>` +
			`<div id="text" ` + text + `</div><div contenteditable><input id="inner"></div>` + kind + `<select id="late"></select>` +
			`<script>addEventListener("load", () => setTimeout(() => late.innerHTML = "` + late + `", 500))</script>`)
	}
	const field, options = `<input id="kind">`, `<option>a<option>b`
	site, p := openSite(t, browser, map[string]string{"index.html": page("zero", "", "contenteditable>", field, options), "style.css": ""})
	p.shows("late.length", "2")
	p.keys("form p input", "typed")
	p.keys("#text", "typed")
	p.keys("#inner", "typed")
	p.keys("#kind", "abc")
	p.keys("#late", "b")
	p.do(`document.querySelector("[value=m]").click()`)

	const all = "[document.querySelector('form p input').value, sizes.size.value, text.textContent, inner.value, kind.value, late.value].join()"
	tests := []struct{ html, want string }{
		{page("one", `<input type="radio" name="size" value="xs">`, ">plain", `<select id="kind"><option>1<option>2</select>`, options), "typed,m,plain,typed,1,b"},
		{page("two", "", ">plain", `<input id="kind" type="number" value="7">`, "<option>c"), "typed,m,plain,typed,7,c"},
		{page("three", "", ">plain", `<input id="kind" type="checkbox" value="8">`, options), "typed,m,plain,typed,8,b"},
		{page("four", "", "contenteditable>", field, options), "typed,m,typed,typed,abc,b"},
	}
	for _, tt := range tests {
		p.edit(site, "index.html", tt.html, all, tt.want)
		p.shows("document.readyState", "complete")
		p.connected()
	}
}

// Each frame reloads itself.
func testTwinFrames(t *testing.T, browser browser) {
	inner := func(text string) string { return document("<p>" + text + "<input>") }
	site, p := openSite(t, browser, map[string]string{
		"index.html": document(`<iframe id="one" src="inner.html"></iframe><iframe id="two" src="inner.html"></iframe>`),
		"inner.html": inner("zero"), "style.css": "",
	})
	p.connected()
	p.connected()
	for _, name := range []string{"one", "two"} {
		p.do(name + ".contentWindow.focus(); " + name + ".contentDocument.querySelector('input').focus()")
		p.press(name)
	}
	const all = "[one, two].map(e => e.contentDocument.querySelector('p').innerText + e.contentDocument.querySelector('input').value).join()"
	p.shows(all, "zeroone,zerotwo")
	p.edit(site, "inner.html", inner("new"), all, "newone,newtwo")
}

func testStateWithin(t *testing.T, browser browser) {
	page := func(title string) string {
		return document(`<h1>` + title + `</h1><div id="host"></div><iframe id="inner" src="inner.html"></iframe><iframe id="inline" srcdoc="<input>"></iframe>` +
			`<div id="text" contenteditable>one <b>two</b> three</div><script>host.attachShadow({ mode: "open" }).innerHTML = "<p><input></p>"</script>`)
	}
	site, p := openSite(t, browser, map[string]string{"index.html": page("zero"), "inner.html": document("<p><input>"), "style.css": ""})
	p.connected() // the frame
	type place struct{ focus, value string }
	places := []place{
		{"host.shadowRoot.querySelector('input')", "value"},
		{"inner.contentDocument.querySelector('input')", "value"},
		{"inline.contentDocument.querySelector('input')", "value"},
	}
	for i, place := range places {
		p.do("inner.contentWindow.focus(); " + place.focus + ".focus()")
		p.press(fmt.Sprint("typed ", i))
		p.shows(place.focus+".value", fmt.Sprint("typed ", i))
	}
	p.do("text.focus(); getSelection().setBaseAndExtent(text.querySelector('b').firstChild, 1, text.querySelector('b').firstChild, 2)")
	p.press("-")
	p.edit(site, "index.html", page("one"), "document.querySelector('h1').innerText", "one")
	for i, place := range places {
		p.shows(place.focus+"?.value", fmt.Sprint("typed ", i))
	}
	p.shows("text.innerHTML", "one <b>t-o</b> three")
	p.shows("document.activeElement.id", "text")
	p.press("+") // where the caret was
	p.shows("text.innerHTML", "one <b>t-+o</b> three")
	p.do(places[0].focus + ".focus()")
	p.press("!")
	p.edit(site, "index.html", page("two"), "document.querySelector('h1').innerText", "two")
	p.shows("document.activeElement.id + host.shadowRoot.activeElement?.value.replace(/!/, '')", "hosttyped 0")
	p.shows(places[1].focus+"?.value", "typed 1")
	p.do("text.focus(); getSelection().setBaseAndExtent(text.firstChild, 1, text.lastChild, 3)")
	p.edit(site, "index.html", page("three"), "document.querySelector('h1').innerText", "three")
	p.shows("getSelection().toString()", "ne t-+o th")
}

func testTrustedTypes(t *testing.T, browser browser) {
	page := func(title string) string {
		return document(`<h1>` + title + `</h1><div contenteditable></div><input>`)
	}
	site, d := serve(t, map[string]string{"a.html": page("zero"), "b.html": page("zero"), "c.html": page("zero"), "style.css": ""})
	for _, tt := range []struct{ file, policy, text string }{
		{"a.html", "require-trusted-types-for 'script'", "typed"},
		{"b.html", "require-trusted-types-for 'script'; trusted-types 'none'", ""},
		{"c.html", "require-trusted-types-for 'script'; connect-src 'none'", ""},
	} {
		proxied := proxyWith(t, d, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			w.Header().Set("Content-Security-Policy", tt.policy)
			next.ServeHTTP(w, r)
		})
		p := openUnconnected(t, browser, proxied+"/"+tt.file)
		p.allowErrors("execlogd: ", "Content Security Policy", "Content-Security-Policy", "TrustedTypePolicy", "TrustedHTML")
		if strings.Contains(tt.policy, "connect-src") {
			err := eventually(t.Context(), "the log to name the page", func() bool {
				return strings.Contains(d.stderr.String(), "page="+proxied+"/c.html directive=connect-src")
			})
			if err != nil {
				t.Error(err)
			}
			continue
		}
		p.connected()
		p.keys("[contenteditable]", "typed")
		p.keys("input", "typed")
		p.shows("document.querySelector('input').value + document.querySelector('[contenteditable]').innerText", "typedtyped")
		p.edit(site, tt.file, page("one"), "document.querySelector('h1').innerText", "one")
		p.shows("document.querySelector('input').value", "typed")
		p.shows("document.querySelector('[contenteditable]').innerText", tt.text)
		said := func() bool { return strings.Contains(strings.Join(p.state().errors, "\n"), "execlogd: text is lost") }
		if tt.text == "" {
			if err := eventually(t.Context(), "the console to say what is lost", said); err != nil {
				t.Errorf("%v: it says %q", err, p.state().errors)
			}
		} else if said() {
			t.Errorf("%s: the console says %q", tt.policy, p.state().errors)
		}
		p.edit(site, tt.file, page("two"), "document.querySelector('h1').innerText", "two") // it is alive
	}
}

func testFrameElsewhere(t *testing.T, browser browser) {
	page := func(address, inline string) string {
		return document(`<iframe id="first" src="` + address + `"></iframe><iframe id="second" srcdoc="` + inline + `"></iframe><object id="third" data="` + address + `"></object>`)
	}
	site, p := openSite(t, browser, map[string]string{
		"index.html": page("a.html", "one"), "style.css": "",
		"a.html": document("a"), "b.html": document("b"), "c.html": document("c"),
	})
	const shown = "[first, second, third].map(e => e.contentDocument.body.innerText.trim()).join()"
	p.shows(shown, "a,one,a")
	p.edit(site, "index.html", page("b.html", "two"), shown, "b,two,b")
	// Where the reader has gone in a frame, Firefox stays.
	if browser.name() == "firefox" {
		p.shows("document.readyState + first.contentDocument.readyState", "completecomplete")
		p.do("first.contentWindow.location = 'c.html'")
		p.shows(shown, "c,two,b")
		p.edit(site, "index.html", page("b.html", "three"), shown, "c,three,b")
	}
	p.shows("history.length <= 3", "true")
}

func testBrokenMeanwhile(t *testing.T, browser browser) {
	site, p := openSite(t, browser, map[string]string{"index.html": form("zero"), "style.css": ""})
	p.keys("[name=text]", "half a sen")
	p.edit(site, "index.html", document("<h1>broken</h1><!--"), "document.querySelector('h1').innerText", "broken")
	p.connected()
	p.edit(site, "index.html", form("mended"), "document.querySelector('h1').innerText", "mended")
	p.shows("document.querySelector('[name=text]').value", "half a sen")
}

// A reloaded page that grows by a script is scrolled when it is long enough, unless
// its reader has scrolled by then.
func testScrolls(t *testing.T, browser browser) {
	page := func(title string) string {
		return document(`<h1>` + title + `</h1><div id="late" style="height: 2000px"></div>` +
			`<script>addEventListener("load", () => setTimeout(() => late.style.height = "5000px", 1500))</script>`)
	}
	site, p := openSite(t, browser, map[string]string{"index.html": page("zero"), "style.css": ""})
	p.shows("late.style.height", "5000px")
	p.do("scrollTo(0, 4000)")
	p.edit(site, "index.html", page("one"), "document.querySelector('h1').innerText + document.readyState", "onecomplete")
	p.wheel(1, -300)
	p.shows("late.style.height", "5000px")
	time.Sleep(quietTime / 3)
	p.shows("scrollY < 2500", "true")
}

func testNoStorage(t *testing.T, browser browser) {
	page := func(text string) string {
		return `<!doctype html><link rel="icon" href="data:,"><p>` + text + `<script>Object.defineProperty(window, "sessionStorage", { get() { throw new DOMException("no", "SecurityError") } })</script>`
	}
	site, p := openSite(t, browser, map[string]string{"index.html": page("zero")})
	p.edit(site, "index.html", page("one"), "document.querySelector('p').innerText", "one")
}

func testBetween(t *testing.T, browser browser) {
	site, d := serve(t, map[string]string{"index.html": document("<p>text"), "style.css": paint(1)})
	asked, goOn := make(chan struct{}, 1), make(chan struct{})
	late := proxyWith(t, d, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.URL.Path == "/livereload" {
			asked <- struct{}{}
			<-goOn
		}
		next.ServeHTTP(w, r)
	})
	go func() {
		defer close(goOn)
		<-asked
		write(t, site, map[string]string{"style.css": paint(2)})
		time.Sleep(time.Second) // the change is long over when the socket opens
	}()
	p := open(t, browser, late+"/")
	p.shows(color, rgb(2))
	p.sameLoads(1)
}

// A browser reports a file once it is loaded, and it may have changed since it was asked for.
func testSlowFile(t *testing.T, browser browser) {
	site, d := serve(t, map[string]string{
		"index.html": document(`<p>zero</p><script>addEventListener("load", () => setTimeout(async () => {
			document.querySelector("p").textContent = await (await fetch("slow.txt")).text() }, 300))</script>`),
		"style.css": "", "slow.txt": "old",
	})
	var first sync.Once
	slow := proxyWith(t, d, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(w, r)
		if r.URL.Path == "/slow.txt" {
			first.Do(func() {
				write(t, site, map[string]string{"slow.txt": "new"})
				time.Sleep(2500 * time.Millisecond) // the answer is complete thereafter
			})
		}
	})
	p := open(t, browser, slow+"/")
	p.shows("document.querySelector('p').textContent", "new")
	p.sameLoads(2)
}

// A page was saved as a file by the browser: its old page token would always say
// that it has missed changes. It must not reload again and again.
func testSavedPageToken(t *testing.T, browser browser) {
	page := func(text string) string {
		return document("<p>" + text + `<script src="livereload.js?port=&amp;path=livereload?OLDEPOCHAA.7.1000" async></script>`)
	}
	site, p := openSite(t, browser, map[string]string{"index.html": page("zero"), "style.css": paint(1)})
	time.Sleep(quietTime)
	p.sameLoads(2)
	p.edit(site, "index.html", page("one"), "document.querySelector('p').innerText", "one")
	p.connected()
	p.repaint(site, 2)
	time.Sleep(quietTime)
	p.sameLoads(3)
}

// reconnects stops the daemon of a page, calls a function, starts the daemon again,
// and returns when the page has connected.
func reconnects(t *testing.T, p *tab, site string, d *daemon, meanwhile func()) {
	t.Helper()
	_, port, err := net.SplitHostPort(strings.TrimPrefix(d.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	// Chromium, and Firefox where a socket or its page ends before it is open, say so whatever
	// a page does.
	p.allowErrors("net::ERR_", "establish a connection", "was interrupted while the page was loading")
	p.answered() // so that the page knows what it had, and need not load again to be sure
	if err := d.signal("KILL"); err != nil {
		t.Fatal(err)
	}
	<-d.ended
	meanwhile()
	if _, err := startDaemon(t, site, "-root", site, "-port", port); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	p.connected()
	if took := time.Since(began); took > 5*time.Second { // a second where nobody else works
		t.Errorf("the page took %v to find the server", took)
	}
}

func testRestart(t *testing.T, browser browser) {
	site, d := serve(t, map[string]string{"index.html": document("<p>text"), "style.css": paint(1)})
	p := open(t, browser, d.URL+"/")
	p.uses("/style.css")
	p.do("window.visits = 7")
	reconnects(t, p, site, d, func() {
		time.Sleep(4 * time.Second) // until sockets that fail would be held back
		write(t, site, map[string]string{"unused.css": ""})
	})
	p.repaint(site, 2)
	p.shows("window.visits", "7")
}

func testAwayChange(t *testing.T, browser browser) {
	site, d := serve(t, map[string]string{"index.html": document("<p>text"), "style.css": paint(1)})
	p := open(t, browser, d.URL+"/")
	p.uses("/style.css")
	reconnects(t, p, site, d, func() { write(t, site, map[string]string{"style.css": paint(2)}) })
	p.shows(color, rgb(2))
	p.sameLoads(3) // of which one is the reconnection
}

func testBack(t *testing.T, browser browser) {
	site, p := openSite(t, browser, map[string]string{"index.html": document("<p>text"), "next.html": document("<p>next"), "style.css": paint(1)})
	p.uses("/style.css")
	p.do(`addEventListener("pageshow", event => window.kept = event.persisted); location = "/next.html"`)
	p.connected()
	p.repaint(site, 2)
	p.do("history.back()")
	p.shows("document.querySelector('p').innerText", "text")
	p.shows(color, rgb(2))
	p.shows("window.kept", "true")
}

// The page looks for its server in vain, after it has closed its socket itself.
func testBackAfterRestart(t *testing.T, browser browser) {
	site, d := serve(t, map[string]string{"index.html": document("<p>text"), "next.html": document("<p>next"), "style.css": paint(1)})
	p := open(t, browser, d.URL+"/")
	p.uses("/style.css")
	p.do(`addEventListener("pageshow", event => window.kept = event.persisted); dispatchEvent(new Event("beforeunload"))`)
	reconnects(t, p, site, d, func() { time.Sleep(4 * time.Second) })
	p.do(`location = "/next.html"`)
	p.connected()
	p.do("history.back()")
	p.shows("document.querySelector('p').innerText", "text")
	p.shows("window.kept", "true")
}

func testNoSocket(t *testing.T, browser browser) {
	_, p := openSite(t, browser, map[string]string{"index.html": document("<p>text"), "style.css": paint(1)})
	p.uses("/style.css")
	p.do(`
		dispatchEvent(new Event("beforeunload"));
		const WebSocket = class { constructor() { throw Error("forbidden") } };
		Object.assign(self, { WebSocket });
		Object.defineProperty(HTMLIFrameElement.prototype, "contentWindow", { get: () => ({ addEventListener() {}, WebSocket }) });
		dispatchEvent(new Event("online"))`)
	p.shows("!!document.querySelector('script[src*=blocked]')", "true")
	p.shows("document.querySelectorAll('html > div').length", "0")
}

func testFrozen(t *testing.T, browser browser) {
	onlyChromium(t, browser, "it alone freezes pages")
	site, d := serve(t, map[string]string{"index.html": document("<p>text"), "style.css": paint(1)})
	p, other := open(t, browser, d.URL+"/"), open(t, browser, d.URL+"/")
	p.uses("/style.css")
	p.allowErrors("Page entered Back-Forward Cache") // Chromium's word for it
	devtools(p, cdppage.SetWebLifecycleState, cdppage.SetWebLifecycleStateParams{State: cdppage.SetWebLifecycleStateStateFrozen})
	other.repaint(site, 2)
	devtools(p, cdppage.SetWebLifecycleState, cdppage.SetWebLifecycleStateParams{State: cdppage.SetWebLifecycleStateStateActive})
	p.hide(true)
	p.hide(false)
	p.shows(color, rgb(2))
}

func testHidden(t *testing.T, browser browser) {
	site, p := openSite(t, browser, map[string]string{"index.html": document("<p>zero"), "style.css": paint(1)})
	p.uses("/style.css")
	p.hide(true)
	p.shows("document.visibilityState", "hidden")
	write(t, site, map[string]string{"style.css": paint(2)})
	time.Sleep(quietTime)
	write(t, site, map[string]string{"index.html": document("<p>one")})
	if err := eventually(p.ctx, "the page to be told", func() bool { return p.state().changes >= 2 }); err != nil {
		t.Fatal(err)
	}
	time.Sleep(quietTime / 3)
	p.shows("document.querySelector('p').innerText + "+color, "zero"+rgb(1))
	p.hide(false)
	p.shows("document.querySelector('p').innerText + "+color, "one"+rgb(2))
	p.sameLoads(2)
}

func testLeaving(t *testing.T, browser browser) {
	_, d := serve(t, map[string]string{"index.html": document("<p>text"), "next.html": document("<p>next"), "style.css": ""})
	p := open(t, browser, d.URL+"/")
	for i := range 5 {
		p.do("setTimeout(() => location.reload())") // which no answer comes too late for
		p.connected()
		p.do(fmt.Sprintf("location = '/next.html?%d'", i))
		p.connected()
		p.navigate(fmt.Sprint(d.URL, "/?", i))
		p.navigate(d.URL + "/next.html") // at once, before its websocket is open
		p.awaited = p.state().infos
		p.do("setTimeout(() => location.reload())") // which no answer comes too late for
		p.connected()
	}
}

// panel is a JavaScript expression for the panel that shows errors.
const panel = "[...document.documentElement.children].find(e => e.shadowRoot)?.shadowRoot.firstChild"

func testOverlay(t *testing.T, browser browser) {
	const name = "<b onclick=x>.css"
	site, p := openSite(t, browser, map[string]string{
		"index.html": document(`<p>text <input autofocus><link rel="stylesheet" href="` + url.PathEscape(name) + `">`),
		"style.css":  "div, section { display: none !important }",
		name:         paint(1),
	})
	p.uses("/style.css", "/%3Cb%20onclick%3Dx%3E.css")
	p.answered() // the server has looked at them

	remove(t, site, name)
	p.shows(panel+".textContent.includes('"+name+"')", "true")
	p.shows(panel+".querySelector('b')", "null")
	p.shows(panel+".getAttribute('role')", "alert")
	p.shows("Math.round("+panel+".getBoundingClientRect().bottom) === innerHeight", "true")
	p.shows(color, rgb(1)) // what there was is better than nothing
	p.shows("document.activeElement.localName", "input")
	p.shows("(r => document.elementFromPoint(10, r.top + 10).shadowRoot !== null)("+panel+".getBoundingClientRect())", "true")

	p.press(keyEscape)
	p.shows(panel, "undefined")
	remove(t, site, "style.css")
	p.shows(panel+".querySelectorAll('h2').length", "2") // they are others
	p.do(panel + ".querySelector('button').click()")
	p.shows(panel, "undefined")
	p.edit(site, name, paint(2), color, rgb(2))
	p.shows(panel+".querySelectorAll('h2').length", "1")
	p.edit(site, "style.css", "", panel, "undefined")
	p.sameLoads(1)
}

// The panel has what the compiler says is wrong, a link to the place, the lines around it and
// the colours of a terminal. Who looks from elsewhere gets no link, and no line of the file.
func testPlace(t *testing.T, browser browser) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip(err)
	}
	site := t.TempDir()
	write(t, site, map[string]string{
		"public/index.html": document("<p>text"),
		"public/style.css":  "",
		"src/a.c":           "int f(void) {\n\treturn 1;\n}\n",
		"x.toml": "[server]\nroot = 'public'\nafter = ['build']\neditor = 'vscode'\n" +
			"[[route]]\nname = 'build'\nroot = 'src'\ndir = '.'\nmatch = '*.c'\n" +
			"run = ['gcc', '-fdiagnostics-color=always', '-fsyntax-only', 'src/a.c']\n",
	})
	d, err := startDaemon(t, site, "-config", filepath.Join(site, "x.toml"), "-port", "0")
	if err != nil {
		t.Fatal(err)
	}
	forwarded := proxyWith(t, d, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		r.Header.Set("Via", "1.1 proxy") // ReverseProxy drops X-Forwarded-For
		next.ServeHTTP(w, r)
	})
	own, other := open(t, browser, d.URL+"/"), open(t, browser, forwarded+"/")

	save(t, site, "src/a.c", "int f(void) {\n\treturn missing;\n}\n")
	const link = panel + ".querySelector('a')"
	for _, p := range []*tab{own, other} {
		p.shows(panel+".querySelector('h2').textContent.startsWith('build: ‘missing’ undeclared')", "true")
		p.shows(panel+".querySelector('code').textContent", "src/a.c:2:16")
		p.shows(panel+".querySelector('.output').textContent.includes('return missing;')", "true")
		p.shows("getComputedStyle("+panel+".querySelector('.output .red.bold')).color !== getComputedStyle("+panel+").color", "true")
		p.shows(panel+".querySelector('.note').textContent", "gcc: exit status 1")
	}
	own.shows(link+".getAttribute('href')", "vscode://file"+site+"/src/a.c:2:16")
	own.shows(panel+".querySelector('.here').textContent", "2\treturn missing;")
	own.shows(panel+".querySelectorAll('.source span').length", "4")
	other.shows(link, "null")
	other.shows(panel+".querySelector('.source')", "null")

	save(t, site, "src/a.c", "int f(void) {\n\treturn 2;\n}\n")
	own.shows(panel, "undefined")
	other.shows(panel, "undefined")
}

// A phone shrinks a page without a viewport element. The panel is readable all the
// same.
func testPhone(t *testing.T, browser browser) {
	onlyChromium(t, browser, "WebDriver BiDi cannot make Firefox shrink pages as on a phone")
	files := map[string]string{"style.css": ""}
	for name, head := range map[string]string{"old": "", "fit": `<meta name="viewport" content="width=device-width">`} {
		files[name+".html"] = strings.Replace(document("<p>text"), "<head>", "<head>"+head, 1)
	}
	site, d := serve(t, files)
	old, fit := open(t, browser, d.URL+"/old.html"), open(t, browser, d.URL+"/fit.html")
	for _, p := range []*tab{old, fit} {
		devtools(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: 390, Height: 800, DeviceScaleFactor: 1, Mobile: true})
	}
	remove(t, site, "style.css")
	const size = "getComputedStyle(" + panel + ").fontSize"
	fit.shows(size, "15px")
	old.shows(size, "36px")
	old.shows("innerWidth", "980")
}

func testFrames(t *testing.T, browser browser) {
	site, p := openSite(t, browser, map[string]string{
		"index.html": document(`<p>text<iframe src="inner.html"></iframe>`),
		"inner.html": document("<p>zero"),
		"style.css":  paint(1),
	})
	p.connected() // the frame
	const inner = "document.querySelector('iframe').contentDocument.querySelector('p').innerText"
	p.do("window.visits = 7")
	p.edit(site, "inner.html", document("<p>one"), inner, "one")
	p.shows("window.visits", "7")
}

func testPolicy(t *testing.T, browser browser) {
	const policy = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self' data:"
	site, d := serve(t, map[string]string{
		"header.html": document("<p>text"),
		"meta.html":   `<meta http-equiv="Content-Security-Policy" content="` + policy + `">` + document("<p>text"),
		"style.css":   "@import 'part.css'",
		"part.css":    paint(1),
	})
	proxied := proxyWith(t, d, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		w.Header().Set("Content-Security-Policy", policy)
		next.ServeHTTP(w, r)
	})
	header, meta := open(t, browser, proxied+"/header.html"), open(t, browser, d.URL+"/meta.html")
	for _, p := range []*tab{header, meta} {
		p.uses("/part.css")
	}
	header.edit(site, "part.css", paint(2), color, rgb(2))
	meta.shows(color, rgb(2))
	remove(t, site, "style.css")
	for _, p := range []*tab{header, meta} {
		p.shows("getComputedStyle("+panel+").position", "fixed")
		p.sameLoads(1)
	}
}

func testForbidden(t *testing.T, browser browser) {
	_, d := serve(t, map[string]string{"index.html": document("<p>text"), "style.css": ""})
	proxied := proxyWith(t, d, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		w.Header().Set("Content-Security-Policy", "connect-src 'none'; script-src 'self'")
		next.ServeHTTP(w, r)
	})
	p := openUnconnected(t, browser, proxied+"/")
	p.allowErrors("Content Security Policy", "Content-Security-Policy")
	line := regexp.MustCompile(`level=WARN msg="page's policy blocks live reload" page=` + regexp.QuoteMeta(proxied) + `/ directive=connect-src`)
	for range 2 {
		if err := eventually(p.ctx, "the log to name the page", func() bool { return line.MatchString(d.stderr.String()) }); err != nil {
			t.Fatal(err)
		}
		p.do("setTimeout(() => location.reload())") // which no answer comes too late for
		time.Sleep(quietTime)                       // and no more attempts
	}
	if lines := line.FindAllString(d.stderr.String(), -1); len(lines) != 1 {
		t.Errorf("%d lines in the log, want 1", len(lines))
	}
	if sockets := p.state().sockets; sockets > 3 {
		t.Errorf("%d sockets were tried for 3 loads of the page", sockets)
	}
}
