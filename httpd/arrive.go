package httpd

import (
	"cmp"
	"slices"
	"time"
)

// enter places a page of our protocol, and returns the uses of it at which
// nobody has looked. What is left in its slot until introduce is called comes
// to nothing.
func (h *hub) enter(s *slot, p report) (fresh []*use) {
	h.mu.Lock()
	s.late = true
	h.mu.Unlock()
	h.releaseUses(&s.page)

	h.mu.Lock()
	h.place(s, page{known: !p.all, all: p.all, missing: p.missing})
	s.named = 0
	h.show(s, p.own)
	h.mu.Unlock()
	h.nameMore(s, p.named)

	h.mu.Lock()
	defer h.mu.Unlock()
	return append(unseenOf(s.page.own), unseenOf(s.page.uses)...)
}

// turn replaces what a page shows. It returns the uses, and those of them at
// which nobody has looked.
func (h *hub) turn(s *slot, own []string) (shown, fresh []*use) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.releaseOwn(&s.page)
	h.show(s, own)
	if s.reports {
		h.recall(s)
	}
	return s.page.own, unseenOf(s.page.own)
}

// show is called with the lock.
func (h *hub) show(s *slot, own []string) {
	p := &s.page
	p.own, p.ownSeats = make([]*use, len(own)), make([]int32, len(own))
	for i, path := range own {
		p.own[i], p.ownSeats[i] = h.hold(path, user{s, ^int32(i)})
	}
}

// name adds to the uses of a page. It returns those that are new to it, and
// those of them at which nobody has looked.
func (h *hub) name(s *slot, named []string) (added, fresh []*use) {
	added = h.nameMore(s, named)
	h.mu.Lock()
	defer h.mu.Unlock()
	return added, unseenOf(added)
}

// The hub is locked for at most so much at a time of what one page asks for, so
// that no page holds up the others for long.
const (
	namesAtOnce = 256  // names that a page adds or gives up
	filesAtOnce = 1024 // files that are compared with a page's
	looksAtOnce = 16   // files that are looked at for the first time
)

// nameMore adds to the uses of a page, and returns those that are new to it. Of
// one page, only one goroutine calls it and whatever else changes the uses.
func (h *hub) nameMore(s *slot, named []string) (added []*use) {
	had := len(s.page.uses)
	for part := range slices.Chunk(named, namesAtOnce) {
		h.mu.Lock()
		h.nameSome(s, part)
		h.mu.Unlock()
	}
	if !s.page.known {
		h.releaseUses(&s.page)
		return nil
	}
	return s.page.uses[had:]
}

// nameSome is called with the lock.
func (h *hub) nameSome(s *slot, named []string) {
	s.named += len(named)
	p := &s.page
	if !p.known {
		return
	}
	h.marks++
	for _, u := range p.uses {
		u.mark = h.marks
	}
	p.uses, p.seats = slices.Grow(p.uses, len(named)), slices.Grow(p.seats, len(named))
	for _, path := range named {
		if u := h.uses[path]; path == "" || u != nil && u.mark == h.marks {
			continue
		}
		u, seat := h.hold(path, user{s, int32(len(p.uses))})
		u.mark = h.marks
		p.uses, p.seats = append(p.uses, u), append(p.seats, seat)
		p.size += len(path)
		if len(p.uses) > maxUses || p.size > maxUseBytes || len(p.uses) > fewUses && len(h.uses) > maxNames {
			p.known, p.all = false, true // nameMore releases its uses
			h.sort(s)
			return
		}
	}
}

func unseenOf(uses []*use) []*use {
	var fresh []*use
	for _, u := range uses {
		if u.sight.what == unseen {
			fresh = append(fresh, u)
		}
	}
	return fresh
}

// unseen lists those of the uses at which nobody has looked.
func (h *hub) unseen(uses []*use) []*use {
	h.mu.Lock()
	defer h.mu.Unlock()
	return unseenOf(uses)
}

