package httpd

import (
	"bytes"
	"slices"
	"strings"
	"sync"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// checkPolicies logs a warning, once for each page and directive, when one of the
// Content-Security-Policies of a page keeps live reload from its work, as blocking finds.
//
// For a file that is blockingDirective alone: a policy in a meta element rules what comes
// after it, and the script comes before everything else.
func (s *handler) checkPolicies(name string, policies []string, blocking func(policy string) (blocked, want string)) {
	name = clip(name)
	for _, policy := range policies {
		blocked, want := blocking(policy)
		if blocked == "" {
			continue
		}
		blocked = clip(blocked)
		s.warned.once(strings.Join([]string{s.directory, name, blocked}, "\x00"), func() bool {
			return s.logLimited(policyInPage, "path", name, "directive", blocked, "want", clip(want))
		})
	}
}

// metaPolicies returns the policies in a page's meta elements. Browsers obey
// those in the head.
func metaPolicies(page []byte) (policies []string) {
	// Most pages have neither of the common spellings in them and need not be
	// parsed. These ends of them are found sooner than the whole, as y is rare.
	if !bytes.Contains(page, []byte("y-Policy")) && !bytes.Contains(page, []byte("y-policy")) {
		return nil
	}

	// The body may be long, and this is done at each request. A head that spells
	// the tag, in a script say, is parsed up to there.
	head, _, _ := bytes.Cut(page, []byte("<body"))
	doc, err := html.Parse(bytes.NewReader(bytes.TrimPrefix(head, []byte("\ufeff"))))
	if err != nil {
		return nil
	}

	for n := range doc.Descendants() {
		if n.DataAtom != atom.Meta || n.Parent.DataAtom != atom.Head {
			continue
		}
		attributes := make(map[string]string)
		for _, a := range n.Attr {
			attributes[a.Key] = a.Val
		}
		if strings.EqualFold(attributes["http-equiv"], "content-security-policy") {
			policies = append(policies, attributes["content"])
		}
	}
	return policies
}

// blockingDirective returns the directive of a policy, its name and its sources, that
// keeps a page from opening a websocket to the server that it came from (CSP 3, 2.2.1 and
// 6.7.2), and one that allows what it does and our socket. Both are "" if there is none.
func blockingDirective(policy string) (blocked, want string) {
	for _, name := range []string{"connect-src", "default-src"} {
		for text := range strings.SplitSeq(policy, ";") {
			d := strings.Fields(text)
			if len(d) == 0 || !strings.EqualFold(d[0], name) {
				continue
			}
			if slices.ContainsFunc(d, opensSocket) {
				return "", "" // of two with one name the first counts
			}

			blocked = strings.Join(append([]string{name}, d[1:]...), " ")
			d = slices.DeleteFunc(d, func(source string) bool { return strings.EqualFold(source, "'none'") })
			return blocked, strings.Join(append([]string{"connect-src 'self'"}, d[1:]...), " ")
		}
	}
	return "", ""
}

// opensSocket reports whether a source expression allows a websocket to the
// page's own server. One that names a host may do so under a name or a port that
// only a proxy in front of us knows: if it does not, the script reports that.
func opensSocket(source string) bool {
	source = strings.ToLower(source)
	return source == "'self'" || source == "*" || strings.HasPrefix(source, "ws:") || strings.HasPrefix(source, "wss:")
}

// maxWarnings is how many warnings a warnings remembers.
const maxWarnings = 1024

// Warnings remembers which warnings were logged. When it is full it forgets them
// all, and a warning may be repeated.
type warnings struct {
	mu     sync.Mutex
	logged map[string]bool
}

// once calls log, which reports whether it wrote a line, unless it has written one
// for the same key before.
func (w *warnings) once(key string, log func() bool) {
	w.mu.Lock()
	known := w.logged[key]
	if w.logged == nil || len(w.logged) == maxWarnings && !known {
		w.logged = make(map[string]bool)
	}
	w.logged[key] = true
	w.mu.Unlock()

	// The lock is not held here: other pages must not wait for a slow log.
	if !known && !log() {
		w.mu.Lock()
		delete(w.logged, key)
		w.mu.Unlock()
	}
}
