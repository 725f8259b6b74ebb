package inotify

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A single file can be mounted (mount --bind) on a file of the tree, as
// containers do with a configuration. The directory's watch does not hear of
// writes to it: to the kernel the file lies in the directory that it comes from.
// So each regular file that is a mount point in a directory of the tree has a
// watch of its own, and its events are those of its path in the tree.

// fileEvents are the events of a file that a watch on the file itself reports.
const fileEvents = Modify | CloseWrite | Attrib | Access | Open | CloseNoWrite

// A MountedFileError says that the file which is mounted at a path was renamed,
// replaced or removed where it comes from. The mount goes on to show the file of
// before, so that whatever has the old name there now is neither seen nor heard
// of here. It is told once for each mount.
type MountedFileError struct {
	Path string // where the file is mounted
}

func (e *MountedFileError) Error() string {
	return fmt.Sprintf("the file that is mounted at %s was renamed, replaced or removed where it comes from, and the mount still shows the old one: mount it again (restart the container), or mount its directory instead", Quote(e.Path))
}

// IsMountedFile says whether path is a regular file on which a single file is
// mounted, as the list of mounts has it now. A Watcher hears of what is written to
// such a file, from whichever side, and not of what replaces it where it comes
// from; see MountedFileError.
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

// A mountedFile is a regular file that is a mount point in a directory of the
// tree.
type mountedFile struct {
	at    dirEntry
	wd    int32     // of the file; 0 if it is polled
	st    inode     // of the file
	seen  pollEntry // by the last poll
	stale bool      // a MountedFileError was told
}

// mountedFiles are all of them. One file may be mounted at several paths.
type mountedFiles struct {
	at    map[dirEntry]*mountedFile
	byWd  map[int32][]*mountedFile
	dirty bool // they are to be compared with the list of mounts
}

func newMountedFiles() mountedFiles {
	return mountedFiles{at: map[dirEntry]*mountedFile{}, byWd: map[int32][]*mountedFile{}}
}

// addMountedFile enters a file.
func (w *Watcher) addMountedFile(f *mountedFile) {
	w.files.at[f.at] = f
	if f.wd != 0 {
		w.files.byWd[f.wd] = append(w.files.byWd[f.wd], f)
		return
	}
	if !w.unwatched.hasTimer() {
		w.unwatched.next = time.Now().Add(w.unwatched.retryInterval())
	}
	w.unwatched.polled++
}

// removeMountedFile forgets a file, and has its watch removed unless that is
// needed for another path, or again.
func (w *Watcher) removeMountedFile(f *mountedFile) {
	delete(w.files.at, f.at)
	if f.wd == 0 {
		w.unwatched.polled--
		return
	}
	w.files.byWd[f.wd] = slices.DeleteFunc(w.files.byWd[f.wd], func(other *mountedFile) bool { return other == f })
	if len(w.files.byWd[f.wd]) == 0 {
		delete(w.files.byWd, f.wd)
		w.unwanted = append(w.unwanted, f.wd)
	}
}

// applyToFiles handles a record of a mounted file's own watch.
func (w *Watcher) applyToFiles(files []*mountedFile, rec record) {
	if rec.mask&(Ignored|Unmount) != 0 && len(files) > 0 {
		for _, f := range slices.Clone(files) {
			w.removeMountedFile(f)
			f.wd, f.st = 0, inode{} // the scan that follows finds another, or none
			w.addMountedFile(f)
		}
		w.files.dirty = true
		return
	}
	for _, f := range files {
		if w.tree.nodes[f.at.dir].wd != f.at.wd {
			continue // the directory is gone
		}
		name := []byte(f.at.name)
		if mask := rec.mask & fileEvents; mask != 0 {
			w.emit(f.at.dir, name, w.withModify(f.at.dir, f.at.wd, name, mask), nil)
		}
		if rec.mask&MoveSelf != 0 || rec.mask&Attrib != 0 && w.isUnlinked(f) {
			w.tellStale(f)
		}
	}
}

// isUnlinked says whether no directory has the mounted file any more.
func (w *Watcher) isUnlinked(f *mountedFile) bool {
	dir, err := w.openNode(f.at.dir, unix.O_PATH)
	if err != nil {
		return false
	}
	defer unix.Close(dir)
	st, err := inodeAt(dir, f.at.name)
	return err == nil && st.same(f.st) && st.links == 0
}

func (w *Watcher) tellStale(f *mountedFile) {
	if !f.stale {
		f.stale = true
		w.problem(&MountedFileError{Path: w.path(f.at.dir) + "/" + f.at.name})
	}
}

// A fileScan says which of the mounted files a scan reports, beside what is no
// mount point any more.
type fileScan struct {
	fresh bool      // those that were not mounted before
	since time.Time // and those with a change (ctime) since; zero is none
}

