package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// startChromium starts a Chromium that ends with the test, and returns the context
// in which chromedp opens its tabs. It can only reach the loopback address, and names
// that the rules map there (--host-resolver-rules).
func startChromium(t *testing.T, rules ...string) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skipf("Debian's chromium is not installed: %v", err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox, // tests run as root
		chromedp.DisableGPU,
		chromedp.WSURLReadTimeout(maxWait),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("host-resolver-rules", strings.Join(append(rules, "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"), ", ")),
		chromedp.Flag("ignore-certificate-errors", true), // a test's own
	)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return ctx
}

// A tab is one open page in Chromium.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu            sync.Mutex
	current       tabState
	awaited       int      // connections that the test has waited for
	allowedErrors []string // parts of errors that are expected
}

// A tabState is what a tab has done so far.
type tabState struct {
	sockets  int      // websockets opened
	infos    int      // handshakes completed: the page has said what it shows
	answered bool     // the server has answered since the page last reported
	changes  int      // that it was told of, in our own protocol
	reported string   // what it reported since its last load: infos and uses
	errors   []string // in the console
}

// newTab opens a tab, which closes with the test.
func newTab(t *testing.T, browser context.Context) *tab {
	t.Helper()
	p := &tab{t: t}
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithListener(p.observe))
	t.Cleanup(cancel)
	p.ctx = ctx

	// The context of the first call decides how long the tab lives.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("new tab: %v", err)
	}
	return p
}

// navigate loads url.
func (p *tab) navigate(url string) {
	p.t.Helper()
	limited, stop := context.WithTimeout(p.ctx, maxWait)
	defer stop()
	if err := chromedp.Do(limited, chromedp.Navigate(url)); err != nil {
		p.t.Fatalf("open %s: %v", url, err)
	}
}

// open loads url in a new tab and returns when the page is connected. An error in
// the page's console fails the test, unless it is one of allowErrors.
func open(t *testing.T, browser context.Context, url string) *tab {
	t.Helper()
	p := openUnconnected(t, browser, url)
	p.connected()
	return p
}

// openUnconnected is open for a page that may not connect.
func openUnconnected(t *testing.T, browser context.Context, url string) *tab {
	t.Helper()
	p := newTab(t, browser)
	t.Cleanup(func() {
		for _, err := range p.state().errors {
			if !slices.ContainsFunc(p.allowedErrors, func(text string) bool { return strings.Contains(err, text) }) {
				t.Errorf("console of %s: %s", url, err)
			}
		}
	})
	p.navigate(url)
	return p
}

// allowErrors allows errors in the console that contain one of the texts.
func (p *tab) allowErrors(texts ...string) {
	p.allowedErrors = append(p.allowedErrors, texts...)
}

func (p *tab) observe(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch event := event.(type) {
	case *network.EventWebSocketCreated:
		p.current.sockets++
	case *network.EventWebSocketFrameSent:
		switch text := event.Response.PayloadData; {
		case bytes.Contains(text, []byte(`"command":"info"`)):
			p.current.infos++
			p.current.reported, p.current.answered = string(text), false
		case bytes.Contains(text, []byte(`"command":"uses"`)):
			p.current.reported += string(text)
			p.current.answered = false
		}
	case *network.EventWebSocketFrameReceived:
		switch text := event.Response.PayloadData; {
		case bytes.Contains(text, []byte(`"command":"at"`)):
			p.current.answered = true
		case bytes.Contains(text, []byte(`"command":"change"`)):
			p.current.answered = true
			p.current.changes++
		}
	case *runtime.EventExceptionThrown:
		p.current.errors = append(p.current.errors, describe(event.ExceptionDetails))
	case *runtime.EventConsoleAPICalled:
		if event.Type == runtime.ConsoleAPICalledTypeError || event.Type == runtime.ConsoleAPICalledTypeWarning {
			for _, arg := range event.Args {
				p.current.errors = append(p.current.errors, fmt.Sprintf("%s: %s %s", event.Type, arg.Value, arg.Description))
			}
		}
	case *log.EventEntryAdded:
		if event.Entry.Level == log.EntryLevelError {
			p.current.errors = append(p.current.errors, event.Entry.Text+" "+event.Entry.URL)
		}
	}
}

