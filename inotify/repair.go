package inotify

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// doomedAtOnce bounds how many watches are removed between two reads: each
// removal queues a record, and the queue has room for some thousands.
const doomedAtOnce = 512

// errStale says that another directory is where the tree has this one.
var errStale = errors.New("another directory has this path now")

// A doubt is what is to be done about a slot that is checked, beside making
// the tree agree with the disk.
type doubt uint8

const (
	sayThere doubt = 1 << iota // report what is there even if the tree has it
	sayGone                    // report that the directory is gone which was announced there
)

// recheck notes that what is under name in n is to be looked at when the
// queue is empty.
func (w *Watcher) recheck(n id, name []byte, why doubt) { w.rechecks[w.slot(n, name)] |= why }

// recheckGone is recheck when the end of what was there is reported.
func (w *Watcher) recheckGone(n id, name []byte) {
	s := w.slot(n, name)
	w.rechecks[s] &^= sayGone
}

func (w *Watcher) slot(n id, name []byte) slot {
	return slot{dir: n, wd: w.tree.nodes[n].wd, name: string(name)}
}

// repairAll does what had to wait until the queue was empty. It says whether
// to read again, because it may have queued records or uncovered more.
func (w *Watcher) repairAll() (again bool, err error) {
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
	w.checkSeal()
	switch {
	case w.overflow:
		w.overflow = false
		w.resync()
		return true, nil
	case w.repairRoots(), w.repairSlots(), w.repairMissed(), w.repairStatements():
		return true, nil
	case w.dropLost(), w.removeDoomed():
		return true, nil
	}
	if len(w.rescans) > 0 {
		w.rescanRoots()
		return true, nil
	}
	if w.files.dirty {
		w.scanMountedFiles(fileScan{fresh: true})
		return true, nil
	}
	if w.poll() {
		return true, nil
	}
	w.good = time.Now()
	w.short = len(w.blind.postponed) > 0
	return false, nil
}

// repairSlots looks at every slot in doubt. Slots of a directory in limbo
// wait for it.
func (w *Watcher) repairSlots() (worked bool) {
	if len(w.rechecks) == 0 {
		return false
	}
	todo := w.rechecks
	w.rechecks = map[slot]doubt{}
	for s, why := range todo {
		switch {
		case w.tree.nodes[s.dir].wd != s.wd:
			// The directory is gone, and the slot with it.
		case !w.tree.live(s.dir):
			w.rechecks[s] |= why
		default:
			w.repairSlot(s, why)
			worked = true
		}
	}
	return worked
}

// repairSlot makes the tree agree with the disk about one name.
func (w *Watcher) repairSlot(s slot, why doubt) {
	fd, err := w.openNode(s.dir, unix.O_PATH)
	if err != nil {
		w.misplaced(s, why, err)
		return
	}
	defer unix.Close(fd)
	name := []byte(s.name)
	child := w.tree.lookup(s.dir, name)
	st, err := inodeAt(fd, s.name)
	if err == nil && w.blind.replaced(s, st) {
		w.blind.remove(s.dir, s.name)
		w.emit(s.dir, name, Delete|IsDir, nil)
	}
	switch {
	case err != nil && !astray(err):
		w.unseen(s, why, &os.PathError{Op: "look at", Path: w.path(s.dir) + "/" + s.name, Err: err})
	case err == nil && st.kind == unix.DT_DIR && child != 0 && w.is(child, st):
		if why&sayThere != 0 {
			w.restate(child)
		}
	case err == nil && st.kind == unix.DT_DIR && child == 0 && why == 0 && (w.blind.holds(s, st) || w.skipped(s.dir, name)):
		// It is looked at anyway, or left out.
	case err == nil && st.kind == unix.DT_DIR && child == 0 && why == 0:
		w.crawlName(s.dir, fd, name, false) // an alias is no news
	case err == nil && st.kind == unix.DT_DIR:
		w.displace(s.dir, name, child)
		w.emit(s.dir, name, Create|IsDir, nil)
		w.crawlName(s.dir, fd, name, true)
	case child != 0:
		w.displace(s.dir, name, child)
		if err == nil {
			w.emitFound(s.dir, name)
		}
	case err == nil && why != 0:
		w.emitFound(s.dir, name)
	case why&sayGone != 0:
		w.emit(s.dir, name, Delete|IsDir, nil)
	}
}

