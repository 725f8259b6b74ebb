package httpd

import (
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
	ready chan struct{} // has an element while an update waits

	// The hub's lock guards these.
	page    page
	waiting update
}

// A hub knows the browsers and leaves updates in their slots, and remembers
// the last changes for those that come late. The zero hub knows none.
type hub struct {
	mu    sync.Mutex
	slots map[*slot]struct{}
	count uint64   // changes so far; the number of the last one
	past  []change // the last of them
}

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

// join adds a browser, whose page can be any until move places it.
func (h *hub) join() *slot {
	s := &slot{ready: make(chan struct{}, 1)}
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
// returns how many pages it concerns. It never blocks.
func (h *hub) broadcast(c change) (told int) {
	h.mu.Lock()
	defer h.mu.Unlock()
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

// notify says that an update waits.
func (s *slot) notify() {
	select {
	case s.ready <- struct{}{}:
	default: // it is told already
	}
}
