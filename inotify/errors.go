package inotify

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
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

	Value  int    // of the limit now; 0 when it could not be read
	Needed int    // directories to watch; 0 for instances
	Root   string // what was to be watched; empty for instances
	Err    error  // ENOSPC or EMFILE
}

func (e *LimitError) Unwrap() error { return e.Err }

// Error returns one line that ends in the command that raises the limit, and in the file
// where that stays for the next boot.
func (e *LimitError) Error() string {
	stays := ""
	if strings.HasPrefix(e.Limit, "fs.") { // that of a user namespace goes with it
		stays = "; for good in /etc/sysctl.d/60-inotify.conf"
	}
	if e.Root == "" {
		return fmt.Sprintf("no inotify instance left: this user has all of %s=%d in use; raise it: sysctl %[1]s=%[3]d%[4]s",
			e.Limit, e.Value, max(2*e.Value, 512), stays)
	}
	return fmt.Sprintf("no inotify watch left for %s: it has %d directories, and %s=%d counts all programs of this user; raise it: sysctl %[3]s=%[5]d%[6]s",
		Quote(e.Root), e.Needed, e.Limit, e.Value, max(2*(e.Value+e.Needed), 8192), stays)
}

// watchLimit returns the error for a root below which something got no watch,
// because of ENOSPC or another error.
func watchLimit(root string, skip func(string) bool, why error) error {
	if !errors.Is(why, unix.ENOSPC) {
		return &os.PathError{Op: "watch what is in", Path: root, Err: why}
	}
	limit, value := lowerLimit("fs.inotify.max_user_watches", "user.max_inotify_watches")
	return &LimitError{Limit: limit, Value: value, Needed: countDirs(root, skip), Root: root, Err: unix.ENOSPC}
}

// lowerLimit returns which of two settings is lower, and its value. The first is that
// of the whole system, the second that of our user namespace.
func lowerLimit(system, namespace string) (name string, value int) {
	all, _ := sysctl(system)
	if ours, err := sysctl(namespace); err == nil && ours < all {
		return namespace, ours
	}
	return system, all
}

func sysctl(name string) (int, error) {
	text, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// countDirs counts the directories that a subscription of root has to watch.
func countDirs(root string, skip func(string) bool) (count int) {
	filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
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