// firstSights notes what was seen at uses at which nobody else looked
// meanwhile.
func (h *hub) firstSights(looks map[*use]sight) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for u, now := range looks {
		if u.sight.what == unseen {
			h.see(u, now, true)
		}
	}
}

// introduce leaves in the slot of a page that has entered its position, its
// errors, and what it missed since the position that it reports. It returns how
// many files of past changes were compared with the page's.
func (h *hub) introduce(s *slot, p report, looks map[*use]sight) (compared int) {
	h.mu.Lock()
	s.waiting, s.going = update{}, false // what comes from now on is left there
	before, changes, m := h.missedBy(s, p, looks)
	s.loaded, s.dated = p.served.number, p.served.epoch == h.epoch
	h.mu.Unlock()
	replayed, compared := h.replayInSteps(&s.page, changes, m)

	h.mu.Lock()
	s.waiting = s.page.unlessGone(before.merge(replayed)).merge(s.waiting)
	h.compare(s, s.page.own)
	h.mu.Unlock()
	h.compareInSteps(s, s.page.uses)

	h.mu.Lock()
	defer h.mu.Unlock()
	s.asked, s.faults, s.late = true, true, false
	h.recall(s)
	s.notify()
	return compared
}

// missedBy decides by the numbers of the changes, as long as those are
// remembered, which tell exactly what to do: to replay the changes that it
// returns. Else it decides by what the page had then and would get now.
func (h *hub) missedBy(s *slot, p report, looks map[*use]sight) (u update, changes []change, m memory) {
	s.base = h.count
	if p.seen == (position{}) {
		return update{}, nil, m // a page that was never told of any, as one that links the script itself
	}
	if p.isOld || p.seen.epoch == h.epoch && p.seen.number < h.moved {
		return update{reload: &missed}, nil, m
	}
	if p.seen.epoch == h.epoch {
		if changes, ok := h.since(p.seen.number); ok && !slices.ContainsFunc(changes, change.isLost) {
			s.base = p.seen.number
			same := h.unchanged(s, p) && p.hasHad
			return update{}, slices.Clone(changes), memory{looks, p.seen.when, same}
		}
	}
	if h.unchanged(s, p) && !h.isLater(s, p) || s.page.isGone() {
		return update{}, nil, m
	}
	return update{reload: &missed}, nil, m
}

// outdate has a page loaded again.
func (h *hub) outdate(s *slot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.waiting = s.waiting.merge(update{reload: &missed})
	s.notify()
}

// unchanged reports whether all files of which the page had a digest are still
// as they were. Where what it showed is gone, that is noted as an error.
func (h *hub) unchanged(s *slot, p report) bool {
	if !p.hasHad {
		return !s.page.all
	}
	if s.page.all || p.had.n > len(p.named) {
		return false
	}
	own := s.page.own
	sameOwn := sumOf(own) == p.had.own
	if !sameOwn && !p.missing && len(own) > 0 && own[0].isUnknown() {
		h.setFault(own[0], gone(own[0].sight.name))
	}
	return sameOwn && sumOf(h.held(p.named[:p.had.n])) == p.had.uses
}

// isUnknown reports whether a use leads nowhere now and for all we know never
// did.
func (u *use) isUnknown() bool { return u.sight.what == absent && u.last.what == unseen }

// isLater reports whether a file of which the page had no digest may have
// changed after the page's position. The clock may have been set back since.
func (h *hub) isLater(s *slot, p report) bool {
	first, own := 0, s.page.own
	if p.hasHad {
		first, own = min(p.had.n, len(p.named)), nil
	}
	rest := append(h.held(p.named[first:]), own...)
	if len(rest) > 0 && p.seen.when > time.Now().UnixMilli()+setBack {
		return true
	}
	return slices.ContainsFunc(rest, func(u *use) bool { return u.sight.ctime > p.seen.when-tick })
}

// In ms: how far the kernel's time for files may lag behind its clock, and by
// how much the clock may be corrected without having been set back.
const (
	tick    = 10
	setBack = 1000
)

