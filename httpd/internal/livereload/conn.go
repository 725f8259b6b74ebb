package livereload

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/execlog/execlogd/httpd/internal/ratelimit"
	"github.com/execlog/execlogd/httpd/internal/urlpath"
	"github.com/execlog/execlogd/httpd/internal/waitgroup"
)

// maxMessage is the size of the longest message that is read. A page has less to say:
// its URL, its plugins and the files that it uses.
const maxMessage = 64 << 10

// What a client costs is counted in bytes: of its messages, with messageCost more for
// each, and one for each file that is compared with those of its page. It may cost
// burstBytes at once, and then bytesPerSecond. That is enough for a page to name as many
// files as it may (maxUseBytes) and to introduce itself again.
const (
	burstBytes     = 1 << 20
	bytesPerSecond = 16 << 10
	messageCost    = 256
)

// longMessage is the size from which on messages are handled one at a time over all
// clients. They name many files.
const longMessage = 8 << 10

// A Peer is what the server knows of the page that opens a websocket.
type Peer struct {
	Conns      *ConnSet                 // that the connection joins
	Closed     func()                   // is called once the connection is closed, or was refused; it must not block. Nil does nothing
	SameOrigin bool                     // the page is one of this server
	IsOwn      func(page *url.URL) bool // whether a page is one of this server
	IsOwner    func() bool              // whether the browser is the owner's, which takes a while; nil is no
}

// A conn is the websocket of a client. At rest it has one goroutine, which reads.
type conn struct {
	ws      *websocket.Conn
	net     *nonblockingConn // beneath ws
	hub     *Hub
	client  *client
	pinger  *time.Timer
	remote  string
	browser string
	peer    Peer
	token   PageToken

	// For the goroutine that reads.
	greeted  bool // the client has said hello
	budget   ratelimit.Bucket
	compared int // files that were compared for it since the last message
}

// ServeWebSocket upgrades a request of a page that may listen, and returns. The page is
// kept up to date until its browser leaves or the ConnSet is closed, by a goroutine of
// its own: that of the request holds buffers and the request.
func (h *Hub) ServeWebSocket(w http.ResponseWriter, r *http.Request, p Peer) {
	p.Conns.Add()
	defer p.Conns.Done()
	hijacked := &hijacker{ResponseWriter: w, group: &p.Conns.Group, timeout: h.Timeouts.Write}
	ws, err := websocket.Accept(hijacked, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // the caller has checked the origin
	})
	if err != nil {
		h.config.Load().Logger.Debug("websocket refused", "remote", r.RemoteAddr, "err", err)
		if p.Closed != nil {
			p.Closed()
		}
		return
	}
	ws.SetReadLimit(maxMessage)

	c := &conn{
		ws: ws, net: hijacked.net, hub: h, client: h.join(),
		remote: r.RemoteAddr, browser: browserName(r.UserAgent()), peer: p, token: parsePageToken(r.URL.RawQuery),
	}
	c.net.SetReadDeadline(time.Now().Add(h.Timeouts.Hello))
	c.pinger = time.AfterFunc(time.Hour, c.ping) // is set before the first ping needs it
	p.Conns.add(c)
	c.pinger.Reset(h.Timeouts.Ping)
	go c.readNext()
}

func (c *conn) logger() *slog.Logger { return c.hub.config.Load().Logger }

// A closeError is why the server closes a websocket, and the status that it closes it
// with.
type closeError struct {
	code   websocket.StatusCode
	reason string
}

func (e *closeError) Error() string { return e.reason }

var errStopping = &closeError{websocket.StatusGoingAway, "server stopping"}

// readNext handles one message and has another goroutine handle the next: one that waits
// for a message would keep the stack that the last one needed.
func (c *conn) readNext() {
	text, err := c.read()
	if err == nil {
		err = c.handle(text)
	}
	if err == nil {
		go c.readNext()
		return
	}

	if closing, ok := errors.AsType[*closeError](err); ok {
		c.close(closing)
	}
	reason := c.net.close(err)
	c.ws.CloseNow()
	c.logger().Debug("browser gone", "remote", c.remote, "err", reason)
	c.pinger.Stop()
	if c.peer.Closed != nil {
		c.peer.Closed()
	}
	c.hub.leave(c.client)
	c.peer.Conns.remove(c)
}

