package livereload

import (
	"cmp"
	"errors"
	"hash/maphash"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
)

// A PageError is what pages show.
type PageError struct {
	Title, Text string
	Paths       []string
}

// A page is told of so many errors, with so much text each.
const (
	maxErrors     = 16
	maxErrorText  = 16 << 10
	maxErrorTitle = 256
)

// A namedError error is one of SetError's.
type namedError struct {
	source string
	err    *PageError
	about  change // its Paths, for the origin's rule
	uses   map[string]bool
	dirs   []string
}

func (h *Hub) SetError(source string, e *PageError) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i, found := slices.BinarySearchFunc(h.setErrors, source, func(f namedError, source string) int { return cmp.Compare(f.source, source) })
	switch {
	case found && e == nil:
		h.setErrors = slices.Delete(h.setErrors, i, i+1)
	case found:
		h.setErrors[i] = newSourced(source, e)
	case e == nil:
		return
	default:
		h.setErrors = slices.Insert(h.setErrors, i, newSourced(source, e))
	}
	h.notifyChanged()
	h.errorsDiffer()
}

// errorsChanged has pages told whose errors are others now.
func (h *Hub) errorsChanged() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.errorsDiffer()
}

// errorsDiffer is called with the lock, when those of any page may be others.
func (h *Hub) errorsDiffer() {
	for s := range h.clients {
		if s.extended {
			s.errorsDue = true
			s.notify()
		}
	}
}

func newSourced(source string, e *PageError) namedError {
	f := namedError{source: source, err: new(*e), about: newChange(e.Paths), uses: make(map[string]bool)}
	for _, file := range f.about.files {
		if file.isDir {
			f.dirs = append(f.dirs, file.use())
		}
		for _, use := range file.shownAt() {
			f.uses[use] = true
		}
	}
	return f
}

// concerns reports whether a page is to show the error.
func (f *namedError) concerns(p *page) bool {
	switch {
	case len(f.err.Paths) == 0:
		return true
	case p.reported:
		return slices.ContainsFunc(p.shows, f.isAbout) || slices.ContainsFunc(p.uses, f.isAbout)
	}
	u := f.about.updateFor(p)
	return !u.empty() || slices.ContainsFunc(p.shows, f.isAbout)
}

func (f *namedError) isAbout(u *resource) bool {
	return f.uses[u.path] || slices.ContainsFunc(f.dirs, func(dir string) bool { return isBelow(u.path, dir) })
}

// errorsOf lists the errors that concern a page: those of its own files, then
// the others by source. It is called with the lock.
func (h *Hub) errorsOf(p *page) []*PageError {
	var list []*PageError
	add := func(e *PageError) {
		if e != nil && len(list) < maxErrors && !slices.ContainsFunc(list, e.equal) {
			list = append(list, e)
		}
	}
	for _, uses := range [][]*resource{p.shows, p.uses} {
		for _, u := range uses {
			add(u.err)
		}
	}
	for i := range h.setErrors {
		if h.setErrors[i].concerns(p) {
			add(h.setErrors[i].err)
		}
	}
	return list
}

type errorText struct {
	Title string `json:"title"`
	Text  string `json:"text"`
}

// errorsSeed is the seed of those sums.
var errorsSeed = maphash.MakeSeed()

// noErrors is the sum of an empty list.
var _, noErrors = errorsMessage(nil)

// errors is the message with all the errors of a page, and a sum by which to
// tell whether they are others. It is called with the lock.
func (h *Hub) errors(p *page) (frame []byte, sum uint64) {
	return errorsMessage(h.errorsOf(p))
}

func errorsMessage(list []*PageError) (frame []byte, digest uint64) {
	texts := []errorText{}
	for _, e := range list {
		texts = append(texts, errorText{e.Title[:min(len(e.Title), maxErrorTitle)], e.Text[max(0, len(e.Text)-maxErrorText):]})
	}
	frame = marshal(struct {
		Command string      `json:"command"`
		Errors  []errorText `json:"errors"`
	}{"errors", texts})
	return frame, maphash.Bytes(errorsSeed, frame)
}

func (e *PageError) equal(other *PageError) bool {
	if e == nil || other == nil {
		return e == other
	}
	return e.Title == other.Title && e.Text == other.Text
}

// unreadableError is the error of a file that is there and cannot be read.
func unreadableError(seen FileState) *PageError {
	reason := "The file cannot be read."
	if errno, ok := errors.AsType[syscall.Errno](seen.Err); ok {
		reason = "The file cannot be read: " + errno.Error() + "."
	}
	if errors.Is(seen.Err, fs.ErrPermission) {
		reason += " Give the user that runs the server permission to read it."
	}
	return &PageError{Title: "Cannot read " + validUTF8(path.Join("/", seen.Name)), Text: reason}
}

// goneError is the error of a file that was there.
func goneError(name string) *PageError {
	return &PageError{
		Title: strings.TrimSuffix(validUTF8("/"+name), "/.") + " is gone",
		Text:  "The file was removed or renamed. It is shown again when there is one of that name.",
	}
}

func validUTF8(name string) string { return strings.ToValidUTF8(name, "\ufffd") }
