package inotify

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify/internal/dirfd"
	"github.com/execlog/execlogd/inotify/internal/dirtree"
)

// A root is a path, and the directory that it leads to can change without an event of that
// directory: it is replaced, a symbolic link in the path is changed to another release, a
// directory above is renamed. So each component of the path is watched too, and an event of
// one has the root resolved again.

// componentMask is what a directory that has a component is watched for.
const componentMask = Create | Delete | MovedFrom | MovedTo

// maxLinks is how many symbolic links a path may lead through, as in path_resolution(7).
const maxLinks = 40

// A component is one name of the path of a root, in the directory that has a watch.
type component struct {
	wd   int32
	name string
}

// applyToComponents has the roots resolved again whose path a record concerns.
func (w *Watcher) applyToComponents(rec record) {
	names := w.components[rec.wd]
	switch {
	case rec.mask&(Ignored|Unmount) != 0:
		for _, subs := range names {
			w.pending.resolve(subs...)
		}
	case rec.mask&componentMask != 0:
		w.pending.resolve(names[string(rec.name)]...)
	}
}

// watchComponents watches every component of the path of s's root, as far as that leads, in
// place of those that were watched before.
func (w *Watcher) watchComponents(s *subscriber) {
	old := s.components
	s.components = w.resolve(s.root)

	for _, c := range s.components {
		names := w.components[c.wd]
		if names == nil {
			names = map[string][]*subscriber{}
			w.components[c.wd] = names
		}
		if !slices.Contains(names[c.name], s) { // the path may pass here twice
			names[c.name] = append(names[c.name], s)
		}
	}

	for _, c := range old {
		if !slices.Contains(s.components, c) {
			w.unwatchComponent(c, s)
		}
	}
}

func (w *Watcher) unwatchComponent(c component, s *subscriber) {
	names := w.components[c.wd]
	if removeFrom(names, c.name, s); len(names) == 0 {
		delete(w.components, c.wd)
		w.pending.unwanted = append(w.pending.unwanted, c.wd)
	}
}

// unwatchComponents ends the watches of all components of the path of s's root.
func (w *Watcher) unwatchComponents(s *subscriber) {
	for _, c := range s.components {
		w.unwatchComponent(c, s)
	}
	s.components = nil
}

// resolve follows a path name by name, and watches each directory before it looks for the name
// in it. A directory that may not be watched is passed over. It ends early where the path does.
func (w *Watcher) resolve(path string) (components []component) {
	dir, links := "/", 0
	for rest := pathNames(path); len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			dir = filepath.Dir(dir)
			continue
		}
		wd, err := w.kernel.watchPath(dir, uint32(componentMask)|unix.IN_ONLYDIR)
		if err == nil {
			components = append(components, component{wd, name})
		}

		target, err := os.Readlink(filepath.Join(dir, name))
		switch {
		case err == nil && links < maxLinks:
			links++
			if filepath.IsAbs(target) {
				dir = "/"
			}
			rest = append(pathNames(target), rest...)
		case errors.Is(err, unix.EINVAL): // no link
			dir = filepath.Join(dir, name)
		default:
			return components
		}
	}
	return components
}

// subscribe starts s at its root.
func (w *Watcher) subscribe(s *subscriber) error {
	s.since = time.Now().Add(-clockStep).UnixNano()
	fd, err := openRoot(s.root)
	switch {
	case errors.Is(err, unix.ENOENT) && s.Wait:
		w.widenMask(s.Mask)
		w.subs = append(w.subs, s)
		w.pending.resolve(s)
		w.resolveRoots()
		return nil
	case errors.Is(err, unix.ENOTDIR):
		if fileErr := w.subscribeFile(s); s.file != nil {
			return fileErr
		}
		return err
	case err != nil:
		return err
	}
	defer unix.Close(fd)

	// What the scan finds may be new to other subscribers, but is not reported to this one.
	s.muted = true
	defer func() { s.muted = false }()
	w.widenMask(s.Mask)
	n, err := w.watchRoot(s, fd)
	if err != nil {
		return err
	}
	w.subs = append(w.subs, s)
	w.watchComponents(s)
	w.pending.resolve(s) // its path may have changed before it was watched
	err = w.runScan(workers, scanRequest{dir: n, kind: scanWatch})
	w.pollBelow(n) // also what the others skip

	// Mount points that are gone since the last look stay in the list: what they have
	// uncovered is verified when Run learns that the list has changed.
	w.mountPoints = append(w.mountPoints, mountPoints()...)
	slices.Sort(w.mountPoints)
	w.mountPoints = slices.Compact(w.mountPoints)
	w.compareMountedFiles(false)
	return w.subscribeError(s, err)
}

