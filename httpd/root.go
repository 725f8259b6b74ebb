package httpd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/execlog/execlogd/httpd/internal/urlpath"
	"golang.org/x/sys/unix"
)

// A root is the directory that is served: whatever its path leads to at the time of
// a request. Builds remove their output directory and make it again, and releases
// switch a symbolic link, while an open directory stays the old one.
type root struct {
	path string // absolute

	mu    sync.Mutex
	dir   rootDir
	users int // who may open files in it; the last of them closes it
}

// openRoot opens a directory that is to be served. It makes sure that the directory
// can be listed, so that a mistake shows at start and not in a browser. The root has
// one user then. If before has the same path it is returned as it is. With wait a directory
// that is not there yet is one without files.
func openRoot(name string, wait bool, before *root) (*root, error) {
	path, err := filepath.Abs(name)
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	if before != nil && before.path == path {
		return before, nil
	}

	dir, err := openDir(path)
	if wait && errors.Is(err, fs.ErrNotExist) {
		dir, err = openNothing()
	}
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	listed, err := reopen(dir.handle)
	if err != nil {
		dir.close()
		if errors.Is(err, fs.ErrNotExist) {
			err = errors.New("/proc is not mounted: files cannot be opened without it")
		}
		return nil, fmt.Errorf("root: %w", err)
	}
	listed.Close()
	return &root{path: path, dir: dir, users: 1}, nil
}

// A rootDir is an open directory, in the two forms in which files are opened beneath
// it. One that nobody closes is closed by the garbage collector.
type rootDir struct {
	*os.Root
	handle *os.File
	info   fs.FileInfo
}

func openDir(path string) (dir rootDir, err error) {
	if dir.Root, err = os.OpenRoot(path); err != nil {
		return dir, err
	}
	if dir.handle, err = dir.Open("."); err != nil {
		dir.Root.Close()
		return dir, err
	}
	dir.info, err = dir.handle.Stat()
	return dir, err
}

// openNothing opens a directory that is empty and stays so, as it is removed.
func openNothing() (dir rootDir, err error) {
	path, err := os.MkdirTemp("", "execlogd-")
	if err != nil {
		return dir, err
	}
	defer os.Remove(path)
	return openDir(path)
}

func (d rootDir) close() error {
	d.handle.Close()
	return d.Root.Close()
}

// now returns the directory that the path leads to now, or the one before while it
// leads nowhere. The caller must not close it: a replaced one is closed when no
// request refers to it any more.
func (r *root) now() rootDir {
	info, err := os.Stat(r.path)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil || os.SameFile(info, r.dir.info) {
		return r.dir
	}

	if dir, err := openDir(r.path); err == nil {
		r.dir = dir
	}
	return r.dir
}

// acquire adds a user, until release. It returns false when there is none left and
// the root is closed. A nil root can be acquired.
func (r *root) acquire() bool {
	if r == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.users == 0 {
		return false
	}
	r.users++
	return true
}

// release takes a user away. The last one closes the root.
func (r *root) release() error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.users--; r.users > 0 {
		return nil
	}
	return r.dir.close()
}

// A file is an open regular file or directory.
type file struct {
	*os.File
	fs.FileInfo
	name string // relative to the root, as the request has it
	real string // the same file's name without symbolic links; absolute outside of the root

	content  *io.SectionReader // see load
	whole    bool              // content was read whole, and is text
	text     []byte
	checksum uint32 // of text

	key string // of a hotFiles that the file may be added to; "" for none

	// What a file of a hotFiles has, and others do not until it is found out.
	facts    *contentFacts
	urlPath  string   // at which it is shown
	resource string   // that path in its canonical form
	hot      *hotFile // itself

	script script     // in the content
	rules  *rulesRead // that there were when it was opened for a request of its own
}

// statOf returns what the kernel said of a file.
func statOf(info fs.FileInfo) *syscall.Stat_t { return info.Sys().(*syscall.Stat_t) }

// open opens a regular file or a directory beneath the root. Nothing else is ever
// opened, as the program at the other end of a FIFO would notice, and so would a
// device. So the file is first looked at through a descriptor with O_PATH, and then
// the very file that was looked at is opened.
//
// Whatever the name goes through, links included, stays beneath the root, unless
// Options.FollowSymlinks says otherwise. The kernel or os.Root ensures that at every step;
// names are not relied upon.
func (s *handler) open(name string) (*file, error) {
	found, real, info, err := s.find(".", name)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	f, err := reopen(found)
	if err != nil {
		return nil, err
	}
	return &file{File: f, FileInfo: info, name: name, real: real}, nil
}

