package livereload

import (
	"net/url"
	"path/filepath"

	"github.com/execlog/execlogd/httpd/internal/urlpath"
)

// A page is what is known of a page that is open in a browser. The zero page may show
// any file.
type page struct {
	// For pages that do not report what they use.
	located bool     // its URL says which file it shows
	files   []string // the names of the files that it may show; one at least if located

	// Reported by the page, in our protocol. One that uses more than it may report counts
	// as one that does not report.
	reported bool        // all that it uses is in uses
	shows    []*resource // what it shows, the file first
	uses     []*resource // what else it uses
	size     int         // bytes of the paths of uses

	// The page's index among the subscribers of each resource.
	showsIndex []int32
	usesIndex  []int32
}

// isBroken reports whether loading the page again would show an error.
func (p *page) isBroken() bool {
	return len(p.shows) > 0 && p.shows[0].err != nil
}

// withoutError returns u, or nothing if it would load an error.
func (p *page) withoutError(u update) update {
	if u.reload != nil && p.isBroken() {
		return update{}
	}
	return u
}

// newPage locates a page by its URL as the browser has it. It can locate the pages of
// this server, for which isOwn is true, and file: pages beneath the directory that is
// served. directory is absolute, or "" when no files are served.
func newPage(href string, isOwn func(*url.URL) bool, directory string) page {
	u, err := url.Parse(href)
	if err != nil || directory == "" {
		return page{}
	}

	switch u.Scheme {
	case "http", "https":
		if isOwn(u) {
			return page{located: true, files: urlpath.FilesOf(u.Path)}
		}
	case "file":
		if name, err := filepath.Rel(directory, u.Path); err == nil && filepath.IsLocal(name) {
			return page{located: true, files: []string{name}}
		}
	}
	return page{}
}
