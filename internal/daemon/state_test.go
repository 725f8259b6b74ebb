package daemon

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/internal/testenv"
)

// With a state directory the next start finds what has changed meanwhile, for routes that want
// it, and runs again what the stop has cut off.
func TestStateDirectory(t *testing.T) {
	root, state := t.TempDir(), filepath.Join(t.TempDir(), "made", "state")
	write := func(name, text string) {
		t.Helper()
		testenv.Check(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o600))
	}
	route := func(name, match, keys string) string {
		return "[[route]]\nname = '" + name + "'\nroot = '" + root + "'\nper = 'file'\nmatch = '" + match + "'\n" + keys + "\n"
	}
	config := "-- x.toml --\nstop_grace = '10ms'\n" +
		route("caught-up", "*.md", "catch_up = true\nrun = ['true']") +
		route("other", "*.md", "run = ['true']") +
		route("slow", "*.slow", "shell = '[ ! -e go ] && : >started && sleep 1000'\ngrace = '1ms'\ndir = '"+root+"'")
	write("a.md", "old")
	time.Sleep(50 * time.Millisecond) // the times of files have ticks

	s := begin(t, config, "-state", state)
	expectSeen(s, "no state of an earlier process")
	write("x.slow", "new")
	for !exists(filepath.Join(root, "started")) {
		time.Sleep(time.Millisecond)
	}
	s.Stop()
	write("a.md", "new")
	write("go", "")
	time.Sleep(50 * time.Millisecond)

	s = begin(t, config, "-state", state)
	expectSeen(s, "not finished before this start\" route=slow files=1", "looking for changes since the last process")
	s.AwaitAll("msg=failed route=slow", "route=caught-up path="+filepath.Join(root, "a.md"))
	write("b.md", "new")
	s.AwaitAll("route=caught-up path="+filepath.Join(root, "b.md"), "route=other path="+filepath.Join(root, "b.md"))
	if all := strings.Join(s.Seen, "\n"); strings.Contains(all, "route=other path="+filepath.Join(root, "a.md")) {
		t.Errorf("a route without catch_up has run for what changed before the start:\n%s", all)
	}

	refused := func(want string, args ...string) {
		t.Helper()
		err := serve(t.Context(), append(args, "-port", "0"), io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	refused("-state: another execlogd has its state in "+state+": stop that, or choose another directory", "-state", state)
	s.Stop()
	testenv.Check(t, os.Chmod(filepath.Join(state, "watches"), 0o622))
	refused("alone can write", "-state", state)
	testenv.Check(t, os.Remove(filepath.Join(state, "watches")), unix.Mkfifo(filepath.Join(state, "watches"), 0o600))
	refused("alone can write", "-state", state)
	refused("not a directory", "-state", filepath.Join(root, "a.md"))
}

// A directory that the unit names and that cannot be used is no reason not to start.
func TestStateDirectoryOfUnit(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("STATE_DIRECTORY", dir+":/nonexistent")
	s := begin(t, "-- x.toml --\nserver.port = 0\nserver.root = '.'\n")
	expectSeen(s, "no state of an earlier process")
	if !exists(filepath.Join(dir, "watches")) || !exists(filepath.Join(dir, "batches")) {
		t.Error("there are no files in the first directory")
	}
	other := begin(t, "-- x.toml --\nserver.port = 0\nserver.root = '.'\n")
	expectSeen(other, "no state directory", "another execlogd has its state in")

	s.Write("x.toml", "server.port = 0\nserver.root = '.'\nstate = 'elsewhere'\n")
	s.Hangup()
	s.Await("configuration refused", "x.toml:3:9: state: another directory takes a restart")
}

// What systemd has kept is newer than what is in a directory, and is not lost when another
// directory is named, or none.
func TestStateMoves(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	passed, err := stateFile{name: "watches"}.open("")
	testenv.Check(t, err)
	defer passed.Close()
	content := func(file *os.File) string {
		t.Helper()
		info, err := file.Stat()
		testenv.Check(t, err)
		text, err := io.ReadAll(io.NewSectionReader(file, 0, info.Size()))
		testenv.Check(t, err)
		return string(text)
	}
	want := content(passed)

	for _, to := range []string{in("a"), in("b"), "", in("a")} {
		if to != "" {
			testenv.Check(t, os.MkdirAll(to, 0o700))
		}
		next, err := stateFile{name: "watches", passed: passed}.open(to)
		testenv.Check(t, err)
		if next == passed || content(next) != want {
			t.Errorf("%q: the state did not move", to)
		}
		again, err := stateFile{name: "watches", passed: next}.open(to)
		testenv.Check(t, err)
		if again != next {
			t.Errorf("%q: another file is used though it is there", to)
		}
		passed.Close()
		passed = next
	}
}

// expectSeen checks what a session has said before it was ready.
func expectSeen(s *session, want ...string) {
	s.t.Helper()
	for _, text := range want {
		if seen := strings.Join(s.Seen, "\n"); !strings.Contains(seen, text) {
			s.t.Errorf("no %q in\n%s", text, seen)
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
