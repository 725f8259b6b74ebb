package daemon

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/execlog/execlogd/internal/testenv"
	"github.com/execlog/execlogd/router"
)

// The target of a link may be gone before it is read.
func TestFileWatchOfChangingLink(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.toml")
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan string, 10000)
	w := &fileWatch{path: file}
	w.changed = func() { seen <- string(w.text) }
	ended := make(chan error, 1)
	go func() { ended <- w.run(ctx) }()
	link := func(to, text string) {
		target := filepath.Join(dir, to)
		testenv.Check(t, os.Mkdir(target, 0o700))
		testenv.Check(t, os.WriteFile(filepath.Join(target, "y.toml"), []byte(text), 0o600))
		testenv.Check(t, os.Symlink(to+"/y.toml", file+"~"))
		testenv.Check(t, os.Rename(file+"~", file))
	}
	for n, until := 0, time.Now().Add(3*time.Second); time.Now().Before(until); n++ {
		name := string(rune('a' + n%2))
		link(name, name)
		time.Sleep(time.Duration(n%70) * time.Millisecond)
		os.RemoveAll(filepath.Join(dir, name))
		select {
		case err := <-ended:
			t.Fatalf("after %d changes: %v", n, err)
		default:
		}
	}
	link("last", "last")
	for <-seen != "last" {
	}

	// The directory that the link leads to now is watched as well.
	testenv.Check(t, os.WriteFile(filepath.Join(dir, "last", "y.toml"), []byte("written"), 0o600))
	for <-seen != "written" {
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A link into a directory that this user may not read is no reason to end.
func TestFileWatchSkipsForbiddenDirectories(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	testenv.Check(t,
		os.Chmod(filepath.Dir(dir), 0o755),
		os.Mkdir(secret, 0),
		os.Symlink("secret/x.toml", filepath.Join(dir, "x.toml")),
	)
	w := &fileWatch{path: filepath.Join(dir, "x.toml")}
	names := make(chan []string)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine, and is nobody's until then
		if os.Geteuid() == 0 {
			const nobody = 65534
			syscall.RawSyscall(syscall.SYS_SETFSUID, nobody, 0, 0)
		}
		names <- w.names()
	}()
	if got := <-names; !slices.Equal(got, []string{w.path}) {
		t.Errorf("%q are to be watched, want %q alone", got, w.path)
	}
}

// A change is not held up by another file that is being written beside it, such as
// the daemon's own log. The name of the file is not taken for a pattern.
func TestFileWatchBesideALog(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "[x]*.toml")
	save := func(text string) {
		t.Helper()
		testenv.Check(t, os.WriteFile(file, []byte(text), 0o600))
	}
	save("one")
	changed := make(chan struct{}, 10)
	w := &fileWatch{path: file, changed: func() { changed <- struct{}{} }}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.run(ctx) }()
	<-changed // it was not read before

	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if _, err := log.WriteString("a line, and the file stays open\n"); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	save("two")
	<-changed
	if took := time.Since(start); took >= router.DefaultSettle {
		t.Errorf("noticed after %v", took)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A configuration that is mounted into a container is loaded anew when it is
// written on the other side, and what cannot be heard of is said.
func TestFileWatchOfMountedFile(t *testing.T) {
	if !testenv.InMountNamespace(t) {
		return
	}
	outside, file := filepath.Join(t.TempDir(), "site.toml"), filepath.Join(t.TempDir(), "execlogd.toml")
	testenv.BindFile(t, outside, file)
	seen, told := make(chan string, 10), make(chan error, 10)
	w := &fileWatch{path: file, problem: func(err error) { told <- err }}
	w.changed = func() { seen <- string(w.text) }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	await := func(want string) {
		t.Helper()
		for {
			select {
			case text := <-seen:
				if text == want {
					return
				}
			case <-time.After(testenv.WaitLimit):
				t.Fatalf("nobody has noticed %q", want)
			}
		}
	}
	await("at first")
	testenv.Check(t, os.WriteFile(outside, []byte("written outside"), 0o644))
	await("written outside")

	testenv.Check(t, os.WriteFile(outside+"~", []byte("saved by rename"), 0o644))
	testenv.Check(t, os.Rename(outside+"~", outside))
	select {
	case err := <-told:
		if !strings.Contains(err.Error(), file+" was renamed, replaced or removed where it comes from") {
			t.Errorf("told %v", err)
		}
	case <-time.After(testenv.WaitLimit):
		t.Error("nobody has said that the file was replaced")
	}
}