// subscribeError returns the error of Add or Update for that of a scan of the root of s: a
// *LimitError, or nil after it has reported another as a problem.
func (w *Watcher) subscribeError(s *subscriber, err error) error {
	if err == nil {
		return nil
	}
	w.limitReported = true
	err = w.watchLimit(s.root, s.SkipDir, err)
	if _, isLimit := errors.AsType[*LimitError](err); !isLimit {
		w.problem(err)
		return nil
	}
	return err
}

// widenMask makes every watch report what mask asks for as well.
func (w *Watcher) widenMask(mask Mask) {
	if w.mask|mask == w.mask {
		return
	}

	w.mask |= mask
	w.pending.mountedFiles = true
	for _, s := range w.subs {
		if s.file != nil && w.watchRootFile(s) != nil {
			w.pending.resolve(s)
		}
	}

	for n := range w.rootPaths {
		if w.unwatched.get(n, "") != nil {
			continue
		}

		fd, err := w.openDir(n, unix.O_PATH)
		if err != nil {
			continue // its end is in the queue
		}

		w.kernel.watch(fd, "", uint32(mask))
		unix.Close(fd)
		w.runScan(workers, scanRequest{dir: n, kind: scanWatch})
	}
}

// resolveRoots looks for the roots that are to be resolved again.
func (w *Watcher) resolveRoots() {
	for s := range w.pending.roots {
		delete(w.pending.roots, s)
		w.resolveRoot(s)
	}
}

// resolveRoot makes s watch the directory or file that its path leads to now.
func (w *Watcher) resolveRoot(s *subscriber) {
	w.watchComponents(s) // first, so that what changes from here on is in the queue
	fd, err := openRoot(s.root)
	switch {
	case errors.Is(err, unix.ENOTDIR) && w.resolveRootFile(s):
		return
	case isResourceLimit(err):
		w.retryLater(err, func() { w.pending.resolve(s) })
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
	n, err := w.watchRoot(s, fd)
	if err != nil {
		w.problem(err)
		return
	}
	s.queued = append(s.queued, Event{Root: s.Root, Path: ".", Mask: Create | IsDir}) // whatever it asks for
	w.target = s
	w.scan(workers, scanRequest{dir: n, kind: scanAll})
	w.target = nil
	w.pending.mountedFiles = true
}

// isRoot reports whether n is the directory open as fd, and watched. The inode number alone
// does not tell: that of a removed directory can be another's by now, and the record of the
// end of its watch be lost in an overflow.
func (w *Watcher) isRoot(n dirtree.ID, fd int) bool {
	st, err := dirfd.Stat(fd, "")
	if n == 0 || err != nil || !w.hasInode(n, st) {
		return false
	}
	old := w.tree.Node(n).WD
	if old == 0 {
		return true // it is polled
	}
	wd, err := w.watchRootDir(fd)
	return err == nil && wd == old
}

func openRoot(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "watch", Path: path, Err: err}
	}
	return fd, nil
}

// watchRootDir adds a watch for the directory open as fd, with the mask of a root.
func (w *Watcher) watchRootDir(fd int) (wd int32, err error) {
	return w.kernel.watch(fd, "", watchFlags|uint32(w.mask|rootMask))
}

