package inotify

import (
	"bytes"
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify/internal/dirfd"
	"github.com/execlog/execlogd/inotify/internal/dirtree"
)

// workers is how many goroutines do a large scan. Two are as fast when the directories are in
// memory, but not when they come from a disk.
const workers = 4

// watchFlags go with every watch on a directory of the tree.
const watchFlags = unix.IN_ONLYDIR | unix.IN_EXCL_UNLINK

// rootMask is what a root itself is watched for in addition to Watcher.mask.
const rootMask = DeleteSelf | MoveSelf

// A scanKind says which directories a scan enters and what it reports.
type scanKind uint8

const (
	scanNew     scanKind = iota // enters directories that the tree does not have, and reports everything
	scanAll                     // enters every directory, and reports everything
	scanChanged                 // enters every directory, and reports what has changed since a time
	scanWatch                   // enters every directory, and reports to other subscribers what is new to them
	scanSilent                  // enters every directory, and reports nothing
)

func (k scanKind) reports() bool { return k == scanNew || k == scanAll || k == scanChanged }

// A scanRequest is one directory to be scanned.
type scanRequest struct {
	dir   dirtree.ID
	kind  scanKind
	since int64 // for scanChanged: report files with a change (ctime, in ns) since then; otherwise 0

	// former is the subscriber whose SkipDir was skipDir until now; nil is none. What that has
	// left out is watched without a report.
	former  *subscriber
	skipDir func(path string) bool
}

// A scanner scans directories, adds watches for the directories in them, and enters those
// into the tree.
//
// Its lock guards the state of the Watcher, whose own lock is held by the caller of runScan.
// It is not held over system calls.
type scanner struct {
	w *Watcher

	mu       sync.Mutex
	changed  sync.Cond // requests are there, or nothing is left to do
	requests []scanRequest
	busy     int   // workers that scan a directory
	idle     int   // workers that wait
	large    bool  // there are several workers
	limit    error // a resource ran out; see isResourceLimit

	stopped atomic.Bool // the scan ends early
}

func (w *Watcher) newScanner(requests ...scanRequest) *scanner {
	s := &scanner{w: w, requests: requests}
	s.changed.L = &s.mu
	s.stopped.Store(w.stopped != nil)
	return s
}

// runScan does some requests and all that they lead to, with up to so many workers; 0 is
// for small scans, which the caller does alone. The error says that a resource ran out. If
// w.stopped says so the scan has ended early, and what is left of it is pending.
func (w *Watcher) runScan(workers int, requests ...scanRequest) error {
	s := w.newScanner(requests...)
	if workers == 0 {
		s.work(new(scratch), false)
		s.putOff()
		return s.limit
	}

	s.large = true
	done := make(chan struct{}, workers)
	for range workers {
		go func() {
			s.workUnshared()
			done <- struct{}{}
		}()
	}
	ticks := time.NewTicker(scanTick)
	defer ticks.Stop()
	for range workers {
		s.await(done, ticks.C)
	}
	s.putOff()
	w.tree.Trim()
	return s.limit
}

// await waits until a worker is done. Meanwhile it looks whether the scan is to end.
func (s *scanner) await(done <-chan struct{}, ticks <-chan time.Time) {
	for {
		select {
		case <-done:
			return
		case <-ticks:
			if s.w.mustStop() {
				s.stopped.Store(true)
			}
		}
	}
}

// putOff leaves to Run what a scan has not done that was stopped.
func (s *scanner) putOff() {
	p := &s.w.pending
	for _, req := range s.requests {
		switch req.kind {
		case scanChanged:
			p.overflow = true
		case scanAll:
			p.reportAnew(req.dir)
		default:
			p.unscanned[req.dir] = struct{}{}
		}
	}
}

// scan is runScan without a caller for the error, which is reported as a problem.
func (w *Watcher) scan(workers int, requests ...scanRequest) {
	w.reportLimit(w.runScan(workers, requests...))
}

