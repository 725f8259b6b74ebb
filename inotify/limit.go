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

// A LimitError says that a limit of inotify(7) was reached, and how to raise
// it.
type LimitError struct {
	// Limit is the setting that is in the way, as sysctl(8) names it:
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

// Error is one line that ends in the command that cures it.
func (e *LimitError) Error() string {
	if e.Root == "" {
		return fmt.Sprintf("no inotify instance left: this user has all of %s=%d in use; raise it: sysctl %[1]s=%[3]d",
			e.Limit, e.Value, max(2*e.Value, 512))
	}
	return fmt.Sprintf("no inotify watch left for %s: it has %d directories, and %s=%d counts all programs of this user; raise it: sysctl %[3]s=%[5]d",
		Quote(e.Root), e.Needed, e.Limit, e.Value, max(2*(e.Value+e.Needed), 8192))
}

func instanceLimit(err error) error {
	limit, value := lower("fs.inotify.max_user_instances", "user.max_inotify_instances")
	return &LimitError{Limit: limit, Value: value, Err: err}
}

// watchLimitError is what to tell of a root below which something got no watch.
func watchLimitError(root string, skip func(string) bool, why error) error {
	if errors.Is(why, unix.ENOSPC) {
		return watchLimit(root, skip)
	}
	return &os.PathError{Op: "watch what is in", Path: root, Err: why}
}

func watchLimit(root string, skip func(string) bool) error {
	limit, value := lower("fs.inotify.max_user_watches", "user.max_inotify_watches")
	return &LimitError{Limit: limit, Value: value, Needed: countDirs(root, skip), Root: root, Err: unix.ENOSPC}
}

// lower returns the setting that is the lower of two, and its value. The
// first is the whole system's, the second that of our user namespace.
func lower(system, namespace string) (name string, value int) {
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

// countDirs counts the directories that a watch on root takes.
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
