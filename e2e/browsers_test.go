package e2e

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A browser is a running Chromium or Firefox. Its tabs share cookies and storage with
// each other, and with no other test. It can only reach the loopback address, and the
// names that a test maps there.
type browser interface {
	// name is "chromium" or "firefox".
	name() string

	// openTab opens an empty tab, which tells p what its pages do and closes with the test.
	openTab(t *testing.T, p *tab) driver

	// mapName connects requests for a host and port, "example.com:80", to a loopback address.
	mapName(host, address string)
}

// A driver is what a test does to a tab, in the words of its browser.
type driver interface {
	navigate(ctx context.Context, url string) error

	// evaluate runs JavaScript, and returns its value if that is a string.
	evaluate(ctx context.Context, script string) (string, error)

	// press types keys, of which those without a character are the constants below.
	press(ctx context.Context, keys string) error

	// wheel scrolls by so many pixels, as with the wheel of a mouse.
	wheel(ctx context.Context, x, y int) error

	// click clicks with the mouse at a point of the window.
	click(ctx context.Context, x, y int) error

	// hide hides the page, as in a tab in the background, or shows it.
	hide(ctx context.Context, hidden bool) error
}

// Keys without a character, as WebDriver has them.
const (
	keyEscape    = "\ue00c"
	keyArrowDown = "\ue015"
)

// browsers are what starts each of the browsers, or says why it cannot be started. A
// browser is started once for all tests. What starts it returns what gives a test its
// own tabs, and what ends it.
var browsers = map[string]*startedBrowser{
	"chromium": {start: launchChromium},
	"firefox":  {start: launchFirefox},
}

type startedBrowser struct {
	start func() (fresh func(*testing.T) browser, end func(), err error)

	once  sync.Once
	fresh func(*testing.T) browser
	end   func()
	err   error
}

// A notInstalledError says that a browser is not there.
type notInstalledError struct{ error }

// startBrowser returns a browser for one test.
func startBrowser(t *testing.T, name string) browser {
	t.Helper()
	b := browsers[name]
	b.once.Do(func() {
		// Its start is not what is tested: one that does not come up is tried again.
		for range 3 {
			b.fresh, b.end, b.err = b.start()
			if _, missing := b.err.(notInstalledError); missing || b.err == nil {
				return
			}
			t.Logf("start %s: %v", name, b.err)
		}
	})
	if missing, ok := b.err.(notInstalledError); ok {
		t.Skipf("Debian's %s is not installed: %v", name, missing.error)
	}
	if b.err != nil {
		t.Fatalf("start %s: %v", name, b.err)
	}
	return b.fresh(t)
}

// startChromium is for tests of what Chromium alone can be made to do.
func startChromium(t *testing.T) browser {
	t.Helper()
	return startBrowser(t, "chromium")
}

// onlyChromium skips a test that another browser cannot be made to do.
func onlyChromium(t *testing.T, browser browser, reason string) {
	t.Helper()
	if browser.name() != "chromium" {
		t.Skipf("in Chromium alone: %s", reason)
	}
}

// endBrowsers ends the browsers that were started, and waits for them.
func endBrowsers() {
	for _, b := range browsers {
		if b.end != nil {
			b.end()
		}
	}
}

// inBrowsers runs a test in each browser, side by side.
func inBrowsers(t *testing.T, test func(t *testing.T, browser browser)) {
	t.Parallel()
	for _, name := range slices.Sorted(maps.Keys(browsers)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, startBrowser(t, name))
		})
	}
}

type browserTest struct {
	name string
	run  func(t *testing.T, browser browser)
}

// runTests runs tests in each browser, side by side, as they wait most of the time.
func runTests(t *testing.T, tests []browserTest) {
	inBrowsers(t, func(t *testing.T, browser browser) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				tt.run(t, browser)
			})
		}
	})
}

// A tab is one open page.
type tab struct {
	t      *testing.T
	ctx    context.Context // of the test
	driver driver

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
	reported string   // what its pages reported since each was loaded last: infos and uses
	errors   []string // in the console
}

// newTab opens a tab, which closes with the test.
func newTab(t *testing.T, browser browser) *tab {
	t.Helper()
	p := &tab{t: t, ctx: t.Context()}
	p.driver = browser.openTab(t, p)
	return p
}

// navigate loads url.
func (p *tab) navigate(url string) {
	p.t.Helper()
	p.must("open "+url, func(ctx context.Context) error { return p.driver.navigate(ctx, url) })
}

// must does something to the tab that has to succeed.
func (p *tab) must(what string, do func(ctx context.Context) error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, maxWait)
	defer cancel()
	if err := do(ctx); err != nil {
		p.t.Fatalf("%s: %v", what, err)
	}
}

