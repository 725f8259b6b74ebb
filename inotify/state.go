package inotify

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// settleTime is how long a Handover waits for an empty queue.
const settleTime = time.Second

// Handover ends the Watcher as Close does, but its inotify instance lives on:
// the file is a duplicate of its descriptor (close-on-exec, the caller's to
// close), the bytes a snapshot of its table, and a Resume in this or another
// process goes on with both. What happens in between waits in the kernel's
// queue, which must not be read until then. The snapshot is good for one
// Resume, on this machine and until it is booted again.
//
// First what is queued is read and delivered, by Run or, when none is under
// way, by Handover. A Run under way then returns nil. If there is no end to it
// within a second, the rest stays queued and Resume scans all trees. Handover
// must not be called by Deliver. After an error the Watcher is closed, and
// the instance with it; before, ErrClosed says that it was.
func (w *Watcher) Handover() (*os.File, []byte, error) {
	if err := w.stopRun(); err != nil {
		return nil, nil, err
	}
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

// stopRun ends Run, if it is under way, and holds its lock.
func (w *Watcher) stopRun() error {
	w.mu.Lock()
	refused := w.closed || w.handingOver
	w.handingOver = true
	if !refused && w.stopRunning != nil {
		w.stopRunning()
	}
	w.mu.Unlock()
	if refused {
		return ErrClosed
	}
	w.running.Lock()
	return nil
}

// setStop has a Handover call halt.
func (w *Watcher) setStop(halt context.CancelFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopRunning = halt
	if w.handingOver {
		halt()
	}
}

// isHandingOver says that the Watcher is closed or about to be.
func (w *Watcher) isHandingOver() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed || w.handingOver
}

// saveState is Handover while nothing reads.
func (w *Watcher) saveState() (*os.File, []byte, error) {
	boot, err := bootID()
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	if err := w.drain(ctx); err != nil {
		return nil, nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, nil, ErrClosed
	}
	seal, err := w.newSentinel()
	if err != nil {
		return nil, nil, err
	}
	s := w.snapshot(seal, ctx.Err() == nil)
	s.boot = boot
	fd, err := unix.FcntlInt(uintptr(w.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), "inotify"), s.encode(), nil
}

// snapshot shares its tree with w.
func (w *Watcher) snapshot(seal int32, settled bool) *snapshot {
	s := &snapshot{
		intact: settled && !w.toldLimit && len(w.unwatched.dirs)+len(w.unwatched.retries) == 0, consistent: w.consistent, sentinel: seal,
		mask: w.mask, devs: w.devs, tree: w.tree, rootPaths: w.rootPaths, others: slices.Clone(w.unwanted),
	}
	for i := range w.tree.nodes {
		switch n := id(i); {
		case w.tree.nodes[n].wd > 0 && !w.tree.reachable(n):
			s.others = append(s.others, w.tree.nodes[n].wd)
		case w.tree.nodes[n].wd <= 0 && w.tree.nodes[n].parent != 0:
			s.intact = false
		}
	}
	for wd := range w.components.watched {
		s.others = append(s.others, wd)
	}
	for _, sub := range w.subs {
		switch {
		case sub.file == nil:
		case sub.file.wd == 0:
			s.intact = false
		default:
			s.others = append(s.others, sub.file.wd)
		}
	}
	for _, f := range w.files.at {
		if f.wd == 0 {
			s.intact = false // nobody knows what it was like when it was polled
		} else {
			s.others = append(s.others, f.wd)
		}
	}
	slices.Sort(s.others)
	for _, sub := range w.subs {
		root := savedRoot{path: sub.root, mask: sub.Mask}
		if sub.dir != 0 && w.tree.reachable(sub.dir) {
			root.node = sub.dir
		}
		s.roots = append(s.roots, root)
	}
	return s
}

