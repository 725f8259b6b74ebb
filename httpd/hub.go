package httpd

import (
	"crypto/rand"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/execlog/execlogd/httpd/internal/filetype"
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
			case filetype.Of(m.path).Kind == filetype.StyleSheet:
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
	ours    bool // it speaks our protocol
	reports bool // and says what its page uses
	waiting update
	news    bool   // something waits
	busy    bool   // it is in the hub's queue, or with send
	send    func() // nil until the browser may be told; see open

	asked  bool     // it waits for its position
	late   bool     // it is not told anything until it is known what its page has missed
	going  bool     // it was told to load its page again, and need not be told more
	faults bool     // the errors of its page may be others now
	tries  []string // what its page has tried, to be told
	shown  uint64   // sum of the errors that it was told
	mark   uint64   // of the latest ruling that concerns its page
	stake  stake    // in that
	silent int      // one more than its index in hub.silent, or 0
	base   uint64   // the change after which its page was served
	named  int      // files that it named, counting those that are none
	loaded uint64   // no part of its page was loaded before this change, if dated
	dated  bool

	// These are for people.
	url    string
	remote string
	since  int64 // ms since 1970
}

// A hub knows the browsers and leaves updates in their slots, and remembers
// the last changes for those that come late. The zero hub knows none.
type hub struct {
	epoch  string
	look   func(use string) sight
	config atomic.Pointer[config]

	patience patience

	telling      sync.Mutex // held from looking at files until the pages are told
	longMessages sync.Mutex // held while a page is heard that says much; taken before looking
	looking      sync.Mutex // held while somebody looks at files for the first time

	mu     sync.Mutex
	slots  map[*slot]struct{}
	silent []*slot           // those whose pages do not say what they use
	uses   map[string]*use   // by path; those that some page has
	faulty map[*use]struct{} // those of them that have a fault
	served servedFiles
	faults []sourced // by source, in order
	count  uint64    // changes so far; the number of the last one
	when   int64     // the time of the last one, or of the start; ms since 1970
	past   []change  // the last of them
	moved  uint64    // the first change of which a page with files of this root may have been told
	hushed bool      // nobody is told of changes and errors
	marks  uint64    // rulings so far
	list   []*slot   // kept by concerned
	draft  draft
	tries  []try // the latest last

	queue   []*slot // in which something waits that may be sent
	senders int     // goroutines that have it sent

	records []record      // of the last changes, for people
	stir    chan struct{} // nil, or closed when people would see something new
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

// missed is the reload of a page that missed too much to say what.
var missed = newMessage("", false)

// now is the position after the last change.
func (h *hub) now() position {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.position()
}

func (h *hub) position() position {
	return position{h.epoch, h.count, h.when}
}

// remember is called with the lock.
func (h *hub) remember(c change) {
	h.count++
	h.when = time.Now().UnixMilli()
	if len(c.files) > maxShown {
		everyone := &missed
		if c.names {
			everyone = nil
		}
		c = change{everyone: everyone, lost: true, names: c.names}
	}
	c.when = h.when
	if len(h.past) == maxPast {
		h.past = slices.Delete(h.past, 0, 1)
	}
	h.past = append(h.past, c)
}

// since is the remembered changes after the one of that number. It is not ok
// when they are not all known any more.
func (h *hub) since(number uint64) (changes []change, ok bool) {
	n := h.count - number
	if number > h.count || n > uint64(len(h.past)) {
		return nil, false
	}
	return h.past[uint64(len(h.past))-n:], true
}

// concerns reports whether a change of content is about a page that is open.
func (h *hub) concerns(c *change) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.touched(c, nil)) > 0 {
		return true
	}
	return slices.ContainsFunc(h.silent, func(s *slot) bool { return !c.update(&s.page).empty() })
}

// catchUp places a browser, and leaves in its slot what it missed: all that
// concerns its page and came after the change of that number, no more and no
// less. The page is one that does not say what it uses.
func (h *hub) catchUp(s *slot, p page, number uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.place(s, p)
	s.waiting = update{}
	if number > h.count {
		return // not a number of ours
	}
	s.base = number
	s.waiting = update{reload: &missed}
	if changes, ok := h.since(number); ok {
		s.waiting = update{}
		for i := range changes {
			s.waiting = s.waiting.merge(h.replay(&s.page, &changes[i], memory{}))
		}
	}
	if !s.waiting.empty() {
		s.notify()
	}
}

// join adds a browser, whose page can be any until somebody places it. What
// concerns it waits until open.
func (h *hub) join() *slot {
	s := &slot{hub: h, shown: noErrors}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.slots == nil {
		h.slots = make(map[*slot]struct{})
	}
	h.slots[s] = struct{}{}
	h.sort(s)
	return s
}

