package control

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// serviceSocket is the name of a service's control socket in its RuntimeDirectory.
const serviceSocket = "control.sock"

// serviceDirs returns the runtime directories of services of systemd. They are called after
// their units: execlogd or execlogd@NAME, and execlogd.service for a service of the user.
func serviceDirs() []string {
	dirs, _ := filepath.Glob("/run/execlogd*") // the pattern is right
	if own := os.Getenv("XDG_RUNTIME_DIR"); own != "" {
		names, _ := fs.Glob(os.DirFS(own), "execlogd*.service")
		for _, name := range names {
			dirs = append(dirs, filepath.Join(own, name))
		}
	}
	return dirs
}

// userDirs are the directories in which the daemons of a user have their sockets, each
// daemon in the first that it knows. The last is for users who have none of their own
// from the system, as in a container, after su, or from cron.
func userDirs() []string {
	dirs := []string{filepath.Join(os.TempDir(), fmt.Sprintf("execlogd-%d", os.Getuid()))}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		dirs = slices.Insert(dirs, 0, filepath.Join(dir, "execlogd"))
	}
	return dirs
}

// checkPrivate refuses a directory that others could have made, or could enter: what is
// in the directory for temporary files may be anybody's.
func checkPrivate(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	stat := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || int(stat.Uid) != os.Getuid() || info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("control socket: %s is not a directory of user %d alone: remove it, or name a socket with -control", dir, os.Getuid())
	}
	return nil
}

// byProcess are the names of sockets that are called after a process.
var byProcess = regexp.MustCompile(`^[0-9]+\.sock$`)

// RuntimeDirectory is the directory that systemd has made for this service (RuntimeDirectory=
// in systemd.exec(5)); empty if there is none.
func RuntimeDirectory() string {
	dir, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":")
	return dir
}

// DefaultPath is where a daemon makes its socket that was not told a path. It makes the
// directory if need be, and removes from it what daemons left behind that were killed.
func DefaultPath() (string, error) {
	if dir := RuntimeDirectory(); dir != "" {
		return filepath.Join(dir, serviceSocket), nil
	}

	dir := userDirs()[0]
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if err := checkPrivate(dir); err != nil {
		return "", err
	}

	// A socket that is called after a process may have been left behind. Others stay.
	defer lockDir(dir)()
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if byProcess.MatchString(e.Name()) {
			_ = removeStale(filepath.Join(dir, e.Name())) // else it stays
		}
	}
	return filepath.Join(dir, fmt.Sprintf("%d.sock", os.Getpid())), nil
}

// usualPaths are the sockets in the directories where daemons make them by default.
// The error is of a directory in which there may be more.
func usualPaths() (paths []string, err error) {
	for _, dir := range serviceDirs() {
		paths = append(paths, filepath.Join(dir, serviceSocket))
	}

	for _, own := range userDirs() {
		if wrong := checkPrivate(own); wrong != nil {
			if !errors.Is(wrong, fs.ErrNotExist) {
				err = wrong
			}
			continue
		}

		names, _ := fs.Glob(os.DirFS(own), "*.sock") // the pattern is right
		for _, name := range names {
			paths = append(paths, filepath.Join(own, name))
		}
	}

	return paths, err
}
