package router

import (
	"iter"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/execlog/execlogd/inotify"
)

func TestPatterns(t *testing.T) {
	tests := []struct {
		name     string
		patterns string // separated by spaces
		yes, no  string
	}{
		{"no pattern is everything", "", "a a/b .", ""},
		{"a name is that name anywhere", "docs", "docs a/docs", "docs/a doc docss a.docs"},
		{"a name with a star is at any depth", "*.go", "a.go a/b.go .go", "a.go/b a.gox go"},
		{"a star ends at a slash", "a/*.go", "a/b.go", "a/b/c.go b.go"},
		{"a slash in front is the root", "/*.go", "a.go", "a/b.go"},
		{"a dot and a slash in front are, too", "./*.go", "a.go", "a/b.go"},
		{"a slash in the middle is the whole path", "a/b", "a/b", "x/a/b a/b/c"},
		{"a slash at the end is all below", "docs/", "docs docs/a docs/a/b x/docs/a", "docsa/b x"},
		{"slashes at both ends are all below the root's", "/docs/", "docs docs/a", "x/docs/a"},
		{"two stars are any depth", "a/**/z", "a/z a/b/z a/b/c/z", "z a/bz b/a/z a/z/y"},
		{"two stars at the end are all below", "a/**", "a a/b a/b/c", "b ab"},
		{"two stars in front are all above", "**/a", "a b/a c/b/a", "a/b ba"},
		{"two stars twice", "**/a/**/b", "a/b x/a/b x/a/y/b a/a/y/b/b", "a b b/a a/b/c"},
		{"two stars alone are everything", "**", "a a/b .", ""},
		{"two stars in a name are one", "a**b/c", "ab/c axb/c", "a/b/c axb"},
		{"a star alone is every name", "*", "a a/b", "./"},
		{"a root that is a file is for everybody", "*.go", ".", "./"},
		{"a question mark is one character", "?.md", "a.md é.md", ".md ab.md"},
		{"a question mark is one byte that is no UTF-8", "?.md", "\xff.md", "\xff\xfe.md"},
		{"a star takes any bytes", "a*.md", "a\xff\xfe\n.md", "b\xff.md"},
		{"bytes that are no UTF-8 are themselves", "\xff*", "\xffa", "\xfea"},
		{"a class is one of them", "[a-c].md", "a.md x/b.md", "d.md -.md"},
		{"a class can be what is not", "a[^b]c", "axc", "abc a/c ac"},
		{"braces are alternatives", "*.{html,css}", "a.html b/a.css", "a.js a.{html,css}"},
		{"braces within braces", "{a,b{c,d}}.md", "a.md bc.md bd.md", "b.md c.md"},
		{"braces with slashes", "{a/b,c}/d", "a/b/d c/d", "a/d x/c/d"},
		{"each alternative has its own depth", "{*.md,docs/*}", "x/a.md docs/a", "x/docs/a"},
		{"an empty alternative", "*.htm{,l}", "a.htm a.html", "a.htmll"},
		{"braces in a class", "[{]a,b[}]", "{a,b}", "a b"},
		{"a comma in a class within braces", "{[,]x,y}", ",x y", "x"},
		{"an escape", `\*.md \{a,b\} \!x`, "*.md {a,b} !x", "a.md a x"},
		{"case matters", "*.MD", "a.MD", "a.md"},
		{"any of several", "*.md *.html", "a.md a.html", "a.css"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rs := newBatch(t, Route{Patterns: strings.Fields(tt.patterns), Ignore: []string{}, Mask: inotify.Modify})
			areFor(t, tt.yes, tt.no, func(path string) bool { return rs.wants(event(path, inotify.Modify)) })
		})
	}
}

