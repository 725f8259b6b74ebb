package inotify

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify/internal/dirfd"
	"github.com/execlog/execlogd/inotify/internal/dirtree"
	"github.com/execlog/execlogd/internal/statelog"
)

// This file takes over what the Watcher of an earlier process has left: its State, and its inotify
// instance, if there is one.

// A Resumption is what a Watcher has taken over from the one before.
type Resumption uint8

const (
	NotResumed      Resumption = iota // nothing
	ResumedState                      // Options.State: what has happened since is found by a scan
	ResumedInstance                   // Options.Instance as well: it is in the kernel's queue
)

// Resumed returns what the Watcher has taken over. The error says why it could not take over what
// there was in Options.State, or Options.Instance; nil if there was nothing.
func (w *Watcher) Resumed() (Resumption, error) { return w.state.resumption, w.state.unused }

// Instance returns a duplicate of the descriptor of the inotify instance, which is close-on-exec
// and belongs to the caller. It is meant for Options.Instance of a later process, and must not be
// read before. From the call on Options.State fits to this instance, and to no other.
func (w *Watcher) Instance() (*os.File, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, ErrClosed
	}
	if w.state.resumption == ResumedState {
		// The watches have other descriptors than those in the file, where the scan of Run may
		// leave them for a while. That it is to be made is in the file already.
		if err := w.saveTree(); err != nil {
			return nil, err
		}
	}
	fd, err := unix.FcntlInt(uintptr(w.kernel.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), "inotify"), nil
}

// openState takes over what is in the file. It takes over the instance too, if that is not nil
// and has the watches of the roots. If it has not, and something is in the file, cold is true:
// all directories need a watch, and nothing is known of what has happened.
func (w *Watcher) openState(file, instance *os.File) (cold bool, err error) {
	s := &w.state
	log, records, err := statelog.Open(file)
	if err != nil {
		return false, fmt.Errorf("open state: %w", err)
	}
	s.log = log
	s.isPending, s.consistent = log.Word(pendingWord), log.Word(consistentWord)
	s.hasWork, s.firstRecord = log.Word(workWord), log.Word(sharedBuffer)
	w.kernel.buf = log.Shared()[sharedBuffer : sharedBuffer+len(w.kernel.buf)]
	s.used = unfinishedSize(w.kernel.buf)
	clear(w.kernel.buf[s.used:])

	if s.unused = w.loadState(records); s.unused != nil || len(s.saved) == 0 {
		w.tree.Track()
		w.finishRecords()
		return false, s.log.Rewrite()
	}
	s.resumed, s.resumption = true, ResumedState
	if instance != nil {
		if w.kernel.fd, err = dupInstance(instance); err != nil {
			return false, err
		}
	}
	if w.kernel.fd >= 0 && w.watchesRoots() {
		for _, buf := range s.unfinished {
			s.keptRecords += len(buf)
		}
		if s.used > 0 {
			s.unfinished = append(s.unfinished, bytes.Clone(w.kernel.buf[:s.used]))
		}
		w.pending.overflow = s.isPending.Load() != 0
		s.mayHaveUnknown = len(s.unfinished) > 0 || w.pending.overflow || s.hasWork.Load() != 0
		w.renamedAnew = s.mayHaveUnknown
		store(s.hasWork, s.mayHaveUnknown)
		s.resumption = ResumedInstance
		return false, nil
	}

	if w.kernel.fd >= 0 {
		s.unused = errors.New("the inotify instance does not watch the roots where they are")
		unix.Close(w.kernel.fd)
		w.kernel.fd = -1
	}
	s.unfinished = nil
	for i := range s.saved {
		s.saved[i].wd = 0
	}
	store(s.isPending, true)
	w.finishRecords()
	return true, nil
}

// watchesRoots reports whether the instance watches every root that is where it was, under the
// watch descriptor that the tree has.
func (w *Watcher) watchesRoots() bool {
	for n, path := range w.rootPaths {
		fd, err := openRoot(path)
		if err != nil {
			continue // its end is among the records
		}
		st, err := dirfd.Stat(fd, "")
		isOther := err == nil && w.hasInode(n, st) && (w.kernel.isUnwatched(fd) || !w.isRoot(n, fd))
		unix.Close(fd)
		if isOther {
			return false
		}
	}

	for _, root := range w.state.saved {
		fd, st, err := w.openFile(dirEntry{name: root.path})
		if err != nil {
			continue
		}
		isOther := root.wd != 0 && st.Ino == root.ino && (w.kernel.isUnwatched(fd) || !w.watchesFile(fd, root.wd))
		unix.Close(fd)
		if isOther {
			return false
		}
	}
	return true
}

