// Package testenv is what the tests of several packages need of the system.
package testenv

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// WaitLimit is how long a test waits for something that should happen at once.
const WaitLimit = 30 * time.Second

// Check ends the test at the first of these that is an error.
func Check(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// InMountNamespace runs the test once more in a process that has mounts of its own, and
// reports whether this is that process; the caller returns if it is not. It skips the
// test where such a process takes a privilege.
func InMountNamespace(t *testing.T) bool {
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

// BindFile makes two files, and mounts the first on the second until the test ends.
func BindFile(t *testing.T, from, to string) {
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

// LeaveSocket makes a socket as a program leaves it that is killed.
func LeaveSocket(path string) error {
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	ln.SetUnlinkOnClose(false)
	return ln.Close()
}