// reportLimit reports once that watches are missing, until there was room for all.
func (w *Watcher) reportLimit(err error) {
	if err == nil || w.limitReported {
		return
	}
	w.limitReported = true
	for n, u := range w.unwatched.all() {
		if u.lacksResources() && w.tree.Reachable(n) {
			w.problem(w.watchLimit(w.rootPaths[w.tree.Top(n)], nil, u.reason))
			return
		}
	}
}

// scanName scans the directory that is name in n, which is open as fd. announced says that
// its creation is reported already.
func (w *Watcher) scanName(n dirtree.ID, fd int, name []byte, announced bool) {
	w.reportLimit(w.scanEntry(scanRequest{dir: n, kind: scanNew}, fd, scanEntry{name: name, announced: announced}))
}

// scanEntry does a request for one entry alone, which is a directory. The error is as of runScan.
func (w *Watcher) scanEntry(req scanRequest, fd int, e scanEntry) error {
	s, buffers := w.newScanner(), new(scratch)
	d := s.newDirScan(req, buffers)
	e.kind = unix.DT_DIR
	d.add(fd, e)
	d.finish()
	s.work(buffers, false)
	s.putOff()
	return s.limit
}

// appeared handles a directory that has appeared under name in n. announced says that its
// creation is reported already.
func (w *Watcher) appeared(n dirtree.ID, name []byte, announced bool) {
	if !w.tree.Reachable(n) {
		return // everything in n is reported when it is found
	}

	fd, err := w.openDir(n, unix.O_PATH)
	if err != nil {
		var flags verifyFlags
		if announced {
			flags = reportAbsent
		}
		w.verify(n, name, flags)
		return
	}

	w.scanName(n, fd, name, announced)
	unix.Close(fd)
}

// workUnshared is work with a working directory that belongs to this thread alone, so that
// names need no path before them; that saves a third of what a watch costs. The thread ends
// with the goroutine, except for the first of the process, which never ends: it must not stay
// in a directory, whose file system could not be unmounted any more.
func (s *scanner) workUnshared() {
	runtime.LockOSThread()
	unshared := unix.Unshare(unix.CLONE_FS) == nil
	s.work(new(scratch), unshared)
	if unshared {
		unix.Chdir("/")
	}
}

// work does requests until there are none. unshared says that the goroutine may change the
// working directory.
func (s *scanner) work(buffers *scratch, unshared bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(s.requests) == 0 && s.busy > 0 {
			s.idle++
			s.changed.Wait()
			s.idle--
		}
		if !s.large && s.w.mustStop() {
			s.stopped.Store(true)
		}
		if len(s.requests) == 0 || s.stopped.Load() {
			s.changed.Broadcast()
			return
		}

		last := len(s.requests) - 1
		req := s.requests[last]
		s.requests = s.requests[:last]
		s.busy++
		s.scanDir(req, buffers, unshared)
		s.busy--

		// This worker takes one of the new requests itself.
		for range min(s.idle, len(s.requests)-1) {
			s.changed.Signal()
		}
	}
}

// scanDir does one request. The lock is held on entry and on return.
func (s *scanner) scanDir(req scanRequest, buffers *scratch, unshared bool) {
	w := s.w
	if u := w.unwatched.get(req.dir, ""); u != nil { // a root, which is polled
		if req.kind.reports() && req.kind != scanChanged {
			again := *u
			again.seen, again.reportFirst = nil, true
			w.unwatched.put(w.entry(req.dir, nil), &again)
		}
		if u.lacksResources() {
			s.limit = u.reason
		}
		return
	}

	d := s.newDirScan(req, buffers)
	path := w.dirPath(req.dir)
	s.mu.Unlock()
	fd, err := path.open(unix.O_RDONLY)
	if err == nil {
		d.isWorkDir = unshared && unix.Fchdir(fd) == nil
		err = d.read(fd)
		unix.Close(fd)
	}
	s.mu.Lock()

	if s.large {
		w.tree.Grow(len(d.entries))
	}
	switch {
	case errors.Is(err, errStopped):
		s.requests = append(s.requests, req)
	case err != nil:
		w.scanFailed(req, err)
	}
	d.finish()
}