// read returns the next message, once the client has not cost too much for that.
func (c *conn) read() ([]byte, error) {
	kind, text, err := c.ws.Read(context.Background())
	if err != nil {
		return nil, err
	}
	if kind != websocket.MessageText {
		return nil, &closeError{websocket.StatusUnsupportedData, "want text"}
	}
	cost := messageCost + len(text) + c.compared
	c.compared = 0
	return text, c.throttle(cost)
}

// throttle waits until the client may cost so much. Nothing is read from it meanwhile:
// what it says is not lost, and nobody else waits. It fails when the connection is closed
// before.
func (c *conn) throttle(cost int) error {
	const perByte = time.Second / bytesPerSecond
	for {
		wait := c.budget.Take(time.Duration(min(cost, burstBytes))*perByte, burstBytes*perByte)
		if wait == 0 {
			return nil
		}
		select {
		case <-time.After(wait):
		case <-c.net.gone():
			return net.ErrClosed
		}
	}
}

// handle parses and handles a message. The first must be a hello.
func (c *conn) handle(text []byte) error {
	if len(text) > longMessage {
		c.hub.longMessages.Lock()
		defer c.hub.longMessages.Unlock()
		if c.net.isOver() {
			return net.ErrClosed // it has left while it waited
		}
	}
	var r *request // nil is null
	if err := json.Unmarshal(text, &r); err != nil || r == nil {
		return &closeError{websocket.StatusInvalidFramePayloadData, "want a JSON object"}
	}
	if !c.greeted {
		return c.greet(*r)
	}

	c.handleRequest(*r)
	if r.Command == "info" && !c.introduced() {
		c.hub.open(c.client, c.send)
	}
	return nil
}

func (c *conn) introduced() bool { return c.client.send != nil }

// greet answers the hello.
func (c *conn) greet(r request) error {
	if r.Command != "hello" || !slices.Contains(r.Protocols, officialProtocol) {
		return &closeError{websocket.StatusProtocolError, "want hello with " + officialProtocol}
	}
	c.greeted = true
	c.net.SetReadDeadline(time.Time{})
	if !slices.Contains(r.Protocols, extendedProtocol) {
		return c.net.send(textFrame([]byte(officialHello)))
	}

	c.hub.mu.Lock()
	c.client.extended = true
	c.hub.mu.Unlock()
	return c.net.send(textFrame([]byte(extendedHello)))
}

// handleRequest does what a request asks for. Unknown requests, and a second hello, do
// nothing.
func (c *conn) handleRequest(r request) {
	if r.Command == "info" || r.Command == "url" {
		c.logger().Debug("browser shows", "remote", c.remote, "url", r.URL)
		c.hub.describe(c.client, r.URL, c.remote, c.browser)
	}
	if (r.Command == "info" || r.Command == "url") && c.client.extended && c.peer.SameOrigin && r.Path != "" {
		c.hub.setAddress(c.client, r.Path, r.URL)
	}

	switch {
	case r.Command == "title":
		c.hub.setTitle(c.client, r.Title)
	case r.Command == "sync":
		c.hub.relay(c.client, r.Event)
	case r.Command == "info" && c.client.extended && c.peer.SameOrigin && r.Path != "" && !c.hub.isProxied(r.Path):
		c.compared = c.hub.introduce(c.client, r, c.token)
	case r.Command == "uses" && c.client.reports:
		age := min(cmp.Or(max(r.Age, 0), defaultAge), 1e9)
		c.compared = c.hub.addUses(c.client, parsePaths(r.Uses), time.Duration(age*float64(time.Millisecond)))
	case r.Command == "url" && c.client.reports:
		c.hub.showURL(c.client, c.hub.shownPaths(r.Path, c.token))
	case r.Command == "info" && !c.introduced():
		c.introduceOther(r)
	case r.Command == "info" || r.Command == "url":
		c.hub.setPage(c.client, c.locate(r.URL))
	}
}

// isProxied reports whether a page that names its path is one of another server.
func (h *Hub) isProxied(path string) bool {
	decoded, err := url.PathUnescape(path)
	is := h.config.Load().IsProxied
	return err == nil && is != nil && is(decoded)
}

