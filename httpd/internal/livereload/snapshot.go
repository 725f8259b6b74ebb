package livereload

import (
	"cmp"
	"net"
	"slices"
	"strings"
	"time"
)

// A Snapshot is what a Hub knows at one moment, for people.
type Snapshot struct {
	Open    int        // open pages
	Pages   []OpenPage // the first of them by URL
	Changed uint64     // changes so far
	Changes []Change   // the last of them, latest first
	Errors  []*PageError
}

// An OpenPage is a page that is open in a browser, in a hidden tab perhaps.
type OpenPage struct {
	URL     string // as the browser has it, at most 2 KiB
	Title   string // as the page has it, at most 256 bytes; "" if it has said none
	Remote  string // IP address of the browser
	Browser string // "Firefox"; "" if it is not known
	Since   time.Time
	Reports bool     // its client reports what it uses
	Known   bool     // it has reported all of it
	Used    int      // files that it uses
	Uses    []string // canonical paths of the first, in the order in which they were found
}

// A Change is a change of files with the pages that it affected.
type Change struct {
	Number    uint64
	Time      time.Time
	Names     bool     // names came or went; false: content changed
	Files     []string // relative to the root; "" is the root
	MoreFiles int      // that are not in Files
	Affected  []AffectedPage
	MorePages int // that are not in Affected
	Reloads   int // how many of all these pages load again
}

// An AffectedPage is a page that was told of a change.
type AffectedPage struct {
	URL       string
	Reason    Reason
	Reload    bool   // it loads again; false: it fetches files again in place
	File      string // the file that it loads again for, or the first that it fetches
	MoreFiles int    // that it fetches as well
}

// A Reason says why a change affects a page.
type Reason int

const (
	MayUse Reason = iota // the page does not report what it uses
	Shows                // it shows a file that changed
	Uses                 // it uses a file that changed
)

// How much is kept for people.
const (
	maxChanges     = 50
	maxChangeFiles = 20 // of each change
	maxAffected    = 20 // pages of each change
	maxURL         = 2048
	maxTitle       = 256
)

// Snapshot returns at most so many pages, and of each so many of the files that it uses.
func (h *Hub) Snapshot(pages, uses int) Snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	first, open := h.firstByURL(pages)
	s := Snapshot{Open: open, Changed: h.number, Changes: slices.Clone(h.records), Errors: h.allErrors()}
	slices.Reverse(s.Changes)

	for _, c := range first {
		p := OpenPage{
			URL: c.url, Title: c.title, Remote: c.remote, Browser: c.browser, Since: c.opened,
			Reports: c.extended, Known: c.page.reported, Used: len(c.page.uses),
		}
		for _, r := range c.page.uses[:min(p.Used, uses)] {
			p.Uses = append(p.Uses, r.path)
		}
		s.Pages = append(s.Pages, p)
	}
	return s
}

// firstByURL returns the first n open pages by URL, and counts all. It does not sort them
// all, as h.mu must be held.
func (h *Hub) firstByURL(n int) (first []*client, open int) {
	order := func(a, b *client) int { return cmp.Or(cmp.Compare(a.url, b.url), a.opened.Compare(b.opened)) }
	for c := range h.clients {
		if c.opened.IsZero() {
			continue
		}
		open++

		if len(first) == n {
			if order(c, first[n-1]) >= 0 {
				continue
			}
			first = first[:n-1]
		}
		at, _ := slices.BinarySearchFunc(first, c, order)
		first = slices.Insert(first, at, c)
	}
	return first, open
}

// OpenPages counts the pages that are open.
func (h *Hub) OpenPages() (open int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.clients {
		if !c.opened.IsZero() {
			open++
		}
	}
	return open
}

// Changed returns a channel that is closed when a snapshot would be another than now.
func (h *Hub) Changed() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.changed == nil {
		h.changed = make(chan struct{})
	}
	return h.changed
}

// notifyChanged closes the channel of Changed. h.mu must be held.
func (h *Hub) notifyChanged() {
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
}

// record begins the record of the last change. It is valid until the next. h.mu must be
// held.
func (h *Hub) record(c *change) *Change {
	rec := Change{
		Number: h.number, Time: time.UnixMilli(h.time), Names: c.names,
		MoreFiles: max(0, len(c.files)-maxChangeFiles),
	}
	for _, f := range c.files[:len(c.files)-rec.MoreFiles] {
		rec.Files = append(rec.Files, f.title())
	}

	if len(h.records) == maxChanges {
		h.records = slices.Delete(h.records, 0, 1)
	}
	h.records = append(h.records, rec)
	h.notifyChanged()
	return &h.records[len(h.records)-1]
}

// add records that a page is told of a change.
func (rec *Change) add(c *client, u update, of *change) {
	if u.reload != nil {
		rec.Reloads++
	}
	if len(rec.Affected) == maxAffected {
		rec.MorePages++
		return
	}

	p := AffectedPage{URL: c.url, Reload: u.reload != nil}
	switch {
	case c.page.reported && c.mask.shows != 0, c.page.located && of.shownBy(&c.page) != nil, of.names:
		p.Reason = Shows
	case c.page.reported:
		p.Reason = Uses
	}
	if p.Reload {
		p.File = u.reload.path
	} else {
		p.File, p.MoreFiles = u.assets[0].path, len(u.assets)-1
	}
	rec.Affected = append(rec.Affected, p)
}

// describe notes for people where a client is and what it shows.
func (h *Hub) describe(c *client, url, remoteAddr, browser string) {
	host, _, err := net.SplitHostPort(remoteAddr)
	if err != nil {
		host = remoteAddr
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	c.url, c.remote, c.browser = strings.Clone(url[:min(len(url), maxURL)]), host, browser
	if c.opened.IsZero() {
		c.opened = time.Now()
	}
	h.notifyChanged()
}

// setTitle notes for people what the title of a client's page is.
func (h *Hub) setTitle(c *client, title string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.title = strings.ToValidUTF8(strings.Clone(title[:min(len(title), maxTitle)]), "")
	h.notifyChanged()
}

// browserName returns the name of a browser by its User-Agent, in which most name others
// as well; "" if it is not known.
func browserName(userAgent string) string {
	for _, known := range [][2]string{
		{"Edg", "Edge"},
		{"OPR/", "Opera"},
		{"SamsungBrowser/", "Samsung Internet"},
		{"Firefox/", "Firefox"},
		{"FxiOS/", "Firefox"},
		{"Chrome/", "Chrome"},
		{"CriOS/", "Chrome"},
		{"Safari/", "Safari"},
	} {
		if strings.Contains(userAgent, known[0]) {
			return known[1]
		}
	}
	return ""
}
