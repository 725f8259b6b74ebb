package httpd

import (
	"encoding/json"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// An effect is what the change of a file means to pages. A larger one comes
// first among the messages for a page.
type effect int

const (
	nothing  effect = iota // no page loads such files; loaded again where it is shown
	image                  // fetched again in place, on every page
	style                  // fetched again in place, on every page
	document               // loaded again where it is shown
	resource               // every page is loaded again
)

// effects is by extension. Where there is a choice, the stock client has made
// it: of images it swaps these four kinds, and goes by the extension.
var effects = effectsOf(map[effect]string{
	image:    "gif jpeg jpg png",
	style:    "css",
	document: "htm html xhtml",
	resource: "apng atom avif bmp cjs cur csv flac geojson glb gltf ico js json jsonc jsonl jsonld jsx jxl less m4a m4v md " +
		"mjs mov mp3 mp4 ndjson oga ogg ogv opus otf pdf rss svg toml topojson tsv ttf txt vtt wasm wav weba webm " +
		"webmanifest webp woff woff2 xml xsl xslt yaml yml",
})

func effectsOf(lists map[effect]string) map[string]effect {
	byExtension := make(map[string]effect)
	for e, list := range lists {
		for extension := range strings.FieldsSeq(list) {
			byExtension["."+extension] = e
		}
	}
	return byExtension
}

// maxAssets bounds how many files a page is told to fetch in place. With
// more, loading the page again is less work for everybody.
const maxAssets = 32

// A message is a reload command of the protocol, ready to be sent. Messages
// are shared between browsers and never changed.
type message struct {
	path string
	text []byte
}

// A change is one decision about a set of files that changed: it says what any
// page is to be told.
type change struct {
	everyone *message            // all pages are loaded again; nil: not so
	shown    map[string]*message // by path beneath the root: pages that show it are loaded again
	unplaced *message            // for pages that may show any of these documents
	assets   []message           // for the rest: style sheets, then images
}

// newChange decides what the changed paths, relative to the root, mean.
func newChange(paths []string) change {
	var c change
	var styles, images []message
	for _, p := range paths {
		name, isDir := cleanPath(p)
		if strings.Contains("/"+name, "/.") {
			continue // hidden files are not served
		}
		switch e := effectOf(name, isDir); e {
		case style:
			styles = addAsset(styles, name)
		case image:
			images = addAsset(images, name)
		case resource:
			c.everyone = reloadOnce(c.everyone, name)
		case document:
			c.unplaced = reloadOnce(c.unplaced, name)
			c.addShown(name)
		case nothing:
			c.addShown(name)
		}
	}
	c.assets = append(styles, images...)
	if len(c.assets) > maxAssets || slices.ContainsFunc(c.assets, unspeakable) {
		c.everyone = reloadOnce(c.everyone, c.assets[0].path[1:])
	}
	return c
}

// Explain says, for people, which pages the change of a file concerns and
// what it does to them, as far as the file's name decides it. The path is as
// in Server.Refresh.
func Explain(path string) string {
	name, isDir := cleanPath(path)
	switch {
	case strings.Contains("/"+name, "/."):
		return "no page: hidden files are not served"
	}
	switch effectOf(name, isDir) {
	case style, image:
		return "every page fetches it again in place"
	case document:
		return "the pages that show it are loaded again: " + strings.Join(showing(name), " ")
	case resource:
		return "every page is loaded again"
	}
	return "no page, unless one shows it: pages do not load such files"
}

// showing lists the URL paths under which a document is shown.
func showing(name string) []string {
	urls := []string{"/" + name}
	if stem, ok := strings.CutSuffix(name, ".html"); ok {
		urls = append(urls, "/"+stem)
	}
	if dir, ok := strings.CutSuffix("/"+name, "/"+indexPage); ok {
		urls = append(urls, dir+"/")
		if dir != "" {
			urls = append(urls, dir)
		}
	}
	return urls
}

// cleanPath brings a path that may come with a slash at either end, and as
// "." for the root, into one form: "" is the root.
func cleanPath(p string) (name string, isDir bool) {
	name = path.Clean("/" + p)[1:]
	return name, name == "" || strings.HasSuffix(p, "/")
}

// effectOf goes by the name. What is in a directory that changed as a whole is
// anybody's guess.
func effectOf(name string, isDir bool) effect {
	if isDir {
		return resource
	}
	return effects[extension(name)]
}

// addShown notes a file that concerns those pages alone that are known to
// show it.
func (c *change) addShown(name string) {
	if c.shown == nil {
		c.shown = make(map[string]*message)
	}
	c.shown[name] = new(newMessage(name, false))
}

func addAsset(assets []message, name string) []message {
	if slices.ContainsFunc(assets, func(m message) bool { return m.path[1:] == name }) {
		return assets
	}
	return append(assets, newMessage(name, true))
}

func reloadOnce(m *message, name string) *message {
	if m == nil {
		m = new(newMessage(name, false))
	}
	return m
}

// newMessage is a reload command for a file. Its path is the URL's path
// decoded: clients compare it with what they have decoded themselves. In
// place or not is said aloud, since a client would go by the extension.
func newMessage(name string, inPlace bool) message {
	command := struct {
		Command string `json:"command"`
		Path    string `json:"path"`
		LiveCSS bool   `json:"liveCSS"`
		LiveImg bool   `json:"liveImg"`
	}{"reload", "/" + name, inPlace, inPlace}
	text, err := json.Marshal(command)
	if err != nil {
		panic(err) // a struct of strings and bools
	}
	return message{path: "/" + name, text: text}
}

// unspeakable reports a path that JSON cannot carry.
func unspeakable(m message) bool {
	return !utf8.ValidString(m.path)
}

func (c *change) empty() bool {
	return c.everyone == nil && c.unplaced == nil && len(c.shown) == 0 && len(c.assets) == 0
}

// update is what the change means to one page.
func (c *change) update(p page) update {
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
func (c *change) shownBy(p page) *message {
	if !p.placed {
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
	placed bool     // it is known which file it shows
	files  []string // those it may show, by path beneath the root; one at least when placed
}

// newPage places a page by its URL as the browser sees it. host is the Host by
// which the browser reached us: a page from elsewhere cannot be placed, but
// for a file: page beneath directory, which is absolute, or "" where no files
// are served.
func newPage(href, host, directory string) page {
	u, err := url.Parse(href)
	if err != nil {
		return page{}
	}
	switch u.Scheme {
	case "http", "https":
		if directory != "" && sameHost(u.Scheme, u.Host, host) {
			return page{placed: true, files: filesOf(u.Path)}
		}
	case "file":
		rel, err := filepath.Rel(directory, u.Path)
		if err == nil && directory != "" && filepath.IsLocal(rel) {
			return page{placed: true, files: []string{rel}}
		}
	}
	return page{}
}

// filesOf lists the files that a URL path may show, in the order of find and
// serveDir.
func filesOf(urlPath string) []string {
	clean := path.Clean("/" + urlPath)[1:]
	switch {
	case clean == "":
		return []string{indexPage}
	case strings.HasSuffix(urlPath, "/"):
		return []string{clean + "/" + indexPage}
	default:
		return []string{clean, clean + ".html", clean + "/" + indexPage}
	}
}