// watchesFile reports whether the instance watches the file open as fd under a watch descriptor.
func (w *Watcher) watchesFile(fd int, wd int32) bool {
	now, err := w.kernel.watch(fd, "", uint32(w.mask&fileMask|Attrib|MoveSelf))
	return err == nil && now == wd
}

// isUnwatched reports whether the instance had no watch on the file or directory open as fd. If it
// had none, it may have one afterwards.
func (in *instance) isUnwatched(fd int) bool {
	_, err := unix.InotifyAddWatch(in.fd, dirfd.Path(fd, ""), unix.IN_MASK_CREATE|unix.IN_CREATE)
	return !errors.Is(err, unix.EEXIST)
}

// watchBatch is how many watches are looked at between two reads.
const watchBatch = 2000

// removeUnknownWatches has the watches removed that nobody needs. The process before may have added some
// that it had no time to save. It looks at a part of them, and reports whether there are no more.
func (w *Watcher) removeUnknownWatches() (done bool) {
	s := &w.state
	if s.watchList == nil {
		f, err := os.Open("/proc/self/fdinfo/" + strconv.Itoa(w.kernel.fd)) // proc(5)
		if err != nil {
			return true
		}
		s.watchList = f
		s.watchLines = bufio.NewScanner(f)
	}

	for range watchBatch {
		if !s.watchLines.Scan() {
			s.watchList.Close()
			s.watchList, s.watchLines = nil, nil
			return true
		}
		rest, ok := strings.CutPrefix(s.watchLines.Text(), "inotify wd:") // in hex
		digits, _, _ := strings.Cut(rest, " ")
		if wd, err := strconv.ParseInt(digits, 16, 32); ok && err == nil && w.tree.ByWatch(int32(wd)) == 0 {
			w.pending.unwanted = append(w.pending.unwanted, int32(wd))
		}
	}
	return false
}

// rewatch adds a watch to every directory that is still where the tree has it, as if the tree had
// none, and has everything scanned. It ends early with the error of Options.Scanning.
func (w *Watcher) rewatch() error {
	defer w.beginAdding()()
	w.pending.overflow = true
	w.tree.EndWatches()
	w.renumberDevices()

	var lost []dirtree.ID
	for root := range w.rootPaths {
		for _, n := range w.tree.Subtree(root) {
			w.looked.Add(1)
			if w.mustStop() {
				return w.stopped
			}
			if !w.rewatchDir(n) {
				lost = append(lost, n)
			}
		}
	}
	for _, n := range slices.Backward(lost) {
		if w.tree.Parent(n) != 0 {
			w.watchEnded(n, Ignored)
			continue
		}
		// A root stays for those who add it: that it is gone is an event.
		for c := w.tree.Child(n); c != 0; c = w.tree.Child(n) {
			w.detach(c, detachment{})
		}
		w.tree.EndWatch(n)
	}
	return nil
}

// takeUnreadable enters the directories that could not be watched before. When their modes change
// they are tried again.
func (w *Watcher) takeUnreadable() {
	for _, e := range w.state.unreadable {
		if !w.tree.Contains(e.dir) {
			continue
		}
		dir, err := w.openDir(e.dir, unix.O_PATH)
		if err != nil {
			continue // the end of the directory is in the queue
		}
		st, err := dirfd.Stat(dir, e.name)
		unix.Close(dir)
		if err == nil && st.Kind == unix.DT_DIR || errors.Is(err, unix.EACCES) {
			w.unwatched.put(w.entry(e.dir, []byte(e.name)), &unwatchedDir{reason: unix.EACCES, inode: st})
		}
	}
	w.state.unreadable = nil
}

// renumberDevices corrects the devices of the roots, which may have other numbers since another
// boot.
func (w *Watcher) renumberDevices() {
	for n, path := range w.rootPaths {
		st, err := dirfd.StatPath(path)
		if x := w.tree.Node(n); err == nil && st.Ino == x.Ino {
			d := &w.devices[x.Device]
			d.major, d.minor = st.Major, st.Minor
		}
	}
}

