package httpd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/execlog/execlogd/httpd/internal/filetype"
	"github.com/execlog/execlogd/httpd/internal/livereload"
	"github.com/execlog/execlogd/httpd/internal/rules"
	"github.com/execlog/execlogd/httpd/internal/urlpath"
	"golang.org/x/sys/unix"
)

// A Redirect says what is answered to requests for which there is no file.
type Redirect struct {
	// From is the pattern of URL paths: ":name" stands for one segment, and "/*" at the
	// end for everything below.
	From string

	// Query are parameters that the request has: a value, or a name as in From (":id").
	Query map[string]string

	// To is a path of the site, or a URL of http or https, with the names of From and
	// Query, and :splat for what the asterisk stands for.
	To string

	// Status is 301 (also if it is 0), 302, 303, 307 or 308, which lead the browser to
	// To. With 200, 404 or 410 the answer is the file at the path To.
	Status int

	// Force has the redirect count even if there is a file.
	Force bool
}

// A HeaderRule says which headers answers for files of some paths have. What says how an
// answer is sent or what its content is, and Access-Control-*, for which there is
// Options.CORS, cannot be set. With live reload Cache-Control and Strict-Transport-Security
// are not sent either.
type HeaderRule struct {
	// For is the pattern of URL paths, as in Redirect.From, where an asterisk stands for
	// any text: "/assets/*", "/*.js".
	For    string
	Values map[string]string
}

// CheckRedirect says what is wrong with an entry of Options.Redirects, as New does.
func CheckRedirect(r Redirect) error {
	_, err := rules.New([]rules.Redirect{rules.Redirect(r)}, nil)
	return err
}

// CheckHeaders says what is wrong with an entry of Options.Headers, as New does.
func CheckHeaders(h HeaderRule) error {
	_, err := rules.New(nil, []rules.Header{h.rule()})
	return err
}

func (h HeaderRule) rule() rules.Header {
	values := make(http.Header)
	for name, value := range h.Values {
		values.Set(name, value)
	}
	return rules.Header{For: h.For, Values: values}
}

// A RuleMistake is what is wrong in a line of a file of rules, which has no effect then.
type RuleMistake struct {
	Line int // from 1
	Text string
}

// RuleFiles are the names of the files that have rules, see Options.NoRuleFiles.
func RuleFiles() []string { return []string{rules.RedirectsFile, rules.HeadersFile} }

// CheckRuleFile says what is wrong in a file of rules with one of the names of RuleFiles.
func CheckRuleFile(name, text string) (mistakes []RuleMistake) {
	_, wrong := rules.ParseFile(name, text)
	for _, m := range wrong {
		mistakes = append(mistakes, RuleMistake(m))
	}
	return mistakes
}

// A siteRules has the rules of the options, and those of the files that have rules. These
// are read again when they have changed.
type siteRules struct {
	options *rulesRead // those of the options alone
	paths   [2][]byte  // of the files, absolute; they end with NUL
	last    atomic.Pointer[rulesRead]

	mu sync.Mutex // held while the files are read
}

// A rulesRead are the rules of the options and of the files as they were.
type rulesRead struct {
	rules.Rules
	files [2]fileIdentity
}

func newSiteRules(opts Options) (*siteRules, error) {
	var redirects []rules.Redirect
	for _, r := range opts.Redirects {
		redirects = append(redirects, rules.Redirect(r))
	}
	var headers []rules.Header
	for _, h := range opts.Headers {
		headers = append(headers, h.rule())
	}
	all, err := rules.New(redirects, headers)
	if err != nil {
		return nil, err
	}
	return &siteRules{options: &rulesRead{Rules: all}}, nil
}

// setRoot says in which directory the files with rules are. It is called once.
func (s *siteRules) setRoot(directory string) {
	for i, name := range RuleFiles() {
		s.paths[i] = []byte(filepath.Join(directory, name) + "\x00")
	}
}

