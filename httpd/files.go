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
	"github.com/execlog/execlogd/httpd/internal/livereload"
	"github.com/execlog/execlogd/httpd/internal/urlpath"
)

// serveFile answers a request for a file or directory beneath the root.
func (s *handler) serveFile(w http.ResponseWriter, r *http.Request) {
	s.shareWith(w.Header(), r)
	if s.live {
		w.Header().Set("Cache-Control", "no-cache")
	}

	name, slash, ok := urlpath.FileName(r.URL.Path)
	if !ok || strings.Contains(strings.ToLower(r.URL.EscapedPath()), "%2f") {
		s.serveNotFound(w, r, fs.ErrNotExist)
		return
	}
	f, r, err := s.openComplete(r, name, slash)
	if err != nil {
		s.serveError(w, r, err)
		return
	}
	defer f.Close()

	switch {
	case !f.IsDir():
		s.serveContent(w, r, f)
	case slash:
		s.serveListing(w, r, name, f)
	default:
		redirectToDir(w, r)
	}
}

// openRequested opens what a URL path means: the file of that name, or the one with
// .html appended, as links without it are common. slash says that it means a
// directory.
func (s *handler) openRequested(name string, slash bool) (*file, error) {
	f, err := s.open(name)

	if errors.Is(err, fs.ErrNotExist) && !slash {
		if page, pageErr := s.openRegular(name + ".html"); pageErr == nil {
			return page, nil
		}
	}

	if err == nil && slash && !f.IsDir() {
		f.Close()
		return nil, fs.ErrNotExist
	}

	return f, err
}

// openShown is openRequested with the index page in place of its directory, if there is
// one. An index page that is there but cannot be read is an error: its directory is not
// meant to be listed.
func (s *handler) openShown(name string, slash bool) (*file, error) {
	f, err := s.openRequested(name, slash)
	if err != nil || !slash || !f.IsDir() {
		return f, err
	}

	index, err := s.openRegular(path.Join(name, urlpath.Index))
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	f.Close()
	return index, err
}

// redirectToDir adds the slash that makes a directory's relative links work. The
// redirect is relative, so that a proxy's path prefix does not break it and it cannot
// lead to another host. It is temporary, as the directory may be a file tomorrow.
func redirectToDir(w http.ResponseWriter, r *http.Request) {
	to := url.URL{Path: "./" + path.Base(r.URL.Path) + "/", RawQuery: r.URL.RawQuery}
	w.Header().Set("Location", to.String())
	w.WriteHeader(http.StatusFound)
}

// serveContent answers with a regular file, with the script in it if it is a page.
// http.ServeContent sees to ranges and conditions.
func (s *handler) serveContent(w http.ResponseWriter, r *http.Request, f *file) {
	content, variant, err := s.content(w.Header(), r, r.URL.Path, f, tokenOf(r))
	if err != nil {
		s.serveError(w, r, err)
		return
	}
	s.noteWorkerFetch(r)
	s.noteUse(r)
	http.ServeContent(checkedWriter{w, f}, r, "", f.setValidators(w.Header(), variant), content)
}

// content loads a file that answers a request for a URL path, and sets its Content-Type.
// It returns the content with the script element in it, and what tells it from other
// contents of the same file. The element is left out if the file is no page, if pages do
// not get the script, or if the request is not for a page to be shown.
func (s *handler) content(h http.Header, r *http.Request, urlPath string, f *file, token livereload.PageToken) (content *io.SectionReader, variant string, err error) {
	head, err := f.head()
	if err != nil {
		return nil, "", err
	}
	s.noteServed(urlPath, f)
	contentType := filetype.ContentType(f.name, head, int64(len(head)) < f.Size())
	h.Set("Content-Type", contentType)
	isXML := filetype.IsXMLPage(contentType)
	if !s.live || s.opts.NoInject || !isXML && !strings.HasPrefix(contentType, "text/html") {
		return f.content, "", nil
	}

	h.Add("Vary", "Sec-Fetch-Dest")
	if !isNavigation(r) {
		return f.content, "", nil
	}
	offset, element := inject.Offset, token.Element(r)
	if isXML {
		offset, element = inject.OffsetXML, token.ElementXML(r)
	}
	off, ok := offset(head)
	if !ok {
		return f.content, "", nil
	}
	s.checkPolicies(f, head)
	s.checkScript(r)
	return inject.Splice(f.content, f.Size(), int64(off), element), "-" + token.String(), nil
}

// head makes the content ready to be sent. It returns as much of its beginning as it
// takes to find the file's type and the place for the script: nothing if the name
// says that the file is no page.
func (f *file) head() ([]byte, error) {
	if err := f.load(); err != nil {
		return nil, err
	}
	if known := filetype.Of(f.name).ContentType; known != "" && known != "text/html" && !filetype.IsXMLPage(known) {
		return nil, nil
	}

	head := make([]byte, min(f.Size(), inject.ScanLimit))
	n, err := f.content.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	return head[:n], nil
}

