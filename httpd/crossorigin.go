package httpd

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Files may be embedded by the pages of this site, which for a browser is every port of
// the host, by loopback pages at a loopback server, whatever loopback name each has, and
// by pages that may listen. Options.CORS names origins whose scripts may read them too.

// anyOrigin in Options.CORS is every origin.
const anyOrigin = "*"

// CheckCORS says what is wrong with an entry of Options.CORS, as New does.
func CheckCORS(entry string) error {
	if _, err := parseAllowedOrigin(entry); err != nil && entry != anyOrigin {
		return fmt.Errorf("%w, or * for all", err)
	}
	return nil
}

// shareWith sets the headers that let pages of other origins have a file.
func (s *handler) shareWith(h http.Header, r *http.Request) {
	h.Set("Cross-Origin-Resource-Policy", "same-site")
	if s.mayEmbed(r) {
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	}

	switch origin := r.Header.Get("Origin"); {
	case slices.Contains(s.rules.shared, anyOrigin):
		h.Set("Access-Control-Allow-Origin", anyOrigin)
	case len(s.rules.shared) > 0:
		h.Add("Vary", "Origin")
		if s.isShared(origin) {
			h.Set("Access-Control-Allow-Origin", origin)
		}
	}
}

// mayEmbed reports whether the page that a request is for may embed a file that is of
// another site. A request without an Origin has at least that in its Referer; a page can
// leave that out, but not make it up.
func (s *handler) mayEmbed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" && r.Referer() == "" {
		return s.isShared("")
	}
	if from, err := url.Parse(r.Referer()); origin == "" && err == nil && from.Host != "" {
		origin = from.Scheme + "://" + from.Host
	}
	kind := s.rules.originKind(strings.ToLower(origin), accessOf(r))
	return s.isShared(origin) || kind == allowedOrigin && origin != "null"
}

// isShared reports whether scripts of an origin may read files.
func (s *handler) isShared(origin string) bool {
	return slices.Contains(s.rules.shared, anyOrigin) || origin != "" && slices.Contains(s.rules.shared, strings.ToLower(origin))
}

// isPreflight reports whether a browser asks if a script of an origin in Options.CORS may
// request a file. What is not a file has no such answer.
func (s *handler) isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" &&
		s.root != nil && len(s.rules.shared) > 0 && !s.isOurs(r.URL.Path) && !isStatusOnly(r)
}

// answerPreflight answers a browser that asks so.
func (s *handler) answerPreflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	s.shareWith(h, r)
	h.Add("Vary", "Access-Control-Request-Headers")
	if s.isShared(r.Header.Get("Origin")) {
		h.Set("Access-Control-Allow-Methods", "GET, HEAD")
		if headers := r.Header.Get("Access-Control-Request-Headers"); headers != "" {
			h.Set("Access-Control-Allow-Headers", headers)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}
