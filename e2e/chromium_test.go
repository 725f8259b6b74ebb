package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// launchChromium starts Chromium, which is driven over its DevTools protocol.
func launchChromium() (fresh func(*testing.T) browser, end func(), err error) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		return nil, nil, notInstalledError{err}
	}
	names, err := startNameServer()
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "chromium-")
	if err != nil {
		return nil, nil, err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.UserDataDir(dir),
		chromedp.NoSandbox, // tests run as root
		chromedp.DisableGPU,
		chromedp.WSURLReadTimeout(2*maxWait),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("proxy-server", "socks5://"+names.listener.Addr().String()),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE *.localhost"),
		chromedp.Flag("ignore-certificate-errors", true), // a test's own
	)
	ctx, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, close := chromedp.NewContext(ctx)
	end = func() {
		close()
		stop() // which waits for the process
		names.listener.Close()
		os.RemoveAll(dir)
	}
	if err := chromedp.Do(ctx); err != nil {
		end()
		return nil, nil, err
	}
	devtools := chromedp.FromContext(ctx).Browser
	fresh = func(t *testing.T) browser {
		t.Helper()
		profile, err := cdp.Call(t.Context(), devtools, target.CreateBrowserContext, target.CreateBrowserContextParams{})
		if err != nil {
			t.Fatalf("new profile: %v", err)
		}
		id := profile.BrowserContextID
		t.Cleanup(func() {
			if _, err := cdp.Call(context.Background(), devtools, target.DisposeBrowserContext, target.DisposeBrowserContextParams{BrowserContextID: id}); err != nil {
				t.Errorf("remove the profile: %v", err)
			}
		})
		return &chromium{names, ctx, id}
	}
	return fresh, end, nil
}

// chromium is a browser for one test.
type chromium struct {
	*nameServer
	ctx     context.Context      // in which chromedp opens tabs
	profile cdp.BrowserContextID // of the test
}

func (*chromium) name() string { return "chromium" }

func (b *chromium) openTab(t *testing.T, p *tab) driver {
	t.Helper()
	ctx, close := chromedp.NewContext(b.ctx, chromedp.WithExistingBrowserContext(b.profile), chromedp.WithListener(func(event any) { observe(p, event) }))
	t.Cleanup(close)

	// The context of the first call decides how long the tab lives.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("new tab: %v", err)
	}
	return chromiumTab{ctx}
}

// observe tells a tab of an event of the DevTools protocol.
func observe(p *tab, event any) {
	switch event := event.(type) {
	case *network.EventWebSocketCreated:
		p.opened()
	case *network.EventWebSocketFrameSent:
		p.sent(string(event.Response.PayloadData))
	case *network.EventWebSocketFrameReceived:
		p.received(string(event.Response.PayloadData))
	case *runtime.EventExceptionThrown:
		p.complained(describe(event.ExceptionDetails))
	case *runtime.EventConsoleAPICalled:
		if event.Type == runtime.ConsoleAPICalledTypeError || event.Type == runtime.ConsoleAPICalledTypeWarning {
			for _, arg := range event.Args {
				p.complained(fmt.Sprintf("%s: %s %s", event.Type, arg.Value, arg.Description))
			}
		}
	case *log.EventEntryAdded:
		if event.Entry.Level == log.EntryLevelError {
			p.complained(event.Entry.Text + " " + event.Entry.URL)
		}
	}
}

func describe(e *runtime.ExceptionDetails) string {
	if e.Exception == nil {
		return e.Text
	}
	return e.Text + " " + e.Exception.Description
}

// chromiumTab is the driver of a tab of Chromium.
type chromiumTab struct {
	ctx context.Context // of chromedp
}

// within returns the tab's own context, which ends with ctx as well.
func (d chromiumTab) within(ctx context.Context) (context.Context, context.CancelFunc) {
	own, cancel := context.WithCancel(d.ctx)
	stop := context.AfterFunc(ctx, cancel)
	return own, func() {
		stop()
		cancel()
	}
}

func (d chromiumTab) navigate(ctx context.Context, url string) error {
	ctx, stop := d.within(ctx)
	defer stop()
	return chromedp.Do(ctx, chromedp.Navigate(url))
}

func (d chromiumTab) evaluate(ctx context.Context, script string) (string, error) {
	ctx, stop := d.within(ctx)
	defer stop()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[*runtime.RemoteObject](script))
	if err != nil || value.Type != runtime.RemoteObjectTypeString {
		return "", err
	}
	var text string
	err = json.Unmarshal(value.Value, &text)
	return text, err
}

func (d chromiumTab) press(ctx context.Context, keys string) error {
	ctx, stop := d.within(ctx)
	defer stop()
	names := strings.NewReplacer(keyEscape, kb.Escape, keyArrowDown, kb.ArrowDown)
	return chromedp.Do(ctx, chromedp.KeyEvent(names.Replace(keys)))
}

func (d chromiumTab) wheel(ctx context.Context, x, y int) error {
	_, err := callDevtools(ctx, d, input.DispatchMouseEvent, input.DispatchMouseEventParams{
		Type: input.DispatchMouseEventTypeMouseWheel, X: 100, Y: 100, DeltaX: float64(x), DeltaY: float64(y),
	})
	return err
}

func (d chromiumTab) click(ctx context.Context, x, y int) error {
	for _, event := range []input.DispatchMouseEventType{input.DispatchMouseEventTypeMousePressed, input.DispatchMouseEventTypeMouseReleased} {
		params := input.DispatchMouseEventParams{Type: event, X: float64(x), Y: float64(y), Button: input.MouseButtonLeft, ClickCount: 1}
		if _, err := callDevtools(ctx, d, input.DispatchMouseEvent, params); err != nil {
			return err
		}
	}
	return nil
}

func (d chromiumTab) hide(ctx context.Context, hidden bool) error {
	state := cdpbrowser.WindowStateNormal
	if hidden {
		state = cdpbrowser.WindowStateMinimized
	}
	window, err := callDevtools(ctx, d, cdpbrowser.GetWindowForTarget, cdpbrowser.GetWindowForTargetParams{})
	if err != nil {
		return err
	}
	_, err = callDevtools(ctx, d, cdpbrowser.SetWindowBounds, cdpbrowser.SetWindowBoundsParams{WindowID: window.WindowID, Bounds: &cdpbrowser.Bounds{WindowState: state}})
	return err
}

// callDevtools sends a tab a command of the DevTools protocol.
func callDevtools[P, R any](ctx context.Context, d chromiumTab, c cdp.Command[P, R], params P) (result R, err error) {
	ctx, stop := d.within(ctx)
	defer stop()
	err = chromedp.Do(ctx, chromedp.Func(func(ctx context.Context, t *chromedp.Target) (err error) {
		result, err = cdp.Call(ctx, t, c, params)
		return err
	}))
	return result, err
}

// devtools sends a tab of Chromium a command of the DevTools protocol.
func devtools[P, R any](p *tab, c cdp.Command[P, R], params P) (result R) {
	p.t.Helper()
	p.must(fmt.Sprintf("%T", params), func(ctx context.Context) (err error) {
		result, err = callDevtools(ctx, p.driver.(chromiumTab), c, params)
		return err
	})
	return result
}
