package inotify

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// scanMask is the mask of a file that a scan met: it is there, with its content,
// and nobody is known to be writing it.
const scanMask = Create | Modify | CloseWrite

// A scan begins with one worker for each processor, up to workers. When
// directories come from a disk so that looking into one takes patience, more
// of them help, up to mostWorkers.
const (
	workers       = 4
	mostWorkers   = 8
	slowDirectory = 5 * time.Millisecond
)

// watchFlags go with every watch. Masks only ever grow, so that a root keeps
// what it needs beside the tree that it lies in.
const watchFlags = unix.IN_ONLYDIR | unix.IN_EXCL_UNLINK | unix.IN_MASK_ADD

// A scanRequest is one directory to look into.
type scanRequest struct {
	dir    id
	report bool  // emit what is found
	quiet  bool  // what is found is told otherwise, also if it was not in the tree
	all    bool  // also go into directories that the tree has already
	since  int64 // report of files only those with a change (ctime, ns) since

	// before returns what was skipped in a directory until now: that is watched
	// without a report. Nil is for rules that stay.
	before func(dir id) (skip func(name string) bool)
}

// A device is a file system that directories of the tree lie on.
type device struct {
	major, minor uint32
	leaves       bool // a directory with two links has no subdirectories
}

func (d device) is(st inode) bool {
	return d.major == st.major && d.minor == st.minor
}

// An inode is what matters of a file's attributes.
type inode struct {
	ino          uint64
	ctime        int64 // ns
	major, minor uint32
	links        uint32
	kind         byte // DT_DIR, DT_REG...
}

// same says whether st is the same file.
func (st inode) same(other inode) bool {
	return st.ino == other.ino && st.major == other.major && st.minor == other.minor
}

// inodeAt looks at name in the directory open as fd, not following a symbolic
// link, or at fd itself when name is empty.
func inodeAt(fd int, name string) (inode, error) {
	var st unix.Statx_t
	const want = unix.STATX_TYPE | unix.STATX_INO | unix.STATX_NLINK | unix.STATX_CTIME
	if err := unix.Statx(fd, name, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW, want, &st); err != nil {
		return inode{}, os.NewSyscallError("statx", err)
	}
	return inode{
		ino: st.Ino, ctime: st.Ctime.Sec*1e9 + int64(st.Ctime.Nsec),
		major: st.Dev_major, minor: st.Dev_minor, links: st.Nlink,
		kind: byte(st.Mode & unix.S_IFMT >> 12),
	}, nil
}

// A scanner looks into directories, watches what it finds and tells the tree.
// Its lock guards the Watcher's state while the Watcher's own lock is held by
// the one who started the crawl; it is not held over system calls.
type scanner struct {
	w        *Watcher
	mu       sync.Mutex
	changed  sync.Cond // todo, or nothing is left to do
	requests []scanRequest
	busy     int
	idle     int // workers that wait
	started  int // all workers
	wg       sync.WaitGroup
	limit    error // there was not enough of something; see exhausted
}

// runScan works off tasks and all that they lead to.
func (w *Watcher) runScan(workers int, tasks ...scanRequest) error {
	c := &scanner{w: w, requests: tasks}
	c.changed.L = &c.mu
	c.started = min(workers, runtime.GOMAXPROCS(0))
	for range c.started {
		c.wg.Go(c.workUnshared)
	}
	if workers == 0 {
		c.work(new(scratch), false)
	}
	c.wg.Wait()
	if workers > 0 {
		w.tree.trim()
	}
	return c.limit
}

// workUnshared is work with a working directory of its own, so that names need
// no path before them; that is a third of a watch's price. The thread ends with
// the goroutine, except for the process's first, which never ends: it must not
// stay in a directory, whose file system could not be unmounted any more.
func (c *scanner) workUnshared() {
	runtime.LockOSThread()
	apart := unix.Unshare(unix.CLONE_FS) == nil
	c.work(new(scratch), apart)
	if apart {
		unix.Chdir("/")
	}
}

// A scratch is what a worker uses again for each directory.
type scratch struct {
	buf     []byte // getdents(2) fills it
	names   []byte // of entries, one after the other
	entries []scanEntry
}

func (d *scratch) clear() {
	if d.buf == nil {
		d.buf = make([]byte, 32<<10)
	}
	d.names, d.entries = d.names[:0], d.entries[:0]
}

