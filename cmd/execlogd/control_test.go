package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/execlog/execlogd/internal/control"
	"github.com/execlog/execlogd/internal/testenv"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

var regexpTook = regexp.MustCompile(` after [0-9.]+m?s `)

const twoRoutes = `
-- x.toml --
control = "control.sock"

[[route]]
name = "build"
match = "*.md"
shell = "cat $EXECLOGD_PATH; echo end"

[[route]]
name = "fails"
match = "*.bad"
shell = "printf 'why\\033[2J'; exit 3"

[[route]]
name = "place"
match = "*.sh"
run = ["sh", "{path}"]
`

func TestLogPrintsWhatRan(t *testing.T) {
	s := begin(t, twoRoutes)
	s.Write("a b.md", "text\n")
	s.Await("msg=done")
	s.Write("x.bad", "text\n")
	s.Await("msg=failed")

	out := output(t, s.Dir, "log", "-control", s.Dir+"/control.sock")
	for i, want := range []string{
		`build  ✓ ok after 1ms "DIR/a b.md"`,
		`fails  ✗ sh -c "printf 'why\\033[2J'; exit 3": exit status 3 after 1ms DIR/x.bad`,
		`fails  ┃ why`,
	} {
		lines := strings.Split(out, "\n")
		if i < len(lines) {
			lines[i] = regexpTook.ReplaceAllString(lines[i], " after 1ms ")
		}
		if i >= len(lines) || !strings.HasSuffix(strings.TrimSpace(lines[i]), want) {
			t.Errorf("line %d: want %s in\n%s", i, want, out)
		}
	}
}

