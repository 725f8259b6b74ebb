package livereload

import (
	"slices"
	"strings"
	"time"
)

// A page's script may ask for a file, hear that it is missing, and not read the
// answer, of which a browser tells the page's client nothing. Such tries are
// remembered for pages whose sockets open later: so many, for so long.
const (
	maxFailedFetches = 256
	maxFetchPath     = 1024 // of a file's path
	tryLasts         = time.Minute
)

// A failedFetch is a page's request for a file that was answered with an error.
type failedFetch struct {
	page string // its URL without a fragment
	use  string
	when time.Time
}

// NoteFailedFetch tells the pages of that URL, now or when they come.
func (h *Hub) NoteFailedFetch(page, path string) {
	if len(page) >= MaxURL || len(path) > maxFetchPath {
		return
	}
	t := failedFetch{page, path, time.Now()}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fetches = slices.DeleteFunc(h.fetches, func(old failedFetch) bool {
		return old.page == t.page && old.use == t.use || t.when.Sub(old.when) > tryLasts
	})
	if len(h.fetches) == maxFailedFetches {
		h.fetches = slices.Delete(h.fetches, 0, 1)
	}
	h.fetches = append(h.fetches, t)
	users := h.usersOf(t.use)
	for s := range h.clients {
		if s.reports && s.shows(t.page) && !users[s] {
			s.addTry(t.use)
			s.notify()
		}
	}
}

// shows reports whether the page has that URL, but for a fragment.
func (s *client) shows(page string) bool {
	rest, ok := strings.CutPrefix(s.url, page)
	return ok && (rest == "" || rest[0] == '#')
}

// usersOf are the slots of the pages that are known to use a file. It is called
// with the lock.
func (h *Hub) usersOf(path string) map[*client]bool {
	u := h.resources[path]
	if u == nil {
		return nil
	}
	users := make(map[*client]bool)
	for _, by := range u.subscribers {
		if by.at >= 0 {
			users[by.client] = true
		}
	}
	return users
}

// addFailedFetches gives a page the tries of its script so far. It is called with the
// lock.
func (h *Hub) addFailedFetches(s *client) {
	s.reports = true
	h.generation++
	for _, u := range s.page.uses {
		u.generation = h.generation
	}
	for _, t := range h.fetches {
		u := h.resources[t.use]
		isUsed := u != nil && u.generation == h.generation
		if s.shows(t.page) && time.Since(t.when) < tryLasts && !isUsed {
			s.addTry(t.use)
		}
	}
}

// addTry has the page told, who then says that it uses the file. A page that
// does not listen is told of some.
func (s *client) addTry(use string) {
	if len(s.fetches) < maxFailedFetches && !slices.Contains(s.fetches, use) {
		s.fetches = append(s.fetches, use)
	}
}
