package httpd

import (
	"cmp"
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

// ownPagesHTML are the templates of the pages of our own: of a directory and of what
// is not found.
//
//go:embed ownpages.html
var ownPagesHTML string

// styleCSS is the style sheet of all pages of our own.
//
//go:embed style.css
var styleCSS string

var ownPages = template.Must(template.New("").Parse(ownPagesHTML))

// A listing is what the page of a directory shows.
type listing struct {
	Path        string
	Breadcrumbs []link
	Summary     string
	Columns     []heading
	Entries     []entry
}

// A heading is the link above a column that sorts the listing by it.
type heading struct {
	column
	Href   template.URL
	Sorted string // for aria-sort; "" if the listing is not sorted by it
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

// serveListing answers with a list of what is in a directory.
func (s *handler) serveListing(w http.ResponseWriter, r *http.Request, name string, dir *file) {
	found, err := dir.ReadDir(-1)
	if err != nil {
		s.serveError(w, r, err)
		return
	}

	order := parseOrder(r.URL.Query())
	about := listing{Path: printable(path.Join("/", name)), Breadcrumbs: breadcrumbs(name), Columns: order.headings()}
	for _, d := range found {
		if e, ok := s.entry(dir, d.Name()); ok {
			about.Entries = append(about.Entries, e)
		}
	}
	slices.SortFunc(about.Entries, order.compare)
	about.Summary = summary(about.Entries)

	token := tokenOf(r)
	token.Listing, token.Names = true, sumOfNames(found)
	s.serveOwnPage(w, r, http.StatusOK, token, "listing", about)
}

// entry describes what a link to name would lead to. ok is false if a request for it
// would not be answered: it is hidden, outside the root, or no file.
func (s *handler) entry(dir *file, name string) (e entry, ok bool) {
	if urlpath.IsHidden(name) {
		return entry{}, false
	}
	found, _, info, err := s.find(dir.real, name)
	if err != nil {
		return entry{}, false
	}
	found.Close()

	e = entry{link: linkTo(name), Dir: info.IsDir(), Modified: info.ModTime().UTC()}
	if e.Dir {
		e.Name += "/"
		e.Href += "/"
	} else {
		e.Bytes, e.Size = info.Size(), humanSize(info.Size())
	}
	return e, true
}

// summary says how many entries there are, and how large they are.
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

// breadcrumbs link to each directory on the way to name, by relative links, which a
// proxy's path prefix does not break.
func breadcrumbs(name string) []link {
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

// linkTo links to a name of any bytes. With the dot in front, a name with a colon is
// not taken for a scheme.
func linkTo(name string) link {
	u := url.URL{Path: "./" + name}
	return link{Name: printable(name), Href: template.URL(u.EscapedPath())}
}

func printable(name string) string {
	return strings.ToValidUTF8(name, "\ufffd")
}

// humanSize formats a size with at most three digits.
func humanSize(n int64) string {
	size, unit := float64(n), 0
	for ; size >= 999.5; size /= 1000 {
		unit++
	}

	// From 9.95 on it would round to 10.0, which has a digit too many.
	digits := 0
	if unit > 0 && size < 9.95 {
		digits = 1
	}
	return strconv.FormatFloat(size, 'f', digits, 64) + " " + []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}[unit]
}

// A column is what a listing can be sorted by.
type column struct {
	Key, Title, Unit string
	descending       bool // unless the query says otherwise
	compare          func(a, b entry) int
}

// columns are those of a listing. The largest and the newest are what one looks for.
var columns = []column{
	{"name", "Name", "", false, compareNames},
	{"size", "Size", "", true, func(a, b entry) int { return cmp.Compare(a.Bytes, b.Bytes) }},
	{"date", "Changed", "UTC", true, func(a, b entry) int { return a.Modified.Compare(b.Modified) }},
}

// directions are values of the query and of aria-sort, by whether it is descending.
var directions = map[bool]struct{ order, sorted string }{
	false: {"asc", "ascending"},
	true:  {"desc", "descending"},
}

// An order is how a listing is sorted.
type order struct {
	by         column
	descending bool
}

// parseOrder parses ?sort=size&order=desc. What is not understood means by name, and in
// the column's own order.
func parseOrder(query url.Values) order {
	i := slices.IndexFunc(columns, func(c column) bool { return c.Key == query.Get("sort") })
	by := columns[max(i, 0)]
	for descending, d := range directions {
		if d.order == query.Get("order") {
			return order{by, descending}
		}
	}
	return order{by, by.descending}
}

// compare puts directories first, and what is equal in order of names.
func (o order) compare(a, b entry) int {
	switch {
	case a.Dir && !b.Dir:
		return -1
	case b.Dir && !a.Dir:
		return 1
	case o.descending:
		return cmp.Or(o.by.compare(b, a), compareNames(a, b))
	}
	return cmp.Or(o.by.compare(a, b), compareNames(a, b))
}

// compareNames sorts as people do: case matters least.
func compareNames(a, b entry) int {
	return cmp.Or(strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), strings.Compare(a.Name, b.Name))
}

// headings link to the other orders. That of the column by which the listing is
// sorted reverses the order.
func (o order) headings() (all []heading) {
	for _, c := range columns {
		h, descending := heading{column: c}, c.descending
		if c.Key == o.by.Key {
			h.Sorted, descending = directions[o.descending].sorted, !o.descending
		}

		h.Href = "./"
		if c.Key != columns[0].Key || descending {
			h.Href = template.URL("./?sort=" + c.Key + "&order=" + directions[descending].order)
		}
		all = append(all, h)
	}
	return all
}