// introduceOther takes in a page that does not report what it uses.
func (c *conn) introduceOther(r request) {
	seen := c.token.Cursor
	if c.client.extended && r.Seen != "" {
		seen = parseCursor(r.Seen)
	}

	p := c.locate(r.URL)
	c.hub.catchUpOther(c.client, p, c.hub.translate(seen))
	if c.token.Listing && p.located {
		c.hub.watchListing(c.client, r.URL, c.token)
	}
	if c.client.extended {
		c.hub.mu.Lock()
		c.client.reloading = false
		c.hub.mu.Unlock()
		c.hub.answer(c.client)
	}
}

// locate returns the page at a URL.
func (c *conn) locate(href string) page {
	p := newPage(href, c.peer.IsOwn, c.hub.config.Load().Directory)
	if !p.located {
		return p
	}
	if name := c.hub.errorPage(c.token); name != "" {
		p.files = append(p.files, name)
	}
	if u, err := url.Parse(href); err == nil && u.Scheme != "file" {
		if path, ok := urlpath.Parse(urlpath.Canonical(u.Path)); ok {
			p.files = append(p.files, c.hub.look(path).Through...) // of a link, or of another path
		}
	}
	return p
}

// send sends what is in the mailbox, and does not wait until it has left.
func (c *conn) send() {
	c.peer.Conns.Add()
	defer c.peer.Conns.Done()
	if !c.client.owner && c.peer.IsOwner != nil && c.hub.hasSources.Load() {
		c.client.owner = c.peer.IsOwner()
	}
	if frames := c.hub.take(c.client); frames != nil {
		if err := c.net.send(frames); err != nil {
			c.net.close(err)
		}
	}
	c.net.onIdle(c.sent)
}

func (c *conn) sent() { c.hub.sent(c.client) }

// ping makes sure that the client is still there, and does so again after a while.
func (c *conn) ping() {
	set := c.peer.Conns
	set.mu.Lock()
	_, open := set.conns[c]
	if open {
		set.Add()
	}
	set.mu.Unlock()
	if !open {
		return // the timer was too late to be stopped
	}
	defer set.Done()

	ctx, cancel := context.WithTimeout(context.Background(), c.hub.Timeouts.Pong)
	defer cancel()
	if err := c.ws.Ping(ctx); err != nil {
		c.net.close(fmt.Errorf("ping: %w", err))
		return
	}
	c.pinger.Reset(c.hub.Timeouts.Ping)
}

// close sends a close frame, gives the client time to answer, and closes the connection.
func (c *conn) close(reason *closeError) {
	c.net.endMessages()
	defer time.AfterFunc(c.hub.Timeouts.Close, func() { c.net.close(reason) }).Stop()
	c.ws.Close(reason.code, reason.reason)
	c.net.close(reason)
}

// A ConnSet is a set of connections that are closed together, such as those that one
// listener has accepted. Its Group counts the goroutines that serve them. The zero
// ConnSet is empty.
type ConnSet struct {
	waitgroup.Group

	mu     sync.Mutex
	conns  map[*conn]struct{}
	closed bool // connections that come now are closed
	cut    bool // and cut
}

// add adds a connection, until remove.
func (s *ConnSet) add(c *conn) {
	s.Add()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		s.conns = make(map[*conn]struct{})
	}
	s.conns[c] = struct{}{}

	if s.closed {
		s.close(c)
	}
	if s.cut {
		c.net.close(errGraceOver)
	}
}

func (s *ConnSet) remove(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.Done()
}

// Close sends all connections a close frame, also those that are still to come. It does
// not wait; Wait does.
func (s *ConnSet) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	for c := range s.conns {
		s.close(c)
	}
}

// close closes one connection. s.mu must be held.
func (s *ConnSet) close(c *conn) {
	s.Add()
	go func() {
		defer s.Done()
		c.close(errStopping)
	}()
}

var errGraceOver = errors.New("no answer to the close frame within the grace period")

// Cut closes all connections at once, also those that are still to come.
func (s *ConnSet) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = true
	for c := range s.conns {
		c.net.close(errGraceOver)
	}
}
