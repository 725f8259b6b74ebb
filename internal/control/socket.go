// Package control is the unix socket by which commands such as `execlogd log` speak to
// a daemon of the same user: where it is, how a daemon makes it, and how a command
// connects to it.
package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/internal/config"
)

// A Socket is a control socket: a unix socket that this user alone can connect to.
type Socket struct {
	*net.UnixListener
	path   string
	made   fs.FileInfo // its file, whose inode no other has while it is open
	remove sync.Once
}

// Close closes the socket and removes its file, unless another file is there by now.
// It may be called more than once.
func (s *Socket) Close() error {
	s.remove.Do(func() { _ = removeSame(s.path, s.made) })
	return s.UnixListener.Close()
}

// IsAt reports whether a path leads to the file of the socket.
func (s *Socket) IsAt(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && os.SameFile(info, s.made)
}

// maxSocketPath is how many bytes the path of a unix socket may have, which is
// sun_path of unix(7) without its last byte, a NUL.
const maxSocketPath = len(unix.RawSockaddrUnix{}.Path) - 1

// Listen makes a control socket, in place of one on which nobody listens any more.
// Whatever else is at the path stays there, and is an error that says what to do.
func Listen(path string) (*Socket, error) {
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
		return errors.Join(c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }), err)
	}}
	ln, err := private.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, explainListen(err, path)
	}

	s := &Socket{UnixListener: ln.(*net.UnixListener), path: path}
	s.SetUnlinkOnClose(false) // Close looks first
	if s.made, err = os.Lstat(path); err != nil {
		return nil, errors.Join(err, s.UnixListener.Close())
	}
	return s, nil
}

// explainListen says what to do about a socket that cannot be made.
func explainListen(err error, path string) error {
	dir := filepath.Dir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%s cannot be made, for %s is no directory: create that, or name another path", path, dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s cannot be made, for user %d may not write to %s: give the permission, or name another path", path, os.Geteuid(), dir)
	}
	return fmt.Errorf("%s cannot be made: %w", path, err)
}

// Check returns an error if something other than a socket is at the path. It changes
// nothing, and does not ask whether a socket is in use.
func Check(path string) error {
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
		return nil, explainListen(err, path)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("%s is %s, and stays so: name a path where nothing is, or remove it", path, config.FileKind(info))
	}
	return info, nil
}
