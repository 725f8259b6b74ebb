package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/execlog/execlogd/internal/testenv"
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
			s.Write("src/"+files[i], files[i+1])
		}
		for {
			s.Await("msg=" + end + " route=build")
			text, err := os.ReadFile(filepath.Join(s.Dir, "runs"))
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
	testenv.Check(t, os.Rename(filepath.Join(s.Dir, "src/new.md"), filepath.Join(s.Dir, "src/b.md")))
	save("done", "a.md b.md new.md", "a.md", "a2")

	// After a failure everything counts, as somebody has to try again.
	s.Write("broken", "")
	save("failed", "a.md", "a.md", "a3")
	testenv.Check(t, os.Remove(filepath.Join(s.Dir, "broken")))
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
	s.AwaitAll("msg=done route=build path="+s.Dir+"/src/a.md", "msg=done route=build path="+s.Dir+"/src/b.md")
	before := len(s.Seen)
	s.Write("src/a.md", "a\n")
	s.Write("src/b.md", "b2")
	s.Await("msg=done route=build path=" + s.Dir + "/src/b.md")
	s.Write("src/a.md", "a2")
	s.Await("msg=done route=build path=" + s.Dir + "/src/a.md")
	done := func(line string) bool { return strings.Contains(line, "msg=done") }
	if n := len(slices.DeleteFunc(slices.Clone(s.Seen[before:]), func(l string) bool { return !done(l) })); n != 2 {
		t.Errorf("there were %d runs, want 2:\n%s", n, strings.Join(s.Seen[before:], "\n"))
	}
}

func TestRetries(t *testing.T) {
	s := begin(t, `
-- x.toml --
[[route]]
name = "fetch"
match = "*.url"
retries = 2
backoff = "10ms"
shell = "echo x >>tried; [ $(wc -l <tried) = 3 ]"
`)
	s.Write("a.url", "1")
	for _, want := range []string{"again=10ms", "again=20ms"} {
		line := s.Await("msg=failed")
		if !regexp.MustCompile(`route=fetch path=\S*/a.url .*exit status 1" ` + want + `$`).MatchString(line) {
			t.Errorf("got %s, want %s", line, want)
		}
	}
	s.Await("msg=done route=fetch path=" + s.Dir + "/a.url")
}

// A retry succeeds without a further change: what comes after it has waited for that,
// and is not dropped at the first failure.
func TestRetriesOfWhatComesFirst(t *testing.T) {
	s := begin(t, `
-- x.toml --
[[route]]
name = "compile"
match = "*.src"
retries = 5
backoff = "10ms"
shell = "echo x >>tried; [ $(wc -l <tried) = 3 ]"

[[route]]
name = "link"
after = "compile"
match = "*.src"
run = ["true"]

[[route]]
name = "ship"
after = "link"
match = "*.src"
run = ["true"]
`)
	s.Write("a.src", "1")
	for _, route := range []string{"compile", "link", "ship"} {
		s.Await("msg=done route=" + route + " path=" + s.Dir + "/a.src")
	}
}

// A batch of too many paths runs when the configuration is another.
func TestTooLongIsKept(t *testing.T) {
	const route = `
[[route]]
name = "all"
root = "in"
debounce = "0s"
settle = "1m"
`
	s := begin(t, "\n-- in/ --\n-- x.toml --"+route+`shell = 'echo "$EXECLOGD_PATHS"'`+"\n")
	open, err := os.Create(filepath.Join(s.Dir, "in", "last")) // holds the batch until it is closed
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open.WriteString("x"); err != nil {
		t.Fatal(err)
	}
	const n = 700 // names of 200 bytes do not fit into a variable
	for i := range n - 1 {
		s.Write(fmt.Sprint("in/", strings.Repeat("x", 200), i), "1")
	}
	testenv.Check(t, open.Close())
	line := s.Await("msg=failed route=all")
	const want = `the 700 paths are too long for EXECLOGD_PATHS (a variable has 128 KiB at most): have them on standard input (stdin nul, as xargs -0 reads it), or a run for each file (per file): they are kept for the next run`
	if !strings.Contains(line, want) {
		t.Errorf("no %s in %s", want, line)
	}
	s.Load(route + "stdin = \"nul\"\nshell = \"tr -cd '\\\\000' | wc -c\"\n")
	s.Await(fmt.Sprintf("msg=%d route=all", n))
	s.Await("msg=done route=all")
}

// What follows a run is told of it and changes nothing of how it ended.
func TestCommandsAfterARun(t *testing.T) {
	s := begin(t, `
-- x.toml --
[[route]]
name = "build"
match = "*.md"
debounce = "0s"
env = { WHO = "me" }
run = ["sh", "-c", "exit $(cat \"$1\")", "sh", "{path}"]
on_success = ["sh", "-c", "echo \"$EXECLOGD_ROUTE $EXECLOGD_STATUS $EXECLOGD_EXIT $WHO ${EXECLOGD_PATH##*/}\" >>log.txt"]
on_failure_run = "echo \"$EXECLOGD_STATUS $EXECLOGD_EXIT\" >>log.txt; exit 9"
`)
	s.Write("good.md", "0\n")
	s.Await("msg=done route=build")
	s.Write("bad.md", "3\n")
	s.Await(`on_failure_run: sh -c`)
	s.Await("exit status 3")
	got, err := os.ReadFile(filepath.Join(s.Dir, "log.txt"))
	if want := "build ok 0 me good.md\nfailed 3\n"; err != nil || string(got) != want {
		t.Errorf("got %q %v, want %q", got, err, want)
	}
}

// What a run writes once more, with the same content, does not start it again and again: the
// first run makes the file, and two more show that they write it.
func TestChangedOnlyWritesTheSame(t *testing.T) {
	s := begin(t, `
-- in --
1
-- x.toml --
[[route]]
name = "build"
start = true
changed_only = true
shell = "cp in .out && mv .out out"
`)
	runs := 0
	for {
		select {
		case line := <-s.Log:
			s.Seen = append(s.Seen, line)
			runs++
			if runs > 4 || !strings.Contains(line, "msg=done route=build") {
				t.Fatalf("there is no end:\n%s", strings.Join(s.Seen, "\n"))
			}
		case <-time.After(2 * time.Second): // nothing happens
			if runs < 2 {
				t.Errorf("there were %d runs:\n%s", runs, strings.Join(s.Seen, "\n"))
			}
			return
		}
	}
}
