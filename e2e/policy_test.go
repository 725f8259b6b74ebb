package e2e

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// The log names a page exactly when its policy keeps Chromium from connecting.
func TestPoliciesThatBlock(t *testing.T) {
	policies := []string{
		// Of those that the page reports itself, the log has five lines a minute.
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
	browser := startChromium(t)
	_, d := serve(t, files)
	for i, policy := range policies {
		blocked := !connects(t, browser, fmt.Sprintf("%s/%d.html", d.URL, i))
		// By the file's name, or by the URL where the page itself reports it.
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

// connects says whether a page opens its socket, or is kept from it.
func connects(t *testing.T, browser context.Context, url string) (ok bool) {
	t.Helper()
	p := &tab{t: t}
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithListener(p.observe))
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
		t.Fatalf("open %s: %v", url, err)
	}
	err := eventually(ctx, url+" to connect or not", func() bool {
		seen := p.seen()
		ok = seen.infos > 0
		return ok || strings.Contains(strings.Join(seen.faults, "\n"), "Connecting to 'ws://")
	})
	if err != nil {
		t.Fatal(err)
	}
	return ok
}
