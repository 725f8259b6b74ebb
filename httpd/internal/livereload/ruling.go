package livereload

import (
	"cmp"
	"iter"
	"maps"
	"math/bits"
	"slices"
	"strings"
)

// A hit says that a change is about a use, by way of which of its files.
type hit struct {
	use  *resource
	file int
}

// hits lists the uses that a change is about: all, or for a page at least those
// that it has. It is called with the lock.
func (h *Hub) hits(c *change, p *page) []hit {
	var touches []hit
	if len(h.resources) == 0 {
		return nil
	}
	for i, f := range c.files {
		if f.isDir {
			prefix := f.use()
			for u := range h.usesOf(p) {
				if isBelow(u.path, prefix) {
					touches = append(touches, hit{u, i})
				}
			}
		}
	}
	for _, path := range c.paths {
		if u := h.resources[path.use]; u != nil {
			touches = append(touches, hit{u, path.file})
		}
	}
	return touches
}

// usesOf yields the uses of a page, or of all pages where there is none. It is
// called with the lock.
func (h *Hub) usesOf(p *page) iter.Seq[*resource] {
	if p == nil {
		return maps.Values(h.resources)
	}
	return func(yield func(*resource) bool) {
		for _, list := range [][]*resource{p.shows, p.uses} {
			for _, u := range list {
				if !yield(u) {
					return
				}
			}
		}
	}
}

// affected lists the uses that a change is about, each once.
func (h *Hub) affected(c *change) []*resource {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.generation++
	var uses []*resource
	for _, t := range h.hits(c, nil) {
		if t.use.generation != h.generation {
			t.use.generation = h.generation
			uses = append(uses, t.use)
		}
	}
	return uses
}

// isBelow reports whether a use is what a directory shows, or below it.
func isBelow(use, dir string) bool {
	path := strings.TrimPrefix(use, listingPrefix)
	return strings.HasPrefix(path, dir) || path == dir[:len(dir)-1]
}

// A match is what one change means to the pages that say what they use. It
// costs nothing for a page that is not concerned. The zero ruling is about
// none.
type match struct {
	mark  uint64
	about []*resource
	files []reloadMessage // style sheets, images, and behind them the rest
	swaps uint64          // the bits of those that are fetched in place
	memo  map[uint64][]reloadMessage
}

// The bits of use.files: one for each of the first files, one for all that
// follow, and one that says that an error has come or gone.
const (
	lastFile = 62
	faultBit = 1 << 63
)

// match decides, given the uses with news and those whose errors changed. It
// is called with the lock, and good until it is called again.
func (h *Hub) match(c *change, news []hit, faults []*resource) match {
	if len(news) == 0 && len(faults) == 0 {
		return match{}
	}
	h.generation++
	r := match{mark: h.generation}
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
func (r *match) number(c *change, news []hit) map[int]uint64 {
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
			r.files = append(r.files, newReloadMessage(f.title(), f.rank() < lastRank))
		}
		if f.rank() < lastRank && i < lastFile {
			r.swaps |= bit[file]
		}
	}
	return bit
}

func (r *match) add(u *resource, bits uint64) {
	if u.generation != r.mark {
		u.generation, u.hits = r.mark, 0
		r.about = append(r.about, u)
	}
	u.hits |= bits
}

// A mask is what a ruling is about of what a page shows and of what it uses.
type mask struct{ own, uses uint64 }

// stake of a page is found by looking at all its uses.
func (r *match) stake(p *page) mask {
	return mask{own: r.of(p.shows), uses: r.of(p.uses)}
}

func (r *match) of(uses []*resource) (files uint64) {
	for _, u := range uses {
		if u.generation == r.mark {
			files |= u.hits
		}
	}
	return files
}

// update is what a stake means: one decision.
func (r *match) update(k mask) update {
	reloads := (k.own | k.uses&^r.swaps) &^ faultBit
	if reloads != 0 {
		return update{reload: &r.files[bits.TrailingZeros64(reloads)]}
	}
	return r.inPlace(k.uses & r.swaps)
}

