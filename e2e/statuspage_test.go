package e2e

import (
	"net/http/httptest"
	"net/http/httputil"
	"regexp"
	"strconv"
	"testing"

	"github.com/chromedp/cdproto/emulation"
)

// The status page is live: it changes without moving the focus, and keeps open what
// the reader has opened.
func TestStatusPage(t *testing.T) { inBrowsers(t, testStatusPage) }

func testStatusPage(t *testing.T, browser browser) {
	site, d := serve(t, map[string]string{
		"index.html": document("<p>text"),
		"other.html": document("<title>The <other></title><p>other"),
		"style.css":  "",
		"nobody.log": "",
	})
	p := openStatus(t, browser, d.URL+"/.execlogd/")
	p.shows("[...document.querySelectorAll('.empty')].filter(e => e.checkVisibility()).length", "3") // pages, changes, runs
	p.shows("watches.innerText.replace(/\\s+/g, ' ').trim()", site+" 1 0")

	first := open(t, browser, d.URL+"/?secret=1")
	p.shows("pages.querySelectorAll('tr').length", "1")
	p.shows("pages.querySelector('.name').innerText", "/")
	p.do("window.link = pages.querySelector('.name'); link.focus()")

	p.edit(site, "index.html", document("<p>new"), "changes.querySelector('.files').innerText.trim()", "index.html")
	p.shows("changes.querySelector('.effects').innerText.includes('it shows index.html')", "true")
	p.shows("changed.innerText", "1")
	first.connected()

	open(t, browser, d.URL+"/other.html")
	p.shows("[...pages.querySelectorAll('.name')].map(e => e.innerText).join()", "/,/other.html")
	p.shows("document.getElementById('open').innerText", "2")
	p.shows("[...pages.querySelectorAll('.remote')].map(e => e.innerText.replace(/ (Firefox|Chrome)$/, ' A BROWSER').trim()).join()", "in A BROWSER,The <other> in A BROWSER")
	p.edit(site, "nobody.log", "x", "changes.querySelector('.more').innerText", "concerns no open page")
	p.shows("document.activeElement === link && link.isConnected", "true")

	const marks = "[...document.querySelectorAll('#timeline circle')].map(e => e.previousSibling.textContent.replace(/, [\\d:]+(.[AP]M)?$/, '')).join()"
	p.shows(marks, "index.html changed,nobody.log changed,1 page loaded again, for index.html")
	p.filter("nobody")
	const rows = "[...document.querySelectorAll('#pages > *, #changes > *, .unmatched')].filter(e => e.checkVisibility()).map(e => (e.querySelector('a, code') || e).innerText).join()"
	p.shows(rows, "No page matches the filter.,nobody.log")
	p.edit(site, "index.html", document("<p>newer"), "changed.innerText", "3")
	p.shows(rows, "No page matches the filter.,nobody.log")
	p.navigate(d.URL + "/.execlogd/#filter=ot+The")
	p.do("window.before = 1; location.reload()")
	p.shows("window.before + state.textContent", "undefinedLive")
	p.shows(rows, "/other.html,No change matches the filter.")
	p.filter("")
	p.shows(rows+"+location.hash", "/,/other.html,index.html,nobody.log,index.html")

	p.allowErrors("net::ERR_")
	if err := d.signal("TERM"); err != nil {
		t.Fatal(err)
	}
	p.shows("state.textContent", "Not connected; trying again")
}

// filter types into the filter of a status page.
func (p *tab) filter(text string) {
	p.t.Helper()
	p.do("{ const field = document.querySelector('#filter input'); field.value = " + strconv.Quote(text) + "; field.dispatchEvent(new Event('input')) }")
}

// openStatus opens a status page in a new tab, and returns when it is live.
func openStatus(t *testing.T, browser browser, url string) *tab {
	t.Helper()
	p := openUnconnected(t, browser, url)
	p.shows("state.textContent", "Live")
	return p
}

// The status page shows the runs of routes while they go on, and keeps open what the
// reader has opened. Only the owner sees commands and output.
func TestStatusPageShowsRuns(t *testing.T) { inBrowsers(t, testStatusPageShowsRuns) }

