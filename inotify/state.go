package inotify

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/execlog/execlogd/inotify/internal/dirtree"
	"github.com/execlog/execlogd/internal/statelog"
)

// This file is for restarts that lose nothing: the inotify instance outlives the process in the
// descriptor store of systemd, and the file of Options.State holds what the Watcher knows. The
// kernel's records are read into memory that this file shares, and the file is brought up to date
// before they are overwritten. So it makes no difference how the process ends.

// A record of the file begins with its kind.
const (
	changesOfTree   = 'T' // uvarint length of the roots, or 0 if they are as they were, roots, changes of the tree
	recordsOfKernel = 'R' // which are to be applied to the tree once more
)

// maxKeptRecords bounds the bytes of the kernel's records that are saved while there is work to do. When
// there are more, everything is scanned instead.
const maxKeptRecords = 16 << 20

// The shared memory of the file holds three words and the buffer into which records are read. The
// records in the buffer are not finished unless it begins with a word that is 0.
const (
	pendingWord    = 0  // not 0 while the tree may not be what the records say
	consistentWord = 8  // Watcher.consistent, in ns since 1970
	workWord       = 16 // not 0 while there is work to do, or state.mayHaveUnknown or Watcher.renamedAnew says so
	sharedBuffer   = 4 << 10
)

// maxDevices is how many devices the nodes of a tree can tell apart; see dirtree.Node.
const maxDevices = 1 << 16

var errState = errors.New("the state of the watcher is damaged")

// A state keeps the file of Options.State. Without one, log is nil.
type state struct {
	log    *statelog.Log
	failed bool   // the log cannot be written
	roots  []byte // what appendRoots returned when it was written last
	record []byte // to be used again

	rootIDs []dirtree.ID // to be used again

	isPending, consistent, hasWork, firstRecord *atomic.Uint64 // words of the shared memory

	savedUnreadable []byte // what appendEntries returned for the directories that cannot be read
	savedVersion    uint64 // unwatchedDirs.version for which it is

	used        int // bytes of the buffer that may not be zero
	keptRecords int // bytes of the kernel's records that were saved since the tree was

	// Of the process before:
	unfinished [][]byte    // records of the kernel, until they are read
	saved      []savedRoot // its subscriptions that were not added again, until Run
	resumed    bool        // that it had any, until Run
	mounts     []dirEntry  // its mount points in the tree, until Run
	unreadable []dirEntry  // its directories that could not be read, until the end of New
	resumption Resumption
	unused     error // why the resumption is not a better one

	// Directories to be given to pruneSkipped by Run, when all subscriptions are there that the
	// process before had.
	unpruned []dirtree.ID

	mayHaveUnknown bool // the instance may have watches that nobody needs
	watchList      *os.File
	watchLines     *bufio.Scanner
}

// A savedRoot is the root of a subscription of the process before.
type savedRoot struct {
	path, skipKey string
	dir           dirtree.ID // 0 if there was none, or a file
	ino           uint64     // of the file, or 0
	wd            int32      // of the file; 0 if it was polled
}

