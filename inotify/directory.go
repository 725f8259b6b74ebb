package inotify

import (
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify/internal/dirfd"
	"github.com/execlog/execlogd/inotify/internal/dirtree"
)

// maxOpenPath is how many bytes of names are opened by one call. The kernel takes
// a path of 4095 bytes (PATH_MAX), and a tree may be deeper.
const maxOpenPath = 3500

// errStale says that another directory is where the tree has this one.
var errStale = errors.New("another directory has this path now")

// isNotThere reports whether err means that there is no directory of this path, or
// another one.
func isNotThere(err error) bool {
	return errors.Is(err, errStale) || dirfd.IsGone(err)
}

// A device is a file system that directories of the tree are on.
type device struct {
	major, minor  uint32
	countsSubdirs bool // see dirfd.CountsSubdirs
}

func (d device) has(st dirfd.Inode) bool {
	return d.major == st.Major && d.minor == st.Minor
}

// deviceOf returns the index of the file system that st is on, and enters it if it
// is new. fd is a directory on it, or -1.
func (w *Watcher) deviceOf(st dirfd.Inode, fd int) uint16 {
	for i, d := range w.devices {
		if d.has(st) {
			return uint16(i)
		}
	}
	d := device{major: st.Major, minor: st.Minor, countsSubdirs: fd >= 0 && dirfd.CountsSubdirs(fd)}
	w.devices = append(w.devices, d)
	return uint16(len(w.devices) - 1)
}

// hasInode reports whether n is the directory that st describes.
func (w *Watcher) hasInode(n dirtree.ID, st dirfd.Inode) bool {
	x := w.tree.Node(n)
	return x.Ino == st.Ino && w.devices[x.Device].has(st)
}

// A dirPath is what it takes to open a directory of the tree, copied from the tree
// so that no lock is needed.
type dirPath struct {
	root  string
	parts []string // relative paths, the first below root, each below the one before
	ino   uint64
	dev   device
}

func (w *Watcher) dirPath(n dirtree.ID) dirPath {
	top, x := w.tree.Top(n), w.tree.Node(n)
	p := dirPath{root: w.rootPaths[top], ino: x.Ino, dev: w.devices[x.Device]}

	var part strings.Builder
	for _, name := range w.tree.NamesBelow(top, n) {
		if part.Len()+len(name) > maxOpenPath {
			p.parts = append(p.parts, part.String())
			part.Reset()
		}
		if part.Len() > 0 {
			part.WriteByte('/')
		}
		part.Write(name)
	}

	if part.Len() > 0 {
		p.parts = append(p.parts, part.String())
	}
	return p
}

