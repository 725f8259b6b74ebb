package inotify

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify/internal/dirfd"
)

// mountinfo is the list of mounts of this process (proc(5)).
const mountinfo = "/proc/self/mountinfo"

// An instance is an inotify instance, with the other descriptors that its reader
// waits for.
type instance struct {
	fd     int // inotify
	epoll  int
	wakeup int // eventfd that ends a wait
	mounts int // the list of mounts; -1 when it cannot be read

	buf      []byte
	consumed uint64 // bytes read from fd
}

// open acquires the descriptors. It keeps fd when there is one.
func (in *instance) open() (err error) {
	// Every scan opens directories by this path.
	const proc = "/proc/self/fd"
	fd, err := unix.Open(proc, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: proc, Err: err}
	}
	unix.Close(fd)

	if in.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if in.wakeup, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	if in.fd < 0 {
		if in.fd, err = unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC); err != nil {
			return in.initError(err)
		}
	}
	if in.mounts, err = unix.Open(mountinfo, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		in.mounts = -1 // then what is mounted later is not noticed
	}

	// A change of the list of mounts is an exceptional condition (proc(5)).
	return errors.Join(in.await(in.fd, unix.EPOLLIN), in.await(in.wakeup, unix.EPOLLIN), in.await(in.mounts, unix.EPOLLPRI))
}

// initError returns the error of inotify_init1(2). EMFILE means that the user has
// no instance left, unless the process has no descriptor left.
func (in *instance) initError(err error) error {
	if errors.Is(err, unix.EMFILE) {
		if fd, dupErr := unix.FcntlInt(uintptr(in.wakeup), unix.F_DUPFD_CLOEXEC, 0); dupErr == nil {
			unix.Close(fd)
			return newLimitError("fs.inotify.max_user_instances", "user.max_inotify_instances", err)
		}
	}
	return os.NewSyscallError("inotify_init1", err)
}

// await adds fd, unless it is -1, to what wait waits for.
func (in *instance) await(fd int, events uint32) error {
	if fd < 0 {
		return nil
	}
	err := unix.EpollCtl(in.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
	return os.NewSyscallError("epoll_ctl", err)
}

// close closes the descriptors that are open.
func (in *instance) close() error {
	var errs []error
	for _, fd := range []*int{&in.fd, &in.wakeup, &in.mounts, &in.epoll} {
		if *fd >= 0 {
			errs = append(errs, os.NewSyscallError("close", unix.Close(*fd)))
			*fd = -1
		}
	}
	return errors.Join(errs...)
}

// wait sleeps until there is something to read, wake is called, the list of
// mounts changes or a timeout in ms has passed; -1 is none. It may return early.
func (in *instance) wait(timeout int) (mountsChanged bool, err error) {
	var ready [3]unix.EpollEvent
	n, err := unix.EpollWait(in.epoll, ready[:], timeout)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return false, os.NewSyscallError("epoll_wait", err)
	}

	for _, r := range ready[:max(n, 0)] {
		switch int(r.Fd) {
		case in.wakeup:
			unix.Read(in.wakeup, make([]byte, 8)) // resets it; EAGAIN means that it is reset
		case in.mounts:
			mountsChanged = true
		}
	}
	return mountsChanged, nil
}

// wake ends the wait that is under way, or the next one.
func (in *instance) wake() {
	unix.Write(in.wakeup, []byte{0, 0, 0, 0, 0, 0, 0, 1}) // fails when it is closed, or woken very often
}

// watch adds a watch for name in the directory open as fd, or for the file that fd
// is open on when name is empty. The mask is added to that of a watch which is there.
func (in *instance) watch(fd int, name string, mask uint32) (wd int32, err error) {
	return in.watchPath(dirfd.Path(fd, name), mask)
}

// watchPath is watch for what a path leads to.
func (in *instance) watchPath(path string, mask uint32) (wd int32, err error) {
	// Masks only ever grow: a directory may be watched as part of a tree, as a root
	// and as a component of another root's path.
	n, err := unix.InotifyAddWatch(in.fd, path, mask|unix.IN_MASK_ADD)
	return int32(n), err
}

// A record is one struct inotify_event as read(2) returns it. Its name points into
// the buffer that was read.
type record struct {
	wd     int32
	mask   Mask
	cookie uint32
	name   []byte
}

// records yields the records in buf in the kernel's order. After an error it yields no more.
func records(buf []byte) iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		for len(buf) > 0 {
			rec, size, err := cutRecord(buf)
			if !yield(rec, err) || err != nil {
				return
			}
			buf = buf[size:]
		}
	}
}

// cutRecord decodes the record at the start of buf and returns its size. The kernel
// never returns part of a record, so one that does not fit is an error.
func cutRecord(buf []byte) (record, int, error) {
	if len(buf) < unix.SizeofInotifyEvent {
		return record{}, 0, fmt.Errorf("inotify record cut off after %d of %d bytes", len(buf), unix.SizeofInotifyEvent)
	}
	nameLen := binary.NativeEndian.Uint32(buf[12:])
	if uint64(nameLen) > uint64(len(buf)-unix.SizeofInotifyEvent) {
		return record{}, 0, fmt.Errorf("inotify record of %d bytes holds %d", unix.SizeofInotifyEvent+uint64(nameLen), len(buf))
	}

	size := unix.SizeofInotifyEvent + int(nameLen)
	name := buf[unix.SizeofInotifyEvent:size]
	if end := bytes.IndexByte(name, 0); end >= 0 {
		name = name[:end] // padded with NUL
	}
	return record{
		wd:     int32(binary.NativeEndian.Uint32(buf[0:])),
		mask:   Mask(binary.NativeEndian.Uint32(buf[4:])),
		cookie: binary.NativeEndian.Uint32(buf[8:]),
		name:   name,
	}, size, nil
}
