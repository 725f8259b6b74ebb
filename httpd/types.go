package httpd

import (
	"bytes"
	"cmp"
	"mime"
	"net/http"
	"path"
	"strings"
	"unicode/utf8"
)

// A fileType is what the server knows of the files with one extension.
type fileType struct {
	contentType string // "" leaves it to the machine's tables or the content
	kind        fileKind
}

// types is the one table of file types, by extension. Serving a file and
// refreshing pages after a change both read it.
//
// The content types cover what the web is made of, so that a machine without
// tables of its own serves it right. Text is declared as UTF-8 where a browser
// would otherwise assume an older encoding; JSON, SVG and other XML name their
// encoding themselves.
var types = map[string]fileType{
	".apng":        {"image/apng", modernImage},
	".atom":        {"application/atom+xml", resource},
	".avif":        {"image/avif", modernImage},
	".bmp":         {"image/bmp", modernImage},
	".cjs":         {"text/javascript; charset=utf-8", resource},
	".css":         {"text/css; charset=utf-8", styleSheet},
	".csv":         {"text/csv; charset=utf-8", resource},
	".cur":         {"", resource},
	".flac":        {"audio/flac", resource},
	".geojson":     {"application/geo+json", resource},
	".gif":         {"image/gif", image},
	".glb":         {"model/gltf-binary", resource},
	".gltf":        {"model/gltf+json", resource},
	".gz":          {"application/gzip", notLoaded},
	".htm":         {"text/html", document},
	".html":        {"text/html", document},
	".ico":         {"image/x-icon", modernImage},
	".jpeg":        {"image/jpeg", image},
	".jpg":         {"image/jpeg", image},
	".js":          {"text/javascript; charset=utf-8", resource},
	".json":        {"application/json", resource},
	".jsonc":       {"", resource},
	".jsonl":       {"", resource},
	".jsonld":      {"application/ld+json", resource},
	".jsx":         {"text/javascript; charset=utf-8", resource},
	".jxl":         {"image/jxl", resource},
	".less":        {"", resource},
	".m4a":         {"audio/mp4", resource},
	".m4v":         {"video/mp4", resource},
	".map":         {"application/json", notLoaded},
	".md":          {"text/plain; charset=utf-8", resource},
	".mjs":         {"text/javascript; charset=utf-8", resource},
	".mov":         {"video/quicktime", resource},
	".mp3":         {"audio/mpeg", resource},
	".mp4":         {"video/mp4", resource},
	".ndjson":      {"", resource},
	".oga":         {"audio/ogg", resource},
	".ogg":         {"audio/ogg", resource},
	".ogv":         {"video/ogg", resource},
	".opus":        {"audio/ogg", resource},
	".otf":         {"font/otf", resource},
	".pdf":         {"application/pdf", resource},
	".png":         {"image/png", image},
	".rss":         {"application/rss+xml", resource},
	".svg":         {"image/svg+xml", modernImage},
	".tar":         {"application/x-tar", notLoaded},
	".toml":        {"text/plain; charset=utf-8", resource},
	".topojson":    {"", resource},
	".tsv":         {"text/tab-separated-values; charset=utf-8", resource},
	".ttf":         {"font/ttf", resource},
	".txt":         {"text/plain; charset=utf-8", resource},
	".vtt":         {"text/vtt; charset=utf-8", resource},
	".wasm":        {"application/wasm", resource},
	".wav":         {"audio/wav", resource},
	".weba":        {"", resource},
	".webm":        {"video/webm", resource},
	".webmanifest": {"application/manifest+json", resource},
	".webp":        {"image/webp", modernImage},
	".woff":        {"font/woff", resource},
	".woff2":       {"font/woff2", resource},
	".xhtml":       {"application/xhtml+xml", document},
	".xml":         {"application/xml", resource},
	".xsl":         {"application/xslt+xml", resource},
	".xslt":        {"", resource},
	".yaml":        {"text/plain; charset=utf-8", resource},
	".yml":         {"text/plain; charset=utf-8", resource},
	".zip":         {"application/zip", notLoaded},
}

func extension(name string) string {
	return strings.ToLower(path.Ext(name))
}

// typeOf looks up a file's type by its name. The zero fileType is an unknown
// one.
func typeOf(name string) fileType {
	return types[extension(name)]
}

// contentType returns the Content-Type of a file: by its name, else by the
// machine's tables, else by how its content begins.
func contentType(name string, head []byte) string {
	known := typeOf(name).contentType
	if known == "" {
		known = cmp.Or(mime.TypeByExtension(extension(name)), http.DetectContentType(head))
	}
	if strings.HasPrefix(known, "text/html") {
		return htmlType(head)
	}
	return known
}

// htmlType declares a page as UTF-8 if it is, unless the page names an encoding
// where browsers look for one: the header would overrule the page.
func htmlType(head []byte) string {
	start := bytes.ToLower(head[:min(len(head), 1024)])
	if bytes.Contains(start, []byte("charset")) || bytes.Contains(start, []byte("encoding")) || !startsUTF8(head) {
		return "text/html"
	}
	return "text/html; charset=utf-8"
}

// startsUTF8 reports whether head is UTF-8, apart from a last character that
// scanLimit may have cut.
func startsUTF8(head []byte) bool {
	cut := 0
	if len(head) == scanLimit {
		cut = utf8.UTFMax - 1
	}

	for n := range cut + 1 {
		if utf8.Valid(head[:len(head)-n]) {
			return true
		}
	}
	return false
}
