package e2e

import (
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

var screenshots = flag.String("screenshots", "", "write pictures of the server's own pages into this `directory`")

// TestScreenshots makes pictures of the pages of the server's own, to be looked at: light
// and dark where the browser can be told so, and as wide as a phone.
func TestScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Skip("run by make screenshots: it writes pictures for people")
	}
	if err := os.MkdirAll(*screenshots, 0o755); err != nil {
		t.Fatal(err)
	}
	inBrowsers(t, func(t *testing.T, browser browser) {
		files := map[string]string{
			"index.html": document("<title>A site about saving files</title><h1>A site</h1><p>text"), "style.css": paint(1),
			"articles/2026/a-rather-long-name-of-a-page-about-live-reload.html": document("<p>article"),
			"files/sub/x.txt": "x", "contact.html": document("<p>contact"),
		}
		for i := range 40 {
			files[fmt.Sprintf("files/picture-%02d.png", i)] = picture(t, i+1)
		}
		config := "[server]\nroot = 'site'\nport = 0\nafter = ['build']\n[[route]]\nname = 'build'\nroot = 'site'\nmatch = '*.md'\n" +
			"run = ['sh', '-c', 'for i in $(seq 60); do echo line $i of what the build says; done; echo articles/first.md:3:7: error: no such template >&2; exit 1']\n" +
			"[[route]]\nname = 'styles'\nroot = 'site'\nmatch = '*.scss'\nrun = ['sleep', '4']\n"
		dir := t.TempDir()
		write(t, filepath.Join(dir, "site"), files)
		write(t, dir, map[string]string{"execlogd.toml": config})
		d, err := startDaemon(t, dir, "-config", filepath.Join(dir, "execlogd.toml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/", "/?second", "/articles/2026/a-rather-long-name-of-a-page-about-live-reload.html"} {
			open(t, browser, d.URL+path)
		}
		p := openStatus(t, browser, d.URL+"/.execlogd/")
		write(t, dir, map[string]string{"site/style.css": paint(2), "site/style.scss": ""})
		p.shows("!!document.querySelector('#changes li')", "true")
		p.shows("!!document.querySelector('#runs [data-state=done]')", "true")
		write(t, dir, map[string]string{"site/index.html": files["index.html"] + "<p>more"})
		p.shows("!!document.querySelector('.reload')", "true")
		write(t, dir, map[string]string{"site/articles/first.md": "# First"}) // its build fails
		p.shows("!!document.querySelector('#errors li')", "true")

		for _, page := range []struct{ name, path string }{
			{"status", "/.execlogd/"}, {"status-filtered", "/.execlogd/#filter=css"}, {"listing", "/files/"}, {"not-found", "/contatc.html"}, {"error", "/contact.html"},
		} {
			for _, width := range []int{1100, 390} {
				for _, dark := range []bool{false, true} {
					p := newTab(t, browser)
					name := fmt.Sprintf("%s-%d-%s", page.name, width, browser.name())
					if dark {
						name += "-dark"
					}
					if !p.look(width, dark) {
						continue
					}
					p.navigate(d.URL + page.path)
					if page.name == "error" {
						p.connected()
						p.shows("!!document.documentElement.lastChild.shadowRoot", "true")
					}
					if strings.HasPrefix(page.name, "status") {
						p.shows("state.textContent", "Live")
					}
					p.photograph(filepath.Join(*screenshots, name+".png"), strings.HasPrefix(page.name, "status"))
					p.navigate("about:blank") // a browser has six connections for all its status pages
				}
			}
		}
	})
}

// look sets the width of a tab, and dark colours. ok is false if the browser cannot be
// told so.
func (p *tab) look(width int, dark bool) (ok bool) {
	p.t.Helper()
	switch d := p.driver.(type) {
	case chromiumTab:
		scheme := map[bool]string{false: "light", true: "dark"}[dark]
		devtools(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		p.must("set the width", func(context.Context) error { return chromedp.Do(d.ctx, chromedp.EmulateViewport(int64(width), 850)) })
		return true
	case *firefoxTab:
		p.must("set the width", func(ctx context.Context) error {
			return d.bidi.call(ctx, "browsingContext.setViewport", params{"context": d.target.Context, "viewport": params{"width": width, "height": 850}}, nil)
		})
		return !dark
	}
	return false
}

// photograph writes a picture of a tab: of what is seen without scrolling, or all.
func (p *tab) photograph(path string, all bool) {
	p.t.Helper()
	var picture []byte
	p.must("take a picture", func(ctx context.Context) (err error) {
		switch d := p.driver.(type) {
		case chromiumTab:
			action := chromedp.CaptureScreenshot()
			if all {
				action = chromedp.FullScreenshot(100) // PNG
			}
			picture, err = chromedp.Run(d.ctx, action)
		case *firefoxTab:
			var result struct{ Data string }
			origin := map[bool]string{false: "viewport", true: "document"}[all]
			if err = d.bidi.call(ctx, "browsingContext.captureScreenshot", params{"context": d.target.Context, "origin": origin}, &result); err == nil {
				picture, err = base64.StdEncoding.DecodeString(result.Data)
			}
		}
		return err
	})
	if err := os.WriteFile(path, picture, 0o644); err != nil {
		p.t.Fatal(err)
	}
}
