package httpd

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

// Patience is how long a client may take for what.
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

// A browser is one websocket and the page at its other end. At rest it is one
// goroutine, which reads.
type browser struct {
	conn     *websocket.Conn
	line     *line // beneath conn
	conns    *connSet
	hub      *hub
	slot     *slot
	patience patience
	pinger   *time.Timer
	remote   string

	isOwn   func(page *url.URL) bool // whether a page is of this server
	badge   badge
	ours    bool // it speaks our protocol
	own     bool // its page is of this server
	reports bool // and says what it uses

	// Of the goroutine that reads.
	introduced bool
	budget     ratelimit.Bucket
	owes       int // files that were compared for it since the last message
}

// A peer is what is known of a page that opens a websocket.
type peer struct {
	conns *connSet                 // which the websocket belongs to
	own   bool                     // the page is of this server
	isOwn func(page *url.URL) bool // whether a page is of this server
}

// serve upgrades to a websocket, and returns. The browser keeps the page
// at its other end told, until it leaves or the set or the server is over, in
// a goroutine of its own: that of the request holds buffers and the request.
func (h *hub) serve(w http.ResponseWriter, r *http.Request, p peer) {
	p.conns.Add()
	defer p.conns.Done()
	taken := &takeover{ResponseWriter: w, conns: p.conns, patience: h.patience.write}
	conn, err := websocket.Accept(taken, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // the caller has verified it
	})
	if err != nil {
		h.config.Load().log.Debug("websocket refused", "remote", r.RemoteAddr, "err", err)
		return
	}
	b := &browser{
		conn: conn, line: taken.line, conns: p.conns, hub: h, slot: h.join(),
		patience: h.patience, remote: r.RemoteAddr,
		isOwn: p.isOwn, badge: parseBadge(r.URL.RawQuery), own: p.own,
	}
	b.pinger = time.AfterFunc(time.Hour, b.ping)
	p.conns.admit(b)
	go b.attend()
}

func (b *browser) log() *slog.Logger { return b.hub.config.Load().log }

// A goodbye is why and how a websocket is closed.
type goodbye struct {
	code   websocket.StatusCode
	reason string
}

// Error is what makes a goodbye the end of reading.
func (g *goodbye) Error() string { return g.reason }

var errStopping = &goodbye{websocket.StatusGoingAway, "server stopping"}

// attend listens to the browser until it leaves, misbehaves or is hung up on.
func (b *browser) attend() {
	b.pinger.Reset(b.patience.ping)
	b.conn.SetReadLimit(frameLimit)
	b.line.SetReadDeadline(time.Now().Add(b.patience.hello))
	b.follow((*browser).greet)
}

// follow hears one message, and has another goroutine hear the next: one that
// waits keeps the stack that it needed, for as long as the browser is there.
func (b *browser) follow(hear func(*browser, request) error) {
	text, err := b.read()
	if err == nil {
		err = b.handle(text, hear)
	}
	if err == nil {
		go b.follow((*browser).hear)
		return
	}
	b.end(err)
}

// end is when there is nothing more to hear.
func (b *browser) end(err error) {
	defer b.conns.discharge(b)
	defer b.hub.leave(b.slot)
	defer b.pinger.Stop()
	if bye, ok := errors.AsType[*goodbye](err); ok {
		b.part(bye)
	}
	why := b.line.cut(err)
	b.conn.CloseNow()
	b.log().Debug("browser gone", "remote", b.remote, "err", why)
}

// part says goodbye, gives the browser time to answer, and hangs up.
func (b *browser) part(bye *goodbye) {
	b.line.endMessages()
	defer time.AfterFunc(b.patience.goodbye, func() { b.line.cut(bye) }).Stop()
	b.conn.Close(bye.code, bye.reason)
	b.line.cut(bye)
}

// ping asks whether the browser is still there, and from time to time again.
// It is the pinger's, which may be late.
func (b *browser) ping() {
	if !b.conns.accompany(b) {
		return
	}
	defer b.conns.Done()
	ctx, cancel := context.WithTimeout(context.Background(), b.patience.pong)
	defer cancel()
	if err := b.conn.Ping(ctx); err != nil {
		b.line.cut(fmt.Errorf("ping: %w", err))
		return
	}
	b.pinger.Reset(b.patience.ping)
}