// held lists the uses of those paths, each once.
func (h *hub) held(paths []string) []*use {
	h.marks++
	var list []*use
	for _, path := range paths {
		if u := h.uses[path]; u != nil && u.mark != h.marks {
			u.mark = h.marks
			list = append(list, u)
		}
	}
	return list
}

// A memory is what is known of a page whose past is replayed.
type memory struct {
	looks map[*use]sight // first looks at files, for it
	since int64          // no file that it has was read before; ms since 1970
	same  bool           // and all that it has is as it was
}

// replayInSteps is what changes of the past mean to a page. It returns as well how
// many files were compared. The changes are the caller's own.
func (h *hub) replayInSteps(p *page, changes []change, m memory) (u update, compared int) {
	for len(changes) > 0 {
		h.mu.Lock()
		for end := compared + filesAtOnce; len(changes) > 0 && compared < end; changes = changes[1:] {
			u = u.merge(h.replay(p, &changes[0], m))
			compared += changes[0].comparisons(p)
		}
		h.mu.Unlock()
	}
	return u, compared
}

// comparisons is about how many files it takes to find out what a change means to
// a page.
func (c *change) comparisons(p *page) int {
	n := 1 + len(c.files)
	for _, f := range c.files {
		if f.isDir {
			n += len(p.uses)
		}
	}
	return n
}

// replay is what a change of the past means to a page. It is called with the
// lock.
func (h *hub) replay(p *page, c *change, m memory) (u update) {
	if c.lost && p.known {
		u = u.merge(update{reload: &missed})
	}
	if !p.known {
		u = u.merge(c.update(p))
	}
	if p.reports() {
		r := h.rule(c, h.newsOf(c, p, m), nil)
		if r.mark != 0 {
			u = u.merge(r.update(r.stake(p)))
		}
	}
	return u
}

// newsOf lists what was news of a change to a page. A name that came, or a file
// that may be read now, is none for a page that has read the file since. What is
// gone, and was not known before the look, went with the change.
func (h *hub) newsOf(c *change, p *page, m memory) []touch {
	return slices.DeleteFunc(h.touched(c, p), func(t touch) bool {
		u := t.use
		if c.names && (m.same || u.sight.ctime < m.since-tick) {
			return true
		}
		if _, first := m.looks[u]; first && c.names && u.isUnknown() {
			h.setFault(u, gone(u.sight.name))
		}
		return u.fault != nil || u.sight.what == absent
	})
}

// learn leaves in the slot of a page its position, and what it missed of uses
// that it has just named: what changed since a time, but not before it was
// served. It returns how many files of past changes were compared with them.
func (h *hub) learn(s *slot, added []*use, looks map[*use]sight, since time.Time) (compared int) {
	if len(added) > 0 {
		compared = h.learnMissed(s, added, memory{looks: looks, since: since.UnixMilli()})
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s.asked, s.faults, s.late = true, true, false
	s.notify()
	return compared
}

// learnMissed leaves in the slot of a page what it missed of uses. The page is told
// nothing until learn is done.
func (h *hub) learnMissed(s *slot, added []*use, m memory) (compared int) {
	h.mu.Lock()
	if s.going {
		h.mu.Unlock()
		return 0
	}
	s.late = true
	changes, _ := h.since(max(s.base, h.count-uint64(len(h.past))))
	first, _ := slices.BinarySearchFunc(changes, m.since, func(c change, since int64) int { return cmp.Compare(c.when, since) })
	changes = slices.Clone(changes[first:])
	before := s.waiting
	s.waiting = update{} // what comes from now on is left there
	h.mu.Unlock()
	replayed, compared := h.replayInSteps(&page{known: true, uses: added}, changes, m)

	h.mu.Lock()
	s.waiting = before.merge(replayed).merge(s.waiting)
	h.stirs()
	h.mu.Unlock()
	h.compareInSteps(s, added)
	return compared
}
