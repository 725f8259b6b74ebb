package inotify

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify/internal/dirfd"
	"github.com/execlog/execlogd/inotify/internal/dirtree"
)

// A root may be a single file. It has a watch of its own, for what is written to it. The
// components of its path are watched as for every root: they tell when another file is renamed
// to its place, or a link that leads to it is changed.

// A rootFile is the regular file that is the root of a subscriber.
type rootFile struct {
	wd     int32       // 0 if it is polled
	remote bool        // it is polled for good
	inode  dirfd.Inode // zero when the watch has ended; its times and size are of the last poll
	moved  bool        // its name has changed since it was found
	stale  bool        // a MountedFileError was reported
}

// findRootFile looks at the regular file that a path leads to. It returns the file open with
// O_PATH, which does nothing to it. For anything else the error is ENOTDIR.
func findRootFile(path string) (fd int, f *rootFile, err error) {
	fd, err = unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, nil, &os.PathError{Op: "watch", Path: path, Err: err}
	}

	st, err := dirfd.Stat(fd, "")
	if err == nil && st.Kind != unix.DT_REG {
		err = unix.ENOTDIR
	}
	if err != nil {
		unix.Close(fd)
		return -1, nil, &os.PathError{Op: "watch", Path: path, Err: err}
	}
	return fd, &rootFile{inode: st}, nil
}

// lookAtRootFile is findRootFile without the descriptor; nil when there is no such file.
func lookAtRootFile(path string) *rootFile {
	fd, f, err := findRootFile(path)
	if err != nil {
		return nil
	}
	unix.Close(fd)
	return f
}

// subscribeFile starts s at its root, which is a file.
func (w *Watcher) subscribeFile(s *subscriber) error {
	began := time.Now()
	w.widenMask(s.Mask)
	w.watchComponents(s)
	err := w.watchRootFile(s)
	if s.file == nil {
		for _, c := range s.components {
			w.unwatchComponent(c, s)
		}
		return err
	}

	w.subs = append(w.subs, s)
	w.pending.resolve(s) // its path may have changed before it was watched
	w.content.floor = max(w.content.floor, began.Add(-clockStep).UnixNano())
	return err
}

// watchRootFile watches the file that the root of s leads to, in place of the one that it had.
// Where there is no room for a watch, which is a *LimitError, or the file system is remote, the
// file is polled. After any other error s has the file that it had.
func (w *Watcher) watchRootFile(s *subscriber) error {
	fd, f, err := findRootFile(s.root)
	if err != nil {
		return err
	}
	defer unix.Close(fd)

	var limit error
	if fs := w.remote(fd, ""); fs != "" {
		f.remote = true
		if s.file == nil || !s.file.remote {
			w.problem(&RemoteError{Path: s.root, FS: fs})
		}
	} else if f.wd, err = w.watchFile(fd); errors.Is(err, unix.ENOSPC) {
		f.wd, limit = 0, watchLimit(s.root, nil, err)
	} else if err != nil {
		return &os.PathError{Op: "watch", Path: s.root, Err: err}
	}

	if old := s.file; old != nil && old.inode.Same(f.inode) {
		f.stale = old.stale
		if f.wd == 0 {
			f.inode = old.inode // the next poll reports what has changed since the last one
		}
	}
	w.unwatchRootFile(s)
	s.file = f
	if f.wd != 0 {
		w.rootFiles[f.wd] = append(w.rootFiles[f.wd], s)
	} else {
		w.unwatched.addPolled()
	}
	return limit
}

// unwatchRootFile takes s away from its file, if it has one.
func (w *Watcher) unwatchRootFile(s *subscriber) {
	f := s.file
	s.file = nil
	switch {
	case f == nil:
	case f.wd == 0:
		w.unwatched.polled--
	case removeFrom(w.rootFiles, f.wd, s):
		w.pending.unwanted = append(w.pending.unwanted, f.wd) // unless it is needed again
	}
}

