package livereload

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/execlog/execlogd/httpd/internal/urlpath"
)

// How many files a page may name, and of how many bytes together. One that names more
// counts as using everything. So does one that names more than a few, while all pages
// together name too many different files.
const (
	maxUses     = 4096
	maxUseBytes = 512 << 10
	maxNames    = 128 << 10
	fewUses     = 256
)

// maxClockStep is by how much the clock may be corrected without counting as set back, in
// ms.
const maxClockStep = 1000

// latency is how long a message may have been under way.
const latency = 100 * time.Millisecond

// A report is what a page reports of itself when its websocket opens.
type report struct {
	shows     []string // paths of resources
	named     []string // paths of what it uses; "" for what is no path
	usesAll   bool     // it uses more than it may name
	outdated  bool     // it shows a list of names that are others by now
	token     PageToken
	seen      Cursor // what it was told last
	digest    digest // of what it had then
	hasDigest bool
}

// shownPaths returns the paths of the resources that a page at path shows.
func (h *Hub) shownPaths(path string, token PageToken) []string {
	path, ok := urlpath.Parse(path)
	if !ok {
		return nil
	}
	paths := []string{path}
	if name := h.errorPage(token); name != "" {
		paths = append(paths, urlpath.Canonical("/"+name))
	}
	if token.Listing {
		paths = append(paths, ListingOf(path))
	}
	return paths
}

// errorPage returns the name of the file that a page shows in place of an error; "" if it
// does not.
func (h *Hub) errorPage(token PageToken) string {
	pages := h.config.Load().ErrorPages
	if token.Missing {
		return pages[http.StatusNotFound]
	}
	return pages[token.Failed]
}

// parsePaths parses paths that a page names. What is no path becomes "", so that it has
// its place in a digest.
func parsePaths(texts []string) []string {
	paths := make([]string, len(texts))
	for i, text := range texts {
		paths[i], _ = urlpath.Parse(text)
	}
	return paths
}

// introduce takes in what a page reports of itself, and leaves in its mailbox its cursor,
// its errors and what it has missed. It returns how many files it compared.
func (h *Hub) introduce(c *client, r request, token PageToken) (compared int) {
	p := report{
		shows:   h.shownPaths(r.Path, token),
		named:   parsePaths(r.Uses),
		usesAll: r.All,
		token:   token,
		seen:    token.Cursor, // if the page knows no other
	}
	if r.Seen != "" {
		p.seen = parseCursor(r.Seen)
	}
	p.seen = h.translate(p.seen)
	p.digest, p.hasDigest = parseDigest(r.Digest)

	h.enter(c, p)
	seen := h.lookFirst(slices.Concat(c.page.shows, c.page.uses))
	p.outdated = token.Listing && h.isOutdated(p.shows, token)
	return h.catchUp(c, p, seen)
}

// enter replaces the page of a client by one that reports. What is left in the mailbox
// until catchUp is dropped.
func (h *Hub) enter(c *client, p report) {
	h.mu.Lock()
	c.catchingUp = true
	h.mu.Unlock()
	h.dropUses(&c.page)

	h.mu.Lock()
	h.replacePage(c, page{reported: !p.usesAll})
	c.named = 0
	h.setShown(c, p.shows)
	h.mu.Unlock()
	h.nameUses(c, p.named)
}

// nameUses adds to what a page uses, and returns the resources that are new to it. Of one
// page, only one goroutine calls it and whatever else changes what the page uses.
func (h *Hub) nameUses(c *client, paths []string) (added []*resource) {
	had := len(c.page.uses)
	for some := range slices.Chunk(paths, namesAtOnce) {
		h.mu.Lock()
		h.nameSome(c, some)
		h.mu.Unlock()
	}

	if !c.page.reported {
		h.dropUses(&c.page)
		return nil
	}
	return c.page.uses[had:]
}

