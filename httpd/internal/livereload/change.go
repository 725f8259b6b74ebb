package livereload

import (
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/execlog/execlogd/httpd/internal/filetype"
	"github.com/execlog/execlogd/httpd/internal/urlpath"
)

// A change is a set of files that changed together. A page gets one update for all of
// them.
//
// files and paths are for pages that report what they use. The other fields are the
// rule for pages that do not; they are empty when only names changed.
type change struct {
	files []changedFile
	paths []changedPath
	names bool  // names came or went, or files can be read or not; content is as it was
	lost  bool  // it had too many files, which were not kept, or any file may be another
	time  int64 // ms since 1970, once it is in the history

	reloadAll       *reloadMessage            // all pages load again; nil: no
	reloadShown     map[string]*reloadMessage // by file: pages that show it load again
	reloadUnlocated *reloadMessage            // pages that may show any document load again
	assets          []reloadMessage           // other pages fetch these in place: style sheets, then images
}

// newChange returns the change of the content of files. The paths are relative to the
// root; a slash at the end makes one a directory with everything below it.
func newChange(paths []string) change {
	c := newFileChange(paths, false)
	c.reloadShown = make(map[string]*reloadMessage)
	var styles, images []reloadMessage
	for _, f := range c.files {
		switch f.kind() {
		case filetype.StyleSheet:
			styles = append(styles, newReloadMessage(f.name, true))
		case filetype.Image:
			images = append(images, newReloadMessage(f.name, true))
		case filetype.Resource, filetype.ModernImage:
			c.reloadAll = firstReload(c.reloadAll, f.name)
		case filetype.Document:
			c.reloadUnlocated = firstReload(c.reloadUnlocated, f.name)
			fallthrough
		case filetype.NotLoaded:
			c.reloadShown[f.name] = firstReload(nil, f.name)
		}
	}

	c.assets = append(styles, images...)
	if len(c.assets) > maxAssets || slices.ContainsFunc(c.assets, func(m reloadMessage) bool { return !utf8.ValidString(m.path) }) {
		c.reloadAll = firstReload(c.reloadAll, c.assets[0].path[1:])
	}
	return c
}

// firstReload returns m, or if that is nil a reload for a file.
func firstReload(m *reloadMessage, name string) *reloadMessage {
	if m == nil {
		m = new(newReloadMessage(name, false))
	}
	return m
}

// newFileChange returns a change without a rule for pages that do not report what they
// use. With names it is of names that came or went.
func newFileChange(paths []string, names bool) change {
	c := change{names: names}
	seen := make(map[changedFile]bool)
	for _, p := range paths {
		f := newChangedFile(p)
		if urlpath.IsHidden(f.name) || seen[f] {
			continue
		}
		seen[f] = true

		// Of a directory, resources below it are looked for one by one.
		if !f.isDir {
			for _, path := range urlpath.PathsOf(f.name) {
				c.paths = append(c.paths, changedPath{urlpath.Canonical(path), len(c.files)})
			}
		}
		if names {
			dir := strings.TrimSuffix(path.Dir("/"+f.name), "/") + "/"
			c.paths = append(c.paths, changedPath{ListingOf(urlpath.Canonical(dir)), len(c.files)})
		}
		c.files = append(c.files, f)
	}
	return c
}

func (c *change) isEmpty() bool { return len(c.files) == 0 }

// updateFor returns what the change means to a page that does not report what it uses.
func (c *change) updateFor(p *page) update {
	if c.reloadAll != nil {
		return update{reload: c.reloadAll}
	}
	if m := c.shownBy(p); m != nil {
		return update{reload: m}
	}
	return update{assets: c.assets}
}

// shownBy returns the message for a changed file that the page shows; nil if there is
// none.
func (c *change) shownBy(p *page) *reloadMessage {
	if !p.located {
		return c.reloadUnlocated
	}
	for _, name := range p.files {
		if m := c.reloadShown[name]; m != nil {
			return m
		}
	}
	return nil
}

// A changedFile is a file or directory relative to the root.
type changedFile struct {
	name  string // "" is the root
	isDir bool   // the directory changed as a whole
}

// newChangedFile parses a path that may begin or end with a slash, and be "." or "/"
// for the root.
func newChangedFile(p string) changedFile {
	name := path.Clean("/" + p)[1:]
	return changedFile{name, name == "" || strings.HasSuffix(p, "/")}
}

// title returns the name as messages have it.
func (f changedFile) title() string {
	if f.isDir && f.name != "" {
		return f.name + "/"
	}
	return f.name
}

// path returns the path of the resource that is the file itself.
func (f changedFile) path() string {
	return urlpath.Canonical("/" + f.title())
}

// kind goes by the name. A directory that changed as a whole may have files of any
// kind in it, so it counts as something that pages load.
func (f changedFile) kind() filetype.Kind {
	if f.isDir {
		return filetype.Resource
	}
	return filetype.Of(f.name).Kind
}

// rank is the order in which our client fetches files: what it fetches again in place,
// style sheets first, then all else, as filetype.Resource. It fetches more kinds of images
// in place than livereload-js.
func (f changedFile) rank() filetype.Kind {
	if k := f.kind(); k >= filetype.StyleSheet {
		return k
	}
	return filetype.Resource
}

// A changedPath is the path of a resource that a changed file may affect: one at which it
// is shown, or when names came or went the list of its directory.
type changedPath struct {
	path string
	file int // index in change.files
}

const hiddenExplanation = "none: hidden files are not served"

// Explain says, for people, which pages a change of a file's content affects and what
// it does to them, as far as the file's name decides that. The path is as in
// Hub.Refresh.
func Explain(path string) string {
	f := newChangedFile(path)
	if urlpath.IsHidden(f.name) {
		return hiddenExplanation
	}

	const others = "every page that does not say what it uses"
	if f.isDir {
		return "those that use or show something in it are loaded again, and so is " + others
	}
	switch f.kind() {
	case filetype.Document:
		return "those that show or use it are loaded again: " + strings.Join(urlpath.PathsOf(f.name), " ")
	case filetype.NotLoaded:
		return "those that show or use it are loaded again"
	case filetype.ModernImage:
		return "those that use it fetch it again in place, and " + others + " is loaded again"
	case filetype.Resource:
		return "those that use it are loaded again, and so is " + others
	}
	return "those that use it fetch it again in place, and so does " + others
}

// ExplainNames is Explain for a name that comes or goes, or a file that can be read or
// not any more. The path is as in Hub.Recheck.
func ExplainNames(path string) string {
	if urlpath.IsHidden(newChangedFile(path).name) {
		return hiddenExplanation
	}
	return "those that use or show it say when it is gone or cannot be read, and have it when it can; lists of its directory are loaded again"
}
