package livereload

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
	reload *reloadMessage
	assets []reloadMessage // shared; never changed in place
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

func (u update) has(assets []reloadMessage) bool {
	for _, m := range assets {
		if !slices.ContainsFunc(u.assets, func(own reloadMessage) bool { return own.path == m.path }) {
			return false
		}
	}
	return true
}

// with adds assets that are not in u yet, style sheets ahead of images.
func (u update) with(assets []reloadMessage) update {
	var styles, images []reloadMessage
	seen := make(map[string]bool)
	for _, list := range [][]reloadMessage{u.assets, assets} {
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
		return update{reload: new(newReloadMessage(all[0].path[1:], false))}
	}
	return update{assets: all}
}

// A client is one browser's mailbox. It holds one update, so that a browser
// costs the same whether it reads or not, and nobody ever waits for it.
type client struct {
	hub *Hub

	// The hub's lock guards these.
	page     page
	extended bool // it speaks our protocol
	reports  bool // and says what its page uses
	pending  update
	dirty    bool   // something waits
	queued   bool   // it is in the hub's queue, or with send
	send     func() // nil until the browser may be told; see open

	cursorDue    bool     // it waits for its position
	catchingUp   bool     // it is not told anything until it is known what its page has missed
	reloading    bool     // it was told to load its page again, and need not be told more
	errorsDue    bool     // the errors of its page may be others now
	fetches      []string // what its page has tried, to be told
	shownErrors  uint64   // sum of the errors that it was told
	generation   uint64   // of the latest ruling that concerns its page
	mask         mask     // in that
	nonReporting int      // one more than its index in hub.silent, or 0
	baseline     uint64   // the change after which its page was served
	named        int      // files that it named, counting those that are none
	loadedAt     uint64   // no part of its page was loaded before this change, if dated
	loadKnown    bool

	// These are for people.
	url    string
	remote string
	opened int64 // ms since 1970
}

// A Hub knows the browsers and leaves updates in their slots, and remembers
// the last changes for those that come late. The zero hub knows none.
type Hub struct {
	epoch  string
	look   func(use string) FileState
	config atomic.Pointer[Config]

	Timeouts Timeouts

	refreshing   sync.Mutex // held from looking at files until the pages are told
	longMessages sync.Mutex // held while a page is heard that says much; taken before looking
	looking      sync.Mutex // held while somebody looks at files for the first time

	mu           sync.Mutex
	clients      map[*client]struct{}
	nonReporting []*client              // those whose pages do not say what they use
	resources    map[string]*resource   // by path; those that some page has
	broken       map[*resource]struct{} // those of them that have a fault
	served       servedFiles
	setErrors    []namedError // by source, in order
	number       uint64       // changes so far; the number of the last one
	time         int64        // the time of the last one, or of the start; ms since 1970
	history      []change     // the last of them
	rootSince    uint64       // the first change of which a page with files of this root may have been told
	muted        bool         // nobody is told of changes and errors
	generation   uint64       // rulings so far
	scratch      []*client    // kept by concerned
	cache        draft
	fetches      []failedFetch // the latest last

	queue   []*client // in which something waits that may be sent
	senders int       // goroutines that have it sent

	records []Change      // of the last changes, for people
	changed chan struct{} // nil, or closed when people would see something new
}

// fewSent is what is sent in less time than it takes to wake a thread or two.
const fewSent = 8

// maxSenders is how many goroutines write to browsers at once. A write waits
// for nobody, so there is no use for more than there are processors.
var maxSenders = runtime.GOMAXPROCS(0)

// A hub remembers so many changes, of so many files each. Who comes later, or
// asks about a larger one, is told to load the page again.
const (
	maxHistory = 256
	maxFiles   = 1024
)

// missed is the reload of a page that missed too much to say what.
var missed = newReloadMessage("", false)

// Cursor is the position after the last change.
func (h *Hub) Cursor() Cursor {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cursor()
}

func (h *Hub) cursor() Cursor {
	return Cursor{h.epoch, h.number, h.time}
}

// remember is called with the lock.
func (h *Hub) remember(c change) {
	h.number++
	h.time = time.Now().UnixMilli()
	if len(c.files) > maxFiles {
		everyone := &missed
		if c.names {
			everyone = nil
		}
		c = change{everyone: everyone, lost: true, names: c.names}
	}
	c.when = h.time
	if len(h.history) == maxHistory {
		h.history = slices.Delete(h.history, 0, 1)
	}
	h.history = append(h.history, c)
}

