package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/execlog/execlogd/internal/control"
)

// leftBehind makes a socket as a program leaves it that is killed.
func leftBehind(t *testing.T, path string) {
	t.Helper()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
}

// Nothing but a socket that was left behind has to make room for the control
// socket, wherever that is named.
func TestControlSocketTakesThePlaceOfNothingElse(t *testing.T) {
	tests := []struct {
		what string
		put  func(path string) error
	}{
		{"a regular file", func(path string) error { return os.WriteFile(path, []byte("precious"), 0o600) }},
		{"a directory", func(path string) error { return os.Mkdir(path, 0o700) }},
		{"a FIFO", func(path string) error { return syscall.Mkfifo(path, 0o600) }},
		{"a symbolic link", func(path string) error { return os.Symlink("nowhere", path) }},
		{"a symbolic link", func(path string) error {
			leftBehind(t, path+".target")
			return os.Symlink(path+".target", path)
		}},
		{"a device", func(path string) error { return syscall.Mknod(path, syscall.S_IFCHR|0o600, 1<<8|3) }}, // as /dev/null
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			dir := t.TempDir()
			there, file := filepath.Join(dir, "c"), filepath.Join(dir, "x.toml")
			if err := tt.put(there); errors.Is(err, os.ErrPermission) {
				t.Skip("takes root to make")
			} else if err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(there)
			if err != nil {
				t.Fatal(err)
			}
			stays := func(how string, got, want string) {
				t.Helper()
				if !strings.Contains(got, want) {
					t.Errorf("%s: %q, want %s", how, got, want)
				}
				if after, err := os.Lstat(there); err != nil || !os.SameFile(before, after) || after.Size() != before.Size() {
					t.Fatalf("%s: %s was there, and is gone: %v", how, tt.what, err)
				}
			}
			said := there + " is " + tt.what + ", and stays so"

			s := begin(t, "-- x.toml --\ncontrol = 'right.sock'\n"+oneRoute)
			s.write("x.toml", "control = '"+there+"'\n"+oneRoute)
			hangup(t)
			stays("SIGHUP", s.await("msg=\"configuration "), "x.toml:1:11: control: "+said)
			if err := s.stop(); err != nil {
				t.Error(err)
			}

			if err := os.WriteFile(file, []byte("control = 'c'\n"+oneRoute), 0o600); err != nil {
				t.Fatal(err)
			}
			err = run(t.Context(), []string{"-config", file}, io.Discard, io.Discard)
			stays("start", fmt.Sprint(err), "x.toml:1:11: control: "+said)
			var out strings.Builder
			_ = run(t.Context(), []string{"check", "-config", file}, &out, io.Discard)
			stays("check", out.String(), "x.toml:1:11: control: "+said)

			if err := os.WriteFile(file, []byte(oneRoute), 0o600); err != nil {
				t.Fatal(err)
			}
			err = run(t.Context(), []string{"-config", file, "-control", there}, io.Discard, io.Discard)
			stays("flag", fmt.Sprint(err), "-control: "+said)
		})
	}
}

// What killed daemons left in the directory of all of them goes, and nothing
// else does.
func TestControlSocketsLeftBehindGo(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	for _, name := range []string{"XDG_RUNTIME_DIR", "RUNTIME_DIRECTORY"} {
		t.Setenv(name, "")
	}
	own := filepath.Join(temp, fmt.Sprint("execlogd-", os.Getuid()))
	if err := os.Mkdir(own, 0o700); err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(own, name) }
	leftBehind(t, in("1.sock"))
	leftBehind(t, in(fmt.Sprint(os.Getpid(), ".sock")))
	leftBehind(t, in("named.sock"))
	live, err := control.Listen(in("2.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	if err := os.WriteFile(in("3.sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	there := func() (names []string) {
		entries, err := os.ReadDir(own)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, strings.ReplaceAll(e.Name(), fmt.Sprint(os.Getpid()), "own"))
		}
		slices.Sort(names)
		return names
	}
	s := begin(t, strings.ReplaceAll(twoRoutes, "control =", "#"))
	if got := strings.Join(there(), " "); got != "2.sock 3.sock named.sock own.sock" {
		t.Errorf("there are %s", got)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if got := strings.Join(there(), " "); got != "2.sock 3.sock named.sock" {
		t.Errorf("after its end there are %s", got)
	}
}

// A control socket whose file is gone is made again, and one that is named by
// another path goes on.
func TestReloadLooksForTheControlSocket(t *testing.T) {
	const text = "control = 'd/c.sock'\n" + oneRoute
	s := begin(t, "-- d/ --\n-- x.toml --\n"+text)
	path := filepath.Join(s.dir, "d/c.sock")
	first, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("d", filepath.Join(s.dir, "e")); err != nil {
		t.Fatal(err)
	}
	s.write("x.toml", strings.Replace(text, "d/", "e/", 1))
	hangup(t)
	if line := s.await("msg=\"configuration "); !strings.Contains(line, "loaded") {
		t.Error(line)
	}
	if info, err := os.Lstat(path); err != nil || !os.SameFile(first, info) {
		t.Errorf("by another name: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s.reload(text)
	if err := run(t.Context(), []string{"log", "-control", path}, io.Discard, io.Discard); err != nil {
		t.Errorf("removed: %v", err)
	}
}
