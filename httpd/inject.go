package httpd

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"golang.org/x/net/html"
)

// scanLimit is how much of a page is looked at. It leaves room for a licence
// in a comment ahead of the head, and for a LiveReload script at the end of
// all but the longest pages.
const scanLimit = 256 << 10

// insertionPoint says where in a page the script element goes, given how the
// page begins: behind the start tag of head, else of html, else behind the
// doctype, else at the start, behind a byte order mark. It is not ok when the page is in UTF-16 or has
// a LiveReload script already.
func insertionPoint(head []byte) (off int, ok bool) {
	if isUTF16(head) || hasLiveScript(head) {
		return 0, false
	}
	start := 0
	if bytes.HasPrefix(head, []byte("\ufeff")) {
		start = len("\ufeff")
	}
	off = start
	z := html.NewTokenizer(bytes.NewReader(head[start:]))
	for at := start; ; {
		token := z.Next()
		raw := z.Raw()
		at += len(raw)
		switch placeOf(z, token, raw) {
		case behind:
			off = at
		case last:
			return at, true
		case never:
			return 0, false
		case stop:
			// Where even the limit has not shown a doctype, one may follow.
			return off, token != html.ErrorToken || off > start || len(head) < scanLimit
		}
	}
}

// A place is what a token says about where the element goes.
type place int

const (
	skip   place = iota // no better than before; go on
	behind              // behind this token, unless something better comes
	last                // behind this token
	stop                // from here on everything is in the head or the body
	never               // nowhere: a doctype that does not end would swallow it
)

func placeOf(z *html.Tokenizer, token html.TokenType, raw []byte) place {
	switch token {
	case html.DoctypeToken:
		if raw[len(raw)-1] != '>' {
			return never
		}
		return behind
	case html.CommentToken:
		return skip
	case html.TextToken:
		if len(bytes.Trim(raw, " \t\n\f\r")) == 0 {
			return skip
		}
	case html.StartTagToken, html.SelfClosingTagToken:
		switch name, _ := z.TagName(); string(name) {
		case "html":
			return behind
		case "head":
			return last
		}
	}
	return stop
}

// isUTF16 recognises UTF-16 by its byte order mark or, as the first character
// of a page is an ASCII one, by a zero byte among the first two.
func isUTF16(head []byte) bool {
	if len(head) < 2 {
		return false
	}
	return head[0] == 0xfe && head[1] == 0xff || head[0] == 0xff && head[1] == 0xfe ||
		head[0] == 0 || head[1] == 0
}

// hasLiveScript says whether a page brings a LiveReload client itself. Few
// pages mention the word at all, so few are read tag by tag.
func hasLiveScript(head []byte) bool {
	if !bytes.Contains(head, []byte("livereload")) {
		return false
	}
	z := html.NewTokenizer(bytes.NewReader(head))
	for {
		switch z.Next() {
		case html.ErrorToken:
			return false
		case html.StartTagToken, html.SelfClosingTagToken:
			if isLiveScript(z.Token()) {
				return true
			}
		}
	}
}

func isLiveScript(tag html.Token) bool {
	if tag.Data != "script" {
		return false
	}
	for _, attr := range tag.Attr {
		if attr.Key == "src" {
			src, _, _ := strings.Cut(attr.Val, "#")
			src, _, _ = strings.Cut(src, "?")
			return strings.HasSuffix(src, "livereload.js") || strings.HasSuffix(src, "livereload.min.js")
		}
	}
	return false
}

// A splice is a file with an element put into it. It costs no memory for the
// file, whatever its size.
type splice struct {
	file    io.ReaderAt
	size    int64 // of the file
	off     int64 // of the element
	element string
	pos     int64
}

func newSplice(file io.ReaderAt, size, off int64, element string) *splice {
	return &splice{file: file, size: size, off: off, element: element}
}

// Read is io.Reader's.
func (s *splice) Read(p []byte) (int, error) {
	n, err := s.readAt(p, s.pos)
	s.pos += int64(n)
	return n, err
}

// readAt reads from one of the three parts.
func (s *splice) readAt(p []byte, pos int64) (int, error) {
	behind := s.off + int64(len(s.element))
	switch {
	case pos < s.off:
		return s.readFile(p, pos, s.off)
	case pos < behind:
		return copy(p, s.element[pos-s.off:]), nil
	default:
		return s.readFile(p, pos-int64(len(s.element)), s.size)
	}
}

// readFile reads the file from pos, not further than end.
func (s *splice) readFile(p []byte, pos, end int64) (int, error) {
	if pos >= end {
		return 0, io.EOF
	}
	n, err := s.file.ReadAt(p[:min(int64(len(p)), end-pos)], pos)
	if n > 0 {
		err = nil
	}
	return n, err
}

// Seek is io.Seeker's.
func (s *splice) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.pos
	case io.SeekEnd:
		offset += s.size + int64(len(s.element))
	}
	if offset < 0 {
		return 0, errors.New("seek before the start")
	}
	s.pos = offset
	return offset, nil
}
