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

// maxUnscripted is how many pages an unscripted remembers, and maxUnscriptedPath how long the
// path of each may be.
const (
	maxUnscripted     = 1024
	maxUnscriptedPath = 1 << 10 // bytes
)

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
	if len(path) > maxUnscriptedPath {
		return false
	}
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
	if from, err := url.Parse(r.Referer()); err == nil {
		u.loadFor(from.Path, script)
	}
}

// loadFor is load for the page at a path.
func (u *unscripted) loadFor(path string, script bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for path != "" {
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

// isChecked reports whether the browser that gets a page with the script ought to load it.
func isChecked(r *http.Request) bool {
	dest := r.Header.Get("Sec-Fetch-Dest") // a frame may be forbidden to run scripts
	return r.Method == http.MethodGet && (dest == "document" || dest == "")
}

// logUnscripted logs once of the page at a path that its browser does not load the script.
func (s *handler) logUnscripted(path, remoteAddr string) {
	path = clip(path)
	s.warned.once(s.directory+"\x00script\x00"+path, func() bool {
		return s.logLimited(scriptNotLoaded, "page", path, "remote", remoteAddr,
			"cause", "a Content-Security-Policy in a header, as a proxy adds it, or an extension of the browser")
	})
}

// noteUse notes what a page loads beside its script. It returns the path of the page, or ""
// if none is known.
func (s *handler) noteUse(r *http.Request) (usedBy string) {
	switch r.Header.Get("Sec-Fetch-Dest") {
	case "style", "image", "font", "script":
		if from, err := url.Parse(r.Referer()); err == nil && r.Header.Get("Sec-Fetch-Site") == "same-origin" {
			s.unscripted.loadFor(from.Path, false)
			return from.Path
		}
	}
	return ""
}