// keep copies a name out of buf.
func (d *scratch) keep(name []byte) []byte {
	start := len(d.names)
	d.names = append(d.names, name...)
	return d.names[start:]
}

// scan is crawl while Run is under way, when nobody waits for an error.
func (w *Watcher) scan(workers int, tasks ...scanRequest) {
	w.noteLimit(w.runScan(workers, tasks...))
}

// noteLimit says once that watches are missing.
func (w *Watcher) noteLimit(err error) {
	if err == nil || w.toldLimit {
		return
	}
	w.toldLimit = true
	for n, names := range w.unwatched.dirs {
		for _, sp := range names {
			if sp.lacksResources() && w.tree.reachable(n) {
				w.problem(watchLimitError(w.rootPaths[w.tree.root(n)], nil, sp.reason))
				return
			}
		}
	}
}

// scanName looks at the directory that is name in n, open as fd.
func (w *Watcher) scanName(n id, fd int, name []byte, announced bool) {
	c := &scanner{w: w}
	c.changed.L = &c.mu
	d := new(scratch)
	v := c.newDirScan(scanRequest{dir: n, report: true}, d)
	v.add(fd, scanEntry{name: name, kind: unix.DT_DIR, announced: announced})
	v.finish()
	c.work(d, false)
	w.noteLimit(c.limit)
}

// reportBelow reports everything below n, whose reader knows of nothing there.
func (w *Watcher) reportBelow(n id) {
	w.detachBelow(n)
	w.scan(0, scanRequest{dir: n, report: true})
}

// detachBelow takes all directories below n out of the tree: a scan is to find
// them there as if they were new. One that is not there any more must not go
// along unsaid when a record of its rename comes.
func (w *Watcher) detachBelow(n id) {
	for _, x := range w.tree.subtree(nil, n)[1:] {
		w.detach(x, detachment{})
	}
}

// appeared handles a directory that appeared under name in n. Announced says
// that this is reported already.
func (w *Watcher) appeared(n id, name []byte, announced bool) {
	if !w.tree.reachable(n) {
		return // all of n is reported when it is found
	}
	fd, err := w.openNode(n, unix.O_PATH)
	switch {
	case err == nil:
		w.scanName(n, fd, name, announced)
		unix.Close(fd)
	case announced:
		w.verify(n, name, reportAbsent)
	default:
		w.verify(n, name, 0)
	}
}

// work does tasks until there are none. apart says that the goroutine may
// change the working directory.
func (c *scanner) work(d *scratch, apart bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for len(c.requests) == 0 && c.busy > 0 {
			c.idle++
			c.changed.Wait()
			c.idle--
		}
		if len(c.requests) == 0 {
			c.changed.Broadcast()
			return
		}
		last := len(c.requests) - 1
		t := c.requests[last]
		c.requests = c.requests[:last]
		c.busy++
		c.scanDir(t, d, apart)
		c.busy--
		c.wakeWorkers()
	}
}

// wakeWorkers wakes as many workers as there is work for beside our own.
func (c *scanner) wakeWorkers() {
	for range min(c.idle, len(c.requests)-1) {
		c.changed.Signal()
	}
}

// addWorker adds a worker when looking into a directory took long, because then
// it was not the processor that it waited for.
func (c *scanner) addWorker(took time.Duration) {
	if took > slowDirectory && 0 < c.started && c.started < mostWorkers {
		c.started++
		c.wg.Go(c.workUnshared)
	}
}

// scanDir does one task. The lock is held on entry and on return.
func (c *scanner) scanDir(t scanRequest, d *scratch, apart bool) {
	w := c.w
	if c.scanUnwatched(t) {
		return
	}
	d.clear()
	v := c.newDirScan(t, d)
	where := w.dirPath(t.dir)
	c.mu.Unlock()
	start := time.Now()
	fd, err := where.open(unix.O_RDONLY)
	if err == nil {
		v.isWorkDir = apart && unix.Fchdir(fd) == nil
		err = v.list(fd)
		unix.Close(fd)
	}
	took := time.Since(start)
	c.mu.Lock()
	c.addWorker(took)
	switch {
	case isNotThere(err):
		w.scanLater(t)
	case isResourceLimit(err):
		wd := w.tree.nodes[t.dir].wd
		w.retryLater(&os.PathError{Op: "look into", Path: w.path(t.dir), Err: err}, func() {
			if w.tree.nodes[t.dir].wd == wd {
				w.scan(0, t)
			}
		})
	case err != nil:
		w.problem(&os.PathError{Op: "look into", Path: w.path(t.dir), Err: err})
	}
	if c.started > 0 {
		w.tree.reserveMore(len(v.entries))
	}
	v.finish()
}

