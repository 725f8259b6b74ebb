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

// found is the mask of a file that a scan met: it is there, with its content,
// and nobody is known to be writing it.
const found = Create | Modify | CloseWrite

// A scan begins with one worker for each processor, up to workers. When
// directories come from a disk so that looking into one takes patience, more
// of them help, up to mostWorkers.
const (
	workers     = 4
	mostWorkers = 8
	patience    = 5 * time.Millisecond
)

// watchFlags go with every watch. Masks only ever grow, so that a root keeps
// what it needs beside the tree that it lies in.
const watchFlags = unix.IN_ONLYDIR | unix.IN_EXCL_UNLINK | unix.IN_MASK_ADD

// A task is one directory to look into.
type task struct {
	dir    id
	report bool  // emit what is found
	quiet  bool  // what is found is told otherwise, also if it was not in the tree
	all    bool  // also go into directories that the tree has already
	since  int64 // report of files only those with a change (ctime, ns) since
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

// A crawl looks into directories, watches what it finds and tells the tree.
// Its lock guards the Watcher's state while the Watcher's own lock is held by
// the one who started the crawl; it is not held over system calls.
type crawl struct {
	w       *Watcher
	mu      sync.Mutex
	changed sync.Cond // todo, or nothing is left to do
	todo    []task
	busy    int
	idle    int // workers that wait
	team    int // all workers
	wg      sync.WaitGroup
	limit   error // there was not enough of something; see exhausted
}

// crawl works off tasks and all that they lead to.
func (w *Watcher) crawl(workers int, tasks ...task) error {
	c := &crawl{w: w, todo: tasks}
	c.changed.L = &c.mu
	c.team = min(workers, runtime.GOMAXPROCS(0))
	for range c.team {
		c.wg.Go(c.workApart)
	}
	if workers == 0 {
		c.work(new(desk), false)
	}
	c.wg.Wait()
	if workers > 0 {
		w.tree.trim()
	}
	return c.limit
}

// workApart is work with a working directory of its own, so that names need
// no path before them; that is a third of a watch's price. The thread ends with
// the goroutine, except for the process's first, which never ends: it must not
// stay in a directory, whose file system could not be unmounted any more.
func (c *crawl) workApart() {
	runtime.LockOSThread()
	apart := unix.Unshare(unix.CLONE_FS) == nil
	c.work(new(desk), apart)
	if apart {
		unix.Chdir("/")
	}
}

// A desk is what a worker uses again for each directory.
type desk struct {
	buf     []byte // getdents(2) fills it
	names   []byte // of entries, one after the other
	entries []entry
}

func (d *desk) clear() {
	if d.buf == nil {
		d.buf = make([]byte, 32<<10)
	}
	d.names, d.entries = d.names[:0], d.entries[:0]
}

// keep copies a name out of buf.
func (d *desk) keep(name []byte) []byte {
	start := len(d.names)
	d.names = append(d.names, name...)
	return d.names[start:]
}

// scan is crawl while Run is under way, when nobody waits for an error.
func (w *Watcher) scan(workers int, tasks ...task) {
	w.noteLimit(w.crawl(workers, tasks...))
}

// noteLimit says once that watches are missing.
func (w *Watcher) noteLimit(err error) {
	if err == nil || w.limited {
		return
	}
	w.limited = true
	for n, names := range w.blind.spots {
		for _, sp := range names {
			if sp.starved() && w.tree.live(n) {
				w.problem(shortage(w.tops[w.tree.top(n)], nil, sp.why))
				return
			}
		}
	}
}

// crawlName looks at the directory that is name in n, open as fd.
func (w *Watcher) crawlName(n id, fd int, name []byte, announced bool) {
	c := &crawl{w: w}
	c.changed.L = &c.mu
	d := new(desk)
	v := c.visit(task{dir: n, report: true}, d)
	v.look(fd, entry{name: name, kind: unix.DT_DIR, announced: announced})
	v.tell()
	c.work(d, false)
	w.noteLimit(c.limit)
}

// rescan reports everything below n, whose reader knows of nothing there.
func (w *Watcher) rescan(n id) {
	w.scatter(n)
	w.scan(0, task{dir: n, report: true})
}

// scatter takes all directories below n out of the tree: a scan is to find
// them there as if they were new. One that is not there any more must not go
// along unsaid when a record of its rename comes.
func (w *Watcher) scatter(n id) {
	for _, x := range w.tree.subtree(nil, n)[1:] {
		w.leave(x, limbo{})
	}
}

// arrive handles a directory that appeared under name in n. Announced says
// that this is reported already.
func (w *Watcher) arrive(n id, name []byte, announced bool) {
	if !w.tree.live(n) {
		return // all of n is reported when it is found
	}
	fd, err := w.openNode(n, unix.O_PATH)
	switch {
	case err == nil:
		w.crawlName(n, fd, name, announced)
		unix.Close(fd)
	case announced:
		w.recheck(n, name, sayGone)
	default:
		w.recheck(n, name, 0)
	}
}

// work does tasks until there are none. apart says that the goroutine may
// change the working directory.
func (c *crawl) work(d *desk, apart bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for len(c.todo) == 0 && c.busy > 0 {
			c.idle++
			c.changed.Wait()
			c.idle--
		}
		if len(c.todo) == 0 {
			c.changed.Broadcast()
			return
		}
		last := len(c.todo) - 1
		t := c.todo[last]
		c.todo = c.todo[:last]
		c.busy++
		c.look(t, d, apart)
		c.busy--
		c.share()
	}
}

