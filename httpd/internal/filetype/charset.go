package filetype

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/html"
)

// declarationLimit is how many bytes of a page browsers look through for its charset.
const declarationLimit = 1024

// declaresCharset reports whether a page says in what encoding it is where browsers look
// for that (HTML, 13.2.3.2): in a meta element or, as in XML, at the start. The word
// alone, in a text or a comment, is none.
func declaresCharset(page []byte) bool {
	page = page[:min(len(page), declarationLimit)]
	if _, declaration, isXML := bytes.Cut(page, []byte("<?xml")); isXML && bytes.HasPrefix(page, []byte("<?xml")) {
		declaration, _, _ = bytes.Cut(declaration, []byte(">"))
		if bytes.Contains(declaration, []byte("encoding")) {
			return true
		}
	}

	z := html.NewTokenizer(bytes.NewReader(page))
	for {
		switch z.Next() {
		case html.ErrorToken:
			return false // the end, or a tag that does not end in what browsers read
		case html.StartTagToken, html.SelfClosingTagToken:
			name, more := z.TagName()
			isMeta := string(name) == "meta"
			z.NextIsNotRawText() // browsers look for tags before they know of scripts
			if isMeta && more && isDeclaration(z) {
				return true
			}
		}
	}
}

// isDeclaration reports whether the meta element that a tokenizer is in declares a charset.
func isDeclaration(z *html.Tokenizer) bool {
	var isType, hasCharset bool
	for more := true; more; {
		var name, value []byte
		name, value, more = z.TagAttr()
		switch text := strings.ToLower(string(value)); string(name) {
		case "charset":
			return true
		case "http-equiv":
			isType = text == "content-type"
		case "content":
			_, after, found := strings.Cut(text, "charset")
			hasCharset = found && strings.HasPrefix(strings.TrimSpace(after), "=")
		}
	}
	return isType && hasCharset
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
