package livereload

import (
	"cmp"
	"hash/maphash"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/execlog/execlogd/internal/ansi"
)

// A PageError is what pages show in place of what they would be. All of it is plain text.
type PageError struct {
	Title  string
	Place  string         // in a file, in one word
	Source *Source        // for the owner alone
	Output []ansi.Segment // of a command; of a longer one the last 16 KiB are shown
	Text   string         // likewise
	Paths  []string       // of the files whose pages show it; none is every page
}

// A Source is the file that a PageError is about. It is for the owner alone.
type Source struct {
	Href  string   // opens it in an editor; empty for no link
	Lines []string // around the place
	First int      // the number of the first of Lines
	Line  int      // the number of the one at the place; 0 if it is not known
}

// How many errors a page is told, and how much of each.
const (
	maxErrors     = 16
	maxErrorTitle = 256
	maxErrorText  = 16 << 10
)

// Public returns the error without what is for the owner alone.
func (e PageError) Public() *PageError {
	e.Source = nil
	return &e
}

// A sourcedError is an error that SetError has set.
type sourcedError struct {
	source string
	err    *PageError
	about  change          // a change of Paths; its rule finds pages that do not report
	paths  map[string]bool // of resources that pages which report use
	dirs   []string
}

// SetError sets the error of a source, in place of the one before; nil takes it away.
// Pages of our client show it at once, and later ones when they connect. It does not
// block.
func (h *Hub) SetError(source string, e *PageError) {
	h.mu.Lock()
	defer h.mu.Unlock()

	i, found := slices.BinarySearchFunc(h.setErrors, source, func(e sourcedError, source string) int { return cmp.Compare(e.source, source) })
	if found {
		h.setErrors = slices.Delete(h.setErrors, i, i+1)
	} else if e == nil {
		return
	}

	if e != nil {
		s := sourcedError{source: source, err: new(*e), about: newChange(e.Paths), paths: make(map[string]bool)}
		for _, file := range s.about.files {
			if file.isDir {
				s.dirs = append(s.dirs, file.path())
			}
		}
		for _, p := range s.about.paths {
			s.paths[p.path] = true
		}
		h.setErrors = slices.Insert(h.setErrors, i, s)
	}
	h.hasSources.Store(slices.ContainsFunc(h.setErrors, func(e sourcedError) bool { return e.err.Source != nil }))
	h.notifyChanged()
	h.errorsChanged()
}

// errorsChanged has pages told their errors, where they are others than they were told.
// h.mu must be held.
func (h *Hub) errorsChanged() {
	for c := range h.clients {
		if c.extended {
			c.errorsDue = true
			c.notify()
		}
	}
}

// affects reports whether a page shows the error.
func (s *sourcedError) affects(p *page) bool {
	isAbout := func(r *resource) bool {
		return s.paths[r.path] || slices.ContainsFunc(s.dirs, func(dir string) bool { return isBelow(r.path, dir) })
	}
	return len(s.err.Paths) == 0 || slices.ContainsFunc(p.shows, isAbout) || slices.ContainsFunc(p.uses, isAbout) ||
		!p.reported && !s.about.updateFor(p).isEmpty()
}

// errorsOf returns the errors of a client's page: those of its files, then those that were
// set. h.mu must be held.
func (h *Hub) errorsOf(c *client) []*PageError {
	p := &c.page
	var list []*PageError
	add := func(e *PageError) {
		if e != nil && !c.owner {
			e = e.Public()
		}
		if e != nil && len(list) < maxErrors && !slices.ContainsFunc(list, e.equal) {
			list = append(list, e)
		}
	}

	for _, r := range slices.Concat(p.shows, p.uses) {
		add(r.err)
	}
	for i := range h.setErrors {
		if h.setErrors[i].affects(p) {
			add(h.setErrors[i].err)
		}
	}
	return list
}

// allErrors returns the errors of resources, sorted by title, then those that were set.
// h.mu must be held.
func (h *Hub) allErrors() []*PageError {
	var list []*PageError
	for r := range h.broken {
		name, _ := url.PathUnescape(strings.TrimPrefix(r.path, "/"))
		list = append(list, &PageError{Title: r.err.Title, Text: r.err.Text, Paths: []string{name}})
	}
	slices.SortFunc(list, func(a, b *PageError) int {
		return cmp.Or(cmp.Compare(a.Title, b.Title), slices.Compare(a.Paths, b.Paths))
	})
	list = slices.CompactFunc(list, (*PageError).equal) // several resources lead to one file

	for i := range h.setErrors {
		list = append(list, h.setErrors[i].err)
	}
	return list[:min(len(list), maxErrors)]
}

// errorsSeed makes the hashes of messages of errors, which are compared within a process.
var errorsSeed = maphash.MakeSeed()

// noErrors is the hash of no errors.
var _, noErrors = errorsMessage(nil)

// An errorMessage is an error as a page is told it.
type errorMessage struct {
	Title  string     `json:"title"`
	Place  string     `json:"place,omitempty"`
	Href   string     `json:"href,omitempty"`
	Source []string   `json:"source,omitempty"`
	First  int        `json:"first,omitempty"`
	Line   int        `json:"line,omitempty"`
	Output [][]string `json:"output,omitempty"` // each a text, and its style if it has one
	Text   string     `json:"text,omitempty"`
}

// errorsMessage returns the frame of the message that replaces a page's errors, and its
// hash.
func errorsMessage(list []*PageError) (frame []byte, hash uint64) {
	short := []errorMessage{}
	for _, e := range list {
		m := errorMessage{Title: strings.ToValidUTF8(e.Title[:min(len(e.Title), maxErrorTitle)], ""), Place: e.Place, Text: lastOf(e.Text, maxErrorText)}
		if s := e.Source; s != nil {
			m.Href, m.Source, m.First, m.Line = s.Href, s.Lines, s.First, s.Line
		}
		for _, segment := range ansi.Last(e.Output, maxErrorText) {
			piece := []string{segment.Text}
			if style := segment.Style.String(); style != "" {
				piece = append(piece, style)
			}
			m.Output = append(m.Output, piece)
		}
		short = append(short, m)
	}

	frame = encode(struct {
		Command string         `json:"command"`
		Errors  []errorMessage `json:"errors"`
	}{"errors", short})
	return frame, maphash.Bytes(errorsSeed, frame)
}

// lastOf returns the last n bytes of text, less what would be a part of a character.
func lastOf(text string, n int) string {
	at := max(0, len(text)-n)
	for at > 0 && at < len(text) && !utf8.RuneStart(text[at]) {
		at++
	}
	return text[at:]
}

// equal reports whether two errors look the same. Either may be nil.
func (e *PageError) equal(other *PageError) bool {
	if e == nil || other == nil {
		return e == other
	}
	return e.Title == other.Title && e.Place == other.Place && e.Text == other.Text && slices.Equal(e.Output, other.Output)
}

// goneError returns the error of a file that was there.
func goneError(name string) *PageError {
	return &PageError{
		Title: strings.TrimSuffix(validUTF8("/"+name), "/.") + " is gone",
		Text:  "The file was removed or renamed. It is shown again when there is one of that name.",
	}
}

func validUTF8(name string) string { return strings.ToValidUTF8(name, "\ufffd") }