// share wakes as many workers as there is work for beside our own.
func (c *crawl) share() {
	for range min(c.idle, len(c.todo)-1) {
		c.changed.Signal()
	}
}

// helped adds a worker when looking into a directory took long, because then
// it was not the processor that it waited for.
func (c *crawl) helped(took time.Duration) {
	if took > patience && 0 < c.team && c.team < mostWorkers {
		c.team++
		c.wg.Go(c.workApart)
	}
}

// look does one task. The lock is held on entry and on return.
func (c *crawl) look(t task, d *desk, apart bool) {
	w := c.w
	if c.crawlBlind(t) {
		return
	}
	d.clear()
	v := c.visit(t, d)
	where := w.whereabouts(t.dir)
	c.mu.Unlock()
	start := time.Now()
	fd, err := where.open(unix.O_RDONLY)
	if err == nil {
		v.inside = apart && unix.Fchdir(fd) == nil
		err = v.list(fd)
		unix.Close(fd)
	}
	took := time.Since(start)
	c.mu.Lock()
	c.helped(took)
	switch {
	case astray(err):
		w.lookLater(t)
	case exhausted(err):
		wd := w.tree.nodes[t.dir].wd
		w.postpone(&os.PathError{Op: "look into", Path: w.path(t.dir), Err: err}, func() {
			if w.tree.nodes[t.dir].wd == wd {
				w.scan(0, t)
			}
		})
	case err != nil:
		w.problem(&os.PathError{Op: "look into", Path: w.path(t.dir), Err: err})
	}
	if c.team > 0 {
		w.tree.expect(len(v.entries))
	}
	v.tell()
}

// lookLater has a directory that was not in its place found and scanned. That
// a root is gone, the kernel reports.
func (w *Watcher) lookLater(t task) {
	parent := w.tree.nodes[t.dir].parent
	if parent == 0 {
		return
	}
	w.recheck(parent, w.tree.nameOf(t.dir), 0)
	if t.all {
		w.restate(t.dir)
	} else {
		w.missed[t.dir] = struct{}{}
	}
}

// A visit collects what there is in one directory, without the lock, and
// tells the tree, with it.
type visit struct {
	*desk
	c       *crawl
	t       task
	mask    uint32
	skip    func(name string) bool // nil skips nothing
	inside  bool                   // the working directory is the one visited
	news    bool                   // somebody watches already, to whom a new directory is news
	leaves  bool                   // trust link counts of directories on this device
	dev     device
	changed bool // the directory itself, since t.since
}

// An entry is a name in a directory, with its watch if it is a directory.
type entry struct {
	name []byte
	kind byte   // DT_DIR, DT_REG...
	ino  uint64 // in the listing
	wd   int32
	st   inode
	err  error // why a directory has no watch

	announced bool  // its event is out
	skipped   bool  // nobody wants to know more of it
	stray     int32 // a watch on another directory; 0 is none
}

// visit prepares a visit of t.dir; it needs the lock.
func (c *crawl) visit(t task, d *desk) *visit {
	dev := c.w.devs[c.w.tree.nodes[t.dir].dev]
	return &visit{
		desk: d, c: c, t: t, mask: watchFlags | uint32(c.w.mask),
		skip: c.w.skipper(t.dir), news: !t.quiet && c.w.heard(t.dir), dev: dev, leaves: dev.leaves && !t.report,
	}
}

