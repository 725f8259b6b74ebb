package daemon

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/execlog/execlogd/internal/control"
	"github.com/execlog/execlogd/internal/testenv"
)

// Whoever asks for a reload by the control socket gets its result, and it has taken place by
// then.
func TestReloadIsAnswered(t *testing.T) {
	s := begin(t, "-- x.toml --\ncontrol = 'c.sock'\n[server]\nroot = 'a'\nport = 0\n-- a/index.html --\nold\n-- b/index.html --\nnew\n")
	reload := func() (failure string) {
		t.Helper()
		res, err := control.Do(t.Context(), filepath.Join(s.Dir, "c.sock"), http.MethodPost, "/reload", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var result control.Result
		testenv.Check(t, json.NewDecoder(res.Body).Decode(&result))
		return result.Failure
	}

	s.Write("x.toml", "control = 'c.sock'\n[server]\nroot = 'no'\nport = 0\n")
	if got := reload(); !strings.Contains(got, "x.toml:3:8: root ") {
		t.Errorf("a wrong file: %q", got)
	}
	if got := s.get("/"); !strings.Contains(got, "old") {
		t.Errorf("after a wrong file: %s", got)
	}
	s.Write("x.toml", "control = 'd.sock'\n[server]\nroot = 'b'\nport = 0\n")
	if got := reload(); got != "" {
		t.Errorf("a right file: %q", got)
	}
	if got := s.get("/"); !strings.Contains(got, "new") {
		t.Errorf("after a right file: %s", got)
	}
}
