package urlpath

import (
	"path/filepath"
	"strings"
	"testing"
)

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"/", "/a/b.css", "/a%20b", "/%C3%BC", "/%c3%bc", "/a//b/./../c/", "/..", "/%2e%2e/x", "/a%2fb", "/%", "x", "", "/.x", "/a\x00", "/a+b?#"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		path, ok := Parse(text)
		if !ok {
			if path != "" {
				t.Errorf("%q is not valid and became %q", text, path)
			}
			return
		}
		again, ok := Parse(path)
		if !ok || again != path {
			t.Errorf("%q became %q became %q", text, path, again)
		}
		for i := range len(path) {
			if c := path[i]; !isUnescaped(c) && c != '%' {
				t.Errorf("%q became %q", text, path)
			}
		}
		if name := filepath.Clean(path); strings.Contains(name, "/.") || strings.Contains(path, "//") {
			t.Errorf("%q became %q, which is never served", text, path)
		}
	})
}
