package glob

import (
	"slices"
	"strings"
	"testing"

	"github.com/bmatcuk/doublestar/v4"
)

// FuzzCompile checks a pattern against what must be true of all of them.
func FuzzCompile(f *testing.F) {
	for _, p := range []string{"*.go", "a/**/b", "/a/", "{a,b/c}/*", "[a-c]?", `\*`, "**", "a**", "{a,{b,c}d}", "[^a]/b", "\xff*", "*.{html,css}"} {
		f.Add(p, "a/b/c.go")
		f.Add(p, "\xff/é/\n")
	}
	f.Add("0*/**", "0")
	f.Fuzz(func(t *testing.T, pattern, path string) {
		globs, err := Compile(pattern)
		if err != nil || !isPath(path) {
			return
		}
		matched := MatchAny(globs, path)

		// doublestar reads the pattern the same way, except for classes, which
		// may match a slash there, for slashes at the ends, and for bytes that
		// are no UTF-8. It also misses a directory that a*/** matches when the star
		// stands for nothing, and some matches of more than two stars in a row.
		if whole := strings.Trim(strings.TrimPrefix(pattern, "./"), "/") == pattern; whole &&
			strings.Contains(pattern, "/") && !strings.ContainsAny(pattern, "[{") && !strings.Contains(pattern, "***") && isUTF8(pattern) && isUTF8(path) {
			want := doublestar.MatchUnvalidated(pattern, path)
			for dir, ok := strings.CutSuffix(pattern, "/**"); ok && !want; dir, ok = strings.CutSuffix(dir, "/**") {
				want = doublestar.MatchUnvalidated(dir, path)
			}
			if matched != want {
				t.Errorf("%q matches %q: %v, doublestar says %v", pattern, path, matched, want)
			}
		}

		for i := range len(path) {
			dir := path[:i]
			if (i == 0 || path[i] == '/') && matched && !slices.ContainsFunc(globs, func(g Glob) bool { return g.CanMatchBelow(dir) }) {
				t.Errorf("%q matches %q, and cannot match below %q", pattern, path, dir)
			}
		}
		if below := path + "/below"; matched && !slices.ContainsFunc(globs, func(g Glob) bool { return g.Below().Match(path) && g.Below().Match(below) }) {
			t.Errorf("%q matches %q, and nothing below", pattern, path)
		}
		if !strings.Contains(pattern, "/") && matched && !MatchAny(globs, "x/"+path) {
			t.Errorf("%q has no slash and matches %q, and not deeper down", pattern, path)
		}

		exact, err := Compile(escape(path))
		if err != nil {
			t.Fatalf("%q: %v", escape(path), err)
		}
		if !MatchAny(exact, path) {
			t.Errorf("%q does not match %q", escape(path), path)
		}
	})
}

// TestStars checks that neighbouring stars within a name mean the same as one.
func TestStars(t *testing.T) {
	for _, c := range []struct{ pattern, path string }{
		{"a***", "a"}, {"a***/*", "a/0"}, {`\**`, "*x"}, {`\\\**`, `\*x`}, {"[**]a", "*a"}, {"***", "a"},
	} {
		if globs, err := Compile(c.pattern); err != nil || !MatchAny(globs, c.path) {
			t.Errorf("%q does not match %q, error %v", c.pattern, c.path, err)
		}
	}
}

// FuzzExpand checks the expansion of braces against doublestar, which misses
// some matches of alternatives that may be empty, and reads wildcards beside braces
// in ways of its own.
func FuzzExpand(f *testing.F) {
	f.Add("x/{a,b{c,d}}.md", "x/bc.md")
	f.Add("x/{a/b,}c/d", "x/c/d")
	f.Fuzz(func(t *testing.T, pattern, path string) {
		if !strings.Contains(pattern, "{") || strings.ContainsAny(pattern, "[*?") || !isUTF8(pattern) || !isUTF8(path) || !isPath(path) {
			return
		}
		if _, err := Compile(pattern); err != nil {
			return
		}
		expanded := slices.ContainsFunc(expand(nil, pattern), func(p string) bool { return doublestar.MatchUnvalidated(p, path) })
		maybeEmpty := strings.Contains(pattern, "{,") || strings.Contains(pattern, ",,") ||
			strings.Contains(pattern, ",}") || strings.Contains(pattern, "{}")
		if want := doublestar.MatchUnvalidated(pattern, path); expanded != want && (want || !maybeEmpty) {
			t.Errorf("%q expanded to %q matches %q: %v, want %v", pattern, expand(nil, pattern), path, expanded, want)
		}
	})
}

// FuzzCovers checks that a glob matches what the globs that it covers match.
func FuzzCovers(f *testing.F) {
	for _, p := range []string{"*.go", "a*b", "a/**/b", "/a/", "{a,b/c}/*", "[a-c]?", `\*x`, `a\*`, "**", ".x*", "x[ab]y"} {
		f.Add(p, "**/*.go", "a/b.go")
		f.Add("*", p, "ab")
		f.Add("a*", p, "a*b")
	}
	f.Fuzz(func(t *testing.T, pattern, covered, path string) {
		outer, err := Compile(pattern)
		inner, innerErr := Compile(covered)
		if err != nil || innerErr != nil || !isPath(path) || !MatchAny(inner, path) {
			return
		}
		if CoverAll(outer, inner) && !slices.ContainsFunc(outer, func(g Glob) bool { return g.Below().Match(path) }) {
			t.Errorf("%q covers all of %q and does not match %q or a directory above it", pattern, covered, path)
		}
		for _, o := range outer {
			for _, i := range inner {
				if o.depths() < maxDepths && o.covers(i) && i.Match(path) && !o.Match(path) {
					t.Errorf("%q covers %q and does not match %q", o, i, path)
				}
			}
		}
	})
}

// escape returns the pattern that matches the path alone.
func escape(path string) string {
	var b strings.Builder
	b.WriteByte('/')
	for i := range len(path) {
		if strings.IndexByte(special+"!,-^", path[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(path[i])
	}
	return b.String()
}

// isPath reports whether the kernel could report the path below a root.
func isPath(path string) bool {
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." || name == ".." || strings.Contains(name, "\x00") {
			return false
		}
	}
	return true
}

// isUTF8 reports whether s has no byte that doublestar takes for another.
func isUTF8(s string) bool { return !strings.Contains(strings.ToValidUTF8(s, "\uFFFD"), "\uFFFD") }

func TestMatchAllocatesNothing(t *testing.T) {
	globs, err := Compile("src/**/{[a-z]*_test.go,*.{html,css}}")
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { MatchAny(globs, "src/a/b/c.go") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
