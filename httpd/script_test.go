package httpd

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/execlog/execlogd/httpd/internal/livereload"
)

func TestBlockedPagesAreLogged(t *testing.T) {
	var said bytes.Buffer
	s := must(New(Options{Logger: slog.New(slog.NewTextHandler(&said, nil))}))(t)
	defer s.Close()
	for _, page := range []string{"http://127.0.0.1/a", "http://127.0.0.1/a", "http://127.0.0.1/b", ""} {
		r := httptest.NewRequest(http.MethodGet, "/livereload.js?blocked=connect-src", nil)
		r.Host = "127.0.0.1"
		r.Header.Set("Referer", page)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != http.StatusOK || w.Body.String() != livereload.Script {
			t.Errorf("status %d, want the script with 200", w.Code)
		}
	}
	if lines := strings.Count(said.String(), "page's policy blocks live reload"); lines != 3 {
		t.Errorf("%d lines for 3 pages:\n%s", lines, &said)
	}
}
