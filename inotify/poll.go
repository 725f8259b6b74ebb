package inotify

import (
	"errors"
	"maps"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A directory that cannot be watched is a spot: a name in a directory that
// is, or a root. A spot is no part of the tree and nothing below it is. It is
// looked at from time to time, unless it cannot be read either: then a change
// of its mode is what its parent's watch reports.

// defaultPoll is the default of Options.PollInterval.
const defaultPoll = 2 * time.Second

// retriesAtOnce bounds how many directories are tried anew at one time, so
// that the queue does not fill up meanwhile.
const retriesAtOnce = 512

// A spot is a directory without a watch.
type spot struct {
	why  error     // ENOSPC, a *RemoteError, or why it may not be watched
	st   inode     // of the directory
	seen sightings // nil before the first look
	tell bool      // the first look reports what is there
}

// starved says whether it takes no more than room for a watch.
func (s *spot) starved() bool { return exhausted(s.why) }

func (s *spot) remote() (*RemoteError, bool) { return errors.AsType[*RemoteError](s.why) }

// polled says whether it can be looked at at all.
func (s *spot) polled() bool {
	_, remote := s.remote()
	return remote || s.starved()
}

// numbered says whether files keep their inode numbers. A FUSE server need not
// remember them.
func (s *spot) numbered() bool {
	remote, ok := s.remote()
	return !ok || remote.FS != "fuse"
}

// is says whether st is the spot's directory.
func (s *spot) is(st inode) bool {
	return s.st.major == st.major && s.st.minor == st.minor && (s.st.ino == st.ino || !s.numbered())
}

// A poller is what a Watcher knows of directories that it cannot watch. While
// there is none to be looked at, its timer does not run.
type poller struct {
	interval time.Duration // negative: never
	spots    map[id]map[string]*spot
	polled   int    // spots, and mounted files without a watch
	fresh    []slot // not looked at yet
	next     time.Time

	postponed []func() // what could not be looked at; see Watcher.postpone
}

func newPoller(interval time.Duration) poller {
	if interval == 0 {
		interval = defaultPoll
	}
	return poller{interval: interval, spots: map[id]map[string]*spot{}}
}

// get finds the spot under name in n, or the root n when name is empty.
func (p *poller) get(n id, name string) *spot { return p.spots[n][name] }

func (p *poller) put(at slot, sp *spot) {
	p.remove(at.dir, at.name)
	if p.spots[at.dir] == nil {
		p.spots[at.dir] = map[string]*spot{}
	}
	p.spots[at.dir][at.name] = sp
	if !sp.polled() {
		return
	}
	if !p.waits() {
		p.next = time.Now().Add(p.interval)
	}
	p.polled++
	p.fresh = append(p.fresh, at)
}

// remove says whether there was a spot.
func (p *poller) remove(n id, name string) bool {
	sp := p.spots[n][name]
	if sp == nil {
		return false
	}
	if sp.polled() {
		p.polled--
	}
	if delete(p.spots[n], name); len(p.spots[n]) == 0 {
		delete(p.spots, n)
	}
	return true
}

// holds says whether st is the directory of a spot that is looked at.
func (p *poller) holds(at slot, st inode) bool {
	sp := p.get(at.dir, at.name)
	return sp != nil && sp.polled() && sp.is(st)
}

// replaced says whether a spot is looked at whose directory is not st.
func (p *poller) replaced(at slot, st inode) bool {
	sp := p.get(at.dir, at.name)
	return sp != nil && sp.polled() && !sp.is(st)
}

// forget removes all spots in n.
func (p *poller) forget(n id) {
	for name := range p.spots[n] {
		p.remove(n, name)
	}
}

// waits says whether the timer runs.
func (p *poller) waits() bool {
	return p.polled > 0 && p.interval > 0 || len(p.postponed) > 0
}

// pause is the time between two looks. What was postponed is tried again even
// if nothing is polled.
func (p *poller) pause() time.Duration {
	if p.interval < 0 {
		return defaultPoll
	}
	return p.interval
}

// due says whether there is anything to look at.
func (p *poller) due() bool {
	return len(p.fresh) > 0 || p.waits() && !time.Now().Before(p.next)
}

// timeout is how long epoll_wait(2) may wait, in its milliseconds.
func (p *poller) timeout() int {
	if !p.waits() {
		return -1
	}
	return int(max(0, time.Until(p.next)+time.Millisecond-1) / time.Millisecond)
}

// Unwatched counts the directories that are known and have no watch: no room
// for one, no permission, or a remote file system.
func (w *Watcher) Unwatched() (count int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, names := range w.blind.spots {
		for _, sp := range names {
			count += max(1, len(sp.seen))
		}
	}
	return count
}

// goBlind notes that a task met a directory that has no watch, and tells of
// it once. It says whether that is news to the reader.
func (w *Watcher) goBlind(t task, e *entry) (news bool) {
	sp := &spot{why: e.err, st: e.st, tell: t.report}
	if remote, ok := sp.remote(); ok {
		remote.Path = w.path(t.dir) + "/" + string(e.name)
	}
	old := w.blind.get(t.dir, string(e.name))
	known := old != nil && old.polled() == sp.polled() && old.is(sp.st)
	if known && (!t.report || t.since != 0) {
		return false
	}
	w.blind.put(w.slot(t.dir, e.name), sp)
	if _, remote := sp.remote(); !known && remote {
		w.problem(sp.why)
	} else if !known && !sp.starved() {
		w.problem(&os.PathError{Op: "watch", Path: w.path(t.dir) + "/" + string(e.name), Err: sp.why})
	}
	return true
}

// plantBlind puts s at the directory open as fd, which is not watched.
func (w *Watcher) plantBlind(s *subscriber, fd int, why error) (id, error) {
	st, err := inodeAt(fd, "")
	if err != nil {
		return 0, &os.PathError{Op: "watch", Path: s.root, Err: err}
	}
	n := w.tree.addUnwatched(w.device(st, fd), st.ino)
	sp := &spot{why: why, st: st}
	w.blind.put(w.slot(n, nil), sp)
	w.anchor(s, n)
	if _, remote := sp.remote(); remote {
		w.problem(why)
	}
	return n, nil
}

// crawlBlind is a crawl's task in a root that is not watched; it says whether
// that is what t is.
func (c *crawl) crawlBlind(t task) bool {
	sp := c.w.blind.get(t.dir, "")
	if sp == nil {
		return false
	}
	if t.report && t.since == 0 {
		again := *sp
		again.seen, again.tell = nil, true
		c.w.blind.put(c.w.slot(t.dir, nil), &again)
	}
	if sp.starved() {
		c.limit = sp.why
	}
	return true
}

// readable tries again what could not be watched and may be now, because the
// mode of name in n changed. It is that directory itself, or it is in it: what
// is in a directory cannot be reached without search permission.
func (w *Watcher) readable(n, child id, name []byte) {
	if child == 0 {
		if sp := w.blind.get(n, string(name)); sp == nil || !sp.polled() {
			w.arrive(n, name, sp != nil)
		}
		return
	}
	for in, sp := range w.blind.spots[child] {
		if !sp.polled() {
			w.recheck(child, []byte(in), 0)
		}
	}
}

// poll looks at all that is to be looked at now.
func (w *Watcher) poll() (worked bool) {
	if !w.blind.due() {
		return false
	}
	w.lookAtFresh()
	if !w.blind.due() {
		return true
	}
	w.takeUp()
	if w.blind.interval > 0 {
		w.lookAtAll()
	}
	w.blind.next = time.Now().Add(w.blind.pause())
	return true
}

// lookAtAll watches what there is room for by now, and looks at the rest.
func (w *Watcher) lookAtAll() {
	w.retry()
	w.pollMountedFiles()
	w.pollRootFiles()
	for n, names := range maps.Clone(w.blind.spots) {
		for name, sp := range names {
			w.lookAt(n, name, sp)
		}
	}
}

// lookAtFresh takes the first look at what was found since.
func (w *Watcher) lookAtFresh() {
	fresh := w.blind.fresh
	w.blind.fresh = nil
	for _, at := range fresh {
		if sp := w.blind.get(at.dir, at.name); sp != nil && sp.seen == nil {
			w.lookAt(at.dir, at.name, sp)
		}
	}
}

// lookAt reports what has changed in a spot since the last look.
func (w *Watcher) lookAt(n id, name string, sp *spot) {
	if !sp.polled() || !w.tree.live(n) {
		return
	}
	fd, err := w.openSpot(n, name, sp)
	switch {
	case err == nil:
		defer unix.Close(fd)
		w.compare(n, name, sp, fd)
	case name == "" && (vanished(err) || errors.Is(err, errStale)):
		w.doubtRoots(w.anchors[n])
	case vanished(err):
		w.blind.remove(n, name)
		w.recheck(n, []byte(name), 0)
	case errors.Is(err, errStale):
		w.blind.remove(n, name)
		w.emit(n, []byte(name), Delete|IsDir, nil)
		w.recheck(n, []byte(name), 0)
	}
}

// openSpot opens the directory; errStale says that another is there now.
func (w *Watcher) openSpot(n id, name string, sp *spot) (int, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC
	fd, err := -1, error(nil)
	if name == "" {
		fd, err = unix.Open(w.path(n), flags, 0)
	} else {
		fd, err = w.openIn(n, name, flags|unix.O_NOFOLLOW)
	}
	if err != nil {
		return -1, err
	}
	st, err := inodeAt(fd, "")
	if err == nil && !sp.is(st) {
		err = errStale
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// errElsewhere says that a directory is not where the tree has it, and that
// records of the kernel will tell.
var errElsewhere = errors.New("the directory has moved")

func (w *Watcher) openIn(n id, name string, flags int) (int, error) {
	dir, err := w.openNode(n, unix.O_PATH)
	if err != nil {
		return -1, errElsewhere
	}
	defer unix.Close(dir)
	return unix.Openat(dir, name, flags, 0)
}

// compare looks at the spot open as fd, and reports what is not as it was.
func (w *Watcher) compare(n id, name string, sp *spot, fd int) {
	l := look{skip: under(name, w.skipper(n)), numbered: sp.numbered(), before: sp.seen, now: sightings{}}
	l.into(fd, "")
	if sp.seen != nil || sp.tell {
		differences(sp.seen, l.now, "", func(path string, mask Mask) {
			w.emit(n, []byte(below(name, path)), mask, nil)
		})
	}
	sp.seen, sp.tell = l.now, false
}

// retry watches what there is room for by now.
func (w *Watcher) retry() {
	tries := 0
	for n, names := range maps.Clone(w.blind.spots) {
		for name, sp := range maps.Clone(names) {
			if !sp.starved() || !w.tree.live(n) {
				continue
			}
			if tries++; tries > retriesAtOnce || !w.watchSpot(n, name, sp) {
				return
			}
		}
	}
	w.limited = w.starved()
}

func (w *Watcher) starved() bool {
	for _, names := range w.blind.spots {
		for _, sp := range names {
			if sp.starved() {
				return true
			}
		}
	}
	return false
}

// watchSpot makes the spot a part of the tree and says whether there was room
// for all of it. Once the watches are there a last look finds what happened
// before.
func (w *Watcher) watchSpot(n id, name string, sp *spot) (room bool) {
	var err error
	if name == "" {
		n, err = w.watchTop(n, sp)
	} else {
		err = w.watchName(n, name, sp)
	}
	if at := w.blind.get(n, name); at == sp {
		return !exhausted(err)
	}
	w.lookAtFresh()
	w.lookAt(n, name, sp)
	return err == nil
}

// watchName crawls into the spot under name in n.
func (w *Watcher) watchName(n id, name string, sp *spot) error {
	fd, err := w.openNode(n, unix.O_PATH)
	if err != nil {
		return nil // there may be room all the same
	}
	defer unix.Close(fd)
	c := &crawl{w: w}
	c.changed.L = &c.mu
	d := new(desk)
	v := c.visit(task{dir: n, quiet: true}, d)
	v.look(fd, entry{name: []byte(name), kind: unix.DT_DIR, ino: sp.st.ino})
	v.tell()
	c.work(d, false)
	return c.limit
}

// watchTop crawls into the root n, and returns the directory that it is now:
// another root's tree may have it.
func (w *Watcher) watchTop(n id, sp *spot) (id, error) {
	fd, err := w.openSpot(n, "", sp)
	if err != nil {
		return n, nil // there may be room all the same
	}
	defer unix.Close(fd)
	wd, err := unix.InotifyAddWatch(w.fd, procPath(fd, ""), watchFlags|uint32(w.mask|DeleteSelf|MoveSelf))
	if err != nil {
		return n, err
	}
	w.blind.remove(n, "")
	if other := w.tree.byWd.get(int32(wd)); other != 0 {
		w.moveAnchors(n, other)
		return other, nil
	}
	w.tree.watched(n, int32(wd))
	return n, w.crawl(workers, task{dir: n, quiet: true})
}

// moveAnchors makes those whose root is n have theirs at other.
func (w *Watcher) moveAnchors(n, other id) {
	subs := w.anchors[n]
	delete(w.anchors, n)
	delete(w.tops, n)
	w.forget(n)
	for _, s := range subs {
		w.anchor(s, other)
	}
}
