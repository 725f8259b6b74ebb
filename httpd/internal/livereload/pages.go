package livereload

import (
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/execlog/execlogd/httpd/internal/filetype"
	"github.com/execlog/execlogd/httpd/internal/urlpath"
)

// maxAssets bounds how many files a page is told to fetch in place. With
// more, loading the page again is less work for everybody.
const maxAssets = 32

// A reloadMessage is a reload command of the protocol, ready to be sent. Messages
// are shared between browsers and never changed.
type reloadMessage struct {
	path  string
	frame []byte
}

// A change is one decision about a set of files that changed: it says what any
// page is to be told. The files are for pages that say what they use, the rest
// is for those that do not.
type change struct {
	files []changedFile
	paths []changedPath
	names bool  // they came or went, or may be read or not
	lost  bool  // there were too many files to remember
	when  int64 // ms since 1970, once it is remembered

	everyone *reloadMessage            // all pages are loaded again; nil: not so
	shown    map[string]*reloadMessage // by path beneath the root: pages that show it are loaded again
	unplaced *reloadMessage            // for pages that may show any of these documents
	assets   []reloadMessage           // for the rest: style sheets, then images
}

// A changedFile is a file or directory beneath the root.
type changedFile struct {
	name  string // "" is the root
	isDir bool
}

// A changedPath is a use that may lead to one of the files of a change, or, when
// names came or went, the list of the directory that it is in.
type changedPath struct {
	use  string
	file int // its index
}

func pathsOf(files []changedFile, names bool) (paths []changedPath) {
	for i, f := range files {
		for _, use := range f.shownAt() {
			paths = append(paths, changedPath{use, i})
		}
		if names {
			paths = append(paths, changedPath{listingPrefix + f.parent(), i})
		}
	}
	return paths
}

// changedFiles lists what is served of the paths, each once.
func changedFiles(paths []string) []changedFile {
	var files []changedFile
	seen := make(map[changedFile]bool)
	for _, p := range paths {
		name, isDir := cleanPath(p)
		f := changedFile{name, isDir}
		if urlpath.IsHidden(name) || seen[f] {
			continue // hidden files are not served
		}
		seen[f] = true
		files = append(files, f)
	}
	return files
}

// use is the path by which a page names the file itself.
func (f changedFile) use() string {
	return urlpath.Canonical("/" + f.title())
}

// title is the name as messages have it, beneath the root.
func (f changedFile) title() string {
	if f.isDir && f.name != "" {
		return f.name + "/"
	}
	return f.name
}

// shownAt lists the uses that may lead to the file.
func (f changedFile) shownAt() []string {
	if f.isDir {
		return nil
	}
	uses := urlpath.PathsOf(f.name)
	for i := range uses {
		uses[i] = urlpath.Canonical(uses[i])
	}
	return uses
}

// parent is the use of the directory that the file is in.
func (f changedFile) parent() string {
	dir := path.Dir("/" + f.name)
	if dir != "/" {
		dir += "/"
	}
	return urlpath.Canonical(dir)
}

// Our client fetches style sheets and images in place, in this order. It does so
// for more kinds of images than LiveReload.js.
const lastRank = 2

func (f changedFile) rank() int {
	if f.isDir {
		return lastRank
	}
	switch filetype.Of(f.name).Kind {
	case filetype.StyleSheet:
		return 0
	case filetype.Image, filetype.ModernImage:
		return 1
	}
	return lastRank
}

// newNameChange is the change of names that came or went.
func newNameChange(paths []string) change {
	c := change{files: changedFiles(paths), names: true}
	c.paths = pathsOf(c.files, true)
	return c
}

// newChange decides what the changed paths, relative to the root, mean.
func newChange(paths []string) change {
	c := change{files: changedFiles(paths)}
	c.paths = pathsOf(c.files, false)
	var styles, images []reloadMessage
	for _, f := range c.files {
		switch kindOf(f.name, f.isDir) {
		case filetype.StyleSheet:
			styles = append(styles, newReloadMessage(f.name, true))
		case filetype.Image:
			images = append(images, newReloadMessage(f.name, true))
		case filetype.Resource, filetype.ModernImage:
			c.everyone = reloadOnce(c.everyone, f.name)
		case filetype.Document:
			c.unplaced = reloadOnce(c.unplaced, f.name)
			c.addShown(f.name)
		case filetype.NotLoaded:
			c.addShown(f.name)
		}
	}
	c.assets = append(styles, images...)
	if len(c.assets) > maxAssets || slices.ContainsFunc(c.assets, unspeakable) {
		c.everyone = reloadOnce(c.everyone, c.assets[0].path[1:])
	}
	return c
}

