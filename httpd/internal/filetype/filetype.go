// Package filetype holds the one table of file types: how a file is served, and
// what a change of it means to the pages that use it.
package filetype

import (
	"net/http"
	"path"
	"strings"
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
	ContentType string // "" leaves it to the content
	Kind        Kind
}

// types is the table, by extension in lower case with its dot.
//
// The content types cover what the web is made of, and the machine's own tables are
// not used, so that a file has one type everywhere. Text is declared as UTF-8 where a
// browser would otherwise assume an older encoding; JSON, SVG and other XML name their
// encoding themselves. Sources of programs and templates, some of which begin like HTML,
// are text.
var types = map[string]Type{
	".3gp":         {"video/3gpp", Resource},
	".7z":          {"application/x-7z-compressed", NotLoaded},
	".aac":         {"audio/aac", Resource},
	".apng":        {"image/apng", ModernImage},
	".astro":       {"text/plain; charset=utf-8", Resource},
	".atom":        {"application/atom+xml", Resource},
	".avi":         {"video/x-msvideo", Resource},
	".avif":        {"image/avif", ModernImage},
	".bmp":         {"image/bmp", ModernImage},
	".bz2":         {"application/x-bzip2", NotLoaded},
	".cjs":         {"text/javascript; charset=utf-8", Resource},
	".css":         {"text/css; charset=utf-8", StyleSheet},
	".csv":         {"text/csv; charset=utf-8", Resource},
	".cts":         {"text/javascript; charset=utf-8", Resource},
	".cur":         {"image/x-icon", Resource},
	".deb":         {"application/vnd.debian.binary-package", NotLoaded},
	".ejs":         {"text/plain; charset=utf-8", Resource},
	".eot":         {"application/vnd.ms-fontobject", Resource},
	".epub":        {"application/epub+zip", Resource},
	".flac":        {"audio/flac", Resource},
	".frag":        {"text/plain; charset=utf-8", Resource},
	".geojson":     {"application/geo+json", Resource},
	".gif":         {"image/gif", Image},
	".glb":         {"model/gltf-binary", Resource},
	".glsl":        {"text/plain; charset=utf-8", Resource},
	".gltf":        {"model/gltf+json", Resource},
	".gpx":         {"application/gpx+xml", Resource},
	".gz":          {"application/gzip", NotLoaded},
	".hbs":         {"text/plain; charset=utf-8", Resource},
	".hdr":         {"image/vnd.radiance", Resource},
	".heic":        {"image/heic", Resource},
	".heif":        {"image/heif", Resource},
	".htm":         {"text/html", Document},
	".html":        {"text/html", Document},
	".ico":         {"image/x-icon", ModernImage},
	".ics":         {"text/calendar; charset=utf-8", Resource},
	".jfif":        {"image/jpeg", Image},
	".jpeg":        {"image/jpeg", Image},
	".jpg":         {"image/jpeg", Image},
	".js":          {"text/javascript; charset=utf-8", Resource},
	".json":        {"application/json", Resource},
	".json5":       {"application/json", Resource},
	".jsonc":       {"application/json", Resource},
	".jsonl":       {"application/jsonl", Resource},
	".jsonld":      {"application/ld+json", Resource},
	".jsx":         {"text/javascript; charset=utf-8", Resource},
	".jxl":         {"image/jxl", Resource},
	".kml":         {"application/vnd.google-earth.kml+xml", Resource},
	".ktx2":        {"image/ktx2", Resource},
	".less":        {"text/plain; charset=utf-8", Resource},
	".liquid":      {"text/plain; charset=utf-8", Resource},
	".m3u8":        {"application/vnd.apple.mpegurl", Resource},
	".m4a":         {"audio/mp4", Resource},
	".m4s":         {"video/iso.segment", Resource},
	".m4v":         {"video/mp4", Resource},
	".map":         {"application/json", NotLoaded},
	".md":          {"text/plain; charset=utf-8", Resource},
	".mid":         {"audio/midi", Resource},
	".midi":        {"audio/midi", Resource},
	".mjs":         {"text/javascript; charset=utf-8", Resource},
	".mka":         {"audio/x-matroska", Resource},
	".mkv":         {"video/x-matroska", Resource},
	".mov":         {"video/quicktime", Resource},
	".mp3":         {"audio/mpeg", Resource},
	".mp4":         {"video/mp4", Resource},
	".mpd":         {"application/dash+xml", Resource},
	".mpeg":        {"video/mpeg", Resource},
	".mpg":         {"video/mpeg", Resource},
	".mtl":         {"model/mtl", Resource},
	".mts":         {"text/javascript; charset=utf-8", Resource},
	".mustache":    {"text/plain; charset=utf-8", Resource},
	".mvt":         {"application/vnd.mapbox-vector-tile", Resource},
	".ndjson":      {"application/x-ndjson", Resource},
	".njk":         {"text/plain; charset=utf-8", Resource},
	".obj":         {"model/obj", Resource},
	".oga":         {"audio/ogg", Resource},
	".ogg":         {"audio/ogg", Resource},
	".ogv":         {"video/ogg", Resource},
	".opus":        {"audio/ogg", Resource},
	".otf":         {"font/otf", Resource},
	".pbf":         {"application/x-protobuf", Resource},
	".pdf":         {"application/pdf", Resource},
	".pmtiles":     {"application/octet-stream", Resource},
	".png":         {"image/png", Image},
	".pug":         {"text/plain; charset=utf-8", Resource},
	".rss":         {"application/rss+xml", Resource},
	".shtml":       {"text/html", Document},
	".srt":         {"text/plain; charset=utf-8", Resource},
	".stl":         {"model/stl", Resource},
	".svelte":      {"text/plain; charset=utf-8", Resource},
	".svg":         {"image/svg+xml", ModernImage},
	".tar":         {"application/x-tar", NotLoaded},
	".tgz":         {"application/gzip", NotLoaded},
	".tif":         {"image/tiff", Resource},
	".tiff":        {"image/tiff", Resource},
	".tmpl":        {"text/plain; charset=utf-8", Resource},
	".toml":        {"text/plain; charset=utf-8", Resource},
	".topojson":    {"application/json", Resource},
	".tpl":         {"text/plain; charset=utf-8", Resource},
	".ts":          {"", Resource},
	".tsv":         {"text/tab-separated-values; charset=utf-8", Resource},
	".tsx":         {"text/javascript; charset=utf-8", Resource},
	".ttc":         {"font/collection", Resource},
	".ttf":         {"font/ttf", Resource},
	".txt":         {"text/plain; charset=utf-8", Resource},
	".usdz":        {"model/vnd.usdz+zip", Resource},
	".vcf":         {"text/vcard; charset=utf-8", Resource},
	".vert":        {"text/plain; charset=utf-8", Resource},
	".vtt":         {"text/vtt; charset=utf-8", Resource},
	".vue":         {"text/plain; charset=utf-8", Resource},
	".wasm":        {"application/wasm", Resource},
	".wav":         {"audio/wav", Resource},
	".weba":        {"audio/webm", Resource},
	".webm":        {"video/webm", Resource},
	".webmanifest": {"application/manifest+json", Resource},
	".webp":        {"image/webp", ModernImage},
	".wgsl":        {"text/plain; charset=utf-8", Resource},
	".woff":        {"font/woff", Resource},
	".woff2":       {"font/woff2", Resource},
	".xht":         {"application/xhtml+xml", Document},
	".xhtml":       {"application/xhtml+xml", Document},
	".xml":         {"application/xml", Resource},
	".xsd":         {"application/xml", Resource},
	".xsl":         {"application/xslt+xml", Resource},
	".xslt":        {"application/xslt+xml", Resource},
	".xz":          {"application/x-xz", NotLoaded},
	".yaml":        {"text/plain; charset=utf-8", Resource},
	".yml":         {"text/plain; charset=utf-8", Resource},
	".zip":         {"application/zip", NotLoaded},
	".zst":         {"application/zstd", NotLoaded},
}

