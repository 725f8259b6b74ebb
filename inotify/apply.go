package inotify

import (
	"hash/maphash"
	"slices"
	"time"
)

// internalMask is what the tree itself needs to hear of every directory.
const internalMask = Create | Delete | MovedFrom | MovedTo | Attrib

// A dirEntry is a name in a directory. The watch descriptor tells a directory
// from a later one with the same id.
type dirEntry struct {
	dir  id
	wd   int32
	name string
}

// detachment is what is known of a directory whose place is not. It is given up
// when the queue is empty and nobody has found it.
type detachment struct {
	cookie     uint32   // of the rename that took it away, from:
	from       dirEntry // without the name
	awaited    bool     // that rename is over
	replacedBy id       // another was renamed to its place, and is still there
	exchanged  bool     // and it was renamed in its turn: they changed places
}

// applyRecords applies what one read returned and delivers what came of it.
func (w *Watcher) applyRecords(buf []byte) error {
	settled, err := w.applyLocked(buf)
	w.deliver()
	if settled {
		w.endFlushes()
	}
	return err
}

// applyLocked says whether nothing is left to do.
func (w *Watcher) applyLocked(buf []byte) (settled bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.content.now = time.Now().UnixNano()
	for len(buf) > 0 {
		rec, size, err := cutRecord(buf)
		if err != nil {
			return false, err
		}
		w.apply(rec)
		buf = buf[size:]
	}
	return !w.overflow && !w.files.dirty && len(w.skipChecks)+len(w.lostRoots)+len(w.unscanned)+len(w.dirty)+len(w.unreported)+len(w.detached)+len(w.unwanted) == 0 && !w.unwatched.due(), nil
}