// scanFailed handles a directory that could not be read.
func (w *Watcher) scanFailed(req scanRequest, err error) {
	parent := w.tree.Parent(req.dir)
	pathErr := &os.PathError{Op: "look into", Path: w.path(req.dir), Err: err}
	switch {
	case isNotThere(err) && parent == 0:
		// The kernel reports the end of a root.
	case isNotThere(err):
		// It is found by verifying its entry, and scanned then.
		w.verify(parent, w.tree.Name(req.dir), 0)
		if req.kind != scanNew {
			w.pending.reportAnew(req.dir)
		} else {
			w.pending.unscanned[req.dir] = struct{}{}
		}
	default:
		wd := w.tree.Node(req.dir).WD
		w.failed(pathErr, func() {
			if w.tree.Node(req.dir).WD == wd {
				w.scan(0, req)
			}
		})
	}
}

// A scratch is the memory that a worker uses again for each directory.
type scratch struct {
	buf     []byte // for getdents(2)
	names   []byte // of entries, one after the other
	entries []scanEntry
}

// A scanEntry is an entry of a directory that is scanned, with its watch if it is a directory.
type scanEntry struct {
	name  []byte
	kind  byte   // DT_DIR, DT_REG...
	ino   uint64 // as the listing has it; 0 is unknown
	wd    int32
	inode dirfd.Inode
	err   error // why a directory has no watch

	announced  bool  // its creation is reported already
	skipped    bool  // all subscribers skip it
	wrongWatch int32 // a watch to be removed, since it is on another directory; 0 is none
}

// A dirScan scans one directory: read and add collect what there is without the lock, and
// finish enters it into the tree with the lock.
type dirScan struct {
	*scratch
	scanner *scanner
	req     scanRequest

	mask      uint32                 // of new watches
	dev       device                 // that the directory is on
	skip      func(name string) bool // nil skips nothing
	wasSkip   func(name string) bool // what was skipped until now; nil is nothing
	observed  bool                   // there is a subscriber to whom a new directory is to be reported
	isWorkDir bool                   // the directory is the working directory
	changed   bool                   // the directory itself, since req.since
}

// newDirScan prepares the scan of req.dir. The lock must be held.
func (s *scanner) newDirScan(req scanRequest, buffers *scratch) *dirScan {
	if buffers.buf == nil {
		buffers.buf = make([]byte, 32<<10)
	}
	buffers.names, buffers.entries = buffers.names[:0], buffers.entries[:0]

	d := &dirScan{
		scratch:  buffers,
		scanner:  s,
		req:      req,
		mask:     watchFlags | uint32(s.w.mask),
		dev:      s.w.devices[s.w.tree.Node(req.dir).Device],
		skip:     s.w.skipFunc(req.dir, nil, nil),
		observed: s.w.anySubscriber(req.dir, func(sub *subscriber) bool { return !sub.muted }),
	}
	if req.former != nil {
		d.wasSkip = s.w.skipFunc(req.dir, req.former, req.skipDir)
	}
	return d
}

// read adds every entry of the directory open as fd.
func (d *dirScan) read(fd int) error {
	if d.req.since != 0 {
		st, err := dirfd.Stat(fd, "")
		if err != nil {
			return err
		}
		d.changed = st.Ctime >= d.req.since
	}

	for e, err := range dirfd.Entries(fd, d.buf) {
		if err != nil {
			return err
		}
		if d.scanner.stopped.Load() {
			return errStopped
		}
		d.add(fd, scanEntry{name: e.Name, kind: e.Kind, ino: e.Ino})
	}
	return nil
}

