package httpd

import (
	"strings"
	"testing"
)

// A page is told what it has asked for in vain, and nobody else is.
func TestAPageIsToldItsFailedFetches(t *testing.T) {
	run := serve(t, Options{Root: site(t, "a.html")})
	p, other := run.open(t, "/a.html"), run.open(t, "/b.html")
	fetch := func(path string, headers ...string) {
		run.get(t, "GET", path, append([]string{"Referer", run.url("/a.html"), "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "same-origin"}, headers...)...)
	}
	fetch("/x%20y.json?q")
	if got, want := p.hear(t), `{"command":"tried","files":["/x%20y.json"]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	fetch("/a.html") // is there
	fetch("/.git/config")
	fetch("/y", "Sec-Fetch-Site", "cross-site")
	fetch("/y", "Sec-Fetch-Site", "same-site")
	fetch("/y", "Sec-Fetch-Dest", "document")
	fetch("/y", "Referer", "http://example.com/a.html")
	fetch("/y", "Referer", run.url("/a.htm"))
	fetch("/y", "Referer", "%")
	fetch("/y", "Sec-Fetch-Dest", "", "Accept", "text/html,*/*")
	p.use(t, nil, "/z")
	p.is(t, "at")
	fetch("/z") // it has said so itself
	p.expectNothing(t)
	other.expectNothing(t)
	fetch("/w", "Sec-Fetch-Dest", "", "Sec-Fetch-Site", "", "Accept", "*/*") // as over plain HTTP
	p.is(t, "tried")

	t.Run("before its socket is open", func(t *testing.T) {
		p := run.info(t, "/a.html", map[string]any{"uses": []string{"/w"}})
		p.is(t, "at")
		if got, want := p.hear(t), `{"command":"tried","files":["/x%20y.json","/z"]}`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// Escaped, a name that is not ASCII takes three times its bytes.
func TestAPageIsToldAFailedFetchOfALongName(t *testing.T) {
	run := serve(t, Options{Root: site(t, "a.html")})
	p := run.open(t, "/a.html")
	long := strings.Repeat("/"+strings.Repeat("%D1%8F", 120), 4) // 964 bytes
	run.get(t, "GET", long, "Referer", run.url("/a.html"), "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "same-origin")
	if got, want := p.hear(t), `{"command":"tried","files":["`+long+`"]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAStockClientIsToldNoFailedFetches(t *testing.T) {
	run := serve(t, Options{Root: site(t, "a.html")})
	stock := run.dial(t)
	stock.greet(t, run.url("/a.html"))
	run.get(t, "GET", "/x", "Referer", run.url("/a.html"), "Sec-Fetch-Dest", "empty")
	stock.expectNothing(t)
}
