package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// A route by file that runs at the start does so once for each file that is
// there and that it is for, and what comes after it waits for them all. Its root
// may be a symbolic link.
func TestStartRunsForEachFileThatIsThere(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "real/deep/er"), 0o755), os.Mkdir(filepath.Join(dir, "real/old"), 0o755), os.Mkdir(filepath.Join(dir, "real/.hidden"), 0o755),
		os.Symlink("real", in), os.Symlink("b.txt", filepath.Join(in, "link.csv")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a.csv", "b.txt", ".hidden/c.csv", "old/d.csv", "deep/er/e \xff.csv"} {
		if err := os.WriteFile(filepath.Join(in, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := begin(t, strings.ReplaceAll(`
-- x.toml --
[[route]]
name = "each"
root = "IN"
match = "*.csv"
ignore = "old"
per = "file"
start = true
shell = 'echo "got ${EXECLOGD_PATH#$EXECLOGD_ROOT}"; rm "$EXECLOGD_PATH"'

[[route]]
name = "last"
root = "IN"
match = "*.never"
start = true
after = "each"
shell = "echo last"
`, "IN", in))
	s.await("msg=last")
	if got := s.words(`got [^"]*`); !slices.Equal(got, []string{"got /a.csv", `got /deep/er/e \xff.csv`}) {
		t.Errorf("it %q", got)
	}
	if err := os.WriteFile(filepath.Join(in, "f.csv"), []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.await("got /f.csv")
	s.await("msg=done route=each")
}

// words are all that a pattern matches in the log so far, sorted.
func (s *session) words(pattern string) []string {
	words := regexp.MustCompile(pattern).FindAllString(strings.Join(s.seen, "\n"), -1)
	slices.Sort(words)
	return words
}

// A file that is made and stays empty counts when it is closed, and one that was
// there when touch gives it a newer time; nothing else that is made or opened
// without a change does.
func TestEachFileMayBeEmpty(t *testing.T) {
	s := begin(t, `
-- in/old --
-- x.toml --
[[route]]
name = "each"
root = "in"
per = "file"
run = ["echo", "got", "{path}"]
`)
	in := func(name string) string { return filepath.Join(s.dir, "in", name) }
	if err := exec.Command("touch", in("old"), in("new")).Run(); err != nil {
		t.Fatal(err)
	}
	slow, err := os.Create(in("slow"))
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.Symlink("old", in("link")), os.Link(in("old"), in("hard")), os.Mkdir(in("dir"), 0o755), syscall.Mkfifo(in("pipe"), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.awaitAll("got "+in("old"), "got "+in("new"))
	if _, err := slow.WriteString("late"); err != nil {
		t.Fatal(err)
	}
	if err := slow.Close(); err != nil {
		t.Fatal(err)
	}
	s.await("got " + in("slow"))
	s.write("in/last", "1")
	s.await("got " + in("last"))
	if got, want := s.words("got [^\"]*"), []string{"got " + in("last"), "got " + in("new"), "got " + in("old"), "got " + in("slow")}; !slices.Equal(got, want) {
		t.Errorf("it %q, want %q", got, want)
	}
}

// At a reload a route that is as it was does not start.
func TestReloadStartsForFilesOnlyWhatIsNew(t *testing.T) {
	const route = `
[[route]]
name = "NAME"
root = "in"
per = "file"
start = true
run = ["echo", "NAME", "has", "{path}"]
`
	s := begin(t, "\n-- in/a.csv --\n1\n-- x.toml --"+strings.ReplaceAll(route, "NAME", "one"))
	s.await("one has")
	s.await("msg=done route=one")
	s.write("x.toml", strings.ReplaceAll(route, "NAME", "one")+strings.ReplaceAll(route, "NAME", "two"))
	hangup(t)
	s.await("two has")
	s.await("msg=done route=two")
	s.write("in/b.csv", "1")
	s.awaitAll("one has "+s.dir+"/in/b.csv", "two has "+s.dir+"/in/b.csv")
	if runs := s.words("one has .*/in/a.csv"); len(runs) != 1 {
		t.Errorf("one ran %d times for what was there", len(runs))
	}
}