// nameSome is nameUses for at most namesAtOnce paths. h.mu must be held.
func (h *Hub) nameSome(c *client, paths []string) {
	c.named += len(paths)
	p := &c.page
	if !p.reported {
		return
	}

	isNew := h.mark(p.uses)
	p.uses, p.usesIndex = slices.Grow(p.uses, len(paths)), slices.Grow(p.usesIndex, len(paths))
	for _, path := range paths {
		if r := h.resources[path]; path == "" || r != nil && !isNew(r) {
			continue
		}
		r, index := h.subscribe(path, subscriber{c, int32(len(p.uses))})
		isNew(r)
		p.uses, p.usesIndex = append(p.uses, r), append(p.usesIndex, index)
		p.size += len(path)

		if len(p.uses) > maxUses || p.size > maxUseBytes || len(p.uses) > fewUses && len(h.resources) > maxNames {
			p.reported = false // nameUses drops what it uses
			h.updateNonReporting(c)
			return
		}
	}
}

// catchUp leaves in the mailbox of a page that has entered what it has missed since the
// cursor that it reports. First looks at its resources are in seen. It returns how many
// files it compared.
func (h *Hub) catchUp(c *client, p report, seen map[*resource]FileState) (compared int) {
	h.mu.Lock()
	c.pending, c.reloading = update{}, false // changes from now on are left there
	before, changes, past := h.missedBy(c, p, seen)
	c.loadedAt, c.loadKnown = p.token.Number, p.token.Epoch == h.epoch
	h.mu.Unlock()
	replayed, compared := h.replayAll(&c.page, changes, past)

	h.mu.Lock()
	c.pending = c.page.withoutError(before.merge(replayed)).merge(c.pending)
	h.mu.Unlock()
	h.compareContent(c, c.page.shows)
	h.compareContent(c, c.page.uses)

	h.mu.Lock()
	h.addFailedFetches(c)
	h.mu.Unlock()
	h.answer(c)
	return compared
}

// answer ends the catching up of a page: it is told its cursor and its errors at least.
func (h *Hub) answer(c *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.cursorDue, c.errorsDue, c.catchingUp = true, true, false
	c.notify()
}

// missedBy decides how a page catches up. As long as the changes that it has missed are
// remembered, they are replayed. Else the page loads again, unless it has what it would
// get. h.mu must be held.
func (h *Hub) missedBy(c *client, p report, seen map[*resource]FileState) (u update, changes []change, past replay) {
	c.baseline = h.number
	if p.seen == (Cursor{}) {
		return update{}, nil, past // a page without a token, as one that links the script itself
	}
	if p.outdated || p.seen.Epoch == h.epoch && p.seen.Number < h.rootSince {
		return update{reload: &missed}, nil, past
	}

	if p.seen.Epoch == h.epoch {
		changes, ok := h.since(p.seen.Number)
		if ok && !slices.ContainsFunc(changes, func(c change) bool { return c.lost }) {
			c.baseline = p.seen.Number
			same := h.isUnchanged(c, p) && p.hasDigest
			return update{}, slices.Clone(changes), replay{seen, p.seen.Time, same}
		}
	}
	if h.isUnchanged(c, p) && !h.mayHaveChanged(c, p) || c.page.isBroken() {
		return update{}, nil, past
	}
	return update{reload: &missed}, nil, past
}

// isUnchanged reports whether the files that the page's digest covers are as they were.
// If what the page showed is gone, that becomes an error. h.mu must be held.
func (h *Hub) isUnchanged(c *client, p report) bool {
	if !c.page.reported || !p.hasDigest {
		return c.page.reported
	}
	if p.digest.named > len(p.named) {
		return false
	}

	shows := c.page.shows
	sameShows := sumOf(shows) == p.digest.shows
	if !sameShows && !p.token.Missing && len(shows) > 0 && shows[0].neverExisted() {
		h.setError(shows[0], goneError(shows[0].state.Name))
	}
	return sameShows && sumOf(h.resourcesAt(p.named[:p.digest.named])) == p.digest.uses
}