// rulesNow returns the rules of the site. What a file of rules was changed to counts from
// the next request on. The same pointer means that nothing has changed.
func (s *handler) rulesNow() *rulesRead {
	site := s.siteRules
	if s.opts.NoRuleFiles {
		return site.options
	}
	now, _ := site.ruleFilesNow()
	if last := site.last.Load(); last != nil && last.files == now {
		return last
	}

	site.mu.Lock()
	defer site.mu.Unlock()
	now, distinct := site.ruleFilesNow()
	if last := site.last.Load(); last != nil && last.files == now {
		return last
	}
	all := site.options.Rules
	for i, name := range RuleFiles() {
		if now[i].kind != unix.S_IFREG {
			continue
		}
		text, err := s.readRules(name)
		if errors.Is(err, errChanging) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			if last := site.last.Load(); last != nil {
				return last // for now
			}
			distinct = false
		}
		if err != nil {
			s.logRuleMistake(name, 0, err.Error())
			continue
		}
		found, wrong := rules.ParseFile(name, text)
		for _, m := range wrong {
			s.logRuleMistake(name, m.Line, m.Text)
		}
		all = all.With(found)
	}
	read := &rulesRead{all, now}
	if distinct {
		site.last.Store(read)
	}
	return read
}

// ruleFilesNow says which files with rules there are. distinct says that the next save will
// make others of them.
func (s *siteRules) ruleFilesNow() (now [2]fileIdentity, distinct bool) {
	distinct = true
	for i, path := range s.paths {
		found, ok := statPath(path, 0)
		age := time.Now().UnixNano() - found.ctime
		now[i], distinct = found, distinct && ok && age/1e6 > livereload.ClockTick
	}
	return now, distinct
}

// MaxRuleFile is the size of the largest file of rules that is read; bytes.
const MaxRuleFile = 4 << 20

// readRules returns the content of a file of rules.
func (s *handler) readRules(name string) (string, error) {
	f, err := s.openRegular(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := f.load(); err != nil {
		return "", err
	}
	if f.Size() > MaxRuleFile {
		return "", fmt.Errorf("the file has more than %d bytes", MaxRuleFile)
	}
	text, err := io.ReadAll(f.content)
	if err == nil && !f.whole && !f.isUnchanged() {
		err = errChanging
	}
	return string(text), err
}

// logRuleMistake logs a mistake in a file of rules, once for each line.
func (s *handler) logRuleMistake(name string, line int, text string) {
	text = clip(text)
	s.warned.once(strings.Join([]string{s.directory, name, fmt.Sprint(line), text}, "\x00"), func() bool {
		return s.logLimited(ruleIgnored, "path", name, "line", line, "err", text)
	})
}

// isRuleFile reports whether a name is that of a file that has rules, and is not served.
func (s *handler) isRuleFile(name string) bool { return !s.opts.NoRuleFiles && rules.IsFile(name) }

// setHeaders sets the headers that rules have for a request. With live reload a cache must
// ask whether a file is still the same, and browsers are not told to use TLS from now on:
// they would do so for every port of a development machine.
func (s *handler) setHeaders(h http.Header, urlPath string, all rules.Rules) {
	if all.SetHeaders(h, urlPath) && s.live {
		h.Set("Cache-Control", "no-cache")
		h.Del("Strict-Transport-Security")
	}
}

// isAbsent reports whether the error of opening a file means that there is none. What is
// not to be served has nothing in its place.
func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENAMETOOLONG)
}

// serveInstead answers a request for which there is no file with what the rules have, or
// with Options.SPA. It reports whether it did.
func (s *handler) serveInstead(w http.ResponseWriter, r *http.Request, all rules.Rules) bool {
	if a, ok := all.Redirect(r.URL.Path, r.URL.RawQuery, true); ok && s.answerRule(w, r, a) {
		return true
	}
	if !s.hasFallback(r.URL.Path) {
		return false
	}
	addVary(w.Header(), "Sec-Fetch-Dest")
	return isNavigation(r) && s.serveTarget(w, r, "/"+s.opts.SPA, http.StatusOK)
}

// hasFallback reports whether Options.SPA is shown for a URL path without a file. Where the
// path names a file of a type that is no page, something is missing.
func (s *handler) hasFallback(urlPath string) bool {
	known := s.types.Of(urlPath)
	return s.opts.SPA != "" && (known == "" || filetype.IsHTML(known))
}

