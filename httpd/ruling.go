package httpd

import (
	"cmp"
	"iter"
	"maps"
	"math/bits"
	"slices"
	"strings"
)

// A touch says that a change is about a use, by way of which of its files.
type touch struct {
	use  *use
	file int
}

// touched lists the uses that a change is about: all, or for a page at least those
// that it has. It is called with the lock.
func (h *hub) touched(c *change, p *page) []touch {
	var touches []touch
	if len(h.uses) == 0 {
		return nil
	}
	for i, f := range c.files {
		if f.isDir {
			prefix := f.use()
			for u := range h.usesOf(p) {
				if isBelow(u.path, prefix) {
					touches = append(touches, touch{u, i})
				}
			}
		}
	}
	for _, path := range c.paths {
		if u := h.uses[path.use]; u != nil {
			touches = append(touches, touch{u, path.file})
		}
	}
	return touches
}

// usesOf yields the uses of a page, or of all pages where there is none. It is
// called with the lock.
func (h *hub) usesOf(p *page) iter.Seq[*use] {
	if p == nil {
		return maps.Values(h.uses)
	}
	return func(yield func(*use) bool) {
		for _, list := range [][]*use{p.own, p.uses} {
			for _, u := range list {
				if !yield(u) {
					return
				}
			}
		}
	}
}

// about lists the uses that a change is about, each once.
func (h *hub) about(c *change) []*use {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.marks++
	var uses []*use
	for _, t := range h.touched(c, nil) {
		if t.use.mark != h.marks {
			t.use.mark = h.marks
			uses = append(uses, t.use)
		}
	}
	return uses
}

// isBelow reports whether a use is what a directory shows, or below it.
func isBelow(use, dir string) bool {
	path := strings.TrimPrefix(use, listingOf)
	return strings.HasPrefix(path, dir) || path == dir[:len(dir)-1]
}

// A ruling is what one change means to the pages that say what they use. It
// costs nothing for a page that is not concerned. The zero ruling is about
// none.
type ruling struct {
	mark  uint64
	about []*use
	files []message // style sheets, images, and behind them the rest
	swaps uint64    // the bits of those that are fetched in place
	memo  map[uint64][]message
}

// The bits of use.files: one for each of the first files, one for all that
// follow, and one that says that an error has come or gone.
const (
	lastFile = 62
	faultBit = 1 << 63
)

// rule decides, given the uses with news and those whose errors changed. It
// is called with the lock, and good until it is called again.
func (h *hub) rule(c *change, news []touch, faults []*use) ruling {
	if len(news) == 0 && len(faults) == 0 {
		return ruling{}
	}
	h.marks++
	r := ruling{mark: h.marks}
	bit := r.number(c, news)
	for _, t := range news {
		r.add(t.use, bit[t.file])
	}
	for _, u := range faults {
		r.add(u, faultBit)
	}
	return r
}

// number gives the files with news their bits.
func (r *ruling) number(c *change, news []touch) map[int]uint64 {
	var order []int
	bit := make(map[int]uint64)
	for _, t := range news {
		if bit[t.file] == 0 {
			bit[t.file] = 1
			order = append(order, t.file)
		}
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(c.files[a].rank(), c.files[b].rank()), cmp.Compare(a, b))
	})
	for i, file := range order {
		f := c.files[file]
		i = min(i, lastFile)
		bit[file] = 1 << i
		if len(r.files) == i {
			r.files = append(r.files, newMessage(f.title(), f.rank() < lastRank))
		}
		if f.rank() < lastRank && i < lastFile {
			r.swaps |= bit[file]
		}
	}
	return bit
}

func (r *ruling) add(u *use, bits uint64) {
	if u.mark != r.mark {
		u.mark, u.files = r.mark, 0
		r.about = append(r.about, u)
	}
	u.files |= bits
}

// A stake is what a ruling is about of what a page shows and of what it uses.
type stake struct{ own, uses uint64 }

// stake of a page is found by looking at all its uses.
func (r *ruling) stake(p *page) stake {
	return stake{own: r.of(p.own), uses: r.of(p.uses)}
}

func (r *ruling) of(uses []*use) (files uint64) {
	for _, u := range uses {
		if u.mark == r.mark {
			files |= u.files
		}
	}
	return files
}

