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

// stepMask is what a directory on the way to a root is watched for.
const stepMask = Create | Delete | MovedFrom | MovedTo

// maxLinks is how many symbolic links a path may lead through, as in
// path_resolution(7).
const maxLinks = 40

// A step is a name in a directory, on the way to a root.
type step struct {
	wd   int32
	name string
}

// ways are the steps to all roots, with who takes which.
type ways struct {
	takers map[step][]*subscriber
	steps  map[int32]int // by watch descriptor
}

func newWays() ways {
	return ways{takers: map[step][]*subscriber{}, steps: map[int32]int{}}
}

func (w *ways) add(st step, s *subscriber) {
	if slices.Contains(w.takers[st], s) {
		return // the way passes here twice
	}
	if len(w.takers[st]) == 0 {
		w.steps[st.wd]++
	}
	w.takers[st] = append(w.takers[st], s)
}

func (w *ways) remove(st step, s *subscriber) {
	i := slices.Index(w.takers[st], s)
	if i < 0 {
		return
	}
	w.takers[st] = slices.Delete(w.takers[st], i, i+1)
	if len(w.takers[st]) > 0 {
		return
	}
	delete(w.takers, st)
	if w.steps[st.wd]--; w.steps[st.wd] == 0 {
		delete(w.steps, st.wd)
	}
}

// applyStep notes whose root a record puts in doubt.
func (w *Watcher) applyStep(rec record) {
	if rec.mask&(stepMask|Ignored|Unmount) == 0 || w.ways.steps[rec.wd] == 0 {
		return
	}
	if rec.mask&(Ignored|Unmount) != 0 {
		for st, takers := range w.ways.takers {
			if st.wd == rec.wd {
				w.doubtRoots(takers)
			}
		}
		return
	}
	w.doubtRoots(w.ways.takers[step{rec.wd, string(rec.name)}])
}

func (w *Watcher) doubtRoots(subs []*subscriber) {
	for _, s := range subs {
		w.astray[s] = struct{}{}
	}
}

// repairRoots looks for the roots in doubt.
func (w *Watcher) repairRoots() (worked bool) {
	for s := range w.astray {
		delete(w.astray, s)
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
	i := slices.IndexFunc(w.subs, func(s *subscriber) bool { return s.Root == root && (s.node != 0 || s.file != nil) })
	if i < 0 {
		return nil
	}
	dir, name := w.subs[i].node, []byte(nil)
	if w.subs[i].file != nil {
		dir, name = w.locateFile(w.subs[i])
	}
	if dir == 0 || !w.here.find(dir, name) {
		return nil
	}
	var all []Location
	for _, h := range slices.Backward(w.here.hits) {
		path := w.here.text(h.start)
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
	w.arm(s) // first the watches: what changes from here on is in the queue
	fd, err := openRoot(s.root)
	switch {
	case errors.Is(err, unix.ENOTDIR) && w.findRootFile(s):
		return
	case exhausted(err):
		w.postpone(err, func() { w.doubtRoots([]*subscriber{s}) })
		return
	case err != nil:
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
			w.problem(err)
		}
		w.loseRoot(s)
		return
	}
	defer unix.Close(fd)
	if w.isRoot(s.node, fd) {
		return
	}
	w.loseRoot(s)
	n, err := w.plant(s, fd)
	if err != nil {
		w.problem(err)
		return
	}
	w.only = s
	s.batch = append(s.batch, Event{Root: s.Root, Path: ".", Mask: Create | IsDir}) // whatever it asks for
	w.scan(workers, task{dir: n, report: true, all: true})
	w.only = nil
	w.files.dirty = true
}

// isRoot says whether n is the directory open as fd, and watched. The number
// of a directory that was deleted can be another's by now, and the end of the
// watch be lost in an overflow.
func (w *Watcher) isRoot(n id, fd int) bool {
	st, err := inodeAt(fd, "")
	if n == 0 || err != nil || !w.is(n, st) {
		return false
	}
	x := &w.tree.nodes[n]
	if x.wd == 0 {
		return true // it is looked at
	}
	wd, err := unix.InotifyAddWatch(w.fd, procPath(fd, ""), watchFlags|uint32(w.mask|DeleteSelf|MoveSelf))
	return err == nil && int32(wd) == x.wd
}

// arm watches every step of the way to s's root, as far as there is one.
func (w *Watcher) arm(s *subscriber) {
	old := s.way
	s.way = w.walk(s.root)
	for _, st := range s.way {
		w.ways.add(st, s)
	}
	for _, st := range old {
		if slices.Contains(s.way, st) {
			continue
		}
		w.ways.remove(st, s)
		if w.ways.steps[st.wd] == 0 {
			w.doomed = append(w.doomed, st.wd)
		}
	}
}

// walk follows a path name by name, and puts a watch on each directory before
// it looks for the name in it. A directory that may not be watched is passed
// over. It ends early where the way does.
func (w *Watcher) walk(path string) (way []step) {
	dir, links := "/", 0
	for rest := names(path); len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			dir = filepath.Dir(dir)
			continue
		}
		wd, err := unix.InotifyAddWatch(w.fd, dir, uint32(stepMask)|unix.IN_ONLYDIR|unix.IN_MASK_ADD)
		if err == nil {
			way = append(way, step{int32(wd), name})
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

// plant puts s at the directory open as fd.
func (w *Watcher) plant(s *subscriber, fd int) (id, error) {
	if fs := w.remote(fd, ""); fs != "" {
		return w.plantBlind(s, fd, &RemoteError{Path: s.root, FS: fs})
	}
	wd, err := unix.InotifyAddWatch(w.fd, procPath(fd, ""), watchFlags|uint32(w.mask|DeleteSelf|MoveSelf))
	if errors.Is(err, unix.ENOSPC) {
		return w.plantBlind(s, fd, err)
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
		w.tree.nodes[n].round = w.round
	}
	w.anchor(s, n)
	return n, nil
}

// anchor makes n the directory of s.
func (w *Watcher) anchor(s *subscriber, n id) {
	delete(w.limbo, n)
	s.node = n
	w.anchors[n] = append(w.anchors[n], s)
	w.tree.mark(n, flagAnchor, 0)
	if w.tree.nodes[n].parent == 0 {
		w.makeTop(n)
	}
}

// loseRoot takes s away from its directory, and tells it.
func (w *Watcher) loseRoot(s *subscriber) {
	if s.file != nil {
		w.uprootFile(s)
		w.postFile(s, Delete)
		return
	}
	n := s.node
	if n == 0 {
		return
	}
	w.only = s
	w.emitRoot(n, s.lost|IsDir)
	w.only = nil
	s.node, s.lost = 0, MoveSelf
	w.anchors[n] = slices.DeleteFunc(w.anchors[n], func(other *subscriber) bool { return other == s })
	x := &w.tree.nodes[n]
	switch {
	case len(w.anchors[n]) > 0:
		w.tree.mark(n, flagAnchor, 0)
		w.makeTop(n)
		return
	case x.flags&flagTop != 0:
		w.limbo[n] = limbo{}
	}
	delete(w.anchors, n)
	delete(w.tops, n)
	w.tree.mark(n, 0, flagTop|flagAnchor)
}

// makeTop gives a root that has no place in another tree its own path.
func (w *Watcher) makeTop(n id) {
	if w.tree.nodes[n].parent == 0 {
		w.tree.mark(n, flagTop, 0)
		w.tops[n] = w.anchors[n][0].root
	}
}
