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

// A unwatchedDir is a directory without a watch.
type unwatchedDir struct {
	reason      error        // ENOSPC, a *RemoteError, or why it may not be watched
	inode       inode        // of the directory
	seen        pollSnapshot // nil before the first look
	reportFirst bool         // the first look reports what is there
}

// lacksResources says whether it takes no more than room for a watch.
func (s *unwatchedDir) lacksResources() bool { return isResourceLimit(s.reason) }

func (s *unwatchedDir) remote() (*RemoteError, bool) { return errors.AsType[*RemoteError](s.reason) }

// polled says whether it can be looked at at all.
func (s *unwatchedDir) polled() bool {
	_, remote := s.remote()
	return remote || s.lacksResources()
}

// numbered says whether files keep their inode numbers. A FUSE server need not
// remember them.
func (s *unwatchedDir) numbered() bool {
	remote, ok := s.remote()
	return !ok || remote.FS != "fuse"
}

// is says whether st is the spot's directory.
func (s *unwatchedDir) is(st inode) bool {
	return s.inode.major == st.major && s.inode.minor == st.minor && (s.inode.ino == st.ino || !s.numbered())
}

// A unwatchedDirs is what a Watcher knows of directories that it cannot watch. While
// there is none to be looked at, its timer does not run.
type unwatchedDirs struct {
	interval time.Duration // negative: never
	dirs     map[id]map[string]*unwatchedDir
	polled   int        // spots, and mounted files without a watch
	unseen   []dirEntry // not looked at yet
	next     time.Time

	retries []func() // what could not be looked at; see Watcher.postpone
}

func newUnwatchedDirs(interval time.Duration) unwatchedDirs {
	if interval == 0 {
		interval = defaultPoll
	}
	return unwatchedDirs{interval: interval, dirs: map[id]map[string]*unwatchedDir{}}
}

// get finds the spot under name in n, or the root n when name is empty.
func (p *unwatchedDirs) get(n id, name string) *unwatchedDir { return p.dirs[n][name] }

func (p *unwatchedDirs) put(at dirEntry, sp *unwatchedDir) {
	p.remove(at.dir, at.name)
	if p.dirs[at.dir] == nil {
		p.dirs[at.dir] = map[string]*unwatchedDir{}
	}
	p.dirs[at.dir][at.name] = sp
	if !sp.polled() {
		return
	}
	if !p.hasTimer() {
		p.next = time.Now().Add(p.interval)
	}
	p.polled++
	p.unseen = append(p.unseen, at)
}

// remove says whether there was a spot.
func (p *unwatchedDirs) remove(n id, name string) bool {
	sp := p.dirs[n][name]
	if sp == nil {
		return false
	}
	if sp.polled() {
		p.polled--
	}
	if delete(p.dirs[n], name); len(p.dirs[n]) == 0 {
		delete(p.dirs, n)
	}
	return true
}

// isAt says whether st is the directory of a spot that is looked at.
func (p *unwatchedDirs) isAt(at dirEntry, st inode) bool {
	sp := p.get(at.dir, at.name)
	return sp != nil && sp.polled() && sp.is(st)
}

// replaced says whether a spot is looked at whose directory is not st.
func (p *unwatchedDirs) replaced(at dirEntry, st inode) bool {
	sp := p.get(at.dir, at.name)
	return sp != nil && sp.polled() && !sp.is(st)
}

// removeAll removes all spots in n.
func (p *unwatchedDirs) removeAll(n id) {
	for name := range p.dirs[n] {
		p.remove(n, name)
	}
}

// hasTimer says whether the timer runs.
func (p *unwatchedDirs) hasTimer() bool {
	return p.polled > 0 && p.interval > 0 || len(p.retries) > 0
}

// retryInterval is the time between two looks. What was postponed is tried again even
// if nothing is polled.
func (p *unwatchedDirs) retryInterval() time.Duration {
	if p.interval < 0 {
		return defaultPoll
	}
	return p.interval
}

// due says whether there is anything to look at.
func (p *unwatchedDirs) due() bool {
	return len(p.unseen) > 0 || p.hasTimer() && !time.Now().Before(p.next)
}

// timeout is how long epoll_wait(2) may wait, in its milliseconds.
func (p *unwatchedDirs) timeout() int {
	if !p.hasTimer() {
		return -1
	}
	return int(max(0, time.Until(p.next)+time.Millisecond-1) / time.Millisecond)
}