// open opens the directory with mode O_RDONLY or O_PATH. The error errStale says
// that another directory has its path. No name below the root may be a symbolic
// link, so that the owner of a directory in between cannot lead elsewhere.
func (p dirPath) open(mode int) (fd int, err error) {
	const flags = unix.O_DIRECTORY | unix.O_CLOEXEC
	modeAt := func(i int) int {
		if i == len(p.parts) {
			return mode | flags
		}
		return unix.O_PATH | flags
	}

	if fd, err = unix.Open(p.root, modeAt(0), 0); err != nil {
		return -1, err
	}
	for i, part := range p.parts {
		next, err := dirfd.OpenBeneath(fd, part, modeAt(i+1))
		unix.Close(fd)
		if err != nil {
			return -1, err
		}
		fd = next
	}

	st, err := dirfd.Stat(fd, "")
	if err == nil && (st.Ino != p.ino || !p.dev.has(st)) {
		err = errStale
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// openDir opens the directory n; see dirPath.open.
func (w *Watcher) openDir(n dirtree.ID, mode int) (int, error) {
	return w.dirPath(n).open(mode)
}

// path returns the path of n for messages.
func (w *Watcher) path(n dirtree.ID) string {
	p := w.dirPath(n)
	return strings.Join(append([]string{p.root}, p.parts...), "/")
}

// entry returns the key of name in n.
func (w *Watcher) entry(n dirtree.ID, name []byte) dirEntry {
	return dirEntry{dir: n, wd: w.tree.Node(n).WD, name: string(name)}
}

// verify has the entry name in n verified when the queue is empty.
func (w *Watcher) verify(n dirtree.ID, name []byte, flags verifyFlags) {
	w.pending.dirty[w.entry(n, name)] |= flags
}

// verifyRemoved is verify for an entry whose end is reported already.
func (w *Watcher) verifyRemoved(n dirtree.ID, name []byte) {
	w.pending.dirty[w.entry(n, name)] &^= reportAbsent
}

// attach gives the detached directory n its place. What the tree has there was
// replaced: the kernel says no more than that of a rename over an empty directory.
func (w *Watcher) attach(n, parent dirtree.ID, name []byte) {
	delete(w.pending.detached, n)
	w.unwatched.remove(parent, string(name))
	if old := w.tree.Lookup(parent, name); old != 0 {
		w.detach(old, detachment{replacedBy: n})
	}
	w.tree.Attach(n, parent, name)
}

// detach takes n, unless it is 0, away from its place, where it is not any more. Its
// watch stays for the time being, since n may be found elsewhere.
func (w *Watcher) detach(n dirtree.ID, why detachment) {
	if n == 0 {
		return
	}
	w.tree.Detach(n)

	switch {
	case w.tree.Node(n).WD == 0:
		w.removeDir(n)
	case w.tree.Has(n, dirtree.Subscribed):
		w.makeRoot(n)
	default:
		w.pending.detached[n] = why
	}
}

// detachBelow detaches all directories below n, so that a scan finds them as if they
// were new. Each is detached for itself: one that has left meanwhile must not be
// taken along silently when the record of its rename comes.
func (w *Watcher) detachBelow(n dirtree.ID) {
	for _, x := range w.tree.Subtree(n)[1:] {
		w.detach(x, detachment{})
	}
}

// removeEntry detaches child, unless it is 0, which is not at name in n any more, and
// reports that.
func (w *Watcher) removeEntry(n dirtree.ID, name []byte, child dirtree.ID) {
	if child != 0 {
		w.detach(child, detachment{})
		w.emit(n, name, Delete|IsDir, nil)
	}
}

// removeDir takes a directory without children out of the tree.
func (w *Watcher) removeDir(n dirtree.ID) {
	w.pending.forget(n)
	for name := range w.unwatched.dirs[n] {
		w.unwatched.remove(n, name)
	}
	w.tree.Remove(n)
}

// dropSubtree takes n and all below it out of the tree, and has their watches removed.
// A root that lies below stays.
func (w *Watcher) dropSubtree(n dirtree.ID) {
	w.pending.mountedFiles = w.pending.mountedFiles || len(w.mountedFiles) > 0
	for _, x := range w.tree.Subtree(n) {
		if w.tree.Has(x, dirtree.Subscribed) {
			w.detach(x, detachment{}) // with all that is below it
		}
	}

	for _, x := range slices.Backward(w.tree.Subtree(n)) {
		if w.tree.Has(x, dirtree.Subscribed) || w.tree.Child(x) != 0 {
			continue
		}
		if wd := w.tree.Node(x).WD; wd != 0 {
			w.pending.unwanted = append(w.pending.unwanted, wd)
		}
		w.removeDir(x)
	}
}

// lookupPath finds the directory of the tree that a path lies in, and the name that it
// has there. dir is 0 when that directory is not in the tree at or below n, whose own
// path is nPath.
func (w *Watcher) lookupPath(n dirtree.ID, nPath, path string) (dir dirtree.ID, name []byte) {
	rel, ok := strings.CutPrefix(path, strings.TrimSuffix(nPath, "/")+"/")
	if !ok || rel == "" {
		return 0, nil
	}

	names := pathNames(rel)
	for _, name := range names[:len(names)-1] {
		if n = w.tree.Lookup(n, []byte(name)); n == 0 {
			return 0, nil
		}
	}
	return n, []byte(names[len(names)-1])
}

// makeRoot gives a subscribed directory, unless it has a place in the tree, its own path.
func (w *Watcher) makeRoot(n dirtree.ID) {
	if w.tree.Parent(n) == 0 {
		w.tree.SetFlags(n, dirtree.Root, 0)
		w.rootPaths[n] = w.subscribed[n][0].root
	}
}

// pathNames returns the names in a path without empty ones and dots.
func pathNames(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(name string) bool { return name == "" || name == "." })
}
