package inotify

// This file and state_snapshot.go are for restarts that lose nothing: the inotify instance and
// a table of its watches outlive the process, in the descriptor store of systemd. Nothing in the
// daemon calls Handover and Resume yet. The change that makes the daemon keep its state over a
// restart wires them in, or replaces them.

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify/internal/dirfd"
	"github.com/execlog/execlogd/inotify/internal/dirtree"
)

// handoverTime is how long a Handover waits for an empty queue.
const handoverTime = time.Second

// A handover is what Handover and Resume need of a Watcher that runs.
type handover struct {
	underway bool               // Handover was called
	stop     context.CancelFunc // ends Run, if it was ever called

	// sentinel is the watch that a Handover has removed after all others. Its
	// IN_IGNORED record is the last of what Resume has to read. 0 when that was
	// read, or none is expected.
	sentinel int32
}

// apply handles a record of a watch that is not known.
func (h *handover) apply(rec record) {
	if rec.wd == h.sentinel && rec.mask&Ignored != 0 {
		h.sentinel = 0
	}
}

// recordsMissing reports whether records are missing, when the queue is empty: the sentinel must
// have been among them, or another process has read the queue.
func (h *handover) recordsMissing() bool {
	missing := h.sentinel != 0
	h.sentinel = 0
	return missing
}

// setStop has Handover call stop to end Run. It returns false when the Watcher is closed, or is
// about to be.
func (w *Watcher) setStop(stop context.CancelFunc) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.handover.stop = stop
	return !w.closed && !w.handover.underway
}

// isClosing reports whether the Watcher is closed, or is about to be.
func (w *Watcher) isClosing() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed || w.handover.underway
}

// Handover ends the Watcher as Close does, but its inotify instance lives on. The file is a
// duplicate of its descriptor (close-on-exec, to be closed by the caller), the bytes are a
// snapshot of the table of its watches. Resume in this or another process goes on with both.
// What happens in between waits in the kernel's queue, which must not be read until then. The
// snapshot is good for one Resume, on this machine and until it is booted again.
//
// What is queued is read and delivered first, by Run or, when none is under way, by Handover. A
// Run under way then returns nil. If there is no end to it within a second, the rest stays queued
// and Resume scans all trees. Deliver must not call Handover. It returns ErrClosed when the Watcher
// is closed; after any other error the Watcher is closed, and the instance with it.
func (w *Watcher) Handover() (*os.File, []byte, error) {
	w.mu.Lock()
	if w.closed || w.handover.underway {
		w.mu.Unlock()
		return nil, nil, ErrClosed
	}
	w.handover.underway = true
	if w.handover.stop != nil {
		w.handover.stop()
	}
	w.mu.Unlock()

	w.running.Lock()
	file, state, err := w.saveState()
	w.running.Unlock()
	if err != nil {
		err = fmt.Errorf("hand inotify state over: %w", err)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		if file != nil {
			file.Close()
		}
		return nil, nil, err
	}
	return file, state, nil
}

// saveState is Handover while nothing reads.
func (w *Watcher) saveState() (*os.File, []byte, error) {
	boot, err := bootID()
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), handoverTime)
	defer cancel()
	if err := w.drain(ctx); err != nil {
		return nil, nil, err
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, nil, ErrClosed
	}
	sentinel, err := w.kernel.addSentinel()
	if err != nil {
		return nil, nil, err
	}
	s := w.snapshot()
	s.boot, s.sentinel = boot, sentinel
	s.intact = s.intact && ctx.Err() == nil
	fd, err := unix.FcntlInt(uintptr(w.kernel.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), "inotify"), s.encode(), nil
}

// addSentinel puts a record at the end of the kernel's queue: the IN_IGNORED of a watch on a file
// that is used for nothing else.
func (in *instance) addSentinel() (wd int32, err error) {
	file, err := unix.MemfdCreate("execlogd-sentinel", unix.MFD_CLOEXEC)
	if err != nil {
		return 0, os.NewSyscallError("memfd_create", err)
	}
	defer unix.Close(file)
	if wd, err = in.watch(file, "", unix.IN_ATTRIB); err != nil {
		return 0, os.NewSyscallError("inotify_add_watch", err)
	}
	_, err = unix.InotifyRmWatch(in.fd, uint32(wd))
	return wd, os.NewSyscallError("inotify_rm_watch", err)
}

