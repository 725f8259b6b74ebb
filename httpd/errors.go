package httpd

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

// A PageErr is what pages show.
type PageErr struct {
	Title, Text string
	Paths       []string
}

// A page is told of so many errors, with so much text each.
const (
	maxErrors    = 16
	maxErrorText = 16 << 10
)

// A sourced error is one of SetError's.
type sourced struct {
	source string
	err    *PageErr
	about  change // its Paths, for the origin's rule
	uses   map[string]bool
	dirs   []string
}

func (h *hub) setError(source string, e *PageErr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i, found := slices.BinarySearchFunc(h.faults, source, func(f sourced, source string) int { return cmp.Compare(f.source, source) })
	switch {
	case found && e == nil:
		h.faults = slices.Delete(h.faults, i, i+1)
	case found:
		h.faults[i] = newSourced(source, e)
	case e == nil:
		return
	default:
		h.faults = slices.Insert(h.faults, i, newSourced(source, e))
	}
	h.stirs()
	h.errorsDiffer()
}

// showErrors has pages told whose errors are others now.
func (h *hub) showErrors() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.errorsDiffer()
}

// errorsDiffer is called with the lock, when those of any page may be others.
func (h *hub) errorsDiffer() {
	for s := range h.slots {
		if s.ours {
			s.faults = true
			s.notify()
		}
	}
}

func newSourced(source string, e *PageErr) sourced {
	f := sourced{source: source, err: new(*e), about: newChange(e.Paths), uses: make(map[string]bool)}
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
func (f *sourced) concerns(p *page) bool {
	switch {
	case len(f.err.Paths) == 0:
		return true
	case p.known:
		return slices.ContainsFunc(p.own, f.isAbout) || slices.ContainsFunc(p.uses, f.isAbout)
	}
	u := f.about.update(p)
	return !u.empty() || slices.ContainsFunc(p.own, f.isAbout)
}

func (f *sourced) isAbout(u *use) bool {
	return f.uses[u.path] || slices.ContainsFunc(f.dirs, func(dir string) bool { return isBelow(u.path, dir) })
}

// errorsOf lists the errors that concern a page: those of its own files, then
// the others by source. It is called with the lock.
func (h *hub) errorsOf(p *page) []*PageErr {
	var list []*PageErr
	add := func(e *PageErr) {
		if e != nil && len(list) < maxErrors && !slices.ContainsFunc(list, e.equal) {
			list = append(list, e)
		}
	}
	for _, uses := range [][]*use{p.own, p.uses} {
		for _, u := range uses {
			add(u.fault)
		}
	}
	for i := range h.faults {
		if h.faults[i].concerns(p) {
			add(h.faults[i].err)
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
func (h *hub) errors(p *page) (frame []byte, sum uint64) {
	return errorsMessage(h.errorsOf(p))
}

func errorsMessage(list []*PageErr) (frame []byte, digest uint64) {
	texts := []errorText{}
	for _, e := range list {
		texts = append(texts, errorText{clip(e.Title), e.Text[max(0, len(e.Text)-maxErrorText):]})
	}
	frame = marshal(struct {
		Command string      `json:"command"`
		Errors  []errorText `json:"errors"`
	}{"errors", texts})
	return frame, maphash.Bytes(errorsSeed, frame)
}

func (e *PageErr) equal(other *PageErr) bool {
	if e == nil || other == nil {
		return e == other
	}
	return e.Title == other.Title && e.Text == other.Text
}

// unreadable is the error of a file that is there and cannot be read.
func unreadable(seen sight) *PageErr {
	reason := "The file cannot be read."
	if errno, ok := errors.AsType[syscall.Errno](seen.err); ok {
		reason = "The file cannot be read: " + errno.Error() + "."
	}
	if errors.Is(seen.err, fs.ErrPermission) {
		reason += " Give the user that runs the server permission to read it."
	}
	return &PageErr{Title: "Cannot read " + printable(path.Join("/", seen.name)), Text: reason}
}

// gone is the error of a file that was there.
func gone(name string) *PageErr {
	return &PageErr{
		Title: strings.TrimSuffix(printable("/"+name), "/.") + " is gone",
		Text:  "The file was removed or renamed. It is shown again when there is one of that name.",
	}
}
