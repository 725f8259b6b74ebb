package status

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"maps"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/execlog/execlogd/httpd/internal/livereload"
	"github.com/execlog/execlogd/internal/ansi"
)

// The page shows so much of each. What a snapshot has beyond that is counted or
// left out.
const (
	MaxPages     = 100
	MaxUses      = 100 // of a page
	MaxRuns      = 20
	MaxRunOutput = 4 << 10 // bytes, the last

	maxRunPaths  = 20
	maxRunText   = 1 << 10  // bytes of its command, and of how it ended
	maxErrorText = 16 << 10 // bytes, the last
	maxPageTitle = 120      // bytes
	maxText      = 256      // bytes of anything else
)

//go:embed page.html
var pageHTML string

// The files beside the page. CSS relies on the custom properties of the style
// sheet that all pages of the server have.
var (
	//go:embed status.css
	CSS string
	//go:embed status.js
	JS string
	//go:embed status.svg
	Icon string
)

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"more":       more,
	"breakable":  breakable,
	"short":      func(text string) string { return shorten(text, maxText) },
	"last":       func(text string) string { return lastOf(text, maxErrorText) },
	"lastOutput": func(output []ansi.Segment) []ansi.Segment { return ansi.Last(output, maxErrorText) },
	"join":       strings.Join,
}).Parse(pageHTML))

// A Viewer is who looks at the page.
type Viewer struct {
	Host    string // host[:port] by which the viewer reached the server: its pages are named by their paths alone
	Owner   bool   // sees all; anybody else what Snapshot.public leaves
	Project string // what is served, in a word: the name of the directory
}

// RenderPage renders the whole document.
func RenderPage(s Snapshot, v Viewer) ([]byte, error) { return render("page", s, v) }

// maxRenderings is for how many kinds of viewers a Renderer keeps what it rendered.
const maxRenderings = 8

// A Renderer renders the main element of the document for the streams of many
// viewers. It renders each snapshot once for viewers of one kind, as it takes
// milliseconds when there is much to show. The zero Renderer is ready for use.
type Renderer struct {
	mu   sync.Mutex
	last map[Viewer]rendering
}

type rendering struct {
	of   Snapshot
	main []byte
}

// Main returns the main element. Neither s nor the result may be changed.
func (r *Renderer) Main(s Snapshot, v Viewer) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, ok := r.last[v]; ok && reflect.DeepEqual(last.of, s) {
		return last.main, nil
	}

	main, err := render("main", s, v)
	if err != nil {
		return nil, err
	}
	if r.last == nil || len(r.last) == maxRenderings {
		r.last = make(map[Viewer]rendering)
	}
	r.last[v] = rendering{s, main}
	return main, nil
}

func render(name string, s Snapshot, v Viewer) ([]byte, error) {
	var text bytes.Buffer
	err := pageTemplate.ExecuteTemplate(&text, name, newView(s, v))
	return text.Bytes(), err
}

// A view is what the templates show: a Snapshot, and in place of its lists rows in
// words, sorted and cut to size.
type view struct {
	Snapshot
	Now       time.Time
	Project   string
	Owner     bool
	Pages     []pageRow
	MorePages int
	Timeline  timeline
	Changes   []changeRow
	Runs      []runRow
	Errors    []errorRow
	Watched   int // directories
}

// A row's Key stays the same as long as the row is about the same thing. The
// script keeps the elements of such a row.

type pageRow struct {
	Key string
	link
	Title    string // "" for none
	Remote   string // "" for this machine
	Browser  string // "" for an unknown one
	Since    time.Time
	Summary  string // of what the page uses
	Uses     []string
	MoreUses int
}

type changeRow struct {
	livereload.Change
	Effects []effect
}

type runRow struct {
	Run
	Key     string
	Outcome string
	More    string // paths that are not in Paths
	Output  []ansi.Segment
}

type errorRow struct {
	*livereload.PageError
	Href  template.URL // in an editor; empty for no link
	Lines []sourceLine
}

// A sourceLine is a line of the file that an error is about.
type sourceLine struct {
	Number int
	Text   string
	IsHere bool // the error is in this line
}

// A link names a page. Href is empty where no link may lead.
type link struct{ Name, Href string }

func newView(s Snapshot, v Viewer) view {
	if !v.Owner {
		s = s.public()
	}

	out := view{
		Snapshot: s, Now: time.Now(), Project: cmp.Or(v.Project, v.Host), Owner: v.Owner,
		Pages: pageRows(s.Pages, v.Host), MorePages: s.Open - len(s.Pages), Timeline: newTimeline(s),
	}
	for _, c := range s.Changes {
		out.Changes = append(out.Changes, changeRow{c, effects(c.Affected, v.Host)})
	}
	for _, r := range s.Runs[:min(len(s.Runs), MaxRuns)] {
		out.Runs = append(out.Runs, newRunRow(r))
	}
	for _, e := range s.Errors {
		out.Errors = append(out.Errors, newErrorRow(e))
	}
	for _, w := range s.Watches {
		out.Watched += w.Watched
	}
	return out
}

