package httpd

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io/fs"
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

// listingJS shows times as the reader's clock has them.
//
//go:embed listing.js
var listingJS string

// A listing is what the page of a directory shows.
type listing struct {
	Path        string
	Name        string // of the directory; of the root, the host
	Breadcrumbs []link // to the directories above
	Summary     string
	Columns     []heading
	Entries     []entry
	Parent      bool   // there is a directory above
	Filter      string // names have this in them
	Filtering   bool   // there is so much that a filter is of use
	Sort, Order string // as in the query; "" for the usual
	Pages       []link // the pages before and behind this one
}

// So many entries are shown at once, and a filter is offered from so many on.
const (
	listingPage   = 1000
	listingFilter = 20
)

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
	file     string // its name
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

	query := r.URL.Query()
	order := parseOrder(query)
	crumbs := breadcrumbs(name)
	last := len(crumbs) - 1
	about := listing{
		Path: printable(path.Join("/", name)), Name: crumbs[last].Name, Breadcrumbs: crumbs[:last], Parent: last > 0,
		Columns: order.headings(query.Get("q")), Filter: query.Get("q"), Filtering: len(found) > listingFilter,
	}
	if last == 0 {
		about.Name = printable(accessOf(r).reached)
	}
	if query.Has("sort") {
		about.Sort, about.Order = order.by.Key, directions[order.descending].order
	}

	// What is not shown is not looked at, unless its place depends on that: a directory
	// may have tens of thousands of names.
	token := tokenOf(r)
	token.Listing, token.Names = true, sumOfNames(found)
	found = slices.DeleteFunc(found, func(d fs.DirEntry) bool {
		return !urlpath.IsListed(d.Name()) || !strings.Contains(strings.ToLower(d.Name()), strings.ToLower(about.Filter))
	})
	entries := make([]entry, 0, len(found))
	byName := order.by.Key == columns[0].Key
	some := byName && len(found) > listingPage
	for _, d := range found {
		if e := (entry{link: linkTo(d.Name()), file: d.Name(), Dir: d.IsDir()}); some && d.Type()&fs.ModeSymlink == 0 {
			entries = append(entries, e)
		} else if e, ok := s.entry(dir, d.Name()); ok {
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, order.compare)
	about.Summary = summary(entries, !some)

	number, _ := strconv.Atoi(query.Get("page"))
	pages := max(1, (len(entries)+listingPage-1)/listingPage)
	number = min(max(number, 1), pages)
	about.Pages = pageLinks(query, number, pages)
	for _, e := range entries[(number-1)*listingPage : min(number*listingPage, len(entries))] {
		if e.Modified.IsZero() {
			var ok bool
			if e, ok = s.entry(dir, e.file); !ok {
				continue
			}
		}
		about.Entries = append(about.Entries, e)
	}
	s.serveOwnPage(w, r, http.StatusOK, token, "listing", about)
}

// pageLinks link from one page of a listing to its neighbours, and name where one is.
func pageLinks(query url.Values, number, pages int) (links []link) {
	if pages == 1 {
		return nil
	}
	to := func(page int) template.URL {
		next := url.Values{"page": {strconv.Itoa(page)}}
		for _, key := range []string{"q", "sort", "order"} {
			if query.Has(key) {
				next.Set(key, query.Get(key))
			}
		}
		return template.URL("./?" + next.Encode())
	}
	if number > 1 {
		links = append(links, link{"First", to(1)}, link{"Previous", to(number - 1)})
	}
	links = append(links, link{Name: fmt.Sprintf("Page %d of %d", number, pages)})
	if number < pages {
		links = append(links, link{"Next", to(number + 1)}, link{"Last", to(pages)})
	}
	return links
}

// entry describes what a link to name would lead to. ok is false if a request for it
// would not be answered: it is hidden, outside the root, or no file.
func (s *handler) entry(dir *file, name string) (e entry, ok bool) {
	if !urlpath.IsListed(name) {
		return entry{}, false
	}
	if s.isRuleFile(path.Join(dir.real, name)) {
		return entry{}, false
	}
	found, _, info, err := s.find(dir.real, name)
	if err != nil {
		return entry{}, false
	}
	found.Close()

	e = entry{link: linkTo(name), file: name, Dir: info.IsDir(), Modified: info.ModTime().UTC()}
	if e.Dir {
		e.Name += "/"
		e.Href += "/"
	} else {
		e.Bytes, e.Size = info.Size(), humanSize(info.Size())
	}
	return e, true
}

// summary says how many entries there are, and how large they are if that is known.
func summary(entries []entry, sized bool) string {
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
		parts = append(parts, count(files, "file", "files"))
	}
	if files > 0 && sized {
		parts = append(parts, humanSize(size))
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
func (o order) headings(filter string) (all []heading) {
	for _, c := range columns {
		h, descending := heading{column: c}, c.descending
		if c.Key == o.by.Key {
			h.Sorted, descending = directions[o.descending].sorted, !o.descending
		}

		h.Href = "./"
		switch by := "sort=" + c.Key + "&order=" + directions[descending].order; {
		case filter != "":
			h.Href = template.URL("./?q=" + url.QueryEscape(filter) + "&" + by)
		case c.Key != columns[0].Key || descending:
			h.Href = template.URL("./?" + by)
		}
		all = append(all, h)
	}
	return all
}
