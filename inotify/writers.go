package inotify

import (
	"errors"

	"golang.org/x/sys/unix"
)

// A WriterState says whether anybody has a file open for writing.
type WriterState uint8

const (
	NoWriter      WriterState = iota // nobody, or there is no regular file at the path
	HasWriter                        // some process has
	UnknownWriter                    // the kernel does not say, for want of permission or of leases
	RemoteWriter                     // others than this kernel's processes may have
)

// Writers reports whether any process of this machine, this one included, has the
// file at a path open for writing, or mapped so. It asks for a read lease
// (F_SETLEASE in fcntl(2)), which the kernel refuses then, and gives it back at
// once. The file must belong to the user of the process, or that have CAP_LEASE;
// otherwise, and where the file system has no leases, the answer is UnknownWriter.
// Who opens the file for writing in the microseconds in between has to wait for
// these; with O_NONBLOCK that open fails with EWOULDBLOCK.
//
// A regular file is opened for this, which is an Open and a CloseNoWrite for who
// asks for those. Nothing else is, neither a symbolic link nor what that leads to.
func Writers(path string) WriterState { return writers(path, unix.Fstatfs) }

func writers(path string, statfs func(int, *unix.Statfs_t) error) WriterState {
	at, err := openRetry(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return NoWriter
	}
	if err != nil {
		return UnknownWriter
	}
	defer unix.Close(at)
	var stat unix.Stat_t
	var fs unix.Statfs_t
	switch {
	case unix.Fstat(at, &stat) != nil:
		return UnknownWriter
	case stat.Mode&unix.S_IFMT != unix.S_IFREG:
		return NoWriter
	case statfs(at, &fs) == nil && remoteFS[uint32(fs.Type)] != "":
		return RemoteWriter
	}
	// This is that very file: what is at the path may be another by now.
	fd, err := openRetry(procPath(at, ""), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return HasWriter // who has a lease on it that reading breaks
	}
	if err != nil {
		return UnknownWriter
	}
	defer unix.Close(fd)
	// Nothing may come between the two.
	_, _, errno := unix.RawSyscall(unix.SYS_FCNTL, uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
	_, _, _ = unix.RawSyscall(unix.SYS_FCNTL, uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK)
	switch errno {
	case 0:
		return NoWriter
	case unix.EAGAIN:
		return HasWriter
	}
	return UnknownWriter
}

// openRetry opens a file, again if a signal interrupts that.
func openRetry(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}
