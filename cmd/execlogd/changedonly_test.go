package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A route with changed_only runs for files whose content differs from that of the
// last run that succeeded, and for nothing else.
func TestChangedOnly(t *testing.T) {
	s := begin(t, `
-- src/a.md --
a
-- src/b.md --
b
-- run.sh --
for p in $EXECLOGD_PATHS; do echo "${p##*/}" >>runs; done
test ! -e broken
-- x.toml --
[[route]]
name = "build"
root = "src"
changed_only = true
run = ["sh", "run.sh"]
`)
	// save writes files and waits for the runs of those that differ, which may be
	// more than one on a busy machine. The last file is one of them.
	seen := 0
	save := func(end, want string, files ...string) {
		t.Helper()
		for i := 0; i < len(files); i += 2 {
			s.write("src/"+files[i], files[i+1])
		}
		for {
			s.await("msg=" + end + " route=build")
			text, err := os.ReadFile(filepath.Join(s.dir, "runs"))
			if err != nil {
				t.Fatal(err)
			}
			all := strings.Fields(string(text))
			got := slices.Compact(slices.Sorted(slices.Values(all[seen:])))
			if slices.Contains(got, files[len(files)-2]) {
				seen = len(all)
				if strings.Join(got, " ") != want {
					t.Fatalf("it ran for %q, want %s", got, want)
				}
				return
			}
		}
	}
	save("done", "a.md b.md", "a.md", "a", "b.md", "b") // for the first time
	save("done", "b.md", "a.md", "a", "b.md", "b2")     // a is as it was
	save("done", "new.md", "b.md", "b2", "new.md", "x") // and now b
	if err := os.Rename(filepath.Join(s.dir, "src/new.md"), filepath.Join(s.dir, "src/b.md")); err != nil {
		t.Fatal(err)
	}
	save("done", "a.md b.md new.md", "a.md", "a2")

	// After a failure everything counts, as somebody has to try again.
	s.write("broken", "")
	save("failed", "a.md", "a.md", "a3")
	if err := os.Remove(filepath.Join(s.dir, "broken")); err != nil {
		t.Fatal(err)
	}
	save("done", "a.md b.md", "b.md", "x", "a.md", "a3")
}

// By file, each is compared with its own last run.
func TestChangedOnlyByFile(t *testing.T) {
	s := begin(t, `
-- src/a.md --
a
-- src/b.md --
b
-- x.toml --
[[route]]
name = "build"
root = "src"
per = "file"
start = true
changed_only = true
run = ["cat", "{path}"]
`)
	s.awaitAll("msg=done route=build path="+s.dir+"/src/a.md", "msg=done route=build path="+s.dir+"/src/b.md")
	before := len(s.seen)
	s.write("src/a.md", "a\n")
	s.write("src/b.md", "b2")
	s.await("msg=done route=build path=" + s.dir + "/src/b.md")
	s.write("src/a.md", "a2")
	s.await("msg=done route=build path=" + s.dir + "/src/a.md")
	done := func(line string) bool { return strings.Contains(line, "msg=done") }
	if n := len(slices.DeleteFunc(slices.Clone(s.seen[before:]), func(l string) bool { return !done(l) })); n != 2 {
		t.Errorf("there were %d runs, want 2:\n%s", n, strings.Join(s.seen[before:], "\n"))
	}
}
