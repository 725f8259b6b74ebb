package inject

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

const element = `<script src="livereload.js?port=&amp;path=livereload?x" async></script>`

// An asterisk in a row marks where the element goes; a row without one is
// left alone.
func TestOffset(t *testing.T) {
	long := strings.Repeat("x", ScanLimit)
	tests := []struct{ name, page string }{
		{"a whole page", "<!doctype html><html><head>*<title>t</title></head><body></body></html>"},
		{"upper case", "<!DOCTYPE HTML><HTML LANG=en><HEAD>*<TITLE>T</TITLE></HEAD></HTML>"},
		{"head with attributes", `<html><head prefix="og: x" data-x='<head>'>*<meta charset=utf-8>`},
		{"head over lines", "<html\n>\n<head\n>*\n</head>"},
		{"no head", "<!doctype html><html lang=en>*<title>t</title><p>hi"},
		{"no html", "<!doctype html>*<title>t</title><p>hi"},
		{"no doctype", "*<title>t</title><p>hi"},
		{"text alone", "*hello"},
		{"an empty page", "*"},
		{"white space alone", "* \n"},
		{"head without html", "<!doctype html><head>*<title>t"},
		{"body without head", "<!doctype html><html>*<body><p>hi</body></html>"},
		{"text ahead of head is body", "*hello <head>"},
		{"an end tag first", "*</head><p>"},
		{"a frameset", "<html>*<frameset></frameset></html>"},
		{"a comment ahead of the doctype", "<!-- c --><!doctype html>*<p>"},
		{"a comment behind the doctype", "<!doctype html>*<!-- c --><p>"},
		{"an XML declaration", `<?xml version="1.0"?><!doctype html><html><head>*<title>`},
		{"a comment that holds a head", "<!-- <html><head> --><html><!--<head>--><head>*</head>"},
		{"a comment for old Explorers", "<!doctype html><!--[if IE]><html class=ie><![endif]--><html>*<p>"},
		{"a comment without end", "*<!-- <head> <!doctype html>"},
		{"a doctype without end", "<!doctype html"},
		{"an attribute that holds a head", `<html data-a="<head>" data-b='</head>'><head>*`},
		{"a title that holds a head", "*<title><head></title><head>"},
		{"a textarea that holds a head", "*<textarea><head></textarea>"},
		{"a script that holds a head", `*<script>"</head><head>"</script><head>`},
		{"a byte order mark", "\ufeff*<p>hi"},
		{"a byte order mark and a doctype", "\ufeff<!doctype html>*<p>hi"},
		{"bytes of Latin-1", "<html><head>*<title>\xe9t\xe9</title>"},
		{"UTF-16, little end first", "\xff\xfe<\x00h\x00t\x00m\x00l\x00>\x00"},
		{"UTF-16, big end first", "\xfe\xff\x00<\x00h\x00t\x00m\x00l\x00>"},
		{"UTF-16 without a mark", "<\x00h\x00t\x00m\x00l\x00>\x00"},
		{"a head cut off", "<html>*<head cla"},
		{"a script of the page's own", `<head><script src="/livereload.js"></script>`},
		{"with a query", `<head><script src="http://localhost:35729/livereload.js?snipver=1"></script>`},
		{"minified", `<body><script defer src=js/livereload.min.js></script>`},
		{"with a z", `<SCRIPT SRC="/zlivereload.js"></SCRIPT>`},
		{"only mentioned in text", "<head>*</head><p>livereload.js</p>"},
		{"only mentioned in a comment", `<head>*<!-- <script src="/livereload.js"></script> -->`},
		{"only mentioned in a script", `<head>*<script>"<script src='/livereload.js'>"</script>`},
		{"another script", `<head>*<script src="/livereload.js.map"></script><script src="a.js?livereload.js">`},
		{"a comment beyond the limit", "<!--" + long + "--><!doctype html>"},
		{"a doctype, then a comment beyond the limit", "<!doctype html>*<!--" + long + "--><html><head>"},
		{"a long page", "<html><head>*</head><body>" + long},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, _, want := strings.Cut(tt.page, "*")
			page := strings.Replace(tt.page, "*", "", 1)
			off, ok := Offset([]byte(page[:min(len(page), ScanLimit)]))
			switch {
			case ok != want:
				t.Errorf("injected: %v, want %v", ok, want)
			case ok && off != len(before):
				t.Errorf("got  %.80q\nwant %.80q", page[:off]+"*"+page[off:], tt.page)
			}
		})
	}
}