func TestIgnore(t *testing.T) {
	tests := []struct {
		name    string
		ignore  string // separated by spaces; "default" is nil
		yes, no string // ignored or not
	}{
		{"hidden files and all in hidden directories", "default", ".a .git/config a/.b a/.b/c .#a", "a a.b a/b. ."},
		{"backups", "default", "a~ a/b~ b~/a", "~a a~b"},
		{"temporary files", "default", "a.tmp a/.a.swp 4913 a/4913 #a#", "a.tmpl tmp 49130 a# #a"},
		{"nothing", "", "", ".a a~ a.tmp"},
		{"a name anywhere, with all below", "node_modules", "node_modules node_modules/a/b x/node_modules/a", "node_modules2 x"},
		{"a slash at the end changes nothing", "node_modules/", "node_modules/a/b x/node_modules/a", "x/node"},
		{"a path from the root, with all below", "a/*.d", "a/b.d a/b.d/c", "x/a/b.d b.d"},
		{"a name in the root alone", "/build", "build build/a", "x/build"},
		{"what is deep below", "a/**/z", "a/z a/b/z a/z/c", "z a/b"},
		{"everything but the root", "**", "a a/b", "."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ignore := strings.Fields(tt.ignore)
			if tt.ignore == "default" {
				ignore = nil
			}
			rs := newBatch(t, Route{Ignore: ignore})
			areFor(t, tt.yes, tt.no, func(path string) bool { return rs.ignores(relative(path)) })
		})
	}
}

func TestDirectoryEvents(t *testing.T) {
	const all = inotify.Create | inotify.Delete | inotify.MovedTo
	tests := []struct {
		name     string
		patterns string
		event    string
		want     bool
	}{
		{"a directory that was made", "", "d/:c", true},
		{"a directory that no pattern names", "*.md", "d/:c", false},
		{"a renamed directory may hold what a pattern names", "*.md", "d/:t", true},
		{"a renamed directory below which no pattern looks", "docs/*.md", "d/:t", false},
		{"a renamed directory above what a pattern names", "docs/a/*.md", "docs/:t", true},
		{"a renamed directory below what a pattern names", "docs/*.md", "docs/a/:t", false},
		{"a removed directory was empty", "*.md", "d/:d", false},
		{"a renamed directory that is ignored", "*.md", ".d/:t", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rs := newBatch(t, Route{Patterns: strings.Fields(tt.patterns), Mask: all})
			if got := rs.wants(words(tt.event)[0]); got != tt.want {
				t.Errorf("wants %q: %v, want %v", tt.event, got, tt.want)
			}
		})
	}
}

func TestSkipDir(t *testing.T) {
	md := Route{Name: "md", Patterns: []string{"docs/*/*.md"}, Callback: discard}
	js := Route{Name: "js", Patterns: []string{"src/**/*.js"}, Ignore: []string{"node_modules"}, Callback: discard}
	tests := []struct {
		name    string
		routes  []Route
		yes, no string
	}{
		{"a route for everything skips what it ignores", []Route{{Name: "all", Callback: discard}}, ".git a/.b/c", ". a a/b"},
		{"a route with paths skips the others", []Route{md}, "src docs/a/b x/docs", ". docs docs/a"},
		{"two routes skip what both do", []Route{md, js}, "src/node_modules lib docs/a/b", "src src/.a docs src/a/b"},
		{"no route skips all", nil, "a .git", ""},
		{"a route skips what it writes itself", []Route{{Name: "all", Outputs: []string{"/out"}, Callback: discard}}, "out out/a", "a/out ."},
		{"a route that only follows skips all", []Route{md, {Name: "f", After: []string{"md"}, Follow: true, Callback: discard}}, "src", "docs"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := mustNew(t, Options{}, tt.routes...)
			areFor(t, tt.yes, tt.no, func(dir string) bool { return r.SkipDir("", dir) })
		})
	}
}

func TestDefaults(t *testing.T) {
	got := Route{}.withDefaults()
	if got.Mask != Reload || got.Delay != 30*ms || got.Debounce != 200*ms || got.Settle != 2*time.Second || got.Hold != 30*time.Second {
		t.Errorf("defaults: %+v", got)
	}
	if got := (Route{Delay: -1, Debounce: -1, Settle: -1, Hold: -1}).withDefaults(); got.Delay|got.Debounce|got.Settle|got.Hold != 0 {
		t.Errorf("negative is not none: %+v", got)
	}
	if got := (Route{Ignore: []string{}}).withDefaults(); len(got.Ignore) != 0 {
		t.Errorf("an empty Ignore became %q", got.Ignore)
	}
}

