package inotify

import (
	"cmp"
	"errors"
	"iter"
	"maps"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify/internal/dirfd"
	"github.com/execlog/execlogd/inotify/internal/dirtree"
	"github.com/execlog/execlogd/inotify/internal/poll"
)

// A directory that cannot be watched is an unwatched directory: a root, or a name in a directory
// that is watched. It is no part of the tree, unless it is a root, and nothing below it is. It is
// polled, unless it cannot be read either: then its parent reports when its mode changes.

// defaultPoll is the default of Options.PollInterval.
const defaultPoll = 2 * time.Second

// retryBatch is how many directories are tried again at one time, so that the queue does not fill up
// meanwhile.
const retryBatch = 512

// An unwatchedDir is a directory without a watch.
type unwatchedDir struct {
	reason      error         // ENOSPC, a *RemoteError, or why it may not be watched
	inode       dirfd.Inode   // of the directory
	seen        poll.Snapshot // the last one; nil before the first
	reportFirst bool          // the first snapshot is reported
}

// lacksResources reports whether the directory can be watched as soon as there is room.
func (u *unwatchedDir) lacksResources() bool { return isResourceLimit(u.reason) }

// remoteFS returns the remote file system that the directory is on, or "".
func (u *unwatchedDir) remoteFS() string {
	if remote, ok := errors.AsType[*RemoteError](u.reason); ok {
		return remote.FS
	}
	return ""
}

// isPolled reports whether the directory can be read.
func (u *unwatchedDir) isPolled() bool { return u.remoteFS() != "" || u.lacksResources() }

// stableInos reports whether files keep their inode numbers. A FUSE server need not remember them.
func (u *unwatchedDir) stableInos() bool { return u.remoteFS() != "fuse" }

// is reports whether st is of this directory.
func (u *unwatchedDir) is(st dirfd.Inode) bool {
	if !u.stableInos() {
		st.Ino = u.inode.Ino
	}
	return u.inode.Same(st)
}

// unwatchedDirs has the unwatched directories, and the timer for what is polled. The timer does not run
// while nothing is polled and nothing is to be retried.
type unwatchedDirs struct {
	dirs    map[dirtree.ID]map[string]*unwatchedDir // by directory and name; of a root, itself and ""
	version uint64                                  // changes with dirs
	unseen  []dirEntry                              // polled ones without a snapshot

	interval time.Duration // between two polls, or two times to retry
	off      bool          // nothing is polled
	polled   int           // polled directories and files
	retries  []func()      // see Watcher.retryLater
	next     time.Time     // when the timer goes off, if it runs
}

func newUnwatchedDirs(interval time.Duration) unwatchedDirs {
	us := unwatchedDirs{interval: interval, off: interval < 0, dirs: map[dirtree.ID]map[string]*unwatchedDir{}}
	if interval <= 0 {
		us.interval = defaultPoll
	}
	return us
}

// get returns the unwatched directory that is name in n, or the root n when name is empty; nil is none.
func (us *unwatchedDirs) get(n dirtree.ID, name string) *unwatchedDir { return us.dirs[n][name] }

// all yields all unwatched directories, each with the directory that it is in. The set may change
// meanwhile.
func (us *unwatchedDirs) all() iter.Seq2[dirtree.ID, *unwatchedDir] {
	return func(yield func(dirtree.ID, *unwatchedDir) bool) {
		for n, names := range us.dirs {
			for _, u := range names {
				if !yield(n, u) {
					return
				}
			}
		}
	}
}

func (us *unwatchedDirs) put(at dirEntry, u *unwatchedDir) {
	us.remove(at.dir, at.name)
	if us.dirs[at.dir] == nil {
		us.dirs[at.dir] = map[string]*unwatchedDir{}
	}
	us.dirs[at.dir][at.name] = u
	us.version++
	if u.isPolled() {
		us.addPolled()
		us.unseen = append(us.unseen, at)
	}
}

// remove reports whether there was such a directory.
func (us *unwatchedDirs) remove(n dirtree.ID, name string) bool {
	u := us.dirs[n][name]
	if u == nil {
		return false
	}

	if u.isPolled() {
		us.polled--
	}

	us.version++
	delete(us.dirs[n], name)
	if len(us.dirs[n]) == 0 {
		delete(us.dirs, n)
	}
	return true
}

// addPolled counts one more thing to be polled.
func (us *unwatchedDirs) addPolled() {
	us.startTimer()
	us.polled++
}

// startTimer starts the timer unless it runs.
func (us *unwatchedDirs) startTimer() {
	if !us.hasTimer() {
		us.next = time.Now().Add(us.interval)
	}
}

// hasTimer reports whether the timer runs.
func (us *unwatchedDirs) hasTimer() bool {
	return us.polled > 0 && !us.off || len(us.retries) > 0
}

