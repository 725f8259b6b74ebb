package inotify

import (
	"bytes"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify/internal/dirfd"
	"github.com/execlog/execlogd/inotify/internal/dirtree"
)

// removalBatch is how many watches are removed between two reads. Each removal queues a
// record, and the queue has room for some thousands.
const removalBatch = 512

// repair does the next part of the work that had to wait until the queue was empty. It
// returns complete when nothing is left to do. Otherwise the queue is to be read again, because
// the work may have queued records or made more work.
func (w *Watcher) repair() (complete bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false, ErrClosed
	}
	w.asked = time.Now()
	w.renamedAnew = false // everything is read that was queued when the last events were delivered

	// The order matters: some work makes other work unnecessary. What belongs to directories
	// that are not reachable has to wait for them.
	switch p, t := &w.pending, w.tree; {
	case p.overflow:
		w.resync()
	case len(p.roots) > 0:
		w.resolveRoots()
	case anyKey(p.dirty, func(e dirEntry) bool { return !e.exists(t) || t.Reachable(e.dir) }):
		w.verifyEntries()
	case anyKey(p.unscanned, t.Reachable):
		for n := range p.unscanned {
			if t.Reachable(n) {
				delete(p.unscanned, n)
				w.scan(0, scanRequest{dir: n, kind: scanNew})
			}
		}
	case anyKey(p.unreported, t.Reachable):
		w.reportUnreported()
	case len(p.detached) > 0:
		// These directories are nowhere in the tree. They were deleted or moved out of it, or
		// were not where the tree had them and no record says where they are.
		//
		// The second record of a rename cannot be missing by now. The entry that the directory
		// was moved away from is verified first, and to look it up takes the lock of its parent,
		// which the kernel holds until both records are queued.
		for n := range p.detached {
			w.dropSubtree(n)
		}
	case len(p.unwanted) > 0:
		w.removeWatches()
	case len(p.skipChecks) > 0:
		w.checkSkipped()
	case p.mountedFiles:
		w.compareMountedFiles(true)
	case w.state.mayHaveUnknown:
		w.state.mayHaveUnknown = !w.removeUnknownWatches()
	case !w.poll():
		w.consistent = time.Now()
		w.shortageReported = len(w.unwatched.retries) > 0
		w.save()
		return true, nil
	}
	return false, nil
}

// verifyEntries verifies the dirty entries. Those of a directory that is not reachable wait
// for it.
func (w *Watcher) verifyEntries() {
	dirty := w.pending.dirty
	w.pending.dirty = map[dirEntry]verifyFlags{}

	for e, flags := range dirty {
		switch {
		case !e.exists(w.tree): // the directory is gone, and the entry with it
		case !w.tree.Reachable(e.dir):
			w.pending.dirty[e] |= flags
		default:
			w.verifyEntry(e, flags)
		}
	}
}

// verifyEntry makes the tree agree with the disk about one name.
func (w *Watcher) verifyEntry(e dirEntry, flags verifyFlags) {
	again := func() { w.pending.dirty[e] |= flags }
	fd, err := w.openDir(e.dir, unix.O_PATH)
	switch parent := w.tree.Parent(e.dir); {
	case err == nil:
		defer unix.Close(fd)
	case !isNotThere(err):
		w.failed(&os.PathError{Op: "look into", Path: w.path(e.dir), Err: err}, again)
		return
	case parent != 0: // otherwise the kernel reports the end of a root
		w.verify(parent, w.tree.Name(e.dir), 0)
		again()
		return
	default:
		return
	}
	st, err := dirfd.Stat(fd, e.name)
	if err != nil && !isNotThere(err) {
		w.failed(&os.PathError{Op: "look at", Path: w.filePath(e), Err: err}, again)
		return
	}

	name := []byte(e.name)
	isThere, isDir := err == nil, err == nil && st.Kind == unix.DT_DIR
	if u := w.unwatched.get(e.dir, e.name); isThere && u != nil && u.isPolled() && !u.is(st) {
		w.unwatched.remove(e.dir, e.name)
		w.emit(e.dir, name, Delete|IsDir, nil)
	}
	child := w.tree.Lookup(e.dir, name)

	if isDir && child != 0 && w.hasInode(child, st) {
		if flags&reportPresent != 0 {
			w.pending.reportAnew(child)
		}
		return
	}
	if isDir && child == 0 && flags == 0 {
		if u := w.unwatched.get(e.dir, e.name); (u == nil || !u.isPolled()) && !w.skipped(e.dir, name) {
			w.scanName(e.dir, fd, name, false) // it may be an alias, of which nothing is to be reported
		}
		return
	}

	w.removeEntry(e.dir, name, child)
	switch {
	case isDir:
		w.emit(e.dir, name, Create|IsDir, nil)
		w.scanName(e.dir, fd, name, true)
	case isThere && (child != 0 || flags != 0):
		w.emitPresent(e.dir, name)
	case !isThere && child == 0 && flags&reportAbsent != 0:
		w.emit(e.dir, name, Delete|IsDir, nil)
	}
}