// snapshot returns what w knows. It shares the tree with w.
func (w *Watcher) snapshot() *snapshot {
	s := &snapshot{
		intact:     !w.limitReported && len(w.unwatched.dirs)+len(w.unwatched.retries) == 0,
		consistent: w.consistent,
		mask:       w.mask,
		devices:    w.devices,
		tree:       w.tree,
		rootPaths:  w.rootPaths,
		others:     slices.Clone(w.pending.unwanted),
	}

	for n := range w.tree.All() {
		switch wd := w.tree.Node(n).WD; {
		case wd > 0 && !w.tree.Reachable(n):
			s.others = append(s.others, wd)
		case wd <= 0 && w.tree.Parent(n) != 0:
			s.intact = false
		}
	}
	for wd := range w.components {
		s.others = append(s.others, wd)
	}

	// The last poll of a polled file is not saved.
	addFile := func(wd int32) {
		if wd == 0 {
			s.intact = false
		} else {
			s.others = append(s.others, wd)
		}
	}
	for _, f := range w.mountedFiles.at {
		addFile(f.wd)
	}
	for _, sub := range w.subs {
		if sub.file != nil {
			addFile(sub.file.wd)
		}
		root := savedRoot{path: sub.root, mask: sub.Mask}
		if sub.dir != 0 && w.tree.Reachable(sub.dir) {
			root.dir = sub.dir
		}
		s.roots = append(s.roots, root)
	}
	slices.Sort(s.others)
	return s
}

// Resume goes on where another Watcher ended with Handover, most often in a process that is gone.
// The file is left to the caller, who closes it in any case. Nothing is delivered before Run.
//
// The subscriptions are given again. Those whose Root and Mask the other Watcher had go on: they
// get all that happened meanwhile, in the kernel's order, as if there had been one Watcher. Their
// SkipDir must answer as it did. Others are added as by Add, and what no subscription asks for any
// more is not watched any longer. A root of before that is missing now is no error: its end is
// reported, and it is watched when it comes back.
//
// Snapshot and instance are compared with each other and with the roots. Where something does not
// fit, or records are missing, the trees are scanned, and what has changed since the snapshot is
// reported after an Overflow event, as if the queue had been full. A directory whose watch is gone
// without a record is reported anew with all in it. A forged snapshot that agrees with the file
// system is not noticed; keep it where only its owner can write.
//
// The error is ErrSnapshot, wrapped, when the snapshot cannot be used; or as of New; or as of Add
// for a subscription that is new. With a *LimitError of the latter the Watcher is returned as well.
func Resume(opts Options, inotify *os.File, state []byte, subs ...Subscription) (*Watcher, error) {
	s, err := decodeSnapshot(state)
	if err == nil {
		var boot [16]byte
		if boot, err = bootID(); err == nil && boot != s.boot {
			err = fmt.Errorf("%w: it is of boot %x, this is boot %x", ErrSnapshot, s.boot, boot)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("resume inotify state: %w", err)
	}

	w := newWatcher(opts)
	if w.kernel.fd, err = dupInstance(inotify); err == nil {
		err = w.kernel.open()
	}
	if err == nil {
		w.mountPoints = mountPoints()
		err = w.resume(s, subs)
	}

	if _, limited := errors.AsType[*LimitError](err); err != nil && !(limited && w.handover.sentinel != 0) {
		w.kernel.close()
		return nil, err
	}
	return w, err
}

// bootID returns the number of this boot of the kernel (random(4)).
func bootID() (boot [16]byte, err error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return boot, err
	}
	digits := strings.ReplaceAll(strings.TrimSpace(string(text)), "-", "")
	if n, err := hex.Decode(boot[:], []byte(digits[:min(len(digits), 32)])); err != nil || n != len(boot) {
		return boot, fmt.Errorf("boot id %q is no UUID", text)
	}
	return boot, nil
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
		return -1, fmt.Errorf("resume inotify state: %s is no inotify instance: %q", file.Name(), what)
	}
	return fd, os.NewSyscallError("fcntl", unix.SetNonblock(fd, true))
}

// resume takes over what s has.
func (w *Watcher) resume(s *snapshot, subs []Subscription) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mask, w.devices, w.consistent = s.mask|internalMask, s.devices, s.consistent
	w.setTree(s.tree)
	w.pending.overflow = !s.intact
	w.content.floor = s.consistent.UnixNano()

	fits, err := w.compareWatches(s.others)
	if err != nil {
		return err
	}
	added, err := w.restoreRoots(s, subs)
	if err != nil {
		return err
	}
	for n := range s.rootPaths {
		if len(w.subscribed[n]) == 0 {
			w.dropSubtree(n)
		}
	}
	if !fits || !w.watchesRoots() {
		w.rewatch()
	}
	w.handover.sentinel = s.sentinel

	var limits error
	for _, sub := range added {
		err := w.subscribe(sub)
		if _, limited := errors.AsType[*LimitError](err); err != nil && !limited {
			return err
		}
		limits = errors.Join(limits, err)
	}
	w.mountsChanged()
	w.compareMountedFiles(false) // so that what is queued of them is understood
	return limits
}

// restoreRoots gives the subscriptions the roots that they had, and returns those that had none.
func (w *Watcher) restoreRoots(s *snapshot, subs []Subscription) (added []*subscriber, err error) {
	roots := slices.Clone(s.roots)
	for _, asked := range subs {
		path, err := filepath.Abs(asked.Root)
		if err != nil {
			return nil, fmt.Errorf("watch %q: %w", asked.Root, err)
		}
		sub := newSubscriber(asked, path)
		i := slices.IndexFunc(roots, func(r savedRoot) bool { return r.path == path && r.mask == sub.Mask })
		if i < 0 {
			added = append(added, sub)
			continue
		}

		w.subs = append(w.subs, sub)
		if n := roots[i].dir; n != 0 {
			w.setRoot(sub, n)
		}
		w.watchComponents(sub)
		if sub.dir == 0 {
			_ = w.watchRootFile(sub) // if it is one; otherwise the root is resolved later
		}
		roots = slices.Delete(roots, i, i+1)
	}
	return added, nil
}

