package inotify

import (
	"slices"
	"time"

	"github.com/execlog/execlogd/inotify/internal/dirtree"
)

// applyBuffer applies the records of one read. It returns complete when nothing is left to do.
func (w *Watcher) applyBuffer(buf []byte) (complete bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = time.Now()
	w.content.now = w.asked.UnixNano()
	for rec, err := range records(buf) {
		if err != nil {
			return false, err
		}
		w.apply(rec)
	}
	return w.pending.empty() && !w.unwatched.due() && len(w.state.unfinished) == 0, nil
}

// apply changes the tree as a record says, and emits its event. Records are applied
// strictly in the kernel's order, so that a path is the one that the file had when it
// happened. An entry that may not be on the disk as the record says is verified once the
// queue is empty.
func (w *Watcher) apply(rec record) {
	if rec.mask&Overflow != 0 {
		w.pending.overflow = true
		return
	}

	// Most records are of the content of a file.
	const content = Modify | CloseWrite | Attrib | Open | Access | CloseNoWrite
	n := w.tree.ByWatch(rec.wd)
	if n != 0 && len(rec.name) > 0 && rec.mask&^content == 0 {
		w.emit(n, rec.name, w.withModify(n, rec.wd, rec.name, rec.mask), nil)
		return
	}

	w.applyToComponents(rec)
	switch {
	case n == 0:
		// The watch is of a file, or of a component, or was removed.
		w.applyToFiles(rec)
	case rec.mask&(Ignored|Unmount) != 0:
		w.watchEnded(n, rec.mask)
	case len(rec.name) == 0:
		w.applySelf(n, rec.mask)
	case rec.mask&IsDir != 0:
		w.applyDir(n, rec)
	default:
		w.applyFile(n, rec)
	}
}

// applySelf handles an event of the watched directory n itself. Its parent reports the
// same under its name, but not to those whose root it is.
func (w *Watcher) applySelf(n dirtree.ID, mask Mask) {
	if !w.tree.Has(n, dirtree.Subscribed) {
		return
	}
	if mask&(DeleteSelf|MoveSelf) == 0 {
		w.emitRoot(n, mask|IsDir)
		return
	}

	for _, s := range w.subscribed[n] {
		s.endMask = mask & (DeleteSelf | MoveSelf)
	}
	w.pending.resolve(w.subscribed[n]...)
}

// applyFile handles an event of something in n that is not a directory. The tree does not
// hold files.
func (w *Watcher) applyFile(n dirtree.ID, rec record) {
	var from *departure
	if rec.mask&MovedTo != 0 {
		from = w.departureOf(rec.cookie)
		w.renames.noteArrival(w.tree, n, rec.name)
	}
	w.emit(n, rec.name, w.withModify(n, rec.wd, rec.name, rec.mask), from)
	if rec.mask&MovedFrom != 0 {
		w.noteDeparture(n, rec, false)
		w.verifyExchange(n, rec.name)
	}

	// A directory of that name was found by a scan before its own record, or this is half
	// an exchange. A subscriber who follows the names takes the directory to be gone.
	if rec.mask&(Create|Delete|MovedFrom|MovedTo) != 0 && w.tree.Child(n) != 0 {
		w.pending.reportAnew(w.tree.Lookup(n, rec.name))
	}
}

// verifyExchange has name in n, which was moved away, reported if it is there all the
// same: in an exchange (renameat2) something was moved there before.
func (w *Watcher) verifyExchange(n dirtree.ID, name []byte) {
	// The hash may also be that of another place, which costs an event more.
	if slices.Contains(w.renames.arrivals[:], w.tree.HashName(uint64(n), name)) {
		w.verify(n, name, reportPresent)
	}
}

// applyDir handles an event of a directory in the directory n.
func (w *Watcher) applyDir(n dirtree.ID, rec record) {
	if rec.mask&MovedTo != 0 {
		w.movedTo(n, rec)
		return
	}

	w.emit(n, rec.name, rec.mask, nil)
	child := w.tree.Lookup(n, rec.name)
	switch {
	case rec.mask&Create != 0:
		if w.tree.Has(child, dirtree.Silent) { // by Rescan, which was ahead of this record
			w.detach(child, detachment{})
		}
		w.appeared(n, rec.name, true)
	case rec.mask&Delete != 0:
		w.detach(child, detachment{})
		w.unwatched.remove(n, string(rec.name))
		w.verifyRemoved(n, rec.name)
	case rec.mask&MovedFrom != 0:
		unwatched := w.unwatched.remove(n, string(rec.name))
		w.noteDeparture(n, rec, child != 0 || unwatched || w.pending.isUnreported(w.tree, n))
		w.movedFrom(child, detachment{cookie: rec.cookie})
		w.verifyRemoved(n, rec.name)
		w.verifyExchange(n, rec.name)
	case rec.mask&Attrib != 0:
		w.retryUnreadable(n, child, rec.name)
	}
}

