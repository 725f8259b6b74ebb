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
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify/internal/dirfd"
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
	unknownWord    = 16 // state.mayHaveUnknown, not 0 for true
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

	isPending, consistent, hasUnknown, firstRecord *atomic.Uint64 // words of the shared memory

	used        int // bytes of the buffer that may not be zero
	keptRecords int // bytes of the kernel's records that were saved since the tree was

	// Of the process before:
	unfinished [][]byte    // records of the kernel, until they are read
	saved      []savedRoot // its subscriptions that were not added again, until Run
	resumed    bool        // that it had any, until Run

	// isReplay says that some events may come for the second time. A subscriber cannot take along
	// twice what is in a directory that is renamed, so that is reported anew.
	isReplay       bool
	mayHaveUnknown bool // the instance may have watches that nobody needs
	watchList      *os.File
	watchLines     *bufio.Scanner
}

// A savedRoot is the root of a subscription of the process before.
type savedRoot struct {
	path, skipKey string
	dir           dirtree.ID // 0 if there was none, or a file
}

// Instance returns a duplicate of the descriptor of the inotify instance, which is close-on-exec
// and belongs to the caller. It is meant for Options.Instance of a later process, and must not be
// read before.
func (w *Watcher) Instance() (*os.File, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, ErrClosed
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
	s.hasUnknown, s.firstRecord = log.Word(unknownWord), log.Word(sharedBuffer)
	w.kernel.buf = log.Shared()[sharedBuffer : sharedBuffer+len(w.kernel.buf)]
	s.used = unfinishedSize(w.kernel.buf)
	clear(w.kernel.buf[s.used:])

	if err := w.loadState(records); err != nil || len(w.rootPaths) == 0 {
		w.tree.Track()
		w.finishRecords()
		return false, s.log.Rewrite()
	}
	s.resumed = true
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
		s.isReplay = len(s.unfinished) > 0
		s.mayHaveUnknown = s.isReplay || w.pending.overflow || s.hasUnknown.Load() != 0
		store(s.hasUnknown, s.mayHaveUnknown)
		return false, nil
	}

	if w.kernel.fd >= 0 {
		unix.Close(w.kernel.fd)
		w.kernel.fd = -1
	}
	s.unfinished = nil
	store(s.isPending, true)
	w.finishRecords()
	return true, nil
}

// loadState makes the tree and the roots of the records in the file. After an error nothing has
// changed.
func (w *Watcher) loadState(records [][]byte) error {
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

	d := stateDecoder{rest: roots}
	mask := Mask(d.uvarint())
	devices := make([]device, min(d.count(3), maxDevices))
	for i := range devices {
		devices[i] = device{major: uint32(d.uvarint()), minor: uint32(d.uvarint()), countsSubdirs: d.uvarint() == 1}
	}
	rootPaths := map[dirtree.ID]string{}
	for range d.count(2) {
		n := dirtree.ID(d.uvarint())
		rootPaths[n] = d.string()
	}
	saved := make([]savedRoot, d.count(3))
	for i := range saved {
		saved[i] = savedRoot{path: d.string(), skipKey: d.string(), dir: dirtree.ID(d.uvarint())}
	}
	tree, err := dirtree.Load(changes, len(devices))
	if d.bad || len(d.rest) > 0 || err != nil {
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
	w.state.roots, w.state.saved, w.state.unfinished = roots, saved, unfinished
	w.consistent = time.Unix(0, int64(w.state.consistent.Load()))
	w.content.floor = w.consistent.UnixNano()
	return nil
}

// A stateDecoder takes the roots apart. After an error it returns zeros.
type stateDecoder struct {
	rest []byte
	bad  bool
}

func (d *stateDecoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.rest, d.bad = nil, true
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// count takes the count of things that take at least size bytes each.
func (d *stateDecoder) count(size int) int {
	n := d.uvarint()
	if n > uint64(len(d.rest)/size) {
		d.rest, d.bad = nil, true
		return 0
	}
	return int(n)
}

func (d *stateDecoder) string() string {
	n := d.count(1)
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

// appendRoots appends everything but the tree, as loadState takes it apart.
func (w *Watcher) appendRoots(b []byte) []byte {
	appendString := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }

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
	for _, n := range slices.Sorted(maps.Keys(w.rootPaths)) {
		b = binary.AppendUvarint(b, uint64(n))
		appendString(w.rootPaths[n])
	}
	b = binary.AppendUvarint(b, uint64(len(w.subs)))
	for _, sub := range w.subs {
		appendString(sub.root)
		appendString(sub.SkipKey)
		b = binary.AppendUvarint(b, uint64(sub.dir))
	}
	return b
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
		err = s.saveRecords(w.kernel.buf[:s.used])
	} else if err = w.saveTree(); err == nil {
		isPolling := len(w.unwatched.dirs)+len(w.unwatched.retries) > 0 || w.limitReported
		store(s.isPending, isPolling)
		store(s.hasUnknown, s.mayHaveUnknown)
		s.consistent.Store(uint64(w.consistent.UnixNano()))
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
	s.keptRecords, s.isReplay = 0, false
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
	if s := &w.state; s.firstRecord.Load() != 0 {
		s.firstRecord.Store(0) // before the rest, of which nothing counts from here on
		clear(w.kernel.buf[:s.used])
	}
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
	return true
}

// isUnwatched reports whether the instance had no watch on the directory open as fd, and may add one.
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
// none, and has everything scanned.
func (w *Watcher) rewatch() {
	w.pending.overflow = true
	w.tree.EndWatches()
	w.renumberDevices()

	var lost []dirtree.ID
	for root := range w.rootPaths {
		for _, n := range w.tree.Subtree(root) {
			if !w.rewatchDir(n) {
				lost = append(lost, n)
			}
		}
	}
	for _, n := range slices.Backward(lost) {
		w.watchEnded(n, Ignored)
	}
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
	if root.dir != 0 {
		w.setRoot(s, root.dir)
	}
	w.watchComponents(s)
	if s.dir == 0 && w.watchRootFile(s) != nil {
		w.pending.resolve(s)
	}
	if s.dir != 0 && s.SkipKey != root.skipKey {
		w.pruneSkipped(s.dir)
		w.pending.skipChecks = append(w.pending.skipChecks, s.Root)
	}
	w.compareMountedFiles(false) // so that what is queued of them is understood
	return true
}

// dropSaved stops to watch what the process before has watched and nobody has added again.
func (w *Watcher) dropSaved() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.state.resumed {
		return
	}
	w.state.saved, w.state.resumed = nil, false
	for n := range w.rootPaths {
		if len(w.subscribed[n]) == 0 {
			w.tree.SetFlags(n, 0, dirtree.Root)
			delete(w.rootPaths, n)
			w.dropSubtree(n)
		}
	}
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
