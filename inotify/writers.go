package inotify

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify/internal/dirfd"
)

// A WriterState says whether a file is open for writing.
type WriterState uint8

const (
	NoWriter      WriterState = iota // it is not, or there is no regular file at the path
	HasWriter                        // some process has it open for writing
	UnknownWriter                    // the kernel does not tell: no permission, or no leases
	RemoteWriter                     // another machine may have it open for writing
)

// Writers reports whether any process of this machine, this one included, has the file at a path
// open for writing, or mapped for writing. It asks for a read lease (F_SETLEASE in fcntl(2)), which
// the kernel refuses then, and gives it back at once. The file must belong to the user of the
// process, or the process must have CAP_LEASE. Otherwise, and where the file system has no leases,
// the answer is UnknownWriter. A process that opens the file for writing in the microseconds in
// between has to wait for them; with O_NONBLOCK its open fails with EWOULDBLOCK.
//
// A regular file is opened for this, which makes an Open and a CloseNoWrite event for those who ask
// for them. Nothing else is opened, neither a symbolic link nor what it leads to.
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
		return NoWriter // to open a FIFO would wait for a writer
	case statfs(at, &fs) == nil && dirfd.Remote(uint32(fs.Type)) != "":
		return RemoteWriter
	}

	// By descriptor: there may be another file at the path by now.
	fd, err := openRetry(dirfd.Path(at, ""), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return HasWriter // which has a lease that reading would break
	}
	if err != nil {
		return UnknownWriter
	}
	defer unix.Close(fd)

	// Raw, so that the scheduler does not come in between while others have to wait.
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