// loadState makes the tree and the roots of the records in the file. After an error nothing has
// changed.
func (w *Watcher) loadState(records [][]byte) error {
	if len(records) == 0 {
		return nil
	}
	// The last roots count, all changes of the tree, and the kernel's records after the last of those.
	var roots []byte
	var changes, unfinished [][]byte
	for _, r := range records {
		kind := r[0]
		r = r[1:]
		if kind == recordsOfKernel {
			unfinished = append(unfinished, r)
			continue
		}

		unfinished = nil
		length, n := binary.Uvarint(r)
		if n <= 0 || length > uint64(len(r)-n) {
			return errState
		}
		if r = r[n:]; length > 0 {
			roots = r[:length]
		}
		changes = append(changes, r[length:])
	}

	d := statelog.Decoder{Rest: roots}
	mask := Mask(d.Uvarint())
	devices := make([]device, min(d.Count(3), maxDevices))
	for i := range devices {
		devices[i] = device{major: uint32(d.Uvarint()), minor: uint32(d.Uvarint()), countsSubdirs: d.Uvarint() == 1}
	}
	rootPaths := map[dirtree.ID]string{}
	for range d.Count(2) {
		n := dirtree.ID(d.Uvarint())
		rootPaths[n] = d.String()
	}
	saved := make([]savedRoot, d.Count(5))
	for i := range saved {
		saved[i] = savedRoot{
			path: d.String(), skipKey: d.String(), dir: dirtree.ID(d.Uvarint()),
			ino: d.Uvarint(), wd: int32(d.Uvarint()),
		}
	}
	mounts, unreadable := cutEntries(&d), cutEntries(&d)
	tree, err := dirtree.Load(changes, len(devices))
	if d.Bad || len(d.Rest) > 0 || err != nil {
		return errors.Join(errState, err)
	}

	// A root that is polled is not in the tree: it is added as if it were new.
	maps.DeleteFunc(rootPaths, func(n dirtree.ID, _ string) bool { return !tree.Contains(n) || !tree.Has(n, dirtree.Root) })
	saved = slices.DeleteFunc(saved, func(r savedRoot) bool { return r.dir != 0 && !tree.Contains(r.dir) })
	for n := range tree.All() {
		if _, ok := rootPaths[n]; tree.Has(n, dirtree.Root) && !ok {
			return errState
		}
	}
	w.setTree(tree)
	w.mask, w.devices, w.rootPaths = mask|internalMask, devices, rootPaths
	w.state.roots, w.state.saved, w.state.unfinished = bytes.Clone(roots), saved, unfinished // the records are large
	w.state.mounts, w.state.unreadable = mounts, unreadable
	w.consistent = time.Unix(0, int64(w.state.consistent.Load()))
	w.content.floor = w.consistent.UnixNano()
	return nil
}

func cutEntries(d *statelog.Decoder) []dirEntry {
	entries := make([]dirEntry, d.Count(2))
	for i := range entries {
		entries[i] = dirEntry{dir: dirtree.ID(d.Uvarint()), name: d.String()}
	}
	return entries
}

func appendEntries(b []byte, entries []dirEntry) []byte {
	b = binary.AppendUvarint(b, uint64(len(entries)))
	for _, e := range entries {
		b = statelog.AppendString(binary.AppendUvarint(b, uint64(e.dir)), e.name)
	}
	return b
}

// appendRoots appends everything but the tree, as loadState takes it apart.
func (w *Watcher) appendRoots(b []byte) []byte {
	appendString := func(s string) { b = statelog.AppendString(b, s) }

	b = binary.AppendUvarint(b, uint64(w.mask))
	b = binary.AppendUvarint(b, uint64(len(w.devices)))
	for _, d := range w.devices {
		b = binary.AppendUvarint(b, uint64(d.major))
		b = binary.AppendUvarint(b, uint64(d.minor))
		counts := byte(0)
		if d.countsSubdirs {
			counts = 1
		}
		b = append(b, counts)
	}

	b = binary.AppendUvarint(b, uint64(len(w.rootPaths)))
	ids := w.state.rootIDs[:0]
	for n := range w.rootPaths {
		ids = append(ids, n)
	}
	slices.Sort(ids)
	w.state.rootIDs = ids
	for _, n := range ids {
		b = binary.AppendUvarint(b, uint64(n))
		appendString(w.rootPaths[n])
	}
	b = binary.AppendUvarint(b, uint64(len(w.state.saved)+len(w.subs)))
	appendRoot := func(r savedRoot) {
		appendString(r.path)
		appendString(r.skipKey)
		b = binary.AppendUvarint(b, uint64(r.dir))
		b = binary.AppendUvarint(b, r.ino)
		b = binary.AppendUvarint(b, uint64(r.wd))
	}
	for _, r := range w.state.saved {
		appendRoot(r)
	}
	for _, s := range w.subs {
		r := savedRoot{path: s.root, skipKey: s.SkipKey, dir: s.dir}
		if s.file != nil {
			r.ino, r.wd = s.file.inode.Ino, s.file.wd
		}
		appendRoot(r)
	}

	if s := &w.state; s.savedUnreadable == nil || s.savedVersion != w.unwatched.version {
		s.savedUnreadable, s.savedVersion = appendEntries(s.savedUnreadable[:0], w.unwatched.unreadable()), w.unwatched.version
	}
	return append(appendEntries(b, w.mounts), w.state.savedUnreadable...)
}

