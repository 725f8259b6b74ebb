package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/router"
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

func TestContents(t *testing.T) {
	dir := t.TempDir()
	event := func(name string, mask inotify.Mask) inotify.Event {
		return inotify.Event{Root: dir, Path: name, Mask: mask}
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var known contents
	compare := func(events ...inotify.Event) (changed []string, seen map[string]content) {
		list, seen := known.compare(events)
		for _, e := range list {
			changed = append(changed, e.Path)
		}
		return changed, seen
	}
	is := func(what string, want []string, events ...inotify.Event) map[string]content {
		t.Helper()
		changed, seen := compare(events...)
		if !slices.Equal(changed, want) {
			t.Errorf("%s: changed are %q, want %q", what, changed, want)
		}
		return seen
	}
	saved := event("a", inotify.Modify)
	write("a", "one")
	known.remember(is("the first time", []string{"a"}, saved))
	is("the same", nil, saved)
	write("a", "two") // of the same length
	seen := is("other content", []string{"a"}, saved)
	write("a", "one") // while it runs
	known.remember(seen)
	is("changed during the run", []string{"a"}, saved)
	known.remember(is("again", []string{"a"}, saved))
	is("triggered by hand", []string{"a"}, event("a", 0))
	is("a directory", []string{"."}, event(".", inotify.Create|inotify.IsDir))
	os.Remove(filepath.Join(dir, "a"))
	known.remember(is("gone", []string{"a"}, event("a", inotify.Delete)))
	write("a", "one")
	known.remember(is("it is back", []string{"a"}, event("a", inotify.Create)))
	is("the same as before", nil, saved)
	known.forget(saved)
	is("after its run failed", []string{"a"}, saved)

	f, err := os.Create(filepath.Join(dir, "large"))
	if err == nil {
		err = errors.Join(f.Truncate(maxCompared+1), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	large := event("large", inotify.Modify)
	known.remember(is("a large file", []string{"large"}, large))
	is("a large file as it was", nil, large)
	later := time.Now().Add(time.Hour)
	os.Chtimes(filepath.Join(dir, "large"), later, later)
	is("a large file with another time", []string{"large"}, large)

	for i := range maxContents {
		known.digests[fmt.Sprint(i)] = seen[saved.Name()].digest
	}
	known.remember(is("too many", []string{"a"}, saved))
	is("the only one that is remembered", nil, saved)
	if len(known.digests) != 1 {
		t.Errorf("%d files are remembered", len(known.digests))
	}
	if err := onlyChanged(&config.Route{ChangedOnly: true}, &runnable{}, nil)(t.Context(), nil); !errors.Is(err, router.ErrSkipped) {
		t.Errorf("without a change: %v", err)
	}
}
