package httpd

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/execlog/execlogd/httpd/internal/compress"
	"github.com/execlog/execlogd/httpd/internal/filetype"
)

// Files are compressed, and nothing else. The length of a compressed answer tells somebody who
// can choose a part of it what the rest is like (BREACH). The status page has secrets; a file has
// none that its reader does not know, and the token in the script is none. What an upstream
// sends is handed back as it is: it is neither compressed nor decompressed.

// Sizes of files that are compressed; bytes. A smaller one goes into one packet anyway.
const (
	minCompressed = 1 << 10
	maxCompressed = 8 << 20
)

// encodedShare is which part of Options.CacheBytes there is for compressed content, beside
// what there is for files.
const encodedShare = 4

// An encoded is the content of a file by a content coding.
type encoded struct {
	coding string
	text   []byte
	file   *file // that has it, in place of text; nil for none
}

// encode returns the content of a file, which answers a request and has an ETag, by the
// coding that the client likes best; nil for none. ok is false if the client takes none that
// there is.
func (s *handler) encode(h http.Header, r *http.Request, f *file, content *io.SectionReader) (e *encoded, ok bool) {
	if !s.mayEncode(h) {
		return nil, true
	}
	addVary(h, "Accept-Encoding")
	codings, identity := compress.Accepted(r.Header["Accept-Encoding"])
	if s.opts.Precompressed && f.script.element == "" {
		for _, coding := range codings {
			if g := s.precompressed(f, coding); g != nil {
				return &encoded{coding: coding, file: g}, true
			}
		}
	}

	pays := content.Size() >= minCompressed || !identity
	if !s.opts.Compress || len(codings) == 0 || !pays || content.Size() > maxCompressed {
		return nil, identity
	}
	key := encodedKey{h.Get("ETag"), f.script.element, codings[0]}
	text, ok := s.encodings.of(key, func() ([]byte, bool) {
		all, err := io.ReadAll(io.NewSectionReader(content, 0, content.Size()))
		if err != nil || !f.whole && !f.isUnchanged() {
			return nil, false
		}
		return compress.Compress(key.coding, all), true
	})
	if !ok {
		return nil, identity // who sends it as it is sees the same
	}
	if identity && int64(len(text)) >= content.Size() {
		return nil, true
	}
	return &encoded{coding: key.coding, text: text}, true
}

// mayEncode reports whether an answer may be compressed.
func (s *handler) mayEncode(h http.Header) bool {
	return (s.opts.Compress || s.opts.Precompressed) && h.Get("ETag") != "" && filetype.Compresses(h.Get("Content-Type")) &&
		!strings.Contains(strings.ToLower(h.Get("Cache-Control")), "no-transform")
}

// precompressed returns the file beside another that has its content by a coding; nil if
// there is none that is at least as new.
func (s *handler) precompressed(f *file, coding string) *file {
	g, err := s.openRegular(f.name + compress.Extensions[coding])
	if err != nil {
		return nil
	}
	if g.ModTime().Before(f.ModTime()) || g.load() != nil || !g.whole && isFresh(g.FileInfo, longestWrite) {
		g.Close()
		return nil
	}
	return g
}

// serveEncoded answers with the content of a file by a coding. Ranges are of content without
// one alone.
func (s *handler) serveEncoded(w http.ResponseWriter, r *http.Request, f *file, e *encoded, variant string) {
	h := w.Header()
	h.Set("Content-Encoding", e.coding)
	r = withConditions(r, variant != "")
	if r.Header["Range"] != nil {
		r.Header.Del("Range") // of a copy: see withConditions
	}
	suffix := "-" + e.coding
	if g := e.file; g != nil {
		defer g.Close()
		modified := g.setValidators(h, suffix)
		http.ServeContent(checkedWriter{encodedWriter{w, g.Size()}, g}, r, "", modified, g.content)
		return
	}
	modified := f.setValidators(h, variant+suffix)
	http.ServeContent(encodedWriter{w, int64(len(e.text))}, r, "", modified, bytes.NewReader(e.text))
}

// An encodedWriter completes the header that http.ServeContent makes for content that has a
// coding.
type encodedWriter struct {
	http.ResponseWriter
	size int64
}

// WriteHeader implements http.ResponseWriter.
func (w encodedWriter) WriteHeader(code int) {
	h := w.Header()
	h.Del("Accept-Ranges")
	if code == http.StatusOK {
		h.Set("Content-Length", strconv.FormatInt(w.size, 10))
	} else {
		h.Del("Content-Encoding")
	}
	w.ResponseWriter.WriteHeader(code)
}

// Unwrap is for http.ResponseController.
func (w encodedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// encodings are compressed contents that were asked for lately. The ETag of the content
// without a coding says which it is, so that one that has changed is not found.
type encodings struct {
	maxBytes int64

	mu     sync.Mutex
	texts  map[encodedKey][]byte
	bytes  int64
	making map[encodedKey]func() ([]byte, bool) // what is being compressed, for all who ask for it
}

// An encodedKey tells contents apart. The URL in a script element depends on the path at which
// the page is shown, and the ETag does not.
type encodedKey struct{ etag, script, coding string }

// of returns a content that is kept, or else has it made, once for all who ask meanwhile.
func (e *encodings) of(key encodedKey, compress func() ([]byte, bool)) (text []byte, ok bool) {
	e.mu.Lock()
	if text, ok = e.texts[key]; ok {
		e.mu.Unlock()
		return text, true
	}
	made := e.making[key]
	if made == nil {
		made = sync.OnceValues(compress)
		if e.making == nil {
			e.making = make(map[encodedKey]func() ([]byte, bool))
		}
		e.making[key] = made
	}
	e.mu.Unlock()

	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.making, key)
	}()
	if text, ok = made(); ok {
		e.add(key, text)
	}
	return text, ok
}

// add adds a content, in place of others, whichever, if there is no room.
func (e *encodings) add(key encodedKey, text []byte) {
	cost := costOf(key, text)
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.texts[key]; ok || cost > e.maxBytes {
		return
	}
	if e.texts == nil {
		e.texts = make(map[encodedKey][]byte)
	}
	for other, text := range e.texts {
		if e.bytes+cost <= e.maxBytes {
			break
		}
		delete(e.texts, other)
		e.bytes -= costOf(other, text)
	}
	e.texts[key] = text
	e.bytes += cost
}

// costOf is what a content is taken to need. The URL in a script element is as long as the
// path of a request has it.
func costOf(key encodedKey, text []byte) int64 {
	return int64(len(text)+len(key.script)) + fileCost/4
}
