package e2e

import "testing"

// TestOpenElements reloads a page with details and a dialog that its reader has opened.
func TestOpenElements(t *testing.T) {
	page := func(text, open string) string {
		return document(`<p>` + text + `</p><details id="one"><summary>one</summary>text</details>
<details id="two" open><summary>two</summary>text</details><details id="three"` + open + `><summary>three</summary>text</details>
<button id="ask" onclick="asks.showModal()">ask</button>
<dialog id="asks"><input id="first"><input id="second"><button id="no" onclick="asks.close()">no</button></dialog>
<dialog id="aside">aside</dialog><dialog id="drawn"` + open + `>drawn</dialog>`)
	}
	inBrowsers(t, func(t *testing.T, browser browser) {
		site, p := openSite(t, browser, map[string]string{"index.html": page("zero", " open"), "style.css": ""})
		const details = "['one', 'two', 'three'].map(id => document.getElementById(id).open).join()"
		const dialogs = "asks.matches(':modal') + ' ' + aside.open + ' ' + aside.matches(':modal') + ' ' + drawn.open"

		p.click("#one summary")
		p.click("#two summary")
		p.shows(details, "true,false,true")
		p.do("aside.show()")
		p.click("#ask")
		p.keys("#second", "typed")
		save(t, site, "index.html", page("one", "")) // its author closes what was open in it
		p.shows("document.querySelector('p').textContent", "one")
		p.shows(details, "true,false,false")
		p.shows(dialogs, "true true false false")
		p.shows("document.activeElement.id + document.activeElement.value", "secondtyped")

		// Once more, and what was given back is still the reader's.
		p.connected()
		p.click("#no")
		p.shows(dialogs, "false true false false")
		save(t, site, "index.html", page("two", ""))
		p.shows("document.querySelector('p').textContent", "two")
		p.shows(details, "true,false,false")
		p.shows(dialogs, "false true false false")
	})
}
