package inotify

import (
	"errors"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// pathChunk is how many bytes of names are opened at once; the kernel takes a
// path of 4095 (PATH_MAX), while trees may be deeper.
const pathChunk = 3500

// dirPath is all that it takes to open a directory of the tree, copied
// from it so that no lock is needed.
type dirPath struct {
	root   string
	chunks []string // relative paths below top, each below the one before
	ino    uint64
	dev    device
}

func (w *Watcher) dirPath(n id) dirPath {
	top := w.tree.root(n)
	at := dirPath{root: w.rootPaths[top], ino: w.tree.nodes[n].ino, dev: w.devs[w.tree.nodes[n].dev]}
	var chunk strings.Builder
	for _, name := range w.tree.namesBelow(top, n) {
		if chunk.Len()+len(name) > pathChunk {
			at.chunks = append(at.chunks, chunk.String())
			chunk.Reset()
		}
		if chunk.Len() > 0 {
			chunk.WriteByte('/')
		}
		chunk.Write(name)
	}
	if chunk.Len() > 0 {
		at.chunks = append(at.chunks, chunk.String())
	}
	return at
}

// openNode opens n's directory; errStale says that its path leads elsewhere.
func (w *Watcher) openNode(n id, mode int) (int, error) {
	return w.dirPath(n).open(mode)
}

// open opens the directory, with mode O_RDONLY or O_PATH. No name below the
// top may be a symbolic link: whoever owns a directory in between cannot lead
// us astray.
func (at dirPath) open(mode int) (int, error) {
	flags := unix.O_DIRECTORY | unix.O_CLOEXEC
	if len(at.chunks) == 0 {
		fd, err := unix.Open(at.root, mode|flags, 0)
		return at.verified(fd, err)
	}
	fd, err := unix.Open(at.root, unix.O_PATH|flags, 0)
	for i, chunk := range at.chunks {
		if err != nil {
			return -1, err
		}
		step := unix.O_PATH
		if i == len(at.chunks)-1 {
			step = mode
		}
		var next int
		next, err = openBeneath(fd, chunk, step|flags)
		unix.Close(fd)
		fd = next
	}
	return at.verified(fd, err)
}

// openBeneath opens the directory that a relative path leads to from the
// directory open as fd, and no symbolic link takes part in that. Where
// openat2(2) is not allowed it goes step by step: services of systemd with
// RestrictSUIDSGID= (which DynamicUser= implies) get ENOSYS, old containers EPERM.
func openBeneath(fd int, path string, flags int) (int, error) {
	next, err := unix.Openat2(fd, path, &unix.OpenHow{
		Flags:   uint64(flags),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return openStepwise(fd, path, flags)
	}
	return next, err
}

// openStepwise is openBeneath by a call for each name in path.
func openStepwise(fd int, path string, flags int) (int, error) {
	const step = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC | unix.O_NOFOLLOW
	name, rest, more := strings.Cut(path, "/")
	if !more {
		return unix.Openat(fd, name, flags|unix.O_NOFOLLOW, 0)
	}
	next, err := unix.Openat(fd, name, step, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(next)
	return openStepwise(next, rest, flags)
}

// verified closes fd again when it is not the directory that was meant.
func (at dirPath) verified(fd int, err error) (int, error) {
	if err != nil {
		return -1, err
	}
	st, err := inodeAt(fd, "")
	if err == nil && (st.ino != at.ino || !at.dev.is(st)) {
		err = errStale
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// subscribe starts s at its root.
func (w *Watcher) subscribe(s *subscriber) error {
	fd, err := openRoot(s.root)
	if errors.Is(err, unix.ENOENT) && s.Wait {
		w.widen(s.Mask)
		w.subs = append(w.subs, s)
		w.resolveLater([]*subscriber{s})
		w.resolveRoots()
		w.files.dirty = true // the mask of their watches has grown
		return nil
	}
	if errors.Is(err, unix.ENOTDIR) {
		if fileErr := w.subscribeFile(s); s.file != nil {
			return fileErr
		}
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	began := time.Now()
	s.muted = true // what the scan finds is news to others at most
	defer func() { s.muted = false }()
	w.widen(s.Mask)
	n, err := w.watchRootDir(s, fd)
	if err != nil {
		return err
	}
	w.subs = append(w.subs, s)
	w.watchComponents(s)
	w.resolveLater([]*subscriber{s}) // it may have changed before the way was watched
	err = w.runScan(workers, scanRequest{dir: n, all: true})
	// Those that are gone since the last look stay in the list: what they have
	// uncovered is looked at when Run hears that it has changed.
	w.mounted = append(w.mounted, mountPoints()...)
	slices.Sort(w.mounted)
	w.mounted = slices.Compact(w.mounted)
	w.scanMountedFiles(fileScan{})
	w.content.floor = max(w.content.floor, began.Add(-timeStep).UnixNano())
	return w.limitOf(s, err)
}

// widen makes every watch that there is report what mask asks for as well.
func (w *Watcher) widen(mask Mask) {
	if w.mask|mask == w.mask {
		return
	}
	w.mask |= mask
	w.rewatchRootFiles()
	for n := range w.rootPaths {
		if w.unwatched.get(n, "") != nil {
			continue
		}
		fd, err := w.openNode(n, unix.O_PATH)
		if err != nil {
			continue // its end is in the queue
		}
		unix.InotifyAddWatch(w.fd, procPath(fd, ""), uint32(mask)|unix.IN_MASK_ADD)
		unix.Close(fd)
		w.runScan(workers, scanRequest{dir: n, all: true})
	}
}

// skipped says whether name in n is left out by everybody who watches n.
func (w *Watcher) skipped(n id, name []byte) bool {
	skip := w.skipper(n)
	return skip != nil && skip(string(name))
}

// skipper returns a function that says which names in n are left out by all
// who watch n; nil when somebody leaves nothing out. It may be called without
// the lock.
func (w *Watcher) skipper(n id) func(name string) bool {
	return w.skipperBy(n, func(s *subscriber) func(path string) bool { return s.SkipDir })
}

// skipperBy is skipper when the SkipDir of each subscriber is what rule returns.
func (w *Watcher) skipperBy(n id, rule func(*subscriber) func(path string) bool) func(name string) bool {
	type asked struct {
		skip   func(string) bool
		prefix string
	}
	var all []asked
	if !w.paths.locate(n, nil) {
		return nil
	}
	for _, h := range w.paths.matches {
		at := w.paths.from(h.start)
		for _, s := range h.subs {
			skip := rule(s)
			if skip == nil {
				return nil
			}
			if len(w.paths.matches) > 1 && skips(skip, at) {
				continue
			}
			prefix := ""
			if at != "." {
				prefix = at + "/"
			}
			all = append(all, asked{skip, prefix})
		}
	}
	return func(name string) bool {
		for _, a := range all {
			if !a.skip(a.prefix + name) {
				return false
			}
		}
		return true
	}
}