// due reports whether there is anything to poll or to retry now.
func (us *unwatchedDirs) due() bool {
	return len(us.unseen) > 0 || us.hasTimer() && !time.Now().Before(us.next)
}

// timeout returns how long epoll_wait(2) may wait, in ms; -1 is for ever.
func (us *unwatchedDirs) timeout() int {
	if !us.hasTimer() {
		return -1
	}
	return int(max(0, time.Until(us.next)+time.Millisecond-1) / time.Millisecond)
}

// unreadable returns the directories that are not polled either, in an order that is always the same.
func (us *unwatchedDirs) unreadable() (entries []dirEntry) {
	for n, names := range us.dirs {
		for name, u := range names {
			if !u.isPolled() {
				entries = append(entries, dirEntry{dir: n, name: name})
			}
		}
	}
	slices.SortFunc(entries, func(a, b dirEntry) int { return cmp.Or(cmp.Compare(a.dir, b.dir), cmp.Compare(a.name, b.name)) })
	return entries
}

// Unwatched counts the directories that are known and have no watch: there is no room for one, no
// permission, or they are on a remote file system.
func (w *Watcher) Unwatched() (count int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, u := range w.unwatched.all() {
		count += max(1, len(u.seen))
	}
	return count
}

// addUnwatched enters a directory that a scan has found and that has no watch, and reports the reason
// once. It returns whether subscribers do not know of the directory.
func (w *Watcher) addUnwatched(req scanRequest, e *scanEntry) (isNew bool) {
	u := &unwatchedDir{reason: e.err, inode: e.inode, reportFirst: req.kind.reports()}
	path := w.path(req.dir) + "/" + string(e.name)
	old := w.unwatched.get(req.dir, string(e.name))
	known := old != nil && old.isPolled() == u.isPolled() && old.is(u.inode)
	if known && (!req.kind.reports() || req.kind == scanChanged) {
		return false
	}

	w.unwatched.put(w.entry(req.dir, e.name), u)
	switch {
	case known:
	case u.remoteFS() != "":
		w.problem(&RemoteError{Path: path, FS: u.remoteFS()})
	case !u.lacksResources(): // reportLimit reports that of all together
		w.problem(&os.PathError{Op: "watch", Path: path, Err: u.reason})
	}
	return true
}

// retryUnreadable tries again what could not be watched and can be now, because the mode of name in n
// has changed. It is that directory itself, or it is in it: what is in a directory cannot be reached
// without search permission. child is the directory in the tree, or 0.
func (w *Watcher) retryUnreadable(n, child dirtree.ID, name []byte) {
	if child == 0 {
		if u := w.unwatched.get(n, string(name)); u == nil || !u.isPolled() {
			w.appeared(n, name, u != nil)
		}
		return
	}

	for in, u := range w.unwatched.dirs[child] {
		if !u.isPolled() {
			w.verify(child, []byte(in), 0)
		}
	}
}

// retryLater has retry called, with the lock held, when the timer goes off next. The reason is reported
// as a problem, once until there is nothing to retry any more.
func (w *Watcher) retryLater(reason error, retry func()) {
	w.unwatched.startTimer()
	w.unwatched.retries = append(w.unwatched.retries, retry)
	if !w.shortageReported {
		w.shortageReported = true
		w.problem(reason)
	}
}

// failed handles an error that says nothing about what was looked at: retry is called later when a
// resource had run out, and any other error is reported as a problem.
func (w *Watcher) failed(err error, retry func()) {
	if isResourceLimit(err) {
		w.retryLater(err, retry)
	} else {
		w.problem(err)
	}
}

// poll looks at everything that is to be polled or retried now, and reports whether there was anything.
func (w *Watcher) poll() bool {
	if !w.unwatched.due() {
		return false
	}
	w.pollUnseen()
	if !w.unwatched.due() {
		return true
	}

	retries := w.unwatched.retries
	w.unwatched.retries = nil
	for _, retry := range retries {
		retry()
	}

	if !w.unwatched.off {
		w.retryWatches()
		w.pollFiles()
		for n, names := range maps.Clone(w.unwatched.dirs) {
			for name, u := range names {
				w.pollDir(n, name, u)
			}
		}
	}
	w.unwatched.next = time.Now().Add(w.unwatched.interval)
	return true
}

// pollUnseen takes the first snapshot of the directories that have none.
func (w *Watcher) pollUnseen() {
	unseen := w.unwatched.unseen
	w.unwatched.unseen = nil
	for _, at := range unseen {
		if u := w.unwatched.get(at.dir, at.name); u != nil && u.seen == nil {
			w.pollDir(at.dir, at.name, u)
		}
	}
}

// pollBelow polls what is below dir, whose SkipDir may answer otherwise than before.
func (w *Watcher) pollBelow(dir dirtree.ID) {
	for n, names := range w.unwatched.dirs {
		if !w.tree.Encloses(dir, n) {
			continue
		}
		for name, u := range names {
			w.pollDir(n, name, u)
		}
	}
}

