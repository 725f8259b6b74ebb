package inotify

import (
	"hash/maphash"
	"slices"
	"time"
)

// upkeep is what the tree itself needs to hear of every directory.
const upkeep = Create | Delete | MovedFrom | MovedTo | Attrib

// A slot is a name in a directory. The watch descriptor tells a directory
// from a later one with the same id.
type slot struct {
	dir  id
	wd   int32
	name string
}

// limbo is what is known of a directory whose place is not. It is given up
// when the queue is empty and nobody has found it.
type limbo struct {
	cookie    uint32 // of the rename that took it away, from:
	from      slot   // without the name
	awaited   bool   // that rename is over
	by        id     // another was renamed to its place, and is still there
	exchanged bool   // and it was renamed in its turn: they changed places
}

// applyAll applies what one read returned and delivers what came of it.
func (w *Watcher) applyAll(buf []byte) error {
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
	return !w.overflow && !w.files.dirty && len(w.rescans)+len(w.astray)+len(w.missed)+len(w.rechecks)+len(w.restates)+len(w.limbo)+len(w.doomed) == 0 && !w.blind.due(), nil
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
	w.applyStep(rec)
	switch {
	case n == 0 && len(w.files.byWd[rec.wd])+len(w.rootFiles[rec.wd]) > 0:
		w.applyToFiles(w.files.byWd[rec.wd], rec)
		w.applyToRootFiles(w.rootFiles[rec.wd], rec)
	case n == 0:
		w.unseal(rec)
	case rec.mask&(Ignored|Unmount) != 0:
		w.ended(n, rec.mask)
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
	case w.tree.nodes[n].flags&flagAnchor == 0:
	case mask&(DeleteSelf|MoveSelf) != 0:
		for _, s := range w.anchors[n] {
			s.lost = mask & (DeleteSelf | MoveSelf)
		}
		w.doubtRoots(w.anchors[n])
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
		w.left(n, rec, false)
		w.recheckExchange(n, rec.name)
	case rec.mask&MovedTo != 0:
		w.emit(n, rec.name, rec.mask, w.origin(rec.cookie))
		w.moves.noteArrival(w.tree, n, rec.name)
	default:
		w.emit(n, rec.name, rec.mask, nil)
	}
	if rec.mask&(Create|Delete|MovedFrom|MovedTo) != 0 && w.tree.nodes[n].child != 0 {
		// A scan has met the directory that came later, or it is half an
		// exchange. Who follows the names takes it to be gone.
		w.restate(w.tree.lookup(n, rec.name))
	}
}

// recheckExchange has name in n, which was moved from, reported if it is
// there all the same: in an exchange (renameat2) it was moved to before.
func (w *Watcher) recheckExchange(n id, name []byte) {
	if w.moves.arrived(w.tree, n, name) {
		w.recheck(n, name, sayThere)
	}
}

// applyDir handles an event of a directory in the directory n.
func (w *Watcher) applyDir(n id, rec record) {
	child := w.tree.lookup(n, rec.name)
	switch {
	case rec.mask&Create != 0:
		w.emit(n, rec.name, rec.mask, nil)
		w.arrive(n, rec.name, true)
	case rec.mask&Delete != 0:
		w.emit(n, rec.name, rec.mask, nil)
		w.leave(child, limbo{})
		w.blind.remove(n, string(rec.name))
		w.recheckGone(n, rec.name)
	case rec.mask&MovedFrom != 0:
		w.emit(n, rec.name, rec.mask, nil)
		blind := w.blind.remove(n, string(rec.name))
		w.left(n, rec, child != 0 || blind || w.unsaid(n))
		w.movedFrom(child, limbo{cookie: rec.cookie, from: slot{dir: n, wd: rec.wd}})
		w.recheckGone(n, rec.name)
		w.recheckExchange(n, rec.name)
	case rec.mask&MovedTo != 0:
		w.movedTo(n, rec)
	case rec.mask&Attrib != 0:
		w.emit(n, rec.name, rec.mask, nil)
		w.readable(n, child, rec.name)
	default:
		w.emit(n, rec.name, rec.mask, nil)
	}
}

// movedFrom detaches the directory that left. When another took its place
// just before, and it was not deleted by that, then the two are exchanged
// (renameat2) and it is the other that stays.
func (w *Watcher) movedFrom(child id, why limbo) {
	if w.unsaid(child) {
		w.restate(child) // what it takes along is not what it holds
	}
	for n, l := range w.limbo {
		if l.by == child && child != 0 {
			// Who follows the names alone takes one of the two to be gone.
			w.restate(child)
			w.restate(n)
			why.by, why.exchanged = child, true
			w.limbo[n] = why
			return
		}
	}
	w.leave(child, why)
}

// movedTo handles a directory's new name. One that nobody knows is new, with
// all that is in it.
func (w *Watcher) movedTo(n id, rec record) {
	w.moves.noteArrival(w.tree, n, rec.name)
	if moved := w.inLimbo(rec.cookie); moved != 0 && !w.tree.above(moved, n) {
		w.relabel(moved, n, rec)
		return
	}
	from := w.origin(rec.cookie)
	if from != nil && from.full {
		from = nil // what the reader would take along is not what will be found
	}
	w.emit(n, rec.name, rec.mask, from)
	w.leave(w.tree.lookup(n, rec.name), limbo{}) // if a scan was faster than its record
	w.arrive(n, rec.name, true)
}

