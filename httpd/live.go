package httpd

import (
	"bufio"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// protocol7 is the version of the LiveReload protocol that is spoken.
const protocol7 = "http://livereload.com/protocols/official-7"

// serverHello is the answer to a client's hello.
const serverHello = `{"command":"hello","protocols":["` + protocol7 + `"],"serverName":"execlogd"}`

// frameLimit is many times what a client has to say, which is a page's URL
// and its plugins.
const frameLimit = 64 << 10

// Patience is how long a browser may take for what.
type patience struct {
	hello   time.Duration // to say hello
	ping    time.Duration // between two questions whether it is still there
	pong    time.Duration // to answer one
	write   time.Duration // to take one update
	goodbye time.Duration // to answer a goodbye
}

// Behind a laptop's lid or a lost network nobody says goodbye; a proxy drops
// what is silent for a minute.
var defaultPatience = patience{
	hello:   10 * time.Second,
	ping:    30 * time.Second,
	pong:    15 * time.Second,
	write:   10 * time.Second,
	goodbye: 2 * time.Second,
}

//go:embed live.js
var script string

// serveScript answers with the client. Any page may load it: a page of another
// server on this machine, or a file: page.
func serveScript(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum224([]byte(script))))
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(script))
}

// A browser is one websocket and the page at its other end.
type browser struct {
	conn     *websocket.Conn
	hub      *hub
	slot     *slot
	patience patience
	log      *slog.Logger

	host      string // by which the page reached us
	directory string // that is served
	badge     badge
	late      bool          // the badge says from when on the page is to be told
	ready     chan struct{} // closed when the page has introduced itself
}

// serveBrowser upgrades to a websocket and keeps the page at its other end
// told until it leaves, the request's context ends, or the server closes.
func (s *Server) serveBrowser(w http.ResponseWriter, r *http.Request) {
	if code, why := s.gate.origin(r); code != 0 {
		s.log.Info("stranger refused", "origin", clip(r.Header.Get("Origin")), "remote", r.RemoteAddr)
		refuse(w, code, why)
		return
	}
	visit := visitOf(r.Context())
	visit.browsers.enter()
	defer visit.browsers.leave()

	line := &hijacker{ResponseWriter: w}
	conn, err := websocket.Accept(line, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // the gate has verified it
	})
	if err != nil {
		s.log.Debug("websocket refused", "remote", r.RemoteAddr, "err", err)
		return
	}
	defer context.AfterFunc(visit.cut, line.cut)()
	stop, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()

	b := &browser{
		conn: conn, hub: &s.hub, slot: s.hub.join(), patience: s.patience, log: s.log.With("remote", r.RemoteAddr),
		host: s.gate.reached(r), directory: s.directory, badge: parseBadge(r.URL.RawQuery), ready: make(chan struct{}),
	}
	b.late = b.badge.epoch == s.epoch
	defer s.hub.leave(b.slot)
	b.attend(stop, line.cut)
}

// A hijacker remembers the connection that a handler takes over, which is the
// only way to cut one that does not answer a goodbye.
type hijacker struct {
	http.ResponseWriter
	conn net.Conn
}

// Hijack is http.Hijacker's.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	h.conn = conn
	return conn, rw, err
}

func (h *hijacker) cut() { h.conn.Close() }

// A goodbye is why and how a websocket is closed.
type goodbye struct {
	code   websocket.StatusCode
	reason string
}

// Error is what makes a goodbye the end of reading.
func (g *goodbye) Error() string { return g.reason }

// attend talks to the browser until it leaves, misbehaves or stop ends.
func (b *browser) attend(stop context.Context, cut func()) {
	present, leave := context.WithCancelCause(stop)
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		leave(b.listen())
	}()
	err := b.tell(present)

	bye, ok := errors.AsType[*goodbye](err)
	if !ok {
		bye = &goodbye{websocket.StatusGoingAway, "server stopping"}
	}
	defer time.AfterFunc(b.patience.goodbye, cut).Stop()
	b.conn.Close(bye.code, bye.reason)
	cut()
	leave(nil)
	<-heard
	b.log.Debug("browser gone", "err", err)
}

