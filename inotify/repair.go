package inotify

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// removalBatch bounds how many watches are removed between two reads: each
// removal queues a record, and the queue has room for some thousands.
const removalBatch = 512

// errStale says that another directory is where the tree has this one.
var errStale = errors.New("another directory has this path now")

// A verifyFlags is what is to be done about a slot that is checked, beside making
// the tree agree with the disk.
type verifyFlags uint8

const (
	reportPresent verifyFlags = 1 << iota // report what is there even if the tree has it
	reportAbsent                          // report that the directory is gone which was announced there
)

// verify notes that what is under name in n is to be looked at when the
// queue is empty.
func (w *Watcher) verify(n id, name []byte, why verifyFlags) { w.dirty[w.dirEntry(n, name)] |= why }

// clearReportAbsent is recheck when the end of what was there is reported.
func (w *Watcher) clearReportAbsent(n id, name []byte) {
	s := w.dirEntry(n, name)
	w.dirty[s] &^= reportAbsent
}

func (w *Watcher) dirEntry(n id, name []byte) dirEntry {
	return dirEntry{dir: n, wd: w.tree.nodes[n].wd, name: string(name)}
}

// repair does what had to wait until the queue was empty. It says whether
// to read again, because it may have queued records or uncovered more.
func (w *Watcher) repair() (again bool, err error) {
	again, err = w.repairLocked()
	w.deliver()
	if !again {
		w.endFlushes()
	}
	return again, err
}

func (w *Watcher) repairLocked() (again bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false, ErrClosed
	}
	w.checkSentinel()
	switch {
	case w.overflow:
		w.overflow = false
		w.resync()
		return true, nil
	case w.resolveRoots(), w.verifyEntries(), w.scanUnscanned(), w.reportAnewAll():
		return true, nil
	case w.dropDetached(), w.removeWatches():
		return true, nil
	}
	if len(w.skipChecks) > 0 {
		w.checkSkipped()
		return true, nil
	}
	if w.files.dirty {
		w.scanMountedFiles(fileScan{fresh: true})
		return true, nil
	}
	if w.poll() {
		return true, nil
	}
	w.consistent = time.Now()
	w.toldShortage = len(w.unwatched.retries) > 0
	return false, nil
}

// verifyEntries looks at every slot in doubt. Slots of a directory in limbo
// wait for it.
func (w *Watcher) verifyEntries() (worked bool) {
	if len(w.dirty) == 0 {
		return false
	}
	todo := w.dirty
	w.dirty = map[dirEntry]verifyFlags{}
	for s, why := range todo {
		switch {
		case w.tree.nodes[s.dir].wd != s.wd:
			// The directory is gone, and the slot with it.
		case !w.tree.reachable(s.dir):
			w.dirty[s] |= why
		default:
			w.verifyEntry(s, why)
			worked = true
		}
	}
	return worked
}

// verifyEntry makes the tree agree with the disk about one name.
func (w *Watcher) verifyEntry(s dirEntry, why verifyFlags) {
	fd, err := w.openNode(s.dir, unix.O_PATH)
	if err != nil {
		w.parentMoved(s, why, err)
		return
	}
	defer unix.Close(fd)
	name := []byte(s.name)
	child := w.tree.lookup(s.dir, name)
	st, err := inodeAt(fd, s.name)
	if err == nil && w.unwatched.replaced(s, st) {
		w.unwatched.remove(s.dir, s.name)
		w.emit(s.dir, name, Delete|IsDir, nil)
	}
	switch {
	case err != nil && !isNotThere(err):
		w.verifyFailed(s, why, &os.PathError{Op: "look at", Path: w.path(s.dir) + "/" + s.name, Err: err})
	case err == nil && st.kind == unix.DT_DIR && child != 0 && w.hasInode(child, st):
		if why&reportPresent != 0 {
			w.reportAnew(child)
		}
	case err == nil && st.kind == unix.DT_DIR && child == 0 && why == 0 && (w.unwatched.isAt(s, st) || w.skipped(s.dir, name)):
		// It is looked at anyway, or left out.
	case err == nil && st.kind == unix.DT_DIR && child == 0 && why == 0:
		w.scanName(s.dir, fd, name, false) // an alias is no news
	case err == nil && st.kind == unix.DT_DIR:
		w.removeEntry(s.dir, name, child)
		w.emit(s.dir, name, Create|IsDir, nil)
		w.scanName(s.dir, fd, name, true)
	case child != 0:
		w.removeEntry(s.dir, name, child)
		if err == nil {
			w.emitFound(s.dir, name)
		}
	case err == nil && why != 0:
		w.emitFound(s.dir, name)
	case why&reportAbsent != 0:
		w.emit(s.dir, name, Delete|IsDir, nil)
	}
}