// pageRows sorts pages by name and then by age. The key of a row is the page's
// name with its place among those of that name, so that a page keeps its row when
// it is loaded again.
func pageRows(pages []livereload.OpenPage, host string) []pageRow {
	var rows []pageRow
	for _, p := range pages {
		row := pageRow{
			Title: titleOf(p.Title), Browser: p.Browser, link: linkTo(p.URL, host), Since: p.Since,
			Summary: count(p.Used, "file"), MoreUses: p.Used - len(p.Uses),
		}
		switch {
		case !p.Reports:
			row.Summary = "does not say"
		case !p.Known:
			row.Summary = "may use any file"
		case p.Used == 0:
			row.Summary = "no other file"
		}
		if addr, err := netip.ParseAddr(p.Remote); err == nil && !addr.Unmap().IsLoopback() {
			row.Remote = p.Remote
		}
		for _, use := range p.Uses {
			if name, err := url.PathUnescape(use); err == nil {
				row.Uses = append(row.Uses, shorten(name, maxText))
			}
		}
		rows = append(rows, row)
	}

	slices.SortFunc(rows, func(a, b pageRow) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), a.Since.Compare(b.Since))
	})
	n := 0
	for i := range rows {
		n++
		if i == 0 || rows[i].Name != rows[i-1].Name {
			n = 0
		}
		rows[i].Key = fmt.Sprint(rows[i].Name, " ", n)
	}
	return rows
}

// An effect is what a change did to pages. The same page in several tabs is one.
type effect struct {
	link
	What string
}

func effects(pages []livereload.AffectedPage, host string) []effect {
	tabs := make(map[effect]int)
	for _, p := range pages {
		tabs[effect{linkTo(p.URL, host), effectWords(p)}]++
	}

	list := slices.SortedFunc(maps.Keys(tabs), func(a, b effect) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.What, b.What), cmp.Compare(a.Href, b.Href))
	})
	for i, e := range list {
		if n := tabs[e]; n > 1 {
			list[i].What += " (" + count(n, "tab") + ")"
		}
	}
	return list
}

func effectWords(p livereload.AffectedPage) string {
	verb := [...]string{livereload.MayUse: "may use", livereload.Shows: "shows", livereload.Uses: "uses"}[p.Reason]
	// Without the slash it is as the change has it, and lines do not break after the slash.
	file := cmp.Or(strings.TrimPrefix(shorten(p.File, maxText), "/"), "/")
	if p.Reload {
		return "is loaded again: it " + verb + " " + file
	}
	if p.MoreFiles > 0 {
		file += " and " + count(p.MoreFiles, "other")
	}
	return "fetches " + file + ", which it " + verb + ", again in place"
}

func newErrorRow(e *livereload.PageError) errorRow {
	row := errorRow{PageError: e}
	if e.Source == nil {
		return row
	}
	row.Href = template.URL(e.Source.Href) // its scheme was checked with the pattern
	for i, text := range e.Source.Lines {
		n := e.Source.First + i
		row.Lines = append(row.Lines, sourceLine{n, text, n == e.Source.Line})
	}
	return row
}

func newRunRow(r Run) runRow {
	row := runRow{
		Key:     fmt.Sprint(r.ID, " ", r.Start.UnixMilli()), // a server that starts again counts from 1
		Outcome: outcome(r),
		Output:  ansi.Last(ansi.Parse(strings.ToValidUTF8(string(r.Output), "\ufffd")), MaxRunOutput),
	}
	if r.LeftBehind != "" {
		row.Outcome += "; " + shorten(r.LeftBehind, maxRunText)
	}

	r.Command = shorten(r.Command, maxRunText)
	r.Paths = r.Paths[:min(len(r.Paths), maxRunPaths)]
	if rest := r.Batch - len(r.Paths); len(r.Paths) > 0 {
		row.More = more(rest, "file")
	} else if rest > 0 {
		row.More = count(rest, "file")
	}
	row.Run = r
	return row
}

// outcome says how a run ended and when.
func outcome(r Run) string {
	text := shorten(r.Outcome, maxRunText)
	if r.State != "running" {
		text += " after " + r.Took.Round(time.Millisecond).String()
	}
	return text
}

// titleOf returns the title of a page in one line, or its beginning.
func titleOf(title string) string {
	title = strings.Join(strings.Fields(title), " ")
	if len(title) > maxPageTitle {
		title = strings.ToValidUTF8(title[:maxPageTitle], "") + "…"
	}
	return title
}

// linkTo names the page at href, and one at host by its path alone. Queries stay
// out, as some are secret. Only to web pages is there a link.
func linkTo(href, host string) link {
	u, err := url.Parse(href)
	if err != nil {
		u = new(url.URL)
	}
	bare := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}

	l := link{Name: bare.String()}
	if port := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]; port != "" && u.Host != "" {
		l = link{u.Host + u.Path, bare.String()}
		// Hosts are compared without the port that the scheme implies.
		if strings.EqualFold(strings.TrimSuffix(u.Host, port), strings.TrimSuffix(host, port)) {
			l.Name = cmp.Or(u.Path, "/")
		}
	}
	l.Name = cmp.Or(shorten(l.Name, maxText), "a page that does not say where it is")
	return l
}

func count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", one, "s")
}

// more says how many there are beyond those that were named.
func more(n int, one string) string {
	if n <= 0 {
		return ""
	}
	return "and " + count(n, "more "+one)
}

// breakable returns a path as HTML in which a line may break after each slash, but for one
// that the path begins with. Chromium breaks hardly any there by itself.
func breakable(path string) template.HTML {
	text := template.HTMLEscapeString(path)
	n := min(1, len(text))
	return template.HTML(text[:n] + strings.ReplaceAll(text[n:], "/", "/<wbr>"))
}

// shorten returns the first n bytes of text, as valid UTF-8.
func shorten(text string, n int) string {
	return strings.ToValidUTF8(text[:min(len(text), n)], "\ufffd")
}

// lastOf returns the last n bytes of text, as valid UTF-8. What is cut begins with
// a line, or at least with a character.
func lastOf(text string, n int) string {
	if len(text) > n {
		text = text[len(text)-n:]
		if _, lines, found := strings.Cut(text, "\n"); found && lines != "" {
			text = lines
		}
		for text != "" && !utf8.RuneStart(text[0]) {
			text = text[1:]
		}
	}
	return strings.ToValidUTF8(text, "\ufffd")
}