// greet answers the first message.
func (b *browser) greet(r request) error {
	if !r.isHello() {
		return &goodbye{websocket.StatusProtocolError, "want hello with " + protocol7}
	}
	b.line.SetReadDeadline(time.Time{})
	if !r.offersOurs() {
		return b.line.send(textFrame([]byte(serverHello)))
	}
	b.ours = true
	b.hub.adopt(b.slot)
	return b.line.send(textFrame([]byte(ourHello)))
}

// hear heeds a message after the first.
func (b *browser) hear(r request) error {
	b.heed(r)
	if r.Command == "info" && !b.introduced {
		b.introduced = true
		b.hub.open(b.slot, b.send)
	}
	return nil
}

// heed does what a request asks for. What is not known does no harm: also a
// second hello.
func (b *browser) heed(r request) {
	switch r.Command {
	case "info", "url":
		b.log().Debug("browser shows", "remote", b.remote, "url", r.URL)
		b.hub.seenAs(b.slot, r.URL, b.remote)
	}
	switch {
	case r.Command == "info" && b.ours && b.own && r.Path != "":
		b.reports = true
		b.owes = b.hub.meet(b.slot, r, b.badge)
	case r.Command == "uses" && b.reports:
		b.owes = b.hub.hearUses(b.slot, parseUses(r.Uses), r.age())
	case r.Command == "url" && b.reports:
		b.hub.hearURL(b.slot, ownUses(r.Path, b.badge))
	case r.Command == "info" && !b.introduced:
		b.arrive(r)
	case r.Command == "info" || r.Command == "url":
		b.hub.move(b.slot, b.pageAt(r.URL))
	}
}

// arrive takes in a page that does not say what it uses.
func (b *browser) arrive(r request) {
	seen := b.badge.position
	if b.ours && r.Seen != "" {
		seen = parsePosition(r.Seen)
	}
	p := b.pageAt(r.URL)
	if seen.epoch == b.hub.epoch {
		b.hub.catchUp(b.slot, p, seen.number)
	} else {
		b.hub.move(b.slot, p)
	}
	if b.badge.listing && p.placed {
		b.hub.hearList(b.slot, r.URL, b.badge)
	}
	if b.ours {
		b.hub.ask(b.slot)
	}
}

func (b *browser) pageAt(href string) page {
	p := newPage(href, b.isOwn, b.hub.config.Load().directory)
	if p.placed && b.badge.missing {
		p.files = append(p.files, urlpath.NotFound)
	}
	return p
}

// read returns the browser's next message when there is time for it, or a goodbye
// for what is none.
func (b *browser) read() ([]byte, error) {
	kind, text, err := b.conn.Read(context.Background())
	if err != nil {
		return nil, err
	}
	if kind != websocket.MessageText {
		return nil, &goodbye{websocket.StatusUnsupportedData, "want text"}
	}
	owes := b.owes
	b.owes = 0
	return text, b.spend(messageCost + len(text) + owes)
}

// shortMessage is up to how many bytes a message does not wait for those of other
// browsers. Longer ones, which name many files, are handled one after the other.
const shortMessage = 8 << 10

// handle parses a message and has it heard. For what is no request it returns a
// goodbye.
func (b *browser) handle(text []byte, hear func(*browser, request) error) error {
	if len(text) > shortMessage {
		b.hub.longMessages.Lock()
		defer b.hub.longMessages.Unlock()
		if b.line.isOver() {
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

// spend waits until a browser may cost so much. Nothing is read from it meanwhile:
// what it says is not lost, and nobody else waits. It is an error when the
// connection ends first.
func (b *browser) spend(cost int) error {
	perByte := time.Second / budgetRate
	for {
		wait := b.budget.Take(time.Duration(min(cost, budgetBytes))*perByte, budgetBytes*perByte)
		if wait == 0 {
			return nil
		}
		if !b.line.pause(wait) {
			return net.ErrClosed
		}
	}
}

// send is the hub's. It writes what waits for the browser, and does not wait for
// that: the line keeps what the browser does not take.
func (b *browser) send() {
	b.conns.Add()
	defer b.conns.Done()
	if frames := b.hub.take(b.slot); frames != nil {
		if err := b.line.send(frames); err != nil {
			b.line.cut(err)
		}
	}
	b.line.whenTaken(b.sent)
}

func (b *browser) sent() { b.hub.sent(b.slot) }