// scanMountedFiles compares the mounted files with the list of mounts, and
// watches those that it does not know yet. What is another file than before is
// reported as a scan reports it.
func (w *Watcher) scanMountedFiles(scan fileScan) {
	w.files.dirty = false
	points := w.mountPointsInTree()
	for _, at := range points {
		w.scanMountedFile(at, scan)
	}
	for at, f := range w.files.at {
		if !slices.Contains(points, at) {
			w.removeMountedFile(f)
			w.reportUncovered(at)
		}
	}
}

// mountPointsInTree are the mount points that lie in a directory of the tree.
func (w *Watcher) mountPointsInTree() (points []dirEntry) {
	for top, path := range w.rootPaths {
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			continue
		}
		for _, point := range w.mounted {
			if dir, name := w.lookupBelow(top, real, point); dir != 0 && !slices.Contains(points, w.dirEntry(dir, name)) {
				points = append(points, w.dirEntry(dir, name))
			}
		}
	}
	return points
}

// scanMountedFile watches what is mounted at a mount point, if it is a regular
// file.
func (w *Watcher) scanMountedFile(at dirEntry, scan fileScan) {
	old := w.files.at[at]
	f, err := w.watchMountedFile(at)
	switch {
	case isResourceLimit(err):
		if !w.toldShortage {
			err = watchLimitError(w.rootPaths[w.tree.root(at.dir)], nil, err)
		}
		w.retryLater(err, func() { w.files.dirty = true })
	case err != nil && !vanished(err):
		w.problem(&os.PathError{Op: "watch", Path: w.path(at.dir) + "/" + at.name, Err: err})
	}
	if f == nil {
		if old != nil {
			w.removeMountedFile(old)
		}
		return
	}

	same := old != nil && old.st.same(f.st)
	if old != nil {
		f.stale = same && old.stale
		w.removeMountedFile(old)
	}
	w.addMountedFile(f)
	changed := !scan.since.IsZero() && f.st.ctime >= scan.since.UnixNano()
	if scan.fresh && !same || changed {
		w.emitFound(at.dir, []byte(at.name))
	}
}

// watchMountedFile puts a watch on the file that is mounted there, or has it
// polled where inotify does not see what others do. It returns nil for what is
// no regular file.
func (w *Watcher) watchMountedFile(at dirEntry) (*mountedFile, error) {
	dir, err := w.openNode(at.dir, unix.O_PATH)
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
	if f.st, err = inodeAt(fd, ""); err != nil || f.st.kind != unix.DT_REG {
		return nil, err
	}

	if fs := w.remote(fd, ""); fs != "" {
		return w.pollMountedFile(f, dir, fs)
	}
	mask := w.mask&fileEvents | Attrib | MoveSelf
	wd, err := unix.InotifyAddWatch(w.fd, procPath(fd, ""), uint32(mask)|unix.IN_MASK_ADD)
	if err != nil {
		return nil, err
	}
	f.wd = int32(wd)
	return f, nil
}

// pollMountedFile takes the first look at a file on a remote file system.
func (w *Watcher) pollMountedFile(f *mountedFile, dir int, fs string) (*mountedFile, error) {
	l := pollScan{numbered: fs != "fuse"}
	var err error
	if f.seen, err = l.stat(dir, scanEntry{name: []byte(f.at.name), kind: unix.DT_REG}); err != nil {
		return nil, err
	}
	if w.files.at[f.at] == nil {
		w.problem(&RemoteError{Path: w.path(f.at.dir) + "/" + f.at.name, FS: fs})
	}
	return f, nil
}

// pollMountedFiles reports those without a watch that have changed.
func (w *Watcher) pollMountedFiles() {
	for at, f := range w.files.at {
		if f.wd != 0 || w.tree.nodes[at.dir].wd != at.wd {
			continue
		}
		dir, err := w.openNode(at.dir, unix.O_PATH)
		if err != nil {
			continue
		}
		l := pollScan{numbered: f.seen.ino != 0}
		now, err := l.stat(dir, scanEntry{name: []byte(at.name), kind: unix.DT_REG})
		unix.Close(dir)
		if err == nil && now.name != "" && now != f.seen {
			f.seen = now
			w.emitFound(at.dir, []byte(at.name))
		}
	}
}

// reportUncovered reports what is at a name where a file was mounted.
func (w *Watcher) reportUncovered(at dirEntry) {
	if w.tree.nodes[at.dir].wd != at.wd || !w.tree.reachable(at.dir) {
		return
	}
	dir, err := w.openNode(at.dir, unix.O_PATH)
	if err != nil {
		return // its own end is in the queue
	}
	defer unix.Close(dir)
	name := bytes.Clone([]byte(at.name))
	switch st, err := inodeAt(dir, at.name); {
	case vanished(err):
		w.emit(at.dir, name, Delete, nil)
	case err == nil && st.kind != unix.DT_DIR:
		w.emitFound(at.dir, name)
	}
}
