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
	"slices"
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
	all := s.rulesNow()
	s.setHeaders(w.Header(), r.URL.Path, all.Rules)
	if a, ok := all.Redirect(r.URL.Path, r.URL.RawQuery, false); ok && s.answerRule(w, r, a) {
		return
	}
	f, r, err := s.openComplete(r, name, slash)
	if err != nil {
		if !isAbsent(err) || !s.serveInstead(w, r, all.Rules) {
			s.serveError(w, r, err)
		}
		return
	}
	defer f.Close()
	f.rules = all

	switch {
	case s.serveClean(w, r, name, f):
	case !f.IsDir():
		s.serveContent(w, r, f)
	case slash:
		if a, ok := all.Redirect(r.URL.Path, r.URL.RawQuery, true); !ok || !s.answerRule(w, r, a) {
			s.serveListing(w, r, name, f)
		}
	default:
		redirectToDir(w, r)
	}
}

// openRequested opens what a URL path means: the file of that name, or the one with
// .html appended, as links without it are common. slash says that it means a
// directory.
func (s *handler) openRequested(name string, slash bool) (*file, error) {
	if s.isRuleFile(name) {
		return nil, errNotServed
	}
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
// http.ServeContent sees to ranges and conditions. The date of a page is not that of the
// script element in it.
func (s *handler) serveContent(w http.ResponseWriter, r *http.Request, f *file) {
	content, variant, err := s.content(w.Header(), r, r.URL.Path, f, tokenOf(r))
	if err != nil {
		s.serveError(w, r, err)
		return
	}
	modified := f.setValidators(w.Header(), variant)
	e, ok := s.encode(w.Header(), r, f, content)
	if !ok {
		w.Header().Del("ETag")
		s.fail(w, r, http.StatusNotAcceptable, "the content has no coding that Accept-Encoding takes")
		return
	}
	told := s.noteWorkerFetch(r)
	usedBy := s.noteUse(r)
	s.hot.add(f.key, f)

	// Whether there are compressed files beside it is looked at each time.
	var o *offer
	if !told && !s.opts.Precompressed {
		o = s.offer(w, r, f, usedBy)
	}
	if o != nil {
		w = o
	}
	if e != nil {
		s.serveEncoded(w, r, f, e, variant)
	} else {
		http.ServeContent(checkedWriter{w, f}, withConditions(r, variant != ""), "", modified, content)
	}
	if o != nil {
		o.accept(s.hot, r, f, e)
	}
}

// content loads a file that answers a request for a URL path, and sets its Content-Type.
// It returns the content with the script element in it, and what tells it from other
// contents of the same file. The element is left out if the file is no page, if pages do
// not get the script, or if the request is not for a page to be shown.
func (s *handler) content(h http.Header, r *http.Request, urlPath string, f *file, token livereload.PageToken) (content *io.SectionReader, variant string, err error) {
	if err := f.load(); err != nil {
		return nil, "", err
	}
	facts := f.facts
	if own := h.Get("Content-Type"); own != "" { // that a rule has set
		facts, err = s.findFacts(f, own)
	} else if facts == nil {
		facts, err = s.findFacts(f, s.types.Of(f.name))
		f.facts = facts
	}
	if err != nil {
		return nil, "", err
	}

	s.noteServed(urlPath, f)
	h.Set("Content-Type", facts.contentType)
	if !facts.isPage {
		return f.content, "", nil
	}
	addVary(h, "Sec-Fetch-Dest")
	if !facts.takesScript || !isNavigation(r) {
		return f.content, "", nil
	}
	policies := slices.Concat(facts.policies, h.Values("Content-Security-Policy"))
	s.checkPolicies(f.name, policies, blockingDirective)
	if isChecked(r) && s.unscripted.serve(r.URL.Path) {
		s.logUnscripted(r.URL.Path, r.RemoteAddr)
	}
	element := token.Element(r)
	if facts.isXML {
		element = token.ElementXML(r)
	}
	f.script = script{element, facts.scriptAt, len(policies) > 0}
	return inject.Splice(f.content, f.Size(), int64(facts.scriptAt), element), "-" + token.String(), nil
}

// A script is the script element in the content of a page.
type script struct {
	element  string // "" for none
	at       int    // where it is
	mayBlock bool   // there are policies that may keep it from its work
}

// contentFacts are what the name of a file and its content say.
type contentFacts struct {
	contentType string
	isPage      bool // that may get the script
	isXML       bool
	takesScript bool
	scriptAt    int      // where
	policies    []string // see metaPolicies
}

// findFacts finds them out, for a file that is loaded, and of whose type so much is known.
func (s *handler) findFacts(f *file, known string) (*contentFacts, error) {
	head, err := f.head(known)
	if err != nil {
		return nil, err
	}
	facts := &contentFacts{contentType: filetype.Complete(known, f.name, head, int64(len(head)) < f.Size())}
	facts.isXML = filetype.IsXMLPage(facts.contentType)
	facts.isPage = s.live && !s.opts.NoInject && (facts.isXML || filetype.IsHTML(facts.contentType))
	if !facts.isPage {
		return facts, nil
	}
	offset := inject.Offset
	if facts.isXML {
		offset = inject.OffsetXML
	}
	if facts.scriptAt, facts.takesScript = offset(head); facts.takesScript {
		facts.policies = metaPolicies(head)
	}
	return facts, nil
}

// head returns as much of the beginning of a loaded file as it takes to find its type and
// the place for the script: nothing if the type that is known by the name is that of no
// page.
func (f *file) head(known string) ([]byte, error) {
	if known != "" && !filetype.IsHTML(known) && !filetype.IsXMLPage(known) {
		return nil, nil
	}
	if f.whole {
		return f.text, nil // at most inject.ScanLimit
	}

	head := make([]byte, inject.ScanLimit)
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
		s.fail(w, r, http.StatusForbidden, "this file may not be read by the server")
	case errors.Is(err, fs.ErrClosed):
		s.fail(w, r, http.StatusServiceUnavailable, "the server is stopping")
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		s.logLimited(noDescriptor, "path", clip(r.URL.Path), "err", err)
		s.fail(w, r, http.StatusServiceUnavailable, "the server has too many files open")
	case errors.Is(err, errChanging):
		w.Header().Set("Retry-After", "1")
		s.fail(w, r, http.StatusServiceUnavailable, "this file is being written")
	case errors.Is(err, syscall.EIO):
		s.logLimited(fileUnreadable, "path", clip(r.URL.Path), "err", err)
		s.fail(w, r, http.StatusInternalServerError, "this file cannot be read")
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

// serveNotFound answers with 404, and to a browser that wants a page with the site's own,
// 404.html mostly, or else with one of ours. Either reloads when there is a file. A symbolic
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
		addVary(w.Header(), "Sec-Fetch-Dest")
		refuse(w, http.StatusNotFound, "not found")
		return
	}

	token := tokenOf(r)
	token.Missing = true
	if !s.serveErrorPage(w, r, http.StatusNotFound, token) {
		about.Near = s.nearNames(r)
		s.serveOwnPage(w, r, http.StatusNotFound, token, "not-found", about)
	}
}

