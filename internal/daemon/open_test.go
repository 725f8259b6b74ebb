package daemon

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/execlog/execlogd/internal/testenv"
)

// -open starts the program in $BROWSER with the address of the site. If it fails, that is a
// warning.
func TestOpenAtStart(t *testing.T) {
	dir := t.TempDir()
	told := filepath.Join(dir, "told")
	script := "#!/bin/sh\necho \"$@\" >" + told + ".new && mv " + told + ".new " + told + "\n"
	testenv.Check(t, os.WriteFile(filepath.Join(dir, "browser"), []byte(script), 0o755))

	t.Setenv("BROWSER", filepath.Join(dir, "browser")+" --new")
	s := begin(t, "-- x.toml --\n[server]\nroot = 'site'\nport = 0\n-- site/ --\n", "-open")
	deadline := time.Now().Add(testenv.WaitLimit)
	for text := []byte(nil); string(text) != "--new "+s.URL+"/\n"; text, _ = os.ReadFile(told) {
		if time.Now().After(deadline) {
			t.Fatalf("the browser was told %q, want %s/", text, s.URL)
		}
		time.Sleep(5 * time.Millisecond)
	}
	s.Stop()

	t.Setenv("BROWSER", filepath.Join(dir, "none"))
	s = begin(t, "-- x.toml --\n[server]\nroot = 'site'\nport = 0\n-- site/ --\n", "-open")
	s.Await(`level=WARN msg="browser not opened"`, "is no program")
	if status, _ := s.Get("/", ""); status != 200 {
		t.Errorf("status %d, want the site to be served", status)
	}
}
