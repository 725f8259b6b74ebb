package inotify

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A root is a path, and which directory it leads to can change without a word
// from that directory: it is replaced, a symbolic link on the way is turned to
// another release, a directory above is renamed. So every step of the way has
// a watch too, and what happens to one has the root looked for again.

// componentMask is what a directory on the way to a root is watched for.
const componentMask = Create | Delete | MovedFrom | MovedTo

// maxLinks is how many symbolic links a path may lead through, as in
// path_resolution(7).
const maxLinks = 40

// A component is a name in a directory, on the way to a root.
type component struct {
	wd   int32
	name string
}

// componentSet are the steps to all roots, with who takes which.
type componentSet struct {
	subscribers map[component][]*subscriber
	watched     map[int32]int // by watch descriptor
}

func newComponentSet() componentSet {
	return componentSet{subscribers: map[component][]*subscriber{}, watched: map[int32]int{}}
}

func (w *componentSet) add(st component, s *subscriber) {
	if slices.Contains(w.subscribers[st], s) {
		return // the way passes here twice
	}
	if len(w.subscribers[st]) == 0 {
		w.watched[st.wd]++
	}
	w.subscribers[st] = append(w.subscribers[st], s)
}

func (w *componentSet) remove(st component, s *subscriber) {
	i := slices.Index(w.subscribers[st], s)
	if i < 0 {
		return
	}
	w.subscribers[st] = slices.Delete(w.subscribers[st], i, i+1)
	if len(w.subscribers[st]) > 0 {
		return
	}
	delete(w.subscribers, st)
	if w.watched[st.wd]--; w.watched[st.wd] == 0 {
		delete(w.watched, st.wd)
	}
}

// applyToComponents notes whose root a record puts in doubt.
func (w *Watcher) applyToComponents(rec record) {
	if rec.mask&(componentMask|Ignored|Unmount) == 0 || w.components.watched[rec.wd] == 0 {
		return
	}
	if rec.mask&(Ignored|Unmount) != 0 {
		for st, takers := range w.components.subscribers {
			if st.wd == rec.wd {
				w.resolveLater(takers)
			}
		}
		return
	}
	w.resolveLater(w.components.subscribers[component{rec.wd, string(rec.name)}])
}

func (w *Watcher) resolveLater(subs []*subscriber) {
	for _, s := range subs {
		if !s.closed {
			w.lostRoots[s] = struct{}{}
		}
	}
}

// resolveRoots looks for the roots in doubt.
func (w *Watcher) resolveRoots() (worked bool) {
	for s := range w.lostRoots {
		delete(w.lostRoots, s)
		w.findRoot(s)
		worked = true
	}
	return worked
}

// A Location is a directory, as a root and the path below it.
type Location struct {
	Root string // as its Subscription names it
	Path string // as in Event.Path
}

// Locations says by which names the directory, or file, that root leads to is watched: as
// it is a root itself, and as it lies below others, whatever links or mounts
// lead there. The outermost root is first, and of several for one directory the
// one that was there first. There is none while nothing is at root, or when no
// Subscription has it.
func (w *Watcher) Locations(root string) []Location {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.subs, func(s *subscriber) bool { return s.Root == root && (s.dir != 0 || s.file != nil) })
	if i < 0 {
		return nil
	}
	dir, name := w.subs[i].dir, []byte(nil)
	if w.subs[i].file != nil {
		dir, name = w.locateFile(w.subs[i])
	}
	if dir == 0 || !w.paths.locate(dir, name) {
		return nil
	}
	var all []Location
	for _, h := range slices.Backward(w.paths.matches) {
		path := w.paths.from(h.start)
		for _, s := range h.subs {
			if !s.skips(path) {
				all = append(all, Location{Root: s.Root, Path: path})
			}
		}
	}
	return all
}

// findRoot makes s watch the directory that its path leads to now.
func (w *Watcher) findRoot(s *subscriber) {
	w.watchComponents(s) // first the watches: what changes from here on is in the queue
	fd, err := openRoot(s.root)
	switch {
	case errors.Is(err, unix.ENOTDIR) && w.findRootFile(s):
		return
	case isResourceLimit(err):
		w.retryLater(err, func() { w.resolveLater([]*subscriber{s}) })
		return
	case err != nil:
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
			w.problem(err)
		}
		w.loseRoot(s)
		return
	}
	defer unix.Close(fd)
	if w.isRoot(s.dir, fd) {
		return
	}
	w.loseRoot(s)
	n, err := w.watchRootDir(s, fd)
	if err != nil {
		w.problem(err)
		return
	}
	w.only = s
	s.queued = append(s.queued, Event{Root: s.Root, Path: ".", Mask: Create | IsDir}) // whatever it asks for
	w.scan(workers, scanRequest{dir: n, report: true, all: true})
	w.only = nil
	w.files.dirty = true
}

