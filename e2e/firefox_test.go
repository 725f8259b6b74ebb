package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// firefoxPreferences are of the profile in which tests run. What WebDriver recommends for
// tests comes with a session.
const firefoxPreferences = `
user_pref("security.fileuri.strict_origin_policy", true); // as readers have it
user_pref("dom.security.https_first", false); // names that a test maps may have no TLS
user_pref("app.normandy.enabled", false);
user_pref("nimbus.rollouts.enabled", false);
user_pref("browser.newtabpage.enabled", false);
user_pref("gfx.webrender.software", true);
user_pref("dom.ipc.processPrelaunch.enabled", false); // for pages that no test opens
`

// launchFirefox starts Firefox ESR, which is driven over WebDriver BiDi.
func launchFirefox() (fresh func(*testing.T) browser, end func(), err error) {
	path, err := exec.LookPath("firefox-esr")
	if err != nil {
		return nil, nil, notInstalledError{err}
	}
	names, err := startNameServer()
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "firefox-")
	if err != nil {
		return nil, nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "user.js"), []byte(firefoxPreferences), 0o644); err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(path, "--headless", "--no-remote", "--profile", dir, "--remote-debugging-port=0", "about:blank")
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CACHE_HOME="+dir, "MOZ_CRASHREPORTER_DISABLE=1", "GDK_BACKEND=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said, err := cmd.StderrPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	url := make(chan string, 1)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(said); lines.Scan(); {
			if _, where, ok := strings.Cut(lines.Text(), "WebDriver BiDi listening on "); ok {
				url <- where + "/session"
			}
		}
		close(url)
	}()
	var b *bidi
	end = func() {
		if b != nil {
			b.close()
		}
		cmd.Process.Kill()
		<-read
		cmd.Wait()
		names.listener.Close()
		os.RemoveAll(dir)
	}

	ctx, cancel := context.WithTimeout(context.Background(), 2*maxWait)
	defer cancel()
	select {
	case where, ok := <-url:
		if !ok {
			err = errors.New("it ended at once")
		} else {
			b, err = dialBidi(ctx, where)
		}
	case <-ctx.Done():
		err = errors.New("it does not listen")
	}
	if err == nil {
		err = b.begin(ctx)
	}
	if err != nil {
		end()
		return nil, nil, err
	}
	fresh = func(t *testing.T) browser {
		t.Helper()
		f := &firefox{nameServer: names, bidi: b}
		host, port, _ := net.SplitHostPort(names.listener.Addr().String())
		err := b.call(t.Context(), "browser.createUserContext", params{
			"acceptInsecureCerts": true,
			"proxy":               params{"proxyType": "manual", "socksProxy": host + ":" + port, "socksVersion": 5},
		}, &f.profile)
		if err != nil {
			t.Fatalf("new profile: %v", err)
		}
		t.Cleanup(func() {
			b.call(context.Background(), "browser.removeUserContext", f.profile, nil)
		})
		return f
	}
	return fresh, end, nil
}

// firefox is a browser for one test.
type firefox struct {
	*nameServer
	bidi    *bidi
	profile struct {
		UserContext string `json:"userContext"`
	}
}

func (*firefox) name() string { return "firefox" }

// reportSockets tells the driver what the websockets of a page carry, which no event of
// WebDriver BiDi does.
const reportSockets = `(report) => {
	self.WebSocket = class extends WebSocket {
		constructor(...args) {
			super(...args);
			report("opened");
			this.addEventListener("message", ({ data }) => report("received " + data));
		}
		send(data) {
			super.send(data);
			report("sent " + data);
		}
	};
}`