// add adds an entry of the directory open as fd, and watches it if it is a directory.
func (d *dirScan) add(fd int, e scanEntry) {
	if e.kind == unix.DT_UNKNOWN || e.kind != unix.DT_DIR && d.req.since != 0 {
		var err error
		if e.inode, err = dirfd.Stat(fd, string(e.name)); err != nil {
			return // gone again, and the kernel reports that
		}
		e.kind = e.inode.Kind
	}

	switch {
	case e.kind != unix.DT_DIR:
		if !d.req.kind.reports() || e.inode.Ctime < d.req.since {
			return
		}
	case d.skip != nil && d.skip(string(e.name)):
		if !d.req.kind.reports() || e.announced {
			return
		}
		if d.req.since != 0 {
			var err error
			if e.inode, err = dirfd.Stat(fd, string(e.name)); err != nil || e.inode.Ctime < d.req.since {
				return
			}
		}
		e.skipped = true // that it is there is reported all the same
	default:
		d.watch(&e, fd)
		if e.err == nil && !d.dev.has(e.inode) {
			if fs := d.scanner.w.remote(fd, string(e.name)); fs != "" { // is mounted here
				e.wrongWatch, e.wd, e.err = e.wd, 0, &RemoteError{FS: fs}
			}
		}
	}

	start := len(d.names)
	d.names = append(d.names, e.name...)
	e.name = d.names[start:]
	d.entries = append(d.entries, e)
}

// watch adds a watch for a directory. It must never be taken for that of another directory
// which had the name for a moment. So the directory is opened, and the watch added by its
// descriptor; or, with fewer calls while no events are to be reported, the watch is added by
// name, and given up when the name has another inode than in the listing.
func (d *dirScan) watch(e *scanEntry, fd int) {
	d.scanner.w.looked.Add(1)
	kernel := &d.scanner.w.kernel
	if !d.req.kind.reports() {
		path := string(e.name)
		if !d.isWorkDir {
			path = dirfd.Path(fd, path)
		}
		if e.wd, e.err = kernel.watchPath(path, d.mask|unix.IN_DONT_FOLLOW); e.err == nil {
			e.inode, e.err = dirfd.Stat(fd, string(e.name))
		}
		if e.err == nil && e.inode.Ino == e.ino {
			return
		}
		e.wrongWatch, e.wd, e.err = max(e.wd, 0), 0, nil
	}

	dir, err := unix.Openat(fd, string(e.name), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		e.err = err
		return
	}
	defer unix.Close(dir)
	if e.inode, e.err = dirfd.Stat(dir, ""); e.err == nil {
		e.wd, e.err = kernel.watch(dir, "", d.mask)
	}
}

// finish reports what was found and enters it into the tree. The lock must be held.
func (d *dirScan) finish() {
	w, dir := d.scanner.w, d.req.dir
	if d.changed {
		w.emit(dir, nil, Modify|IsDir, nil)
	}

	for i := range d.entries {
		e := &d.entries[i]
		if e.wrongWatch != 0 {
			w.pending.unwanted = append(w.pending.unwanted, e.wrongWatch)
		}

		switch {
		case e.kind != unix.DT_DIR:
			w.removeEntry(dir, e.name, w.tree.Lookup(dir, e.name))
			w.emitPresent(dir, e.name)
		case e.skipped:
			w.emit(dir, e.name, Create|IsDir, nil)
		case e.err != nil:
			d.finishUnwatched(e)
		default:
			d.finishDir(e)
		}
	}
}

// finishUnwatched handles a directory that could not be watched, or that was gone again.
func (d *dirScan) finishUnwatched(e *scanEntry) {
	w := d.scanner.w
	if isNotThere(e.err) {
		if e.announced {
			w.verify(d.req.dir, e.name, reportAbsent)
		}
		return
	}

	if isResourceLimit(e.err) {
		d.scanner.limit = cmp.Or(d.scanner.limit, e.err)
	}
	if w.addUnwatched(d.req, e) && d.req.kind.reports() && !e.announced {
		w.emit(d.req.dir, e.name, Create|IsDir, nil)
	}
}

