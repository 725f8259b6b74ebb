package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/execlog/execlogd/internal/config"
)

// A controlSocket is a unix socket that this user alone can connect to. Close
// removes its file, unless another is there by now.
type controlSocket struct {
	*net.UnixListener
	path   string
	made   fs.FileInfo // its file, whose inode no other has while it is open
	remove sync.Once
}

// Close may be called more than once.
func (s *controlSocket) Close() error {
	s.remove.Do(func() { _ = removeSame(s.path, s.made) })
	return s.UnixListener.Close()
}

// isAt reports whether a path leads to the file of the socket.
func (s *controlSocket) isAt(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && os.SameFile(info, s.made)
}

// maxSocketPath is how many bytes the path of a unix socket may have, which is
// sun_path of unix(7) without its last byte, a NUL.
const maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// listenControl makes a control socket, in place of one on which nobody listens
// any more. Whatever else is at the path stays, and is an error.
func listenControl(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path of the socket has %d bytes, and may have %d: name a shorter one than %s", len(path), maxSocketPath, path)
	}
	// Between the making of a socket and its listening nobody else may take it
	// for one that was left behind.
	defer lockDir(filepath.Dir(path))()
	if err := removeStale(path); err != nil {
		return nil, err
	}
	// The kernel makes the file with the mode that the socket has.
	private := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		return errors.Join(c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) }), err)
	}}
	ln, err := private.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, explainControl(err, path)
	}
	s := &controlSocket{UnixListener: ln.(*net.UnixListener), path: path}
	s.SetUnlinkOnClose(false) // Close looks first
	if s.made, err = os.Lstat(path); err != nil {
		return nil, errors.Join(err, s.UnixListener.Close())
	}
	return s, nil
}

// explainControl says what to do about a socket that cannot be made.
func explainControl(err error, path string) error {
	dir := filepath.Dir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%s cannot be made, for %s is no directory: create that, or name another path", path, dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s cannot be made, for user %d may not write to %s: give the permission, or name another path", path, os.Geteuid(), dir)
	}
	return fmt.Errorf("%s cannot be made: %w", path, err)
}

// checkControl says why no control socket can be at a path: something else is
// there. It changes nothing, and does not ask whether a socket is in use.
func checkControl(path string) error {
	_, err := socketAt(path)
	return err
}

// socketAt is the socket at a path, and nil if nothing is there.
func socketAt(path string) (fs.FileInfo, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, explainControl(err, path)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("%s is %s, and stays so: name a path where nothing is, or remove it", path, config.FileKind(info))
	}
	return info, nil
}

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
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("another program uses %s: stop that, or name another path", path)
	}
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

// removeAllStale removes the sockets in a directory of ours that daemons left
// behind which were killed.
func removeAllStale(dir string) {
	defer lockDir(dir)()
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if byProcess.MatchString(e.Name()) {
			_ = removeStale(filepath.Join(dir, e.Name())) // else it stays
		}
	}
}

// byProcess are the names of sockets that are called after a process.
var byProcess = regexp.MustCompile(`^[0-9]+\.sock$`)

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
		err := syscall.Flock(int(opened.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	return func() { opened.Close() }
}

// peerOf names the program at the other end of a unix socket.
func peerOf(conn net.Conn) string {
	other := "another program"
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return other
	}
	var cred *syscall.Ucred
	outer := raw.Control(func(fd uintptr) {
		cred, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if outer != nil || err != nil || cred.Pid == 0 {
		return other
	}
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cred.Pid))
	return fmt.Sprintf("%s (pid %d)", strings.TrimSpace(string(name)), cred.Pid)
}
