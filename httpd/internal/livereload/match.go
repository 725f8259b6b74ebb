package livereload

import (
	"cmp"
	"maps"
	"math/bits"
	"slices"

	"github.com/execlog/execlogd/httpd/internal/filetype"
)

// A hit is a resource that a changed file affects.
type hit struct {
	resource *resource
	file     int // index in change.files
}

// hits returns the resources that a change affects: all of them, or if p is not nil at
// least those of that page. Hub.mu must be held.
func (h *Hub) hits(c *change, p *page) (hits []hit) {
	for i, f := range c.files {
		if !f.isDir {
			continue
		}
		below, dir := maps.Values(h.resources), f.path()
		if p != nil {
			below = slices.Values(slices.Concat(p.shows, p.uses))
		}
		for r := range below {
			if isBelow(r.path, dir) {
				hits = append(hits, hit{r, i})
			}
		}
	}
	for _, path := range c.paths {
		if r := h.resources[path.path]; r != nil {
			hits = append(hits, hit{r, path.file})
		}
	}
	return hits
}

// affected returns the resources that a change affects, each once.
func (h *Hub) affected(c *change) []*resource {
	h.mu.Lock()
	defer h.mu.Unlock()
	var resources []*resource
	isNew := h.mark(nil)
	for _, hit := range h.hits(c, nil) {
		if isNew(hit.resource) {
			resources = append(resources, hit.resource)
		}
	}
	return resources
}

// observeChange takes in what was seen at the resources that a change affects. It returns
// the hits of which pages have to be told, and the resources whose error is another now.
// Hub.mu must be held.
func (h *Hub) observeChange(c *change, seen map[*resource]FileState) (hits []hit, errs []*resource) {
	changed := make(map[*resource]bool)
	for _, hit := range h.hits(c, nil) {
		r := hit.resource
		if _, done := changed[r]; !done {
			var errChanged bool
			changed[r], errChanged = h.observe(r, seen[r], c.names)
			if errChanged {
				errs = append(errs, r)
			}
		}
		if changed[r] {
			hits = append(hits, hit)
		}
	}
	return hits, errs
}

// A mask says which files of a change affect a page, and how. Each file has a bit; see
// match.
type mask struct {
	shows uint64 // files that affect what the page shows
	uses  uint64 // files that affect what it uses
}

// The bits of a mask: one for each of the first files, one for all that follow, and one
// that says that an error came or went.
const (
	lastFile = 62
	errorBit = 1 << 63
)

// A match is what one change means to the pages that report what they use. While there
// is one, resource.hits says which files affect a resource. It costs nothing for a page
// that is not affected. The zero match affects none.
type match struct {
	files     []reloadMessage            // that affect some page: style sheets, images, the rest
	inPlace   uint64                     // the bits of those that are fetched again in place
	resources []*resource                // that are affected
	assets    map[uint64][]reloadMessage // those of inPlace, by bits
}

// newMatch matches the hits of a change, and the resources whose errors changed. It must
// be ended before the next begins. Hub.mu must be held until then.
func newMatch(c *change, hits []hit, errs []*resource) (m match) {
	if len(hits) == 0 && len(errs) == 0 {
		return m
	}

	add := func(r *resource, bits uint64) {
		if r.hits == 0 {
			m.resources = append(m.resources, r)
		}
		r.hits |= bits
	}
	for _, r := range errs {
		add(r, errorBit)
	}

	// Each file with a hit has a bit, in the order in which pages fetch them.
	bit := make(map[int]uint64)
	for _, hit := range hits {
		bit[hit.file] = 0
	}
	order := slices.SortedFunc(maps.Keys(bit), func(a, b int) int {
		return cmp.Or(cmp.Compare(c.files[a].rank(), c.files[b].rank()), cmp.Compare(a, b))
	})
	for i, file := range order {
		i = min(i, lastFile)
		bit[file] = 1 << i
		f := c.files[file]
		inPlace := f.rank() < filetype.Resource
		if len(m.files) == i {
			m.files = append(m.files, newReloadMessage(f.title(), inPlace))
		}
		if inPlace && i < lastFile {
			m.inPlace |= bit[file]
		}
	}

	for _, hit := range hits {
		add(hit.resource, bit[hit.file])
	}
	return m
}

// end makes room for the next match.
func (m *match) end() {
	for _, r := range m.resources {
		r.hits = 0
	}
}

// clients sets client.mask of the clients whose pages are affected, and adds them to
// list. The caller must clear the masks.
func (m *match) clients(list []*client) []*client {
	for _, r := range m.resources {
		for _, s := range r.subscribers {
			if s.client.mask == (mask{}) {
				list = append(list, s.client)
			}
			if s.at < 0 {
				s.client.mask.shows |= r.hits
			} else {
				s.client.mask.uses |= r.hits
			}
		}
	}
	return list
}

// updateFor returns the update for a mask. Pages with the same mask share it.
func (m *match) updateFor(k mask) update {
	reloads, fetched := (k.shows|k.uses&^m.inPlace)&^errorBit, k.uses&m.inPlace
	n := bits.OnesCount64(fetched)
	if reloads == 0 && n > maxAssets {
		reloads = fetched
	}
	switch {
	case reloads != 0:
		return update{reload: &m.files[bits.TrailingZeros64(reloads)]} // for the first of them
	case n == 0:
		return update{}
	case n == len(m.files):
		return update{assets: m.files}
	}

	assets := m.assets[fetched]
	if assets == nil {
		for i := range m.files {
			if fetched&(1<<i) != 0 {
				assets = append(assets, m.files[i])
			}
		}
		if m.assets == nil {
			m.assets = make(map[uint64][]reloadMessage)
		}
		m.assets[fetched] = assets
	}
	return update{assets: assets}
}
