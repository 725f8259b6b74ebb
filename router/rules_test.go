package router

import (
	"slices"
	"strings"
	"testing"

	"github.com/execlog/execlogd/inotify"
)

// A name that a pattern spells out is not hidden, nor are the directories that
// lead to it skipped; other hidden names stay so.
func TestNamesThatAreSpelledOutAreNotHidden(t *testing.T) {
	tests := []struct {
		patterns, paths, but string // paths are wanted, but are not
	}{
		{".env", ".env a/.env", ".env/x .git/.env a/.envrc .x"},
		{".env*", ".env .env.local a/.envrc", ".git/.env .env.swp .env~"},
		{".{env,envrc}", ".env .envrc", ".x"},
		{".github/**/*.yml", ".github/x.yml .github/workflows/x.yml", ".github/.cache/x.yml a/.github/x.yml .git/x.yml"},
		{".well-known/", ".well-known .well-known/x a/.well-known/b/c", ".well-known/.x .git/.well-known/x"},
		{"*.tmp", "a.tmp a/b.tmp", ".a.tmp .git/a.tmp a.tmp/b"},
		{"*.md .x.md", "a.md .x.md", ".y.md .git/a.md"},
		{"*.md", "a.md", ".a.md .git/a.md a.md~"},
		{"", "a", ".a .git/a a~"},
		{"**", "a a/b", ".a .git/a"},
		{".*", ".a a/.b", ".a/b a .a.swp"},
		{"[.]env", "", ".env"}, // a class may stand for other names as well
		{"4913 #x#", "4913 a/#x#", "#y#"},
	}
	for _, tt := range tests {
		patterns := strings.Fields(tt.patterns)
		r := mustNew(t, Options{}, Route{Name: "x", Patterns: patterns, Callback: discard})
		areFor(t, tt.paths, tt.but, func(path string) bool { return r.Explain("", path)[0].Wanted })
		for path := range strings.FieldsSeq(tt.paths) {
			for dir := range parents(path) {
				if r.SkipDir("", dir) {
					t.Errorf("%s wants %s and skips %s", tt.patterns, path, dir)
				}
			}
			if v := r.Explain("", path)[0]; v.Ignored != "" {
				t.Errorf("%s wants %s, which is ignored by %s", tt.patterns, path, v.Ignored)
			}
		}
	}
}

// What is ignored by name is so whatever is spelled out.
func TestIgnoreIsStrongerThanWhatIsSpelledOut(t *testing.T) {
	for _, route := range []Route{
		{Ignore: []string{".*"}, Hidden: DefaultIgnore()},
		{Ignore: []string{".*"}},
		{Ignore: DefaultIgnore()},
		{Ignore: []string{".env"}, Hidden: []string{".*"}},
		{Outputs: []string{".env"}},
	} {
		route.Name, route.Patterns, route.Callback = "x", []string{".env"}, discard
		r := mustNew(t, Options{}, route)
		if v := r.Explain("", ".env")[0]; v.Wanted || v.Ignored+v.Output == "" {
			t.Errorf("%q: got %+v", route.Ignore, v)
		}
	}
	for _, hidden := range []string{"a/.*", "/.*", ".x/", "**"} {
		if _, err := New(Options{}, Route{Name: "x", Hidden: []string{hidden}, Callback: discard}); err == nil || !strings.Contains(err.Error(), "put it into Ignore") {
			t.Errorf("%s as a hidden name: %v", hidden, err)
		}
	}
}

