package httpd

import (
	"cmp"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A snapshot is what a hub knows, for people: the status page. All of it is
// bounded by what it was asked for and the constants below.
type snapshot struct {
	open    int        // pages that have introduced themselves
	pages   []openPage // some of them, by URL
	changed uint64     // the number of the last change
	changes []record   // the last, latest first
	errors  []*PageErr
}

// The last changes are kept for people with so many files and pages each.
const (
	maxRecords      = 50
	maxRecordFiles  = 20
	maxRecordPages  = 20
	longestShownURL = 2048
)

// An openPage is a page that is open in a browser. Whether it is seen or in a
// hidden tab is not known.
type openPage struct {
	url    string   // as the browser has it, clipped
	remote string   // address, without the port
	ours   bool     // it has our client, not a stock one
	since  int64    // ms since 1970
	known  bool     // it says what it uses
	count  int      // files that it uses
	uses   []string // canonical paths of the first, in the order in which they were found
}

// A record is a change and the pages that it concerned.
type record struct {
	number uint64
	when   int64          // ms since 1970
	names  bool           // names came or went; else content changed
	files  []string       // the first
	more   int            // files beyond those
	pages  []affectedPage // some
	others int            // pages beyond those
}

// An affectedPage is a page that was told of a change.
type affectedPage struct {
	url    string
	why    reason
	reload bool   // it loads again; else it fetches files again in place
	file   string // the file that it loads again for, or the first that it fetches
	more   int    // files that it fetches beyond that
}

type reason int

const (
	mayUse reason = iota // the page does not say what it uses
	shows                // it shows a file that changed
	uses                 // it uses one
)

// snapshot copies what is known, with at most so many pages, and uses of each.
func (h *hub) snapshot(pages, uses int) snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	first, open := h.first(pages)
	shot := snapshot{open: open, changed: h.count, changes: slices.Clone(h.records), errors: h.allErrors()}
	slices.Reverse(shot.changes)
	for _, s := range first {
		p := openPage{url: s.url, remote: s.remote, ours: s.ours, since: s.since, known: s.page.known, count: len(s.page.uses)}
		for _, u := range s.page.uses[:min(p.count, uses)] {
			p.uses = append(p.uses, u.path)
		}
		shot.pages = append(shot.pages, p)
	}
	return shot
}

// first lists so many open pages by URL, and counts all. It is called with the
// lock, and so does not sort them all.
func (h *hub) first(most int) (list []*slot, open int) {
	order := func(a, b *slot) int { return cmp.Or(cmp.Compare(a.url, b.url), cmp.Compare(a.since, b.since)) }
	for s := range h.slots {
		if s.since == 0 {
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
func (h *hub) allErrors() []*PageErr {
	var list []*PageErr
	for u := range h.faulty {
		name, _ := url.PathUnescape(strings.TrimPrefix(u.path, "/"))
		list = append(list, &PageErr{Title: u.fault.Title, Text: u.fault.Text, Paths: []string{name}})
	}
	slices.SortFunc(list, func(a, b *PageErr) int {
		return cmp.Or(cmp.Compare(a.Title, b.Title), slices.Compare(a.Paths, b.Paths))
	})
	list = slices.CompactFunc(list, (*PageErr).equal)
	for i := range h.faults {
		list = append(list, h.faults[i].err)
	}
	return list[:min(len(list), maxErrors)]
}

// stirred returns a channel that is closed when a snapshot would be another
// than it was. It costs nothing while nobody asks for one.
func (h *hub) stirred() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stir == nil {
		h.stir = make(chan struct{})
	}
	return h.stir
}

// stirs is called with the lock.
func (h *hub) stirs() {
	if h.stir != nil {
		close(h.stir)
		h.stir = nil
	}
}

// record begins the record of a change that was just remembered. It is called
// with the lock.
func (h *hub) record(c *change) *record {
	r := record{
		number: h.count, when: h.when, names: c.names,
		more: max(0, len(c.files)-maxRecordFiles),
	}
	for _, f := range c.files[:min(len(c.files), maxRecordFiles)] {
		r.files = append(r.files, f.title())
	}
	if len(h.records) == maxRecords {
		h.records = slices.Delete(h.records, 0, 1)
	}
	h.records = append(h.records, r)
	h.stirs()
	return &h.records[len(h.records)-1]
}

// add notes that a page is concerned.
func (rec *record) add(s *slot, u update, c *change) {
	if len(rec.pages) == maxRecordPages {
		rec.others++
		return
	}
	p := affectedPage{url: s.url, why: s.reason(c), reload: u.reload != nil}
	if p.reload {
		p.file = u.reload.path
	} else {
		p.file, p.more = u.assets[0].path, len(u.assets)-1
	}
	rec.pages = append(rec.pages, p)
}

// reason says why a change concerns a page that it does concern.
func (s *slot) reason(c *change) reason {
	switch {
	case s.page.known && s.stake.own != 0, s.page.placed && c.shownBy(&s.page) != nil, c.names:
		return shows
	case s.page.known:
		return uses
	}
	return mayUse
}

// seenAs notes for people who a browser is and what it shows.
func (h *hub) seenAs(s *slot, url, remoteAddr string) {
	host, _, err := net.SplitHostPort(remoteAddr)
	if err != nil {
		host = remoteAddr
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s.url, s.remote = strings.Clone(url[:min(len(url), longestShownURL)]), host
	if s.since == 0 {
		s.since = time.Now().UnixMilli()
	}
	h.stirs()
}