// since is the remembered changes after the one of that number. It is not ok
// when they are not all known any more.
func (h *Hub) since(number uint64) (changes []change, ok bool) {
	n := h.number - number
	if number > h.number || n > uint64(len(h.history)) {
		return nil, false
	}
	return h.history[uint64(len(h.history))-n:], true
}

// affectsAny reports whether a change of content is about a page that is open.
func (h *Hub) affectsAny(c *change) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.hits(c, nil)) > 0 {
		return true
	}
	return slices.ContainsFunc(h.nonReporting, func(s *client) bool { return !c.updateFor(&s.page).empty() })
}

// catchUpOther places a browser, and leaves in its slot what it missed: all that
// concerns its page and came after the change of that number, no more and no
// less. The page is one that does not say what it uses.
func (h *Hub) catchUpOther(s *client, p page, number uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.place(s, p)
	s.pending = update{}
	if number > h.number {
		return // not a number of ours
	}
	s.baseline = number
	s.pending = update{reload: &missed}
	if changes, ok := h.since(number); ok {
		s.pending = update{}
		for i := range changes {
			s.pending = s.pending.merge(h.replay(&s.page, &changes[i], replay{}))
		}
	}
	if !s.pending.empty() {
		s.notify()
	}
}

// join adds a browser, whose page can be any until somebody places it. What
// concerns it waits until open.
func (h *Hub) join() *client {
	s := &client{hub: h, shownErrors: noErrors}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.clients == nil {
		h.clients = make(map[*client]struct{})
	}
	h.clients[s] = struct{}{}
	h.sort(s)
	return s
}

// setExtended makes a browser one that speaks our protocol, from now on.
func (h *Hub) setExtended(s *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.extended = true
}

// requestCursor has a browser of our protocol told its position and its errors.
func (h *Hub) requestCursor(s *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.cursorDue, s.errorsDue, s.reloading = true, true, false
	s.notify()
}

// Conns is how many browsers are connected.
func (h *Hub) Conns() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.clients)
}

func (h *Hub) leave(s *client) {
	h.releaseUses(&s.page)
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.clients, s)
	h.place(s, page{})
	h.notifyChanged()
}

// setPage says which page a browser shows from now on. What waits for it stays.
func (h *Hub) setPage(s *client, p page) {
	h.releaseUses(&s.page)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.place(s, p)
}

// place is called with the lock. The page has no uses yet.
func (h *Hub) place(s *client, p page) {
	h.release(&s.page)
	s.page = p
	h.sort(s)
}

// sort is called with the lock, when it may have changed whether the origin's
// rule is for a page.
func (h *Hub) sort(s *client) {
	_, here := h.clients[s]
	isSilent := here && !s.page.reported
	switch was := s.nonReporting > 0; {
	case isSilent && !was:
		h.nonReporting = append(h.nonReporting, s)
		s.nonReporting = len(h.nonReporting)
	case was && !isSilent:
		last := len(h.nonReporting) - 1
		h.nonReporting[last].nonReporting = s.nonReporting
		h.nonReporting[s.nonReporting-1] = h.nonReporting[last]
		h.nonReporting[last] = nil
		h.nonReporting, s.nonReporting = h.nonReporting[:last], 0
	}
}

// subscribe adds to the users of a path. It is called with the lock.
func (h *Hub) subscribe(path string, by subscriber) (u *resource, seat int32) {
	u = h.resources[path]
	if u == nil {
		if h.resources == nil {
			h.resources = make(map[string]*resource)
		}
		u = &resource{path: path}
		h.resources[path] = u
	}
	u.subscribers = append(u.subscribers, by)
	return u, int32(len(u.subscribers) - 1)
}

// release is called with the lock. The page has no uses any more.
func (h *Hub) release(p *page) {
	h.releaseOwn(p)
	h.releaseLast(p, len(p.uses))
}

// releaseUses has a page use nothing but what it shows.
func (h *Hub) releaseUses(p *page) {
	for len(p.uses) > 0 {
		h.mu.Lock()
		h.releaseLast(p, namesAtOnce)
		h.mu.Unlock()
	}
}

