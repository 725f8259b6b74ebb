package httpd

import (
	"fmt"
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
