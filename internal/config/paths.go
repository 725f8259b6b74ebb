package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// CheckDir says what is wrong with a directory. What is the name of the directory
// for users, and instead is what they can do about it otherwise.
func CheckDir(what, dir, instead string) error {
	// With the dot the error is also one of a directory that may be listed, and
	// whose files may not be reached.
	opened, err := os.Open(dir + "/.")
	if err == nil {
		defer opened.Close()
		_, err = opened.Readdirnames(1)
	}

	info, statErr := os.Stat(dir)
	switch {
	case statErr == nil && !info.IsDir():
		return fmt.Errorf("%s %q is not a directory: %s", what, dir, instead)
	case statErr != nil && IsHidden(dir):
		return fmt.Errorf("the sandbox of the service hides %s %q: show it with BindReadOnlyPaths=%s in a drop-in (systemctl edit), or %s", what, dir, dir, instead)
	case isMissing(err):
		return fmt.Errorf("%s %q does not exist: create it, or %s", what, dir, instead)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s %q cannot be read by user %d: give it permission, or %s", what, dir, os.Geteuid(), instead)
	}
	return statErr
}

// CheckRootOrFile is CheckDir for what a route listens to: a directory, or a single
// file, or with wait what does not exist yet.
func CheckRootOrFile(what, path, instead string, wait bool) error {
	info, err := os.Stat(path)
	switch {
	case wait && isMissing(err):
		return nil
	case err == nil && info.Mode().IsRegular():
		file, err := os.Open(path)
		if err == nil {
			return file.Close()
		}
		return fmt.Errorf("%s %q cannot be read by user %d: give it permission, or %s", what, path, os.Geteuid(), instead)
	}

	return CheckDir(what, path, instead)
}

// checkNewDir is CheckDir for a directory that is made if it does not exist.
func checkNewDir(what, dir string) error {
	there := dir
	for {
		info, err := os.Stat(there)
		switch parent := filepath.Dir(there); {
		case err == nil && !info.IsDir():
			return fmt.Errorf("%s %q: %s is not a directory: name another", what, dir, there)
		case isMissing(err) && parent != there:
			there = parent
			continue
		}
		return err
	}
}

func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// IsFile reports whether a regular file is at a path, or where a link at it leads.
func IsFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// IsDir reports whether a directory is at a path, or where a link at it leads.
func IsDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// FileKind is what a file is, for messages.
func FileKind(info fs.FileInfo) string {
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return "a regular file"
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	case mode&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}

// Resolve returns a path without symbolic links, as far as it exists.
func Resolve(path string) string {
	real, err := filepath.EvalSymlinks(path)
	if parent := filepath.Dir(path); err != nil && parent != path {
		return filepath.Join(Resolve(parent), filepath.Base(path))
	}
	return real
}

// ResolveDir returns a path without symbolic links in its directory. A link at the
// path itself is what is watched.
func ResolveDir(path string) string {
	return filepath.Join(Resolve(filepath.Dir(path)), filepath.Base(path))
}

// Below returns path relative to root, if it is the root or below it.
func Below(root, path string) (rel string, ok bool) {
	rel, err := filepath.Rel(root, path)
	return rel, err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}