// rewatchDir reports whether n is where the tree has it and could be watched.
func (w *Watcher) rewatchDir(n dirtree.ID) bool {
	fd, err := w.openDir(n, unix.O_PATH)
	if err != nil {
		return false
	}
	defer unix.Close(fd)

	mask := w.mask
	if w.tree.Has(n, dirtree.Root) {
		mask |= rootMask
	}
	wd, err := w.kernel.watch(fd, "", watchFlags|uint32(mask))
	if err != nil || w.tree.ByWatch(wd) != 0 {
		return false
	}
	w.tree.SetWatch(n, wd)
	return true
}

// takeSaved makes s go on with a root of the process before, and reports whether there is one. What
// has happened meanwhile is in the kernel's queue, or is found by a scan of everything.
func (w *Watcher) takeSaved(s *subscriber) bool {
	i := slices.IndexFunc(w.state.saved, func(r savedRoot) bool { return r.path == s.root })
	if i < 0 {
		return false
	}
	root := w.state.saved[i]
	w.state.saved = slices.Delete(w.state.saved, i, i+1)

	w.widenMask(s.Mask)
	w.subs = append(w.subs, s)
	w.watchComponents(s)
	switch {
	case root.dir != 0 && w.tree.Contains(root.dir):
		w.setRoot(s, root.dir)
	case root.ino != 0:
		w.takeSavedFile(s, root)
	default:
		w.pending.resolve(s)
	}
	if s.dir != 0 && s.SkipKey != root.skipKey {
		w.pruneSkipped(s.dir)
		w.pending.skipChecks = append(w.pending.skipChecks, s.Root)
	}
	w.compareMountedFiles(false) // so that what is queued of them is understood
	return true
}

// takeSavedFile is takeSaved for a root that was a file. If it is another now, or none, that is
// reported once the records of the file that it was are read.
func (w *Watcher) takeSavedFile(s *subscriber, root savedRoot) {
	at := dirEntry{name: s.root}
	if fd, st, err := w.openFile(at); err == nil {
		isSame := st.Ino == root.ino && (root.wd == 0 || w.watchesFile(fd, root.wd))
		unix.Close(fd)
		if isSame && (w.watchRootFile(s) == nil || s.file != nil) {
			return
		}
	}

	s.file = &watchedFile{sub: s, at: at, wd: root.wd}
	w.files[root.wd] = append(w.files[root.wd], s.file)
	if root.wd == 0 {
		w.unwatched.addPolled()
	}
	w.pending.resolve(s)
}

// dropSaved stops to watch what the process before has watched and nobody has added again.
func (w *Watcher) dropSaved() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.state.resumed {
		return
	}
	s := &w.state
	s.mayHaveUnknown = s.mayHaveUnknown || len(s.saved) > 0 // those of files, and of components of paths
	s.saved, s.resumed = nil, false
	for n := range w.rootPaths {
		if len(w.subscribed[n]) == 0 {
			w.tree.SetFlags(n, 0, dirtree.Root)
			delete(w.rootPaths, n)
			w.dropSubtree(n)
		}
	}
	for _, n := range s.unpruned {
		if w.tree.Contains(n) {
			w.pruneSkipped(n)
		}
	}
	s.unpruned = nil

	// Where something was mounted since, or is not any more, another file may be.
	now := w.inTree(w.mountPoints)
	isIn := func(list []dirEntry, at dirEntry) bool {
		return slices.ContainsFunc(list, func(e dirEntry) bool { return e.dir == at.dir && e.name == at.name })
	}
	for _, at := range slices.Concat(s.mounts, now) {
		if w.tree.Contains(at.dir) && !(isIn(s.mounts, at) && isIn(now, at)) {
			w.verify(at.dir, []byte(at.name), reportPresent)
		}
	}
	s.mounts = nil
	w.mountsChanged()
}

// dupInstance duplicates the descriptor of an inotify instance.
func dupInstance(file *os.File) (fd int, err error) {
	conn, err := file.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd = -1
	ctlErr := conn.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	if ctlErr != nil {
		return -1, ctlErr
	}
	if err != nil {
		return -1, os.NewSyscallError("fcntl", err)
	}

	if what, err := os.Readlink(dirfd.Path(fd, "")); err != nil || what != "anon_inode:inotify" {
		unix.Close(fd)
		return -1, fmt.Errorf("%s is no inotify instance: %q", file.Name(), what)
	}
	return fd, os.NewSyscallError("fcntl", unix.SetNonblock(fd, true))
}
