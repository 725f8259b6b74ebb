package main

import (
	"io"
	"os"
	"strings"
	"testing"

	"github.com/execlog/execlogd/internal/testenv"
)

const triggering = `
-- x.toml --
control = "control.sock"

[[route]]
name = "build"
root = "src"
match = "*.md"
debounce = "0s"
shell = "echo \"$EXECLOGD_PATHS\" >>../ran; eval \"exit $(cat ../status)\""
dir = "src"

[[route]]
name = "each"
per = "file"
root = "src"
match = "*.png"
run = ["true"]
-- src/a.md --
-- status --
0
`

func TestTrigger(t *testing.T) {
	s := begin(t, triggering)
	t.Chdir(s.Dir)
	testenv.Check(t, os.Symlink("src", "link"))
	ask := func(args ...string) error {
		return run(t.Context(), append([]string{"trigger", "-control", "control.sock"}, args...), io.Discard, io.Discard)
	}
	ran := func() string {
		text, _ := os.ReadFile("ran")
		os.Remove("ran")
		return strings.ReplaceAll(string(text), s.Dir, "DIR")
	}
	for _, tt := range []struct {
		args, status string
		want         int
		failure, ran string
	}{
		{"build", "0", 0, "", "DIR/src\n"},
		{"build src/a.md link/b.txt", "0", 0, "", "DIR/src/a.md\nDIR/src/b.txt\n"},
		{"build", "3", 3, "exit status 3", "DIR/src\n"},
		{"build", "$(kill -KILL $$)", 128 + 9, "killed", "DIR/src\n"},
		{"bild", "0", 2, `no route "bild": is build meant?`, ""},
		{"other", "0", 2, `no route "other": want one of build, each`, ""},
		{"build x", "0", 2, `/x is not below the root of route "build", DIR/src`, ""},
		{"each", "0", 2, `route "each" runs for each file: name files below DIR/src`, ""},
		{"each src/x.txt", "0", 0, "", ""},
	} {
		s.Write("status", tt.status)
		err := ask(strings.Fields(tt.args)...)
		if exitStatus(err) != tt.want || err != nil && !strings.Contains(strings.ReplaceAll(err.Error(), s.Dir, "DIR"), tt.failure) {
			t.Errorf("%s: %v, status %d; want %d, %s", tt.args, err, exitStatus(err), tt.want, tt.failure)
		}
		if got := ran(); got != tt.ran {
			t.Errorf("%s: ran for %q, want %q", tt.args, got, tt.ran)
		}
	}
	s.Write("status", "7")
	if err := ask("-n", "build"); err != nil {
		t.Errorf("-n: %v", err)
	}
	s.Await("exit status 7")
}