// Unwatched counts the directories that are known and have no watch: no room
// for one, no permission, or a remote file system.
func (w *Watcher) Unwatched() (count int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, names := range w.unwatched.dirs {
		for _, sp := range names {
			count += max(1, len(sp.seen))
		}
	}
	return count
}

// addUnwatched notes that a task met a directory that has no watch, and tells of
// it once. It says whether that is news to the reader.
func (w *Watcher) addUnwatched(t scanRequest, e *scanEntry) (news bool) {
	sp := &unwatchedDir{reason: e.err, inode: e.inode, reportFirst: t.report}
	if remote, ok := sp.remote(); ok {
		remote.Path = w.path(t.dir) + "/" + string(e.name)
	}
	old := w.unwatched.get(t.dir, string(e.name))
	known := old != nil && old.polled() == sp.polled() && old.is(sp.inode)
	if known && (!t.report || t.since != 0) {
		return false
	}
	w.unwatched.put(w.dirEntry(t.dir, e.name), sp)
	if _, remote := sp.remote(); !known && remote {
		w.problem(sp.reason)
	} else if !known && !sp.lacksResources() {
		w.problem(&os.PathError{Op: "watch", Path: w.path(t.dir) + "/" + string(e.name), Err: sp.reason})
	}
	return true
}

// subscribeUnwatched puts s at the directory open as fd, which is not watched.
func (w *Watcher) subscribeUnwatched(s *subscriber, fd int, why error) (id, error) {
	st, err := inodeAt(fd, "")
	if err != nil {
		return 0, &os.PathError{Op: "watch", Path: s.root, Err: err}
	}
	n := w.tree.addUnwatched(w.device(st, fd), st.ino)
	sp := &unwatchedDir{reason: why, inode: st}
	w.unwatched.put(w.dirEntry(n, nil), sp)
	w.setRoot(s, n)
	if _, remote := sp.remote(); remote {
		w.problem(why)
	}
	return n, nil
}

// scanUnwatched is a crawl's task in a root that is not watched; it says whether
// that is what t is.
func (c *scanner) scanUnwatched(t scanRequest) bool {
	sp := c.w.unwatched.get(t.dir, "")
	if sp == nil {
		return false
	}
	if t.report && t.since == 0 {
		again := *sp
		again.seen, again.reportFirst = nil, true
		c.w.unwatched.put(c.w.dirEntry(t.dir, nil), &again)
	}
	if sp.lacksResources() {
		c.limit = sp.reason
	}
	return true
}

// retryUnreadable tries again what could not be watched and may be now, because the
// mode of name in n changed. It is that directory itself, or it is in it: what
// is in a directory cannot be reached without search permission.
func (w *Watcher) retryUnreadable(n, child id, name []byte) {
	if child == 0 {
		if sp := w.unwatched.get(n, string(name)); sp == nil || !sp.polled() {
			w.appeared(n, name, sp != nil)
		}
		return
	}
	for in, sp := range w.unwatched.dirs[child] {
		if !sp.polled() {
			w.verify(child, []byte(in), 0)
		}
	}
}

// poll looks at all that is to be looked at now.
func (w *Watcher) poll() (worked bool) {
	if !w.unwatched.due() {
		return false
	}
	w.pollUnseen()
	if !w.unwatched.due() {
		return true
	}
	w.runRetries()
	if w.unwatched.interval > 0 {
		w.pollAll()
	}
	w.unwatched.next = time.Now().Add(w.unwatched.retryInterval())
	return true
}

// pollAll watches what there is room for by now, and looks at the rest.
func (w *Watcher) pollAll() {
	w.retryWatches()
	w.pollMountedFiles()
	w.pollRootFiles()
	for n, names := range maps.Clone(w.unwatched.dirs) {
		for name, sp := range names {
			w.pollDir(n, name, sp)
		}
	}
}

// pollUnseen takes the first look at what was found since.
func (w *Watcher) pollUnseen() {
	fresh := w.unwatched.unseen
	w.unwatched.unseen = nil
	for _, at := range fresh {
		if sp := w.unwatched.get(at.dir, at.name); sp != nil && sp.seen == nil {
			w.pollDir(at.dir, at.name, sp)
		}
	}
}