// openRegular is open for callers that want no directory.
func (s *handler) openRegular(name string) (*file, error) {
	f, err := s.open(name)
	if err == nil && f.IsDir() {
		f.Close()
		return nil, fs.ErrNotExist
	}
	return f, err
}

// find returns a descriptor with O_PATH for what a name in a directory leads to, and the
// name without links and the info of that. The error is one if it is not to be served.
func (s *handler) find(dir, name string) (found *os.File, real string, info fs.FileInfo, err error) {
	root := s.root.now()
	found, real, err = openPath(root, dir, name, s.opts.FollowSymlinks)
	if err != nil {
		return nil, "", nil, err
	}

	info, err = found.Stat()
	switch {
	case err != nil || info.IsDir():
	case !info.Mode().IsRegular():
		err = fs.ErrNotExist
	case s.private.isPrivate(s.privatePaths, root.Root, real, info), path.IsAbs(real) && isOfKernel(found):
		err = errNotServed
	}
	if err != nil {
		found.Close()
	}
	return found, real, info, err
}

// openPath returns a descriptor with O_PATH for what a name in a directory leads to, and
// the name of that without links. With leave the links may lead out of the root.
func openPath(root rootDir, dir, name string, leave bool) (found *os.File, real string, err error) {
	// Few names have a link in them. For the rest one system call is enough.
	if real = name; dir != "." {
		real = path.Join(dir, name)
	}
	if path.IsAbs(real) {
		return openLeft(root, dir, name)
	}
	fd, err := unix.Openat2(int(root.handle.Fd()), real, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	runtime.KeepAlive(root.handle)
	if err == nil {
		return os.NewFile(uintptr(fd), real), real, nil
	}

	// There is a link, or nothing, or the kernel or a sandbox does not know the call.
	if leave {
		return openLeft(root, dir, name)
	}
	if real, err = resolve(root.Root, dir, name); err != nil {
		return nil, "", err
	}
	found, err = root.OpenFile(real, unix.O_PATH, 0)
	return found, real, err
}

// openLeft is openPath for a name that may lead out of the root. What is outside is opened by
// its path without links, one name after the other, so that no link can come in between.
func openLeft(root rootDir, dir, name string) (found *os.File, real string, err error) {
	v, err := newLeavingResolver(root)
	if err != nil {
		return nil, "", err
	}
	if real, err = v.resolve(dir, name); err != nil {
		return nil, "", err
	}
	if !path.IsAbs(real) {
		found, err = root.OpenFile(real, unix.O_PATH, 0)
		return found, real, err
	}

	const flags = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Open("/", flags, 0)
	for part := range strings.SplitSeq(strings.Trim(real, "/"), "/") {
		if err != nil || part == "" {
			break
		}
		above := fd
		fd, err = unix.Openat(above, part, flags, 0) // ENOTDIR for what a link itself has below it
		unix.Close(above)
	}
	if err != nil {
		return nil, "", &fs.PathError{Op: "open", Path: real, Err: err}
	}
	return os.NewFile(uintptr(fd), real), real, nil
}

// isOfKernel reports whether a file is one that the kernel makes up, which may say something
// about this process.
func isOfKernel(found *os.File) bool {
	var st unix.Statfs_t
	err := control(found, func(fd int) error { return unix.Fstatfs(fd, &st) })
	return err != nil || st.Type == unix.PROC_SUPER_MAGIC || st.Type == unix.SYSFS_MAGIC
}

// reopen opens for reading what a descriptor with O_PATH refers to.
func reopen(found *os.File) (*os.File, error) {
	f, err := os.Open("/proc/self/fd/" + strconv.Itoa(int(found.Fd())))
	if pathErr, ok := err.(*fs.PathError); ok {
		pathErr.Path = found.Name()
	}
	return f, err
}

// maxLinks is how many symbolic links a name may go through, as in the kernel.
const maxLinks = 40

// resolve follows the symbolic links in name, beginning in dir, and returns what that
// leads to as a name relative to the root. Name must be clean, and dir without links.
func resolve(root *os.Root, dir, name string) (real string, err error) {
	return (&resolver{root: root}).resolve(dir, name)
}

// linksOf returns what a name leads through: its symbolic links, and what they lead to, or
// the first name on the way that there is not. All are without links in their directory.
// It is nil if there is no link. It also returns when a link changed last (ms since 1970),
// and the error of resolve.
//
// With leave the links may lead out of the root; what is outside is not returned.
func linksOf(root rootDir, name string, leave bool) (through []string, changed int64, err error) {
	v := &resolver{root: root.Root}
	if leave {
		if v, err = newLeavingResolver(root); err != nil {
			return nil, 0, err
		}
	}
	real, err := v.resolve(".", name)
	switch {
	case len(v.links) == 0:
		return nil, 0, err
	case err == nil:
		v.links = append(v.links, real)
	case v.missing != "":
		v.links = append(v.links, v.missing)
	}
	return slices.DeleteFunc(v.links, path.IsAbs), v.changed, err
}

// A resolver follows symbolic links in names that are relative to a root. Outside of the root
// names are absolute.
type resolver struct {
	root    *os.Root
	at      string   // path of the root without links, if links may lead out; else ""
	links   []string // that it has followed, without links in their directory
	missing string   // what is not there
	changed int64    // when a link changed last; ms since 1970
}

// newLeavingResolver returns a resolver for links that may lead out of a root.
func newLeavingResolver(root rootDir) (*resolver, error) {
	var at string
	err := control(root.handle, func(fd int) (err error) {
		at, err = os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		return err
	})
	return &resolver{root: root.Root, at: at}, err
}

// above returns the directory around another.
func (v *resolver) above(dir string) string {
	if dir == "." {
		return v.within(path.Dir(v.at))
	}
	return v.within(path.Dir(dir))
}

// within returns a path as it is named in the root, if it is that.
func (v *resolver) within(real string) string {
	if path.IsAbs(real) && real == v.at {
		return "."
	}
	return real
}

func (v *resolver) lstat(real string) (fs.FileInfo, error) {
	if path.IsAbs(real) {
		return os.Lstat(real)
	}
	return v.root.Lstat(real)
}

func (v *resolver) readlink(real string) (string, error) {
	if path.IsAbs(real) {
		return os.Readlink(real)
	}
	return v.root.Readlink(real)
}

// resolve is the function of that name.
//
// What name leads to is not served if it is hidden by its own name, nor if a directory
// on the way leads to something hidden: a link called env that leads to .env publishes
// it no more than its own name does. A link does publish what has no hidden name itself
// but is in a hidden directory: a release (current -> .releases/42), a package of pnpm,
// a file of a ConfigMap.
func (v *resolver) resolve(dir, name string) (real string, err error) {
	real = dir
	for part := range strings.SplitSeq(name, "/") {
		if real, err = v.follow(real, part); err != nil {
			return "", err
		}

		if base := path.Base(real); base != "." && !urlpath.IsListed(base) && urlpath.IsHidden(real) {
			return "", errNotServed
		}
	}
	return real, nil
}

// follow is resolve for the target of a link, which may have dots in it, and without
// the rule for hidden names.
func (v *resolver) follow(dir, target string) (real string, err error) {
	real = dir
	switch {
	case path.IsAbs(target) && v.at == "":
		return "", v.leadsOut(target) // as os.Root has it, even if it leads back into the root
	case path.IsAbs(target):
		real = v.within("/")
	}
	for part := range strings.SplitSeq(target, "/") {
		switch {
		case part == "" || part == ".":
			continue
		case part == ".." && real == "." && v.at == "":
			return "", v.leadsOut(target)
		case part == "..":
			real = v.above(real)
			continue
		}

		next := v.within(path.Join(real, part))
		info, err := v.lstat(next)
		if err != nil {
			v.missing = next
			return "", err
		}
		if info.Mode().Type() != fs.ModeSymlink {
			real = next
			continue
		}

		if len(v.links) == maxLinks {
			return "", syscall.ELOOP
		}
		v.links, v.changed = append(v.links, next), max(v.changed, statOf(info).Ctim.Nano()/1e6)
		link, err := v.readlink(next)
		if err != nil {
			return "", err
		}
		if real, err = v.follow(real, link); err != nil {
			return "", err
		}
	}
	return real, nil
}

// errNotServed is the error of a name that leads to something that no client may have.
// The answer is the same as for what is not there, but nothing else is served in its
// place.
var errNotServed = errors.New("not to be served")

// A leadsOutError is errNotServed for a symbolic link that leads out of the root.
type leadsOutError struct{ link, target string }

// leadsOut returns the error of the last link, which has that target.
func (v *resolver) leadsOut(target string) error {
	if len(v.links) == 0 {
		return errNotServed
	}
	return &leadsOutError{v.links[len(v.links)-1], target}
}

func (e *leadsOutError) Error() string { return e.link + " leads out of the root" }
func (e *leadsOutError) Unwrap() error { return errNotServed }
