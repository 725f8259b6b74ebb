package httpd

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"
	"syscall"

	"github.com/execlog/execlogd/httpd/internal/filetype"
	"github.com/execlog/execlogd/httpd/internal/inject"
	"github.com/execlog/execlogd/httpd/internal/urlpath"
)

// serveFile answers a request for what lies beneath the root.
func (s *handler) serveFile(w http.ResponseWriter, r *http.Request) {
	// Other sites have no business embedding what is being worked on;
	// a server on the next port of this machine does.
	w.Header().Set("Cross-Origin-Resource-Policy", "same-site")
	if s.live {
		w.Header().Set("Cache-Control", "no-cache")
	}
	name, slash, ok := urlpath.FileName(r.URL.Path)
	if !ok || strings.Contains(strings.ToLower(r.URL.EscapedPath()), "%2f") {
		s.serveMissing(w, r)
		return
	}
	f, err := s.find(name, slash)
	if err != nil {
		s.serveError(w, r, err)
		return
	}
	defer f.Close()
	switch {
	case !f.IsDir():
		s.serveContent(w, r, f)
	case slash:
		s.serveDir(w, r, name, f)
	default:
		redirectToDir(w, r)
	}
}

// find opens what a request means by name: the file, or the file with .html
// appended, as links without it are common.
func (s *handler) find(name string, slash bool) (*file, error) {
	f, err := s.open(name)
	if errors.Is(err, fs.ErrNotExist) && !slash {
		if page, pageErr := s.openRegular(name + ".html"); pageErr == nil {
			return page, nil
		}
	}
	if err == nil && slash && !f.IsDir() {
		f.Close()
		return nil, notFound(name)
	}
	return f, err
}

// serveDir answers with the directory's index page, or else with a list of
// what is in it. An index page that is there but cannot be read is an error:
// its directory was not meant to be listed.
func (s *handler) serveDir(w http.ResponseWriter, r *http.Request, name string, dir *file) {
	index, err := s.openRegular(path.Join(name, urlpath.Index))
	switch {
	case err == nil:
		defer index.Close()
		s.serveContent(w, r, index)
	case errors.Is(err, fs.ErrNotExist):
		s.serveListing(w, r, name, dir)
	default:
		s.serveError(w, r, err)
	}
}

// redirectToDir adds the slash that makes a directory's relative links work.
// The redirect is relative, so that it survives a proxy's path prefix and
// cannot lead to another host, and temporary, since the directory may be a
// file tomorrow.
func redirectToDir(w http.ResponseWriter, r *http.Request) {
	to := url.URL{Path: "./" + path.Base(r.URL.Path) + "/", RawQuery: r.URL.RawQuery}
	w.Header().Set("Location", to.String())
	w.WriteHeader(http.StatusFound)
}

// serveContent answers with a regular file, with the script in it when it is
// a page. http.ServeContent sees to ranges and conditions.
func (s *handler) serveContent(w http.ResponseWriter, r *http.Request, f *file) {
	head, err := f.head()
	if err != nil {
		s.serveError(w, r, err)
		return
	}
	s.noteServed(r.URL.Path, f)
	guarded := f.guarded(w)
	defer guarded.end()
	h := w.Header()
	h.Set("Content-Type", contentType(f.name, head))
	page, injected := s.inject(h, r, f, head, badgeOf(r))
	if injected {
		modified := f.setValidators(h, "-"+badgeOf(r).String())
		http.ServeContent(guarded, r, "", modified, page)
		return
	}
	http.ServeContent(guarded, r, "", f.setValidators(h, ""), f.content)
}

// head makes the content ready to be sent, and returns what deciding about a file
// takes: nothing where the name says it all, else enough to find the place for
// the script.
func (f *file) head() ([]byte, error) {
	if err := f.load(); err != nil {
		return nil, err
	}
	if known := filetype.Of(f.name).ContentType; known != "" && known != "text/html" {
		return nil, nil
	}
	head := make([]byte, min(f.Size(), inject.ScanLimit))
	n, err := f.content.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	return head[:n], nil
}

