package livereload

import (
	"cmp"
	"slices"
	"time"
)

// enter places a page of our protocol, and returns the uses of it at which
// nobody has looked. What is left in its slot until introduce is called comes
// to nothing.
func (h *Hub) enter(s *client, p report) (fresh []*resource) {
	h.mu.Lock()
	s.catchingUp = true
	h.mu.Unlock()
	h.releaseUses(&s.page)

	h.mu.Lock()
	h.place(s, page{reported: !p.usesAll, usesAll: p.usesAll, missing: p.missing})
	s.named = 0
	h.show(s, p.shows)
	h.mu.Unlock()
	h.nameMore(s, p.named)

	h.mu.Lock()
	defer h.mu.Unlock()
	return append(unseenOf(s.page.shows), unseenOf(s.page.uses)...)
}

// setShown replaces what a page shows. It returns the uses, and those of them at
// which nobody has looked.
func (h *Hub) setShown(s *client, own []string) (shown, fresh []*resource) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.releaseOwn(&s.page)
	h.show(s, own)
	if s.reports {
		h.addFailedFetches(s)
	}
	return s.page.shows, unseenOf(s.page.shows)
}

// show is called with the lock.
func (h *Hub) show(s *client, own []string) {
	p := &s.page
	p.shows, p.showsIndex = make([]*resource, len(own)), make([]int32, len(own))
	for i, path := range own {
		p.shows[i], p.showsIndex[i] = h.subscribe(path, subscriber{s, ^int32(i)})
	}
}

// nameUses adds to the uses of a page. It returns those that are new to it, and
// those of them at which nobody has looked.
func (h *Hub) nameUses(s *client, named []string) (added, fresh []*resource) {
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
func (h *Hub) nameMore(s *client, named []string) (added []*resource) {
	had := len(s.page.uses)
	for part := range slices.Chunk(named, namesAtOnce) {
		h.mu.Lock()
		h.nameSome(s, part)
		h.mu.Unlock()
	}
	if !s.page.reported {
		h.releaseUses(&s.page)
		return nil
	}
	return s.page.uses[had:]
}

// nameSome is called with the lock.
func (h *Hub) nameSome(s *client, named []string) {
	s.named += len(named)
	p := &s.page
	if !p.reported {
		return
	}
	h.generation++
	for _, u := range p.uses {
		u.generation = h.generation
	}
	p.uses, p.usesIndex = slices.Grow(p.uses, len(named)), slices.Grow(p.usesIndex, len(named))
	for _, path := range named {
		if u := h.resources[path]; path == "" || u != nil && u.generation == h.generation {
			continue
		}
		u, seat := h.subscribe(path, subscriber{s, int32(len(p.uses))})
		u.generation = h.generation
		p.uses, p.usesIndex = append(p.uses, u), append(p.usesIndex, seat)
		p.size += len(path)
		if len(p.uses) > maxUses || p.size > maxUseBytes || len(p.uses) > fewUses && len(h.resources) > maxNames {
			p.reported, p.usesAll = false, true // nameMore releases its uses
			h.sort(s)
			return
		}
	}
}

func unseenOf(uses []*resource) []*resource {
	var fresh []*resource
	for _, u := range uses {
		if u.state.Kind == Unknown {
			fresh = append(fresh, u)
		}
	}
	return fresh
}

// unseen lists those of the uses at which nobody has looked.
func (h *Hub) unseen(uses []*resource) []*resource {
	h.mu.Lock()
	defer h.mu.Unlock()
	return unseenOf(uses)
}

// firstSights notes what was seen at uses at which nobody else looked
// meanwhile.
func (h *Hub) firstSights(looks map[*resource]FileState) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for u, now := range looks {
		if u.state.Kind == Unknown {
			h.observe(u, now, true)
		}
	}
}

// catchUpReporting leaves in the slot of a page that has entered its position, its
// errors, and what it missed since the position that it reports. It returns how
// many files of past changes were compared with the page's.
func (h *Hub) catchUpReporting(s *client, p report, looks map[*resource]FileState) (compared int) {
	h.mu.Lock()
	s.pending, s.reloading = update{}, false // what comes from now on is left there
	before, changes, m := h.missedBy(s, p, looks)
	s.loadedAt, s.loadKnown = p.served.Number, p.served.Epoch == h.epoch
	h.mu.Unlock()
	replayed, compared := h.replayInSteps(&s.page, changes, m)

	h.mu.Lock()
	s.pending = s.page.withoutError(before.merge(replayed)).merge(s.pending)
	h.compare(s, s.page.shows)
	h.mu.Unlock()
	h.compareInSteps(s, s.page.uses)

	h.mu.Lock()
	defer h.mu.Unlock()
	s.cursorDue, s.errorsDue, s.catchingUp = true, true, false
	h.addFailedFetches(s)
	s.notify()
	return compared
}

// missedBy decides by the numbers of the changes, as long as those are
// remembered, which tell exactly what to do: to replay the changes that it
// returns. Else it decides by what the page had then and would get now.
func (h *Hub) missedBy(s *client, p report, looks map[*resource]FileState) (u update, changes []change, m replay) {
	s.baseline = h.number
	if p.seen == (Cursor{}) {
		return update{}, nil, m // a page that was never told of any, as one that links the script itself
	}
	if p.isOld || p.seen.Epoch == h.epoch && p.seen.Number < h.rootSince {
		return update{reload: &missed}, nil, m
	}
	if p.seen.Epoch == h.epoch {
		if changes, ok := h.since(p.seen.Number); ok && !slices.ContainsFunc(changes, change.isLost) {
			s.baseline = p.seen.Number
			same := h.unchanged(s, p) && p.hasHad
			return update{}, slices.Clone(changes), replay{looks, p.seen.Time, same}
		}
	}
	if h.unchanged(s, p) && !h.isLater(s, p) || s.page.isBroken() {
		return update{}, nil, m
	}
	return update{reload: &missed}, nil, m
}