// resolveRootFile makes s watch the file that its path leads to now, and reports whether there
// is one.
func (w *Watcher) resolveRootFile(s *subscriber) bool {
	now := lookAtRootFile(s.root)
	if now == nil {
		return false
	}
	old := s.file
	if old != nil && old.inode.Same(now.inode) {
		// The path led elsewhere in between; or the file is mounted here, and was renamed or
		// removed where it comes from.
		if !old.stale && (now.inode.Links == 0 || old.moved && IsMountedFile(s.root)) {
			old.stale = true
			w.problem(&MountedFileError{Path: s.root})
		}
		return true
	}

	if s.dir != 0 {
		w.loseRoot(s)
	}
	if err := w.watchRootFile(s); err != nil {
		w.problem(err)
	}
	switch {
	case s.file == nil:
		return false
	case old != nil:
		w.emitFile(s, MovedTo|Modify|CloseWrite) // a save by rename, or a link that was changed
	case s.file.inode.Size == 0:
		w.emitFile(s, Create) // what is written to it is an event of its own
	default:
		w.emitFile(s, scanMask)
	}
	return true
}

// emitFile queues an event of the file that is the root of s.
func (w *Watcher) emitFile(s *subscriber, mask Mask) {
	if mask&(Modify|Create) != 0 && s.file != nil {
		w.content.now = time.Now().UnixNano()
		w.content.reported(w.contentKey(s.file.wd, []byte(s.root)), mask)
	}
	if w.gets(s, mask) {
		s.queued = append(s.queued, Event{Root: s.Root, Path: ".", Mask: mask})
	}
}

// applyToRootFiles handles a record of the watch on a file that is a root.
func (w *Watcher) applyToRootFiles(rec record) {
	for _, s := range slices.Clone(w.rootFiles[rec.wd]) {
		if rec.mask&(Ignored|Unmount) != 0 {
			s.file.inode = dirfd.Inode{}
		}

		s.file.moved = s.file.moved || rec.mask&MoveSelf != 0
		if rec.mask&(Ignored|Unmount|MoveSelf|Attrib) != 0 {
			w.pending.resolve(s)
		}

		if rec.mask&Attrib != 0 {
			if now := lookAtRootFile(s.root); now == nil || !now.inode.Same(s.file.inode) {
				continue // of a file that another has replaced
			}
		}

		if mask := rec.mask & fileMask; mask != 0 {
			w.emitFile(s, w.withModify(0, rec.wd, []byte(s.root), mask))
		}
	}
}

// pollRootFiles looks at the files without a watch, and watches those for which there is room.
func (w *Watcher) pollRootFiles() {
	for _, s := range w.subs {
		if s.file == nil || s.file.wd != 0 {
			continue
		}
		before, now := s.file.inode, lookAtRootFile(s.root)
		if now == nil || !before.Same(now.inode) {
			w.pending.resolve(s)
			continue
		}

		s.file.inode = now.inode
		if !s.file.remote {
			w.watchRootFile(s) // a change before the watch is in the inode that it looks at
		}
		if !s.file.inode.SameContent(before) {
			w.emitFile(s, Modify|CloseWrite)
		}
	}
}

// resyncRootFiles makes up for lost records of files that are roots.
func (w *Watcher) resyncRootFiles(since time.Time) {
	for _, s := range w.subs {
		if s.file == nil {
			continue
		}

		w.emitFile(s, Overflow)
		if w.watchRootFile(s) != nil {
			w.pending.resolve(s)
		} else if s.file.inode.Ctime >= since.UnixNano() {
			w.emitFile(s, Modify|CloseWrite)
		}
	}
}

// locateRootFile returns the place in the tree of the file that is the root of s; dir is 0 when
// it has none.
func (w *Watcher) locateRootFile(s *subscriber) (dir dirtree.ID, name []byte) {
	path, err := filepath.EvalSymlinks(s.root)
	if err != nil {
		return 0, nil
	}

	for top, topPath := range w.rootPaths {
		if topPath, err = filepath.EvalSymlinks(topPath); err != nil {
			continue
		}
		if dir, name = w.lookupPath(top, topPath, path); dir != 0 {
			return dir, name
		}
	}
	return 0, nil
}
