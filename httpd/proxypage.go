package httpd

import (
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/execlog/execlogd/httpd/internal/filetype"
	"github.com/execlog/execlogd/httpd/internal/inject"
)

// mayTakeScript reports whether the answer gets the script if it is a page. A page that
// answers a form has none: to load it again would send the form again.
func (p *proxied) mayTakeScript() bool {
	isGet := p.in.Method == http.MethodGet || p.in.Method == http.MethodHead
	return p.live && !p.opts.NoInject && isGet && p.in.Header.Get("Upgrade") == "" && isNavigation(p.in)
}

// isPage reports whether the content type of an answer is that of a page.
func isPage(h http.Header) bool {
	contentType := h.Get("Content-Type")
	return filetype.IsHTML(contentType) || filetype.IsXMLPage(contentType)
}

// addScript puts the script into the answer of an upstream, which is a page. Then nothing
// of it may be said that is about the page without it.
func (p *proxied) addScript(resp *http.Response) {
	h := resp.Header
	offset := inject.Offset
	isXML := filetype.IsXMLPage(h.Get("Content-Type"))
	if isXML {
		offset = inject.OffsetXML
	}
	isAttachment := strings.HasPrefix(strings.ToLower(h.Get("Content-Disposition")), "attachment")
	if isAttachment || resp.StatusCode == http.StatusPartialContent {
		return
	}
	if encoding := h.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		p.logOnce("encoding", encoding, pageEncoded, "encoding", clip(encoding))
		return
	}
	if p.in.Method == http.MethodHead {
		// Whether the page takes the script is not known.
		markChanged(h)
		h.Del("Content-Length")
		resp.ContentLength = -1
		return
	}
	if resp.ContentLength == 0 || resp.StatusCode == http.StatusNotModified || resp.StatusCode == http.StatusNoContent {
		return
	}

	page := newPageBody(resp.Body)
	resp.Body = page
	at, ok := page.readHead(offset)
	if !ok {
		return
	}
	policies := splitPolicies(h["Content-Security-Policy"])
	nonce := nonceOf(policies)
	p.checkPolicies(p.in.URL.Path, append(metaPolicies(page.text), policies...), blockingDirective)
	p.checkPolicies(p.in.URL.Path, policies, func(policy string) (blocked, want string) { return blockingScript(policy, nonce) })
	if isChecked(p.in) && p.unscripted.serve(p.in.URL.Path) {
		p.logUnscripted(p.in.URL.Path, p.in.RemoteAddr)
	}

	token := tokenOf(p.in)
	token.Proxied = true
	element := token.Element(p.in)
	if isXML {
		element = token.ElementXML(p.in)
	}
	if nonce != "" {
		element = strings.Replace(element, "<script ", `<script nonce="`+nonce+`" `, 1)
	}
	page.text = slices.Insert(page.text, at, []byte(element)...)
	markChanged(h)
	if resp.ContentLength > 0 {
		resp.ContentLength += int64(len(element))
		h.Set("Content-Length", strconv.FormatInt(resp.ContentLength, 10))
	}
}

// markChanged takes out of a header what is about content that has another script in it
// each time.
func markChanged(h http.Header) {
	for _, name := range []string{"Accept-Ranges", "Content-Digest", "Content-Md5", "Digest", "Etag", "Last-Modified", "Repr-Digest"} {
		h.Del(name)
	}
	if !strings.Contains(strings.ToLower(h.Get("Cache-Control")), "no-store") {
		h.Set("Cache-Control", "no-cache")
	}
}

// logOnce logs a line about a page of an upstream once for each path and reason.
func (p *proxied) logOnce(about, reason string, kind logKind, args ...any) {
	path := clip(p.in.URL.Path)
	p.warned.once(strings.Join([]string{p.to.name, path, about, reason}, "\x00"), func() bool {
		return p.logLimited(kind, append([]any{"path", path}, args...)...)
	})
}

// splitPolicies returns the policies of header lines, each of which is a list.
func splitPolicies(lines []string) (all []string) {
	for _, line := range lines {
		all = append(all, strings.Split(line, ",")...)
	}
	return all
}

var nonceSource = regexp.MustCompile(`'nonce-([A-Za-z0-9+/_=-]+)'`)

// nonceOf returns the nonce by which policies let a script run, or "".
func nonceOf(policies []string) string {
	for _, policy := range policies {
		_, sources := scriptDirective(policy)
		if found := nonceSource.FindStringSubmatch(strings.Join(sources, " ")); found != nil {
			return found[1]
		}
	}
	return ""
}