// isNavigation reports whether the answer will be shown as a page. What a script
// fetches is a fragment that the script puts into one.
//
// A service worker that passes a navigation on makes a fetch of it, but leaves Accept as
// it was. Over plain HTTP from another machine browsers do not say what a request is
// for, and neither do old ones. In both cases a page is what a request names text/html
// for, and no library for scripts (X-Requested-With). What names nothing that it accepts
// is no browser, and gets what a browser would.
//
// Accept is not in Vary: caches.match would then not find for a navigation what a service
// worker has fetched. Other caches ask again (no-cache), and the ETags differ.
func isNavigation(r *http.Request) bool {
	dest, accept := r.Header.Get("Sec-Fetch-Dest"), r.Header.Get("Accept")
	switch dest {
	case "document", "iframe", "frame", "embed", "object":
		return true
	case "", "empty":
		if dest == "" && accept == "" {
			return true
		}
		return strings.Contains(accept, "text/html") && r.Header.Get("X-Requested-With") == ""
	}
	return false
}

// serveError answers for an error of opening or reading.
func (s *handler) serveError(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, fs.ErrPermission):
		s.noteFailedFetch(r)
		refuse(w, http.StatusForbidden, "this file may not be read by the server")
	case errors.Is(err, fs.ErrClosed):
		refuse(w, http.StatusServiceUnavailable, "the server is stopping")
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		s.logLimited(noDescriptor, "path", clip(r.URL.Path), "err", err)
		refuse(w, http.StatusServiceUnavailable, "the server has too many files open")
	case errors.Is(err, errChanging):
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusServiceUnavailable, "this file is being written")
	case errors.Is(err, syscall.EIO):
		s.logLimited(fileUnreadable, "path", clip(r.URL.Path), "err", err)
		refuse(w, http.StatusInternalServerError, "this file cannot be read")
	default: // not there, a name that is none, or a link that leads out
		s.serveNotFound(w, r, err)
	}
}

// A notFound is what the page about a file that is not there shows.
type notFound struct {
	Path   string // of the address, decoded
	Link   string // that leads out, as it is at the top of a site; "" if there is none, or the reader may not know
	Target string // of it
	Near   []link // files whose names are like that
}

// serveNotFound answers with 404, and to a browser that wants a page with the site's
// 404.html or else a page of our own. Either reloads when there is a file. A symbolic
// link that leads out is logged once, and its owner is shown where it leads.
func (s *handler) serveNotFound(w http.ResponseWriter, r *http.Request, why error) {
	about := notFound{Path: printable(r.URL.Path)}
	if out, ok := errors.AsType[*leadsOutError](why); ok {
		link := printable("/" + out.link)
		s.warned.once(strings.Join([]string{s.directory, link, "link", out.target}, "\x00"), func() bool {
			return s.logLimited(linkLeadsOut, "path", clip(link), "target", clip(printable(out.target)))
		})
		if r.Header.Get("Origin") == "" && s.isOwner(r) { // a page of Options.CORS may read the answer
			about.Link, about.Target = link, printable(out.target)
		}
	}

	s.noteFailedFetch(r)
	if r.Header.Get("Service-Worker") == "script" {
		path := clip(r.URL.Path)
		s.warned.once(s.directory+"\x00worker\x00"+path, func() bool {
			return s.logLimited(workerMissing, "path", path, "remote", r.RemoteAddr)
		})
	}
	if !isNavigation(r) {
		w.Header().Add("Vary", "Sec-Fetch-Dest")
		refuse(w, http.StatusNotFound, "not found")
		return
	}

	token := tokenOf(r)
	token.Missing = true
	f, err := s.openRegular(urlpath.NotFound)
	if err != nil {
		about.Near = s.nearNames(r)
		s.serveOwnPage(w, r, http.StatusNotFound, token, "not-found", about)
		return
	}
	defer f.Close()
	content, _, err := s.content(w.Header(), r, "/"+urlpath.NotFound, f, token)
	if err != nil {
		refuse(w, http.StatusNotFound, "not found")
		return
	}
	writeWhole(checkedWriter{w, f}, r, http.StatusNotFound, content)
}

// writeWhole answers with all of content, without ranges and conditions.
func writeWhole(w http.ResponseWriter, r *http.Request, code int, content interface {
	io.Reader
	Size() int64
},
) {
	w.Header().Set("Content-Length", fmt.Sprint(content.Size()))
	w.WriteHeader(code)
	if r.Method != http.MethodHead {
		io.CopyN(w, content, content.Size()) // an error here means that the client has gone
	}
}

// serveOwnPage answers with a page of our own, from the template of that name.
func (s *handler) serveOwnPage(w http.ResponseWriter, r *http.Request, code int, token livereload.PageToken, name string, about any) {
	page := struct {
		About  any
		Script template.HTML // "" for no script
		Style  template.CSS
		Status template.URL // "" for no link to the status page
	}{About: about, Style: template.CSS(styleCSS)}
	if s.live && isNavigation(r) {
		page.Script = template.HTML(token.Element(r))
		page.Status = template.URL(livereload.PathToTop(r) + statusPath[1:] + "/")
	}
	var text bytes.Buffer
	if err := ownPages.ExecuteTemplate(&text, name, page); err != nil {
		s.serveRenderError(w, r, err)
		return
	}

	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Add("Vary", "Sec-Fetch-Dest")
	writeWhole(w, r, code, bytes.NewReader(text.Bytes()))
}

// serveRenderError answers for an error in a template of our own.
func (s *handler) serveRenderError(w http.ResponseWriter, r *http.Request, err error) {
	s.logLimited(pageNotRendered, "path", clip(r.URL.Path), "err", err)
	refuse(w, http.StatusInternalServerError, "this page cannot be rendered")
}
