package daemon

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/execlog/execlogd/internal/testenv"
)

// A route by file that runs at the start does so once for each file that is
// there and that it is for, and what comes after it waits for them all. Its root
// may be a symbolic link.
func TestStartRunsForEachFileThatIsThere(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	testenv.Check(t,
		os.MkdirAll(filepath.Join(dir, "real/deep/er"), 0o755), os.Mkdir(filepath.Join(dir, "real/old"), 0o755), os.Mkdir(filepath.Join(dir, "real/.hidden"), 0o755),
		os.Symlink("real", in), os.Symlink("b.txt", filepath.Join(in, "link.csv")),
	)
	for _, name := range []string{"a.csv", "b.txt", ".hidden/c.csv", "old/d.csv", "deep/er/e \xff.csv"} {
		testenv.Check(t, os.WriteFile(filepath.Join(in, name), nil, 0o644))
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
	s.Await("msg=last")
	if got := s.Words(`got [^"]*`); !slices.Equal(got, []string{"got /a.csv", `got /deep/er/e \xff.csv`}) {
		t.Errorf("it %q", got)
	}
	testenv.Check(t, os.WriteFile(filepath.Join(in, "f.csv"), []byte("1"), 0o644))
	s.Await("got /f.csv")
	s.Await("msg=done route=each")
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
	in := func(name string) string { return filepath.Join(s.Dir, "in", name) }
	testenv.Check(t, exec.Command("touch", in("old"), in("new")).Run())
	slow, err := os.Create(in("slow"))
	if err != nil {
		t.Fatal(err)
	}
	testenv.Check(t,
		os.Symlink("old", in("link")), os.Link(in("old"), in("hard")), os.Mkdir(in("dir"), 0o755), syscall.Mkfifo(in("pipe"), 0o644),
	)
	s.AwaitAll("got "+in("old"), "got "+in("new"))
	if _, err := slow.WriteString("late"); err != nil {
		t.Fatal(err)
	}
	testenv.Check(t, slow.Close())
	s.Await("got " + in("slow"))
	s.Write("in/last", "1")
	s.Await("got " + in("last"))
	if got, want := s.Words("got [^\"]*"), []string{"got " + in("last"), "got " + in("new"), "got " + in("old"), "got " + in("slow")}; !slices.Equal(got, want) {
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
	s.Await("one has")
	s.Await("msg=done route=one")
	s.Load(strings.ReplaceAll(route, "NAME", "one") + strings.ReplaceAll(route, "NAME", "two"))
	s.Await("two has")
	s.Await("msg=done route=two")
	s.Write("in/b.csv", "1")
	s.AwaitAll("one has "+s.Dir+"/in/b.csv", "two has "+s.Dir+"/in/b.csv")
	if runs := s.Words("one has .*/in/a.csv"); len(runs) != 1 {
		t.Errorf("one ran %d times for what was there", len(runs))
	}
}

// A route may have a single file as its root, one that comes later too.
func TestRouteListensToSingleFile(t *testing.T) {
	s := begin(t, `
-- app.conf --
1
-- x.toml --
[[route]]
name = "one"
root = "app.conf"
per = "file"
start = true
run = ["echo", "one has", "{path}"]
[[route]]
name = "later"
root = "etc/later.conf"
wait = true
match = "*.go"
run = ["echo", "later has", "{path}"]
`)
	s.Await("one has " + s.Dir + "/app.conf")
	s.Await("msg=done route=one")
	testenv.Check(t, os.Mkdir(filepath.Join(s.Dir, "etc"), 0o755))
	s.Write("etc/later.conf", "1")
	s.Await("later has " + s.Dir + "/etc/later.conf")
	s.Await("msg=done route=later")
	s.Write("app.conf", "2")
	s.Await("one has " + s.Dir + "/app.conf")
}