// movedFrom detaches the directory child, which may be 0. If another took its place just
// before, and it was not deleted by that, the two are exchanged (renameat2) and it is the
// other that leaves.
func (w *Watcher) movedFrom(child dirtree.ID, why detachment) {
	if w.pending.isUnreported(w.tree, child) {
		// What a subscriber takes along under its new name is not what it holds.
		w.pending.reportAnew(child)
	}
	for n, d := range w.pending.detached {
		if child == 0 || d.replacedBy != child {
			continue
		}
		// A subscriber who follows the names alone takes one of the two to be gone.
		w.pending.reportAnew(child)
		w.pending.reportAnew(n)
		why.replacedBy, why.exchanged = child, true
		w.pending.detached[n] = why
		return
	}
	w.detach(child, why)
}

// movedTo handles the new name of a directory in n.
func (w *Watcher) movedTo(n dirtree.ID, rec record) {
	w.renames.noteArrival(w.tree, n, rec.name)
	for moved, d := range w.pending.detached {
		if d.cookie == rec.cookie && rec.cookie != 0 && !w.tree.Encloses(moved, n) {
			w.relabel(moved, n, rec)
			return
		}
	}

	// The tree does not have it: it is new, with all that is in it. It has no old name for
	// a subscriber who would take along what will not be found.
	from := w.departureOf(rec.cookie)
	if from != nil && (from.hasContent || w.renamedAnew) {
		from = nil
	}
	w.emit(n, rec.name, rec.mask, from)
	w.detach(w.tree.Lookup(n, rec.name), detachment{}) // found by a scan before its record
	w.appeared(n, rec.name, true)
}

// relabel gives the directory moved, which left under the same cookie, its new place, with
// all below it.
func (w *Watcher) relabel(moved, n dirtree.ID, rec record) {
	d := w.pending.detached[moved]
	w.attach(moved, n, rec.name)
	from := w.departureOf(rec.cookie) // after attach, which may have removed its directory
	w.emit(n, rec.name, rec.mask, from)
	w.verify(n, rec.name, 0)
	if w.renamedAnew {
		w.pending.reportAnew(moved)
	}

	switch {
	case w.skipped(n, rec.name):
		w.dropSubtree(moved)
	case !d.exchanged && (from == nil || !w.sameSubscriptions(from.dir, n)):
		w.pending.reportAnew(moved) // some subscriber does not know what is in it
	}
}

// watchEnded handles the end of the watch of n: the directory was deleted or unmounted.
func (w *Watcher) watchEnded(n dirtree.ID, mask Mask) {
	if mask&Unmount != 0 {
		w.emit(n, nil, mask|IsDir, nil)
		return // IN_IGNORED follows
	}

	for c := w.tree.Child(n); c != 0; c = w.tree.Child(n) {
		w.detach(c, detachment{})
	}
	for _, s := range slices.Clone(w.subscribed[n]) {
		w.loseRoot(s)
		w.pending.resolve(s)
	}

	parent := w.tree.Parent(n)
	if parent == 0 {
		w.removeDir(n)
		return
	}
	// The parent's record of its end comes after this one. If the tree has it at a wrong
	// place, verifying removes it.
	w.verify(parent, w.tree.Name(n), 0)
	w.pending.forget(n)
	w.tree.EndWatch(n)
}

// A departure is the old place in a rename.
type departure struct {
	dir        dirtree.ID
	wd         int32
	cookie     uint32
	name       []byte
	pathHash   uint64 // by Watcher.oldPaths; 0 when the path was not known
	hasContent bool   // subscribers know of something below it
}

// A renameLog remembers the last renames: where they came from, for the record with the
// other half of a rename, and where they went, to notice exchanges. The two halves of a
// rename are at most a few records apart.
type renameLog struct {
	departures    [16]departure
	nextDeparture int
	arrivals      [64]uint64 // hashes of directory and name
	nextArrival   int
}

// noteDeparture notes the old place of a rename.
func (w *Watcher) noteDeparture(n dirtree.ID, rec record, hasContent bool) {
	l := &w.renames
	d := &l.departures[l.nextDeparture%len(l.departures)]
	l.nextDeparture++
	*d = departure{dir: n, wd: rec.wd, cookie: rec.cookie, hasContent: hasContent, name: append(d.name[:0], rec.name...)}
	if w.oldPaths.Locate(n, rec.name) {
		d.pathHash = w.oldPaths.Hash()
	}
}

// departureOf returns the old place in the rename with a cookie. It is nil when it is not
// known, or when the MovedFrom event had no path or another than the place has by now. It
// is valid until the next rename.
func (w *Watcher) departureOf(cookie uint32) *departure {
	i := slices.IndexFunc(w.renames.departures[:], func(d departure) bool { return d.cookie == cookie && cookie != 0 })
	if i < 0 {
		return nil
	}
	d := &w.renames.departures[i]
	if d.pathHash == 0 || w.tree.ByWatch(d.wd) != d.dir || !w.oldPaths.Locate(d.dir, d.name) || w.oldPaths.Hash() != d.pathHash {
		return nil
	}
	return d
}

func (l *renameLog) noteArrival(t *dirtree.Tree, n dirtree.ID, name []byte) {
	l.arrivals[l.nextArrival%len(l.arrivals)] = t.HashName(uint64(n), name)
	l.nextArrival++
}