// displace detaches child, which is not at name in n as the tree had it.
func (w *Watcher) displace(n id, name []byte, child id) {
	if child != 0 {
		w.leave(child, limbo{})
		w.emit(n, name, Delete|IsDir, nil)
	}
}

// restate has n, unless it is 0, reported as gone and there again, with all
// below it, once the queue is empty.
func (w *Watcher) restate(n id) {
	if n != 0 {
		w.restates[n] = struct{}{}
	}
}

// unsaid says whether n, or a directory above it, is to be reported anew.
func (w *Watcher) unsaid(n id) bool {
	if len(w.restates) == 0 {
		return false
	}
	for ; n != 0; n = w.tree.nodes[n].parent {
		if _, ok := w.restates[n]; ok {
			return true
		}
	}
	return false
}

// repairStatements reports anew what events left in doubt.
func (w *Watcher) repairStatements() (worked bool) {
	for n := range w.restates {
		if !w.tree.live(n) {
			continue
		}
		delete(w.restates, n)
		worked = true
		parent := w.tree.nodes[n].parent
		if w.unsaid(parent) {
			continue // it is said with what is above it
		}
		if parent != 0 {
			name := bytes.Clone(w.tree.nameOf(n))
			w.emit(parent, name, Delete|IsDir, nil)
			w.emit(parent, name, Create|IsDir, nil)
		}
		w.rescan(n)
	}
	return worked
}

// misplaced handles a directory that could not be opened under its path:
// then it is its own slot that is in doubt. A root that is not there is the
// kernel's to report.
func (w *Watcher) misplaced(s slot, why doubt, err error) {
	if !astray(err) {
		w.unseen(s, why, &os.PathError{Op: "look into", Path: w.path(s.dir), Err: err})
		return
	}
	if parent := w.tree.nodes[s.dir].parent; parent != 0 {
		w.recheck(parent, w.tree.nameOf(s.dir), 0)
		w.rechecks[s] |= why
	}
}

// unseen handles a slot that cannot be looked at for a reason that is not its
// own.
func (w *Watcher) unseen(s slot, why doubt, err error) {
	if exhausted(err) {
		w.postpone(err, func() { w.rechecks[s] |= why })
	} else {
		w.problem(err)
	}
}