// apply changes the tree as the record says and emits its event. Records come
// strictly in the kernel's order, so that a path is the one that the file had
// when it happened. Where what the tree says may not be what the disk says,
// the slot is checked once the queue is empty.
func (w *Watcher) apply(rec record) {
	if rec.mask&Overflow != 0 {
		w.overflow = true
		return
	}
	const content = Modify | CloseWrite | Attrib | Open | Access | CloseNoWrite
	n := w.tree.byWd.get(rec.wd)
	if n != 0 && len(rec.name) > 0 && rec.mask&^content == 0 {
		w.emit(n, rec.name, w.withModify(n, rec.wd, rec.name, rec.mask), nil) // of a file; most events are
		return
	}
	w.applyToComponents(rec)
	switch {
	case n == 0 && len(w.files.byWd[rec.wd])+len(w.rootFiles[rec.wd]) > 0:
		w.applyToFiles(w.files.byWd[rec.wd], rec)
		w.applyToRootFiles(w.rootFiles[rec.wd], rec)
	case n == 0:
		w.checkSentinelRecord(rec)
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

// applySelf handles an event of a watched directory itself. Its parent says
// the same of it under its name, but not to those whose root it is.
func (w *Watcher) applySelf(n id, mask Mask) {
	switch {
	case w.tree.nodes[n].flags&flagSubscribed == 0:
	case mask&(DeleteSelf|MoveSelf) != 0:
		for _, s := range w.subscribed[n] {
			s.endMask = mask & (DeleteSelf | MoveSelf)
		}
		w.resolveLater(w.subscribed[n])
	default:
		w.emitRoot(n, mask|IsDir)
	}
}

// applyFile handles an event of something that is not a directory. The tree
// knows nothing of files.
func (w *Watcher) applyFile(n id, rec record) {
	rec.mask = w.withModify(n, rec.wd, rec.name, rec.mask)
	switch {
	case rec.mask&MovedFrom != 0:
		w.emit(n, rec.name, rec.mask, nil)
		w.noteDeparture(n, rec, false)
		w.verifyExchange(n, rec.name)
	case rec.mask&MovedTo != 0:
		w.emit(n, rec.name, rec.mask, w.departureOf(rec.cookie))
		w.renames.noteArrival(w.tree, n, rec.name)
	default:
		w.emit(n, rec.name, rec.mask, nil)
	}
	if rec.mask&(Create|Delete|MovedFrom|MovedTo) != 0 && w.tree.nodes[n].child != 0 {
		// A scan has met the directory that came later, or it is half an
		// exchange. Who follows the names takes it to be gone.
		w.reportAnew(w.tree.lookup(n, rec.name))
	}
}

// verifyExchange has name in n, which was moved from, reported if it is
// there all the same: in an exchange (renameat2) it was moved to before.
func (w *Watcher) verifyExchange(n id, name []byte) {
	if w.renames.arrived(w.tree, n, name) {
		w.verify(n, name, reportPresent)
	}
}

// applyDir handles an event of a directory in the directory n.
func (w *Watcher) applyDir(n id, rec record) {
	child := w.tree.lookup(n, rec.name)
	switch {
	case rec.mask&Create != 0:
		w.emit(n, rec.name, rec.mask, nil)
		w.appeared(n, rec.name, true)
	case rec.mask&Delete != 0:
		w.emit(n, rec.name, rec.mask, nil)
		w.detach(child, detachment{})
		w.unwatched.remove(n, string(rec.name))
		w.clearReportAbsent(n, rec.name)
	case rec.mask&MovedFrom != 0:
		w.emit(n, rec.name, rec.mask, nil)
		blind := w.unwatched.remove(n, string(rec.name))
		w.noteDeparture(n, rec, child != 0 || blind || w.isUnreported(n))
		w.movedFrom(child, detachment{cookie: rec.cookie, from: dirEntry{dir: n, wd: rec.wd}})
		w.clearReportAbsent(n, rec.name)
		w.verifyExchange(n, rec.name)
	case rec.mask&MovedTo != 0:
		w.movedTo(n, rec)
	case rec.mask&Attrib != 0:
		w.emit(n, rec.name, rec.mask, nil)
		w.retryUnreadable(n, child, rec.name)
	default:
		w.emit(n, rec.name, rec.mask, nil)
	}
}

// movedFrom detaches the directory that left. When another took its place
// just before, and it was not deleted by that, then the two are exchanged
// (renameat2) and it is the other that stays.
func (w *Watcher) movedFrom(child id, why detachment) {
	if w.isUnreported(child) {
		w.reportAnew(child) // what it takes along is not what it holds
	}
	for n, l := range w.detached {
		if l.replacedBy == child && child != 0 {
			// Who follows the names alone takes one of the two to be gone.
			w.reportAnew(child)
			w.reportAnew(n)
			why.replacedBy, why.exchanged = child, true
			w.detached[n] = why
			return
		}
	}
	w.detach(child, why)
}

// movedTo handles a directory's new name. One that nobody knows is new, with
// all that is in it.
func (w *Watcher) movedTo(n id, rec record) {
	w.renames.noteArrival(w.tree, n, rec.name)
	if moved := w.movedAway(rec.cookie); moved != 0 && !w.tree.above(moved, n) {
		w.relabel(moved, n, rec)
		return
	}
	from := w.departureOf(rec.cookie)
	if from != nil && from.hasContent {
		from = nil // what the reader would take along is not what will be found
	}
	w.emit(n, rec.name, rec.mask, from)
	w.detach(w.tree.lookup(n, rec.name), detachment{}) // if a scan was faster than its record
	w.appeared(n, rec.name, true)
}

// relabel puts the directory that left under the same cookie in its new place,
// with all below it.
func (w *Watcher) relabel(moved, n id, rec record) {
	l := w.detached[moved]
	w.attach(moved, n, rec.name)
	from := w.departureOf(rec.cookie) // it may have gone with what was replaced
	w.emit(n, rec.name, rec.mask, from)
	w.verify(n, rec.name, 0)
	switch {
	case w.skipped(n, rec.name):
		w.dropSubtree(moved)
	case !l.exchanged && (from == nil || !w.sameSubscriptions(from.dir, n)):
		w.reportAnew(moved) // it is new to somebody
	}
}

// attach puts the detached directory n into parent. What the tree has there
// was replaced: a rename over an empty directory says no more than that.
func (w *Watcher) attach(n, parent id, name []byte) {
	delete(w.detached, n)
	w.unwatched.remove(parent, string(name))
	if old := w.tree.lookup(parent, name); old != 0 {
		w.detach(old, detachment{replacedBy: n})
	}
	w.tree.attach(n, parent, name)
}

// detach detaches n because it is not where it was. Its watch stays for the
// time being, for n may be found elsewhere.
func (w *Watcher) detach(n id, why detachment) {
	if n == 0 {
		return
	}
	w.tree.detach(n)
	switch x := &w.tree.nodes[n]; {
	case x.wd == 0:
		w.removeDir(n)
	case x.flags&flagSubscribed != 0:
		w.makeRoot(n)
	default:
		w.detached[n] = why
	}
}

// movedAway finds the directory that left in the rename with that cookie.
func (w *Watcher) movedAway(cookie uint32) id {
	for n, l := range w.detached {
		if l.cookie == cookie && cookie != 0 {
			return n
		}
	}
	return 0
}

// watchEnded handles the end of a watch: the directory was deleted or unmounted.
// What is below it lost its place.
func (w *Watcher) watchEnded(n id, mask Mask) {
	if mask&Unmount != 0 {
		w.emit(n, nil, mask|IsDir, nil)
		return // IN_IGNORED follows
	}
	for c := w.tree.nodes[n].child; c != 0; c = w.tree.nodes[n].child {
		w.detach(c, detachment{})
	}
	for _, s := range slices.Clone(w.subscribed[n]) {
		w.loseRoot(s)
		w.lostRoots[s] = struct{}{}
	}
	parent := w.tree.nodes[n].parent
	if parent == 0 {
		w.removeDir(n)
		return
	}
	// The parent's record of its end comes after this one. Should the tree
	// have it at a wrong place, then the check removes it.
	w.verify(parent, w.tree.nameOf(n), 0)
	delete(w.unscanned, n)
	delete(w.unreported, n)
	w.tree.endWatch(n)
}

// removeDir removes a node that has no children and no watch any more.
func (w *Watcher) removeDir(n id) {
	delete(w.detached, n)
	delete(w.unscanned, n)
	delete(w.unreported, n)
	w.unwatched.removeAll(n)
	w.tree.remove(n)
}

// noteDeparture notes where the rename in rec takes something away, and whether the
// reader may know of anything below it.
func (w *Watcher) noteDeparture(n id, rec record, full bool) {
	o := w.renames.noteDeparture(n, rec)
	o.hasContent = full
	if w.oldPaths.locate(n, rec.name) {
		o.pathHash = w.oldPaths.hash()
	}
}

// departureOf is the place that the rename with that cookie left, or nil. It is
// valid until the next rename. Nil is also the answer when the MovedFrom event
// had no path or another one than the place has by now.
func (w *Watcher) departureOf(cookie uint32) *departure {
	o := w.renames.departure(cookie)
	if o == nil || o.pathHash == 0 || w.tree.byWd.get(o.wd) != o.dir ||
		!w.oldPaths.locate(o.dir, o.name) || w.oldPaths.hash() != o.pathHash {
		return nil
	}
	return o
}

// An departure is the old place in a rename.
type departure struct {
	dir        id
	wd         int32
	cookie     uint32
	name       []byte
	pathHash   uint64 // the locator's key when it left; 0 when nobody knew the path
	hasContent bool   // the reader takes something along
}

// renameLog remembers the last renames: where they came from, for the
// cookie of their other half, and where they went, to notice exchanges. The
// halves of one rename are at most a few records apart.
type renameLog struct {
	departures    [16]departure
	nextDeparture int
	arrivals      [64]uint64
	nextArrival   int
}

func (m *renameLog) noteDeparture(n id, rec record) *departure {
	o := &m.departures[m.nextDeparture%len(m.departures)]
	m.nextDeparture++
	*o = departure{dir: n, wd: rec.wd, cookie: rec.cookie, name: append(o.name[:0], rec.name...)}
	return o
}

func (m *renameLog) departure(cookie uint32) *departure {
	for i := range m.departures {
		if m.departures[i].cookie == cookie && cookie != 0 {
			return &m.departures[i]
		}
	}
	return nil
}

func (m *renameLog) noteArrival(t *tree, n id, name []byte) {
	m.arrivals[m.nextArrival%len(m.arrivals)] = arrivalKey(t, n, name)
	m.nextArrival++
}

// arrived says whether a rename to that place was seen lately. It may be
// wrong in saying yes.
func (m *renameLog) arrived(t *tree, n id, name []byte) bool {
	key := arrivalKey(t, n, name)
	for _, k := range m.arrivals {
		if k == key {
			return true
		}
	}
	return false
}

func arrivalKey(t *tree, n id, name []byte) uint64 {
	return maphash.Bytes(t.seed, name) ^ uint64(n)*0x9e3779b97f4a7c15 | 1
}