// outdate has a page loaded again.
func (h *Hub) outdate(s *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.pending = s.pending.merge(update{reload: &missed})
	s.notify()
}

// unchanged reports whether all files of which the page had a digest are still
// as they were. Where what it showed is gone, that is noted as an error.
func (h *Hub) unchanged(s *client, p report) bool {
	if !p.hasHad {
		return !s.page.usesAll
	}
	if s.page.usesAll || p.had.n > len(p.named) {
		return false
	}
	own := s.page.shows
	sameOwn := sumOf(own) == p.had.own
	if !sameOwn && !p.missing && len(own) > 0 && own[0].isUnknown() {
		h.setError(own[0], goneError(own[0].state.Name))
	}
	return sameOwn && sumOf(h.held(p.named[:p.had.n])) == p.had.uses
}

// isUnknown reports whether a use leads nowhere now and for all we know never
// did.
func (u *resource) isUnknown() bool { return u.state.Kind == Missing && u.readable.Kind == Unknown }

// isLater reports whether a file of which the page had no digest may have
// changed after the page's position. The clock may have been set back since.
func (h *Hub) isLater(s *client, p report) bool {
	first, own := 0, s.page.shows
	if p.hasHad {
		first, own = min(p.had.n, len(p.named)), nil
	}
	rest := append(h.held(p.named[first:]), own...)
	if len(rest) > 0 && p.seen.Time > time.Now().UnixMilli()+setBack {
		return true
	}
	return slices.ContainsFunc(rest, func(u *resource) bool { return u.state.Changed > p.seen.Time-ClockTick })
}

// In ms: how far the kernel's time for files may lag behind its clock, and by
// how much the clock may be corrected without having been set back.
const (
	ClockTick = 10
	setBack   = 1000
)

// held lists the uses of those paths, each once.
func (h *Hub) held(paths []string) []*resource {
	h.generation++
	var list []*resource
	for _, path := range paths {
		if u := h.resources[path]; u != nil && u.generation != h.generation {
			u.generation = h.generation
			list = append(list, u)
		}
	}
	return list
}

// A replay is what is known of a page whose past is replayed.
type replay struct {
	looks map[*resource]FileState // first looks at files, for it
	since int64                   // no file that it has was read before; ms since 1970
	same  bool                    // and all that it has is as it was
}

// replayInSteps is what changes of the past mean to a page. It returns as well how
// many files were compared. The changes are the caller's own.
func (h *Hub) replayInSteps(p *page, changes []change, m replay) (u update, compared int) {
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
func (h *Hub) replay(p *page, c *change, m replay) (u update) {
	if c.lost && p.reported {
		u = u.merge(update{reload: &missed})
	}
	if !p.reported {
		u = u.merge(c.updateFor(p))
	}
	if p.reports() {
		r := h.match(c, h.newsOf(c, p, m), nil)
		if r.mark != 0 {
			u = u.merge(r.update(r.stake(p)))
		}
	}
	return u
}

// newsOf lists what was news of a change to a page. A name that came, or a file
// that may be read now, is none for a page that has read the file since. What is
// gone, and was not known before the look, went with the change.
func (h *Hub) newsOf(c *change, p *page, m replay) []hit {
	return slices.DeleteFunc(h.hits(c, p), func(t hit) bool {
		u := t.use
		if c.names && (m.same || u.state.Changed < m.since-ClockTick) {
			return true
		}
		if _, first := m.looks[u]; first && c.names && u.isUnknown() {
			h.setError(u, goneError(u.state.Name))
		}
		return u.err != nil || u.state.Kind == Missing
	})
}

// learn leaves in the slot of a page its position, and what it missed of uses
// that it has just named: what changed since a time, but not before it was
// served. It returns how many files of past changes were compared with them.
func (h *Hub) learn(s *client, added []*resource, looks map[*resource]FileState, since time.Time) (compared int) {
	if len(added) > 0 {
		compared = h.learnMissed(s, added, replay{looks: looks, since: since.UnixMilli()})
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s.cursorDue, s.errorsDue, s.catchingUp = true, true, false
	s.notify()
	return compared
}

// learnMissed leaves in the slot of a page what it missed of uses. The page is told
// nothing until learn is done.
func (h *Hub) learnMissed(s *client, added []*resource, m replay) (compared int) {
	h.mu.Lock()
	if s.reloading {
		h.mu.Unlock()
		return 0
	}
	s.catchingUp = true
	changes, _ := h.since(max(s.baseline, h.number-uint64(len(h.history))))
	first, _ := slices.BinarySearchFunc(changes, m.since, func(c change, since int64) int { return cmp.Compare(c.when, since) })
	changes = slices.Clone(changes[first:])
	before := s.pending
	s.pending = update{} // what comes from now on is left there
	h.mu.Unlock()
	replayed, compared := h.replayInSteps(&page{reported: true, uses: added}, changes, m)

	h.mu.Lock()
	s.pending = before.merge(replayed).merge(s.pending)
	h.notifyChanged()
	h.mu.Unlock()
	h.compareInSteps(s, added)
	return compared
}