// isRoot says whether n is the directory open as fd, and watched. The number
// of a directory that was deleted can be another's by now, and the end of the
// watch be lost in an overflow.
func (w *Watcher) isRoot(n id, fd int) bool {
	st, err := inodeAt(fd, "")
	if n == 0 || err != nil || !w.hasInode(n, st) {
		return false
	}
	x := &w.tree.nodes[n]
	if x.wd == 0 {
		return true // it is looked at
	}
	wd, err := unix.InotifyAddWatch(w.fd, procPath(fd, ""), watchFlags|uint32(w.mask|DeleteSelf|MoveSelf))
	return err == nil && int32(wd) == x.wd
}

// watchComponents watches every step of the way to s's root, as far as there is one.
func (w *Watcher) watchComponents(s *subscriber) {
	old := s.components
	s.components = w.resolve(s.root)
	for _, st := range s.components {
		w.components.add(st, s)
	}
	for _, st := range old {
		if slices.Contains(s.components, st) {
			continue
		}
		w.components.remove(st, s)
		if w.components.watched[st.wd] == 0 {
			w.unwanted = append(w.unwanted, st.wd)
		}
	}
}

// resolve follows a path name by name, and puts a watch on each directory before
// it looks for the name in it. A directory that may not be watched is passed
// over. It ends early where the way does.
func (w *Watcher) resolve(path string) (way []component) {
	dir, links := "/", 0
	for rest := names(path); len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			dir = filepath.Dir(dir)
			continue
		}
		wd, err := unix.InotifyAddWatch(w.fd, dir, uint32(componentMask)|unix.IN_ONLYDIR|unix.IN_MASK_ADD)
		if err == nil {
			way = append(way, component{int32(wd), name})
		}
		target, err := os.Readlink(filepath.Join(dir, name))
		switch {
		case err == nil && links < maxLinks:
			links++
			if filepath.IsAbs(target) {
				dir = "/"
			}
			rest = append(names(target), rest...)
		case errors.Is(err, unix.EINVAL): // not a link
			dir = filepath.Join(dir, name)
		default:
			return way
		}
	}
	return way
}

// names are the names in a path; a dot is none.
func names(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(name string) bool { return name == "" || name == "." })
}

func openRoot(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "watch", Path: path, Err: err}
	}
	return fd, nil
}

// watchRootDir puts s at the directory open as fd.
func (w *Watcher) watchRootDir(s *subscriber, fd int) (id, error) {
	if fs := w.remote(fd, ""); fs != "" {
		return w.subscribeUnwatched(s, fd, &RemoteError{Path: s.root, FS: fs})
	}
	wd, err := unix.InotifyAddWatch(w.fd, procPath(fd, ""), watchFlags|uint32(w.mask|DeleteSelf|MoveSelf))
	if errors.Is(err, unix.ENOSPC) {
		return w.subscribeUnwatched(s, fd, err)
	}
	var st inode
	if err == nil {
		st, err = inodeAt(fd, "")
	}
	if err != nil {
		return 0, &os.PathError{Op: "watch", Path: s.root, Err: err}
	}
	n := w.tree.byWd.get(int32(wd))
	if n == 0 {
		n = w.tree.add(int32(wd), w.device(st, fd), st.ino)
		w.tree.nodes[n].generation = w.generation
	}
	w.setRoot(s, n)
	return n, nil
}

// setRoot makes n the directory of s.
func (w *Watcher) setRoot(s *subscriber, n id) {
	delete(w.detached, n)
	s.dir = n
	w.subscribed[n] = append(w.subscribed[n], s)
	w.tree.setFlags(n, flagSubscribed, 0)
	if w.tree.nodes[n].parent == 0 {
		w.makeRoot(n)
	}
}

// loseRoot takes s away from its directory, and tells it.
func (w *Watcher) loseRoot(s *subscriber) {
	if s.file != nil {
		w.unwatchRootFile(s)
		w.queueFileEvent(s, Delete)
		return
	}
	n := s.dir
	if n == 0 {
		return
	}
	w.only = s
	w.emitRoot(n, s.endMask|IsDir)
	w.only = nil
	s.dir, s.endMask = 0, MoveSelf
	w.subscribed[n] = slices.DeleteFunc(w.subscribed[n], func(other *subscriber) bool { return other == s })
	x := &w.tree.nodes[n]
	switch {
	case len(w.subscribed[n]) > 0:
		w.tree.setFlags(n, flagSubscribed, 0)
		w.makeRoot(n)
		return
	case x.flags&flagRoot != 0:
		w.detached[n] = detachment{}
	}
	delete(w.subscribed, n)
	delete(w.rootPaths, n)
	w.tree.setFlags(n, 0, flagRoot|flagSubscribed)
}

// makeRoot gives a root that has no place in another tree its own path.
func (w *Watcher) makeRoot(n id) {
	if w.tree.nodes[n].parent == 0 {
		w.tree.setFlags(n, flagRoot, 0)
		w.rootPaths[n] = w.subscribed[n][0].root
	}
}
