package inotify

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A root may be a single file. It has a watch of its own, for what is written to
// it, and the steps of the way to it have theirs, as for every root: they say that
// another file was renamed to its place, or that a link that leads to it was turned.

// A rootFile is the regular file that is the root of a subscriber.
type rootFile struct {
	wd     int32 // 0 if it is polled
	remote bool  // then it is polled for good
	st     inode // of the file; none when the watch has ended
	seen   pollEntry
	moved  bool // its name has changed since it was found
	stale  bool // a MountedFileError was told
}

// openRootFile opens the regular file that a path leads to with O_PATH, which does
// nothing to it. For anything else the error is ENOTDIR.
func openRootFile(path string) (fd int, f *rootFile, err error) {
	fd, err = unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err == nil {
		f, err = lookAtRootFile(fd)
		if err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		return -1, nil, &os.PathError{Op: "watch", Path: path, Err: err}
	}
	return fd, f, nil
}

func lookAtRootFile(fd int) (*rootFile, error) {
	f := new(rootFile)
	var err error
	if f.st, err = inodeAt(fd, ""); err != nil {
		return nil, err
	}
	if f.st.kind != unix.DT_REG {
		return nil, unix.ENOTDIR
	}
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_SIZE, &st); err != nil {
		return nil, os.NewSyscallError("statx", err)
	}
	f.seen = pollEntry{ino: f.st.ino, ctime: f.st.ctime, size: int64(st.Size), kind: unix.DT_REG}
	return f, nil
}

// subscribeFile starts s at its root, which is a file.
func (w *Watcher) subscribeFile(s *subscriber) error {
	began := time.Now()
	w.widen(s.Mask)
	w.watchComponents(s)
	err := w.watchRootFile(s)
	if s.file == nil {
		for _, st := range s.components {
			w.components.remove(st, s)
			w.unwanted = append(w.unwanted, st.wd)
		}
		return err
	}
	w.subs = append(w.subs, s)
	w.resolveLater([]*subscriber{s}) // it may have changed before it was watched
	w.content.floor = max(w.content.floor, began.Add(-timeStep).UnixNano())
	return err
}

// watchRootFile watches the file that s's root leads to, in place of the one that it
// had. Where there is no room for a watch, which is a *LimitError, or the file
// system is remote, it is polled. After any other error s has the file that it had.
func (w *Watcher) watchRootFile(s *subscriber) error {
	fd, f, err := openRootFile(s.root)
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
	} else {
		mask := w.mask&fileEvents | Attrib | MoveSelf
		wd, err := unix.InotifyAddWatch(w.fd, procPath(fd, ""), uint32(mask)|unix.IN_MASK_ADD)
		switch {
		case errors.Is(err, unix.ENOSPC):
			limit = watchLimit(s.root, nil)
		case err != nil:
			return &os.PathError{Op: "watch", Path: s.root, Err: err}
		default:
			f.wd = int32(wd)
		}
	}
	if old := s.file; old != nil && old.st.same(f.st) {
		f.stale = old.stale
	}
	w.unwatchRootFile(s)
	s.file = f
	if f.wd != 0 {
		w.rootFiles[f.wd] = append(w.rootFiles[f.wd], s)
		return nil
	}
	if !w.unwatched.hasTimer() {
		w.unwatched.next = time.Now().Add(w.unwatched.retryInterval())
	}
	w.unwatched.polled++
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
	default:
		w.rootFiles[f.wd] = slices.DeleteFunc(w.rootFiles[f.wd], func(other *subscriber) bool { return other == s })
		if len(w.rootFiles[f.wd]) == 0 {
			delete(w.rootFiles, f.wd)
			w.unwanted = append(w.unwanted, f.wd) // unless it is needed again
		}
	}
}

