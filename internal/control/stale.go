package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// removeStale removes the socket at a path if nobody listens on it. It is an
// error if anything is there afterwards.
func removeStale(path string) error {
	stale, err := socketAt(path)
	if stale == nil {
		return err
	}

	conn, err := net.Dial("unix", path)
	switch {
	case err == nil:
		defer conn.Close()
		return fmt.Errorf("%s listens on %s: stop that, or name another path", peerOf(conn), path)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s belongs to another user: name another path", path)
	case !errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("another program uses %s: stop that, or name another path", path)
	}

	// The connection was refused: nobody listens.
	if err := removeSame(path, stale); err != nil {
		return fmt.Errorf("%s was left behind and cannot be removed: remove it, or name another path: %w", path, err)
	}
	return nil
}

// removeSame removes a file if it is the one that was seen before.
func removeSame(path string, seen fs.FileInfo) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !os.SameFile(info, seen):
		return errors.New("something else is there now")
	}
	return os.Remove(path)
}

// lockDir keeps other daemons from making and removing control sockets in a
// directory until unlock. Somebody may hold such a lock for reasons of their own,
// or the file system may have none: then it goes without.
func lockDir(dir string) (unlock func()) {
	const most, pause = 2 * time.Second, 5 * time.Millisecond

	opened, err := os.Open(dir)
	if err != nil {
		return func() {}
	}

	for until := time.Now().Add(most); time.Now().Before(until); time.Sleep(pause) {
		err := unix.Flock(int(opened.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			break
		}
	}

	return func() { opened.Close() }
}

// peerOf names the program at the other end of a unix socket.
func peerOf(conn net.Conn) string {
	var pid int32
	if raw, err := conn.(*net.UnixConn).SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
				pid = cred.Pid
			}
		})
	}
	if pid == 0 {
		return "another program"
	}

	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return fmt.Sprintf("%s (pid %d)", strings.TrimSpace(string(name)), pid)
}
