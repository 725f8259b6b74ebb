package inotify

import (
	"errors"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify/internal/dirfd"
)

// A regular file has a watch of its own, for what is written to it, in two cases.
//
// It is a root. The components of its path are watched as for every root: they tell when another
// file is renamed to its place, or a link that leads to it is changed.
//
// It is a mount point in the tree, as containers have it with a configuration. The watch of the
// directory reports no writes to it: to the kernel the file is in the directory that it comes from.
// Its events are those of its path in the tree.

// fileMask is what a watch on a single file reports of its content.
const fileMask = Modify | CloseWrite | Attrib | Access | Open | CloseNoWrite

// A watchedFile is a root, or a mounted file.
type watchedFile struct {
	sub    *subscriber // whose root it is; nil for a mounted file
	at     dirEntry    // of a mounted file; the name alone, which is the path, for a root
	wd     int32       // 0 if it is polled
	remote bool        // it is polled for good
	inode  dirfd.Inode // zero when the watch has ended; its times and size are of the last poll
	moved  bool        // its name has changed since it was found
	stale  bool        // a MountedFileError was reported
}

// filePath returns the path of a file for messages.
func (w *Watcher) filePath(at dirEntry) string {
	if at.dir == 0 {
		return at.name
	}
	return w.path(at.dir) + "/" + at.name
}

// openFile opens the regular file at a place with O_PATH, which does nothing to it, and looks at
// it. For anything else the error is ENOTDIR.
func (w *Watcher) openFile(at dirEntry) (fd int, st dirfd.Inode, err error) {
	dir, flags := unix.AT_FDCWD, unix.O_PATH|unix.O_CLOEXEC
	if at.dir != 0 {
		if dir, err = w.openDir(at.dir, unix.O_PATH); err != nil {
			return -1, st, err
		}
		defer unix.Close(dir)
		flags |= unix.O_NOFOLLOW
	}
	if fd, err = unix.Openat(dir, at.name, flags, 0); err != nil {
		return -1, st, err
	}

	st, err = dirfd.Stat(fd, "")
	if err == nil && st.Kind != unix.DT_REG {
		err = unix.ENOTDIR
	}
	if err != nil {
		unix.Close(fd)
	}
	return fd, st, err
}

// watchFile watches the file at a place, which is the root of sub, or a mounted file if that is nil.
// It takes the place of old, unless that is nil. Where there is no room for a watch, which is
// ENOSPC, or the file system is remote, the file is polled. After any other error nothing changes.
func (w *Watcher) watchFile(sub *subscriber, at dirEntry, old *watchedFile) (*watchedFile, error) {
	fd, st, err := w.openFile(at)
	if err != nil {
		return nil, &os.PathError{Op: "watch", Path: w.filePath(at), Err: err}
	}
	defer unix.Close(fd)

	f := &watchedFile{sub: sub, at: at, inode: st}
	var full error
	if fs := w.remote(fd, ""); fs != "" {
		f.remote = true
		if old == nil || !old.remote {
			w.problem(&RemoteError{Path: w.filePath(at), FS: fs})
		}
	} else if f.wd, err = w.kernel.watch(fd, "", uint32(w.mask&fileMask|Attrib|MoveSelf)); errors.Is(err, unix.ENOSPC) {
		f.wd, full = 0, err
	} else if err != nil {
		return nil, &os.PathError{Op: "watch", Path: w.filePath(at), Err: err}
	}

	if old != nil {
		if old.inode.Same(f.inode) {
			f.stale = old.stale
			if f.wd == 0 {
				f.inode = old.inode // the next poll reports what has changed since the last one
			}
		}
		w.removeFile(old)
	}
	w.files[f.wd] = append(w.files[f.wd], f)
	if f.wd == 0 {
		w.unwatched.addPolled()
	}
	if sub != nil {
		sub.file = f
	} else {
		w.mountedFiles[at] = f
	}
	return f, full
}

// removeFile forgets f, and has its watch removed unless that is needed for another place, or again.
func (w *Watcher) removeFile(f *watchedFile) {
	if f.sub != nil {
		f.sub.file = nil
	} else {
		delete(w.mountedFiles, f.at)
	}
	if isLast := removeFrom(w.files, f.wd, f); f.wd == 0 {
		w.unwatched.polled--
	} else if isLast {
		w.pending.unwanted = append(w.pending.unwanted, f.wd)
	}
}

// emitFile queues an event of f.
func (w *Watcher) emitFile(f *watchedFile, mask Mask) {
	if s := f.sub; s == nil {
		w.emit(f.at.dir, []byte(f.at.name), mask, nil)
	} else if w.gets(s, mask) {
		s.queued = append(s.queued, Event{Root: s.Root, Path: ".", Mask: mask})
	}
}

// emitFound is emitFile for what a look at the file has told, and no record.
func (w *Watcher) emitFound(f *watchedFile, mask Mask) {
	w.noteReported(f.at.wd, []byte(f.at.name), mask)
	w.emitFile(f, mask)
}

// reportStale reports, once, that the file which is mounted at the place of f is not there any more
// where it comes from.
func (w *Watcher) reportStale(f *watchedFile) {
	if !f.stale {
		f.stale = true
		w.problem(&MountedFileError{Path: w.filePath(f.at)})
	}
}