// listen reads what the browser says until the connection ends, and returns
// why: a goodbye where the browser does not speak the protocol.
func (b *browser) listen() error {
	b.conn.SetReadLimit(frameLimit)
	hello, cancel := context.WithTimeout(context.Background(), b.patience.hello)
	defer cancel()
	first, err := b.read(hello)
	if err != nil {
		return err
	}
	if !first.isHello() {
		return &goodbye{websocket.StatusProtocolError, "want hello with " + protocol7}
	}
	if err := b.write(hello, []byte(serverHello)); err != nil {
		return err
	}
	for introduced := false; ; {
		r, err := b.read(context.Background())
		if err != nil {
			return err
		}
		if r.Command != "info" && r.Command != "url" {
			continue // also a second hello: what is not known does no harm
		}
		if b.late && !introduced {
			b.hub.catchUp(b.slot, b.pageAt(r.URL), b.badge.number)
		} else {
			b.hub.move(b.slot, b.pageAt(r.URL))
		}
		b.log.Debug("browser shows", "url", r.URL)
		if r.Command == "info" && !introduced {
			introduced = true
			close(b.ready)
		}
	}
}

func (b *browser) pageAt(href string) page {
	p := newPage(href, b.host, b.directory)
	if p.placed && b.badge.missing {
		p.files = append(p.files, missingPage)
	}
	return p
}

// read returns the browser's next request, or a goodbye for what is none.
func (b *browser) read(ctx context.Context) (request, error) {
	kind, text, err := b.conn.Read(ctx)
	if err != nil {
		return request{}, err
	}
	if kind != websocket.MessageText {
		return request{}, &goodbye{websocket.StatusUnsupportedData, "want text"}
	}
	r, err := parseRequest(text)
	if err != nil {
		return request{}, &goodbye{websocket.StatusInvalidFramePayloadData, "want a JSON object"}
	}
	return r, nil
}

// tell sends the browser its updates, once it has introduced itself, and asks
// now and then whether it is still there. It returns why it stopped.
func (b *browser) tell(present context.Context) error {
	ping := time.NewTicker(b.patience.ping)
	defer ping.Stop()
	var (
		ready = b.ready
		mail  <-chan struct{} // nil until the page has introduced itself
		pong  chan error      // nil unless a ping is under way
	)
	asking, hangUp := context.WithCancel(present)
	defer func() {
		hangUp()
		if pong != nil {
			<-pong
		}
	}()
	for {
		select {
		case <-present.Done():
			return context.Cause(present)
		case <-ready:
			ready, mail = nil, b.slot.ready
		case <-mail:
			if err := b.send(b.hub.take(b.slot)); err != nil {
				return err
			}
		case <-ping.C:
			if pong == nil {
				pong = make(chan error, 1)
				go func() { pong <- b.ping(asking) }()
			}
		case err := <-pong:
			pong = nil
			if err != nil {
				return fmt.Errorf("ping: %w", err)
			}
		}
	}
}

// send writes an update, in as many messages as it takes. Stopping does not
// interrupt it: a frame that was begun has to be finished before a goodbye.
func (b *browser) send(u update) error {
	ctx, cancel := context.WithTimeout(context.Background(), b.patience.write)
	defer cancel()
	if u.reload != nil {
		return b.write(ctx, u.reload.text)
	}
	for _, m := range u.assets {
		if err := b.write(ctx, m.text); err != nil {
			return err
		}
	}
	return nil
}

func (b *browser) write(ctx context.Context, text []byte) error {
	return b.conn.Write(ctx, websocket.MessageText, text)
}

func (b *browser) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, b.patience.pong)
	defer cancel()
	return b.conn.Ping(ctx)
}

// A request is what a client says; which fields count depends on Command.
type request struct {
	Command   string   `json:"command"`
	Protocols []string `json:"protocols"`
	URL       string   `json:"url"`
}

// parseRequest reads a frame. Fields that are not known are ignored.
func parseRequest(text []byte) (request, error) {
	var r *request
	if err := json.Unmarshal(text, &r); err != nil {
		return request{}, err
	}
	if r == nil {
		return request{}, errors.New("null is no request")
	}
	return *r, nil
}

func (r request) isHello() bool {
	return r.Command == "hello" && slices.Contains(r.Protocols, protocol7)
}