// relabel puts the directory that left under the same cookie in its new place,
// with all below it.
func (w *Watcher) relabel(moved, n id, rec record) {
	l := w.limbo[moved]
	w.settleIn(moved, n, rec.name)
	from := w.origin(rec.cookie) // it may have gone with what was replaced
	w.emit(n, rec.name, rec.mask, from)
	w.recheck(n, rec.name, 0)
	switch {
	case w.skipped(n, rec.name):
		w.drop(moved)
	case !l.exchanged && (from == nil || !w.sameAnchors(from.dir, n)):
		w.restate(moved) // it is new to somebody
	}
}

// settleIn puts the detached directory n into parent. What the tree has there
// was replaced: a rename over an empty directory says no more than that.
func (w *Watcher) settleIn(n, parent id, name []byte) {
	delete(w.limbo, n)
	w.blind.remove(parent, string(name))
	if old := w.tree.lookup(parent, name); old != 0 {
		w.leave(old, limbo{by: n})
	}
	w.tree.attach(n, parent, name)
}

// leave detaches n because it is not where it was. Its watch stays for the
// time being, for n may be found elsewhere.
func (w *Watcher) leave(n id, why limbo) {
	if n == 0 {
		return
	}
	w.tree.detach(n)
	switch x := &w.tree.nodes[n]; {
	case x.wd == 0:
		w.forget(n)
	case x.flags&flagAnchor != 0:
		w.makeTop(n)
	default:
		w.limbo[n] = why
	}
}

// inLimbo finds the directory that left in the rename with that cookie.
func (w *Watcher) inLimbo(cookie uint32) id {
	for n, l := range w.limbo {
		if l.cookie == cookie && cookie != 0 {
			return n
		}
	}
	return 0
}

// ended handles the end of a watch: the directory was deleted or unmounted.
// What is below it lost its place.
func (w *Watcher) ended(n id, mask Mask) {
	if mask&Unmount != 0 {
		w.emit(n, nil, mask|IsDir, nil)
		return // IN_IGNORED follows
	}
	for c := w.tree.nodes[n].child; c != 0; c = w.tree.nodes[n].child {
		w.leave(c, limbo{})
	}
	for _, s := range slices.Clone(w.anchors[n]) {
		w.loseRoot(s)
		w.astray[s] = struct{}{}
	}
	parent := w.tree.nodes[n].parent
	if parent == 0 {
		w.forget(n)
		return
	}
	// The parent's record of its end comes after this one. Should the tree
	// have it at a wrong place, then the check removes it.
	w.recheck(parent, w.tree.nameOf(n), 0)
	delete(w.missed, n)
	delete(w.restates, n)
	w.tree.kill(n)
}

// forget removes a node that has no children and no watch any more.
func (w *Watcher) forget(n id) {
	delete(w.limbo, n)
	delete(w.missed, n)
	delete(w.restates, n)
	w.blind.forget(n)
	w.tree.remove(n)
}

// left notes where the rename in rec takes something away, and whether the
// reader may know of anything below it.
func (w *Watcher) left(n id, rec record, full bool) {
	o := w.moves.left(n, rec)
	o.full = full
	if w.before.find(n, rec.name) {
		o.path = w.before.key()
	}
}

// origin is the place that the rename with that cookie left, or nil. It is
// valid until the next rename. Nil is also the answer when the MovedFrom event
// had no path or another one than the place has by now.
func (w *Watcher) origin(cookie uint32) *origin {
	o := w.moves.take(cookie)
	if o == nil || o.path == 0 || w.tree.byWd.get(o.wd) != o.dir ||
		!w.before.find(o.dir, o.name) || w.before.key() != o.path {
		return nil
	}
	return o
}

// An origin is the old place in a rename.
type origin struct {
	dir    id
	wd     int32
	cookie uint32
	name   []byte
	path   uint64 // the locator's key when it left; 0 when nobody knew the path
	full   bool   // the reader takes something along
}

// recentMoves remembers the last renames: where they came from, for the
// cookie of their other half, and where they went, to notice exchanges. The
// halves of one rename are at most a few records apart.
type recentMoves struct {
	from     [16]origin
	next     int
	arrivals [64]uint64
	nextTo   int
}

func (m *recentMoves) left(n id, rec record) *origin {
	o := &m.from[m.next%len(m.from)]
	m.next++
	*o = origin{dir: n, wd: rec.wd, cookie: rec.cookie, name: append(o.name[:0], rec.name...)}
	return o
}

func (m *recentMoves) take(cookie uint32) *origin {
	for i := range m.from {
		if m.from[i].cookie == cookie && cookie != 0 {
			return &m.from[i]
		}
	}
	return nil
}

func (m *recentMoves) noteArrival(t *tree, n id, name []byte) {
	m.arrivals[m.nextTo%len(m.arrivals)] = arrivalKey(t, n, name)
	m.nextTo++
}

// arrived says whether a rename to that place was seen lately. It may be
// wrong in saying yes.
func (m *recentMoves) arrived(t *tree, n id, name []byte) bool {
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