// watchRoot makes the directory open as fd the root of s.
func (w *Watcher) watchRoot(s *subscriber, fd int) (dirtree.ID, error) {
	st, err := dirfd.Stat(fd, "")
	if err != nil {
		return 0, &os.PathError{Op: "watch", Path: s.root, Err: err}
	}

	var unwatched error
	var wd int32
	if fs := w.remote(fd, ""); fs != "" {
		unwatched = &RemoteError{Path: s.root, FS: fs}
		w.problem(unwatched)
	} else if wd, err = w.watchRootDir(fd); errors.Is(err, unix.ENOSPC) {
		unwatched = err
	} else if err != nil {
		return 0, &os.PathError{Op: "watch", Path: s.root, Err: err}
	}

	if unwatched != nil {
		n := w.tree.Add(0, w.deviceOf(st, fd), st.Ino)
		w.unwatched.put(w.entry(n, nil), &unwatchedDir{reason: unwatched, inode: st})
		w.setRoot(s, n)
		return n, nil
	}
	n := w.tree.ByWatch(wd)
	if n == 0 {
		n = w.tree.Add(wd, w.deviceOf(st, fd), st.Ino)
		w.tree.Node(n).Generation = w.generation
	}
	w.setRoot(s, n)
	return n, nil
}

// setRoot makes n the root of s.
func (w *Watcher) setRoot(s *subscriber, n dirtree.ID) {
	delete(w.pending.detached, n)
	s.dir = n
	w.subscribed[n] = append(w.subscribed[n], s)
	w.tree.SetFlags(n, dirtree.Subscribed, 0)
	w.makeRoot(n)
}

// loseRoot takes s away from its root, if it has one, and reports that.
func (w *Watcher) loseRoot(s *subscriber) {
	if f := s.file; f != nil {
		w.removeFile(f)
		w.emitFile(f, Delete)
		return
	}

	n := s.dir
	if n == 0 {
		return
	}

	w.target = s
	w.emitRoot(n, s.endMask|IsDir)
	w.target = nil
	w.unsetRoot(s)
}

// unsetRoot takes s away from the directory that is its root.
func (w *Watcher) unsetRoot(s *subscriber) {
	n := s.dir
	s.dir, s.endMask = 0, MoveSelf
	w.subscribed[n] = slices.DeleteFunc(w.subscribed[n], func(other *subscriber) bool { return other == s })
	if len(w.subscribed[n]) > 0 {
		w.tree.SetFlags(n, dirtree.Subscribed, 0) // changes the version, so that paths are built anew
		w.makeRoot(n)
		return
	}

	if w.tree.Has(n, dirtree.Root) {
		w.pending.detached[n] = detachment{}
	}
	delete(w.subscribed, n)
	delete(w.rootPaths, n)
	w.tree.SetFlags(n, 0, dirtree.Root|dirtree.Subscribed)
}

// A Location is a place in a root.
type Location struct {
	Root string // as its Subscription names it
	Path string // as in Event.Path
}

// Locations returns the places under which the directory or file that root leads to is watched:
// as a root, and as it lies below other roots, whatever links or mounts lead there. The outermost
// root is first, and of several subscriptions of one directory the one that was added first. There
// are none while nothing is at root, or when no Subscription has it.
func (w *Watcher) Locations(root string) []Location {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.subs, func(s *subscriber) bool { return s.Root == root && (s.dir != 0 || s.file != nil) })
	if i < 0 {
		return nil
	}
	dir, name := w.subs[i].dir, []byte(nil)
	if w.subs[i].file != nil {
		path, _ := filepath.EvalSymlinks(w.subs[i].root)
		for _, e := range w.inTree([]string{path}) {
			dir, name = e.dir, []byte(e.name)
		}
	}
	if dir == 0 || !w.paths.Locate(dir, name) {
		return nil
	}

	var all []Location
	for _, m := range slices.Backward(w.paths.Matches()) {
		path := w.paths.Path(m.Start)
		for _, s := range m.Subscriptions {
			if !s.skips(path) {
				all = append(all, Location{Root: s.Root, Path: path})
			}
		}
	}
	return all
}