// adopt makes a browser one that speaks our protocol, from now on.
func (h *hub) adopt(s *slot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.ours = true
}

// ask has a browser of our protocol told its position and its errors.
func (h *hub) ask(s *slot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.asked, s.faults, s.going = true, true, false
	s.notify()
}

// conns is how many browsers are connected.
func (h *hub) conns() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.slots)
}

func (h *hub) leave(s *slot) {
	h.releaseUses(&s.page)
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.slots, s)
	h.place(s, page{})
	h.stirs()
}

// move says which page a browser shows from now on. What waits for it stays.
func (h *hub) move(s *slot, p page) {
	h.releaseUses(&s.page)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.place(s, p)
}

// place is called with the lock. The page has no uses yet.
func (h *hub) place(s *slot, p page) {
	h.release(&s.page)
	s.page = p
	h.sort(s)
}

// sort is called with the lock, when it may have changed whether the origin's
// rule is for a page.
func (h *hub) sort(s *slot) {
	_, here := h.slots[s]
	isSilent := here && !s.page.known
	switch was := s.silent > 0; {
	case isSilent && !was:
		h.silent = append(h.silent, s)
		s.silent = len(h.silent)
	case was && !isSilent:
		last := len(h.silent) - 1
		h.silent[last].silent = s.silent
		h.silent[s.silent-1] = h.silent[last]
		h.silent[last] = nil
		h.silent, s.silent = h.silent[:last], 0
	}
}

// hold adds to the users of a path. It is called with the lock.
func (h *hub) hold(path string, by user) (u *use, seat int32) {
	u = h.uses[path]
	if u == nil {
		if h.uses == nil {
			h.uses = make(map[string]*use)
		}
		u = &use{path: path}
		h.uses[path] = u
	}
	u.users = append(u.users, by)
	return u, int32(len(u.users) - 1)
}

// release is called with the lock. The page has no uses any more.
func (h *hub) release(p *page) {
	h.releaseOwn(p)
	h.releaseLast(p, len(p.uses))
}

// releaseUses has a page use nothing but what it shows.
func (h *hub) releaseUses(p *page) {
	for len(p.uses) > 0 {
		h.mu.Lock()
		h.releaseLast(p, namesAtOnce)
		h.mu.Unlock()
	}
}

// releaseLast takes the last uses from a page. It is called with the lock.
func (h *hub) releaseLast(p *page, n int) {
	rest := max(0, len(p.uses)-n)
	for i := len(p.uses) - 1; i >= rest; i-- {
		h.vacate(p.uses[i], p.seats[i])
	}
	clear(p.uses[rest:])
	p.uses, p.seats = p.uses[:rest], p.seats[:rest]
	if rest == 0 {
		p.uses, p.seats = nil, nil
	}
}

func (h *hub) releaseOwn(p *page) {
	for i, u := range p.own {
		h.vacate(u, p.ownSeats[i])
	}
	p.own, p.ownSeats = nil, nil
}

// vacate gives the seat to the last of the users.
func (h *hub) vacate(u *use, seat int32) {
	last := int32(len(u.users) - 1)
	if seat != last {
		moved := u.users[last]
		u.users[seat] = moved
		*moved.slot.page.seat(moved.at) = seat
	}
	u.users[last] = user{}
	u.users = u.users[:last]
	if last == 0 {
		delete(h.uses, u.path)
		delete(h.faulty, u)
	}
}

// take empties a slot, and returns the frames of what waited in it; nil is
// nothing.
func (h *hub) take(s *slot) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.late {
		return nil
	}
	u := s.waiting
	s.waiting = update{}
	if !s.ours {
		return u.stockFrames()
	}
	var news, faults, tries []byte
	if !s.going && (s.asked || !u.empty()) {
		s.asked, s.going = false, u.reload != nil
		news = h.tell(s, u)
	}
	if s.faults && !h.hushed {
		s.faults = false
		if frame, sum := h.errors(&s.page); sum != s.shown {
			s.shown, faults = sum, frame
		}
	}
	if len(s.tries) > 0 && !s.going {
		tries = triedMessage(s.tries)
		s.tries = nil
	}
	return joinFrames(news, faults, tries)
}

