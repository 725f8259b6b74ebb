package httpd

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/execlog/execlogd/httpd/internal/urlpath"
	"golang.org/x/sys/unix"
)

// A file is an open regular file or directory.
type file struct {
	*os.File
	fs.FileInfo
	name string // relative to the root, as the request has it
	real string // the same file's name without symbolic links

	content  contentReader // see load
	checksum uint32        // of all of the content, where that was read whole
}

func (f *file) Name() string { return f.name }

// open opens a regular file or a directory beneath the root. Nothing else is
// ever opened, as the programs at the other end of a FIFO would notice, and so
// would a device: the file is looked at first, through a descriptor of O_PATH,
// and what is opened then is the very file that was looked at.
//
// Whatever the name goes through, links included, stays beneath the root; that
// is looked after at every step by the kernel or by os.Root, not by looking at
// names.
func (s *handler) open(name string) (*file, error) {
	root := s.root.now()
	found, real, err := find(root, name)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	info, err := found.Stat()
	if err != nil {
		return nil, err
	}
	if err := s.check(root.Root, real, info); err != nil {
		return nil, err
	}
	f, err := reopen(found)
	if err != nil {
		return nil, err
	}
	return &file{File: f, FileInfo: info, name: name, real: real}, nil
}

// find returns a descriptor of O_PATH for what a name leads to, and the name of
// that without links.
func find(root rootDir, name string) (found *os.File, real string, err error) {
	// Few names have a link in them. One system call is enough for the rest.
	fd, err := unix.Openat2(int(root.handle.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	runtime.KeepAlive(root.handle)
	if err == nil {
		return os.NewFile(uintptr(fd), name), name, nil
	}
	// There are links, or nothing, or the kernel or a sandbox does not know
	// the call.
	if real, err = resolve(root.Root, ".", name); err != nil {
		return nil, "", err
	}
	found, err = root.OpenFile(real, unix.O_PATH, 0)
	return found, real, err
}

// openRegular is open for those who want no directory.
func (s *handler) openRegular(name string) (*file, error) {
	f, err := s.open(name)
	if err == nil && f.IsDir() {
		f.Close()
		return nil, notFound(name)
	}
	return f, err
}

// stat looks at what open would open for a name in a directory.
func (s *handler) stat(dir *file, name string) (fs.FileInfo, error) {
	root := s.root.now().Root
	real, err := resolve(root, dir.real, name)
	if err != nil {
		return nil, err
	}
	info, err := root.Lstat(real)
	if err != nil {
		return nil, err
	}
	return info, s.check(root, real, info)
}

// check says why a file is not served, if it is not.
func (s *handler) check(root *os.Root, real string, info fs.FileInfo) error {
	switch {
	case info.IsDir():
		return nil
	case !info.Mode().IsRegular():
		return notFound(real)
	case s.private.has(root, real, info):
		return withheld(real)
	}
	return nil
}

// reopen opens for reading what a descriptor of O_PATH refers to.
func reopen(found *os.File) (*os.File, error) {
	f, err := os.Open("/proc/self/fd/" + strconv.Itoa(int(found.Fd())))
	if pathErr, ok := err.(*fs.PathError); ok {
		pathErr.Path = found.Name()
	}
	return f, err
}

// maxLinks is how many symbolic links a name may go through, as in the kernel.
const maxLinks = 40

// resolve returns the name, relative to the root, of what name leads to from
// dir, with every symbolic link followed. The name is clean and dir has no
// links in it.
//
// What name leads to is not there when that is hidden by its own name, and
// neither is what a directory on the way leads to: a link called env that leads
// to .env publishes it no more than its own name does. A link to something in
// a hidden directory, which has no hidden name itself, does publish that: a
// release (current -> .releases/42), a package of pnpm, a file of a ConfigMap.
func resolve(root *os.Root, dir, name string) (real string, err error) {
	real = dir
	links := maxLinks
	for part := range strings.SplitSeq(name, "/") {
		if real, err = follow(root, real, part, &links); err != nil {
			return "", err
		}
		if base := path.Base(real); base != "." && urlpath.IsHidden(base) {
			return "", withheld(name)
		}
	}
	return real, nil
}

// follow is resolve for a path as links have it, with dots in it, and without
// the rule for hidden names. Links says how many more links may be followed.
func follow(root *os.Root, dir, target string, links *int) (real string, err error) {
	if path.IsAbs(target) {
		return "", withheld(target) // as os.Root has it, also where it leads back into the root
	}
	real = dir
	for part := range strings.SplitSeq(target, "/") {
		switch {
		case part == "" || part == ".":
			continue
		case part == ".." && real == ".":
			return "", withheld(target)
		case part == "..":
			real = path.Dir(real)
			continue
		}
		next := path.Join(real, part)
		info, err := root.Lstat(next)
		if err != nil {
			return "", err
		}
		if info.Mode().Type() != fs.ModeSymlink {
			real = next
			continue
		}
		if *links--; *links < 0 {
			return "", &fs.PathError{Op: "open", Path: next, Err: syscall.ELOOP}
		}
		link, err := root.Readlink(next)
		if err != nil {
			return "", err
		}
		if real, err = follow(root, real, link, links); err != nil {
			return "", err
		}
	}
	return real, nil
}

func notFound(name string) error {
	return &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

var errWithheld = errors.New("not to be served")

// withheld is the error of a name that leads to something, which no visitor
// may have. It is answered as what is not there, but nothing else is served in
// its place.
func withheld(name string) error {
	return &fs.PathError{Op: "open", Path: name, Err: errWithheld}
}
