package httpd

import (
	"context"
	"net/http"

	"github.com/execlog/execlogd/httpd/internal/livereload"
)

type tokenKey struct{}

// withToken notes in a request which changes its answer will have seen. The
// position must be from before anything is read: what changes from then on is
// news.
func withToken(r *http.Request, at livereload.Cursor) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), tokenKey{}, livereload.PageToken{Cursor: at}))
}

// tokenOf is the badge for the page that answers r.
func tokenOf(r *http.Request) livereload.PageToken {
	b, _ := r.Context().Value(tokenKey{}).(livereload.PageToken)
	return b
}
