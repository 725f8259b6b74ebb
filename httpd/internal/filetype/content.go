package filetype

import (
	"bytes"
	"cmp"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"
)

// ContentType returns the Content-Type of a file: by its name, else by the machine's
// tables, else by how its content begins. cut says that there is more of the file
// than head.
func ContentType(name string, head []byte, cut bool) string {
	known := Of(name).ContentType
	if known == "" {
		known = cmp.Or(mime.TypeByExtension(Extension(name)), http.DetectContentType(head))
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
