package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/execlog/execlogd/internal/testenv"
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

// A builder is started again by its configuration, and not by what it builds.
func TestBuilderMatchesSources(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"src/a.md", "plugins/a.rb"} {
		path := filepath.Join(dir, name)
		testenv.Check(t, os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600))
	}
	for glob, want := range map[string]bool{
		"**": true, "/**": true, "*": true, "*.md": true, "/src/*.{scss,css}": true, "src/**/*.ts": true, "src/": true, "/src/**": true, "src": false,
		"/hugo.toml": false, "*.toml": false, "/vite.config.*": false, "/.env*": false, "plugins/": false, "none/": false, "tailwind.config.ts": false, "*.config.ts": false,
	} {
		if got := isForSources(glob, dir); got != want {
			t.Errorf("%s is for sources: %v, want %v", glob, got, want)
		}
	}

	notes := func(route string) Mistakes {
		cfg := mustParse(t, "[[route]]\nname = 'x'\n"+route)
		cfg.Routes[0].Root = dir
		return cfg.Notes()
	}
	if got := notes("run = ['x']\nbuilder = true\nmatch = ['x.toml', '*.md']"); len(got) != 1 || !strings.HasPrefix(got[0].Error(), `x.toml:5:20: route "x": pattern "*.md" in match: each save`) {
		t.Errorf("got %v", got)
	}
	for _, route := range []string{"run = ['x']\nmatch = '*.md'", "builder = 'vite'", "builder = 'mkdocs'\nmatch = '*.md'"} {
		if got := notes(route); len(got) > 0 {
			t.Errorf("%s: %v", route, got)
		}
	}
}