// open loads url in a new tab and returns when the page is connected. An error in
// the page's console fails the test, unless it is one of allowErrors.
func open(t *testing.T, browser browser, url string) *tab {
	t.Helper()
	p := openUnconnected(t, browser, url)
	p.connected()
	return p
}

// openUnconnected is open for a page that may not connect.
func openUnconnected(t *testing.T, browser browser, url string) *tab {
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

// What a driver saw in the tab.

func (p *tab) opened() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current.sockets++
}

func (p *tab) sent(message string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case strings.Contains(message, `"command":"info"`):
		p.current.infos++
		p.current.answered = false
		// A frame, which has another address, forgets nothing of the page.
		if address := pageAddress.FindString(message); strings.Contains(p.current.reported, address) {
			p.current.reported = ""
		}
		p.current.reported += message
	case strings.Contains(message, `"command":"uses"`):
		p.current.reported += message
		p.current.answered = false
	}
}

// pageAddress finds in an info the address of the page that reports.
var pageAddress = regexp.MustCompile(`"url":"[^"]*"`)

func (p *tab) received(message string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case strings.Contains(message, `"command":"at"`):
		p.current.answered = true
	case strings.Contains(message, `"command":"change"`):
		p.current.answered = true
		p.current.changes++
	}
}

func (p *tab) complained(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current.errors = append(p.current.errors, text)
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
		value, err := p.evaluate(expression)
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
	p.must(script, func(ctx context.Context) error {
		_, err := p.driver.evaluate(ctx, script)
		return err
	})
}

// evaluate returns the value of a JavaScript expression as a string.
func (p *tab) evaluate(expression string) (string, error) {
	ctx, cancel := context.WithTimeout(p.ctx, maxWait)
	defer cancel()
	return p.driver.evaluate(ctx, "String("+expression+")")
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
	p.must("press keys", func(ctx context.Context) error { return p.driver.press(ctx, keys) })
}

func (p *tab) wheel(x, y int) {
	p.t.Helper()
	p.must("turn the wheel", func(ctx context.Context) error { return p.driver.wheel(ctx, x, y) })
}

// click clicks with the mouse in the middle of an element, which must be in sight.
func (p *tab) click(selector string) {
	p.t.Helper()
	var x, y int
	at, err := p.evaluate("(r => [r.x + r.width / 2, r.y + r.height / 2].map(Math.round).join())(document.querySelector('" + selector + "').getBoundingClientRect())")
	if _, wrong := fmt.Sscanf(at, "%d,%d", &x, &y); err != nil || wrong != nil {
		p.t.Fatalf("%s is at %q: %v, %v", selector, at, err, wrong)
	}
	p.must("click "+selector, func(ctx context.Context) error { return p.driver.click(ctx, x, y) })
}

func (p *tab) hide(hidden bool) {
	p.t.Helper()
	p.must("hide or show the page", func(ctx context.Context) error { return p.driver.hide(ctx, hidden) })
}

// A nameServer is a SOCKS 5 server, over which a browser reaches the names that tests
// map. It refuses all others.
type nameServer struct {
	listener net.Listener

	mu        sync.Mutex
	addresses map[string]string // by host and port
}

func startNameServer() (*nameServer, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &nameServer{listener: listener, addresses: map[string]string{}}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	}()
	return s, nil
}

func (s *nameServer) mapName(host, address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addresses[host] = address
}

// serve connects one connection of the browser: RFC 1928, without authentication.
func (s *nameServer) serve(conn net.Conn) {
	defer conn.Close()
	var greeting [2]byte // version, number of methods
	if _, err := io.ReadFull(conn, greeting[:]); err != nil {
		return
	}
	if _, err := io.CopyN(io.Discard, conn, int64(greeting[1])); err != nil {
		return
	}
	conn.Write([]byte{5, 0})
	var request [5]byte // version, CONNECT, 0, a name follows, its length
	if _, err := io.ReadFull(conn, request[:]); err != nil || request[3] != 3 {
		return
	}
	target := make([]byte, int(request[4])+2)
	if _, err := io.ReadFull(conn, target); err != nil {
		return
	}
	name, port := target[:request[4]], int(target[request[4]])<<8|int(target[request[4]+1])

	s.mu.Lock()
	address := s.addresses[fmt.Sprintf("%s:%d", name, port)]
	s.mu.Unlock()
	to, err := net.Dial("tcp", address)
	if address == "" || err != nil {
		conn.Write([]byte{5, 4, 0, 1, 0, 0, 0, 0, 0, 0}) // no such host
		return
	}
	defer to.Close()
	conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	go func() {
		io.Copy(to, conn)
		to.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(conn, to)
}