// answerRule answers a request as a rule has it. It reports whether it did: the file that
// the rule names may not be there.
func (s *handler) answerRule(w http.ResponseWriter, r *http.Request, a rules.Answer) bool {
	if a.Location == "" {
		return s.serveTarget(w, r, a.Path, a.Status)
	}

	// A path is made relative, as in redirectToDir.
	location := a.Location
	if rest, ok := strings.CutPrefix(location, "/"); ok {
		if location = livereload.PathToTop(r) + rest; !strings.HasPrefix(location, "../") {
			location = "./" + rest
		}
	}
	redirect(w, a.Status, location)
	return true
}

// redirect leads the browser elsewhere. It asks again the next time, as the redirect may be
// another by then.
func redirect(w http.ResponseWriter, code int, location string) {
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("Location", location)
	w.WriteHeader(code)
}

// serveTarget answers a request with the file at another path of the site. It reports
// whether there is one.
func (s *handler) serveTarget(w http.ResponseWriter, r *http.Request, target string, code int) bool {
	name, slash, ok := urlpath.FileName(target)
	if !ok {
		return false
	}
	f, r, err := s.openComplete(r, name, slash)
	if err == nil && f.IsDir() && !slash {
		f.Close()
		f, r, err = s.openComplete(r, name, true)
	}
	switch {
	case isAbsent(err), errors.Is(err, errNotServed):
		return false
	case err != nil:
		s.serveError(w, r, err)
		return true
	}
	defer f.Close()
	if f.IsDir() {
		return false
	}

	if code == http.StatusOK {
		s.serveContent(w, r, f)
		return true
	}
	content, _, err := s.content(w.Header(), r, r.URL.Path, f, tokenOf(r))
	if err != nil {
		s.serveError(w, r, err)
		return true
	}
	s.noteFailedFetch(r)
	writeWhole(checkedWriter{w, f}, r, code, content)
	return true
}

// serveClean leads a navigation from the name of a page to the URL that Options.CleanURLs
// asks for. It reports whether it did.
func (s *handler) serveClean(w http.ResponseWriter, r *http.Request, name string, f *file) bool {
	stem, ok := strings.CutSuffix(name, ".html")
	if !s.opts.CleanURLs || !ok || f.name != name || f.IsDir() {
		return false
	}
	to := "./" + path.Base(stem)
	if path.Base(name) == urlpath.Index {
		to = "./"
	} else if other, err := s.open(stem); err == nil {
		other.Close() // which is shown there
		return false
	}

	// A service worker may hand a page on, but not a redirect.
	addVary(w.Header(), "Sec-Fetch-Dest")
	if !isNavigation(r) {
		return false
	}
	u := url.URL{Path: to, RawQuery: r.URL.RawQuery}
	redirect(w, http.StatusMovedPermanently, u.String())
	return true
}

// addVary adds a name to Vary that it does not have.
func addVary(h http.Header, name string) {
	if slices.Contains(h["Vary"], name) {
		return
	}
	h.Add("Vary", name)
}

// targetOf returns the URL path of the file that is shown to a navigation at another path,
// "" for its own.
func (s *handler) targetOf(all rules.Rules, urlPath string, missing bool) string {
	if a, ok := all.Redirect(urlPath, "", missing); ok {
		return a.Path
	}
	if missing && s.hasFallback(urlPath) {
		return "/" + s.opts.SPA
	}
	return ""
}

// targetState is the state of the path of a resource, which means a name, at which the
// file of another path is shown. ok is false if that is not there.
//
// The name is that of a file that would be shown at the path: a change of the other file
// is one of that.
func (s *handler) targetState(resource, name string, slash bool, target string) (state livereload.FileState, ok bool) {
	other, otherSlash, ok := urlpath.FileName(target)
	if !ok {
		return state, false
	}
	state = s.stateOf(resource, other, otherSlash, false)
	if state.Kind == livereload.Directory {
		state = s.stateOf(resource, path.Join(other, urlpath.Index), false, false)
	}
	if state.Kind == livereload.Missing || state.Kind == livereload.Directory {
		return state, false
	}
	state.Through = append([]string{state.Name, rules.RedirectsFile}, state.Through...)
	if state.Name = name; slash {
		state.Name = path.Join(name, urlpath.Index)
	}
	return state, true
}
