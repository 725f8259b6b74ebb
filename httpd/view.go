package httpd

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// What is shown is as much as fits a screen or ten.
const (
	maxListed    = 100 // pages
	maxUsesShown = 100 // of each
)

// A view is all that the status page shows, in words that are ready to be
// shown. Times are in milliseconds since 1970.
type view struct {
	Owner     bool        `json:"owner"` // all is shown; else what anybody may see
	Open      int         `json:"open"`  // pages
	Pages     []pageRow   `json:"pages"`
	PagesRest string      `json:"pagesRest"`
	Changed   uint64      `json:"changed"` // changes so far
	Changes   []changeRow `json:"changes"`
	Runs      []runRow    `json:"runs"`
	Watched   int         `json:"watched"` // directories
	Watches   []watchRow  `json:"watches"`
	Errors    []errorRow  `json:"errors"`
}

type pageRow struct {
	Key string `json:"key"` // stays when the page is loaded again
	spot
	Remote   string   `json:"remote"` // "" where that is this machine
	Since    int64    `json:"since"`
	Summary  string   `json:"summary"` // of what it uses
	Uses     []string `json:"uses"`    // the first of them
	UsesRest string   `json:"usesRest"`
}

type changeRow struct {
	Key       uint64      `json:"key"`
	When      int64       `json:"when"`
	Files     []string    `json:"files"`
	FilesRest string      `json:"filesRest"`
	Effects   []effectRow `json:"effects"`
	Rest      string      `json:"rest"`
}

type effectRow struct {
	Key int `json:"key"`
	spot
	What string `json:"what"`
	tabs int    // for which that is so
}

type watchRow struct {
	Key       int    `json:"key"`
	Root      string `json:"root"`
	Watched   int    `json:"watched"`
	Unwatched int    `json:"unwatched"`
}

type errorRow struct {
	Key   int    `json:"key"`
	Title string `json:"title"`
	Text  string `json:"text"`
	About string `json:"about"`
}

// A spot is where a page is, for people.
type spot struct {
	Name string `json:"name"`
	Href string `json:"href"` // "" where no link may lead
}

// json is one line.
func (v view) json() []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // a struct of strings and numbers
	}
	return text
}

// newView puts into words what a hub knows. Pages of host are named by their
// paths alone.
func newView(now snapshot, host string) view {
	v := view{Open: now.open, Pages: []pageRow{}, Changes: []changeRow{}, Watches: []watchRow{}, Errors: []errorRow{}}
	for _, p := range now.pages {
		v.Pages = append(v.Pages, p.row(host))
	}
	nameRows(v.Pages)
	if rest := now.open - len(now.pages); rest > 0 {
		v.PagesRest = "and " + count(rest, "more page", "more pages")
	}
	for _, r := range now.changes {
		v.Changed = max(v.Changed, r.number)
		v.Changes = append(v.Changes, r.row(host))
	}
	for i, e := range now.errors {
		v.Errors = append(v.Errors, errorRow{i, printable(e.Title), printable(e.Text[max(0, len(e.Text)-maxErrorText):]), e.about()})
	}
	return v
}

// nameRows sorts rows by name, and of one name the earliest first.
func nameRows(rows []pageRow) {
	slices.SortFunc(rows, func(a, b pageRow) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Since, b.Since))
	})
	n := 0
	for i := range rows {
		n++
		if i == 0 || rows[i].Name != rows[i-1].Name {
			n = 0
		}
		rows[i].Key = fmt.Sprint(rows[i].Name, " ", n)
	}
}

func (p openPage) row(host string) pageRow {
	row := pageRow{spot: spotOf(p.url, host), Since: p.since, Uses: []string{}}
	if addr, err := netip.ParseAddr(p.remote); err == nil && !addr.Unmap().IsLoopback() {
		row.Remote = "from " + p.remote
	}
	switch {
	case !p.ours:
		row.Summary = "does not say"
	case !p.known:
		row.Summary = "may use any file"
	case p.count == 0:
		row.Summary = "no other file"
	default:
		row.Summary = count(p.count, "file", "files")
	}
	for _, use := range p.uses {
		if name, err := url.PathUnescape(use); err == nil {
			row.Uses = append(row.Uses, printable(clip(name)))
		}
	}
	if rest := p.count - len(p.uses); rest > 0 {
		row.UsesRest = "and " + count(rest, "more file", "more files")
	}
	return row
}

// row puts a change into words. The same page in several tabs is named once.
func (rec record) row(host string) changeRow {
	row := changeRow{Key: rec.number, When: rec.when, Files: []string{}, Effects: []effectRow{}}
	for _, f := range rec.files {
		row.Files = append(row.Files, cmp.Or(printable(clip(f.title())), "/"))
	}
	if rec.more > 0 {
		row.FilesRest = "and " + count(rec.more, "more file", "more files")
	}
	if rec.names {
		row.FilesRest = strings.TrimPrefix(row.FilesRest+" came or went", " ")
	}
	for _, c := range rec.pages {
		row.add(effectRow{spot: spotOf(c.url, host), What: c.words(), tabs: 1})
	}
	slices.SortFunc(row.Effects, func(a, b effectRow) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.What, b.What)) })
	for i := range row.Effects {
		e := &row.Effects[i]
		e.Key = i
		if e.tabs > 1 {
			e.What += " (" + count(e.tabs, "tab", "tabs") + ")"
		}
	}
	switch {
	case len(rec.pages) == 0:
		row.Rest = "concerns no open page"
	case rec.others > 0:
		row.Rest = "and " + count(rec.others, "more page", "more pages")
	}
	return row
}

func (row *changeRow) add(e effectRow) {
	for i := range row.Effects {
		if same := &row.Effects[i]; same.spot == e.spot && same.What == e.What {
			same.tabs++
			return
		}
	}
	row.Effects = append(row.Effects, e)
}

// words say what a change meant to a page, and why.
func (c concern) words() string {
	verb := [...]string{mayUse: "may use", shows: "shows", uses: "uses"}[c.why]
	if c.reload != nil {
		return "is loaded again: it " + verb + " " + printable(clip(c.reload.path))
	}
	what := printable(clip(c.assets[0].path))
	if others := len(c.assets) - 1; others > 0 {
		what += " and " + count(others, "other", "others")
	}
	return "fetches " + what + ", which it " + verb + ", again in place"
}

// about says which pages an error concerns.
func (e *PageErr) about() string {
	if len(e.Paths) == 0 {
		return "Every page shows it."
	}
	return "Shown by pages that show or use " + printable(clip(strings.Join(e.Paths, ", "))) + "."
}

// spotOf names the page at href, as its browser sees it, and those of host by
// their paths. Queries stay out, as some are secret.
func spotOf(href, host string) spot {
	u, err := url.Parse(href)
	if err != nil {
		u = new(url.URL)
	}
	bare := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	var at spot
	switch {
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		at.Name = bare.String()
	case sameHost(u.Scheme, u.Host, host):
		at = spot{cmp.Or(u.Path, "/"), bare.String()}
	default:
		at = spot{u.Host + u.Path, bare.String()}
	}
	at.Name = cmp.Or(printable(clip(at.Name)), "a page that does not say where it is")
	return at
}
