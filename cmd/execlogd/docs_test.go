package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// maxReadmeWords is what a person in a hurry reads.
const maxReadmeWords = 1200

func TestReadmeIsShort(t *testing.T) {
	if n := len(strings.Fields(read(t, "../../README.md"))); n > maxReadmeWords {
		t.Errorf("README has %d words, want %d at most: move the rest to docs/ or the manual pages", n, maxReadmeWords)
	}
}

// The recipes of README are parts of those of a document, which e2e runs.
func TestReadmeHasRecipesOfTheDocument(t *testing.T) {
	_, section, _ := strings.Cut(read(t, "../../README.md"), "\n### 5. ")
	section, _, _ = strings.Cut(section, "\n### ")
	recipes := read(t, "../../docs/machines.md")
	lines := regexp.MustCompile(`(?m)^    (.+)$`).FindAllStringSubmatch(section, -1)
	if len(lines) < 7 {
		t.Errorf("%d lines of recipes were found, want 7 at least", len(lines))
	}
	for _, line := range lines {
		if !regexp.MustCompile(`(?m)^ *` + regexp.QuoteMeta(line[1]) + `( +#.*)?$`).MatchString(recipes) {
			t.Errorf("docs/machines.md has no line %q", line[1])
		}
	}
}

func documents(t *testing.T) []string {
	t.Helper()
	var files []string
	for _, pattern := range []string{"../../*.md", "../../docs/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("no %s: %v", pattern, err)
		}
		files = append(files, found...)
	}
	return files
}

func TestDocumentsLinkToWhatIsThere(t *testing.T) {
	links := regexp.MustCompile(`\]\(([^):#]+)\)`)
	for _, file := range documents(t) {
		for _, link := range links.FindAllStringSubmatch(read(t, file), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), link[1])); err != nil {
				t.Errorf("%s: %v", filepath.Base(file), err)
			}
		}
	}
}

// A configuration that a document shows is right.
func TestDocumentsShowRightConfigurations(t *testing.T) {
	blocks := regexp.MustCompile("(?s)\n```toml\n(.*?)\n```\n")
	found := 0
	for _, file := range documents(t) {
		for _, block := range blocks.FindAllStringSubmatch(read(t, file), -1) {
			found++
			dir := t.TempDir()
			for _, name := range []string{"public", "_site", "node_modules/.bin"} {
				if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for _, file := range []string{"node_modules/.bin/eleventy", "make-site", "nats.creds"} {
				if err := os.WriteFile(filepath.Join(dir, file), nil, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			config := filepath.Join(dir, "site.toml")
			if err := os.WriteFile(config, []byte(block[1]), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := run(t.Context(), []string{"check", "-config", config}, io.Discard, io.Discard); err != nil {
				t.Errorf("%s: %v", filepath.Base(file), err)
			}
		}
	}
	if found < 2 {
		t.Errorf("%d configurations were found, want 2 at least", found)
	}
}

// Every function that ARCHITECTURE.md names, as `package.function` or
// `package.Type.method`, exists.
func TestArchitectureNamesFunctionsThatExist(t *testing.T) {
	text := read(t, "../../ARCHITECTURE.md")
	_, journeys, found := strings.Cut(text, "\n## Appendix")
	if !found {
		t.Fatal("there is no appendix")
	}
	names := regexp.MustCompile("(?m)^[0-9]+[.] `([a-z/]+)[.]([A-Za-z.]+)`").FindAllStringSubmatch(journeys, -1)
	if len(names) < 20 {
		t.Errorf("%d functions are named, want 20 at least", len(names))
	}
	declared := map[string]map[string]bool{} // by directory
	for _, name := range names {
		dir, function := name[1], name[2]
		if declared[dir] == nil {
			declared[dir] = functionsIn(t, "../../"+dir)
		}
		if !declared[dir][function] {
			t.Errorf("%s has no function %s", dir, function)
		}
	}
}

// functionsIn returns the functions and methods (Type.method) of a package.
func functionsIn(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(dir + "/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no Go files in %s: %v", dir, err)
	}
	names := map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			names[receiver(f)+f.Name.Name] = true
		}
	}
	return names
}

// receiver returns the type of a method and a dot; empty for a function.
func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	of := f.Recv.List[0].Type
	if pointer, ok := of.(*ast.StarExpr); ok {
		of = pointer.X
	}
	if generic, ok := of.(*ast.IndexExpr); ok {
		of = generic.X
	}
	if name, ok := of.(*ast.Ident); ok {
		return name.Name + "."
	}
	return ""
}