// isFaulty reports whether an error came or went.
func (k mask) isFaulty() bool { return (k.own|k.uses)&faultBit != 0 }

// inPlace is the update of those files, which pages share.
func (r *match) inPlace(used uint64) update {
	switch n := bits.OnesCount64(used); {
	case n == 0:
		return update{}
	case n > maxAssets:
		return update{reload: &r.files[bits.TrailingZeros64(used)]}
	case n == len(r.files):
		return update{assets: r.files}
	}
	if r.memo == nil {
		r.memo = make(map[uint64][]reloadMessage)
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

// observeChange notes what the uses that a change is about lead to now, and returns
// those for which that is news, and those whose error has come or gone. It is
// called with the lock.
func (h *Hub) observeChange(c *change, seen map[*resource]FileState) (news []hit, faults []*resource) {
	isNews := make(map[*resource]bool)
	for _, t := range h.hits(c, nil) {
		if _, settled := isNews[t.use]; !settled {
			changed, faulty := h.observe(t.use, seen[t.use], c.names)
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

// observe is use.see, and is called with the lock.
func (h *Hub) observe(u *resource, now FileState, names bool) (news, faulty bool) {
	news, faulty = u.see(now, names)
	h.setError(u, u.err)
	return news, faulty
}

// setError is called with the lock.
func (h *Hub) setError(u *resource, fault *PageError) {
	u.err = fault
	if fault == nil {
		delete(h.broken, u)
		return
	}
	if h.broken == nil {
		h.broken = make(map[*resource]struct{})
	}
	h.broken[u] = struct{}{}
}

// see notes a sight. It is news where the content is not what pages have, or, when
// only names are known to have changed, where another file is there than was and
// has something else in it, since an empty one has probably yet to be written. What
// is gone or cannot be read is an error, which is no news until it is over. A sight
// that Recheck has told of is no news to Refresh.
func (u *resource) see(now FileState, names bool) (news, faulty bool) {
	if now.Kind == Unknown {
		return !names, false
	}
	before, fault := u.state, u.err
	u.err = u.faultOf(now)
	u.state = now
	if u.err == nil && now.Kind != Missing {
		u.readable = now
	}
	switch {
	case u.err != nil, now.Kind == Missing:
	case names && now.Kind == Regular && now.Version.Size == 0:
		u.announced = false
	case names:
		news = fault != nil || before.Kind != Unknown && !before.alike(now) && !u.isShown(now)
		u.announced = news
	case now.Exact:
		news = fault != nil || !u.isShown(now) || now.Version == u.untold
		u.announced, u.untold = false, FileVersion{}
	default:
		news = !u.announced || before.Sum != now.Sum || before.Changed != now.Changed
		u.announced = false
	}
	if news {
		u.delivered = now.Sum
	}
	return news, !fault.equal(u.err)
}

// isShown reports whether every page with the use has the very content of a
// sight.
func (u *resource) isShown(now FileState) bool { return now.Exact && now.Sum == u.delivered }

// alike reports whether the same file is there, or one with the same content; of
// a list of names, whether nothing came or went.
func (s FileState) alike(now FileState) bool {
	if s.Kind != now.Kind || s.Name != now.Name {
		return false
	}
	return s.Sum == now.Sum || s.Kind == Regular && s.Version.Inode == now.Version.Inode && s.Version.Size == now.Version.Size
}

// faultOf is the error that a sight means to the pages with the use; nil for
// none. A file that never was there is none: pages try for what they can do
// without.
func (u *resource) faultOf(now FileState) *PageError {
	switch {
	case strings.HasPrefix(u.path, listingPrefix):
		return nil
	case now.Kind == Unreadable:
		return unreadableError(now)
	case now.Kind == Missing && u.readable.Kind != Unknown, now.Kind == Directory && u.readable.Kind == Regular:
		return goneError(u.readable.Name)
	}
	return nil
}