func testStatusPageShowsRuns(t *testing.T, browser browser) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"site/index.html": document("<p>text"),
		"site/style.css":  "",
		"src/.keep":       "",
		"x.toml": `[server]
root = "site"
port = 0
[[route]]
name = "build"
root = "src"
match = "*.md"
shell = 'seq 100; echo "<b>first</b>"; until [ -e go ]; do sleep 0.05; done; echo second; exit 3'
[[route]]
name = "check"
root = "src"
match = "*.txt"
run = ["true"]
`,
	})
	d, err := startDaemon(t, dir, "-config", "x.toml")
	if err != nil {
		t.Fatal(err)
	}
	p := openStatus(t, browser, d.URL+"/.execlogd/")
	p.shows("runs.checkVisibility()", "false")

	p.edit(dir, "src/a.md", "x", "runs.querySelector('.head')?.innerText", "build running")
	p.shows("runs.querySelector('pre').textContent.endsWith('100\\n<b>first</b>\\n')", "true")
	p.shows("runs.querySelector('.list').innerText", "a.md")
	p.do(`window.first = runs.firstElementChild
		window.text = first.querySelector("pre")
		first.querySelector("summary").focus()
		first.querySelector("summary").click()
		text.scrollTop = 50`)
	write(t, dir, map[string]string{"src/b.txt": "x"})
	p.shows("runs.firstElementChild.querySelector('.head').innerText.replace(/[\\d.]+m?s$/, 'TIME')", "check done after TIME")
	p.shows("runs.firstElementChild.querySelector('details')", "null")
	p.edit(dir, "go", "", "first.querySelector('.outcome').innerText.startsWith('exit status 3 after ')", "true")
	p.shows("text.textContent.endsWith('first</b>\\nsecond\\n')", "true")
	p.shows("[first.isConnected, first.querySelector('details').open, text.scrollTop, document.activeElement === first.querySelector('summary')].join()", "true,true,50,true")
	p.shows("getComputedStyle(first.querySelector('.outcome')).color === getComputedStyle(first.querySelector('.name')).color", "false")

	front := startProxy(t, d, (*httputil.ProxyRequest).SetXForwarded, httptest.NewServer).String() + "/preview/.execlogd/"
	away := openStatus(t, browser, front)
	away.shows("guest.checkVisibility()", "true")
	away.shows("runs.lastElementChild.querySelector('div').innerText.replace(/[\\d.]+m?s/, 'TIME').trim().split(/\\s*\\n\\s*/).join()", "build failed after TIME,1 file")

	owners := openStatus(t, browser, front+regexp.MustCompile(`\?token=\S+`).FindString(d.stderr.String()))
	owners.shows("guest.checkVisibility()", "false")
	owners.shows("location.href", front)
	owners.shows("runs.lastElementChild.querySelector('.list').innerText", "a.md")
}

// Without JavaScript the status page shows the state at the time of loading. Below a
// proxy's prefix it finds its style sheet and script.
func TestStatusPageWithoutScript(t *testing.T) {
	t.Parallel()
	browser := startChromium(t) // WebDriver BiDi cannot do it in Firefox yet
	_, d := serve(t, map[string]string{"index.html": document("<p>text"), "style.css": ""})
	front := startProxy(t, d, func(*httputil.ProxyRequest) {}, httptest.NewServer)
	open(t, browser, d.URL+"/")
	p := openStatus(t, browser, front.String()+"/preview/.execlogd/")
	const look = "[pages.innerText, [...document.querySelectorAll('.empty')].filter(e => e.checkVisibility()).length, getComputedStyle(totals).display].join().replace(/[\\d:]+ (AM|PM|UTC)/g, 'TIME')"
	live, err := p.evaluate(look)
	if err != nil {
		t.Fatal(err)
	}
	devtools(p, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	p.navigate(front.String() + "/preview/.execlogd/")
	p.shows("state.textContent.startsWith('as of')", "true")
	p.shows(look, live)
	p.shows("document.getElementById('filter').checkVisibility()", "false")
}