// broadcast leaves in every slot what the change means to its page, and
// returns how many pages it concerns. What the uses that it is about lead to
// now is in seen. It waits for none, but sends the first few what it has for
// them: that is sooner than to wake somebody who does.
func (h *hub) broadcast(c change, seen map[*use]sight) (told int) {
	defer h.sendFew()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.senders++ // see sendFew
	news, faults := h.settle(&c, seen)
	h.remember(c)
	r := h.rule(&c, news, faults)
	rec := h.record(&c)
	tell := func(s *slot, u update) {
		if u = s.page.unlessGone(u); u.empty() || s.going {
			return
		}
		told++
		rec.add(s, u, &c)
		s.waiting = s.waiting.merge(u)
		s.notify()
	}
	concerned := h.concerned(&r)
	defer clear(concerned)
	for _, s := range concerned {
		if s.stake.isFaulty() {
			s.faults = true
			s.notify()
		}
		if s.page.known || c.names {
			tell(s, r.update(s.stake))
		}
	}
	if c.names {
		return told
	}
	for _, s := range h.silent {
		u := c.update(&s.page)
		if r.mark != 0 && s.mark == r.mark {
			u = u.merge(r.update(s.stake))
		}
		tell(s, u)
	}
	return told
}

// hush has nobody told of errors, until startOver. Of changes it is not told
// itself meanwhile.
func (h *hub) hush() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hushed = true
}

// forget is when the files are those of another root.
func (h *hub) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, u := range h.uses {
		u.sight, u.last, u.fault, u.announced, u.shown, u.untold = sight{}, sight{}, nil, false, 0, fileState{}
	}
	clear(h.faulty)
	h.served.forget(h.count)
	h.tries = nil
	for s := range h.slots {
		s.tries = nil
	}
	h.moved = h.count + 1
	h.stirs()
}

// startOver has every page loaded again, as all files may be others. What its
// uses lead to now is in seen.
func (h *hub) startOver(all change, seen map[*use]sight) (told int) {
	defer h.sendFew()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.senders++ // see sendFew
	h.hushed = false
	h.settle(&all, seen)
	all.lost = true
	h.remember(all)
	rec := h.record(&all)
	h.errorsDiffer()
	for s := range h.slots {
		u := s.page.unlessGone(update{reload: all.everyone})
		if u.empty() || s.going {
			continue
		}
		told++
		rec.add(s, u, &all)
		s.waiting = s.waiting.merge(u)
		s.notify()
	}
	return told
}

// concerned lists those whose pages have a stake in a ruling. The list is
// good until the next.
func (h *hub) concerned(r *ruling) []*slot {
	list := h.list[:0]
	for _, u := range r.about {
		for _, by := range u.users {
			s := by.slot
			if s.mark != r.mark {
				s.mark, s.stake = r.mark, stake{}
				list = append(list, s)
			}
			if by.at < 0 {
				s.stake.own |= u.files
			} else {
				s.stake.uses |= u.files
			}
		}
	}
	h.list = list
	return list
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

// A config is what is served, and how.
type config struct {
	directory string // absolute; "" when no files are served
	live      bool   // pages are told of changes
	log       *slog.Logger
}

func (h *hub) init(look func(use string) sight) {
	h.epoch, h.when = rand.Text()[:10], time.Now().UnixMilli()
	h.look, h.patience = look, defaultPatience
}

func (h *hub) refresh(paths []string) { h.tellOf(newChange(paths)) }

func (h *hub) recheck(paths []string) { h.tellOf(newNames(paths)) }

func (h *hub) concernsPath(path string) bool {
	c := newChange([]string{path})
	return h.config.Load().live && !c.empty() && h.concerns(&c)
}

func (h *hub) tellOf(c change) {
	h.telling.Lock() // an older sight must not come after a newer one
	defer h.telling.Unlock()
	now := h.config.Load()
	if !now.live || c.empty() {
		return
	}
	told := h.broadcast(c, h.lookAt(h.about(&c)))
	now.log.Debug("pages refreshed", "paths", len(c.files), "names", c.names, "browsers", told)
}

// changeSite has replace put other files in the place of those that are served, and
// pages told. Nobody looks at files meanwhile.
func (h *hub) changeSite(replace func() (*config, error)) error {
	h.telling.Lock() // what was seen in one root must not be told of another
	defer h.telling.Unlock()
	h.looking.Lock()
	defer h.looking.Unlock()
	before := h.config.Load()
	next, err := replace()
	if err != nil {
		return err
	}
	h.config.Store(next)
	moved := next.directory != before.directory
	// From here on pages come from the new root. All of the one before have a
	// position of before this change, as ServeHTTP takes the position first.
	if moved {
		h.forget()
	}
	switch {
	case !next.live:
		h.hush()
	case !before.live, moved && next.directory != "":
		all := newChange([]string{"/"})
		told := h.startOver(all, h.lookAt(h.about(&all)))
		next.log.Debug("pages start over", "browsers", told)
	case moved:
		h.showErrors()
	}
	return nil
}