// releaseLast takes the last uses from a page. It is called with the lock.
func (h *Hub) releaseLast(p *page, n int) {
	rest := max(0, len(p.uses)-n)
	for i := len(p.uses) - 1; i >= rest; i-- {
		h.unsubscribe(p.uses[i], p.usesIndex[i])
	}
	clear(p.uses[rest:])
	p.uses, p.usesIndex = p.uses[:rest], p.usesIndex[:rest]
	if rest == 0 {
		p.uses, p.usesIndex = nil, nil
	}
}

func (h *Hub) releaseOwn(p *page) {
	for i, u := range p.shows {
		h.unsubscribe(u, p.showsIndex[i])
	}
	p.shows, p.showsIndex = nil, nil
}

// unsubscribe gives the seat to the last of the users.
func (h *Hub) unsubscribe(u *resource, seat int32) {
	last := int32(len(u.subscribers) - 1)
	if seat != last {
		moved := u.subscribers[last]
		u.subscribers[seat] = moved
		*moved.client.page.seat(moved.at) = seat
	}
	u.subscribers[last] = subscriber{}
	u.subscribers = u.subscribers[:last]
	if last == 0 {
		delete(h.resources, u.path)
		delete(h.broken, u)
	}
}

// take empties a slot, and returns the frames of what waited in it; nil is
// nothing.
func (h *Hub) take(s *client) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.catchingUp {
		return nil
	}
	u := s.pending
	s.pending = update{}
	if !s.extended {
		return u.stockFrames()
	}
	var news, faults, tries []byte
	if !s.reloading && (s.cursorDue || !u.empty()) {
		s.cursorDue, s.reloading = false, u.reload != nil
		news = h.message(s, u)
	}
	if s.errorsDue && !h.muted {
		s.errorsDue = false
		if frame, sum := h.errors(&s.page); sum != s.shownErrors {
			s.shownErrors, faults = sum, frame
		}
	}
	if len(s.fetches) > 0 && !s.reloading {
		tries = triedMessage(s.fetches)
		s.fetches = nil
	}
	return joinFrames(news, faults, tries)
}

// broadcast leaves in every slot what the change means to its page, and
// returns how many pages it concerns. What the uses that it is about lead to
// now is in seen. It waits for none, but sends the first few what it has for
// them: that is sooner than to wake somebody who does.
func (h *Hub) broadcast(c change, seen map[*resource]FileState) (told int) {
	defer h.sendFew()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.senders++ // see sendFew
	news, faults := h.observeChange(&c, seen)
	h.remember(c)
	r := h.match(&c, news, faults)
	rec := h.record(&c)
	tell := func(s *client, u update) {
		if u = s.page.withoutError(u); u.empty() || s.reloading {
			return
		}
		told++
		rec.add(s, u, &c)
		s.pending = s.pending.merge(u)
		s.notify()
	}
	concerned := h.concerned(&r)
	defer clear(concerned)
	for _, s := range concerned {
		if s.mask.isFaulty() {
			s.errorsDue = true
			s.notify()
		}
		if s.page.reported || c.names {
			tell(s, r.update(s.mask))
		}
	}
	if c.names {
		return told
	}
	for _, s := range h.nonReporting {
		u := c.updateFor(&s.page)
		if r.mark != 0 && s.generation == r.mark {
			u = u.merge(r.update(s.mask))
		}
		tell(s, u)
	}
	return told
}

// mute has nobody told of errors, until startOver. Of changes it is not told
// itself meanwhile.
func (h *Hub) mute() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.muted = true
}

// forget is when the files are those of another root.
func (h *Hub) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, u := range h.resources {
		u.state, u.readable, u.err, u.announced, u.delivered, u.untold = FileState{}, FileState{}, nil, false, 0, FileVersion{}
	}
	clear(h.broken)
	h.served.forget(h.number)
	h.fetches = nil
	for s := range h.clients {
		s.fetches = nil
	}
	h.rootSince = h.number + 1
	h.notifyChanged()
}

// reloadAll has every page loaded again, as all files may be others. What its
// uses lead to now is in seen.
func (h *Hub) reloadAll(all change, seen map[*resource]FileState) (told int) {
	defer h.sendFew()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.senders++ // see sendFew
	h.muted = false
	h.observeChange(&all, seen)
	all.lost = true
	h.remember(all)
	rec := h.record(&all)
	h.errorsDiffer()
	for s := range h.clients {
		u := s.page.withoutError(update{reload: all.everyone})
		if u.empty() || s.reloading {
			continue
		}
		told++
		rec.add(s, u, &all)
		s.pending = s.pending.merge(u)
		s.notify()
	}
	return told
}

