package livereload

import (
	"slices"
	"strings"
	"time"
)

// A script of a page may ask for a file, get an error, and not read the answer. The
// browser does not tell the page's client of that, so the server does. It remembers so
// many failed fetches, for so long, for pages that connect later.
const (
	maxFailedFetches = 256
	maxFetchPath     = 3 << 10 // bytes of a canonical path, which has three for one that is escaped
	fetchLifetime    = time.Minute
)

// A failedFetch is a request of a page's script that was answered with an error.
type failedFetch struct {
	page string // URL without a fragment
	path string // of the file, canonical
	time time.Time
}

// NoteFailedFetch tells the pages with a URL, now or when they connect, that a file which
// they asked for cannot be had. They add it to what they use.
func (h *Hub) NoteFailedFetch(page, path string) {
	if len(page) >= maxURL || len(path) > maxFetchPath {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()

	now := time.Now()
	h.fetches = slices.DeleteFunc(h.fetches, func(old failedFetch) bool {
		return old.page == page && old.path == path || now.Sub(old.time) > fetchLifetime
	})
	if len(h.fetches) == maxFailedFetches {
		h.fetches = slices.Delete(h.fetches, 0, 1)
	}
	h.fetches = append(h.fetches, failedFetch{page, path, now})

	users := make(map[*client]bool) // pages that have said that they use it
	if r := h.resources[path]; r != nil {
		for _, s := range r.subscribers {
			users[s.client] = users[s.client] || s.at >= 0
		}
	}
	for c := range h.clients {
		if c.reports && c.hasURL(page) && !users[c] {
			c.addFailedFetch(path)
			c.notify()
		}
	}
}

// addFailedFetches adds to the mailbox of a page what its scripts have asked for so far.
// h.mu must be held.
func (h *Hub) addFailedFetches(c *client) {
	c.reports = true
	isNew := h.mark(c.page.uses)
	for _, f := range h.fetches {
		if !c.hasURL(f.page) || time.Since(f.time) > fetchLifetime {
			continue
		}
		if r := h.resources[f.path]; r == nil || isNew(r) {
			c.addFailedFetch(f.path)
		}
	}
}

// hasURL reports whether the page has a URL, apart from a fragment.
func (c *client) hasURL(url string) bool {
	rest, ok := strings.CutPrefix(c.url, url)
	return ok && (rest == "" || rest[0] == '#')
}

// addFailedFetch adds a file to those that the page has yet to be told. A page that does
// not take them is told some.
func (c *client) addFailedFetch(path string) {
	if len(c.fetches) < maxFailedFetches && !slices.Contains(c.fetches, path) {
		c.fetches = append(c.fetches, path)
	}
}

type failedFetchesMessage struct {
	Command string   `json:"command"`
	Files   []string `json:"files"`
}