// update is what a stake means: one decision.
func (r *ruling) update(k stake) update {
	reloads := (k.own | k.uses&^r.swaps) &^ faultBit
	if reloads != 0 {
		return update{reload: &r.files[bits.TrailingZeros64(reloads)]}
	}
	return r.inPlace(k.uses & r.swaps)
}

// isFaulty reports whether an error came or went.
func (k stake) isFaulty() bool { return (k.own|k.uses)&faultBit != 0 }

// inPlace is the update of those files, which pages share.
func (r *ruling) inPlace(used uint64) update {
	switch n := bits.OnesCount64(used); {
	case n == 0:
		return update{}
	case n > maxAssets:
		return update{reload: &r.files[bits.TrailingZeros64(used)]}
	case n == len(r.files):
		return update{assets: r.files}
	}
	if r.memo == nil {
		r.memo = make(map[uint64][]message)
	}
	assets := r.memo[used]
	if assets == nil {
		for i := range r.files {
			if used&(1<<i) != 0 {
				assets = append(assets, r.files[i])
			}
		}
		r.memo[used] = assets
	}
	return update{assets: assets}
}

// settle notes what the uses that a change is about lead to now, and returns
// those for which that is news, and those whose error has come or gone. It is
// called with the lock.
func (h *hub) settle(c *change, seen map[*use]sight) (news []touch, faults []*use) {
	isNews := make(map[*use]bool)
	for _, t := range h.touched(c, nil) {
		if _, settled := isNews[t.use]; !settled {
			changed, faulty := h.see(t.use, seen[t.use], c.names)
			isNews[t.use] = changed
			if faulty {
				faults = append(faults, t.use)
			}
		}
		if isNews[t.use] {
			news = append(news, t)
		}
	}
	return news, faults
}

// see is use.see, and is called with the lock.
func (h *hub) see(u *use, now sight, names bool) (news, faulty bool) {
	news, faulty = u.see(now, names)
	h.setFault(u, u.fault)
	return news, faulty
}

// setFault is called with the lock.
func (h *hub) setFault(u *use, fault *PageErr) {
	u.fault = fault
	if fault == nil {
		delete(h.faulty, u)
		return
	}
	if h.faulty == nil {
		h.faulty = make(map[*use]struct{})
	}
	h.faulty[u] = struct{}{}
}

// see notes a sight. It is news where the content is not what pages have, or, when
// only names are known to have changed, where another file is there than was and
// has something else in it, since an empty one has probably yet to be written. What
// is gone or cannot be read is an error, which is no news until it is over. A sight
// that Recheck has told of is no news to Refresh.
func (u *use) see(now sight, names bool) (news, faulty bool) {
	if now.what == unseen {
		return !names, false
	}
	before, fault := u.sight, u.fault
	u.fault = u.faultOf(now)
	u.sight = now
	if u.fault == nil && now.what != absent {
		u.last = now
	}
	switch {
	case u.fault != nil, now.what == absent:
	case names && now.what == regular && now.state.size == 0:
		u.announced = false
	case names:
		news = fault != nil || before.what != unseen && !before.alike(now) && !u.isShown(now)
		u.announced = news
	case now.exact:
		news = fault != nil || !u.isShown(now) || now.state == u.untold
		u.announced, u.untold = false, fileState{}
	default:
		news = !u.announced || before.sum != now.sum || before.ctime != now.ctime
		u.announced = false
	}
	if news {
		u.shown = now.sum
	}
	return news, !fault.equal(u.fault)
}

// isShown reports whether every page with the use has the very content of a
// sight.
func (u *use) isShown(now sight) bool { return now.exact && now.sum == u.shown }

// alike reports whether the same file is there, or one with the same content; of
// a list of names, whether nothing came or went.
func (s sight) alike(now sight) bool {
	if s.what != now.what || s.name != now.name {
		return false
	}
	return s.sum == now.sum || s.what == regular && s.state.inode == now.state.inode && s.state.size == now.state.size
}

// faultOf is the error that a sight means to the pages with the use; nil for
// none. A file that never was there is none: pages try for what they can do
// without.
func (u *use) faultOf(now sight) *PageErr {
	switch {
	case strings.HasPrefix(u.path, listingOf):
		return nil
	case now.what == broken:
		return unreadable(now)
	case now.what == absent && u.last.what != unseen, now.what == directory && u.last.what == regular:
		return gone(u.last.name)
	}
	return nil
}
