package livereload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/coder/websocket"

	"github.com/execlog/execlogd/httpd/internal/ratelimit"
	"github.com/execlog/execlogd/httpd/internal/urlpath"
)

// frameLimit is many times what a client has to say, which is a page's URL,
// its plugins and what it uses.
const frameLimit = 64 << 10

// Timeouts is how long a client may take for what.
type Timeouts struct {
	Hello time.Duration // to say hello
	Ping  time.Duration // between two questions whether it is still there
	Pong  time.Duration // to answer one
	Write time.Duration // to take one update
	Close time.Duration // to answer a goodbye
}

// Behind a laptop's lid or a lost network nobody says goodbye; a proxy drops
// what is silent for a minute.
var defaultTimeouts = Timeouts{
	Hello: 10 * time.Second,
	Ping:  30 * time.Second,
	Pong:  15 * time.Second,
	Write: 10 * time.Second,
	Close: 2 * time.Second,
}

// A conn is one websocket and the page at its other end. At rest it is one
// goroutine, which reads.
type conn struct {
	ws       *websocket.Conn
	net      *nonblockingConn // beneath conn
	conns    *ConnSet
	hub      *Hub
	slot     *client
	patience Timeouts
	pinger   *time.Timer
	remote   string

	isOwn   func(page *url.URL) bool // whether a page is of this server
	badge   PageToken
	ours    bool // it speaks our protocol
	own     bool // its page is of this server
	reports bool // and says what it uses

	// Of the goroutine that reads.
	introduced bool
	budget     ratelimit.Bucket
	owes       int // files that were compared for it since the last message
}

// A Peer is what is known of a page that opens a websocket.
type Peer struct {
	Conns      *ConnSet                 // which the websocket belongs to
	SameOrigin bool                     // the page is of this server
	IsOwn      func(page *url.URL) bool // whether a page is of this server
}

// ServeWebSocket upgrades to a websocket, and returns. The browser keeps the page
// at its other end told, until it leaves or the set or the server is over, in
// a goroutine of its own: that of the request holds buffers and the request.
func (h *Hub) ServeWebSocket(w http.ResponseWriter, r *http.Request, p Peer) {
	p.Conns.Add()
	defer p.Conns.Done()
	taken := &hijacker{ResponseWriter: w, conns: p.Conns, patience: h.Timeouts.Write}
	ws, err := websocket.Accept(taken, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // the caller has verified it
	})
	if err != nil {
		h.config.Load().Logger.Debug("websocket refused", "remote", r.RemoteAddr, "err", err)
		return
	}
	b := &conn{
		ws: ws, net: taken.line, conns: p.Conns, hub: h, slot: h.join(),
		patience: h.Timeouts, remote: r.RemoteAddr,
		isOwn: p.IsOwn, badge: parsePageToken(r.URL.RawQuery), own: p.SameOrigin,
	}
	b.pinger = time.AfterFunc(time.Hour, b.ping)
	p.Conns.add(b)
	go b.attend()
}

func (b *conn) log() *slog.Logger { return b.hub.config.Load().Logger }

// A goodbye is why and how a websocket is closed.
type goodbye struct {
	code   websocket.StatusCode
	reason string
}

// Error is what makes a goodbye the end of reading.
func (g *goodbye) Error() string { return g.reason }

var errStopping = &goodbye{websocket.StatusGoingAway, "server stopping"}

// attend listens to the browser until it leaves, misbehaves or is hung up on.
func (b *conn) attend() {
	b.pinger.Reset(b.patience.Ping)
	b.ws.SetReadLimit(frameLimit)
	b.net.SetReadDeadline(time.Now().Add(b.patience.Hello))
	b.follow((*conn).greet)
}

// follow hears one message, and has another goroutine hear the next: one that
// waits keeps the stack that it needed, for as long as the browser is there.
func (b *conn) follow(hear func(*conn, request) error) {
	text, err := b.read()
	if err == nil {
		err = b.handle(text, hear)
	}
	if err == nil {
		go b.follow((*conn).hear)
		return
	}
	b.end(err)
}

// end is when there is nothing more to hear.
func (b *conn) end(err error) {
	defer b.conns.remove(b)
	defer b.hub.leave(b.slot)
	defer b.pinger.Stop()
	if bye, ok := errors.AsType[*goodbye](err); ok {
		b.part(bye)
	}
	why := b.net.cut(err)
	b.ws.CloseNow()
	b.log().Debug("browser gone", "remote", b.remote, "err", why)
}

// part says goodbye, gives the browser time to answer, and hangs up.
func (b *conn) part(bye *goodbye) {
	b.net.endMessages()
	defer time.AfterFunc(b.patience.Close, func() { b.net.cut(bye) }).Stop()
	b.ws.Close(bye.code, bye.reason)
	b.net.cut(bye)
}

// ping asks whether the browser is still there, and from time to time again.
// It is the pinger's, which may be late.
func (b *conn) ping() {
	if !b.conns.join(b) {
		return
	}
	defer b.conns.Done()
	ctx, cancel := context.WithTimeout(context.Background(), b.patience.Pong)
	defer cancel()
	if err := b.ws.Ping(ctx); err != nil {
		b.net.cut(fmt.Errorf("ping: %w", err))
		return
	}
	b.pinger.Reset(b.patience.Ping)
}