// astray says whether err means that there is no directory of this path, or
// another.
func astray(err error) bool {
	return errors.Is(err, errStale) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// repairMissed scans the directories in which something happened while their
// path was not known or wrong.
func (w *Watcher) repairMissed() (worked bool) {
	for n := range w.missed {
		if !w.tree.live(n) {
			continue
		}
		delete(w.missed, n)
		w.scan(0, task{dir: n, report: true})
		worked = true
	}
	return worked
}

// dropLost gives up the directories that are nowhere in the tree: they were
// deleted, or renamed to a place outside, or were not where the tree had them
// and no record told where they are.
func (w *Watcher) dropLost() (worked bool) {
	for n, l := range w.limbo {
		if l.cookie != 0 && !l.awaited {
			w.awaitRename(l.from)
			l.awaited = true
			w.limbo[n] = l
		} else {
			w.drop(n)
		}
		worked = true
	}
	return worked
}

// awaitRename returns when the rename is over whose first half came from a
// directory: the kernel queues both halves while it holds the directory's
// lock, and reading a directory takes that lock too.
func (w *Watcher) awaitRename(from slot) {
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

// drop forgets n and all below it, and has their watches removed. A root that
// lies below stays.
func (w *Watcher) drop(n id) {
	w.files.dirty = w.files.dirty || len(w.files.at) > 0
	for _, x := range w.tree.subtree(nil, n) {
		if w.tree.nodes[x].flags&flagAnchor != 0 {
			w.leave(x, limbo{}) // with all that is below it
		}
	}
	list := w.tree.subtree(nil, n)
	for i := len(list) - 1; i >= 0; i-- {
		x := list[i]
		if w.tree.nodes[x].flags&flagAnchor == 0 && w.tree.nodes[x].child == 0 {
			if wd := w.tree.nodes[x].wd; wd != 0 {
				w.doomed = append(w.doomed, wd)
			}
			w.forget(x)
		}
	}
}

// removeDoomed removes some of the watches that nobody wants any more.
func (w *Watcher) removeDoomed() (worked bool) {
	some := min(len(w.doomed), doomedAtOnce)
	for _, wd := range w.doomed[:some] {
		if w.tree.byWd.get(wd) == 0 && w.ways.steps[wd] == 0 && len(w.files.byWd[wd])+len(w.rootFiles[wd]) == 0 { // nobody needs it after all
			unix.InotifyRmWatch(w.fd, uint32(wd)) // EINVAL: the kernel was first
		}
	}
	if w.doomed = w.doomed[some:]; len(w.doomed) == 0 {
		w.doomed = nil
	}
	return some > 0
}

// resync makes up for records that the kernel dropped because its queue was
// full: it looks at every directory again, and reports what has changed since
// the queue was last known to be complete. A name that vanished meanwhile is
// reported as a change of its directory.
func (w *Watcher) resync() {
	since := w.good.Add(-timeStep)
	now := time.Now()
	w.good = now
	w.doubtRoots(w.subs)
	w.repairRoots()
	w.round++
	var tasks []task
	for n := range w.anchors {
		w.emitRoot(n, Overflow|IsDir)
	}
	for n := range w.tops {
		w.tree.nodes[n].round = w.round
		tasks = append(tasks, task{dir: n, report: true, all: true, since: since.UnixNano()})
	}
	w.scan(workers, tasks...)
	w.sweep()
	w.scanMountedFiles(fileScan{fresh: true, since: since})
	w.resyncRootFiles(since)
	w.content.floor = max(w.content.floor, now.UnixNano())
}

// sweep takes every directory that a resync has not met out of the tree. Its
// watch may be gone without a word, for that is lost in an overflow too.
func (w *Watcher) sweep() {
	var rest []id
	for i := range w.tree.nodes {
		n := id(i)
		switch parent := w.tree.nodes[n].parent; {
		case w.met(n):
		case parent != 0 && w.met(parent):
			w.displace(parent, bytes.Clone(w.tree.nameOf(n)), n)
		default:
			rest = append(rest, n)
		}
	}
	for _, n := range rest {
		w.leave(n, limbo{})
	}
}

// met says whether the last resync has been at n, or need not have been.
func (w *Watcher) met(n id) bool {
	x := &w.tree.nodes[n]
	return x.wd == 0 || x.round == w.round || x.flags&flagTop != 0
}

// path is the path of n for messages.
func (w *Watcher) path(n id) string {
	var p strings.Builder
	p.WriteString(w.tops[w.tree.top(n)])
	for _, name := range w.tree.namesBelow(w.tree.top(n), n) {
		p.WriteString("/" + string(name))
	}
	return p.String()
}

// is says whether n is the directory that st describes.
func (w *Watcher) is(n id, st inode) bool {
	x := &w.tree.nodes[n]
	return x.ino == st.ino && w.devs[x.dev].is(st)
}

// sameAnchors says whether the same subscriptions begin above a and b.
func (w *Watcher) sameAnchors(a, b id) bool {
	if !w.before.find(a, nil) || !w.here.find(b, nil) || len(w.before.hits) != len(w.here.hits) {
		return false
	}
	for i := range w.here.hits {
		if w.here.hits[i].anchor != w.before.hits[i].anchor {
			return false
		}
	}
	return true
}