func describe(e *runtime.ExceptionDetails) string {
	if e.Exception == nil {
		return e.Text
	}
	return e.Text + " " + e.Exception.Description
}

func (p *tab) state() tabState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current
}

// connected waits until the page has connected once more than it was waited for
// before: once for each load.
func (p *tab) connected() {
	p.t.Helper()
	p.awaited++
	if err := eventually(p.ctx, "the page to connect", func() bool { return p.state().infos >= p.awaited }); err != nil {
		p.t.Fatalf("%v; it has seen %+v", err, p.state())
	}
}

// answered waits until the server has answered what the page reported last.
func (p *tab) answered() {
	p.t.Helper()
	if err := eventually(p.ctx, "the server to answer", func() bool { return p.state().answered }); err != nil {
		p.t.Fatalf("%v; the page has seen %+v", err, p.state())
	}
}

// sameLoads checks how often the page has been loaded, including the first time.
func (p *tab) sameLoads(want int) {
	p.t.Helper()
	for p.awaited < want {
		p.connected()
	}
	if got := p.state().infos; got != want {
		p.t.Errorf("the page was loaded %d times, want %d", got, want)
	}
}

// shows polls a JavaScript expression until its value is want.
func (p *tab) shows(expression, want string) {
	p.t.Helper()
	var got string
	err := eventually(p.ctx, expression+" to be "+want, func() bool {
		// An error is expected while the page reloads.
		value, err := evaluate[string](p, "String("+expression+")")
		if err == nil {
			got = value
		}
		return got == want
	})
	if err != nil {
		p.t.Fatalf("%v; it is %q", err, got)
	}
}

// edit writes a file in a directory, and polls an expression as shows does.
func (p *tab) edit(dir, name, content, expression, want string) {
	p.t.Helper()
	write(p.t, dir, map[string]string{name: content})
	p.shows(expression, want)
}

// do runs JavaScript in the page.
func (p *tab) do(script string) {
	p.t.Helper()
	if _, err := evaluate[chromedp.Void](p, script); err != nil {
		p.t.Fatalf("%s: %v", script, err)
	}
}

func evaluate[T any](p *tab, script string) (T, error) {
	ctx, cancel := context.WithTimeout(p.ctx, maxWait)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](script))
}

// uses waits until the page has reported to the server that it uses these files.
func (p *tab) uses(paths ...string) {
	p.t.Helper()
	err := eventually(p.ctx, fmt.Sprintf("the page to report %q", paths), func() bool {
		said := p.state().reported
		for _, path := range paths {
			if !strings.Contains(said, `"`+path+`"`) {
				return false
			}
		}
		return true
	})
	if err != nil {
		p.t.Fatalf("%v; it has said %s", err, p.state().reported)
	}
}

// keys types into the first element that matches the selector.
func (p *tab) keys(selector, text string) {
	p.t.Helper()
	p.do(`document.querySelector("` + selector + `").focus({ preventScroll: true })`)
	if text != "" {
		p.press(text)
	}
}

func (p *tab) press(keys string) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, chromedp.KeyEvent(keys)); err != nil {
		p.t.Fatalf("press %q: %v", keys, err)
	}
}

// hide minimises the window of the tab, or shows it.
func (p *tab) hide(hidden bool) {
	p.t.Helper()
	state := cdpbrowser.WindowStateNormal
	if hidden {
		state = cdpbrowser.WindowStateMinimized
	}
	window := devtools(p, cdpbrowser.GetWindowForTarget, cdpbrowser.GetWindowForTargetParams{})
	devtools(p, cdpbrowser.SetWindowBounds, cdpbrowser.SetWindowBoundsParams{WindowID: window.WindowID, Bounds: &cdpbrowser.Bounds{WindowState: state}})
}

// devtools sends a tab a command of the DevTools protocol.
func devtools[P, R any](p *tab, c cdp.Command[P, R], params P) (result R) {
	p.t.Helper()
	err := chromedp.Do(p.ctx, chromedp.Func(func(ctx context.Context, t *chromedp.Target) (err error) {
		result, err = cdp.Call(ctx, t, c, params)
		return err
	}))
	if err != nil {
		p.t.Fatalf("%T: %v", params, err)
	}
	return result
}