func (f *firefox) openTab(t *testing.T, p *tab) driver {
	t.Helper()
	d := &firefoxTab{bidi: f.bidi}
	ctx := t.Context()
	// Only one tab of a window is visible.
	err := f.bidi.call(ctx, "browsingContext.create", params{"type": "window", "userContext": f.profile.UserContext}, &d.target)
	if err != nil {
		t.Fatalf("new tab: %v", err)
	}
	f.bidi.listen(d.target.Context, func(event bidiEvent) { d.observe(p, event) })
	t.Cleanup(func() {
		f.bidi.call(context.Background(), "browsingContext.close", d.target, nil)
		f.bidi.listen(d.target.Context, nil)
	})
	err = f.bidi.call(ctx, "script.addPreloadScript", params{
		"functionDeclaration": reportSockets,
		"arguments":           []params{{"type": "channel", "value": params{"channel": d.target.Context}}},
		"contexts":            []string{d.target.Context},
	}, nil)
	if err != nil {
		t.Fatalf("new tab: %v", err)
	}
	return d
}

// firefoxTab is the driver of a tab of Firefox.
type firefoxTab struct {
	bidi   *bidi
	target struct {
		Context string `json:"context"`
	}
	cover string // the tab in front of it, while it is hidden
}

// observe tells a tab of an event of WebDriver BiDi.
func (d *firefoxTab) observe(p *tab, event bidiEvent) {
	switch event.Method {
	case "script.message":
		kind, text, _ := strings.Cut(event.Params.Data.Value, " ")
		switch kind {
		case "opened":
			p.opened()
		case "sent":
			p.sent(text)
		case "received":
			p.received(text)
		}
	case "log.entryAdded":
		if event.Params.Level == "error" || event.Params.Level == "warn" {
			p.complained(event.Params.Level + ": " + event.Params.Text)
		}
	}
}

func (d *firefoxTab) navigate(ctx context.Context, url string) error {
	return d.bidi.call(ctx, "browsingContext.navigate", params{"context": d.target.Context, "url": url, "wait": "complete"}, nil)
}

func (d *firefoxTab) evaluate(ctx context.Context, script string) (string, error) {
	var answer struct {
		Result struct {
			Type  string
			Value json.RawMessage
		}
		ExceptionDetails *struct{ Text string }
	}
	err := d.bidi.call(ctx, "script.evaluate", params{"expression": script, "target": d.target, "awaitPromise": false}, &answer)
	if err != nil {
		return "", err
	}
	if answer.ExceptionDetails != nil {
		return "", errors.New(answer.ExceptionDetails.Text)
	}
	if answer.Result.Type != "string" {
		return "", nil
	}
	var text string
	err = json.Unmarshal(answer.Result.Value, &text)
	return text, err
}

func (d *firefoxTab) press(ctx context.Context, keys string) error {
	// Only the active window has an element with the focus that can be edited.
	if err := d.bidi.call(ctx, "browsingContext.activate", d.target, nil); err != nil {
		return err
	}
	var actions []params
	for _, key := range keys {
		actions = append(actions, params{"type": "keyDown", "value": string(key)}, params{"type": "keyUp", "value": string(key)})
	}
	return d.perform(ctx, params{"type": "key", "id": "keyboard", "actions": actions})
}

func (d *firefoxTab) wheel(ctx context.Context, x, y int) error {
	return d.perform(ctx, params{"type": "wheel", "id": "wheel", "actions": []params{
		{"type": "scroll", "x": 100, "y": 100, "deltaX": x, "deltaY": y},
	}})
}

func (d *firefoxTab) click(ctx context.Context, x, y int) error {
	return d.perform(ctx, params{"type": "pointer", "id": "mouse", "actions": []params{
		{"type": "pointerMove", "x": x, "y": y}, {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0},
	}})
}

func (d *firefoxTab) perform(ctx context.Context, source params) error {
	return d.bidi.call(ctx, "input.performActions", params{"context": d.target.Context, "actions": []params{source}}, nil)
}