// removeEntry detaches child, which is not at name in n as the tree had it.
func (w *Watcher) removeEntry(n id, name []byte, child id) {
	if child != 0 {
		w.detach(child, detachment{})
		w.emit(n, name, Delete|IsDir, nil)
	}
}

// reportAnew has n, unless it is 0, reported as gone and there again, with all
// below it, once the queue is empty.
func (w *Watcher) reportAnew(n id) {
	if n != 0 {
		w.unreported[n] = struct{}{}
	}
}

// isUnreported says whether n, or a directory above it, is to be reported anew.
func (w *Watcher) isUnreported(n id) bool {
	if len(w.unreported) == 0 {
		return false
	}
	for ; n != 0; n = w.tree.nodes[n].parent {
		if _, ok := w.unreported[n]; ok {
			return true
		}
	}
	return false
}

// reportAnewAll reports anew what events left in doubt.
func (w *Watcher) reportAnewAll() (worked bool) {
	for n := range w.unreported {
		if !w.tree.reachable(n) {
			continue
		}
		delete(w.unreported, n)
		worked = true
		parent := w.tree.nodes[n].parent
		if w.isUnreported(parent) {
			continue // it is said with what is above it
		}
		if parent != 0 {
			name := bytes.Clone(w.tree.nameOf(n))
			w.emit(parent, name, Delete|IsDir, nil)
			w.emit(parent, name, Create|IsDir, nil)
		}
		w.reportBelow(n)
	}
	return worked
}

// parentMoved handles a directory that could not be opened under its path:
// then it is its own slot that is in doubt. A root that is not there is the
// kernel's to report.
func (w *Watcher) parentMoved(s dirEntry, why verifyFlags, err error) {
	if !isNotThere(err) {
		w.verifyFailed(s, why, &os.PathError{Op: "look into", Path: w.path(s.dir), Err: err})
		return
	}
	if parent := w.tree.nodes[s.dir].parent; parent != 0 {
		w.verify(parent, w.tree.nameOf(s.dir), 0)
		w.dirty[s] |= why
	}
}

// verifyFailed handles a slot that cannot be looked at for a reason that is not its
// own.
func (w *Watcher) verifyFailed(s dirEntry, why verifyFlags, err error) {
	if isResourceLimit(err) {
		w.retryLater(err, func() { w.dirty[s] |= why })
	} else {
		w.problem(err)
	}
}

