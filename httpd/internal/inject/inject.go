// Package inject puts an element into pages in HTML, XHTML and SVG as they are sent. The page's own
// bytes are not touched.
package inject

import (
	"bytes"
	"io"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// ScanLimit is how many bytes at the start of a page are looked at. It leaves room
// for a licence in a comment ahead of the head, and for a LiveReload script at the
// end of all but the longest pages.
const ScanLimit = 256 << 10

// Offset returns where in a page the element goes, given the first [ScanLimit]
// bytes of the page or all of them: behind the start tag of head, else of html,
// else behind the doctype, else at the start, behind a byte order mark. ok is false
// for a page that must be left alone: one in UTF-16, one that brings a LiveReload
// client itself, and one where the element would come ahead of a doctype.
func Offset(head []byte) (off int, ok bool) {
	if isUTF16(head) || hasLiveReload(head, false) {
		return 0, false
	}

	start := len(head) - len(bytes.TrimPrefix(head, []byte("\ufeff")))
	off = start
	z := html.NewTokenizer(bytes.NewReader(head[start:]))
	for at := start; ; {
		token := z.Next()
		raw := z.Raw()
		at += len(raw)

		switch token {
		case html.DoctypeToken:
			if raw[len(raw)-1] != '>' {
				return 0, false // it does not end, and would swallow the element
			}
			off = at
		case html.CommentToken:
		case html.TextToken:
			if len(bytes.Trim(raw, " \t\n\f\r")) > 0 {
				return off, true // text begins the body
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			switch name, _ := z.TagName(); string(name) {
			case "head":
				return at, true
			case "html":
				off = at
			default:
				return off, true // anything else is in the head or the body
			}
		case html.ErrorToken:
			// Behind ScanLimit bytes of comments there may be a doctype.
			return off, off > start || len(head) < ScanLimit
		default:
			return off, true
		}
	}
}

// OffsetXML is [Offset] for a page in XML: the element goes behind the start tag of the
// root element, or of a head that is the first thing in it. ok is false as well for what
// has no such tag, or a root element that is empty.
func OffsetXML(head []byte) (off int, ok bool) {
	if isUTF16(head) || hasLiveReload(head, true) {
		return 0, false
	}

	rest := bytes.TrimPrefix(head, []byte("\ufeff"))
	for {
		rest = bytes.TrimLeft(rest, " \t\r\n")
		end := -1
		switch {
		case bytes.HasPrefix(rest, []byte("<?")):
			end = endOf(rest, "?>")
		case bytes.HasPrefix(rest, []byte("<!--")):
			end = endOf(rest, "-->")
		case bytes.HasPrefix(rest, []byte("<!DOCTYPE")): // nothing else may be there before the root element
			end = endOfTag(rest)
		default:
			name, root := startTag(rest)
			if root < 0 {
				return 0, false
			}
			off = len(head) - len(rest) + root
			if name == "html" {
				inner := bytes.TrimLeft(rest[root:], " \t\r\n")
				if name, end := startTag(inner); name == "head" && end >= 0 {
					off = len(head) - len(inner) + end
				}
			}
			return off, true
		}
		if end < 0 {
			return 0, false
		}
		rest = rest[end:]
	}
}

// endOf returns the offset behind the first mark in text, or -1.
func endOf(text []byte, mark string) int {
	if at := bytes.Index(text, []byte(mark)); at >= 0 {
		return at + len(mark)
	}
	return -1
}

// startTag returns the name of the start tag in XML with which text begins, and the
// offset behind it. It is -1 if there is none, it is not whole, or its element is empty.
func startTag(text []byte) (name string, end int) {
	end = endOfTag(text)
	if end < 0 || text[0] != '<' || !isNameStart(text[1]) || text[end-2] == '/' {
		return "", -1
	}
	name = string(text[1:end])
	return name[:strings.IndexAny(name, " \t\r\n>")], end
}

// isNameStart reports whether a name in XML may begin with a byte.
func isNameStart(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c == ':' || c >= 0x80
}

// endOfTag returns the offset behind a tag or a declaration, whose values may have > in
// them, and whose declarations in brackets tags of their own. It is -1 if there is no end.
func endOfTag(text []byte) int {
	quote, inside := byte(0), 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case inside > 0 && bytes.HasPrefix(text[i:], []byte("<!--")):
			end := endOf(text[i:], "-->")
			if end < 0 {
				return -1
			}
			i += end - 1
		case c == '"' || c == '\'':
			quote = c
		case c == '[':
			inside++
		case c == ']':
			inside--
		case c == '>' && inside <= 0:
			return i + 1
		}
	}
	return -1
}

// isUTF16 recognises UTF-16 by its byte order mark or, as the first character
// of a page is an ASCII one, by a zero byte among the first two.
func isUTF16(head []byte) bool {
	mark := string(head[:min(len(head), 2)])
	return mark == "\xfe\xff" || mark == "\xff\xfe" || len(mark) == 2 && strings.Contains(mark, "\x00")
}

// hasLiveReload reports whether a page has a script element that loads a LiveReload
// client. In XML a script element may be empty, so tags are looked for in scripts too.
func hasLiveReload(head []byte, isXML bool) bool {
	// Few pages mention the word at all, so few are read tag by tag.
	if !bytes.Contains(head, []byte("livereload")) {
		return false
	}

	z := html.NewTokenizer(bytes.NewReader(head))
	for {
		switch z.Next() {
		case html.ErrorToken:
			return false
		case html.StartTagToken, html.SelfClosingTagToken:
			tag := z.Token()
			if isXML {
				z.NextIsNotRawText()
			}
			i := slices.IndexFunc(tag.Attr, func(a html.Attribute) bool { return a.Key == "src" })
			if tag.Data != "script" || i < 0 {
				continue
			}
			src, _, _ := strings.Cut(tag.Attr[i].Val, "#")
			src, _, _ = strings.Cut(src, "?")
			if strings.HasSuffix(src, "livereload.js") || strings.HasSuffix(src, "livereload.min.js") {
				return true
			}
		}
	}
}

// Splice returns a file of that size with an element put into it at off. It needs no
// memory for the file, whatever its size.
func Splice(file io.ReaderAt, size, off int64, element string) *io.SectionReader {
	return io.NewSectionReader(splice{file, off, element}, 0, size+int64(len(element)))
}

// A splice is an endless file with an element put into it.
type splice struct {
	file    io.ReaderAt
	off     int64 // of the element
	element string
}

// ReadAt reads from the file before the element, from the element, and from the
// file behind it, as far as p goes.
func (s splice) ReadAt(p []byte, at int64) (n int, err error) {
	end := s.off + int64(len(s.element))
	for n < len(p) && err == nil {
		rest, got := p[n:], 0
		switch pos := at + int64(n); {
		case pos < s.off:
			got, err = s.file.ReadAt(rest[:min(int64(len(rest)), s.off-pos)], pos)
		case pos < end:
			got = copy(rest, s.element[pos-s.off:])
		default:
			got, err = s.file.ReadAt(rest, pos-int64(len(s.element)))
		}
		n += got
	}
	return n, err
}
