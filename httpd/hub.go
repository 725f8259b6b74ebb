package httpd

import (
	"runtime"
	"slices"
	"sync"
)

// An update is what one browser has yet to be told: load the page again, or
// else fetch these assets again. The zero update is nothing.
type update struct {
	reload *message
	assets []message // shared; never changed in place
}

func (u update) empty() bool {
	return u.reload == nil && len(u.assets) == 0
}

// merge adds what came later to what a browser has not fetched yet. Loading
// the page again includes everything else, and so does too long a list.
func (u update) merge(later update) update {
	switch {
	case u.reload != nil || later.empty():
		return u
	case later.reload != nil || len(u.assets) == 0:
		return later
	}
	if u.has(later.assets) {
		return u // the usual case for a browser that does not read
	}
	return u.with(later.assets)
}

func (u update) has(assets []message) bool {
	for _, m := range assets {
		if !slices.ContainsFunc(u.assets, func(own message) bool { return own.path == m.path }) {
			return false
		}
	}
	return true
}

// with adds assets that are not in u yet, style sheets ahead of images.
func (u update) with(assets []message) update {
	var styles, images []message
	seen := make(map[string]bool)
	for _, list := range [][]message{u.assets, assets} {
		for _, m := range list {
			switch {
			case seen[m.path]:
			case effects[extension(m.path)] == style:
				styles = append(styles, m)
			default:
				images = append(images, m)
			}
			seen[m.path] = true
		}
	}
	all := append(styles, images...)
	if len(all) > maxAssets {
		return update{reload: new(newMessage(all[0].path[1:], false))}
	}
	return update{assets: all}
}

// A slot is one browser's mailbox. It holds one update, so that a browser
// costs the same whether it reads or not, and nobody ever waits for it.
type slot struct {
	hub *hub

	// The hub's lock guards these.
	page    page
	waiting update
	news    bool   // something waits
	busy    bool   // it is in the hub's queue, or with send
	send    func() // nil until the browser may be told; see open
}

// A hub knows the browsers and leaves updates in their slots, and remembers
// the last changes for those that come late. The zero hub knows none.
type hub struct {
	mu    sync.Mutex
	slots map[*slot]struct{}
	count uint64   // changes so far; the number of the last one
	past  []change // the last of them

	queue   []*slot // in which something waits that may be sent
	senders int     // goroutines that have it sent
}

// fewSent is what is sent in less time than it takes to wake a thread or two.
const fewSent = 8

// maxSenders is how many goroutines write to browsers at once. A write waits
// for nobody, so there is no use for more than there are processors.
var maxSenders = runtime.GOMAXPROCS(0)

// A hub remembers so many changes, of so many files each. Who comes later, or
// asks about a larger one, is told to load the page again.
const (
	maxPast  = 256
	maxShown = 1024
)

// number is that of the last change.
func (h *hub) number() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.count
}

// remember is called with the lock.
func (h *hub) remember(c change) {
	h.count++
	if len(c.shown) > maxShown {
		c = change{everyone: new(newMessage("", false))}
	}
	if len(h.past) == maxPast {
		h.past = slices.Delete(h.past, 0, 1)
	}
	h.past = append(h.past, c)
}

// catchUp places a browser, and leaves in its slot what it missed: all that
// concerns its page and came after the change of that number, no more and no
// less.
func (h *hub) catchUp(s *slot, p page, number uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.page, s.waiting = p, update{}
	missed := h.count - number
	switch {
	case number > h.count:
		return // not a number of ours
	case missed > uint64(len(h.past)):
		s.waiting = update{reload: new(newMessage("", false))}
	default:
		for _, c := range h.past[uint64(len(h.past))-missed:] {
			s.waiting = s.waiting.merge(c.update(p))
		}
	}
	if !s.waiting.empty() {
		s.notify()
	}
}

// join adds a browser, whose page can be any until move places it. What
// concerns it waits until open.
func (h *hub) join() *slot {
	s := &slot{hub: h}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.slots == nil {
		h.slots = make(map[*slot]struct{})
	}
	h.slots[s] = struct{}{}
	return s
}

func (h *hub) leave(s *slot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.slots, s)
}

// move says which page a browser shows from now on. What waits for it stays.
func (h *hub) move(s *slot, p page) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.page = p
}

// take empties a slot.
func (h *hub) take(s *slot) update {
	h.mu.Lock()
	defer h.mu.Unlock()
	u := s.waiting
	s.waiting = update{}
	return u
}

// broadcast leaves in every slot what the change means to its page, and
// returns how many pages it concerns. It waits for none, but sends the first
// few what it has for them: that is sooner than to wake somebody who does.
func (h *hub) broadcast(c change) (told int) {
	defer h.sendFew()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.senders++ // see sendFew
	h.remember(c)
	for s := range h.slots {
		u := c.update(s.page)
		if u.empty() {
			continue
		}
		told++
		s.waiting = s.waiting.merge(u)
		s.notify()
	}
	return told
}

// notify says that something waits. The hub's lock is held.
func (s *slot) notify() {
	s.news = true
	s.hub.enqueue(s)
}

// open has send called when something waits in a slot, now and from now on,
// to take it and to call sent when that has left. It must not block.
func (h *hub) open(s *slot, send func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.send = send
	h.enqueue(s)
}

// sent says that a browser may be told more.
func (h *hub) sent(s *slot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.busy = false
	h.enqueue(s)
}

// enqueue sees to it that what waits is sent, if it may be sent now. The lock
// is held. There are senders as long as there is something to send.
func (h *hub) enqueue(s *slot) {
	if !s.news || s.busy || s.send == nil {
		return
	}
	s.busy = true
	h.queue = append(h.queue, s)
	if h.senders < min(len(h.queue), maxSenders) {
		h.senders++
		go h.deliver()
	}
}

// deliver is a sender.
func (h *hub) deliver() {
	for s := h.next(); s != nil; s = h.next() {
		s.send()
	}
}

// sendFew is a sender for a while, if it is needed at all.
func (h *hub) sendFew() {
	for range fewSent {
		s := h.next()
		if s == nil {
			return
		}
		s.send()
	}
	go h.deliver()
}

// next takes a slot from the queue; nil ends a sender.
func (h *hub) next() *slot {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.queue) == 0 {
		h.queue = nil
		h.senders--
		return nil
	}
	s := h.queue[0]
	h.queue = h.queue[1:]
	s.news = false
	return s
}