// Resume goes on where another Watcher ended with Handover, most often in a
// process that is no more. The file is left to the caller, who closes it
// whatever comes of it. Nothing is delivered before Run.
//
// The subscriptions are given again. Those whose Root and Mask the other
// Watcher had go on: they get all that happened meanwhile, in the kernel's
// order, as if there had been one Watcher. Their SkipDir must answer as it
// did. Others are added as by Add, and what nobody asks for any more is not
// watched any longer. A root of before that is missing now is no error: its
// end is reported, and it is watched when it comes back.
//
// Snapshot and instance are compared with each other and with the roots. Where
// something does not fit, or records are missing, the trees are scanned and
// what has changed since the snapshot is reported after an Overflow event, as
// if the queue had been full; a directory whose watch is gone without a record
// is reported anew with all in it. What is not noticed is a file system that
// agrees with a forged snapshot; keep it where only its owner can write.
//
// The error is ErrSnapshot, wrapped, when the snapshot cannot be used; or as
// of New; or as of Add for a subscription that is new. With a *LimitError of
// the latter the Watcher is there nevertheless.
func Resume(opts Options, inotify *os.File, state []byte, subs ...Subscription) (*Watcher, error) {
	s, err := openSnapshot(state)
	if err != nil {
		return nil, fmt.Errorf("resume inotify state: %w", err)
	}
	w := newWatcher(opts)
	if w.fd, err = dupInstance(inotify); err == nil {
		err = w.open()
	}
	if err == nil {
		err = w.resume(s, subs)
	}
	if _, limited := errors.AsType[*LimitError](err); err != nil && !(limited && w.sentinel != 0) {
		w.release()
		return nil, err
	}
	return w, err
}

// openSnapshot decodes a snapshot of this boot.
func openSnapshot(state []byte) (*snapshot, error) {
	s, err := decodeSnapshot(state)
	if err != nil {
		return nil, err
	}
	boot, err := bootID()
	if err == nil && boot != s.boot {
		err = fmt.Errorf("%w: it is of boot %x, this is boot %x", ErrSnapshot, s.boot, boot)
	}
	return s, err
}

// bootID tells one boot of the kernel from another (random(4)).
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
	if ctlErr := conn.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); ctlErr != nil {
		return -1, ctlErr
	}
	if err != nil {
		return -1, os.NewSyscallError("fcntl", err)
	}
	if what, err := os.Readlink(procPath(fd, "")); err != nil || what != "anon_inode:inotify" {
		unix.Close(fd)
		return -1, fmt.Errorf("resume inotify state: %s is no inotify instance: %q", file.Name(), what)
	}
	return fd, os.NewSyscallError("fcntl", unix.SetNonblock(fd, true))
}

// resume takes s over.
func (w *Watcher) resume(s *snapshot, subs []Subscription) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mask, w.devs, w.tree, w.consistent = s.mask|internalMask, s.devs, s.tree, s.consistent
	w.paths, w.oldPaths = newPathBuilder(w.tree, w.subscribed), newPathBuilder(w.tree, w.subscribed)
	w.overflow = !s.intact
	w.content.floor = s.consistent.UnixNano()
	fits, err := w.compareWatches(s.others)
	if err != nil {
		return err
	}
	fresh, err := w.reclaim(s, subs)
	if err != nil {
		return err
	}
	for n := range s.rootPaths {
		if len(w.subscribed[n]) == 0 {
			w.dropSubtree(n)
		}
	}
	if !fits || !w.ownsRoots() {
		w.rewatch()
	}
	w.sentinel = s.sentinel
	var limits error
	for _, sub := range fresh {
		err := w.subscribe(sub)
		if _, limited := errors.AsType[*LimitError](err); err != nil && !limited {
			return err
		}
		limits = errors.Join(limits, err)
	}
	w.resolveLater(w.subs) // even if the list of mounts cannot be read
	w.recheckMountsLocked()
	w.scanMountedFiles(fileScan{}) // so that what is queued of them is understood
	return limits
}

