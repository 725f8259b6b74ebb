package httpd

import (
	"bytes"
	"crypto/sha256"
	"io"
	"iter"
	"net/http"
	"strings"
	"sync"

	"golang.org/x/net/html"
)

// checkPolicies says once for each file and policy when a page's own
// Content-Security-Policy, in a meta element, keeps the page's socket from
// opening. It says nothing about script-src: a policy rules what comes after
// it, and the script comes before all else.
func (s *service) checkPolicies(r *http.Request, f *file, head []byte) {
	for policy := range policies(head) {
		d, blocked := blocking(policy, s.gate.reached(r))
		about := []string{s.directory, f.name, policy}
		if blocked && s.warned.first(about...) &&
			!s.logLimited(s.log, policyInPage, "path", f.name, "directive", clip(d.String()), "want", clip(d.opened())) {
			s.warned.forget(about...) // the next request for the page may have more luck
		}
	}
}

// policies yields the content of the meta elements that a browser takes for
// policies: those in the head of a page, and in no template.
func policies(head []byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		z := html.NewTokenizer(bytes.NewReader(head))
		var w headWalk
		for {
			kind := z.Next()
			if kind == html.ErrorToken {
				return
			}
			token := z.Token()
			if !w.step(token) {
				return
			}
			if policy := policyOf(token); policy != "" && w.templates == 0 && !yield(policy) {
				return
			}
		}
	}
}

// A headWalk follows the tags of a page's head.
type headWalk struct {
	inside    string // the element whose text comes next, "" between elements
	templates int    // open ones
}

// step says whether a token is still in the head.
func (w *headWalk) step(t html.Token) bool {
	switch t.Type {
	case html.TextToken:
		return w.inside != "" || w.templates > 0 || strings.Trim(t.Data, " \t\n\f\r\ufeff") == ""
	case html.EndTagToken:
		w.inside = ""
		if t.Data == "template" && w.templates > 0 {
			w.templates--
		}
		return t.Data != "head" || w.templates > 0
	case html.StartTagToken, html.SelfClosingTagToken:
		return w.enter(t.Data)
	}
	return true // comments, the doctype
}

func (w *headWalk) enter(tag string) bool {
	switch tag {
	case "template":
		w.templates++
	case "title", "style", "script", "noscript", "noframes":
		w.inside = tag
	case "html", "head", "meta", "link", "base", "basefont", "bgsound":
	default:
		return w.templates > 0 // the body has begun
	}
	return true
}

// policyOf is the policy of a meta element, "" where a token is none.
func policyOf(t html.Token) string {
	if t.Type != html.StartTagToken && t.Type != html.SelfClosingTagToken || t.Data != "meta" {
		return ""
	}
	var equiv, content string
	for _, a := range t.Attr {
		switch a.Key {
		case "http-equiv":
			equiv = a.Val
		case "content":
			content = a.Val
		}
	}
	if !strings.EqualFold(equiv, "content-security-policy") {
		return ""
	}
	return content
}

// A directive is one rule of a policy.
type directive struct {
	name    string // in lower case
	sources []string
}

func (d directive) String() string {
	return strings.Join(append([]string{d.name}, d.sources...), " ")
}

// opened is a directive that allows what d does, and a socket of ours.
func (d directive) opened() string {
	want := []string{"connect-src 'self'"}
	for _, source := range d.sources {
		if !strings.EqualFold(source, "'none'") {
			want = append(want, source)
		}
	}
	return strings.Join(want, " ")
}

const asciiSpace = " \t\n\f\r"

// directives reads a serialised policy (CSP 3, 2.2.1): of two with one name the
// first counts.
func directives(policy string) map[string]directive {
	found := make(map[string]directive)
	for part := range strings.SplitSeq(policy, ";") {
		fields := strings.FieldsFunc(part, func(c rune) bool { return strings.ContainsRune(asciiSpace, c) })
		if len(fields) == 0 || strings.ContainsFunc(part, func(c rune) bool { return c > 0x7f }) {
			continue
		}
		name := strings.ToLower(fields[0])
		if _, known := found[name]; !known {
			found[name] = directive{name, fields[1:]}
		}
	}
	return found
}

// blocking is the directive of a policy that keeps a page from opening a
// websocket to the host that it was loaded from. Where it depends on whether a
// proxy spoke TLS with the browser, which we cannot know, nothing blocks.
func blocking(policy, host string) (d directive, blocked bool) {
	found := directives(policy)
	d, ok := found["connect-src"]
	if !ok {
		d, ok = found["default-src"]
	}
	if !ok {
		return directive{}, false
	}
	for _, source := range d.sources {
		if opensSocket(strings.ToLower(source), strings.ToLower(host)) {
			return directive{}, false
		}
	}
	return d, true
}

// opensSocket matches a source expression (CSP 3, 6.7.2) with the URL of the
// socket. One without a scheme, and one of http, do not mean websockets.
func opensSocket(source, host string) bool {
	switch source {
	case "'self'", "*", "ws:", "wss:":
		return true
	}
	scheme, rest, ok := strings.Cut(source, "://")
	if !ok || scheme != "ws" && scheme != "wss" {
		return false
	}
	authority, path, _ := strings.Cut(rest, "/")
	// What a proxy has cut from the path is not known either.
	if path != "" && !strings.HasSuffix(path, "/") && !strings.HasSuffix("/"+path, "/livereload") {
		return false
	}
	return matchesHost(authority, host, map[string]string{"ws": ":80", "wss": ":443"}[scheme])
}

// matchesHost matches name[:port], where the name may be or begin with a
// wildcard and the port be one, with a host that may leave the implied port
// out.
func matchesHost(pattern, host, implied string) bool {
	name, port := cutPort(pattern, implied)
	ownName, ownPort := cutPort(host, implied)
	if port != ownPort && port != ":*" {
		return false
	}
	if below, ok := strings.CutPrefix(name, "*"); ok {
		return below == "" || below[0] == '.' && strings.HasSuffix(ownName, below)
	}
	return name == ownName
}

func cutPort(hostport, implied string) (name, port string) {
	if at := strings.LastIndexByte(hostport, ':'); at >= 0 && !strings.HasSuffix(hostport, "]") {
		return hostport[:at], hostport[at:]
	}
	return hostport, implied
}

// maxWarnings bounds what a warnings remembers.
const maxWarnings = 1024

// Warnings knows what was said already. After very many it forgets, and may say
// something again.
type warnings struct {
	mu   sync.Mutex
	said map[[sha256.Size]byte]struct{}
}

// first says whether this is the first time for these words.
func (w *warnings) first(words ...string) bool {
	key := sumOfWords(words)
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, known := w.said[key]; known {
		return false
	}
	if w.said == nil || len(w.said) == maxWarnings {
		w.said = make(map[[sha256.Size]byte]struct{})
	}
	w.said[key] = struct{}{}
	return true
}

// forget makes the next time for these words the first.
func (w *warnings) forget(words ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.said, sumOfWords(words))
}

func sumOfWords(words []string) [sha256.Size]byte {
	h := sha256.New()
	for _, word := range words {
		io.WriteString(h, word+"\x00")
	}
	return [sha256.Size]byte(h.Sum(nil))
}
