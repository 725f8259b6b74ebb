// Package filetype holds the one table of file types: how a file is served, and
// what a change of it means to the pages that use it.
package filetype

import (
	"bytes"
	"cmp"
	"mime"
	"net/http"
	"path"
	"strings"
	"unicode/utf8"
)

// A Kind says how pages use the files of a type, and so what a change of such a
// file means to a page.
type Kind int

const (
	NotLoaded   Kind = iota // pages do not load such files; a page that shows the file reloads
	Document                // a page that shows the file reloads
	StyleSheet              // fetched again in place
	Image                   // fetched again in place
	ModernImage             // fetched again in place by our client; pages with livereload-js, which cannot do that, reload
	Resource                // a page that loads the file reloads
)

// A Type is what is known of the files with one extension.
type Type struct {
	ContentType string // "" leaves it to the machine's tables or the content
	Kind        Kind
}

// types is the table, by extension in lower case with its dot.
//
// The content types cover what the web is made of, so that a machine without
// tables of its own serves it right. Text is declared as UTF-8 where a browser
// would otherwise assume an older encoding; JSON, SVG and other XML name their
// encoding themselves.
var types = map[string]Type{
	".apng":        {"image/apng", ModernImage},
	".atom":        {"application/atom+xml", Resource},
	".avif":        {"image/avif", ModernImage},
	".bmp":         {"image/bmp", ModernImage},
	".cjs":         {"text/javascript; charset=utf-8", Resource},
	".css":         {"text/css; charset=utf-8", StyleSheet},
	".csv":         {"text/csv; charset=utf-8", Resource},
	".cur":         {"", Resource},
	".flac":        {"audio/flac", Resource},
	".geojson":     {"application/geo+json", Resource},
	".gif":         {"image/gif", Image},
	".glb":         {"model/gltf-binary", Resource},
	".gltf":        {"model/gltf+json", Resource},
	".gz":          {"application/gzip", NotLoaded},
	".htm":         {"text/html", Document},
	".html":        {"text/html", Document},
	".ico":         {"image/x-icon", ModernImage},
	".jpeg":        {"image/jpeg", Image},
	".jpg":         {"image/jpeg", Image},
	".js":          {"text/javascript; charset=utf-8", Resource},
	".json":        {"application/json", Resource},
	".jsonc":       {"", Resource},
	".jsonl":       {"", Resource},
	".jsonld":      {"application/ld+json", Resource},
	".jsx":         {"text/javascript; charset=utf-8", Resource},
	".jxl":         {"image/jxl", Resource},
	".less":        {"", Resource},
	".m4a":         {"audio/mp4", Resource},
	".m4v":         {"video/mp4", Resource},
	".map":         {"application/json", NotLoaded},
	".md":          {"text/plain; charset=utf-8", Resource},
	".mjs":         {"text/javascript; charset=utf-8", Resource},
	".mov":         {"video/quicktime", Resource},
	".mp3":         {"audio/mpeg", Resource},
	".mp4":         {"video/mp4", Resource},
	".ndjson":      {"", Resource},
	".oga":         {"audio/ogg", Resource},
	".ogg":         {"audio/ogg", Resource},
	".ogv":         {"video/ogg", Resource},
	".opus":        {"audio/ogg", Resource},
	".otf":         {"font/otf", Resource},
	".pdf":         {"application/pdf", Resource},
	".png":         {"image/png", Image},
	".rss":         {"application/rss+xml", Resource},
	".svg":         {"image/svg+xml", ModernImage},
	".tar":         {"application/x-tar", NotLoaded},
	".toml":        {"text/plain; charset=utf-8", Resource},
	".topojson":    {"", Resource},
	".tsv":         {"text/tab-separated-values; charset=utf-8", Resource},
	".ttf":         {"font/ttf", Resource},
	".txt":         {"text/plain; charset=utf-8", Resource},
	".vtt":         {"text/vtt; charset=utf-8", Resource},
	".wasm":        {"application/wasm", Resource},
	".wav":         {"audio/wav", Resource},
	".weba":        {"", Resource},
	".webm":        {"video/webm", Resource},
	".webmanifest": {"application/manifest+json", Resource},
	".webp":        {"image/webp", ModernImage},
	".woff":        {"font/woff", Resource},
	".woff2":       {"font/woff2", Resource},
	".xhtml":       {"application/xhtml+xml", Document},
	".xml":         {"application/xml", Resource},
	".xsl":         {"application/xslt+xml", Resource},
	".xslt":        {"", Resource},
	".yaml":        {"text/plain; charset=utf-8", Resource},
	".yml":         {"text/plain; charset=utf-8", Resource},
	".zip":         {"application/zip", NotLoaded},
}

// Of returns the type of a file by its name. The zero Type is an unknown one.
func Of(name string) Type {
	return types[strings.ToLower(path.Ext(name))]
}

// ContentType returns the Content-Type of a file: by its name, else by the machine's
// tables, else by how its content begins. cut says that there is more of the file
// than head.
func ContentType(name string, head []byte, cut bool) string {
	known := Of(name).ContentType
	if known == "" {
		known = cmp.Or(mime.TypeByExtension(path.Ext(name)), http.DetectContentType(head))
	}
	if !strings.HasPrefix(known, "text/html") {
		return known
	}

	// A page is declared as UTF-8 if it is, unless it names an encoding where browsers
	// look for one: the header would overrule the page.
	start := bytes.ToLower(head[:min(len(head), 1024)])
	if bytes.Contains(start, []byte("charset")) || bytes.Contains(start, []byte("encoding")) || !startsUTF8(head, cut) {
		return "text/html"
	}
	return "text/html; charset=utf-8"
}

// IsXMLPage reports whether a Content-Type is of XML that browsers show as a page whose
// scripts run.
func IsXMLPage(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	return kind == "application/xhtml+xml" || kind == "image/svg+xml"
}

// startsUTF8 reports whether head is UTF-8, apart from a last character that is cut.
func startsUTF8(head []byte, cut bool) bool {
	missing := 0
	if cut {
		missing = utf8.UTFMax - 1
	}
	for n := range missing + 1 {
		if utf8.Valid(head[:max(0, len(head)-n)]) {
			return true
		}
	}
	return false
}