// greet answers the first message.
func (b *conn) greet(r request) error {
	if !r.isHello() {
		return &goodbye{websocket.StatusProtocolError, "want hello with " + protocol7}
	}
	b.net.SetReadDeadline(time.Time{})
	if !r.offersOurs() {
		return b.net.send(textFrame([]byte(helloAnswer)))
	}
	b.ours = true
	b.hub.setExtended(b.slot)
	return b.net.send(textFrame([]byte(extendedHello)))
}

// hear heeds a message after the first.
func (b *conn) hear(r request) error {
	b.heed(r)
	if r.Command == "info" && !b.introduced {
		b.introduced = true
		b.hub.open(b.slot, b.send)
	}
	return nil
}

// heed does what a request asks for. What is not known does no harm: also a
// second hello.
func (b *conn) heed(r request) {
	switch r.Command {
	case "info", "url":
		b.log().Debug("browser shows", "remote", b.remote, "url", r.URL)
		b.hub.describe(b.slot, r.URL, b.remote)
	}
	switch {
	case r.Command == "info" && b.ours && b.own && r.Path != "":
		b.reports = true
		b.owes = b.hub.introduce(b.slot, r, b.badge)
	case r.Command == "uses" && b.reports:
		b.owes = b.hub.addUses(b.slot, parseUses(r.Uses), r.age())
	case r.Command == "url" && b.reports:
		b.hub.showURL(b.slot, ownUses(r.Path, b.badge))
	case r.Command == "info" && !b.introduced:
		b.arrive(r)
	case r.Command == "info" || r.Command == "url":
		b.hub.setPage(b.slot, b.pageAt(r.URL))
	}
}

// arrive takes in a page that does not say what it uses.
func (b *conn) arrive(r request) {
	seen := b.badge.Cursor
	if b.ours && r.Seen != "" {
		seen = parseCursor(r.Seen)
	}
	p := b.pageAt(r.URL)
	if seen.Epoch == b.hub.epoch {
		b.hub.catchUpOther(b.slot, p, seen.Number)
	} else {
		b.hub.setPage(b.slot, p)
	}
	if b.badge.Listing && p.located {
		b.hub.watchListing(b.slot, r.URL, b.badge)
	}
	if b.ours {
		b.hub.requestCursor(b.slot)
	}
}

func (b *conn) pageAt(href string) page {
	p := newPage(href, b.isOwn, b.hub.config.Load().Directory)
	if p.located && b.badge.Missing {
		p.files = append(p.files, urlpath.NotFound)
	}
	return p
}

// read returns the browser's next message when there is time for it, or a goodbye
// for what is none.
func (b *conn) read() ([]byte, error) {
	kind, text, err := b.ws.Read(context.Background())
	if err != nil {
		return nil, err
	}
	if kind != websocket.MessageText {
		return nil, &goodbye{websocket.StatusUnsupportedData, "want text"}
	}
	owes := b.owes
	b.owes = 0
	return text, b.throttle(messageCost + len(text) + owes)
}

// shortMessage is up to how many bytes a message does not wait for those of other
// browsers. Longer ones, which name many files, are handled one after the other.
const shortMessage = 8 << 10

// handle parses a message and has it heard. For what is no request it returns a
// goodbye.
func (b *conn) handle(text []byte, hear func(*conn, request) error) error {
	if len(text) > shortMessage {
		b.hub.longMessages.Lock()
		defer b.hub.longMessages.Unlock()
		if b.net.isOver() {
			return net.ErrClosed // it has left while it waited
		}
	}
	r, err := parseRequest(text)
	if err != nil {
		return &goodbye{websocket.StatusInvalidFramePayloadData, "want a JSON object"}
	}
	return hear(b, r)
}

// What a browser costs is counted in bytes: so many at once, and then so many a
// second. A file that is compared with those of its page counts as one byte. That
// is enough for a page to name as many files as it may (maxUseBytes) at once, and
// to introduce itself again.
const (
	budgetBytes = 1 << 20
	budgetRate  = 16 << 10 // bytes a second
	messageCost = 256      // of each message, beside its own bytes
)

// throttle waits until a browser may cost so much. Nothing is read from it meanwhile:
// what it says is not lost, and nobody else waits. It is an error when the
// connection ends first.
func (b *conn) throttle(cost int) error {
	perByte := time.Second / budgetRate
	for {
		wait := b.budget.Take(time.Duration(min(cost, budgetBytes))*perByte, budgetBytes*perByte)
		if wait == 0 {
			return nil
		}
		if !b.net.pause(wait) {
			return net.ErrClosed
		}
	}
}

// send is the hub's. It writes what waits for the browser, and does not wait for
// that: the line keeps what the browser does not take.
func (b *conn) send() {
	b.conns.Add()
	defer b.conns.Done()
	if frames := b.hub.take(b.slot); frames != nil {
		if err := b.net.send(frames); err != nil {
			b.net.cut(err)
		}
	}
	b.net.onIdle(b.sent)
}

func (b *conn) sent() { b.hub.sent(b.slot) }