// serveErrorPage answers with the page that the site has for a status. It reports whether
// there is one.
func (s *handler) serveErrorPage(w http.ResponseWriter, r *http.Request, code int, token livereload.PageToken) bool {
	name := s.errorPages[code]
	if name == "" {
		return false
	}
	f, err := s.openRegular(name)
	if err != nil {
		return false
	}
	defer f.Close()
	w.Header().Del("Content-Type") // of a rule, for the file that is not shown
	content, _, err := s.content(w.Header(), r, "/"+name, f, token)
	if err != nil {
		return false
	}
	writeWhole(checkedWriter{w, f}, r, code, content)
	return true
}

// fail answers with a status other than 404: to a browser that wants a page with that of
// the site, if there is one, or else with one line of text.
func (s *handler) fail(w http.ResponseWriter, r *http.Request, code int, why string) {
	token := tokenOf(r)
	token.Failed = code
	if !isNavigation(r) || !s.serveErrorPage(w, r, code, token) {
		refuse(w, code, why)
	}
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
	addVary(w.Header(), "Sec-Fetch-Dest")
	writeWhole(w, r, code, bytes.NewReader(text.Bytes()))
}

// serveRenderError answers for an error in a template of our own.
func (s *handler) serveRenderError(w http.ResponseWriter, r *http.Request, err error) {
	s.logLimited(pageNotRendered, "path", clip(r.URL.Path), "err", err)
	refuse(w, http.StatusInternalServerError, "this page cannot be rendered")
}