// isNotThere says whether err means that there is no directory of this path, or
// another.
func isNotThere(err error) bool {
	return errors.Is(err, errStale) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// scanUnscanned scans the directories in which something happened while their
// path was not known or wrong.
func (w *Watcher) scanUnscanned() (worked bool) {
	for n := range w.unscanned {
		if !w.tree.reachable(n) {
			continue
		}
		delete(w.unscanned, n)
		w.scan(0, scanRequest{dir: n, report: true})
		worked = true
	}
	return worked
}

// dropDetached gives up the directories that are nowhere in the tree: they were
// deleted, or renamed to a place outside, or were not where the tree had them
// and no record told where they are.
func (w *Watcher) dropDetached() (worked bool) {
	for n, l := range w.detached {
		if l.cookie != 0 && !l.awaited {
			w.awaitRename(l.from)
			l.awaited = true
			w.detached[n] = l
		} else {
			w.dropSubtree(n)
		}
		worked = true
	}
	return worked
}

// awaitRename returns when the rename is over whose first half came from a
// directory: the kernel queues both halves while it holds the directory's
// lock, and reading a directory takes that lock too.
func (w *Watcher) awaitRename(from dirEntry) {
	if w.tree.nodes[from.dir].wd != from.wd {
		return
	}
	fd, err := w.openNode(from.dir, unix.O_RDONLY)
	if err != nil {
		return // giving up too early costs a scan, no more
	}
	defer unix.Close(fd)
	unix.ReadDirent(fd, make([]byte, 1024))
}

// dropSubtree forgets n and all below it, and has their watches removed. A root that
// lies below stays.
func (w *Watcher) dropSubtree(n id) {
	w.files.dirty = w.files.dirty || len(w.files.at) > 0
	for _, x := range w.tree.subtree(nil, n) {
		if w.tree.nodes[x].flags&flagSubscribed != 0 {
			w.detach(x, detachment{}) // with all that is below it
		}
	}
	list := w.tree.subtree(nil, n)
	for i := len(list) - 1; i >= 0; i-- {
		x := list[i]
		if w.tree.nodes[x].flags&flagSubscribed == 0 && w.tree.nodes[x].child == 0 {
			if wd := w.tree.nodes[x].wd; wd != 0 {
				w.unwanted = append(w.unwanted, wd)
			}
			w.removeDir(x)
		}
	}
}

// removeWatches removes some of the watches that nobody wants any more.
func (w *Watcher) removeWatches() (worked bool) {
	some := min(len(w.unwanted), removalBatch)
	for _, wd := range w.unwanted[:some] {
		if w.tree.byWd.get(wd) == 0 && w.components.watched[wd] == 0 && len(w.files.byWd[wd])+len(w.rootFiles[wd]) == 0 { // nobody needs it after all
			unix.InotifyRmWatch(w.fd, uint32(wd)) // EINVAL: the kernel was first
		}
	}
	if w.unwanted = w.unwanted[some:]; len(w.unwanted) == 0 {
		w.unwanted = nil
	}
	return some > 0
}

// resync makes up for records that the kernel dropped because its queue was
// full: it looks at every directory again, and reports what has changed since
// the queue was last known to be complete. A name that vanished meanwhile is
// reported as a change of its directory.
func (w *Watcher) resync() {
	since := w.consistent.Add(-timeStep)
	now := time.Now()
	w.consistent = now
	w.resolveLater(w.subs)
	w.resolveRoots()
	w.generation++
	var tasks []scanRequest
	for n := range w.subscribed {
		w.emitRoot(n, Overflow|IsDir)
	}
	for n := range w.rootPaths {
		w.tree.nodes[n].generation = w.generation
		tasks = append(tasks, scanRequest{dir: n, report: true, all: true, since: since.UnixNano()})
	}
	w.scan(workers, tasks...)
	w.prune()
	w.scanMountedFiles(fileScan{fresh: true, since: since})
	w.resyncRootFiles(since)
	w.content.floor = max(w.content.floor, now.UnixNano())
}

// prune takes every directory that a resync has not met out of the tree. Its
// watch may be gone without a word, for that is lost in an overflow too.
func (w *Watcher) prune() {
	var rest []id
	for i := range w.tree.nodes {
		n := id(i)
		switch parent := w.tree.nodes[n].parent; {
		case w.isCurrent(n):
		case parent != 0 && w.isCurrent(parent):
			w.removeEntry(parent, bytes.Clone(w.tree.nameOf(n)), n)
		default:
			rest = append(rest, n)
		}
	}
	for _, n := range rest {
		w.detach(n, detachment{})
	}
}

// isCurrent says whether the last resync has been at n, or need not have been.
func (w *Watcher) isCurrent(n id) bool {
	x := &w.tree.nodes[n]
	return x.wd == 0 || x.generation == w.generation || x.flags&flagRoot != 0
}

// path is the path of n for messages.
func (w *Watcher) path(n id) string {
	var p strings.Builder
	p.WriteString(w.rootPaths[w.tree.root(n)])
	for _, name := range w.tree.namesBelow(w.tree.root(n), n) {
		p.WriteString("/" + string(name))
	}
	return p.String()
}

// hasInode says whether n is the directory that st describes.
func (w *Watcher) hasInode(n id, st inode) bool {
	x := &w.tree.nodes[n]
	return x.ino == st.ino && w.devs[x.dev].is(st)
}

// sameSubscriptions says whether the same subscriptions begin above a and b.
func (w *Watcher) sameSubscriptions(a, b id) bool {
	if !w.oldPaths.locate(a, nil) || !w.paths.locate(b, nil) || len(w.oldPaths.matches) != len(w.paths.matches) {
		return false
	}
	for i := range w.paths.matches {
		if w.paths.matches[i].dir != w.oldPaths.matches[i].dir {
			return false
		}
	}
	return true
}