func TestMask(t *testing.T) {
	r := mustNew(t, Options{},
		Route{Name: "a", Callback: discard},
		Route{Name: "b", Callback: discard, Mask: inotify.Attrib})
	want := inotify.Modify | inotify.CloseWrite | inotify.Create | inotify.Delete | inotify.MovedFrom | inotify.MovedTo | inotify.Attrib
	if got := r.Mask(""); got != want {
		t.Errorf("mask %v, want %v", got, want)
	}
}

func TestRoots(t *testing.T) {
	r := mustNew(t, Options{},
		Route{Name: "all", Patterns: []string{"*.css"}, Callback: discard},
		Route{Name: "src", Roots: []string{"src", "lib"}, Patterns: []string{"go/*.go"}, Mask: inotify.Attrib, Callback: discard},
	)
	for _, root := range []string{"src", "lib", "www"} {
		in := root != "www"
		if got := r.Mask(root)&inotify.Attrib != 0; got != in {
			t.Errorf("%s: asks for attrib: %v", root, got)
		}
		if got := len(r.Explain(root, "x")); got != 1 && !in || got != 2 && in {
			t.Errorf("%s: %d routes", root, got)
		}
		if got := r.states[1].wants(inotify.Event{Root: root, Path: "go/a.go", Mask: inotify.Attrib}); got != in {
			t.Errorf("%s: wanted: %v", root, got)
		}
	}
	only := mustNew(t, Options{}, Route{Name: "src", Roots: []string{"src"}, Callback: discard})
	if only.SkipDir("src", "a") || !only.SkipDir("www", "a") || only.Mask("www") != 0 {
		t.Error("a root that no route is for is listened to")
	}
}

