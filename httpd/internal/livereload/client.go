package livereload

import (
	"math"
	"runtime"
	"time"
)

// A client is a connected page as the Hub knows it, with a mailbox that holds one
// update. So a page takes the same memory whether its browser reads or not, and nobody
// waits for it. Hub.mu guards it.
type client struct {
	hub      *Hub
	page     page
	extended bool // it speaks our protocol
	reports  bool // and has reported what its page uses
	owner    bool // it may see PageError.Source; known to whoever sends, before the first is sent

	// The mailbox.
	pending     update   // what the page has yet to be told
	cursorDue   bool     // it waits for its cursor
	errorsDue   bool     // its errors may be others than it was told
	fetches     []string // failed fetches that it has yet to be told
	events      [][]byte // frames of what readers have done elsewhere
	shownErrors uint64   // hash of the errors that it was told
	catchingUp  bool     // it is told nothing until it is known what it has missed
	reloading   bool     // it was told to load again, and need not be told of changes

	// Sending.
	dirty  bool   // there is something in the mailbox
	queued bool   // it is in Hub.queue, or send is under way
	send   func() // nil until the page may be told; see Hub.open

	// What was loaded when.
	baseline  uint64 // the change up to which the page was up to date when it connected
	named     int    // files that it has named, invalid ones included
	loadedAt  uint64 // nothing of the page was loaded before this change, if loadKnown
	loadKnown bool

	address string // what its page has in common with those that are kept in step; "" for none

	mask         mask // what affects its page, while a change is matched
	nonReporting int  // one more than its index in Hub.nonReporting; 0 if it is not there

	// For people.
	url     string
	title   string
	remote  string
	browser string
	opened  time.Time // zero until the page has introduced itself
}

// join adds a client whose page may be any, until it says which. What affects the page is
// kept for it until open.
func (h *Hub) join() *client {
	c := &client{hub: h, shownErrors: noErrors}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clients[c] = struct{}{}
	h.updateNonReporting(c)
	return c
}

func (h *Hub) leave(c *client) {
	h.dropUses(&c.page)
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.clients, c)
	h.left = time.Now()
	h.replacePage(c, page{})
	h.notifyChanged()
}

// Pages returns how many pages are connected, and when the last one left; the zero time if
// none has.
func (h *Hub) Pages() (connected int, left time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.clients), h.left
}

// setPage sets the page of a client that does not report what it uses. What waits for it
// stays.
func (h *Hub) setPage(c *client, p page) {
	h.dropUses(&c.page)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.replacePage(c, p)
}

// replacePage replaces the page of a client. h.mu must be held; dropUses comes first,
// which takes long for some pages.
func (h *Hub) replacePage(c *client, p page) {
	h.setShown(c, nil)
	h.dropLastUses(&c.page, len(c.page.uses))
	c.page = p
	h.updateNonReporting(c)
}

// updateNonReporting puts a client into h.nonReporting if it belongs there, or takes it
// out. h.mu must be held.
func (h *Hub) updateNonReporting(c *client) {
	_, connected := h.clients[c]
	belongs, isThere := connected && !c.page.reported, c.nonReporting > 0

	switch {
	case belongs && !isThere:
		h.nonReporting = append(h.nonReporting, c)
		c.nonReporting = len(h.nonReporting)
	case isThere && !belongs:
		last := len(h.nonReporting) - 1 // fills the gap
		h.nonReporting[last].nonReporting = c.nonReporting
		h.nonReporting[c.nonReporting-1] = h.nonReporting[last]
		h.nonReporting[last] = nil
		h.nonReporting, c.nonReporting = h.nonReporting[:last], 0
	}
}

// deliver adds an update to the mailbox and to the record of its change. It reports
// whether the page is told. Hub.mu must be held.
func (c *client) deliver(u update, of *change, rec *Change) bool {
	if u = c.page.withoutError(u); u.isEmpty() || c.reloading {
		return false
	}
	rec.add(c, u, of)
	c.pending = c.pending.merge(u)
	c.notify()
	return true
}

