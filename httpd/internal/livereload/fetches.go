package livereload

import (
	"slices"
	"strings"
	"time"
)

// A script of a page may ask for a file, get an error, and not read the answer, and a
// worker of a page loads files. The browser does not tell the page's client of that, so
// the server does. It remembers so many such fetches, for so long, for pages that connect
// later.
const (
	maxFailedFetches = 256
	maxFetchPath     = 3 << 10 // bytes of a canonical path, which has three for one that is escaped
	fetchLifetime    = time.Minute
)

// A failedFetch is a request of a page's script that was answered with an error, or one of
// a worker.
type failedFetch struct {
	page string // URL without a fragment; "" for a worker's
	by   string // canonical path of the worker's script that asked
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
	h.rememberFetch(failedFetch{page: page, path: path})

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

// NoteWorkerFetch tells the pages that use the script at a path, now or when they say so,
// that it loads a file, as the script of a worker does. With certain it is known to be
// one. Otherwise it is one if another worker has loaded it, as a module of a page has the
// same requests, and a page tells its own.
func (h *Hub) NoteWorkerFetch(by, path string, certain bool) {
	if len(by) > maxFetchPath || len(path) > maxFetchPath {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !certain && !slices.ContainsFunc(h.fetches, func(f failedFetch) bool { return f.path == by }) {
		return
	}
	h.rememberFetch(failedFetch{by: by, path: path})
	if r := h.resources[by]; r != nil {
		for _, s := range r.subscribers {
			if s.client.reports {
				s.client.addFailedFetch(path)
				s.client.notify()
			}
		}
	}
}

// rememberFetch remembers a fetch of now. h.mu must be held.
func (h *Hub) rememberFetch(f failedFetch) {
	f.time = time.Now()
	h.fetches = slices.DeleteFunc(h.fetches, func(old failedFetch) bool {
		return old.page == f.page && old.by == f.by && old.path == f.path || f.time.Sub(old.time) > fetchLifetime
	})
	if len(h.fetches) == maxFailedFetches {
		h.fetches = slices.Delete(h.fetches, 0, 1)
	}
	h.fetches = append(h.fetches, f)
}

// addFailedFetches adds to the mailbox of a page what its scripts have asked for so far.
// h.mu must be held.
func (h *Hub) addFailedFetches(c *client) {
	c.reports = true
	h.addFetches(c, func(f failedFetch) bool { return f.page != "" && c.hasURL(f.page) })
}

// addFetches adds to the mailbox of a page those of the fetches that its workers have
// made, and others that it asked for, that the page has not reported. h.mu must be held.
func (h *Hub) addFetches(c *client, asked func(failedFetch) bool) {
	h.mark(c.page.uses)
	uses := func(path string) bool {
		r := h.resources[path]
		return r != nil && r.generation == h.generation
	}
	for _, f := range h.fetches {
		if (asked(f) || f.by != "" && uses(f.by)) && !uses(f.path) && time.Since(f.time) <= fetchLifetime {
			c.addFailedFetch(f.path)
		}
	}
}

// loadedSince returns when the first of the resources that a page has come to use may have
// been loaded, in ms since 1970: so long ago, as the page says, or when its scripts and
// workers asked for it, of which the page may have been told much later.
func (h *Hub) loadedSince(added []*resource, age time.Duration) int64 {
	since := time.Now().Add(-age)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mark(added)
	for _, f := range h.fetches {
		if r := h.resources[f.path]; r != nil && r.generation == h.generation && f.time.Before(since) {
			since = f.time
		}
	}
	return since.Add(-latency).UnixMilli()
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
