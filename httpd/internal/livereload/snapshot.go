package livereload

import (
	"cmp"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A Snapshot is what a hub knows, for people: the status page. All of it is
// bounded by what it was asked for and the constants below.
type Snapshot struct {
	Open    int        // pages that have introduced themselves
	Pages   []OpenPage // some of them, by URL
	Changed uint64     // the number of the last change
	Changes []Change   // the last, latest first
	Errors  []*PageError
}

// The last changes are kept for people with so many files and pages each.
const (
	maxChanges     = 50
	maxChangeFiles = 20
	maxAffected    = 20
	MaxURL         = 2048
)

// An OpenPage is a page that is open in a browser. Whether it is seen or in a
// hidden tab is not known.
type OpenPage struct {
	URL     string   // as the browser has it, clipped
	Remote  string   // address, without the port
	Reports bool     // it has our client, not a stock one
	Since   int64    // ms since 1970
	Known   bool     // it says what it uses
	Used    int      // files that it uses
	Uses    []string // canonical paths of the first, in the order in which they were found
}

// A Change is a change and the pages that it concerned.
type Change struct {
	Number    uint64
	Time      int64          // ms since 1970
	Names     bool           // names came or went; else content changed
	Files     []string       // the first
	MoreFiles int            // files beyond those
	Affected  []AffectedPage // some
	MorePages int            // pages beyond those
}

// An AffectedPage is a page that was told of a change.
type AffectedPage struct {
	URL       string
	Reason    Reason
	Reload    bool   // it loads again; else it fetches files again in place
	File      string // the file that it loads again for, or the first that it fetches
	MoreFiles int    // files that it fetches beyond that
}

type Reason int

const (
	MayUse Reason = iota // the page does not say what it uses
	Shows                // it shows a file that changed
	Uses                 // it uses one
)

// Snapshot copies what is known, with at most so many pages, and uses of each.
func (h *Hub) Snapshot(pages, uses int) Snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	first, open := h.first(pages)
	shot := Snapshot{Open: open, Changed: h.number, Changes: slices.Clone(h.records), Errors: h.allErrors()}
	slices.Reverse(shot.Changes)
	for _, s := range first {
		p := OpenPage{URL: s.url, Remote: s.remote, Reports: s.extended, Since: s.opened, Known: s.page.reported, Used: len(s.page.uses)}
		for _, u := range s.page.uses[:min(p.Used, uses)] {
			p.Uses = append(p.Uses, u.path)
		}
		shot.Pages = append(shot.Pages, p)
	}
	return shot
}

// first lists so many open pages by URL, and counts all. It is called with the
// lock, and so does not sort them all.
func (h *Hub) first(most int) (list []*client, open int) {
	order := func(a, b *client) int { return cmp.Or(cmp.Compare(a.url, b.url), cmp.Compare(a.opened, b.opened)) }
	for s := range h.clients {
		if s.opened == 0 {
			continue
		}
		open++
		if len(list) == most {
			if order(s, list[most-1]) >= 0 {
				continue
			}
			list = list[:most-1]
		}
		at, _ := slices.BinarySearchFunc(list, s, order)
		list = slices.Insert(list, at, s)
	}
	return list, open
}

// allErrors lists the errors of files that pages use, by title, and then those
// that were set, by source. It is called with the lock.
func (h *Hub) allErrors() []*PageError {
	var list []*PageError
	for u := range h.broken {
		name, _ := url.PathUnescape(strings.TrimPrefix(u.path, "/"))
		list = append(list, &PageError{Title: u.err.Title, Text: u.err.Text, Paths: []string{name}})
	}
	slices.SortFunc(list, func(a, b *PageError) int {
		return cmp.Or(cmp.Compare(a.Title, b.Title), slices.Compare(a.Paths, b.Paths))
	})
	list = slices.CompactFunc(list, (*PageError).equal)
	for i := range h.setErrors {
		list = append(list, h.setErrors[i].err)
	}
	return list[:min(len(list), maxErrors)]
}

// Changed returns a channel that is closed when a snapshot would be another
// than it was. It costs nothing while nobody asks for one.
func (h *Hub) Changed() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.changed == nil {
		h.changed = make(chan struct{})
	}
	return h.changed
}

// notifyChanged is called with the lock.
func (h *Hub) notifyChanged() {
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
}

// record begins the record of a change that was just remembered. It is called
// with the lock.
func (h *Hub) record(c *change) *Change {
	r := Change{
		Number: h.number, Time: h.time, Names: c.names,
		MoreFiles: max(0, len(c.files)-maxChangeFiles),
	}
	for _, f := range c.files[:min(len(c.files), maxChangeFiles)] {
		r.Files = append(r.Files, f.title())
	}
	if len(h.records) == maxChanges {
		h.records = slices.Delete(h.records, 0, 1)
	}
	h.records = append(h.records, r)
	h.notifyChanged()
	return &h.records[len(h.records)-1]
}

// add notes that a page is concerned.
func (rec *Change) add(s *client, u update, c *change) {
	if len(rec.Affected) == maxAffected {
		rec.MorePages++
		return
	}
	p := AffectedPage{URL: s.url, Reason: s.reason(c), Reload: u.reload != nil}
	if p.Reload {
		p.File = u.reload.path
	} else {
		p.File, p.MoreFiles = u.assets[0].path, len(u.assets)-1
	}
	rec.Affected = append(rec.Affected, p)
}

// reason says why a change concerns a page that it does concern.
func (s *client) reason(c *change) Reason {
	switch {
	case s.page.reported && s.mask.own != 0, s.page.located && c.shownBy(&s.page) != nil, c.names:
		return Shows
	case s.page.reported:
		return Uses
	}
	return MayUse
}

// describe notes for people who a browser is and what it shows.
func (h *Hub) describe(s *client, url, remoteAddr string) {
	host, _, err := net.SplitHostPort(remoteAddr)
	if err != nil {
		host = remoteAddr
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s.url, s.remote = strings.Clone(url[:min(len(url), MaxURL)]), host
	if s.opened == 0 {
		s.opened = time.Now().UnixMilli()
	}
	h.notifyChanged()
}