// scanLater has a directory that was not in its place found and scanned. That
// a root is gone, the kernel reports.
func (w *Watcher) scanLater(t scanRequest) {
	parent := w.tree.nodes[t.dir].parent
	if parent == 0 {
		return
	}
	w.verify(parent, w.tree.nameOf(t.dir), 0)
	if t.all {
		w.reportAnew(t.dir)
	} else {
		w.unscanned[t.dir] = struct{}{}
	}
}

// A dirScan collects what there is in one directory, without the lock, and
// tells the tree, with it.
type dirScan struct {
	*scratch
	scanner   *scanner
	req       scanRequest
	mask      uint32
	skip      func(name string) bool // nil skips nothing
	before    func(name string) bool // what was skipped until now; nil is nothing
	isWorkDir bool                   // the working directory is the one visited
	observed  bool                   // somebody watches already, to whom a new directory is news
	leaves    bool                   // trust link counts of directories on this device
	dev       device
	changed   bool // the directory itself, since t.since
}

// An scanEntry is a name in a directory, with its watch if it is a directory.
type scanEntry struct {
	name  []byte
	kind  byte   // DT_DIR, DT_REG...
	ino   uint64 // in the listing
	wd    int32
	inode inode
	err   error // why a directory has no watch

	announced  bool  // its event is out
	skipped    bool  // nobody wants to know more of it
	wrongWatch int32 // a watch on another directory; 0 is none
}

// newDirScan prepares a visit of t.dir; it needs the lock.
func (c *scanner) newDirScan(t scanRequest, d *scratch) *dirScan {
	dev := c.w.devs[c.w.tree.nodes[t.dir].dev]
	var before func(name string) bool
	if t.before != nil {
		before = t.before(t.dir)
	}
	return &dirScan{
		scratch: d, scanner: c, req: t, before: before, mask: watchFlags | uint32(c.w.mask),
		skip: c.w.skipper(t.dir), observed: !t.quiet && c.w.observed(t.dir), dev: dev, leaves: dev.leaves && !t.report,
	}
}

// list reads the open directory and looks at every name in it.
func (v *dirScan) list(fd int) error {
	if v.req.since != 0 {
		st, err := inodeAt(fd, "")
		if err != nil {
			return err
		}
		v.changed = st.ctime >= v.req.since
	}
	for {
		n, err := unix.ReadDirent(fd, v.buf)
		if err != nil {
			return err
		}
		if n <= 0 {
			return nil
		}
		for rest := v.buf[:n]; len(rest) > 0; {
			var e scanEntry
			e, rest = cutDirent(rest)
			if string(e.name) == "." || string(e.name) == ".." {
				continue
			}
			v.add(fd, e)
		}
	}
}

// add notes one name, and puts a watch on it if it is a directory.
func (v *dirScan) add(fd int, e scanEntry) {
	if e.kind == unix.DT_UNKNOWN || e.kind != unix.DT_DIR && v.req.since != 0 {
		var err error
		if e.inode, err = inodeAt(fd, string(e.name)); err != nil {
			return // gone again, and the kernel will say so
		}
		e.kind = e.inode.kind
	}
	if e.kind != unix.DT_DIR {
		if v.req.report && e.inode.ctime >= v.req.since {
			e.name = v.keep(e.name)
			v.entries = append(v.entries, e)
		}
		return
	}
	if v.skip != nil && v.skip(string(e.name)) {
		v.addSkipped(e, fd)
		return
	}
	e.name = v.keep(e.name)
	v.watch(&e, fd)
	if !v.dev.is(e.inode) && e.err == nil {
		v.checkRemote(&e, fd)
	}
	v.entries = append(v.entries, e)
}

// addSkipped notes a directory that is skipped, for its appearance is an event all
// the same. Whether it is new is not known of one that a resync meets.
func (v *dirScan) addSkipped(e scanEntry, fd int) {
	if !v.req.report || e.announced {
		return
	}
	if v.req.since != 0 {
		var err error
		if e.inode, err = inodeAt(fd, string(e.name)); err != nil || e.inode.ctime < v.req.since {
			return
		}
	}
	v.entries = append(v.entries, scanEntry{name: bytes.Clone(e.name), kind: unix.DT_DIR, skipped: true})
}