// scriptDirective returns the directive of a policy that rules script elements, and its
// sources.
func scriptDirective(policy string) (name string, sources []string) {
	for _, name := range []string{"script-src-elem", "script-src", "default-src"} {
		for text := range strings.SplitSeq(policy, ";") {
			if d := strings.Fields(text); len(d) > 0 && strings.EqualFold(d[0], name) {
				return name, d[1:]
			}
		}
	}
	return "", nil
}

// blockingScript returns the directive of a policy in a header that keeps a page from loading
// the script, whose element has a nonce, and one that lets it. Both are "" if there is none.
// What names a host may name ours.
func blockingScript(policy, nonce string) (blocked, want string) {
	name, sources := scriptDirective(policy)
	if name == "" || nonce != "" && slices.Contains(sources, "'nonce-"+nonce+"'") {
		return "", ""
	}
	isStrict := slices.ContainsFunc(sources, func(s string) bool { return strings.EqualFold(s, "'strict-dynamic'") })
	loads := func(source string) bool {
		return strings.EqualFold(source, "'self'") || source[0] != '\'' && source != "data:" && source != "blob:"
	}
	if !isStrict && slices.ContainsFunc(sources, loads) {
		return "", ""
	}
	blocked = strings.Join(append([]string{name}, sources...), " ")
	if isStrict {
		return blocked, name + " with a nonce"
	}
	sources = slices.DeleteFunc(slices.Clone(sources), func(s string) bool { return strings.EqualFold(s, "'none'") })
	return blocked, strings.Join(append([]string{"script-src 'self'"}, sources...), " ")
}

// headPause is how long the beginning of a page is waited for once some of it is there. The
// page of an application may come in parts, long after each other, that are to be shown.
const headPause = 50 * time.Millisecond

// A pageBody is the body of a page that is read ahead in a goroutine, so that nobody waits
// for what is not there yet. Close waits for it.
type pageBody struct {
	body   io.ReadCloser
	parts  chan pagePart
	closed chan struct{}
	once   sync.Once

	text []byte // that came and is not read
	err  error  // after it
}

type pagePart struct {
	text []byte
	err  error
}

func newPageBody(body io.ReadCloser) *pageBody {
	b := &pageBody{body: body, parts: make(chan pagePart), closed: make(chan struct{})}
	go b.readAhead()
	return b
}

func (b *pageBody) readAhead() {
	defer close(b.parts)
	for {
		part := pagePart{text: make([]byte, 16<<10)}
		n, err := b.body.Read(part.text)
		part.text, part.err = part.text[:n], err
		select {
		case b.parts <- part:
		case <-b.closed:
			return
		}
		if err != nil {
			return
		}
	}
}

// readHead reads as much of a page as is looked at, and returns where in it the script goes.
// Of a page that comes in parts it reads those that come within headPause, and further ones
// while there is no place yet.
func (b *pageBody) readHead(offset func(head []byte) (int, bool)) (at int, ok bool) {
	var late <-chan time.Time
	isLate := false
	for len(b.text) < inject.ScanLimit && b.err == nil {
		select {
		case part := <-b.parts:
			b.text, b.err = append(b.text, part.text...), part.err
			if late == nil && len(b.text) > 0 {
				late = time.After(headPause)
			}
		case <-late:
			isLate = true
		}
		if isLate && b.err == nil {
			// The script must not be ahead of a doctype, which may follow white space and comments,
			// the last of which, or the doctype itself, may have come in part.
			at, ok = offset(b.text)
			isCertain := func(rest string) bool {
				withDoctype, _ := offset(slices.Concat(b.text, []byte(rest+"<!doctype html>")))
				return at == withDoctype
			}
			if ok && (at > len("\ufeff") || isCertain("") && isCertain("!-->")) {
				return at, true
			}
		}
	}
	return offset(b.text[:min(len(b.text), inject.ScanLimit)])
}

// Read implements io.Reader.
func (b *pageBody) Read(p []byte) (int, error) {
	for len(b.text) == 0 && b.err == nil {
		part, ok := <-b.parts
		if !ok {
			return 0, os.ErrClosed
		}
		b.text, b.err = part.text, part.err
	}
	n := copy(p, b.text)
	b.text = b.text[n:]
	if n == 0 {
		return 0, b.err
	}
	return n, nil
}

// Close implements io.Closer.
func (b *pageBody) Close() error {
	var err error
	b.once.Do(func() {
		close(b.closed)
		err = b.body.Close()
		for range b.parts {
		}
	})
	return err
}
