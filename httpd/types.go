package httpd

import (
	"bytes"
	"mime"
	"net/http"
	"path"
	"strings"
	"unicode/utf8"
)

// types has what the web is made of, so that a bare machine serves it right.
// Text is said to be UTF-8 where a browser would otherwise take it for
// something older; JSON, SVG and other XML say themselves what they are.
var types = map[string]string{
	".apng":        "image/apng",
	".atom":        "application/atom+xml",
	".avif":        "image/avif",
	".bmp":         "image/bmp",
	".cjs":         "text/javascript; charset=utf-8",
	".css":         "text/css; charset=utf-8",
	".csv":         "text/csv; charset=utf-8",
	".flac":        "audio/flac",
	".geojson":     "application/geo+json",
	".gif":         "image/gif",
	".glb":         "model/gltf-binary",
	".gltf":        "model/gltf+json",
	".gz":          "application/gzip",
	".htm":         "text/html",
	".html":        "text/html",
	".ico":         "image/x-icon",
	".jpeg":        "image/jpeg",
	".jpg":         "image/jpeg",
	".js":          "text/javascript; charset=utf-8",
	".json":        "application/json",
	".jsonld":      "application/ld+json",
	".jsx":         "text/javascript; charset=utf-8",
	".jxl":         "image/jxl",
	".m4a":         "audio/mp4",
	".m4v":         "video/mp4",
	".map":         "application/json",
	".md":          "text/plain; charset=utf-8",
	".mjs":         "text/javascript; charset=utf-8",
	".mov":         "video/quicktime",
	".mp3":         "audio/mpeg",
	".mp4":         "video/mp4",
	".oga":         "audio/ogg",
	".ogg":         "audio/ogg",
	".ogv":         "video/ogg",
	".opus":        "audio/ogg",
	".otf":         "font/otf",
	".pdf":         "application/pdf",
	".png":         "image/png",
	".rss":         "application/rss+xml",
	".svg":         "image/svg+xml",
	".tar":         "application/x-tar",
	".toml":        "text/plain; charset=utf-8",
	".tsv":         "text/tab-separated-values; charset=utf-8",
	".ttf":         "font/ttf",
	".txt":         "text/plain; charset=utf-8",
	".vtt":         "text/vtt; charset=utf-8",
	".wasm":        "application/wasm",
	".wav":         "audio/wav",
	".webm":        "video/webm",
	".webmanifest": "application/manifest+json",
	".webp":        "image/webp",
	".woff":        "font/woff",
	".woff2":       "font/woff2",
	".xhtml":       "application/xhtml+xml",
	".xml":         "application/xml",
	".xsl":         "application/xslt+xml",
	".yaml":        "text/plain; charset=utf-8",
	".yml":         "text/plain; charset=utf-8",
	".zip":         "application/zip",
}

func extension(name string) string {
	return strings.ToLower(path.Ext(name))
}

func knownType(name string) bool {
	return types[extension(name)] != ""
}

func isHTML(name string) bool {
	return types[extension(name)] == "text/html"
}

// contentType names the type of a file by its name, or else by the machine's
// tables, or else by how it begins.
func contentType(name string, head []byte) string {
	if isHTML(name) {
		return htmlType(head)
	}
	if known := types[extension(name)]; known != "" {
		return known
	}
	guess := mime.TypeByExtension(extension(name))
	if guess == "" {
		guess = http.DetectContentType(head)
	}
	if strings.HasPrefix(guess, "text/html") {
		return htmlType(head)
	}
	return guess
}

// htmlType leaves the encoding to a page that names one, where a browser looks
// for it: the header would overrule the page. Any other page is said to be
// UTF-8, as it has been for decades, when it can be.
func htmlType(head []byte) string {
	start := bytes.ToLower(head[:min(len(head), 1024)])
	if bytes.Contains(start, []byte("charset")) || bytes.Contains(start, []byte("encoding")) || !mostlyUTF8(head) {
		return "text/html"
	}
	return "text/html; charset=utf-8"
}

// mostlyUTF8 says whether head is UTF-8, but for a character that the limit of
// reading cuts.
func mostlyUTF8(head []byte) bool {
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
