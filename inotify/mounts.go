package inotify

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// inotify reports nothing of a file system that is mounted on a watched directory, and nothing
// more of what that covers. But the kernel's list of mounts can be waited for (proc(5),
// /proc/pid/mountinfo). When it changes, each mount point below a root is verified, and each that
// was in the list before: the end of a bind mount is reported nowhere else.

// mountsChanged has every mount point below a root, and every root, verified. mu must be held.
func (w *Watcher) mountsChanged() {
	before := w.mountPoints
	w.mountPoints = mountPoints()
	w.pending.mountedFiles = true
	w.pending.resolve(w.subs...)
	for _, e := range w.inTree(slices.Concat(before, w.mountPoints)) {
		w.verify(e.dir, []byte(e.name), 0)
	}
}

// inTree returns the entries of the tree that some paths lead to. The directory of an entry is in
// the tree; what has its name need not be.
func (w *Watcher) inTree(paths []string) (entries []dirEntry) {
	for root, path := range w.rootPaths {
		rootPath, err := filepath.EvalSymlinks(path)
		if err != nil {
			continue
		}

		for _, p := range paths {
			dir, name := w.lookupPath(root, rootPath, p)
			if dir != 0 && !slices.Contains(entries, w.entry(dir, name)) {
				entries = append(entries, w.entry(dir, name))
			}
		}
	}
	return entries
}

// mountPoints returns all mount points; none if the list cannot be read.
func mountPoints() (points []string) {
	list, err := os.ReadFile(mountinfo)
	if err != nil {
		return nil
	}

	for line := range strings.Lines(string(list)) {
		if point, ok := mountPoint(line); ok {
			points = append(points, point)
		}
	}
	return points
}

// mountPoint returns the fifth field of a line of mountinfo, in which white space and backslashes
// are octal escapes.
func mountPoint(line string) (string, bool) {
	fields := strings.Fields(line)
	if len(fields) < 5 {
		return "", false
	}

	var point strings.Builder
	for rest := fields[4]; rest != ""; {
		octal := rest[min(1, len(rest)):min(4, len(rest))]
		if c, err := strconv.ParseUint(octal, 8, 8); rest[0] == '\\' && err == nil {
			point.WriteByte(byte(c))
			rest = rest[4:]
			continue
		}

		point.WriteByte(rest[0])
		rest = rest[1:]
	}
	return point.String(), true
}

// IsMountedFile reports whether path is a regular file on which a single file is mounted, according
// to the list of mounts. A Watcher reports what is written to such a file, on either side of the
// mount, but not what replaces it where it comes from; see MountedFileError.
func IsMountedFile(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return false
	}

	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return false
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return false
	}

	return slices.Contains(mountPoints(), filepath.Join(dir, filepath.Base(path)))
}
