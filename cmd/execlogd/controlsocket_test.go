package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/execlog/execlogd/internal/testenv"
)

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
			return errors.Join(testenv.LeaveSocket(path+".target"), os.Symlink(path+".target", path))
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
			s.Load("control = '" + there + "'\n" + oneRoute)
			stays("SIGHUP", s.Await("msg=\"configuration "), "x.toml:1:11: control: "+said)
			s.Stop()

			testenv.Check(t, os.WriteFile(file, []byte("control = 'c'\n"+oneRoute), 0o600))
			err = run(t.Context(), []string{"-config", file}, io.Discard, io.Discard)
			stays("start", fmt.Sprint(err), "x.toml:1:11: control: "+said)
			var out strings.Builder
			_ = run(t.Context(), []string{"check", "-config", file}, &out, io.Discard)
			stays("check", out.String(), "x.toml:1:11: control: "+said)

			testenv.Check(t, os.WriteFile(file, []byte(oneRoute), 0o600))
			err = run(t.Context(), []string{"-config", file, "-control", there}, io.Discard, io.Discard)
			stays("flag", fmt.Sprint(err), "-control: "+said)
		})
	}
}