// take empties the mailbox and returns what was in it as frames; nil is nothing.
func (h *Hub) take(c *client) (frames []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.catchingUp {
		return nil
	}

	u := c.pending
	c.pending = update{}
	if !c.extended {
		switch {
		case u.reload != nil:
			return u.reload.frame
		case len(u.assets) == 1:
			return u.assets[0].frame // all pages share it
		}
		for _, asset := range u.assets {
			frames = append(frames, asset.frame...)
		}
		return frames
	}

	if !c.reloading && (c.cursorDue || !u.isEmpty()) {
		c.cursorDue, c.reloading = false, u.reload != nil
		frames = h.message(c, u)
	}
	if c.errorsDue && h.config.Load().Enabled {
		c.errorsDue = false
		if frame, hash := errorsMessage(h.errorsOf(c)); hash != c.shownErrors {
			c.shownErrors = hash
			frames = append(frames, frame...)
		}
	}
	if len(c.fetches) > 0 && !c.reloading {
		frames = append(frames, encode(failedFetchesMessage{"tried", c.fetches})...)
		c.fetches = nil
	}
	if !c.reloading {
		for _, frame := range c.events {
			frames = append(frames, frame...)
		}
	}
	c.events = nil
	return frames
}

// A messageKey differs from another when the messages differ in more than the digest.
type messageKey struct {
	number uint64
	reload *reloadMessage
	asset  *reloadMessage // the first
	assets int            // how many
}

// message returns the frame that tells a page of the extended protocol its cursor and an
// update. h.mu must be held.
func (h *Hub) message(c *client, u update) []byte {
	// The next page mostly gets the same text, except for the digest.
	key := messageKey{number: h.number, reload: u.reload, assets: len(u.assets)}
	if len(u.assets) > 0 {
		key.asset = &u.assets[0]
	}
	if h.lastText == nil || h.lastKey != key {
		h.lastKey, h.lastText = key, messageText(Cursor{Epoch: h.epoch, Number: h.number, Time: h.time}, u)
	}

	// A page that does not report what it uses gets no digest.
	end := make([]byte, 0, 64)
	if c.page.reported {
		d := digest{named: c.named, uses: sumOf(c.page.uses), shows: sumOf(c.page.shows)}
		end = append(d.append(append(end, `,"digest":"`...)), '"')
	}
	end = append(end, '}')
	n := len(h.lastText) + len(end)
	return append(append(appendTextHeader(make([]byte, 0, maxHeader+n), n), h.lastText...), end...)
}

// open makes send be called whenever something is in the mailbox, from now on. send takes
// it, and has sent called once it has left. send must not block.
func (h *Hub) open(c *client, send func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.send = send
	h.enqueue(c)
}

// sent says that what was taken has left, and that more may be sent.
func (h *Hub) sent(c *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.queued = false
	h.enqueue(c)
}

// notify says that something is in the mailbox. Hub.mu must be held.
func (c *client) notify() {
	c.dirty = true
	c.hub.enqueue(c)
}

// sendFirst is how many clients are sent their updates in less time than it takes to wake
// a goroutine or two.
const sendFirst = 8

// maxSenders is how many goroutines send at once. A write does not wait, so more of them
// than processors are of no use.
var maxSenders = runtime.GOMAXPROCS(0)

// enqueue puts a client into the queue if there is something to be sent that may be sent
// now. As long as there is a queue there are senders, which end with it. h.mu must be
// held.
func (h *Hub) enqueue(c *client) {
	if !c.dirty || c.queued || c.send == nil {
		return
	}
	c.queued = true
	h.queue = append(h.queue, c)
	if h.senders < min(len(h.queue), maxSenders) {
		h.senders++
		go h.sendQueue(math.MaxInt)
	}
}

// sendQueue is a sender that the caller has counted. After most clients it hands over to
// a goroutine.
func (h *Hub) sendQueue(most int) {
	for range most {
		c := h.dequeue()
		if c == nil {
			return
		}
		c.send()
	}
	go h.sendQueue(math.MaxInt)
}

// dequeue takes a client from the queue. It returns nil when there is none, and counts
// the sender out.
func (h *Hub) dequeue() *client {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.queue) == 0 {
		h.queue = nil
		h.senders--
		return nil
	}
	c := h.queue[0]
	h.queue = h.queue[1:]
	c.dirty = false
	return c
}
