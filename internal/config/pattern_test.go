package config

import (
	"os"
	"path/filepath"
	"testing"
)

// Patterns that may match are not refused.
func TestPatternsThatMayMatch(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"src/main.go", "docs/a.md", "x.md"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, dir), 0o700); err != nil { // the root is below itself
		t.Fatal(err)
	}
	globs := []string{dir + "/x.md", "/docs/", "/src/*.go", "a,b.csv", "*,v", "{*.js,*.ts}", `*.js\,*.ts`, "./src/", "/*", "x[,]*.y", "src/", "**/*.go"}
	var args []string
	for _, p := range globs {
		p := pattern{key: "match", glob: p}
		if wrong, note := p.wrong([]string{dir}), p.note([]string{dir}); wrong != "" || note != "" {
			t.Errorf("%s: %s %s", p.glob, wrong, note)
		}
		args = append(args, "-match", p.glob)
	}
	if _, err := ParseRun("execlogd run", "", append(append(args, "-path", dir), "true")); err != nil {
		t.Error(err)
	}
}

// An output outside the root has a note, also when it does not exist yet.
func TestOutputsOutsideTheRoot(t *testing.T) {
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	for glob, want := range map[string]string{
		filepath.Join(dir, "public") + "/":    "patterns are relative to the root, and " + filepath.Join(dir, "public") + " is not below that: it need not be named",
		filepath.Join(dir, "public") + "/*.o": "patterns are relative to the root, and " + filepath.Join(dir, "public") + " is not below that: it need not be named",
		dir + "/":                             "patterns are relative to the root, and " + dir + " is not below that: it need not be named",
		"/public/":                            "",
		"/tmp/":                               "",
		"/tmp/out/":                           "",
		"/a/b/c/":                             "",
	} {
		if got := (pattern{key: "outputs", glob: glob}).note([]string{src}); got != want {
			t.Errorf("outputs = %q: %q, want %q", glob, got, want)
		}
	}
}