// mayHaveChanged reports whether a file that the page's digest does not cover may have
// changed after the page's cursor, by its time. The clock may have been set back since.
// h.mu must be held.
func (h *Hub) mayHaveChanged(c *client, p report) bool {
	first, shows := 0, c.page.shows
	if p.hasDigest {
		first, shows = min(p.digest.named, len(p.named)), nil
	}
	rest := append(h.resourcesAt(p.named[first:]), shows...)

	if len(rest) > 0 && p.seen.Time > time.Now().UnixMilli()+maxClockStep {
		return true
	}
	return slices.ContainsFunc(rest, func(r *resource) bool { return r.state.Changed > p.seen.Time-ClockTick })
}

// resourcesAt returns the resources at paths, each once. h.mu must be held.
func (h *Hub) resourcesAt(paths []string) []*resource {
	var list []*resource
	isNew := h.mark(nil)
	for _, path := range paths {
		if r := h.resources[path]; r != nil && isNew(r) {
			list = append(list, r)
		}
	}
	return list
}

// A replay is what is known of a page for which changes of the past are replayed.
type replay struct {
	seen  map[*resource]FileState // first looks at resources, because of the page
	since int64                   // nothing of it was loaded before; ms since 1970
	same  bool                    // all that it has is as it was
}

// replayAll returns what changes of the past mean to a page, and how many files it
// compared for that. The changes are the caller's own.
func (h *Hub) replayAll(p *page, changes []change, past replay) (u update, compared int) {
	for len(changes) > 0 {
		h.mu.Lock()
		for end := compared + filesAtOnce; len(changes) > 0 && compared < end; changes = changes[1:] {
			u = u.merge(h.replay(p, &changes[0], past))
			compared += 1 + len(changes[0].files)
			for _, f := range changes[0].files {
				if f.isDir {
					compared += len(p.uses)
				}
			}
		}
		h.mu.Unlock()
	}
	return u, compared
}

// replay returns what a change of the past means to a page. h.mu must be held.
func (h *Hub) replay(p *page, c *change, past replay) (u update) {
	switch {
	case !p.reported:
		u = c.updateFor(p)
	case c.lost:
		return update{reload: &missed}
	}
	if len(p.shows)+len(p.uses) == 0 {
		return u
	}

	u = u.merge(h.replayFiles(p, c, past))
	if linked := linkedChange(c, p); !linked.isEmpty() {
		u = u.merge(h.replayFiles(p, &linked, past))
	}
	return u
}

// replayFiles is replay for the files of a change that a page shows or uses. h.mu must be
// held.
func (h *Hub) replayFiles(p *page, c *change, past replay) (u update) {
	hits := h.missedHits(c, p, past)
	if len(hits) == 0 {
		return u
	}

	m := newMatch(c, hits, nil)
	defer m.end()
	var k mask
	for _, r := range p.shows {
		k.shows |= r.hits
	}
	for _, r := range p.uses {
		k.uses |= r.hits
	}
	return m.updateFor(k)
}

// missedHits returns those of the hits of a past change that a page has missed. A page
// that has loaded a file since it came, or since it became readable, has missed nothing.
// A file that is gone, and was not known before the first look, went with the change.
// h.mu must be held.
func (h *Hub) missedHits(c *change, p *page, past replay) []hit {
	return slices.DeleteFunc(h.hits(c, p), func(hit hit) bool {
		r := hit.resource
		if c.names && (past.same || r.state.Changed < past.since-ClockTick) {
			return true
		}
		if _, first := past.seen[r]; first && c.names && r.neverExisted() {
			h.setError(r, goneError(r.state.Name))
		}
		return r.err != nil || r.state.Kind == Missing
	})
}