// reclaim gives the subscriptions the roots that they had, and returns those
// that had none.
func (w *Watcher) reclaim(s *snapshot, subs []Subscription) (fresh []*subscriber, err error) {
	roots := slices.Clone(s.roots)
	for _, asked := range subs {
		path, err := filepath.Abs(asked.Root)
		if err != nil {
			return nil, fmt.Errorf("watch %q: %w", asked.Root, err)
		}
		sub := newSubscriber(asked, path)
		i := slices.IndexFunc(roots, func(r savedRoot) bool { return r.path == path && r.mask == sub.Mask })
		if i < 0 {
			fresh = append(fresh, sub)
			continue
		}
		w.subs = append(w.subs, sub)
		if n := roots[i].node; n != 0 {
			sub.dir = n
			w.tree.setFlags(n, flagSubscribed, 0)
			w.subscribed[n] = append(w.subscribed[n], sub)
			w.makeRoot(n)
		}
		w.watchComponents(sub)
		if sub.dir == 0 {
			_ = w.watchRootFile(sub) // if it is one; otherwise it is looked for again
		}
		roots = slices.Delete(roots, i, i+1)
	}
	return fresh, nil
}

// compareWatches compares the tree with the watches that the kernel has, and
// says whether they are of the same instance. A watch too few is forgiven, for
// its end must be in the queue; one too many is not.
func (w *Watcher) compareWatches(others []int32) (fits bool, err error) {
	w.generation = 1
	fits = true
	for kw, err := range kernelWatches(w.fd) {
		if err != nil {
			return false, err
		}
		n := w.tree.byWd.get(kw.wd)
		if n == 0 {
			_, known := slices.BinarySearch(others, kw.wd)
			w.overflow = w.overflow || !known
			w.unwanted = append(w.unwanted, kw.wd)
			continue
		}
		w.tree.nodes[n].generation = w.generation
		fits = fits && w.agrees(n, kw)
	}
	return fits, nil
}

// agrees says whether the kernel's watch is on the directory n and reports
// all that is asked for. The kernel's own numbers of a file are those of
// stat(2) on simple file systems alone.
func (w *Watcher) agrees(n id, kw kernelWatch) bool {
	const all = Mask(unix.IN_ALL_EVENTS)
	x := &w.tree.nodes[n]
	d := w.devs[x.dev]
	if d.leaves && (kw.ino != x.ino || kw.major != d.major || kw.minor != d.minor) {
		return false
	}
	return w.mask&all&^kw.mask == 0
}

// ownsRoots says whether the instance watches every root that is where it was
// under the descriptor that the tree has.
func (w *Watcher) ownsRoots() bool {
	for n, subs := range w.subscribed {
		if !w.owns(n, subs[0].root) {
			return false
		}
	}
	return true
}

func (w *Watcher) owns(n id, path string) bool {
	fd, err := openRoot(path)
	if err != nil {
		return true // the way there is looked at in any case
	}
	defer unix.Close(fd)
	if st, err := inodeAt(fd, ""); err != nil || !w.hasInode(n, st) {
		return true
	}
	wd, err := unix.InotifyAddWatch(w.fd, procPath(fd, ""), watchFlags|uint32(w.mask|DeleteSelf|MoveSelf))
	return err == nil && int32(wd) == w.tree.nodes[n].wd
}

// rewatch keeps the names and puts watches on all directories that are still
// where the tree has them, as if it had none; then all is scanned.
func (w *Watcher) rewatch() {
	w.overflow = true
	w.tree.byWd = wdTable{}
	for i := range w.tree.nodes {
		x := &w.tree.nodes[i]
		if x.wd != 0 && x.generation == w.generation {
			w.unwanted = append(w.unwanted, x.wd) // unless it is found again
		}
		x.wd = 0
	}
	var lost []id
	for top := range w.rootPaths {
		for _, n := range w.tree.subtree(nil, top) {
			if !w.rewatchOne(n) {
				lost = append(lost, n)
			}
		}
	}
	for _, n := range slices.Backward(lost) {
		w.watchEnded(n, Ignored)
	}
	w.tree.count = 0
	for i := range w.tree.nodes {
		if w.tree.nodes[i].wd != 0 {
			w.tree.count++
		}
	}
}