// hide puts another tab in front of it: without a screen no window can be minimised.
func (d *firefoxTab) hide(ctx context.Context, hidden bool) error {
	if !hidden {
		err := d.bidi.call(ctx, "browsingContext.close", params{"context": d.cover}, nil)
		d.cover = ""
		return err
	}
	var cover struct{ Context string }
	err := d.bidi.call(ctx, "browsingContext.create", params{"type": "tab", "referenceContext": d.target.Context}, &cover)
	d.cover = cover.Context
	return err
}

// params are what a command of WebDriver BiDi gets.
type params map[string]any

// bidi is a session of WebDriver BiDi: https://w3c.github.io/webdriver-bidi/.
type bidi struct {
	conn  *websocket.Conn
	ended chan struct{} // closed when there will be no more answers

	mu        sync.Mutex
	id        int
	answers   map[int]chan bidiEvent
	listeners map[string]func(bidiEvent) // by the tab
	parents   map[string]string          // of frames
}

// bidiEvent is an event, or the answer to a command.
type bidiEvent struct {
	ID      int
	Result  json.RawMessage
	Error   string
	Message string

	Method string
	Params struct {
		// browsingContext.contextCreated
		Context, Parent string

		// script.message
		Channel string
		Data    struct{ Value string }

		// log.entryAdded
		Level, Text string
		Source      struct{ Context string }
	}
}

func dialBidi(ctx context.Context, url string) (*bidi, error) {
	conn, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(-1) // screenshots are large
	b := &bidi{
		conn: conn, ended: make(chan struct{}),
		answers: map[int]chan bidiEvent{}, listeners: map[string]func(bidiEvent){}, parents: map[string]string{},
	}
	go b.read()
	return b, nil
}

// begin begins the session.
func (b *bidi) begin(ctx context.Context) error {
	if err := b.call(ctx, "session.new", params{"capabilities": params{}}, nil); err != nil {
		return err
	}
	return b.call(ctx, "session.subscribe", params{"events": []string{"browsingContext.contextCreated", "script.message", "log.entryAdded"}}, nil)
}

func (b *bidi) close() {
	b.conn.CloseNow()
	<-b.ended
}

// read hands out answers and events until the connection ends.
func (b *bidi) read() {
	defer close(b.ended)
	for {
		var event bidiEvent
		if err := wsjson.Read(context.Background(), b.conn, &event); err != nil {
			return
		}
		if event.Method == "" {
			b.mu.Lock()
			answer := b.answers[event.ID]
			delete(b.answers, event.ID)
			b.mu.Unlock()
			if answer != nil {
				answer <- event
			}
		} else if listener := b.listener(event); listener != nil {
			listener(event)
		}
	}
}

// listener returns what hears of an event: the tab that it is of.
func (b *bidi) listener(event bidiEvent) func(bidiEvent) {
	b.mu.Lock()
	defer b.mu.Unlock()
	tab := event.Params.Source.Context
	switch event.Method {
	case "browsingContext.contextCreated":
		b.parents[event.Params.Context] = event.Params.Parent
		return nil
	case "script.message":
		return b.listeners[event.Params.Channel]
	}
	for b.parents[tab] != "" {
		tab = b.parents[tab]
	}
	return b.listeners[tab]
}

// listen sets what is called for the events of a tab, one after the other, or nil.
func (b *bidi) listen(tab string, listener func(bidiEvent)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.listeners[tab] = listener
	if listener == nil {
		delete(b.listeners, tab)
	}
}

// call sends a command, and waits for its result.
func (b *bidi) call(ctx context.Context, method string, parameters, result any) error {
	answer := make(chan bidiEvent, 1)
	b.mu.Lock()
	b.id++
	id := b.id
	b.answers[id] = answer
	b.mu.Unlock()
	if err := wsjson.Write(ctx, b.conn, params{"id": id, "method": method, "params": parameters}); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case a := <-answer:
		if a.Error != "" {
			return fmt.Errorf("%s: %s: %s", method, a.Error, a.Message)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(a.Result, result)
	case <-b.ended:
		return fmt.Errorf("%s: Firefox is gone", method)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, context.Cause(ctx))
	}
}