// Of returns the type of a file by its name. The zero Type is an unknown one.
func Of(name string) Type {
	return types[strings.ToLower(path.Ext(name))]
}

// Types are content types by extension, in lower case with its dot, that take precedence
// over the table.
type Types map[string]string

// Of returns the content type of a file by its name; "" if that does not tell.
func (t Types) Of(name string) string {
	extension := strings.ToLower(path.Ext(name))
	if own, ok := t[extension]; ok {
		return own
	}
	return types[extension].ContentType
}

// Complete returns the Content-Type of a file of which known is what Types.Of returns: by
// how its content begins if that is "", and with the charset of a page. cut says that
// there is more of the file than head.
func Complete(known, name string, head []byte, cut bool) string {
	if known == "" {
		known = detect(name, head)
	}

	// A page is declared as UTF-8 if it is, unless it names an encoding where browsers
	// look for one: the header would overrule the page.
	if known == "text/html" && !declaresCharset(head) && startsUTF8(head, cut) {
		return "text/html; charset=utf-8"
	}
	return known
}

// detect returns the type of a file by how its content begins.
func detect(name string, head []byte) string {
	if strings.EqualFold(path.Ext(name), ".ts") {
		if isTransportStream(head) {
			return "video/mp2t"
		}
		return types[".js"].ContentType // TypeScript
	}
	switch found := http.DetectContentType(head); found {
	case "text/html; charset=utf-8":
		return "text/html"
	case "text/xml; charset=utf-8":
		return "application/xml" // which names its charset itself
	default:
		return found
	}
}

// isTransportStream reports whether a file is video (MPEG-2 TS) and not TypeScript, which
// has the same extension.
func isTransportStream(head []byte) bool {
	const packet, sync = 188, 0x47
	return len(head) >= packet && head[0] == sync && (len(head) == packet || head[packet] == sync)
}

// IsHTML reports whether a Content-Type is that of HTML.
func IsHTML(contentType string) bool { return mediaType(contentType) == "text/html" }

// IsXMLPage reports whether a Content-Type is of XML that browsers show as a page whose
// scripts run.
func IsXMLPage(contentType string) bool {
	kind := mediaType(contentType)
	return kind == "application/xhtml+xml" || kind == "image/svg+xml"
}

// mediaType returns a Content-Type in lower case, without its parameters.
func mediaType(contentType string) string {
	kind, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(kind))
}

// compressed are the media types whose content becomes much smaller, beside text, XML and
// JSON.
var compressed = map[string]bool{
	"application/javascript": true, "application/json": true, "application/jsonl": true, "application/toml": true,
	"application/vnd.ms-fontobject": true, "application/wasm": true, "application/x-ndjson": true, "application/xml": true,
	"application/yaml": true, "font/collection": true, "font/otf": true, "font/ttf": true, "image/bmp": true, "image/x-icon": true,
	"model/gltf-binary": true, "model/mtl": true, "model/obj": true,
}

// Compresses reports whether content of a type becomes much smaller by compression.
func Compresses(contentType string) bool {
	kind := mediaType(contentType)
	return strings.HasPrefix(kind, "text/") || strings.HasSuffix(kind, "+xml") || strings.HasSuffix(kind, "+json") || compressed[kind]
}
