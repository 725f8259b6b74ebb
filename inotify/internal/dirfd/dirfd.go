// Package dirfd looks at files and directories by way of the descriptor of the
// directory that they are in, so that a rename of a directory above does not lead
// to another file.
package dirfd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"iter"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// An Inode is what a watcher needs of a file's attributes.
type Inode struct {
	Ino          uint64
	Ctime        int64 // ns since 1970
	Mtime        int64 // ns since 1970
	Size         int64
	Major, Minor uint32 // of the file system
	Links        uint32
	Kind         byte // DT_DIR, DT_REG...
}

// Same reports whether both are of the same file.
func (i Inode) Same(other Inode) bool {
	return i.Ino == other.Ino && i.Major == other.Major && i.Minor == other.Minor
}

// SameContent reports whether both are of one state of a file. It does not compare inode
// numbers: a FUSE server need not remember them.
func (i Inode) SameContent(other Inode) bool {
	return i.Ctime == other.Ctime && i.Size == other.Size && i.Kind == other.Kind
}

// Stat looks at name in the directory open as fd, or at fd itself when name is
// empty. It does not follow a symbolic link.
func Stat(fd int, name string) (Inode, error) {
	return statx(fd, name, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW)
}

// StatPath looks at the file that a path leads to.
func StatPath(path string) (Inode, error) { return statx(unix.AT_FDCWD, path, 0) }

func statx(fd int, name string, flags int) (Inode, error) {
	const want = unix.STATX_TYPE | unix.STATX_INO | unix.STATX_NLINK | unix.STATX_CTIME | unix.STATX_MTIME | unix.STATX_SIZE
	var st unix.Statx_t
	if err := unix.Statx(fd, name, flags, want, &st); err != nil {
		return Inode{}, os.NewSyscallError("statx", err)
	}
	return Inode{
		Ino:   st.Ino,
		Ctime: st.Ctime.Sec*1e9 + int64(st.Ctime.Nsec),
		Mtime: st.Mtime.Sec*1e9 + int64(st.Mtime.Nsec),
		Size:  int64(st.Size),
		Major: st.Dev_major,
		Minor: st.Dev_minor,
		Links: st.Nlink,
		Kind:  byte(st.Mode & unix.S_IFMT >> 12),
	}, nil
}

// An Entry is a name in a directory as getdents(2) returns it.
type Entry struct {
	Name []byte
	Ino  uint64
	Kind byte // DT_DIR, DT_REG... or DT_UNKNOWN
}

// Entries yields the entries of the directory open as fd but "." and "..", up to
// the first error. Their names point into buf, which is used for the system call.
func Entries(fd int, buf []byte) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for {
			n, err := unix.ReadDirent(fd, buf)
			if err != nil {
				yield(Entry{}, os.NewSyscallError("getdents64", err))
				return
			}
			if n <= 0 {
				return
			}
			for rest := buf[:n]; len(rest) > 0; {
				var e Entry
				e, rest = cutEntry(rest)
				if string(e.Name) != "." && string(e.Name) != ".." && !yield(e, nil) {
					return
				}
			}
		}
	}
}

// cutEntry decodes one struct linux_dirent64 at the start of buf.
func cutEntry(buf []byte) (e Entry, rest []byte) {
	const kind, start = 18, 19 // offsets of d_type and d_name
	size := binary.NativeEndian.Uint16(buf[16:])
	name, _, _ := bytes.Cut(buf[start:size], []byte{0})
	return Entry{Name: name, Kind: buf[kind], Ino: binary.NativeEndian.Uint64(buf)}, buf[size:]
}

// IsGone reports whether err means that there is no such name, or that it is no
// directory any more.
func IsGone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// Path returns a path that leads to name in the directory open as fd, or to that
// directory when name is empty, wherever the directory is by now (proc(5)).
func Path(fd int, name string) string {
	p := "/proc/self/fd/" + strconv.Itoa(fd)
	if name != "" {
		p += "/" + name
	}
	return p
}

// OpenBeneath opens the directory that a relative path leads to from the directory
// open as fd. No symbolic link is followed. Where openat2(2) is not allowed there
// is one call for each name: services of systemd with RestrictSUIDSGID= (which
// DynamicUser= implies) get ENOSYS, old containers EPERM.
func OpenBeneath(fd int, path string, flags int) (int, error) {
	next, err := unix.Openat2(fd, path, &unix.OpenHow{
		Flags:   uint64(flags),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return openEach(fd, path, flags)
	}
	return next, err
}

// openEach is OpenBeneath by a call for each name in path.
func openEach(fd int, path string, flags int) (int, error) {
	const between = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC | unix.O_NOFOLLOW
	name, rest, more := strings.Cut(path, "/")
	if !more {
		return unix.Openat(fd, name, flags|unix.O_NOFOLLOW, 0)
	}
	next, err := unix.Openat(fd, name, between, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(next)
	return openEach(next, rest, flags)
}
