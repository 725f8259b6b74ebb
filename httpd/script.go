package httpd

import (
	"crypto/sha256"
	_ "embed"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
)

//go:embed live.js
var source string

// script is the client as it is served.
var (
	script     = squeeze(source)
	scriptETag = fmt.Sprintf(`"%x"`, sha256.Sum224([]byte(script)))
)

// needless matches, in JavaScript in the style of live.js, comments and the
// space around punctuation, and before a closing brace the semicolon as well.
// Strings and templates, which end on their line, it matches whole, so that
// nothing is looked for in them. What a match leaves is in its groups.
var needless = regexp.MustCompile("(?m)(\"[^\"\n]*\"|`[^`\n]*`)" +
	`|/\*\*(?s:.*?)\*/\s*|\s*//(?: .*)?$` +
	`|\s*;?\s*(})\s*|\s*([-={()\[\]<>?:;,&|*+!])\s*|\n\s*`)

// squeeze takes out what only people need.
func squeeze(source string) string {
	return needless.ReplaceAllString(source, "$1$2$3")
}

// serveScript answers with the client. Any page may load it: a page of another
// server on this machine, or a file: page.
//
// A page whose policy blocks the socket has no other way to say so than to load
// the script once more, with the directive in the query.
func (s *service) serveScript(w http.ResponseWriter, r *http.Request) {
	if directive := r.URL.Query().Get("blocked"); directive != "" {
		page, directive := clip(r.Referer()), clip(directive)
		s.reported.once(page+"\x00"+directive, func() bool {
			return s.logLimited(s.log, policyReported, "page", page, "directive", directive, "remote", r.RemoteAddr)
		})
	}

	h := w.Header()
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", scriptETag)
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(script))
}