// cleanPath brings a path that may come with a slash at either end, and as
// "." for the root, into one form: "" is the root.
func cleanPath(p string) (name string, isDir bool) {
	name = path.Clean("/" + p)[1:]
	return name, name == "" || strings.HasSuffix(p, "/")
}

// kindOf goes by the name. A directory that changed as a whole may hold any kind
// of file, so pages treat it as a resource.
func kindOf(name string, isDir bool) filetype.Kind {
	if isDir {
		return filetype.Resource
	}
	return filetype.Of(name).Kind
}

// addShown notes a file that concerns those pages alone that are known to
// show it.
func (c *change) addShown(name string) {
	if c.shown == nil {
		c.shown = make(map[string]*reloadMessage)
	}
	c.shown[name] = new(newReloadMessage(name, false))
}

func reloadOnce(m *reloadMessage, name string) *reloadMessage {
	if m == nil {
		m = new(newReloadMessage(name, false))
	}
	return m
}

// newReloadMessage is a reload command for a file. Its path is the URL's path
// decoded: clients compare it with what they have decoded themselves. In
// place or not is said aloud, since a client would go by the extension.
func newReloadMessage(name string, inPlace bool) reloadMessage {
	command := struct {
		Command string `json:"command"`
		Path    string `json:"path"`
		LiveCSS bool   `json:"liveCSS"`
		LiveImg bool   `json:"liveImg"`
	}{"reload", "/" + name, inPlace, inPlace}
	return reloadMessage{path: "/" + name, frame: marshal(command)}
}

// unspeakable reports a path that JSON cannot carry.
func unspeakable(m reloadMessage) bool {
	return !utf8.ValidString(m.path)
}

func (c change) isLost() bool { return c.lost }

func (c *change) empty() bool {
	return len(c.files) == 0
}

// updateFor is what the change means to a page that does not say what it uses.
func (c *change) updateFor(p *page) update {
	if c.everyone != nil {
		return update{reload: c.everyone}
	}
	if m := c.shownBy(p); m != nil {
		return update{reload: m}
	}
	return update{assets: c.assets}
}

// shownBy returns the message for a file that the page shows; nil: it shows
// none of those that changed.
func (c *change) shownBy(p *page) *reloadMessage {
	if !p.located {
		return c.unplaced
	}
	for _, name := range p.files {
		if m := c.shown[name]; m != nil {
			return m
		}
	}
	return nil
}

// A page is what is known of a page that is open in a browser. The zero page
// could be any.
type page struct {
	located bool     // it is known which file it shows
	files   []string // those it may show, by path beneath the root; one at least when placed

	// What a page says itself, in our protocol.
	reported bool        // all that it uses; the fields above do not matter then
	usesAll  bool        // it uses more than it may say
	size     int         // bytes of the paths in uses
	missing  bool        // what it shows is not what its URL names
	shows    []*resource // what it shows
	uses     []*resource // what else it uses

	showsIndex []int32 // where it is among the users of each
	usesIndex  []int32
}

// seat is where a page is among the users of what it has at a place; see
// user.at.
func (p *page) seat(at int32) *int32 {
	if at < 0 {
		return &p.showsIndex[^at]
	}
	return &p.usesIndex[at]
}

// reports says whether a page has uses that a ruling may be about.
func (p *page) reports() bool { return len(p.shows)+len(p.uses) > 0 }

// isBroken says whether loading the page again would show an error.
func (p *page) isBroken() bool {
	return len(p.shows) > 0 && p.shows[0].err != nil
}

// withoutError is an update without a reload into an error.
func (p *page) withoutError(u update) update {
	if u.reload != nil && p.isBroken() {
		return update{}
	}
	return u
}

// newPage places a page by its URL as the browser sees it. isOwn tells whether a
// page is of this server: a page from elsewhere cannot be placed, but
// for a file: page beneath directory, which is absolute, or "" where no files
// are served.
func newPage(href string, isOwn func(*url.URL) bool, directory string) page {
	u, err := url.Parse(href)
	if err != nil {
		return page{}
	}
	switch u.Scheme {
	case "http", "https":
		if directory != "" && isOwn(u) {
			return page{located: true, files: urlpath.FilesOf(u.Path)}
		}
	case "file":
		rel, err := filepath.Rel(directory, u.Path)
		if err == nil && directory != "" && filepath.IsLocal(rel) {
			return page{located: true, files: []string{rel}}
		}
	}
	return page{}
}