// The same for XML.
func TestOffsetXML(t *testing.T) {
	tests := []struct{ name, page string }{
		{"XHTML", `<?xml version="1.0"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml"><head>*<title>t</title></head></html>`},
		{"a head on a line of its own", "<html\n>\n  <head>*\n<title/>"},
		{"no head", `<html xmlns="http://www.w3.org/1999/xhtml">*<body/></html>`},
		{"an empty head", `<html>*<head/><body/></html>`},
		{"a header is no head", `<html>*<header></header></html>`},
		{"SVG", `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1">*<path/></svg>`},
		{"SVG with a prefix", `<s:svg xmlns:s="http://www.w3.org/2000/svg">*<s:g/></s:svg>`},
		{"a style sheet and a comment first", `<?xml-stylesheet href="a>b.css"?><!-- <svg> --><svg>*<g/></svg>`},
		{"a mark and white space", "\ufeff\n <svg>*</svg>"},
		{"a value with a tag", `<svg a="<x>" b='>'>*</svg>`},
		{"a document type with declarations", `<!DOCTYPE svg PUBLIC "-//W3C//DTD" "a>b" [<!ENTITY x "]>"> <!-- ' ]> --> <!ELEMENT y ANY>]> <svg>*</svg>`},
		{"an empty root element", `<svg xmlns="x"/>`},
		{"a script of the page's own", `<svg><script href="x"/><script src="/livereload.js"/></svg>`},
		{"text", "hello"},
		{"a tag that does not end", "<svg a='>"},
		{"a comment that does not end", "<!-- <svg>"},
		{"a declaration outside of a document type", "<!ENTITY a 'b'><svg></svg>"},
		{"an empty declaration", "<!><svg></svg>"},
		{"an end tag", "</svg>"},
		{"a sign", "<"},
		{"nothing between", "<>"},
		{"nothing", ""},
		{"UTF-16", "\xff\xfe<\x00s\x00v\x00g\x00>\x00"},
	}
	for _, tt := range tests {
		before, _, want := strings.Cut(tt.page, "*")
		page := strings.Replace(tt.page, "*", "", 1)
		off, ok := OffsetXML([]byte(page))
		if ok != want || ok && off != len(before) {
			t.Errorf("%s: %q: got %d, %v, want %d, %v", tt.name, page, off, ok, len(before), want)
		}
	}
}

// FuzzOffsetXML: what was well-formed XML still is, with the element as the first child of
// the root element or of its head.
func FuzzOffsetXML(f *testing.F) {
	const element = `<script xmlns="http://www.w3.org/1999/xhtml" src="livereload.js?port=&amp;path=livereload?x" async="async"></script>`
	for _, seed := range []string{
		"<svg/>", "<svg></svg>", "<html><head>x</head></html>", "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]><a b='>'>&#60;</a>",
		"<!-- a --><a\n>b</a >", "<a><head/></a>", "\ufeff<a></a>", "<html> <head ></head></html>", "<a:b xmlns:a='c'></a:b>",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, page string) {
		off, ok := OffsetXML([]byte(page))
		depths, wellFormed := depthOfScripts(page)
		if !ok || !wellFormed {
			return
		}
		got, still := depthOfScripts(page[:off] + element + page[off:])
		if !still || len(got) != len(depths)+1 || got[0] != 1 && got[0] != 2 {
			t.Errorf("%q: with the element at %d well-formed: %v, scripts at depths %v", page, off, still, got)
		}
	})
}

// depthOfScripts returns in how many elements each script element in XML is.
func depthOfScripts(page string) (depths []int, wellFormed bool) {
	d := xml.NewDecoder(strings.NewReader(page))
	for depth := 0; ; {
		token, err := d.Token()
		switch token := token.(type) {
		case xml.StartElement:
			if token.Name.Local == "script" {
				depths = append(depths, depth)
			}
			depth++
		case xml.EndElement:
			depth--
		}
		if err != nil {
			return depths, err == io.EOF
		}
	}
}

func injected(t testing.TB, page string) (result string, ok bool) {
	t.Helper()
	off, ok := Offset([]byte(page[:min(len(page), ScanLimit)]))
	if !ok {
		return page, false
	}
	all, err := io.ReadAll(Splice(strings.NewReader(page), int64(len(page)), int64(off), element))
	if err != nil {
		t.Fatal(err)
	}
	return string(all), true
}

