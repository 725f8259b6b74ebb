package main

import (
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/execlog/execlogd/internal/testenv"
)

// Why says what is heard of a file that is mounted.
func TestWhyOfMountedFile(t *testing.T) {
	if !testenv.InMountNamespace(t) {
		return
	}
	root := t.TempDir()
	file := filepath.Join(root, "app.conf")
	testenv.BindFile(t, filepath.Join(t.TempDir(), "app.conf"), file)
	var out strings.Builder
	if err := run(t.Context(), []string{"why", "-root", root, file}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a file that is mounted here", "route    reload: triggered by"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}