// pollDir reports what has changed in an unwatched directory since the last snapshot.
func (w *Watcher) pollDir(n dirtree.ID, name string, u *unwatchedDir) {
	if !u.isPolled() || !w.tree.Reachable(n) || w.mustStop() {
		return
	}
	fd, err := w.openUnwatched(n, name, u)
	switch {
	case err == nil:
		defer unix.Close(fd)
	case name == "" && isNotThere(err):
		w.pending.resolve(w.subscribed[n]...)
		return
	case isNotThere(err):
		w.unwatched.remove(n, name)
		if errors.Is(err, errStale) {
			w.emit(n, []byte(name), Delete|IsDir, nil)
		}
		w.verify(n, []byte(name), 0)
		return
	default:
		return // it may be read at the next poll
	}

	opts := poll.Options{StableInos: u.stableInos(), Before: u.seen}
	skip := w.skipFunc(n, nil, nil)
	opts.Skip = func(path string) bool {
		if w.mustStop() {
			return true
		}
		w.looked.Add(1)
		return skip != nil && skip(poll.Join(name, path))
	}
	now := poll.Take(fd, opts)
	if w.mustStop() {
		return // it is not complete
	}
	if u.seen != nil || u.reportFirst {
		poll.Compare(u.seen, now, func(c poll.Change) {
			mask := Mask(scanMask)
			switch {
			case c.Removed:
				mask = Delete
			case c.Dir:
				mask = Create
			}
			if c.Dir {
				mask |= IsDir
			}
			w.emit(n, []byte(poll.Join(name, c.Path)), mask, nil)
		})
	}
	u.seen, u.reportFirst = now, false
}

// errMoved says that a directory is not where the tree has it. Records of the kernel will tell.
var errMoved = errors.New("the directory has moved")

// openUnwatched opens an unwatched directory. The error errStale says that another is there now.
func (w *Watcher) openUnwatched(n dirtree.ID, name string, u *unwatchedDir) (fd int, err error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC
	if name == "" {
		fd, err = unix.Open(w.path(n), flags, 0)
	} else {
		dir, openErr := w.openDir(n, unix.O_PATH)
		if openErr != nil {
			return -1, errMoved
		}
		defer unix.Close(dir)
		fd, err = unix.Openat(dir, name, flags|unix.O_NOFOLLOW, 0)
	}
	if err != nil {
		return -1, err
	}

	st, err := dirfd.Stat(fd, "")
	if err == nil && !u.is(st) {
		err = errStale
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// retryWatches watches the directories for which there is room by now.
func (w *Watcher) retryWatches() {
	tries := 0
	for n, names := range maps.Clone(w.unwatched.dirs) {
		for name, u := range maps.Clone(names) {
			if !u.lacksResources() || !w.tree.Reachable(n) {
				continue
			}
			if tries++; tries > retryBatch || !w.retryWatch(n, name, u) {
				return
			}
		}
	}

	w.limitReported = false
	for _, u := range w.unwatched.all() {
		w.limitReported = w.limitReported || u.lacksResources()
	}
}

// retryWatch makes an unwatched directory a part of the tree, and reports whether there was room for
// all of it. Once the watches are there, a last snapshot finds what happened before.
func (w *Watcher) retryWatch(n dirtree.ID, name string, u *unwatchedDir) (room bool) {
	var err error
	if name == "" {
		n, err = w.retryRoot(n, u)
	} else if fd, openErr := w.openDir(n, unix.O_PATH); openErr == nil { // otherwise there may be room all the same
		err = w.scanEntry(scanRequest{dir: n, kind: scanSilent}, fd, scanEntry{name: []byte(name), ino: u.inode.Ino})
		unix.Close(fd)
	}

	if w.unwatched.get(n, name) == u {
		return !isResourceLimit(err)
	}
	w.pollUnseen()
	w.pollDir(n, name, u)
	return err == nil
}

// retryRoot watches the root n, and returns the directory that it is now: it may be in the tree of
// another root.
func (w *Watcher) retryRoot(n dirtree.ID, u *unwatchedDir) (dirtree.ID, error) {
	fd, err := w.openUnwatched(n, "", u)
	if err != nil {
		return n, nil // there may be room all the same
	}
	defer unix.Close(fd)
	wd, err := w.watchRootDir(fd)
	if err != nil {
		return n, err
	}

	w.unwatched.remove(n, "")
	other := w.tree.ByWatch(wd)
	if other == 0 {
		w.tree.SetWatch(n, wd)
		return n, w.runScan(workers, scanRequest{dir: n, kind: scanSilent})
	}
	subs := w.subscribed[n]
	delete(w.subscribed, n)
	delete(w.rootPaths, n)
	w.removeDir(n)
	for _, s := range subs {
		w.setRoot(s, other)
	}
	return other, nil
}