// concerned lists those whose pages have a stake in a ruling. The list is
// good until the next.
func (h *Hub) concerned(r *match) []*client {
	list := h.scratch[:0]
	for _, u := range r.about {
		for _, by := range u.subscribers {
			s := by.client
			if s.generation != r.mark {
				s.generation, s.mask = r.mark, mask{}
				list = append(list, s)
			}
			if by.at < 0 {
				s.mask.own |= u.hits
			} else {
				s.mask.uses |= u.hits
			}
		}
	}
	h.scratch = list
	return list
}

// notify says that something waits. The hub's lock is held.
func (s *client) notify() {
	s.dirty = true
	s.hub.enqueue(s)
}

// open has send called when something waits in a slot, now and from now on,
// to take it and to call sent when that has left. It must not block.
func (h *Hub) open(s *client, send func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.send = send
	h.enqueue(s)
}

// sent says that a browser may be told more.
func (h *Hub) sent(s *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.queued = false
	h.enqueue(s)
}

// enqueue sees to it that what waits is sent, if it may be sent now. The lock
// is held. There are senders as long as there is something to send.
func (h *Hub) enqueue(s *client) {
	if !s.dirty || s.queued || s.send == nil {
		return
	}
	s.queued = true
	h.queue = append(h.queue, s)
	if h.senders < min(len(h.queue), maxSenders) {
		h.senders++
		go h.deliver()
	}
}

// deliver is a sender.
func (h *Hub) deliver() {
	for s := h.next(); s != nil; s = h.next() {
		s.send()
	}
}

// sendFew is a sender for a while, if it is needed at all.
func (h *Hub) sendFew() {
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
func (h *Hub) next() *client {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.queue) == 0 {
		h.queue = nil
		h.senders--
		return nil
	}
	s := h.queue[0]
	h.queue = h.queue[1:]
	s.dirty = false
	return s
}

// A Config is what is served, and how.
type Config struct {
	Directory string // absolute; "" when no files are served
	Enabled   bool   // pages are told of changes
	Logger    *slog.Logger
}

// New returns a Hub.
func New(config Config, look func(path string) FileState) *Hub {
	h := &Hub{epoch: rand.Text()[:10], time: time.Now().UnixMilli(), look: look, Timeouts: defaultTimeouts}
	h.config.Store(&config)
	return h
}

func (h *Hub) Refresh(paths []string) { h.tell(newChange(paths)) }

func (h *Hub) Recheck(paths []string) { h.tell(newNameChange(paths)) }

func (h *Hub) Concerns(path string) bool {
	c := newChange([]string{path})
	return h.config.Load().Enabled && !c.empty() && h.affectsAny(&c)
}

func (h *Hub) tell(c change) {
	h.refreshing.Lock() // an older sight must not come after a newer one
	defer h.refreshing.Unlock()
	now := h.config.Load()
	if !now.Enabled || c.empty() {
		return
	}
	told := h.broadcast(c, h.lookAt(h.affected(&c)))
	now.Logger.Debug("pages refreshed", "paths", len(c.files), "names", c.names, "browsers", told)
}

// Reconfigure has replace put other files in the place of those that are served, and
// pages told. Nobody looks at files meanwhile.
func (h *Hub) Reconfigure(replace func() (*Config, error)) error {
	h.refreshing.Lock() // what was seen in one root must not be told of another
	defer h.refreshing.Unlock()
	h.looking.Lock()
	defer h.looking.Unlock()
	before := h.config.Load()
	next, err := replace()
	if err != nil {
		return err
	}
	h.config.Store(next)
	moved := next.Directory != before.Directory
	// From here on pages come from the new root. All of the one before have a
	// position of before this change, as ServeHTTP takes the position first.
	if moved {
		h.forget()
	}
	switch {
	case !next.Enabled:
		h.mute()
	case !before.Enabled, moved && next.Directory != "":
		all := newChange([]string{"/"})
		told := h.reloadAll(all, h.lookAt(h.affected(&all)))
		next.Logger.Debug("pages start over", "browsers", told)
	case moved:
		h.errorsChanged()
	}
	return nil
}