func TestConflicts(t *testing.T) {
	tests := []struct {
		patterns, ignore string
		want             string // patterns in conflict
	}{
		{"*.md", "*.md", "*.md"},
		{"*.md", "*.markdown", ""},
		{"docs/*.md", "docs", "docs/*.md"},
		{"docs/*.md", "docs/", "docs/*.md"},
		{"docs/*.md", "/docs/", "docs/*.md"},
		{"*.md", "docs/", ""},
		{"docs/**/*.md", "*.md", "docs/**/*.md"},
		{"*.{js,ts}", "*.js", ""},
		{"*.{js,ts}", "*.{ts,js,x}", "*.{js,ts}"},
		{"a b", "**", "a b"},
		{"a/b/c", "a/**", "a/b/c"},
		{"a/b/c", "a/*/d", ""},
		{"a", "a/b", ""},
		{"/docs/a*.md", "docs/*.md", "/docs/a*.md"},
		{"x[ab].md", "*.md", "x[ab].md"},
		{"x[ab].md", "xa.md", ""},
	}
	for _, tt := range tests {
		var got []string
		for _, c := range (Route{Patterns: strings.Fields(tt.patterns), Ignore: strings.Fields(tt.ignore)}).Conflicts() {
			if c.By != tt.ignore {
				t.Errorf("by %s, want %s", c.By, tt.ignore)
			}
			got = append(got, c.Pattern)
		}
		if !slices.Equal(got, strings.Fields(tt.want)) {
			t.Errorf("match %s, ignore %s: got %q, want %q", tt.patterns, tt.ignore, got, tt.want)
		}
	}
}

// A route that is not recursive is for what is directly in its roots, and has no
// directory below watched.
func TestNotRecursive(t *testing.T) {
	flat := Route{Name: "flat", NotRecursive: true, Patterns: []string{"*.md"}, Roots: []string{"a"}, Callback: discard}
	r := mustNew(t, Options{}, flat)
	matches, err := r.Matcher("flat")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{"x.md": true, "d/x.md": false, "d/e/x.md": false, "x.txt": false} {
		if got := matches("a", path); got != want {
			t.Errorf("it is for %s: %v, want %v", path, got, want)
		}
		if got := r.Explain("a", path)[0].Wanted; got != want {
			t.Errorf("Explain says of %s that it is wanted: %v, want %v", path, got, want)
		}
	}
	if !r.SkipDir("a", "d") {
		t.Error("a directory is watched")
	}
	// A directory that comes stands for nothing below it.
	if s, err := r.state("flat"); err != nil || s.wants(inotify.Event{Root: "a", Path: "d", Mask: inotify.MovedTo | inotify.IsDir}) {
		t.Errorf("a directory that is moved there is wanted (%v)", err)
	}
	// Another route that is recursive has it watched for itself.
	deep := flat
	deep.Name, deep.NotRecursive = "deep", false
	if r = mustNew(t, Options{}, flat, deep); r.SkipDir("a", "d") {
		t.Error("a directory is not watched for the route that is recursive")
	}
}

func TestExplain(t *testing.T) {
	r := mustNew(t, Options{},
		Route{Name: "all", Ignore: []string{".*", "node_modules"}, Outputs: []string{"/out"}, Callback: discard},
		Route{Name: "go", Patterns: []string{"*.mod", "cmd/**/*.{go,s}"}, Mask: inotify.Delete, Callback: discard},
		Route{Name: "elsewhere", Roots: []string{"other"}, Callback: discard},
	)
	const all, mod = Reload, inotify.Delete
	tests := []struct {
		path string
		want [2]Explanation
	}{
		{"a.txt", [2]Explanation{{"all", all, "", "", true, "", ""}, {"go", mod, "", "", false, "", ""}}},
		{"x/go.mod", [2]Explanation{{"all", all, "", "", true, "", ""}, {"go", mod, "", "*.mod", true, "", ""}}},
		{"cmd/x/y.s", [2]Explanation{{"all", all, "", "", true, "", ""}, {"go", mod, "", "cmd/**/*.{go,s}", true, "", ""}}},
		{"a/node_modules/go.mod", [2]Explanation{{"all", all, "node_modules", "", false, "", ""}, {"go", mod, "", "*.mod", true, "", ""}}},
		{".git/go.mod", [2]Explanation{{"all", all, ".*", "", false, "", ""}, {"go", mod, ".*", "*.mod", false, "", ""}}},
		{"out/x/go.mod", [2]Explanation{{"all", all, "", "", false, "/out", ""}, {"go", mod, "", "*.mod", true, "", ""}}},
	}
	for _, tt := range tests {
		if got := r.Explain("", tt.path); [2]Explanation(got) != tt.want {
			t.Errorf("%s:\n got %+v\nwant %+v", tt.path, got, tt.want)
		}
	}
}