// pollDir reports what has changed in a spot since the last look.
func (w *Watcher) pollDir(n id, name string, sp *unwatchedDir) {
	if !sp.polled() || !w.tree.reachable(n) {
		return
	}
	fd, err := w.openUnwatched(n, name, sp)
	switch {
	case err == nil:
		defer unix.Close(fd)
		w.compare(n, name, sp, fd)
	case name == "" && (vanished(err) || errors.Is(err, errStale)):
		w.resolveLater(w.subscribed[n])
	case vanished(err):
		w.unwatched.remove(n, name)
		w.verify(n, []byte(name), 0)
	case errors.Is(err, errStale):
		w.unwatched.remove(n, name)
		w.emit(n, []byte(name), Delete|IsDir, nil)
		w.verify(n, []byte(name), 0)
	}
}

// openUnwatched opens the directory; errStale says that another is there now.
func (w *Watcher) openUnwatched(n id, name string, sp *unwatchedDir) (int, error) {
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
func (w *Watcher) compare(n id, name string, sp *unwatchedDir, fd int) {
	l := pollScan{skip: under(name, w.skipper(n)), numbered: sp.numbered(), before: sp.seen, now: pollSnapshot{}}
	l.dir(fd, "")
	if sp.seen != nil || sp.reportFirst {
		comparePolls(sp.seen, l.now, "", func(path string, mask Mask) {
			w.emit(n, []byte(below(name, path)), mask, nil)
		})
	}
	sp.seen, sp.reportFirst = l.now, false
}

// retryWatches watches what there is room for by now.
func (w *Watcher) retryWatches() {
	tries := 0
	for n, names := range maps.Clone(w.unwatched.dirs) {
		for name, sp := range maps.Clone(names) {
			if !sp.lacksResources() || !w.tree.reachable(n) {
				continue
			}
			if tries++; tries > retriesAtOnce || !w.retryWatch(n, name, sp) {
				return
			}
		}
	}
	w.toldLimit = w.anyLacksResources()
}

func (w *Watcher) anyLacksResources() bool {
	for _, names := range w.unwatched.dirs {
		for _, sp := range names {
			if sp.lacksResources() {
				return true
			}
		}
	}
	return false
}

// retryWatch makes the spot a part of the tree and says whether there was room
// for all of it. Once the watches are there a last look finds what happened
// before.
func (w *Watcher) retryWatch(n id, name string, sp *unwatchedDir) (room bool) {
	var err error
	if name == "" {
		n, err = w.watchRoot(n, sp)
	} else {
		err = w.watchName(n, name, sp)
	}
	if at := w.unwatched.get(n, name); at == sp {
		return !isResourceLimit(err)
	}
	w.pollUnseen()
	w.pollDir(n, name, sp)
	return err == nil
}

// watchName crawls into the spot under name in n.
func (w *Watcher) watchName(n id, name string, sp *unwatchedDir) error {
	fd, err := w.openNode(n, unix.O_PATH)
	if err != nil {
		return nil // there may be room all the same
	}
	defer unix.Close(fd)
	c := &scanner{w: w}
	c.changed.L = &c.mu
	d := new(scratch)
	v := c.newDirScan(scanRequest{dir: n, quiet: true}, d)
	v.add(fd, scanEntry{name: []byte(name), kind: unix.DT_DIR, ino: sp.inode.ino})
	v.finish()
	c.work(d, false)
	return c.limit
}

// watchRoot crawls into the root n, and returns the directory that it is now:
// another root's tree may have it.
func (w *Watcher) watchRoot(n id, sp *unwatchedDir) (id, error) {
	fd, err := w.openUnwatched(n, "", sp)
	if err != nil {
		return n, nil // there may be room all the same
	}
	defer unix.Close(fd)
	wd, err := unix.InotifyAddWatch(w.fd, procPath(fd, ""), watchFlags|uint32(w.mask|DeleteSelf|MoveSelf))
	if err != nil {
		return n, err
	}
	w.unwatched.remove(n, "")
	if other := w.tree.byWd.get(int32(wd)); other != 0 {
		w.moveSubscriptions(n, other)
		return other, nil
	}
	w.tree.setWatch(n, int32(wd))
	return n, w.runScan(workers, scanRequest{dir: n, quiet: true})
}

// moveSubscriptions makes those whose root is n have theirs at other.
func (w *Watcher) moveSubscriptions(n, other id) {
	subs := w.subscribed[n]
	delete(w.subscribed, n)
	delete(w.rootPaths, n)
	w.removeDir(n)
	for _, s := range subs {
		w.setRoot(s, other)
	}
}