func TestLogFollowsAsJSON(t *testing.T) {
	s := begin(t, twoRoutes)
	s.Write("a.md", "text\n")
	s.Await("msg=done")
	ctx, cancel := context.WithCancel(t.Context())
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"log", "-f", "-json", "-control", s.Dir + "/control.sock"}, write, io.Discard)
		write.Close()
	}()
	lines := bufio.NewScanner(read)
	next := func() (r job.Run) {
		if !lines.Scan() {
			t.Fatal("no more")
		}
		testenv.Check(t, json.Unmarshal(lines.Bytes(), &r))
		return r
	}
	r := next()
	if r.Route != "build" || r.Outcome != router.Succeeded || string(r.Output) != "text\nend\n" || r.Batch != 1 || r.Events[0].Name() != s.Dir+"/a.md" || r.Dir != s.Dir || r.ID != 1 || r.Exit != 0 {
		t.Errorf("got %+v", r)
	}
	s.Write("x.bad", "text\n")
	if r := next(); r.Route != "fails" || r.Outcome != router.Failed || r.Exit != 3 || r.Err.Error() != "exit status 3" || r.Problem != (job.Problem{Message: "why"}) {
		t.Errorf("got %+v", r)
	}
	s.Write("x.sh", "true\nif then\n")
	if r := next(); r.Problem.File != s.Dir+"/x.sh" || r.Problem.Line != 2 || !strings.Contains(r.Problem.Message, "yntax error") {
		t.Errorf("got %+v", r)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// What was ended from outside has not failed.
func TestLogTellsStopsFromFailures(t *testing.T) {
	s := begin(t, `
-- x.toml --
control = "control.sock"

[[route]]
name = "slow"
match = "*.md"
on_busy = "restart"
shell = "echo up; exec sleep 1000"

[[route]]
name = "late"
match = "*.late"
timeout = "1ms"
shell = "exec sleep 1000"
`)
	s.Write("a.md", "text\n")
	s.Await("msg=up")
	s.Write("a.md", "text\n")
	s.Await("msg=restarted", "level=INFO")
	s.Await("msg=up")
	s.Write("a.late", "text\n")
	s.Await(`level=ERROR msg=failed route=late`)
	out := output(t, s.Dir, "log", "-control", s.Dir+"/control.sock")
	got := regexp.MustCompile(`(?m)^\S+ \S+ | after \S+`).ReplaceAllString(out, "")
	want := `slow   ■ restarted DIR/a.md
slow   • running DIR/a.md
late   ✗ sh -c "exec sleep 1000": stopped at its timeout of 1ms: context deadline exceeded DIR/a.late
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	s.Stop()
	s.Await("route=slow", "level=INFO msg=stopped")
}

// A service that has died is told from a run that failed, whatever its status, and
// the next change starts it again.
func TestLogSaysThatAServiceHasDied(t *testing.T) {
	s := begin(t, `
-- x.toml --
control = "control.sock"

[[route]]
name = "app"
match = "*.c"
service = true
shell = "echo up; read status <held; exit $status"
`)
	s.Fifo("held")
	s.AwaitAll("msg=up", "msg=done route=app")
	for _, status := range []string{"7", "0"} {
		s.Write("held", status)
		s.Await(`level=ERROR msg="service has died" took=`, "exit status "+status)
		s.Write("x.c", "1")
		s.AwaitAll("msg=up", "msg=done route=app")
	}
	out := output(t, s.Dir, "log", "-control", s.Dir+"/control.sock")
	got := regexp.MustCompile(`(?m)^\S+ \S+ |app +| after \S+`).ReplaceAllString(out, "")
	want := `✗ service has died: sh -c "echo up; read status <held; exit $status": exit status 7 DIR
┃ up
✗ service has died: sh -c "echo up; read status <held; exit $status": ended by itself, with exit status 0 DIR/x.c
┃ up
• ready DIR/x.c
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Who follows is let go when the daemon ends.
func TestLogEndsWithTheDaemon(t *testing.T) {
	s := begin(t, twoRoutes)
	ended := make(chan error, 1)
	read, write := io.Pipe()
	go func() {
		ended <- run(t.Context(), []string{"log", "-f", "-json", "-control", s.Dir + "/control.sock"}, write, io.Discard)
		write.Close()
	}()
	s.Write("a.md", "text\n")
	if _, err := read.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, read)
	s.Stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestLogFindsTheDaemon(t *testing.T) {
	dir, temp := t.TempDir(), t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	t.Setenv("TMPDIR", temp)
	t.Setenv("RUNTIME_DIRECTORY", "")
	log := func() error { return run(t.Context(), []string{"log"}, io.Discard, io.Discard) }
	if err := log(); err == nil || !strings.Contains(err.Error(), "no daemon with a configuration file runs here") {
		t.Errorf("without a daemon: %v", err)
	}
	for path, want := range map[string]string{"no.sock": "no daemon listens on ", "control_test.go": "no daemon listens on control_test.go: start one with -control control_test.go, or name another"} {
		err := run(t.Context(), []string{"log", "-control", path}, io.Discard, io.Discard)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("at %s: %v", path, err)
		}
	}
	s := begin(t, strings.ReplaceAll(twoRoutes, "control =", "#"))
	if err := log(); err != nil {
		t.Error(err)
	}
	testenv.Check(t, os.Mkdir(filepath.Join(dir, "other"), 0o700))
	other, err := control.Listen(filepath.Join(dir, "execlogd", "other.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	go func() { // a daemon that does not say where it is at work
		for {
			conn, err := other.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	if err := log(); err == nil || !strings.Contains(err.Error(), "there are several daemons: change to the directory of one, or choose it with -control: that of "+s.Dir+" is -control "+dir) {
		t.Errorf("with two: %v", err)
	}
}

// Of several daemons, the one is asked that is at work in the current directory.
func TestLogTellsDaemonsApartByDirectory(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	t.Setenv("TMPDIR", dir)
	t.Setenv("RUNTIME_DIRECTORY", "")
	const route = "\n[[route]]\nname = 'r'\nmatch = '*.md'\nrun = ['true']\n-- sub/ --\n"
	first := begin(t, "-- x.toml --"+route)
	second := begin(t, "-- x.toml --\ncontrol = '"+dir+"/execlogd/second.sock'"+route)
	site := t.TempDir()
	third := begin(t, "-- x.toml --\ncontrol = '"+dir+"/execlogd/third.sock'\n[server]\nroot = '"+site+"'\nport = 0"+route)

	for here, s := range map[string]*testenv.Session{first.Dir: first, first.Dir + "/sub": first, second.Dir: second, third.Dir: third, site: third} {
		t.Chdir(here)
		if err := run(t.Context(), []string{"trigger", "r", s.Dir}, io.Discard, io.Discard); err != nil {
			t.Errorf("in %s: %v", here, err)
		}
		if out := output(t, s.Dir, "log"); !strings.Contains(out, " DIR\n") {
			t.Errorf("in %s, that of %s is wanted: %s", here, s.Dir, out)
		}
	}
	t.Chdir("/")
	if err := run(t.Context(), []string{"reload"}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "that of "+second.Dir+" is -control "+dir+"/execlogd/second.sock") {
		t.Errorf("elsewhere: %v", err)
	}
}

// Without a directory from the system there is one among the temporary files.
func TestLogFindsTheDaemonWithoutASession(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	for _, name := range []string{"XDG_RUNTIME_DIR", "RUNTIME_DIRECTORY"} {
		t.Setenv(name, "")
	}
	s := begin(t, strings.ReplaceAll(twoRoutes, "control =", "#"))
	own := filepath.Join(dir, fmt.Sprint("execlogd-", os.Getuid()))
	if info, err := os.Lstat(own); err != nil || info.Mode() != os.ModeDir|0o700 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	log := func() error { return run(t.Context(), []string{"log"}, io.Discard, io.Discard) }
	if err := log(); err != nil {
		t.Error(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir()) // he who asks may have a session
	if err := log(); err != nil {
		t.Error(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", "")
	s.Stop()

	// What others could have put there is of no use.
	other := filepath.Join(dir, "other")
	for what, do := range map[string]func() error{
		"open to others": func() error { return os.Mkdir(own, 0o755) },
		"a link":         func() error { return errors.Join(os.MkdirAll(other, 0o700), os.Symlink(other, own)) },
		"a file":         func() error { return os.WriteFile(own, nil, 0o600) },
		"another user's": func() error { return errors.Join(os.Mkdir(own, 0o700), os.Chown(own, 1, 1)) },
	} {
		if os.Getuid() != 0 && what == "another user's" {
			continue // takes root to make
		}
		testenv.Check(t, errors.Join(os.RemoveAll(own), do()))
		if err := log(); err == nil || !strings.Contains(err.Error(), own+" is not a directory of user ") {
			t.Errorf("%s: log: %v", what, err)
		}
		s := begin(t, strings.ReplaceAll(twoRoutes, "control =", "#"))
		s.Stop()
		if said := strings.Join(s.Seen, "\n"); !strings.Contains(said, "level=WARN msg=\"no control socket\"") {
			t.Errorf("%s: daemon: %s", what, said)
		}
	}
}