// findRootFile makes s watch the file that its path leads to now, and reports
// whether there is one.
func (w *Watcher) findRootFile(s *subscriber) bool {
	fd, now, err := openRootFile(s.root)
	if err != nil {
		return false
	}
	unix.Close(fd)
	old := s.file
	if old != nil && old.st.same(now.st) {
		// Its names were other files in between, or it is mounted here and was
		// renamed or removed where it comes from.
		if !old.stale && (now.st.links == 0 || old.moved && IsMountedFile(s.root)) {
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
		w.queueFileEvent(s, MovedTo|Modify|CloseWrite) // a save by rename, or a link that was turned
	case s.file.seen.size == 0:
		w.queueFileEvent(s, Create) // what is written to it is an event of its own
	default:
		w.queueFileEvent(s, scanMask)
	}
	return true
}

// queueFileEvent queues an event of the file that is s's root.
func (w *Watcher) queueFileEvent(s *subscriber, mask Mask) {
	if mask&(Modify|Create) != 0 && s.file != nil {
		w.content.now = time.Now().UnixNano()
		w.content.reported(w.tree, s.file.wd, []byte(s.root), mask)
	}
	if !s.muted && mask&(s.Mask|alwaysMask) != 0 && (w.only == nil || s == w.only) {
		s.queued = append(s.queued, Event{Root: s.Root, Path: ".", Mask: mask})
	}
}

// applyToRootFiles handles a record of the watch on a file that is a root.
func (w *Watcher) applyToRootFiles(subs []*subscriber, rec record) {
	for _, s := range slices.Clone(subs) {
		if rec.mask&(Ignored|Unmount) != 0 {
			s.file.st = inode{}
		}
		s.file.moved = s.file.moved || rec.mask&MoveSelf != 0
		if rec.mask&(Ignored|Unmount|MoveSelf|Attrib) != 0 {
			w.resolveLater([]*subscriber{s})
		}
		if rec.mask&Attrib != 0 && !s.hasFile() {
			continue // of the file that another has replaced
		}
		if mask := rec.mask & fileEvents; mask != 0 {
			w.queueFileEvent(s, w.withModify(0, rec.wd, []byte(s.root), mask))
		}
	}
}

// hasFile reports whether the file that is known is where the root leads to.
func (s *subscriber) hasFile() bool {
	fd, f, err := openRootFile(s.root)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return f.st.same(s.file.st)
}

// pollRootFiles looks at those without a watch, and watches what there is room for.
func (w *Watcher) pollRootFiles() {
	for _, s := range w.subs {
		if s.file == nil || s.file.wd != 0 {
			continue
		}
		before := s.file
		fd, now, err := openRootFile(s.root)
		if err == nil {
			unix.Close(fd)
		}
		if err != nil || !before.st.same(now.st) {
			w.resolveLater([]*subscriber{s})
			continue
		}
		if !before.remote && w.watchRootFile(s) == nil {
			now = s.file
		}
		s.file.seen = now.seen
		if now.seen != before.seen {
			w.queueFileEvent(s, Modify|CloseWrite)
		}
	}
}

// resyncRootFiles makes up for records of files that are roots which were lost.
func (w *Watcher) resyncRootFiles(since time.Time) {
	for _, s := range w.subs {
		if s.file == nil {
			continue
		}
		w.queueFileEvent(s, Overflow)
		if w.watchRootFile(s) != nil {
			w.resolveLater([]*subscriber{s})
		} else if s.file.st.ctime >= since.UnixNano() {
			w.queueFileEvent(s, Modify|CloseWrite)
		}
	}
}

// rewatchRootFiles makes every watch on a file that is a root report what the
// Watcher's mask asks for by now.
func (w *Watcher) rewatchRootFiles() {
	for _, s := range w.subs {
		if s.file != nil && w.watchRootFile(s) != nil {
			w.resolveLater([]*subscriber{s})
		}
	}
}

// locateFile finds the directory of the tree that has the file which is s's root,
// and the name of that; 0 is none.
func (w *Watcher) locateFile(s *subscriber) (dir id, name []byte) {
	real, err := filepath.EvalSymlinks(s.root)
	if err != nil {
		return 0, nil
	}
	for top, path := range w.rootPaths {
		if path, err = filepath.EvalSymlinks(path); err != nil {
			continue
		}
		if dir, name = w.lookupBelow(top, path, real); dir != 0 {
			return dir, name
		}
	}
	return 0, nil
}
