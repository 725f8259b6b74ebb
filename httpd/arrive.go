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
	defer h.mu.Unlock()
	h.place(s, page{known: !p.all, all: p.all, missing: p.missing})
	s.named = 0
	h.show(s, p.own)
	h.nameMore(s, p.named)
	return append(unseenOf(s.page.own), unseenOf(s.page.uses)...)
}

// turn replaces what a page shows. It returns the uses, and those of them at
// which nobody has looked.
func (h *hub) turn(s *slot, own []string) (shown, fresh []*use) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.releaseOwn(&s.page)
	h.show(s, own)
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
	h.mu.Lock()
	defer h.mu.Unlock()
	added = h.nameMore(s, named)
	return added, unseenOf(added)
}

// nameMore is called with the lock.
func (h *hub) nameMore(s *slot, named []string) (added []*use) {
	s.named += len(named)
	p := &s.page
	if !p.known {
		return nil
	}
	h.marks++
	for _, u := range p.uses {
		u.mark = h.marks
	}
	had := len(p.uses)
	for _, path := range named {
		if u := h.uses[path]; path == "" || u != nil && u.mark == h.marks {
			continue
		}
		u, seat := h.hold(path, user{s, int32(len(p.uses))})
		u.mark = h.marks
		p.uses, p.seats = append(p.uses, u), append(p.seats, seat)
		if p.size += len(path); len(p.uses) > maxUses || p.size > maxUseBytes {
			h.useAll(s)
			return nil
		}
	}
	p.uses, p.seats = slices.Clip(p.uses), slices.Clip(p.seats)
	return p.uses[had:]
}

// useAll is when a page names too much.
func (h *hub) useAll(s *slot) {
	h.releaseUses(&s.page)
	s.page.known, s.page.all = false, true
	h.sort(s)
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
			u.see(now, true)
		}
	}
}

// introduce leaves in the slot of a page that has entered its position, its
// errors, and what it missed since the position that it reports.
func (h *hub) introduce(s *slot, p report, looks map[*use]sight) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.waiting = h.missedBy(s, p, looks)
	s.asked, s.faults, s.going = true, true, false
	s.notify()
}

// missedBy decides by the numbers of the changes, as long as those are
// remembered, which tell exactly what to do; else by what the page had then
// and would get now.
func (h *hub) missedBy(s *slot, p report, looks map[*use]sight) update {
	s.base = h.count
	if p.seen == (position{}) {
		return update{} // a page that was never told of any, as one that links the script itself
	}
	if p.seen.epoch == h.epoch {
		if changes, ok := h.since(p.seen.number); ok && !slices.ContainsFunc(changes, change.isLost) {
			s.base = p.seen.number
			return h.replay(&s.page, changes, h.unchanged(s, p), looks)
		}
	}
	if h.unchanged(s, p) && !h.isLater(s, p) || s.page.isGone() {
		return update{}
	}
	return update{reload: &missed}
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
		own[0].fault = gone(own[0].sight.name)
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

// replay is what changes of the past mean to a page. With unchanged, which
// says that the page has what is there now, names that came or went are no
// news. What is gone, and was not known before looks, went with a change.
func (h *hub) replay(p *page, changes []change, unchanged bool, looks map[*use]sight) update {
	var u update
	for i := range changes {
		c := &changes[i]
		if !p.known {
			u = u.merge(c.update(p))
		}
		if p.reports() && !(c.names && unchanged) {
			r := h.rule(c, h.newsOf(c, looks), nil)
			if r.mark != 0 {
				u = u.merge(r.update(r.stake(p)))
			}
		}
	}
	return p.unlessGone(u)
}

func (h *hub) newsOf(c *change, looks map[*use]sight) []touch {
	touches := h.touched(c)
	return slices.DeleteFunc(touches, func(t touch) bool {
		if _, first := looks[t.use]; first && c.names && t.use.isUnknown() {
			t.use.fault = gone(t.use.sight.name)
		}
		return t.use.fault != nil || t.use.sight.what == absent
	})
}

// learn leaves in the slot of a page its position and what it missed of uses
// that it has just named: what changed since a time,
// but not before it was served.
func (h *hub) learn(s *slot, added []*use, looks map[*use]sight, since time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(added) > 0 && !s.going {
		changes, _ := h.since(max(s.base, h.count-uint64(len(h.past))))
		first, _ := slices.BinarySearchFunc(changes, since.UnixMilli(), func(c change, since int64) int { return cmp.Compare(c.when, since) })
		part := page{known: true, uses: added}
		s.waiting = s.waiting.merge(h.replay(&part, changes[first:], false, looks))
		h.stirs()
	}
	s.asked, s.faults = true, true
	s.notify()
}
