package httpd

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/execlog/execlogd/httpd/internal/urlpath"
)

//go:embed listing.html
var listingHTML string

// styleCSS is the style sheet of all pages of our own.
//
//go:embed style.css
var styleCSS string

var (
	listingTemplate = newPageTemplate("listing")
	missingTemplate = newPageTemplate("missing")
)

// A pageTemplate is a page of our own.
type pageTemplate struct{ *template.Template }

func newPageTemplate(name string) *pageTemplate {
	return &pageTemplate{template.Must(template.New("").Parse(listingHTML)).Lookup(name)}
}

// render writes the page, with a script element and a link to the status page
// or with neither.
func (n *pageTemplate) render(about any, script template.HTML, status template.URL) ([]byte, error) {
	var text bytes.Buffer
	err := n.Execute(&text, struct {
		About  any
		Script template.HTML
		Style  template.CSS
		Status template.URL
	}{about, script, template.CSS(styleCSS), status})
	return text.Bytes(), err
}

// A listing is what a directory's page shows.
type listing struct {
	Path    string
	Crumbs  []link
	Summary string
	Columns []heading
	Entries []entry
}

// A heading is a link that sorts a listing by its column.
type heading struct {
	link
	Unit   string
	Class  string
	Sorted string // as aria-sort has it; "": it is not
	Arrow  string // the same for the eye
}

type link struct {
	Name string
	Href template.URL
}

type entry struct {
	link
	Dir      bool
	Size     string
	Bytes    int64
	Modified time.Time
}

// serveListing answers with what is in a directory.
func (s *handler) serveListing(w http.ResponseWriter, r *http.Request, name string, dir *file) {
	found, err := dir.ReadDir(-1)
	if err != nil {
		s.serveError(w, r, err)
		return
	}
	sorted := orderOf(r.URL.Query())
	about := listing{Path: printable(path.Join("/", name)), Crumbs: crumbs(name), Columns: sorted.headings()}
	for _, d := range found {
		if e, ok := s.entry(dir, d.Name()); ok {
			about.Entries = append(about.Entries, e)
		}
	}
	slices.SortFunc(about.Entries, sorted.compare)
	about.Summary = summary(about.Entries)
	b := badgeOf(r)
	b.listing, b.names = true, sumOfNames(found)
	s.serveOwnPage(w, r, http.StatusOK, b, listingTemplate, about)
}

// entry describes what a link to name would lead to. It is not ok when a request
// for it would not be answered: hidden, outside, or no file.
func (s *handler) entry(dir *file, name string) (entry, bool) {
	if urlpath.IsHidden(name) {
		return entry{}, false
	}
	info, err := s.stat(dir, name)
	if err != nil {
		return entry{}, false
	}
	e := entry{link: linkTo(name), Dir: info.IsDir(), Modified: info.ModTime().UTC()}
	if e.Dir {
		e.Name += "/"
		e.Href += "/"
		return e, true
	}
	e.Bytes, e.Size = info.Size(), humanSize(info.Size())
	return e, true
}

// summary counts entries, for people.
func summary(entries []entry) string {
	var dirs, files int
	var size int64
	for _, e := range entries {
		if e.Dir {
			dirs++
		} else {
			files, size = files+1, size+e.Bytes
		}
	}
	var parts []string
	if dirs > 0 {
		parts = append(parts, count(dirs, "directory", "directories"))
	}
	if files > 0 {
		parts = append(parts, count(files, "file", "files"), humanSize(size))
	}
	return strings.Join(parts, ", ")
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// crumbs link each directory on the way to name, by relative links, which a
// proxy's path prefix does not break.
func crumbs(name string) []link {
	links := []link{{Name: "/"}}
	if name != "." {
		for segment := range strings.SplitSeq(name, "/") {
			links = append(links, link{Name: printable(segment) + "/"})
		}
	}
	for i := range links {
		links[i].Href = template.URL("./" + strings.Repeat("../", len(links)-1-i))
	}
	return links
}

// linkTo links to a name of any bytes. The dot in front keeps a name with a
// colon from being taken for a scheme.
func linkTo(name string) link {
	u := url.URL{Path: "./" + name}
	return link{Name: printable(name), Href: template.URL(u.EscapedPath())}
}

func printable(name string) string {
	return strings.ToValidUTF8(name, "\ufffd")
}

// humanSize writes a size with at most three digits.
func humanSize(n int64) string {
	if n < 1000 {
		return strconv.FormatInt(n, 10) + " B"
	}
	size, units := float64(n), "kMGTPE"
	for size /= 1000; size >= 999.5; size /= 1000 {
		units = units[1:]
	}
	digits := 0
	if size < 9.95 {
		digits = 1
	}
	return strconv.FormatFloat(size, 'f', digits, 64) + " " + units[:1] + "B"
}
