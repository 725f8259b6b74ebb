package httpd

import (
	"cmp"
	"html/template"
	"net/url"
	"strings"
)

// A column is what a listing can be sorted by.
type column struct {
	key, title, unit, class string
	descending              bool // at first: the largest and the newest are what one looks for
	compare                 func(a, b entry) int
}

var columns = []column{
	{"name", "Name", "", "", false, compareNames},
	{"size", "Size", "", "size", true, func(a, b entry) int { return cmp.Compare(a.Bytes, b.Bytes) }},
	{"date", "Changed", "UTC", "time", true, func(a, b entry) int { return a.Modified.Compare(b.Modified) }},
}

// An order is how a listing is sorted.
type order struct {
	by         column
	descending bool
}

// orderOf reads ?sort=size&order=desc. What is not understood means by name,
// and a column's own order.
func orderOf(query url.Values) order {
	by := columns[0]
	for _, c := range columns {
		if c.key == query.Get("sort") {
			by = c
		}
	}
	switch query.Get("order") {
	case "asc":
		return order{by, false}
	case "desc":
		return order{by, true}
	}
	return order{by, by.descending}
}

// compare puts directories first, and what is equal by name.
func (o order) compare(a, b entry) int {
	if a.Dir != b.Dir {
		if a.Dir {
			return -1
		}
		return 1
	}
	c := o.by.compare(a, b)
	if o.descending {
		c = -c
	}
	return cmp.Or(c, compareNames(a, b))
}

// compareNames sorts as people do, in which case matters least.
func compareNames(a, b entry) int {
	return cmp.Or(strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), strings.Compare(a.Name, b.Name))
}

// headings link to the other orders. The column that a listing is sorted by
// turns it round.
func (o order) headings() []heading {
	var all []heading
	for _, c := range columns {
		h := heading{link: link{Name: c.title}, Unit: c.unit, Class: c.class}
		next := order{c, c.descending}
		if c.key == o.by.key {
			next.descending = !o.descending
			h.Sorted, h.Arrow = "ascending", "↑"
			if o.descending {
				h.Sorted, h.Arrow = "descending", "↓"
			}
		}
		h.Href = next.href()
		all = append(all, h)
	}
	return all
}

// href is relative to the listing.
func (o order) href() template.URL {
	if o.by.key == columns[0].key && !o.descending {
		return "./"
	}
	direction := "asc"
	if o.descending {
		direction = "desc"
	}
	return template.URL("./?sort=" + o.by.key + "&order=" + direction)
}