func TestNewErrors(t *testing.T) {
	after := func(name string, names ...string) Route { return Route{Name: name, Callback: discard, After: names} }
	pattern := func(p string) Route { return Route{Name: "r", Callback: discard, Patterns: []string{p}} }
	tests := []struct {
		name   string
		routes []Route
		want   string
	}{
		{"no name", []Route{{Callback: discard}}, `a route has no name: give it one, for logs and errors to use`},
		{"no callback", []Route{{Name: "r"}}, `route "r": no callback: set one`},
		{"one name twice", []Route{{Name: "r", Callback: discard}, {Name: "r", Callback: discard}}, `route "r": there are two of this name: rename one`},
		{"a mask nobody can ask for", []Route{{Name: "r", Callback: discard, Mask: inotify.Modify | inotify.IsDir}}, `route "r": mask has isdir, which cannot be asked for: take it out`},
		{"a negative timeout", []Route{{Name: "r", Callback: discard, Timeout: -1}}, `route "r": timeout -1ns is negative: use 0 for none`},
		{"a constant that is none", []Route{{Name: "r", Callback: discard, OnBusy: 3}}, `route "r": OnFailure 0, Per 0 or OnBusy 3 is none of ours: use the constants`},
		{"a follower of nobody", []Route{{Name: "r", Callback: discard, Follow: true}}, `route "r": it follows nothing: name in After what it follows`},
		{"after nobody", []Route{after("r", "x"), after("s")}, `route "r": after "x": there is no such route: there is "r", "s"`},
		{"after itself", []Route{after("r", "r")}, `route "r": it comes after itself: take it out of its After`},
		{"a cycle", []Route{after("z", "a"), after("a", "b"), after("b", "c"), after("c", "z", "a")}, `routes wait for each other: "z" after "a" after "b" after "c" after "z": take one out of the After of another`},
		{"a cycle that does not go through the first", []Route{after("z", "a"), after("a", "b"), after("b", "a")}, `routes wait for each other: "a" after "b" after "a": take one out of the After of another`},
		{"an empty pattern", []Route{pattern("")}, `route "r": pattern "": it is empty: write ** for everything`},
		{"an open class", []Route{pattern("a[b")}, `route "r": pattern "a[b": it is no glob: close each [ and {, or write \ before one that is meant as it is`},
		{"an open brace", []Route{pattern("a{b,")}, `route "r": pattern "a{b,": it is no glob: close each [ and {, or write \ before one that is meant as it is`},
		{"a negation", []Route{pattern("!a")}, `route "r": pattern "!a": nothing is negated here: name it in the other list, or write \! for a name that starts so`},
		{"a way out", []Route{pattern("../a")}, `route "r": pattern "../a": ".." is in no path: write the pattern relative to the root`},
		{"two slashes", []Route{pattern("a//b")}, `route "r": pattern "a//b": there is no name before, after or between its slashes: write one`},
		{"a slash alone", []Route{pattern("/")}, `route "r": pattern "/": there is no name before, after or between its slashes: write one`},
		{"a slash in a class", []Route{pattern("a[/]b")}, `route "r": pattern "a[/]b": a class or an escape holds a slash: names have none, cut the pattern there`},
		{"braces without end", []Route{pattern(strings.Repeat("{a,b}", 40))}, `route "r": pattern "` + strings.Repeat("{a,b}", 40) + `": its braces make more than 1024 patterns: use fewer, or several patterns`},
		{"a wrong ignore pattern", []Route{{Name: "r", Callback: discard, Ignore: []string{"["}}}, `route "r": ignore pattern "[": it is no glob: close each [ and {, or write \ before one that is meant as it is`},
		{"a wrong output pattern", []Route{{Name: "r", Callback: discard, Outputs: []string{""}}}, `route "r": output pattern "": it is empty: write ** for everything`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(Options{}, tt.routes...)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

// parents yields the directories above path, from the root on.
func parents(path string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range len(path) {
			if (i == 0 || path[i] == '/') && !yield(path[:i]) {
				return
			}
		}
	}
}

// areFor checks that something is so for paths, which may hold a newline, and not for others.
func areFor(t *testing.T, yes, no string, is func(path string) bool) {
	t.Helper()
	for want, paths := range map[bool]string{true: yes, false: no} {
		for _, path := range strings.FieldsFunc(paths, func(r rune) bool { return r == ' ' }) {
			if is(path) != want {
				t.Errorf("%q: %v, want %v", path, !want, want)
			}
		}
	}
}

// Events that match nothing: what a busy tree costs a route that is not for it.
func BenchmarkMatch(b *testing.B) {
	routes := map[string]Route{
		"mask":    {},
		"ignored": {Mask: inotify.Attrib},
		"pattern": {Mask: inotify.Attrib, Ignore: []string{}, Patterns: []string{"*.{html,css,js}", "src/**/*_test.go", "docs/[a-z]*/?.md"}},
	}
	for name, route := range routes {
		b.Run(name, func(b *testing.B) {
			route.Name, route.Callback = "test", discard
			r := mustNew(b, Options{}, route)
			events := make([]inotify.Event, 256)
			rnd := rand.New(rand.NewPCG(1, 2))
			for i := range events {
				events[i] = event(strings.Repeat("directory/", rnd.IntN(6))+".git/file.go", inotify.Attrib)
			}
			b.ReportAllocs()
			for b.Loop() {
				r.Events(events)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(events)), "ns/event")
			if !r.states[0].shared.batch.empty() {
				b.Fatal("an event was wanted")
			}
		})
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	r := mustNew(t, Options{}, Route{Name: "r", Patterns: []string{"*.{html,css,js}", "src/**/[a-z]*_test.go"}, Callback: discard})
	events := words("src/a/b/c.go src/a/.b/c_test.go a.txt:M .git/index:M x.md:cmw dir/:c .d/:t")
	if n := testing.AllocsPerRun(100, func() { r.Events(events) }); n != 0 {
		t.Errorf("%v allocations for events that nobody wants", n)
	}
	if b := &r.states[0].shared.batch; !b.empty() {
		t.Errorf("somebody wanted %v", eventsOf(b.take()))
	}
}
