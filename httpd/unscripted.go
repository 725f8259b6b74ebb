package httpd

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// A policy in a header that a proxy adds may keep the script from loading, and so may an
// extension of the browser. Nothing reports that: no code of ours runs in the page. But a
// browser that loads what a page uses, and not its script, asks for the page again when
// somebody reloads it by hand, as live reload does not. Then the log says so.

// scriptTime is how long after a page a browser has asked for its script, if ever.
const scriptTime = 2 * time.Second

// maxUnscripted is how many pages an unscripted remembers.
const maxUnscripted = 1024

// An unscripted remembers of the pages that were served with the script what was loaded
// for them. When it is full it forgets them all.
type unscripted struct {
	mu    sync.Mutex
	pages map[string]servedPage // by URL path
}

type servedPage struct {
	at       time.Time
	used     bool // a style sheet or the like was loaded
	scripted bool // the script was
}

// serve notes that a page is served, and reports whether it was before and its browser
// loaded all but the script.
func (u *unscripted) serve(path string) (blocked bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	before, known := u.pages[path]
	if u.pages == nil || len(u.pages) == maxUnscripted && !known {
		u.pages = make(map[string]servedPage)
	}
	u.pages[path] = servedPage{at: time.Now()}
	return before.used && !before.scripted && time.Since(before.at) > scriptTime
}

// load notes that a page loads its script, or what else it uses. A proxy may show the page
// below a prefix.
func (u *unscripted) load(r *http.Request, script bool) {
	from, err := url.Parse(r.Referer())
	if err != nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for path := from.Path; path != ""; {
		if page, known := u.pages[path]; known {
			page.used, page.scripted = true, page.scripted || script
			u.pages[path] = page
			return
		}
		next := strings.IndexByte(path[1:], '/')
		if next < 0 {
			return
		}
		path = path[1+next:]
	}
}

// checkScript logs once of a page that its browser does not load the script.
func (s *handler) checkScript(r *http.Request) {
	dest := r.Header.Get("Sec-Fetch-Dest") // a frame may be forbidden to run scripts
	if r.Method != http.MethodGet || dest != "document" && dest != "" || !s.unscripted.serve(r.URL.Path) {
		return
	}
	path := clip(r.URL.Path)
	s.warned.once(s.directory+"\x00script\x00"+path, func() bool {
		return s.logLimited(scriptNotLoaded, "page", path, "remote", r.RemoteAddr,
			"cause", "a Content-Security-Policy in a header, as a proxy adds it, or an extension of the browser")
	})
}

// noteUse notes what a page loads beside its script.
func (s *handler) noteUse(r *http.Request) {
	switch r.Header.Get("Sec-Fetch-Dest") {
	case "style", "image", "font", "script":
		if r.Header.Get("Sec-Fetch-Site") == "same-origin" {
			s.unscripted.load(r, false)
		}
	}
}