// addUses takes in what else a page uses, which it began to load at most so long ago. It
// leaves in the mailbox the page's cursor, and what it has missed of these files since,
// but not since before it was served. It returns how many files it compared.
func (h *Hub) addUses(c *client, paths []string, age time.Duration) (compared int) {
	added := h.nameUses(c, paths)
	past := replay{seen: h.lookFirst(added), since: h.loadedSince(added, age)}
	if len(added) > 0 {
		compared = h.catchUpUses(c, added, past)
	}
	h.answer(c)
	return compared
}

// catchUpUses leaves in the mailbox of a page what it has missed of resources that are
// new to it. The page is told nothing until answer is called.
func (h *Hub) catchUpUses(c *client, added []*resource, past replay) (compared int) {
	h.mu.Lock()
	if c.reloading {
		h.mu.Unlock()
		return 0
	}
	c.catchingUp = true
	changes, _ := h.since(max(c.baseline, h.number-uint64(len(h.history))))
	first, _ := slices.BinarySearchFunc(changes, past.since, func(c change, since int64) int { return cmp.Compare(c.time, since) })
	changes = slices.Clone(changes[first:])
	before := c.pending
	c.pending = update{} // changes from now on are left there
	h.mu.Unlock()
	replayed, compared := h.replayAll(&page{reported: true, uses: added}, changes, past)

	h.mu.Lock()
	c.pending = before.merge(replayed).merge(c.pending)
	if c.reports {
		h.addFetches(c, func(failedFetch) bool { return false }) // of workers that it has come to use
	}
	h.notifyChanged()
	h.mu.Unlock()
	h.compareContent(c, added)
	return compared
}

// show makes a page show the resources at paths. It returns first looks at them.
func (h *Hub) show(c *client, paths []string) map[*resource]FileState {
	h.mu.Lock()
	h.setShown(c, paths)
	if c.reports {
		h.addFailedFetches(c)
	}
	h.mu.Unlock()
	return h.lookFirst(c.page.shows)
}

// showURL takes in that a page shows something else without having been loaded.
func (h *Hub) showURL(c *client, paths []string) {
	h.show(c, paths)
	h.compareContent(c, c.page.shows)
	h.answer(c)
}

// catchUpOther sets the page of a client that does not report what it uses, and leaves in
// its mailbox what it has missed since a cursor of this Hub: all that affects the page and
// came later, and nothing else.
func (h *Hub) catchUpOther(c *client, p page, seen Cursor) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.replacePage(c, p)
	if seen.Epoch != h.epoch || seen.Number > h.number {
		return
	}

	c.baseline = seen.Number
	c.pending = update{reload: &missed}
	if changes, ok := h.since(seen.Number); ok {
		c.pending = update{}
		for i := range changes {
			c.pending = c.pending.merge(h.replay(&c.page, &changes[i], replay{}))
		}
	}
	if !c.pending.isEmpty() {
		c.notify()
	}
}

// watchListing takes in that a page that does not report what it uses lists the names in
// a directory. Names may have come or gone since the page was served.
func (h *Hub) watchListing(c *client, href string, token PageToken) {
	u, err := url.Parse(href)
	if err != nil {
		return
	}
	path, ok := urlpath.Parse(urlpath.Canonical(u.Path))
	if !ok {
		return
	}
	shows := []string{ListingOf(path)}
	seen := h.show(c, shows)
	h.catchUpUses(c, c.page.shows, replay{seen: seen})
	if h.isOutdated(shows, token) {
		h.mu.Lock()
		c.pending = c.pending.merge(update{reload: &missed})
		h.mu.Unlock()
	}
	h.answer(c)
}

// isOutdated reports whether a page shows a list of names that are not those of the
// directory now. No change tells of that when somebody has looked meanwhile.
func (h *Hub) isOutdated(shows []string, token PageToken) bool {
	return slices.ContainsFunc(shows, func(path string) bool {
		if !strings.HasPrefix(path, listingPrefix) {
			return false
		}
		now := h.look(path)
		return now.Kind == Directory && now.Sum != token.Names
	})
}