// reportUnreported reports directories as removed and created again, with all below them.
func (w *Watcher) reportUnreported() {
	for n := range w.pending.unreported {
		if !w.tree.Reachable(n) {
			continue
		}
		delete(w.pending.unreported, n)

		parent := w.tree.Parent(n)
		if w.pending.isUnreported(w.tree, parent) {
			continue // it is reported with the directory above
		}

		if parent != 0 {
			name := bytes.Clone(w.tree.Name(n))
			w.emit(parent, name, Delete|IsDir, nil)
			w.emit(parent, name, Create|IsDir, nil)
		}

		w.detachBelow(n)
		w.scan(0, scanRequest{dir: n, kind: scanNew})
	}
}

// removeWatches removes some of the watches that are not needed any more.
func (w *Watcher) removeWatches() {
	some := min(len(w.pending.unwanted), removalBatch)
	for _, wd := range w.pending.unwanted[:some] {
		if w.tree.ByWatch(wd) == 0 && len(w.components[wd])+len(w.files[wd]) == 0 {
			unix.InotifyRmWatch(w.kernel.fd, uint32(wd)) // EINVAL: the kernel has removed it already
		}
	}

	w.pending.unwanted = w.pending.unwanted[some:]
	if len(w.pending.unwanted) == 0 {
		w.pending.unwanted = nil
	}
}

// resync makes up for records that the kernel dropped because its queue was full. It scans
// every directory, and reports what has changed since the queue was last known to be complete.
// A name that was removed meanwhile is reported as a change of its directory.
func (w *Watcher) resync() {
	consistent := w.consistent
	since := consistent.Add(-clockStep)
	now := time.Now()
	w.consistent = now
	w.renamedAnew = true
	w.pending.overflow = false
	w.pending.resolve(w.subs...)
	w.resolveRoots()

	w.generation++
	for n := range w.subscribed {
		w.emitRoot(n, Overflow|IsDir)
	}
	var requests []scanRequest
	for n := range w.rootPaths {
		w.tree.Node(n).Generation = w.generation
		requests = append(requests, scanRequest{dir: n, kind: scanChanged, since: since.UnixNano()})
	}
	w.scan(workers, requests...)
	if w.stopped != nil {
		w.pending.overflow, w.consistent = true, consistent
		return // it is done again, from the beginning
	}
	w.prune()

	w.compareMountedFiles(true) // the scan has reported those that have changed
	w.resyncRootFiles(since)
	w.content.floor = max(w.content.floor, now.UnixNano())
}

// prune detaches every directory that the scan of resync has not found. The record of the end
// of its watch may be lost too.
func (w *Watcher) prune() {
	found := func(n dirtree.ID) bool {
		x := w.tree.Node(n)
		return x.WD == 0 || x.Generation == w.generation || w.tree.Has(n, dirtree.Root)
	}

	var rest []dirtree.ID // which are below another that was not found
	for n := range w.tree.All() {
		switch parent := w.tree.Parent(n); {
		case found(n):
		case parent != 0 && found(parent):
			w.removeEntry(parent, bytes.Clone(w.tree.Name(n)), n)
		default:
			rest = append(rest, n)
		}
	}
	for _, n := range rest {
		w.detach(n, detachment{})
	}
}