// inject returns f with element spliced in, when f is a page, pages get the
// script and the request is for a page to be shown.
func (s *handler) inject(h http.Header, r *http.Request, f *file, head []byte, b badge) (io.ReadSeeker, bool) {
	if !s.injects || !strings.HasPrefix(h.Get("Content-Type"), "text/html") {
		return nil, false
	}
	h.Add("Vary", "Sec-Fetch-Dest")
	off, ok := inject.Offset(head)
	if !ok || !isNavigation(r) {
		return nil, false
	}
	s.checkPolicies(f, head)
	return inject.Splice(f.content, f.Size(), int64(off), b.element(r)), true
}

// isNavigation says whether a response will be shown as a page. What a script
// fetches is a fragment to be put into one. Clients that do not say are taken
// for old browsers.
func isNavigation(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Dest") {
	case "", "document", "iframe", "frame", "embed", "object":
		return true
	}
	return false
}

// serveError answers for an error of opening or reading.
func (s *handler) serveError(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, fs.ErrPermission):
		s.noteTry(r)
		refuse(w, http.StatusForbidden, "this file may not be read by the server")
	case errors.Is(err, fs.ErrClosed):
		refuse(w, http.StatusServiceUnavailable, "the server is stopping")
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		s.logLimited(s.log, noDescriptor, "path", clip(r.URL.Path), "err", err)
		refuse(w, http.StatusServiceUnavailable, "the server has too many files open")
	case errors.Is(err, errChanging):
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusServiceUnavailable, "this file is being written")
	case errors.Is(err, syscall.EIO):
		s.logLimited(s.log, fileUnreadable, "path", clip(r.URL.Path), "err", err)
		refuse(w, http.StatusInternalServerError, "this file cannot be read")
	default: // not there, a name that is none, or a link that leads out
		s.serveMissing(w, r)
	}
}

// serveMissing answers 404: to a browser that wants a page with the site's
// 404.html, or a page of our own, in either case one that reloads.
func (s *handler) serveMissing(w http.ResponseWriter, r *http.Request) {
	s.noteTry(r)
	if !isNavigation(r) {
		w.Header().Add("Vary", "Sec-Fetch-Dest")
		refuse(w, http.StatusNotFound, "not found")
		return
	}
	f, err := s.openRegular(urlpath.NotFound)
	if err != nil {
		b := badgeOf(r)
		b.missing = true
		s.serveOwnPage(w, r, http.StatusNotFound, b, missingTemplate, nil)
		return
	}
	defer f.Close()
	head, err := f.head()
	if err != nil {
		refuse(w, http.StatusNotFound, "not found")
		return
	}
	s.noteServed("/"+urlpath.NotFound, f)
	guarded := f.guarded(w)
	defer guarded.end()
	w.Header().Set("Content-Type", contentType(urlpath.NotFound, head))
	b := badgeOf(r)
	b.missing = true
	content, ok := s.inject(w.Header(), r, f, head, b)
	if !ok {
		content = io.NewSectionReader(f.content, 0, f.Size())
	}
	writeWhole(guarded, r, http.StatusNotFound, content)
}

// writeWhole answers with a status for which there are no ranges and
// conditions.
func writeWhole(w http.ResponseWriter, r *http.Request, code int, content io.ReadSeeker) {
	size, err := content.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = content.Seek(0, io.SeekStart)
	}
	if err != nil {
		refuse(w, http.StatusInternalServerError, "this file cannot be read")
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(size))
	w.WriteHeader(code)
	if r.Method != http.MethodHead {
		io.CopyN(w, content, size) // an error here is the client's departure
	}
}

// serveOwnPage answers with a page of our own.
func (s *handler) serveOwnPage(w http.ResponseWriter, r *http.Request, code int, b badge, page *pageTemplate, about any) {
	var element template.HTML
	var status template.URL
	if s.live && isNavigation(r) {
		element = template.HTML(b.element(r))
		status = template.URL(wayUp(r) + statusPath[1:] + "/")
	}
	text, err := page.render(about, element, status)
	if err != nil {
		s.logLimited(s.log, pageNotRendered, "path", clip(r.URL.Path), "err", err)
		refuse(w, http.StatusInternalServerError, "this page cannot be rendered")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Add("Vary", "Sec-Fetch-Dest")
	writeWhole(w, r, code, bytes.NewReader(text))
}
