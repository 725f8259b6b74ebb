package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/testenv"
)

// unreadable are kinds of files that are refused as a configuration, with the errors.
var unreadable = map[string]struct {
	put  func(path string) error
	want string
}{
	"FIFO": {func(path string) error { return syscall.Mkfifo(path, 0o600) }, "is a FIFO: name a regular file"},
	"link to a FIFO": {func(path string) error {
		_ = syscall.Mkfifo(path+".fifo", 0o600)
		return os.Symlink(path+".fifo", path)
	}, "is a FIFO: name a regular file"},
	"directory":       {func(path string) error { return os.Mkdir(path, 0o700) }, "is a directory: name a regular file"},
	"endless device":  {func(path string) error { return os.Symlink("/dev/zero", path) }, "is a device: name a regular file"},
	"terminal":        {func(path string) error { return os.Symlink("/dev/ptmx", path) }, "is a device: name a regular file"},
	"socket":          {testenv.LeaveSocket, "is a socket: name a regular file"},
	"too much":        {func(path string) error { return os.WriteFile(path, make([]byte, config.MaxFile+1), 0o600) }, "has more than the 1024 KiB that a configuration may have"},
	"without an end":  {func(path string) error { _ = os.WriteFile(path, nil, 0o600); return os.Truncate(path, 1<<40) }, "has more than the 1024 KiB"},
	"link to nothing": {func(path string) error { return os.Symlink("nothing", path) }, "no such file"},
}

// soon fails the test if do does not return.
func soon(t *testing.T, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
	case <-time.After(testenv.WaitLimit):
		t.Fatalf("%s: still reading", what)
	}
}

// For a file that is not regular, or too long, each command that reads it has an error
// of one line, and does not wait.
func TestConfigurationIsARegularFile(t *testing.T) {
	for what, tt := range unreadable {
		t.Run(what, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "x.toml")
			testenv.Check(t, tt.put(file))
			for _, args := range [][]string{{"-config", file}, {"check", "-config", file}, {"why", "-config", file, "/x"}} {
				soon(t, args[0], func() {
					err := run(t.Context(), args, io.Discard, io.Discard)
					if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") || exitStatus(err) != 1 {
						t.Errorf("%s: %v, want %s", args[0], err, tt.want)
					}
				})
			}
		})
	}
}

// The daemon keeps its configuration when the file is replaced by such a file.
func TestReloadRefusesOtherFiles(t *testing.T) {
	for what, tt := range unreadable {
		t.Run(what, func(t *testing.T) {
			s := begin(t, "-- x.toml --\n"+oneRoute, "-watch-config")
			next := filepath.Join(s.Dir, "next")
			testenv.Check(t, tt.put(next))
			file := filepath.Join(s.Dir, "x.toml")
			if info, err := os.Lstat(next); err == nil && info.IsDir() {
				os.Remove(file)
			}
			testenv.Check(t, os.Rename(next, file))
			if !strings.Contains(tt.want, "no such file") { // that it is gone is not noticed
				s.Await("msg=\"configuration ", "refused", tt.want)
			}
			s.Hangup()
			s.Await("msg=\"configuration ", "refused", tt.want)
			soon(t, "stop", s.Stop)
		})
	}
}

// Nothing is read from a pipe: its content is for another program.
func TestNothingIsReadFromAPipe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.toml")
	testenv.Check(t, syscall.Mkfifo(file, 0o600))
	pipe, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	if _, err := pipe.WriteString("data"); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"check", "-config", file}, io.Discard, io.Discard); err == nil {
		t.Error("a pipe is right")
	}
	got := make([]byte, 10)
	testenv.Check(t, pipe.SetReadDeadline(time.Now().Add(testenv.WaitLimit)))
	if n, err := pipe.Read(got); string(got[:n]) != "data" {
		t.Errorf("%q is left of it: %v", got[:n], err)
	}
}

func TestConfigurationIsNotStandardInput(t *testing.T) {
	for _, file := range []string{"-", "/dev/stdin", "/dev/fd/63", "/proc/self/fd/0"} {
		err := run(t.Context(), []string{"-config", file}, io.Discard, io.Discard)
		if err == nil || !strings.HasPrefix(err.Error(), "config: "+file+" has no place of its own") {
			t.Errorf("%s: %v", file, err)
		}
	}
	file := filepath.Join(t.TempDir(), "x.toml")
	text := wrongRoute("") + "#" + strings.Repeat("x", config.MaxFile-len(wrongRoute(""))-1)
	testenv.Check(t, os.WriteFile(file, []byte(text), 0o600))
	if cfg, err := config.Read(file); err != nil || len(cfg.Routes) != 1 {
		t.Errorf("as long as may be: %v", err)
	}
}