// scriptIsInHead says whether a browser would find the element in the head.
// The byte order mark is for its decoder.
func scriptIsInHead(page string) bool {
	doc, err := html.Parse(strings.NewReader(strings.TrimPrefix(page, "\ufeff")))
	if err != nil {
		return false
	}
	for n := range doc.Descendants() {
		if n.Data == "script" && n.Parent != nil && n.Parent.Data == "head" &&
			len(n.Attr) == 2 && n.Attr[0].Val == "livereload.js?port=&path=livereload?x" {
			return true
		}
	}
	return false
}

// FuzzInject: whatever the page, its bytes are all there, and the element is
// where it works: no comment, script or attribute swallows it, and no doctype
// comes behind it.
func FuzzInject(f *testing.F) {
	for _, seed := range []string{
		"", "<p>hi", "<!doctype html><html><head></head></html>", "<!-- <head> --><HEAD>", "<script>'</head>'</script>",
		"<!--", "<!doctype html", "<html a='<head>'>", "\ufeff<title><head></title>", "<?xml?><!doctype><html/><head/>",
		"<!--><!doctype html>", "<!-- --!><head>", "<svg><head>", "<template><head>", "<plaintext><head>", "<frameset>",
		"\x00<head>", "<html>\x00<head>", "</br><head>", "<noscript><head>",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, page string) {
		result, ok := injected(t, page)
		if !ok {
			if result != page {
				t.Errorf("%q was changed to %q", page, result)
			}
			return
		}
		off, _ := Offset([]byte(page))
		if result[:off]+result[off+len(element):] != page {
			t.Errorf("%q lost bytes: %q", page, result)
		}
		if !scriptIsInHead(result) {
			t.Errorf("%q: no script in the head of %q", page, result)
		}
		if !isRealTag(result, off) {
			t.Errorf("%q: the element is no tag in %q", page, result)
		}
		if quirks(page) != quirks(result) {
			t.Errorf("%q: the doctype counts differently in %q", page, result)
		}
	})
}

// isRealTag reads the page again and says whether a script tag starts at off.
func isRealTag(page string, off int) bool {
	z := html.NewTokenizer(strings.NewReader(page))
	for at := 0; ; {
		token := z.Next()
		if token == html.ErrorToken {
			return false
		}
		if at == off {
			return token == html.StartTagToken && strings.HasPrefix(page[at:], string(z.Raw())) && bytes.HasPrefix(z.Raw(), []byte("<script"))
		}
		at += len(z.Raw())
	}
}

// quirks says whether a parser saw no doctype.
func quirks(page string) bool {
	doc, err := html.Parse(strings.NewReader(strings.TrimPrefix(page, "\ufeff")))
	if err != nil {
		return false
	}
	for n := range doc.ChildNodes() {
		if n.Type == html.DoctypeNode {
			return false
		}
	}
	return true
}

// TestSplice reads and seeks as http.ServeContent does, at every offset.
func TestSplice(t *testing.T) {
	const file, element = "0123456789", "<script>"
	for off := range len(file) + 1 {
		want := file[:off] + element + file[off:]
		for from := range len(want) + 2 {
			s := Splice(strings.NewReader(file), int64(len(file)), int64(off), element)
			_, seekErr := s.Seek(int64(from), io.SeekStart)
			got, err := io.ReadAll(s)
			if seekErr != nil || err != nil || s.Size() != int64(len(want)) || string(got) != want[min(from, len(want)):] {
				t.Errorf("element at %d, from %d: got %q of %d bytes, %v %v", off, from, got, s.Size(), seekErr, err)
			}
		}
	}
}

func BenchmarkOffset(b *testing.B) {
	typical := "<!doctype html>\n<html lang=\"en\">\n<head>\n" + strings.Repeat("<p class=x>Some text with a <a href=y>link</a>.</p>\n", 400)
	pages := map[string]string{
		"typical": typical,
		"mention": typical + "livereload" + typical,
		"large":   strings.Repeat(typical, 20)[:ScanLimit],
	}
	for name, page := range pages {
		b.Run(name, func(b *testing.B) {
			head := []byte(page)
			b.SetBytes(int64(len(head)))
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := Offset(head); !ok {
					b.Fatal("left alone")
				}
			}
		})
	}
}