func (w *Watcher) rewatchOne(n id) bool {
	fd, err := w.openNode(n, unix.O_PATH)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	mask := w.mask
	if w.tree.nodes[n].flags&flagSubscribed != 0 {
		mask |= DeleteSelf | MoveSelf
	}
	wd, err := unix.InotifyAddWatch(w.fd, procPath(fd, ""), watchFlags|uint32(mask))
	if err != nil || w.tree.byWd.get(int32(wd)) != 0 {
		return false
	}
	w.tree.nodes[n].wd = int32(wd)
	w.tree.byWd.set(int32(wd), n)
	return true
}

// checkSentinel is called when the queue is empty. The record that a Handover left
// must have been in it, or somebody else has read the queue. When it was, the
// kernel has said of every watch that it ended.
func (w *Watcher) checkSentinel() {
	w.overflow = w.overflow || w.sentinel != 0
	w.sentinel = 0
}

// newSentinel puts a record at the end of the kernel's queue: the IN_IGNORED of a
// watch on a file that nobody else knows.
func (w *Watcher) newSentinel() (wd int32, err error) {
	file, err := unix.MemfdCreate("execlogd-seal", unix.MFD_CLOEXEC)
	if err != nil {
		return 0, os.NewSyscallError("memfd_create", err)
	}
	defer unix.Close(file)
	n, err := unix.InotifyAddWatch(w.fd, procPath(file, ""), unix.IN_ATTRIB)
	if err != nil {
		return 0, os.NewSyscallError("inotify_add_watch", err)
	}
	_, err = unix.InotifyRmWatch(w.fd, uint32(n))
	return int32(n), os.NewSyscallError("inotify_rm_watch", err)
}

// checkSentinelRecord notes that the record of newSeal came through. Records of watches
// that are no more come here as well.
func (w *Watcher) checkSentinelRecord(rec record) {
	if rec.wd == w.sentinel && rec.mask&Ignored != 0 {
		w.sentinel = 0
	}
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
		for lines := bufio.NewReaderSize(f, 64<<10); ; {
			line, err := lines.ReadSlice('\n')
			if err == io.EOF {
				return
			}
			var kw kernelWatch
			ok := false
			if err == nil {
				kw, ok, err = cutWatch(line)
			}
			if (ok || err != nil) && !yield(kw, err) || err != nil {
				return
			}
		}
	}
}

// cutWatch decodes a line "inotify wd:1 ino:2 sdev:3 mask:4 ...", all in hex;
// other lines are not ok.
func cutWatch(line []byte) (kw kernelWatch, ok bool, err error) {
	if !bytes.HasPrefix(line, []byte("inotify ")) {
		return kw, false, nil
	}
	var values [4]uint64
	rest := line
	for i, key := range [...]string{"inotify wd:", " ino:", " sdev:", " mask:"} {
		if values[i], rest, ok = cutHex(rest, key); !ok {
			return kw, false, fmt.Errorf("fdinfo line %q without%q", line, key)
		}
	}
	dev := values[2] // of the kernel's own kind, with 20 bits for the minor
	return kernelWatch{
		wd: int32(values[0]), ino: values[1], mask: Mask(values[3]),
		major: uint32(dev >> 20), minor: uint32(dev & (1<<20 - 1)),
	}, true, nil
}

// cutHex takes key and a number off the start of b.
func cutHex(b []byte, key string) (v uint64, rest []byte, ok bool) {
	if len(b) < len(key) || string(b[:len(key)]) != key {
		return 0, nil, false
	}
	for i, c := range b[len(key):] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		default:
			return v, b[len(key)+i:], i > 0
		}
		v = v<<4 | uint64(c)
	}
	return v, nil, len(b) > len(key)
}
