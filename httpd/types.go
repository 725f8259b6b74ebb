package httpd

import (
	"bytes"
	"cmp"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/execlog/execlogd/httpd/internal/filetype"
	"github.com/execlog/execlogd/httpd/internal/inject"
)

// contentType returns the Content-Type of a file: by its name, else by the
// machine's tables, else by how its content begins.
func contentType(name string, head []byte) string {
	known := filetype.Of(name).ContentType
	if known == "" {
		known = cmp.Or(mime.TypeByExtension(filetype.Extension(name)), http.DetectContentType(head))
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
// inject.ScanLimit may have cut.
func startsUTF8(head []byte) bool {
	cut := 0
	if len(head) == inject.ScanLimit {
		cut = utf8.UTFMax - 1
	}

	for n := range cut + 1 {
		if utf8.Valid(head[:len(head)-n]) {
			return true
		}
	}
	return false
}
