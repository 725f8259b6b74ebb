package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

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
	s.write("a.url", "1")
	for _, want := range []string{"again=10ms", "again=20ms"} {
		line := s.await("msg=failed")
		if !regexp.MustCompile(`route=fetch path=\S*/a.url .*exit status 1" ` + want + `$`).MatchString(line) {
			t.Errorf("got %s, want %s", line, want)
		}
	}
	s.await("msg=done route=fetch path=" + s.dir + "/a.url")
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
	s.write("a.src", "1")
	for _, route := range []string{"compile", "link", "ship"} {
		s.await("msg=done route=" + route + " path=" + s.dir + "/a.src")
	}
}

// With -exit-on-failure the last retry counts.
func TestRunRetries(t *testing.T) {
	r := startRun(t, "-retries", "1", "-backoff", "1ms", "-exit-on-failure", "-match", "*.none", "-shell", "exit 3")
	r.next(`execlogd: sh -c "exit 3": exit status 3 after *, again in 1ms`)
	if err := r.wait(); exitStatus(err) != 3 {
		t.Errorf("got %v, want exit status 3", err)
	}
}

// The advice is in the words of who is told.
func TestLoopAdvice(t *testing.T) {
	r := startRun(t, "-delay", "0s", "-debounce", "0s", "-shell", `cd "$EXECLOGD_ROOT"; echo >.out; mv .out out`)
	for range 8 {
		r.next("execlogd: sh: ok after *")
	}
	r.next("execlogd: a loop: 7 runs in a row were each triggered only by what the one before may have written, lastly out: name it with -outputs or -ignore")

	s := begin(t, `
-- x.toml --
[[route]]
name = "loop"
delay = "0s"
debounce = "0s"
shell = "echo >.out; mv .out out"
`)
	s.write("a", "1")
	if line := s.await("msg=failed route=loop"); !strings.HasSuffix(line, `lastly out: name it in outputs or ignore"`) {
		t.Errorf("got %s", line)
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
	open, err := os.Create(filepath.Join(s.dir, "in", "last")) // holds the batch until it is closed
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open.WriteString("x"); err != nil {
		t.Fatal(err)
	}
	const n = 700 // names of 200 bytes do not fit into a variable
	for i := range n - 1 {
		s.write(fmt.Sprint("in/", strings.Repeat("x", 200), i), "1")
	}
	if err := open.Close(); err != nil {
		t.Fatal(err)
	}
	line := s.await("msg=failed route=all")
	const want = `the 700 paths are too long for EXECLOGD_PATHS (a variable has 128 KiB at most): have them on standard input (stdin nul, as xargs -0 reads it), or a run for each file (per file): they are kept for the next run`
	if !strings.Contains(line, want) {
		t.Errorf("no %s in %s", want, line)
	}
	s.write("x.toml", route+"stdin = \"nul\"\nshell = \"tr -cd '\\\\000' | wc -c\"\n")
	hangup(t)
	s.await(fmt.Sprintf("msg=%d route=all", n))
	s.await("msg=done route=all")
}