// list reads the open directory and looks at every name in it.
func (v *visit) list(fd int) error {
	if v.t.since != 0 {
		st, err := inodeAt(fd, "")
		if err != nil {
			return err
		}
		v.changed = st.ctime >= v.t.since
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
			var e entry
			e, rest = cutDirent(rest)
			if string(e.name) == "." || string(e.name) == ".." {
				continue
			}
			v.look(fd, e)
		}
	}
}

// look notes one name, and puts a watch on it if it is a directory.
func (v *visit) look(fd int, e entry) {
	if e.kind == unix.DT_UNKNOWN || e.kind != unix.DT_DIR && v.t.since != 0 {
		var err error
		if e.st, err = inodeAt(fd, string(e.name)); err != nil {
			return // gone again, and the kernel will say so
		}
		e.kind = e.st.kind
	}
	if e.kind != unix.DT_DIR {
		if v.t.report && e.st.ctime >= v.t.since {
			e.name = v.keep(e.name)
			v.entries = append(v.entries, e)
		}
		return
	}
	if v.skip != nil && v.skip(string(e.name)) {
		v.leaveOut(e, fd)
		return
	}
	e.name = v.keep(e.name)
	v.watch(&e, fd)
	if !v.dev.is(e.st) && e.err == nil {
		v.crossed(&e, fd)
	}
	v.entries = append(v.entries, e)
}

// leaveOut notes a directory that is skipped, for its appearance is an event all
// the same. Whether it is new is not known of one that a resync meets.
func (v *visit) leaveOut(e entry, fd int) {
	if !v.t.report || e.announced {
		return
	}
	if v.t.since != 0 {
		var err error
		if e.st, err = inodeAt(fd, string(e.name)); err != nil || e.st.ctime < v.t.since {
			return
		}
	}
	v.entries = append(v.entries, entry{name: bytes.Clone(e.name), kind: unix.DT_DIR, skipped: true})
}

// crossed takes the watch back if the file system that begins here is remote.
func (v *visit) crossed(e *entry, fd int) {
	if fs := v.c.w.remote(fd, string(e.name)); fs != "" {
		e.stray, e.wd, e.err = e.wd, 0, &RemoteError{FS: fs}
	}
}

// watch puts a watch on the directory. While nobody waits for events it takes
// the short way, and another if the name seems to have changed hands: a watch
// must never pass for that of another directory.
func (v *visit) watch(e *entry, fd int) {
	if !v.t.report {
		v.watchName(e, fd)
		if e.err == nil && e.st.ino == e.ino {
			return
		}
		e.stray, e.wd = e.wd, 0
	}
	own, err := unix.Openat(fd, string(e.name), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		e.err = err
		return
	}
	defer unix.Close(own)
	if e.st, e.err = inodeAt(own, ""); e.err != nil {
		return
	}
	wd, err := unix.InotifyAddWatch(v.c.w.fd, procPath(own, ""), v.mask)
	e.wd, e.err = int32(wd), err
}

// watchName puts a watch on what has the name now and then looks at what has
// it, which need not be the same.
func (v *visit) watchName(e *entry, fd int) {
	at := string(e.name)
	if !v.inside {
		at = procPath(fd, at)
	}
	wd, err := unix.InotifyAddWatch(v.c.w.fd, at, v.mask|unix.IN_DONT_FOLLOW)
	if err == nil {
		e.wd = int32(wd)
		e.st, err = inodeAt(fd, string(e.name))
	}
	e.err = err
}

// tell enters what the visit found into the tree; it needs the lock.
func (v *visit) tell() {
	w := v.c.w
	if v.changed {
		w.emit(v.t.dir, nil, Modify|IsDir, nil)
	}
	for i := range v.entries {
		e := &v.entries[i]
		if e.stray != 0 {
			w.doomed = append(w.doomed, e.stray) // it must not stay if nobody knows it
		}
		switch {
		case e.kind != unix.DT_DIR:
			w.displace(v.t.dir, e.name, w.tree.lookup(v.t.dir, e.name))
			w.emitFound(v.t.dir, e.name)
		case e.skipped:
			w.emit(v.t.dir, e.name, Create|IsDir, nil)
		case e.err != nil:
			v.unwatched(e)
		default:
			v.place(e)
		}
	}
}

