package inotify

import (
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// inotify reports nothing of a file system that is mounted on a watched directory, and nothing
// more of what that covers. But the kernel's list of mounts can be waited for (proc(5),
// /proc/pid/mountinfo). When it changes, each mount point below a root is verified, and each that
// was in the list before: the end of a bind mount is reported nowhere else.

// mountsChanged has every mount point below a root, and every root, verified. mu must be held.
func (w *Watcher) mountsChanged() {
	before := w.mountPoints
	w.mountPoints = mountPoints()
	if w.state.log != nil {
		store(w.state.isPending, true) // no record tells of this, should another process go on before it is done
	}
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

// maxMountReads is how often the list of mounts is read that changes meanwhile.
const maxMountReads = 20

// mountPoints returns all mount points; none if the list cannot be read. The kernel gives it in
// parts, and one that is read while it changes may lack mounts that were there all the time. To
// poll says whether it has changed since it was opened, or polled (proc(5)).
func mountPoints() []string {
	f, err := os.Open(mountinfo)
	if err != nil {
		return nil
	}
	defer f.Close()
	var list []byte
	for range maxMountReads {
		if list, err = io.ReadAll(io.NewSectionReader(f, 0, math.MaxInt64)); err != nil {
			return nil
		}
		if n, err := unix.Poll([]unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLPRI}}, 0); n == 0 || err != nil {
			break
		}
	}
	return parseMountPoints(string(list))
}

// parseMountPoints returns the fifth field of each line of mountinfo, in which white space and
// backslashes are escaped.
func parseMountPoints(list string) (points []string) {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(list) {
		if fields := strings.Fields(line); len(fields) > 4 {
			points = append(points, unescape.Replace(fields[4]))
		}
	}
	return points
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
