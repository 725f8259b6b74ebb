package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A host is a systemd that is booted for one test: PID 1 in its own namespaces, on a
// temporary copy of /.
type host struct {
	t   testing.TB
	pid int // of its PID 1, as seen from here
}

// bootHost boots a host, which ends with the test. If the machine cannot do that, the
// test is skipped with the reason.
func bootHost(t testing.TB) *host {
	t.Helper()
	requireHost(t)
	cgroup := newCgroup(t)
	state := t.TempDir()
	said := new(syncBuffer)
	cmd := exec.Command("/bin/sh", absolute(t, "host.sh"), state)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET,
		UseCgroupFD: true,
		CgroupFD:    int(cgroup.Fd()),
		Pdeathsig:   syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start a host: %v", err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() // everything inside dies with its PID 1
		cmd.Wait()
	})
	h := &host{t: t, pid: cmd.Process.Pid}
	if err := eventually(t.Context(), "systemd to boot", h.booted); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	return h
}

// in returns the same host for use in a subtest.
func (h *host) in(t testing.TB) *host {
	return &host{t: t, pid: h.pid}
}

func requireHost(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can boot a systemd in namespaces")
	}
	for _, path := range []string{"/lib/systemd/systemd", "/sbin/ip", "/usr/bin/nsenter"} {
		if _, err := os.Stat(path); err != nil {
			t.Skipf("systemd, iproute2 and util-linux are needed: %v", err)
		}
	}
}

// newCgroup makes a cgroup, which is removed with everything in it when the test
// ends. Two hosts cannot share one.
func newCgroup(t testing.TB) *os.File {
	t.Helper()
	root := "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(root, "unified")); err == nil {
		root = filepath.Join(root, "unified") // beside cgroup v1
	}
	path, err := os.MkdirTemp(root, "execlogd-e2e-")
	if err != nil {
		t.Skipf("no cgroup can be made: %v", err)
	}
	t.Cleanup(func() {
		if err := eventually(context.Background(), path+" to be empty", func() bool { return removeCgroup(path) == nil }); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(path, 0o755); err != nil { // users have service managers below it
		t.Fatal(err)
	}
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return dir
}

// removeCgroup removes a tree of cgroups from the leaves up.
func removeCgroup(path string) error {
	var dirs []string
	err := filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	for _, dir := range slices.Backward(dirs) {
		if err := os.Remove(dir); err != nil {
			return err
		}
	}
	return err
}

// booted reports whether systemd has finished booting. Units of the copied machine
// may have failed.
func (h *host) booted() bool {
	out, _ := h.command("systemctl", "is-system-running").Output()
	state := strings.TrimSpace(string(out))
	return state == "running" || state == "degraded"
}

// path returns the path of a file of the host, as seen from the test.
func (h *host) path(name string) string {
	return filepath.Join("/proc", fmt.Sprint(h.pid), "root", name)
}

// command returns a command that runs inside the host.
func (h *host) command(args ...string) *exec.Cmd {
	return h.commandContext(h.t.Context(), args...)
}

func (h *host) commandContext(ctx context.Context, args ...string) *exec.Cmd {
	enter := []string{"--target", fmt.Sprint(h.pid), "--all", "--"}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"}
	return cmd
}

// run runs a program inside the host and returns its output. If it fails, the test
// fails and shows the journal of the service.
func (h *host) run(args ...string) string {
	h.t.Helper()
	out, err := h.command(args...).CombinedOutput()
	if err != nil {
		journal, _ := h.command("journalctl", "--no-pager", "--unit=execlogd.*").CombinedOutput()
		h.t.Fatalf("%s: %v\n%s\njournal:\n%s", strings.Join(args, " "), err, out, journal)
	}
	return string(bytes.TrimSpace(out))
}

// atEnd runs a program inside the host when the test ends.
func (h *host) atEnd(t testing.TB, args ...string) {
	t.Cleanup(func() {
		if out, err := h.commandContext(context.Background(), args...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
	})
}

// client returns an HTTP client inside the host's network, which has a loopback
// interface of its own.
func (h *host) client() *http.Client {
	return h.newClient(h.dial)
}

// clientOf returns a client that sends every request to one address.
func (h *host) clientOf(address string) *http.Client {
	return h.newClient(func(ctx context.Context, network, _ string) (net.Conn, error) {
		return h.dial(ctx, network, address)
	})
}

func (h *host) newClient(dial func(ctx context.Context, network, address string) (net.Conn, error)) *http.Client {
	transport := &http.Transport{DialContext: dial}
	h.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: maxWait}
}

// dial connects to an IP address in the host's network. A socket stays in the network
// namespace in which it was made, so only making it has to happen there.
func (h *host) dial(ctx context.Context, network, address string) (net.Conn, error) {
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer here.Close()
	there, err := os.Open(h.path("proc/1/ns/net"))
	if err != nil {
		return nil, err
	}
	defer there.Close()

	runtime.LockOSThread()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, os.NewSyscallError("setns", err)
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if back := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); back != nil {
		return nil, os.NewSyscallError("setns", back) // the thread stays locked, and dies with its goroutine
	}
	runtime.UnlockOSThread()
	return conn, err
}

func absolute(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// fetch returns the body of url. The status must be 200.
func fetch(ctx context.Context, client *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("get %s: %s", url, resp.Status)
	}
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}