// applyToFiles handles a record of the watch on a file.
func (w *Watcher) applyToFiles(rec record) {
	for _, f := range slices.Clone(w.files[rec.wd]) {
		name, isMounted := []byte(f.at.name), f.sub == nil
		ended := rec.mask&(Ignored|Unmount) != 0
		if ended {
			f.inode = dirfd.Inode{}
		}
		f.moved = f.moved || rec.mask&MoveSelf != 0
		switch {
		case isMounted && ended:
			w.pending.mountedFiles = true // the comparison finds another file, or none
		case !isMounted && (ended || rec.mask&(MoveSelf|Attrib) != 0):
			w.pending.resolve(f.sub)
		}
		if isMounted && !f.at.exists(w.tree) {
			continue
		}

		unlinked := false
		if rec.mask&Attrib != 0 {
			now, err := w.statFile(f.at.dir, name)
			if err != nil || !now.Same(f.inode) {
				continue // of a file that another has replaced
			}
			unlinked = now.Links == 0
		}
		if mask := rec.mask & fileMask; mask != 0 {
			w.emitFile(f, w.withModify(f.at.dir, f.at.wd, name, mask))
		}
		if isMounted && (unlinked || rec.mask&MoveSelf != 0) { // where it comes from
			w.reportStale(f)
		}
	}
}

// pollFiles looks at the files without a watch, and watches those for which there is room.
func (w *Watcher) pollFiles() {
	for _, f := range slices.Clone(w.files[0]) {
		mask := Mask(scanMask)
		now, err := w.statFile(f.at.dir, []byte(f.at.name))
		if f.sub != nil {
			mask = Modify | CloseWrite // Create would say that there was none
			if err != nil || !now.Same(f.inode) {
				w.pending.resolve(f.sub)
				continue
			}
		} else if err != nil || !f.at.exists(w.tree) {
			continue
		}

		before := f.inode
		f.inode = now
		if !f.remote {
			// A change before the watch is in the inode that it looks at.
			if again, _ := w.watchFile(f.sub, f.at, f); again != nil {
				f = again
			}
		}
		if !f.inode.SameContent(before) {
			w.emitFound(f, mask)
		}
	}
}

// subscribeFile starts s at its root, which is a file.
func (w *Watcher) subscribeFile(s *subscriber) error {
	w.widenMask(s.Mask)
	w.watchComponents(s)
	err := w.watchRootFile(s)
	if s.file == nil {
		w.unwatchComponents(s)
		return err
	}

	w.subs = append(w.subs, s)
	w.pending.resolve(s) // its path may have changed before it was watched
	return err
}

// watchRootFile watches the file that the root of s leads to, in place of the one that it had. After
// an error other than a *LimitError s has the file that it had.
func (w *Watcher) watchRootFile(s *subscriber) error {
	_, err := w.watchFile(s, dirEntry{name: s.root}, s.file)
	if errors.Is(err, unix.ENOSPC) {
		return w.watchLimit(s.root, nil, err)
	}
	return err
}

// resolveRootFile makes s watch the file that its path leads to now, and reports whether there
// is one.
func (w *Watcher) resolveRootFile(s *subscriber) bool {
	now, err := dirfd.StatPath(s.root)
	if err != nil || now.Kind != unix.DT_REG {
		return false
	}
	old := s.file
	if old != nil && old.inode.Same(now) {
		// The path led elsewhere in between; or the file is mounted here, and was renamed or
		// removed where it comes from.
		if now.Links == 0 || old.moved && IsMountedFile(s.root) {
			w.reportStale(old)
		}
		return true
	}

	if s.dir != 0 {
		w.loseRoot(s)
	}
	if err := w.watchRootFile(s); err != nil {
		w.problem(err)
	}
	switch f := s.file; {
	case f == nil:
		return false
	case old != nil:
		w.emitFound(f, MovedTo|Modify|CloseWrite) // a save by rename, or a link that was changed
	case f.inode.Size == 0:
		w.emitFound(f, Create) // what is written to it is an event of its own
	default:
		w.emitFound(f, scanMask)
	}
	return true
}

// resyncRootFiles makes up for lost records of files that are roots.
func (w *Watcher) resyncRootFiles(since time.Time) {
	for _, s := range w.subs {
		if s.file == nil {
			continue
		}

		w.emitFile(s.file, Overflow)
		if w.watchRootFile(s) != nil {
			w.pending.resolve(s)
		} else if s.file.inode.Ctime >= since.UnixNano() {
			w.emitFound(s.file, Modify|CloseWrite)
		}
	}
}

// compareMountedFiles compares the mounted files with the list of mounts, and watches those that are
// new. reportNew says that what is another file than before is reported, as by a scan.
func (w *Watcher) compareMountedFiles(reportNew bool) {
	w.pending.mountedFiles = false

	entries := w.inTree(w.mountPoints)
	w.mounts = entries
	for _, at := range entries {
		old := w.mountedFiles[at]
		f, err := w.watchFile(nil, at, old)
		switch {
		case f != nil:
			if reportNew && (old == nil || !old.inode.Same(f.inode)) {
				w.emitFound(f, scanMask)
			}
			if err != nil && !w.limitReported {
				w.limitReported = true
				w.problem(w.watchLimit(w.rootPaths[w.tree.Top(at.dir)], nil, err))
			}
			continue
		case !isNotThere(err):
			w.failed(err, func() { w.pending.mountedFiles = true })
		}
		if old != nil {
			w.removeFile(old)
		}
	}

	for at, f := range w.mountedFiles {
		if !slices.Contains(entries, at) {
			w.removeFile(f)
			w.reportUncovered(at)
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