// compareWatches compares the tree with the watches that the kernel has, and reports whether they
// are of the same instance. A watch may be missing, for the record of its end must be in the queue;
// one that is not known may not be there.
func (w *Watcher) compareWatches(others []int32) (fits bool, err error) {
	w.generation = 1
	fits = true
	for kw, err := range kernelWatches(w.kernel.fd) {
		if err != nil {
			return false, err
		}
		n := w.tree.ByWatch(kw.wd)
		if n == 0 {
			if _, known := slices.BinarySearch(others, kw.wd); !known {
				w.pending.overflow = true
			}
			w.pending.unwanted = append(w.pending.unwanted, kw.wd)
			continue
		}

		// Only simple file systems have the kernel's own inode numbers in stat(2).
		const all = Mask(unix.IN_ALL_EVENTS)
		x := w.tree.Node(n)
		x.Generation = w.generation
		d := w.devices[x.Device]
		sameInode := !d.countsSubdirs || kw.ino == x.Ino && kw.major == d.major && kw.minor == d.minor
		fits = fits && sameInode && w.mask&all&^kw.mask == 0
	}
	return fits, nil
}

// watchesRoots reports whether the instance watches every root that is where it was, under the
// descriptor that the tree has.
func (w *Watcher) watchesRoots() bool {
	for n, subs := range w.subscribed {
		fd, err := openRoot(subs[0].root)
		if err != nil {
			continue // it is resolved again in any case
		}

		st, err := dirfd.Stat(fd, "")
		isWatched := err != nil || !w.hasInode(n, st) || w.isRoot(n, fd)
		unix.Close(fd)
		if !isWatched {
			return false
		}
	}
	return true
}

// rewatch keeps the names, and adds watches to all directories that are still where the tree has
// them, as if it had none. Then everything is scanned.
func (w *Watcher) rewatch() {
	w.pending.overflow = true
	for n := range w.tree.All() {
		if x := w.tree.Node(n); x.WD != 0 && x.Generation == w.generation {
			w.pending.unwanted = append(w.pending.unwanted, x.WD) // unless it is found again
		}
	}
	w.tree.EndWatches()

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

// rewatchDir reports whether n is where the tree has it and could be watched.
func (w *Watcher) rewatchDir(n dirtree.ID) bool {
	fd, err := w.openDir(n, unix.O_PATH)
	if err != nil {
		return false
	}
	defer unix.Close(fd)

	mask := w.mask
	if w.tree.Has(n, dirtree.Subscribed) {
		mask |= rootMask
	}

	wd, err := w.kernel.watch(fd, "", watchFlags|uint32(mask))
	if err != nil || w.tree.ByWatch(wd) != 0 {
		return false
	}
	w.tree.SetWatch(n, wd)
	return true
}

// A kernelWatch is a watch as /proc/pid/fdinfo lists it (proc(5)).
type kernelWatch struct {
	wd           int32
	mask         Mask
	ino          uint64
	major, minor uint32
}

// kernelWatches yields the watches of an instance.
func kernelWatches(fd int) iter.Seq2[kernelWatch, error] {
	return func(yield func(kernelWatch, error) bool) {
		f, err := os.Open("/proc/self/fdinfo/" + strconv.Itoa(fd))
		if err != nil {
			yield(kernelWatch{}, err)
			return
		}
		defer f.Close()

		lines := bufio.NewScanner(f)
		for lines.Scan() {
			rest, ok := strings.CutPrefix(lines.Text(), "inotify ")
			if !ok {
				continue
			}
			kw, err := parseWatch(rest)
			if !yield(kw, err) || err != nil {
				return
			}
		}

		if lines.Err() != nil {
			yield(kernelWatch{}, lines.Err())
		}
	}
}

// parseWatch parses "wd:1 ino:2 sdev:3 mask:4 ...", all in hex.
func parseWatch(line string) (kernelWatch, error) {
	var values [4]uint64
	rest := line
	for i, key := range [...]string{"wd:", "ino:", "sdev:", "mask:"} {
		field, after, _ := strings.Cut(rest, " ")
		digits, ok := strings.CutPrefix(field, key)
		n, err := strconv.ParseUint(digits, 16, 64)
		if !ok || err != nil {
			return kernelWatch{}, fmt.Errorf("fdinfo line %q without %q", line, key)
		}
		values[i], rest = n, after
	}

	dev := values[2] // the kernel's own kind of number, with 20 bits for the minor
	return kernelWatch{
		wd: int32(values[0]), ino: values[1], mask: Mask(values[3]),
		major: uint32(dev >> 20), minor: uint32(dev & (1<<20 - 1)),
	}, nil
}