// finishDir gives a watched directory the place where it was found, and has it scanned if
// it may hold something that a subscriber does not know of.
func (d *dirScan) finishDir(e *scanEntry) {
	w := d.scanner.w
	n, isNew := w.place(d.req.dir, e)
	if n == 0 {
		return
	}
	w.tree.Node(n).Generation = w.generation

	below := d.req
	below.dir = n
	if isNew {
		below = scanRequest{dir: n, kind: d.req.kind}
		switch {
		case d.wasSkip != nil && d.wasSkip(string(e.name)):
			below.kind = scanSilent
		case d.req.kind == scanChanged || d.req.kind == scanWatch && d.observed:
			below.kind = scanAll
		}
		if w.target != nil && w.anySubscriber(n, func(sub *subscriber) bool { return sub != w.target }) {
			w.pending.unscanned[n] = struct{}{} // this scan reports to one subscriber alone
		}
		switch {
		case below.kind.reports():
			w.detachBelow(n)
		case below.kind == scanSilent:
			w.tree.SetFlags(n, dirtree.Silent, 0)
		}
	}
	if below.kind.reports() && !e.announced && (isNew || d.req.kind == scanAll) {
		w.emit(d.req.dir, e.name, Create|IsDir, nil)
	}

	// Where a link count tells how many subdirectories there are, a directory with two links
	// need not be read when its files are of no interest.
	hasNoDirs := d.dev.countsSubdirs && d.dev.has(e.inode) && e.inode.Links == 2
	if (isNew || d.req.kind != scanNew) && (below.kind.reports() || !hasNoDirs) {
		d.scanner.requests = append(d.scanner.requests, below)
	}
}

// place makes the tree have the directory with the watch e.wd as e.name in parent. isNew says
// that the tree did not have it there before. n is 0 when this name is an alias (a bind mount)
// of a directory that is watched under another name.
func (w *Watcher) place(parent dirtree.ID, e *scanEntry) (n dirtree.ID, isNew bool) {
	dev := w.deviceOf(e.inode, -1)
	n = w.tree.ByWatch(e.wd)
	if n == 0 {
		n = w.tree.Add(e.wd, dev, e.inode.Ino)
	}
	x := w.tree.Node(n)
	x.Device, x.Ino = dev, e.inode.Ino

	old := w.tree.Parent(n)
	if old == parent && string(w.tree.Name(n)) == string(e.name) {
		return n, false
	}
	if old != 0 {
		if fd, err := w.openDir(n, unix.O_PATH); err == nil { // it is where the tree has it
			unix.Close(fd)
			return 0, false
		}
	}

	switch {
	case w.tree.Encloses(n, parent):
		// A directory cannot lie below itself: one of the two places is wrong, unless it is a
		// root, which can only have an alias there.
		if w.tree.Has(n, dirtree.Root) {
			return 0, false
		}
		if old != 0 {
			w.verify(old, w.tree.Name(n), 0)
		}
		w.verify(parent, e.name, 0)
		return 0, false
	case old != 0:
		// Subscribers take the old place to be empty now, and may know already what is there.
		name := bytes.Clone(w.tree.Name(n))
		w.verify(old, name, reportPresent)
		w.tree.Detach(n)
		w.emit(old, name, Delete|IsDir, nil)
	}

	if w.tree.Has(n, dirtree.Root) {
		w.tree.SetFlags(n, 0, dirtree.Root)
		delete(w.rootPaths, n)
	}
	if child := w.tree.Lookup(parent, e.name); child != 0 {
		w.removeEntry(parent, e.name, child)
		e.announced = false // what was announced is removed
	}
	w.attach(n, parent, e.name)
	return n, true
}

// remote returns the name of the remote file system that name in the directory open as fd is
// on, or that fd itself is on when name is empty. It is empty when inotify sees every change,
// or somebody else tells of the others.
func (w *Watcher) remote(fd int, name string) string {
	kind, err := w.statfs(dirfd.Path(fd, name))
	if err != nil {
		return ""
	}
	fs := dirfd.Remote(kind)
	if fs == "" || w.trusts == nil {
		return fs
	}
	dir, err := os.Readlink(dirfd.Path(fd, ""))
	if err != nil || !w.trusts(filepath.Join(dir, name), fs) {
		return fs
	}
	return ""
}

// RemoteFS returns the name of the remote file system that a path is on; "" if it is on one
// whose files only this machine changes, or cannot be looked at.
func RemoteFS(path string) string {
	kind, err := dirfd.Filesystem(path)
	if err != nil {
		return ""
	}
	return dirfd.Remote(kind)
}