// save brings the file up to date, and marks the records in the buffer as finished. All events that
// they have led to must have been delivered. While they have left work to do, they themselves are
// saved, to be applied once more to the tree of before. mu must be held.
func (w *Watcher) save() {
	s := &w.state
	if s.log == nil || len(s.unfinished) > 0 {
		return
	}

	isQueued := slices.ContainsFunc(w.subs, func(s *subscriber) bool { return len(s.queued) > 0 })
	var err error
	if isQueued || !w.pending.empty() {
		s.hasWork.Store(1) // before the work adds watches of which no record tells
		err = s.saveRecords(w.kernel.buf[:s.used])
	} else {
		// What the tree does not tell must be there before the tree is.
		isPolling := w.unwatched.polled+len(w.unwatched.retries) > 0 || w.limitReported
		if isPolling {
			store(s.isPending, true)
		}
		if err = w.saveTree(); err == nil {
			store(s.isPending, isPolling)
			store(s.hasWork, s.mayHaveUnknown || w.renamedAnew)
			s.consistent.Store(uint64(w.consistent.UnixNano()))
		}
	}
	if err != nil && !s.failed {
		s.failed = true
		w.problem(fmt.Errorf("the next start will not know what has happened before it: %w", err))
	}
	w.finishRecords()
}

// saveRecords appends a record of the file that holds records of the kernel.
func (s *state) saveRecords(buf []byte) error {
	s.keptRecords += len(buf)
	switch {
	case len(buf) == 0:
		return nil
	case s.keptRecords > maxKeptRecords:
		store(s.isPending, true)
		return nil
	}
	s.record = append(append(s.record[:0], recordsOfKernel), buf...)
	return s.log.Append(s.record)
}

// saveTree appends a record of the file that says what has changed in the roots and the tree.
func (w *Watcher) saveTree() error {
	s := &w.state
	var roots []byte
	s.record = w.appendRoots(s.record[:0])
	if !bytes.Equal(s.record, s.roots) {
		s.roots = bytes.Clone(s.record)
		roots = s.roots
	}

	hadRecords := s.keptRecords > 0
	s.keptRecords = 0
	if s.log.Grown() {
		s.record = append(binary.AppendUvarint(append(s.record[:0], changesOfTree), uint64(len(s.roots))), s.roots...)
		return s.log.Rewrite(w.tree.AppendAll(s.record))
	}
	s.record = append(binary.AppendUvarint(append(s.record[:0], changesOfTree), uint64(len(roots))), roots...)
	before := len(s.record)
	s.record = w.tree.AppendChanges(s.record)
	if len(roots) == 0 && len(s.record) == before && !hadRecords {
		return nil
	}
	return s.log.Append(s.record)
}

// store makes a word of the shared memory 1 for true, and 0 for false.
func store(word *atomic.Uint64, is bool) {
	value := uint64(0)
	if is {
		value = 1
	}
	word.Store(value)
}

func (s *state) close() error {
	if s.log == nil {
		return nil
	}
	if s.watchList != nil {
		s.watchList.Close()
	}
	return s.log.Close()
}

// finishRecords marks the records in the buffer as finished.
func (w *Watcher) finishRecords() {
	s := &w.state
	if s.firstRecord.Load() != 0 {
		s.firstRecord.Store(0) // before the rest, of which nothing counts from here on
		clear(w.kernel.buf[:s.used])
	}
	s.used = 0
}

// unfinishedSize returns how many bytes of records buf begins with. What follows them is zero.
func unfinishedSize(buf []byte) (size int) {
	for {
		rec, n, err := cutRecord(buf[size:])
		if err != nil || rec.wd == 0 {
			return size
		}
		size += n
	}
}
