package inotify

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify/internal/dirfd"
)

// inotify reports nothing of a file system that is mounted on a watched directory, and nothing
// more of what that covers. But the kernel's list of mounts can be waited for (proc(5),
// /proc/pid/mountinfo). When it changes, each mount point below a root is verified, and each that
// was in the list before: the end of a bind mount is reported nowhere else.
//
// A single file can be mounted on a file of the tree, as containers do with a configuration. The
// watch of the directory reports no writes to it: to the kernel the file is in the directory that
// it comes from. So each regular file that is a mount point in the tree has a watch of its own,
// and its events are those of its path in the tree.

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

// A mountedFile is a regular file that is a mount point in the tree.
type mountedFile struct {
	at    dirEntry
	wd    int32       // of the file; 0 if it is polled
	inode dirfd.Inode // of the file; its times and size are of the last poll
	stale bool        // a MountedFileError was reported
}

// mountedFiles has all of them. One file may be mounted at several places.
type mountedFiles struct {
	at      map[dirEntry]*mountedFile
	byWatch map[int32][]*mountedFile
}

func (w *Watcher) addMountedFile(f *mountedFile) {
	w.mountedFiles.at[f.at] = f
	if f.wd != 0 {
		w.mountedFiles.byWatch[f.wd] = append(w.mountedFiles.byWatch[f.wd], f)
	} else {
		w.unwatched.addPolled()
	}
}

// removeMountedFile forgets a file, and has its watch removed unless that is needed for another
// place, or again.
func (w *Watcher) removeMountedFile(f *mountedFile) {
	delete(w.mountedFiles.at, f.at)
	if f.wd == 0 {
		w.unwatched.polled--
	} else if removeFrom(w.mountedFiles.byWatch, f.wd, f) {
		w.pending.unwanted = append(w.pending.unwanted, f.wd)
	}
}

// applyToMountedFiles handles a record of the watch on a mounted file.
func (w *Watcher) applyToMountedFiles(rec record) {
	for _, f := range slices.Clone(w.mountedFiles.byWatch[rec.wd]) {
		if rec.mask&(Ignored|Unmount) != 0 {
			w.removeMountedFile(f)
			f.wd, f.inode = 0, dirfd.Inode{} // the comparison finds another file, or none
			w.addMountedFile(f)
			w.pending.mountedFiles = true
			continue
		}
		if !f.at.exists(w.tree) {
			continue
		}
		name := []byte(f.at.name)
		if mask := rec.mask & fileMask; mask != 0 {
			w.emit(f.at.dir, name, w.withModify(f.at.dir, f.at.wd, name, mask), nil)
		}

		// It has another name where it comes from, or none any more.
		isStale := rec.mask&MoveSelf != 0
		if rec.mask&Attrib != 0 {
			st, err := w.statFile(f.at.dir, name)
			isStale = isStale || err == nil && st.Same(f.inode) && st.Links == 0
		}
		if isStale && !f.stale {
			f.stale = true
			w.problem(&MountedFileError{Path: w.path(f.at.dir) + "/" + f.at.name})
		}
	}
}

// compareMountedFiles compares the mounted files with the list of mounts, and watches those that are
// new. reportNew says that what is another file than before is reported, as by a scan.
func (w *Watcher) compareMountedFiles(reportNew bool) {
	w.pending.mountedFiles = false

	entries := w.inTree(w.mountPoints)
	for _, e := range entries {
		w.compareMountedFile(e, reportNew)
	}

	for e, f := range w.mountedFiles.at {
		if !slices.Contains(entries, e) {
			w.removeMountedFile(f)
			w.reportUncovered(e)
		}
	}
}

// compareMountedFile watches what is mounted at a place, if it is a regular file.
func (w *Watcher) compareMountedFile(at dirEntry, reportNew bool) {
	old := w.mountedFiles.at[at]
	f, err := w.watchMountedFile(at)
	switch {
	case isResourceLimit(err):
		if !w.shortageReported {
			err = watchLimit(w.rootPaths[w.tree.Top(at.dir)], nil, err)
		}
		w.retryLater(err, func() { w.pending.mountedFiles = true })
	case err != nil && !dirfd.IsGone(err):
		w.problem(&os.PathError{Op: "watch", Path: w.path(at.dir) + "/" + at.name, Err: err})
	}
	if old != nil {
		w.removeMountedFile(old)
	}
	if f == nil {
		return
	}

	same := old != nil && old.inode.Same(f.inode)
	f.stale = same && old.stale
	if same && f.wd == 0 {
		f.inode = old.inode // the next poll reports what has changed since the last one
	}
	w.addMountedFile(f)
	if reportNew && !same {
		w.emitPresent(at.dir, []byte(at.name))
	}
}

// watchMountedFile adds a watch for the file that is mounted at a place, or has it polled on a remote
// file system. It returns nil for what is no regular file.
func (w *Watcher) watchMountedFile(at dirEntry) (*mountedFile, error) {
	dir, err := w.openDir(at.dir, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	fd, err := unix.Openat(dir, at.name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	f := &mountedFile{at: at}
	if f.inode, err = dirfd.Stat(fd, ""); err != nil || f.inode.Kind != unix.DT_REG {
		return nil, err
	}

	if fs := w.remote(fd, ""); fs == "" {
		if f.wd, err = w.watchFile(fd); err != nil {
			return nil, err
		}
	} else if w.mountedFiles.at[at] == nil {
		w.problem(&RemoteError{Path: w.path(at.dir) + "/" + at.name, FS: fs})
	}
	return f, nil
}

// pollMountedFiles reports the mounted files without a watch that have changed.
func (w *Watcher) pollMountedFiles() {
	for at, f := range w.mountedFiles.at {
		if f.wd != 0 || !at.exists(w.tree) {
			continue
		}
		now, err := w.statFile(at.dir, []byte(at.name))
		if err == nil && !now.SameContent(f.inode) {
			f.inode = now
			w.emitPresent(at.dir, []byte(at.name))
		}
	}
}

// reportUncovered reports what is at a place where a file was mounted.
func (w *Watcher) reportUncovered(at dirEntry) {
	if !at.exists(w.tree) || !w.tree.Reachable(at.dir) {
		return
	}

	dir, err := w.openDir(at.dir, unix.O_PATH)
	if err != nil {
		return // the end of the directory is in the queue
	}
	defer unix.Close(dir)

	switch st, err := dirfd.Stat(dir, at.name); {
	case dirfd.IsGone(err):
		w.emit(at.dir, []byte(at.name), Delete, nil)
	case err == nil && st.Kind != unix.DT_DIR:
		w.emitPresent(at.dir, []byte(at.name))
	}
}
