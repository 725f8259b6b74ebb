package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// The log names a page if, and only if, its policy prevents a browser from connecting.
func TestPoliciesThatBlock(t *testing.T) { inBrowsers(t, testPoliciesThatBlock) }

func testPoliciesThatBlock(t *testing.T, browser browser) {
	policies := []string{
		// Only the page itself can report these. They come first, because the log
		// limits such lines.
		"connect-src ws://127.0.0.1",
		"connect-src ws://*:*/other",

		"script-src 'self'; connect-src 'self'; style-src 'self'",
		"script-src 'none'; style-src 'none'",
		"script-src 'nonce-x' 'strict-dynamic'; default-src 'self'",
		"default-src 'none'",
		"connect-src",
		"connect-src *",
		"connect-src *:*",
		"connect-src *; connect-src 'none'",
		"connect-src 'none'; default-src *",
		"connect-src 'self' 'none'",
		"connect-src http: https: data:",
		"connect-src ws:",
		"connect-src ws://127.0.0.1:*",
		"connect-src ws://*:*/livereload",
		"connect-src 127.0.0.1:*",
		"connect-src http://127.0.0.1:*",
	}
	files := map[string]string{"style.css": ""}
	for i, policy := range policies {
		files[fmt.Sprintf("%d.html", i)] = strings.Replace(document("<p>text"), `<link`, `<meta http-equiv="Content-Security-Policy" content="`+policy+`"><link`, 1)
	}
	_, d := serve(t, files)
	p := newTab(t, browser)
	for i, policy := range policies {
		blocked := !connects(t, browser, p, fmt.Sprintf("%s/%d.html", d.URL, i))
		// The log has the name of the file, or the URL if the page itself reports it.
		name := regexp.MustCompile(fmt.Sprintf(`[=/]%d\.html`, i))
		named := name.MatchString(d.stderr.String())
		if blocked && !named {
			err := eventually(t.Context(), "the page to report its policy", func() bool { return name.MatchString(d.stderr.String()) })
			named = err == nil
		}
		if blocked != named {
			t.Errorf("%s: blocked %v, named in the log %v", policy, blocked, named)
		}
	}
}

// connects reports whether a page opens its websocket, or its policy prevents it.
func connects(t *testing.T, browser browser, p *tab, url string) (ok bool) {
	t.Helper()
	before := p.state()
	p.navigate(url)
	err := eventually(p.ctx, url+" to connect or not", func() bool {
		state := p.state()
		ok = state.infos > before.infos
		errors := strings.Join(state.errors[len(before.errors):], "\n")
		if browser.name() == "firefox" && !ok {
			// It says nothing in the console if the socket's frame is gone by then.
			if gaveUp, err := p.evaluate(`!!document.querySelector("script[src*=blocked]")`); err == nil && gaveUp == "true" {
				return true
			}
		}
		return ok || strings.Contains(errors, "Connecting to 'ws://") || strings.Contains(errors, "(connect-src) at ws://")
	})
	if err != nil {
		t.Fatal(err)
	}
	return ok
}
