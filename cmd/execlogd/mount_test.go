package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inMountNamespace has the test run once more in a process that may mount what
// nobody else sees, and reports whether it is in that. It skips the test where
// such a process takes a privilege.
func inMountNamespace(t *testing.T) bool {
	t.Helper()
	const name = "EXECLOGD_TEST_MOUNTS"
	if os.Getenv(name) == t.Name() {
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), name+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	switch {
	case cmd.ProcessState == nil:
		t.Skip("a process with mounts of its own takes a privilege:", err)
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("%s", out)
	}
	return false
}

// bindFile mounts a file on another, both of which it makes, until the test ends.
func bindFile(t *testing.T, from, to string) {
	t.Helper()
	for _, file := range []string{from, to} {
		if err := os.WriteFile(file, []byte("at first"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mount(from, to, "", syscall.MS_BIND, ""); err != nil {
		t.Skip("mounting takes a privilege:", err)
	}
	t.Cleanup(func() { syscall.Unmount(to, syscall.MNT_DETACH) })
}

// A configuration that is mounted into a container is loaded anew when it is
// written on the other side, and what cannot be heard of is said.
func TestFileWatchOfMountedFile(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	outside, file := filepath.Join(t.TempDir(), "site.toml"), filepath.Join(t.TempDir(), "execlogd.toml")
	bindFile(t, outside, file)
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
			case <-time.After(patience):
				t.Fatalf("nobody has noticed %q", want)
			}
		}
	}
	await("at first")
	if err := os.WriteFile(outside, []byte("written outside"), 0o644); err != nil {
		t.Fatal(err)
	}
	await("written outside")

	if err := os.WriteFile(outside+"~", []byte("saved by rename"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(outside+"~", outside); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-told:
		if !strings.Contains(err.Error(), file+" was renamed, replaced or removed where it comes from") {
			t.Errorf("told %v", err)
		}
	case <-time.After(patience):
		t.Error("nobody has said that the file was replaced")
	}
}

// Why says what is heard of a file that is mounted.
func TestWhyOfMountedFile(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	root := t.TempDir()
	file := filepath.Join(root, "app.conf")
	bindFile(t, filepath.Join(t.TempDir(), "app.conf"), file)
	var out strings.Builder
	if err := run(t.Context(), []string{"why", "-root", root, file}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a file that is mounted here", "route    reload: triggered by"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}
