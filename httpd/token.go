package httpd

import (
	"context"
	"net/http"
)

type badgeKey struct{}

// badged notes in a request which changes its answer will have seen. The
// position must be from before anything is read: what changes from then on is
// news.
func badged(r *http.Request, at position) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), badgeKey{}, badge{position: at}))
}

// badgeOf is the badge for the page that answers r.
func badgeOf(r *http.Request) badge {
	b, _ := r.Context().Value(badgeKey{}).(badge)
	return b
}
