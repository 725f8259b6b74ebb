package bus

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify"
)

// look returns what there is at a path below root. A link is not followed. The error is
// that of what may be there, and cannot be looked at: a path that leads out of the root, or
// one without permission.
func look(root *os.Root, path string) (version, os.FileMode, error) {
	info, err := root.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return version{Gone: true, Modified: time.Now().UnixNano()}, 0, nil
	case err != nil:
		return version{}, 0, err
	}
	return versionOf(info), info.Mode(), nil
}

func versionOf(info os.FileInfo) version {
	stat := info.Sys().(*syscall.Stat_t)
	v := version{Modified: stat.Mtim.Nano(), Changed: stat.Ctim.Nano()}
	if info.Mode().IsRegular() {
		v.Size = stat.Size
	}
	return v
}

// arrived reports whether what a machine has announced is to be seen at a path here, or
// something newer. A file system that is shared may show what was there before, until the
// file is opened.
func arrived(root *os.Root, path string, isDir bool, announced version) (bool, error) {
	now, mode, err := look(root, path)
	if err != nil || shows(now, announced, isDir) {
		return err == nil, err
	}
	if !mode.IsRegular() && !now.Gone {
		return false, nil
	}
	f, err := root.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return false, nil // it is not there yet, or may not be read
	}
	defer f.Close()
	info, err := f.Stat()
	return err == nil && shows(versionOf(info), announced, isDir), nil
}

// shows reports whether what there is now is what was announced, or newer.
func shows(now, announced version, isDir bool) bool {
	switch {
	case now.Gone || announced.Gone:
		return now.Gone == announced.Gone || announced.Gone && now.Modified > announced.Modified
	case isDir:
		return true // its times change with what is in it
	}
	// What took its place may have an older mtime, as from cp -p or rsync.
	isOlder := now.Changed < announced.Changed
	return now.Modified > announced.Modified && !isOlder || now.Modified == announced.Modified && now.Size == announced.Size
}

// maxVersions is how many paths a versions remembers at least.
const maxVersions = 1 << 13

// Versions remember of the paths that changed last what was told of them, so that the same
// change is told once if several machines have seen it: one that made it, and one on which
// the file system is.
type versions struct {
	own string // this machine

	mu          sync.Mutex
	recent, old map[string]told
}

// sameNews returns a mask with the bits that say the same of a version: that it has come or
// been written, or that it is gone. A scan reports it otherwise than the kernel.
func sameNews(mask inotify.Mask) inotify.Mask {
	const gone = inotify.Delete | inotify.MovedFrom
	there := inotify.Mask(inotify.Create | inotify.MovedTo)
	if mask&inotify.IsDir == 0 { // what is modified in a directory is told otherwise
		there |= inotify.Modify | inotify.CloseWrite
	}
	if mask&there != 0 {
		mask |= there
	}
	if mask&gone != 0 {
		mask |= gone
	}
	return mask
}

// A told is what was told of a path.
type told struct {
	version version
	mask    inotify.Mask // of all that was told of this version
	by      string       // the machine that has told it first, or found
}

// found is in the place of a machine where a version was found by looking for changes.
const found = ""

// isNew takes in what a machine tells, and reports whether no other machine has told it
// before.
func (vs *versions) isNew(path string, mask inotify.Mask, v version, by string) bool {
	mask = sameNews(mask)
	if v.Gone || mask&inotify.IsDir != 0 {
		v = version{Gone: v.Gone} // when it was seen does not matter, nor what is in a directory
	}
	vs.mu.Lock()
	defer vs.mu.Unlock()
	t, ok := vs.recent[path]
	if !ok {
		t, ok = vs.old[path]
	}
	others := t.by != by && (t.by != found || by != vs.own) // what was found is still to be published
	if ok && others && t.version == v && mask&^t.mask == 0 {
		return false
	}

	if !ok || t.version != v {
		t = told{version: v, by: by}
	}
	t.mask |= mask
	if vs.recent == nil || len(vs.recent) >= maxVersions {
		vs.recent, vs.old = make(map[string]told), vs.recent
	}
	vs.recent[path] = t
	return true
}