// checkRemote takes the watch back if the file system that begins here is remote.
func (v *dirScan) checkRemote(e *scanEntry, fd int) {
	if fs := v.scanner.w.remote(fd, string(e.name)); fs != "" {
		e.wrongWatch, e.wd, e.err = e.wd, 0, &RemoteError{FS: fs}
	}
}

// watch puts a watch on the directory. While nobody waits for events it takes
// the short way, and another if the name seems to have changed hands: a watch
// must never pass for that of another directory.
func (v *dirScan) watch(e *scanEntry, fd int) {
	if !v.req.report {
		v.watchName(e, fd)
		if e.err == nil && e.inode.ino == e.ino {
			return
		}
		e.wrongWatch, e.wd = e.wd, 0
	}
	own, err := unix.Openat(fd, string(e.name), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		e.err = err
		return
	}
	defer unix.Close(own)
	if e.inode, e.err = inodeAt(own, ""); e.err != nil {
		return
	}
	wd, err := unix.InotifyAddWatch(v.scanner.w.fd, procPath(own, ""), v.mask)
	e.wd, e.err = int32(wd), err
}

// watchName puts a watch on what has the name now and then looks at what has
// it, which need not be the same.
func (v *dirScan) watchName(e *scanEntry, fd int) {
	at := string(e.name)
	if !v.isWorkDir {
		at = procPath(fd, at)
	}
	wd, err := unix.InotifyAddWatch(v.scanner.w.fd, at, v.mask|unix.IN_DONT_FOLLOW)
	if err == nil {
		e.wd = int32(wd)
		e.inode, err = inodeAt(fd, string(e.name))
	}
	e.err = err
}

// finish enters what the visit found into the tree; it needs the lock.
func (v *dirScan) finish() {
	w := v.scanner.w
	if v.changed {
		w.emit(v.req.dir, nil, Modify|IsDir, nil)
	}
	for i := range v.entries {
		e := &v.entries[i]
		if e.wrongWatch != 0 {
			w.unwanted = append(w.unwanted, e.wrongWatch) // it must not stay if nobody knows it
		}
		switch {
		case e.kind != unix.DT_DIR:
			w.removeEntry(v.req.dir, e.name, w.tree.lookup(v.req.dir, e.name))
			w.emitFound(v.req.dir, e.name)
		case e.skipped:
			w.emit(v.req.dir, e.name, Create|IsDir, nil)
		case e.err != nil:
			v.finishUnwatched(e)
		default:
			v.finishDir(e)
		}
	}
}

// finishUnwatched handles a directory that could not be watched, or that was gone
// again by then.
func (v *dirScan) finishUnwatched(e *scanEntry) {
	switch {
	case isNotThere(e.err) && e.announced:
		v.scanner.w.verify(v.req.dir, e.name, reportAbsent)
		return
	case isNotThere(e.err):
		return
	}
	if isResourceLimit(e.err) {
		v.scanner.limit = cmp.Or(v.scanner.limit, e.err)
	}
	if v.scanner.w.addUnwatched(v.req, e) && v.req.report && !e.announced {
		v.scanner.w.emit(v.req.dir, e.name, Create|IsDir, nil)
	}
}

// finishDir puts a watched directory where it was found, and has it looked into
// when it may hold what somebody does not know of.
func (v *dirScan) finishDir(e *scanEntry) {
	w := v.scanner.w
	n, fresh := w.place(v.req.dir, e)
	if n == 0 {
		return
	}
	w.tree.nodes[n].generation = w.generation
	below := v.req
	below.dir = n
	if fresh {
		wasSkipped := v.before != nil && v.before(string(e.name))
		below.since, below.before = 0, nil
		below.report = v.req.report || v.observed && !wasSkipped
		below.quiet = v.req.quiet || wasSkipped
		if w.only != nil && w.observedByOthers(n) {
			w.unscanned[n] = struct{}{} // what is in it is told to one alone
		}
	}
	if below.report && fresh {
		w.detachBelow(n)
	}
	if below.report && !e.announced && (fresh || v.req.all && v.req.since == 0) {
		w.emit(v.req.dir, e.name, Create|IsDir, nil)
	}
	leaf := v.leaves && e.inode.links == 2 && v.dev.is(e.inode) && !below.report
	if (fresh || v.req.all) && !leaf {
		v.scanner.requests = append(v.scanner.requests, below)
	}
}

