package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A slowFS makes the opening of directories of a file system wait, as a disk or a server
// does that is slow, or away. It answers for the kernel (fanotify(7)).
type slowFS struct {
	wait   atomic.Int64 // before each answer, in ns
	opened atomic.Int64
	held   atomic.Bool // nothing is answered
}

// slowDown slows down the file system that dir is on, until the test ends.
func slowDown(t *testing.T, dir string) *slowFS {
	t.Helper()
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK, unix.O_RDONLY|unix.O_LARGEFILE)
	if err != nil {
		t.Skip("the opening of files cannot be delayed here:", err)
	}
	group := os.NewFile(uintptr(fd), "fanotify") // whose closing allows what waits
	if err := unix.FanotifyMark(fd, unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, unix.FAN_OPEN_PERM|unix.FAN_ONDIR, unix.AT_FDCWD, dir); err != nil {
		group.Close()
		t.Skip("the opening of files cannot be delayed here:", err)
	}

	s := new(slowFS)
	asked := make(chan int32, 10_000) // descriptors
	var wg sync.WaitGroup
	wg.Go(func() { s.read(t, group, asked) })
	wg.Go(func() { s.answer(t, group, asked) })
	t.Cleanup(func() {
		s.held.Store(false)
		s.wait.Store(0)
		group.SetReadDeadline(time.Now())
		wg.Wait()
		group.Close()
	})
	return s
}

// read counts what is asked for, also while nothing is answered.
func (s *slowFS) read(t *testing.T, group *os.File, asked chan<- int32) {
	defer close(asked)
	buf := make([]byte, 4096)
	for {
		n, err := group.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if err != nil {
			t.Log(err) // of one file, and the kernel has denied it
			continue
		}
		for rest := buf[:n]; len(rest) > 0; {
			event := (*unix.FanotifyEventMetadata)(unsafe.Pointer(&rest[0]))
			rest = rest[event.Event_len:]
			s.opened.Add(1)
			asked <- event.Fd
		}
	}
}

// answer allows what is asked for, one after the other.
func (s *slowFS) answer(t *testing.T, group *os.File, asked <-chan int32) {
	for fd := range asked {
		for until := time.Now().Add(time.Duration(s.wait.Load())); s.held.Load() || time.Now().Before(until) && s.wait.Load() > 0; {
			time.Sleep(time.Millisecond)
		}
		response := unix.FanotifyResponse{Fd: fd, Response: unix.FAN_ALLOW}
		_, err := group.Write((*[unsafe.Sizeof(response)]byte)(unsafe.Pointer(&response))[:])
		if err != nil && !errors.Is(err, unix.ENOENT) { // who has asked may be gone
			t.Error(err)
		}
		unix.Close(int(fd))
	}
}

// A start that takes longer than TimeoutStartSec allows says how far it is and is left alone.
// A stop ends it, whatever the disk does.
func TestSlowStart(t *testing.T) {
	t.Parallel()
	h := bootHost(t)
	install(t, h)
	h.run("mkdir", "-p", "/srv/www")
	h.run("mount", "-t", "tmpfs", "tmpfs", "/srv/www")
	for i := range 170 {
		if err := os.MkdirAll(h.path(filepath.Join("srv/www", fmt.Sprint(i), "sub")), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, h.path("etc/systemd/system/execlogd.service.d"), map[string]string{"slow.conf": "[Service]\nTimeoutStartSec=6\n"})
	h.run("systemctl", "daemon-reload")
	disk := slowDown(t, h.path("srv/www"))
	show := func(property string) string {
		return h.run("systemctl", "show", "--value", "--property="+property, "execlogd")
	}
	await := func(what string, ok func() bool) {
		t.Helper()
		if err := eventually(t.Context(), what, ok); err != nil {
			t.Fatalf("%v; %s, %s", err, show("StatusText"), h.run("journalctl", "--no-pager", "--unit=execlogd"))
		}
	}
	isScanning := func() bool { return strings.HasPrefix(show("StatusText"), "starting: ") }

	// The directories are opened one after the other.
	disk.wait.Store(int64(45 * time.Millisecond))
	began := time.Now()
	h.run("systemctl", "start", "--no-block", "execlogd")
	await("a report of the scan", isScanning)
	first := show("StatusText")
	await("another", func() bool { return isScanning() && show("StatusText") != first })
	await("the start", func() bool { return show("ActiveState") == "active" })
	if took := time.Since(began); took < 6*time.Second {
		t.Errorf("it took only %v", took)
	}
	if status := show("StatusText"); !strings.Contains(status, "watching 341 directories") {
		t.Errorf("the status is %q", status)
	}
	h.run("systemctl", "stop", "execlogd")
	expectCleanEnd(t, h)

	stop := func(what string) {
		t.Helper()
		began := time.Now()
		h.run("systemctl", "stop", "execlogd")
		t.Logf("%s: the stop took %v", what, time.Since(began))
		if took := time.Since(began); took > 20*time.Second { // systemd kills after 30 s or more
			t.Errorf("%s: the stop took %v", what, took)
		}
		disk.held.Store(false)
		expectCleanEnd(t, h)
	}
	for _, held := range []bool{false, true} {
		// With the state of before, the scan is part of the watching that goes on afterwards, whose
		// end waits for a disk that hangs.
		h.run("rm", "-rf", "/var/lib/private/execlogd")
		h.run("systemctl", "start", "--no-block", "execlogd")
		await("a report of the scan", isScanning)
		disk.held.Store(held)
		stop(fmt.Sprintf("a disk that hangs: %t", held))
	}

	// The configuration is checked before anything else, and looks at the root.
	write(t, h.path("etc"), map[string]string{"slow.toml": "[server]\nroot = \"/srv/www\"\n"})
	setOptions(t, h, "-config /etc/slow.toml")
	disk.held.Store(true)
	h.run("rm", "-rf", "/var/lib/private/execlogd")
	opened := disk.opened.Load()
	h.run("systemctl", "start", "--no-block", "execlogd")
	await("the root to be looked at", func() bool { return disk.opened.Load() > opened })
	stop("a disk that hangs from the beginning")
	h.run("umount", "/srv/www")
}
