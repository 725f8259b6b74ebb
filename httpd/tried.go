package httpd

import (
	"slices"
	"strings"
	"time"
)

// A page's script may ask for a file, hear that it is missing, and not read the
// answer, of which a browser tells the page's client nothing. Such tries are
// remembered for pages whose sockets open later: so many, for so long.
const (
	maxTries    = 256
	maxTryBytes = 1024 // of a file's path
	tryLasts    = time.Minute
)

// A try is a page's request for a file that was answered with an error.
type try struct {
	page string // its URL without a fragment
	use  string
	when time.Time
}

// tried tells the pages of that URL, now or when they come.
func (h *hub) tried(t try) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tries = slices.DeleteFunc(h.tries, func(old try) bool {
		return old.page == t.page && old.use == t.use || t.when.Sub(old.when) > tryLasts
	})
	if len(h.tries) == maxTries {
		h.tries = slices.Delete(h.tries, 0, 1)
	}
	h.tries = append(h.tries, t)
	users := h.usersOf(t.use)
	for s := range h.slots {
		if s.reports && s.shows(t.page) && !users[s] {
			s.addTry(t.use)
			s.notify()
		}
	}
}

// shows reports whether the page has that URL, but for a fragment.
func (s *slot) shows(page string) bool {
	rest, ok := strings.CutPrefix(s.url, page)
	return ok && (rest == "" || rest[0] == '#')
}

// usersOf are the slots of the pages that are known to use a file. It is called
// with the lock.
func (h *hub) usersOf(path string) map[*slot]bool {
	u := h.uses[path]
	if u == nil {
		return nil
	}
	users := make(map[*slot]bool)
	for _, by := range u.users {
		if by.at >= 0 {
			users[by.slot] = true
		}
	}
	return users
}

// recall gives a page the tries of its script so far. It is called with the
// lock.
func (h *hub) recall(s *slot) {
	s.reports = true
	h.marks++
	for _, u := range s.page.uses {
		u.mark = h.marks
	}
	for _, t := range h.tries {
		u := h.uses[t.use]
		isUsed := u != nil && u.mark == h.marks
		if s.shows(t.page) && time.Since(t.when) < tryLasts && !isUsed {
			s.addTry(t.use)
		}
	}
}

// addTry has the page told, who then says that it uses the file. A page that
// does not listen is told of some.
func (s *slot) addTry(use string) {
	if len(s.tries) < maxTries && !slices.Contains(s.tries, use) {
		s.tries = append(s.tries, use)
	}
}