// unwatched handles a directory that could not be watched, or that was gone
// again by then.
func (v *visit) unwatched(e *entry) {
	switch {
	case astray(e.err) && e.announced:
		v.c.w.recheck(v.t.dir, e.name, sayGone)
		return
	case astray(e.err):
		return
	}
	if exhausted(e.err) {
		v.c.limit = cmp.Or(v.c.limit, e.err)
	}
	if v.c.w.goBlind(v.t, e) && v.t.report && !e.announced {
		v.c.w.emit(v.t.dir, e.name, Create|IsDir, nil)
	}
}

// place puts a watched directory where it was found, and has it looked into
// when it may hold what somebody does not know of.
func (v *visit) place(e *entry) {
	w := v.c.w
	n, fresh := w.place(v.t.dir, e)
	if n == 0 {
		return
	}
	w.tree.nodes[n].round = w.round
	below := v.t
	below.dir = n
	if fresh {
		below.since = 0
		below.report = v.t.report || v.news
		if w.only != nil && w.heardBeside(n) {
			w.missed[n] = struct{}{} // what is in it is told to one alone
		}
	}
	if below.report && fresh {
		w.scatter(n)
	}
	if below.report && !e.announced && (fresh || v.t.all && v.t.since == 0) {
		w.emit(v.t.dir, e.name, Create|IsDir, nil)
	}
	leaf := v.leaves && e.st.links == 2 && v.dev.is(e.st) && !below.report
	if (fresh || v.t.all) && !leaf {
		v.c.todo = append(v.c.todo, below)
	}
}

// place makes the tree say that the directory behind e.wd is e.name in
// parent. It says whether the tree did not have it at a known place before.
// n is 0 when this name is an alias (a bind mount) of a directory that is
// watched under another.
func (w *Watcher) place(parent id, e *entry) (n id, fresh bool) {
	dev := w.device(e.st, -1)
	n = w.tree.byWd.get(e.wd)
	if n == 0 {
		n = w.tree.add(e.wd, dev, e.st.ino)
	}
	w.tree.nodes[n].dev, w.tree.nodes[n].ino = dev, e.st.ino
	switch {
	case w.tree.nodes[n].parent == parent && string(w.tree.nameOf(n)) == string(e.name):
		return n, false
	case w.tree.nodes[n].parent != 0 && w.holds(n):
		return 0, false
	case w.tree.above(n, parent):
		w.doubt(n, parent, e.name)
		return 0, false
	}
	w.uproot(n)
	if old := w.tree.lookup(parent, e.name); old != 0 {
		w.displace(parent, e.name, old)
		e.announced = false // that event is void
	}
	w.settleIn(n, parent, e.name)
	return n, true
}

// uproot detaches n, which was found at another place than the tree has it.
// What is at the old place may be known to the reader already, who takes it to
// be gone now, so it is said once more.
func (w *Watcher) uproot(n id) {
	x := &w.tree.nodes[n]
	if old := x.parent; old != 0 {
		name := bytes.Clone(w.tree.nameOf(n))
		w.recheck(old, name, sayThere)
		w.tree.detach(n)
		w.emit(old, name, Delete|IsDir, nil)
	}
	if x.flags&flagTop != 0 {
		w.tree.mark(n, 0, flagTop)
		delete(w.tops, n)
	}
}

// doubt has two places checked: the one where the tree has n, and name in
// parent below n, where a scan met n. A root can only be an alias there.
func (w *Watcher) doubt(n, parent id, name []byte) {
	if w.tree.nodes[n].flags&flagTop != 0 {
		return
	}
	if old := w.tree.nodes[n].parent; old != 0 {
		w.recheck(old, w.tree.nameOf(n), 0)
	}
	w.recheck(parent, name, 0)
}

// holds asks the disk whether n is where the tree has it.
func (w *Watcher) holds(n id) bool {
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
func cutDirent(buf []byte) (entry, []byte) {
	const kind, start = 18, 19
	size := binary.NativeEndian.Uint16(buf[16:])
	name, _, _ := bytes.Cut(buf[start:size], []byte{0})
	return entry{name: name, kind: buf[kind], ino: binary.NativeEndian.Uint64(buf)}, buf[size:]
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