// place makes the tree say that the directory behind e.wd is e.name in
// parent. It says whether the tree did not have it at a known place before.
// n is 0 when this name is an alias (a bind mount) of a directory that is
// watched under another.
func (w *Watcher) place(parent id, e *scanEntry) (n id, fresh bool) {
	dev := w.device(e.inode, -1)
	n = w.tree.byWd.get(e.wd)
	if n == 0 {
		n = w.tree.add(e.wd, dev, e.inode.ino)
	}
	w.tree.nodes[n].dev, w.tree.nodes[n].ino = dev, e.inode.ino
	switch {
	case w.tree.nodes[n].parent == parent && string(w.tree.nameOf(n)) == string(e.name):
		return n, false
	case w.tree.nodes[n].parent != 0 && w.isInPlace(n):
		return 0, false
	case w.tree.above(n, parent):
		w.verifyBoth(n, parent, e.name)
		return 0, false
	}
	w.detachMoved(n)
	if old := w.tree.lookup(parent, e.name); old != 0 {
		w.removeEntry(parent, e.name, old)
		e.announced = false // that event is void
	}
	w.attach(n, parent, e.name)
	return n, true
}

// detachMoved detaches n, which was found at another place than the tree has it.
// What is at the old place may be known to the reader already, who takes it to
// be gone now, so it is said once more.
func (w *Watcher) detachMoved(n id) {
	x := &w.tree.nodes[n]
	if old := x.parent; old != 0 {
		name := bytes.Clone(w.tree.nameOf(n))
		w.verify(old, name, reportPresent)
		w.tree.detach(n)
		w.emit(old, name, Delete|IsDir, nil)
	}
	if x.flags&flagRoot != 0 {
		w.tree.setFlags(n, 0, flagRoot)
		delete(w.rootPaths, n)
	}
}

// verifyBoth has two places checked: the one where the tree has n, and name in
// parent below n, where a scan met n. A root can only be an alias there.
func (w *Watcher) verifyBoth(n, parent id, name []byte) {
	if w.tree.nodes[n].flags&flagRoot != 0 {
		return
	}
	if old := w.tree.nodes[n].parent; old != 0 {
		w.verify(old, w.tree.nameOf(n), 0)
	}
	w.verify(parent, name, 0)
}

// isInPlace asks the disk whether n is where the tree has it.
func (w *Watcher) isInPlace(n id) bool {
	fd, err := w.openNode(n, unix.O_PATH)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// device finds or enters the file system that st lies on. fd is a directory
// on it, or -1.
func (w *Watcher) device(st inode, fd int) uint16 {
	for i, d := range w.devs {
		if d.is(st) {
			return uint16(i)
		}
	}
	d := device{major: st.major, minor: st.minor}
	if fd >= 0 {
		d.leaves = countsLinks(fd)
	}
	w.devs = append(w.devs, d)
	return uint16(len(w.devs) - 1)
}

// countsLinks says whether a directory's link count tells how many
// directories it holds. On btrfs, overlayfs and network file systems it does
// not.
func countsLinks(fd int) bool {
	var fs unix.Statfs_t
	if unix.Fstatfs(fd, &fs) != nil {
		return false
	}
	switch fs.Type {
	case unix.EXT4_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.XFS_SUPER_MAGIC:
		return true
	}
	return false
}

// cutDirent decodes one struct linux_dirent64 (getdents(2)). The name points
// into buf.
func cutDirent(buf []byte) (scanEntry, []byte) {
	const kind, start = 18, 19
	size := binary.NativeEndian.Uint16(buf[16:])
	name, _, _ := bytes.Cut(buf[start:size], []byte{0})
	return scanEntry{name: name, kind: buf[kind], ino: binary.NativeEndian.Uint64(buf)}, buf[size:]
}

// procPath is a path that leads to name in the directory open as fd, to that
// very directory and whatever its own path is by now (proc(5)).
func procPath(fd int, name string) string {
	p := "/proc/self/fd/" + strconv.Itoa(fd)
	if name != "" {
		p += "/" + name
	}
	return p
}
