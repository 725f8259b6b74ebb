package e2e

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"
)

const syncPage = `<form action="sent.html">
<input name="text"> <textarea name="long"></textarea> <input type="password" name="secret"> <input name="code" autocomplete="one-time-code">
<input type="checkbox" name="box"> <label><input type="radio" name="radio" value="a"> <span id="label">a</span></label>
<select name="pick"><option>one<option>two<option>three</select>
</form>
<button onclick="this.textContent = ++count">0</button> <script>let count = 0</script>
<details><summary>more</summary>and more</details>
<div id="inner" style="height:100px;overflow:auto"><div style="height:1000px"></div></div>
<div style="height:5000px"></div><a href="other.html">other</a>
<form action="sent.html"><input name="only"></form>`

// TestSync has two readers of one page, in two windows of Chromium, and in Chromium and
// Firefox.
func TestSync(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]string{{"chromium", "chromium"}, {"chromium", "firefox"}, {"firefox", "chromium"}} {
		t.Run(pair[0]+" leads "+pair[1], func(t *testing.T) {
			t.Parallel()
			testSync(t, startBrowser(t, pair[0]), startBrowser(t, pair[1]))
		})
	}
}

func testSync(t *testing.T, first, second browser) {
	_, d := serve(t, map[string]string{
		"index.html": document(syncPage), "other.html": document("<p>other"), "sent.html": document("<p>sent"), "style.css": "",
	}, "-sync")
	a, b, other := open(t, first, d.URL+"/"), open(t, second, d.URL+"/"), open(t, second, d.URL+"/?other")
	is := func(name, value string) {
		t.Helper()
		b.shows("document.querySelector('[name="+name+"]')."+value[:strings.IndexByte(value, '=')], value[strings.IndexByte(value, '=')+1:])
	}

	for _, p := range []*tab{a, b} {
		p.do("self.said = ''; const send = WebSocket.prototype.send; WebSocket.prototype.send = function (text) { said += text; send.call(this, text) }")
	}

	// Fields. What comes after the password has come after it.
	a.keys("[name=secret]", "pass")
	a.do("document.querySelector('[name=secret]').type = 'text'")
	a.keys("[name=secret]", "word")
	a.keys("[name=code]", "123")
	a.keys("[name=text]", "hello")
	is("text", "value=hello")
	is("secret", "value=")
	a.shows("said.includes('password')", "false") // nor did it leave the browser
	is("code", "value=")
	a.keys("[name=long]", "two words")
	is("long", "value=two words")
	a.click("[name=box]")
	is("box", "checked=true")
	a.click("[name=box]")
	is("box", "checked=false")
	a.keys("[name=pick]", keyArrowDown)
	is("pick", "selectedIndex=1")
	b.keys("[name=text]", "!") // the other way round; the caret is where it was set last
	a.shows("document.querySelector('[name=text]').value.length", "6")

	// Clicks: each once.
	a.click("button")
	b.shows("document.querySelector('button').textContent", "1")
	b.click("button")
	a.shows("document.querySelector('button').textContent", "2")
	a.click("summary")
	b.shows("document.querySelector('details').open", "true")
	a.click("#label") // its field is clicked as well
	is("radio", "checked=true")

	// Scrolling, to and fro.
	a.wheel(1, 1000)
	sameScroll(t, a, b, "document.scrollingElement", 100)
	time.Sleep(quietTime)
	b.shows("said.includes('scroll')", "false") // its reader has not done that
	b.wheel(1, 1000)
	sameScroll(t, b, a, "document.scrollingElement", 1100)
	b.shows("document.querySelector('button').textContent", "2")

	// A page with another address was left alone.
	other.shows("document.querySelector('[name=text]').value + document.querySelector('button').textContent", "0")
	other.shows("scrollY", "0")

	a.do("document.querySelector('a').scrollIntoView()")
	a.click("a")
	b.shows("location.pathname", "/other.html")
	b.sameLoads(2)
}

// TestSyncSubmits presses Enter in forms with a button and without one.
func TestSyncSubmits(t *testing.T) {
	t.Parallel()
	browser := startChromium(t)
	_, d := serve(t, map[string]string{
		"index.html": document(`<form action="one.html"><input name="alone"></form><form action="two.html"><input name="q"><button>go</button></form>`),
		"one.html":   document("<p>one"), "two.html": document("<p>two"), "style.css": "",
	}, "-sync")
	for field, want := range map[string]string{"alone": "/one.html?alone=x", "q": "/two.html?q=x"} {
		a, b := open(t, browser, d.URL+"/"), open(t, browser, d.URL+"/")
		a.keys("[name="+field+"]", "x\r")
		a.shows("location.pathname + location.search", want)
		b.shows("location.pathname + location.search", want)
		a.sameLoads(2)
		b.sameLoads(2)
	}
}

// sameScroll waits until a box is scrolled by at least so much, by the same share in both
// pages.
func sameScroll(t *testing.T, a, b *tab, box string, least int) {
	t.Helper()
	share := fmt.Sprintf("(e => e.scrollTop < %d ? 'less' : e.scrollTop / (e.scrollHeight - e.clientHeight))(%s)", least, box)
	var ofA, ofB string
	err := eventually(t.Context(), "scrolling", func() bool {
		ofA, _ = a.evaluate(share)
		ofB, _ = b.evaluate(share)
		x, wrongA := strconv.ParseFloat(ofA, 64)
		y, wrongB := strconv.ParseFloat(ofB, 64)
		return wrongA == nil && wrongB == nil && math.Abs(x-y) < 0.001 // whole pixels, of pages of two heights
	})
	if err != nil {
		t.Errorf("%v: %s is scrolled by %s and %s of its room", err, box, ofA, ofB)
	}
}
