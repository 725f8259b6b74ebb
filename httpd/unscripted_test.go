package httpd

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// The log names a page that is loaded again by a browser that has loaded what it uses and
// not the script, as where a policy in a header of a proxy forbids it; and no other page.
func TestPagesThatDoNotLoadTheScript(t *testing.T) {
	tests := []struct {
		name   string
		prefix string // of a proxy
		dest   string
		loads  []string
		soon   bool
		want   bool
	}{
		{"blocked", "", "document", []string{"/style.css"}, false, true},
		{"blocked below a prefix", "/dev", "document", []string{"/style.css"}, false, true},
		{"blocked, in a browser that does not say much", "", "", []string{"/style.css"}, false, true},
		{"loaded", "", "document", []string{"/livereload.js", "/style.css"}, false, false},
		{"loaded late", "", "document", []string{"/style.css", "/livereload.js"}, false, false},
		{"loaded below a prefix", "/dev", "document", []string{"/style.css", "/livereload.js"}, false, false},
		{"a program that loads nothing", "", "document", nil, false, false},
		{"a sandboxed frame", "", "iframe", []string{"/style.css"}, false, false},
		{"again at once", "", "document", []string{"/style.css"}, true, false},
	}
	for _, tt := range tests {
		var log lockedLog
		run := serve(t, Options{Root: tree(t, "a/b.html", "<p>", "style.css", ""), Logger: log.logger()})
		for range 3 {
			run.get(t, "GET", "/a/b.html", "Sec-Fetch-Dest", tt.dest, "Accept", "text/html")
			for _, path := range tt.loads {
				run.get(t, "GET", path, "Referer", run.url(tt.prefix+"/a/b.html"), "Sec-Fetch-Dest", "style", "Sec-Fetch-Site", "same-origin")
			}
			if u := &run.unscripted; !tt.soon {
				u.mu.Lock()
				for path, page := range u.pages {
					page.at = page.at.Add(-2 * scriptTime)
					u.pages[path] = page
				}
				u.mu.Unlock()
			}
		}
		text := log.String()
		if n := strings.Count(text, "page does not load the script"); n > 1 || (n == 1) != tt.want || tt.want && !strings.Contains(text, "page=/a/b.html") {
			t.Errorf("%s: log: %s", tt.name, text)
		}
	}
}

// What is remembered of pages has a limit.
func TestUnscriptedHasALimit(t *testing.T) {
	var u unscripted
	for i := range 2*maxUnscripted + 1 {
		u.serve(fmt.Sprint("/", i))
	}
	if n := len(u.pages); n > maxUnscripted {
		t.Errorf("%d pages are remembered", n)
	}
}

// A client that makes up long paths does not fill the memory: an application, and with a
// fallback page a directory, has a page at each.
func TestLongPathsAreNotRemembered(t *testing.T) {
	app := application(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "connect-src 'none'")
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<p>")
	})
	var log lockedLog
	run := serve(t, Options{Root: tree(t, "index.html", "<p>app"), SPA: "index.html", Proxies: []Proxy{{"/app", app.URL}}, Logger: log.logger()})
	const paths, longest = 20, 1 << 10
	for i := range paths {
		for _, top := range []string{"", "/app"} {
			run.status(t, 200, "GET", fmt.Sprintf("%s/%d/%s", top, i, strings.Repeat("x", 50<<10)), "Accept", "text/html")
		}
	}
	n := 0
	for path := range run.unscripted.pages {
		n += len(path)
	}
	for key := range run.warned.logged {
		n += len(key)
	}
	if n > paths*longest {
		t.Errorf("%d bytes of paths are remembered", n)
	}
}
