package inotify

import (
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
	Limit  string // "max_user_watches" or "max_user_instances"
	Value  int    // of the limit now; 0 when it could not be read
	Needed int    // directories to watch; 0 for instances
	Root   string // what was to be watched; empty for instances
	Err    error  // ENOSPC or EMFILE
}

func (e *LimitError) Unwrap() error { return e.Err }

// Error is one line that ends in the command that cures it.
func (e *LimitError) Error() string {
	setting := "fs.inotify." + e.Limit
	if e.Limit == "max_user_instances" {
		return fmt.Sprintf("no inotify instance left: this user has all of %s=%d in use; raise it: sysctl %[1]s=%d",
			setting, e.Value, max(2*e.Value, 512))
	}
	return fmt.Sprintf("no inotify watch left for %s: it has %d directories, and %s=%d counts all programs of this user; raise it: sysctl %[3]s=%d",
		Quote(e.Root), e.Needed, setting, e.Value, max(2*(e.Value+e.Needed), 8192))
}

func instanceLimit(err error) error {
	return &LimitError{Limit: "max_user_instances", Value: sysctl("max_user_instances"), Err: err}
}

func watchLimit(root string, skip func(string) bool) error {
	return &LimitError{
		Limit: "max_user_watches", Value: sysctl("max_user_watches"),
		Needed: countDirs(root, skip), Root: root, Err: unix.ENOSPC,
	}
}

// sysctl reads a limit; 0 when it cannot be read.
func sysctl(name string) int {
	text, err := os.ReadFile("/proc/sys/fs/inotify/" + name)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return n
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
