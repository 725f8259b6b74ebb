package inotify

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify/internal/dirfd"
)

// ErrClosed is what the methods of a Watcher return after Close.
var ErrClosed = errors.New("inotify watcher is closed")

// A LimitError says that a limit of inotify(7) was reached, and how to raise it.
type LimitError struct {
	// Limit is the setting that was reached, as sysctl(8) names it:
	// fs.inotify.max_user_watches or fs.inotify.max_user_instances, or
	// user.max_inotify_watches or user.max_inotify_instances in a user
	// namespace that has less.
	Limit string

	Value  int    // of the limit now; -1 when it could not be read
	Needed int    // directories to watch; 0 for a file, and for instances
	Root   string // what was to be watched; empty for instances
	Err    error  // ENOSPC or EMFILE

	// Owner is the user who is charged as well when this process is in a user namespace: the
	// one who made it, as "root" or "user 1000". It is empty otherwise, and when Limit is that
	// of the namespace. What other programs of the owner watch counts too.
	Owner string
}

func (e *LimitError) Unwrap() error { return e.Err }

// Error returns one line that ends in the command that raises the limit, and in the file
// where that stays for the next boot.
func (e *LimitError) Error() string {
	setting, enough := e.Limit, max(2*(e.Value+e.Needed), 8192)
	switch {
	case e.Value < 0:
		enough = max(2*e.Needed, 1<<20) // which is no less than the default of the kernel
	case e.Root == "":
		enough = max(2*e.Value, 512)
	}
	if e.Value >= 0 {
		setting += "=" + strconv.Itoa(e.Value)
	}

	remedy := fmt.Sprintf("raise it: sysctl %s=%d", e.Limit, enough)
	whose := "this user"
	if e.Owner != "" {
		remedy = fmt.Sprintf("raise it on the host: sysctl %s=%d", e.Limit, enough)
		whose = e.Owner + ", who made this user namespace (PrivateUsers= of systemd, or a container)"
	}
	if strings.HasPrefix(e.Limit, "fs.") { // that of a user namespace goes with it
		remedy += "; for good in /etc/sysctl.d/60-inotify.conf"
	}
	switch {
	case e.Root == "":
		return fmt.Sprintf("no inotify instance left: all programs of %s have all of %s in use; %s", whose, setting, remedy)
	case e.Needed == 0:
		return fmt.Sprintf("no inotify watch left for %s: %s counts all programs of %s; %s", Quote(e.Root), setting, whose, remedy)
	}
	return fmt.Sprintf("no inotify watch left for %s: it has %d directories, and %s counts all programs of %s; %s", Quote(e.Root), e.Needed, setting, whose, remedy)
}

// watchLimit returns the error for a root below which something got no watch,
// because of ENOSPC or another error.
func (w *Watcher) watchLimit(root string, skip func(string) bool, why error) error {
	if !errors.Is(why, unix.ENOSPC) {
		return &os.PathError{Op: "watch what is in", Path: root, Err: why}
	}
	err := newLimitError("fs.inotify.max_user_watches", "user.max_inotify_watches", unix.ENOSPC)
	err.Root, err.Needed = root, w.countDirs(root, skip)
	return err
}

// newLimitError returns the error for one of two settings: that of the whole system, or of our
// user namespace if that is lower.
func newLimitError(system, namespace string, why error) *LimitError {
	all, err := sysctl(system)
	if err != nil {
		all = -1
	}
	if ours, err := sysctl(namespace); err == nil && (ours < all || all < 0 && ours < math.MaxInt32) {
		return &LimitError{Limit: namespace, Value: ours, Err: why}
	}
	return &LimitError{Limit: system, Value: all, Err: why, Owner: namespaceOwner()}
}

// namespaceOwner returns who has made the user namespace of this process, and is charged for what
// its users watch. It is empty in the first namespace, and when the kernel does not say.
func namespaceOwner() string {
	const first = 0xEFFFFFFD // PROC_USER_INIT_INO of the kernel
	fd, err := unix.Open("/proc/self/ns/user", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	if st, err := dirfd.Stat(fd, ""); err != nil || st.Ino == first {
		return ""
	}

	uid, err := unix.IoctlGetUint32(fd, unix.NS_GET_OWNER_UID)
	if err != nil {
		return ""
	}
	switch outside, ok := outsideUID(uint64(uid)); {
	case !ok:
		return "another user"
	case outside == 0:
		return "root"
	default:
		return fmt.Sprintf("user %d", outside)
	}
}

// outsideUID returns the user, outside of the user namespace of this process, that uid stands for
// in it (user_namespaces(7)).
func outsideUID(uid uint64) (outside uint64, ok bool) {
	text, _ := os.ReadFile("/proc/self/uid_map") // without it nobody is known
	for line := range strings.Lines(string(text)) {
		var first, start, count uint64
		if n, _ := fmt.Sscan(line, &first, &start, &count); n == 3 && uid >= first && uid-first < count {
			return start + uid - first, true
		}
	}
	return 0, false
}

func sysctl(name string) (int, error) {
	text, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// countDirs counts the directories that a subscription of root has to watch.
func (w *Watcher) countDirs(root string, skip func(string) bool) (count int) {
	filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if w.mustStop() {
			return filepath.SkipAll
		}
		if err != nil || !d.IsDir() {
			return nil
		}

		rel, _ := filepath.Rel(root, p)
		if skip != nil && rel != "." && skip(rel) {
			return filepath.SkipDir
		}

		count++
		return nil
	})
	return count
}

// isResourceLimit reports whether err means that watches, descriptors or memory have
// run out, of which there may be more later.
func isResourceLimit(err error) bool {
	errno, _ := errors.AsType[unix.Errno](err)
	return errno == unix.ENOSPC || errno == unix.EMFILE || errno == unix.ENFILE || errno == unix.ENOMEM
}

// A RemoteError says that a directory is on a file system that other machines may
// change without this kernel's knowledge. The directory and all below it are polled
// every Options.PollInterval instead of being watched. It is a notice: nothing failed.
type RemoteError struct {
	Path string // the root, or where the file system is mounted below it
	FS   string // the file system according to statfs(2), such as "nfs" or "fuse"
}

func (e *RemoteError) Error() string {
	return fmt.Sprintf("%s is on %s, where inotify does not see what others change: looking for changes instead", Quote(e.Path), e.FS)
}

// A MountedFileError says that a file which is mounted at a path was renamed, replaced
// or removed where it comes from. The mount still shows the old file, so that events of
// the new one cannot be reported. There is one such error for each mount.
type MountedFileError struct {
	Path string // where the file is mounted
}

func (e *MountedFileError) Error() string {
	return fmt.Sprintf("the file that is mounted at %s was renamed, replaced or removed where it comes from, and the mount still shows the old one: mount it again (restart the container), or mount its directory instead", Quote(e.Path))
}
