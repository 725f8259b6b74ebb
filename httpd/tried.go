package httpd

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/execlog/execlogd/httpd/internal/urlpath"
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

// noteTry notes that a request was answered with an error, if it is a fetch of
// one of our pages.
func (s *service) noteTry(r *http.Request) {
	page, use := triedBy(r)
	from, err := url.Parse(page)
	if s.live && err == nil && use != "" && sameHost(from.Scheme, from.Host, s.gate.reached(r)) {
		s.hub.tried(try{page, use, time.Now()})
	}
}

// triedBy says by which page a request is and for what, as far as the request
// does; use is "" where it is no fetch of a page of the same origin. Where the
// browser says nothing of the kind, as it does over plain HTTP from another
// machine, it is one if it does not ask for HTML.
func triedBy(r *http.Request) (page, use string) {
	h := r.Header
	dest, from := h.Get("Sec-Fetch-Dest"), h.Get("Sec-Fetch-Site")
	switch {
	case dest != "" && dest != "empty", from != "" && from != "same-origin":
		return "", ""
	case dest == "" && strings.Contains(h.Get("Accept"), "text/html"):
		return "", ""
	}
	page = h.Get("Referer")
	if len(page) >= longestShownURL || len(r.URL.Path) > maxTryBytes {
		return "", ""
	}
	use, _ = urlpath.Parse(urlpath.Canonical(r.URL.Path))
	return page, use
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
