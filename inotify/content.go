package inotify

import (
	"hash/maphash"
	"time"

	"golang.org/x/sys/unix"
)

// The kernel has no IN_MODIFY for what is stored through a memory map, nor for
// touch(1), which sets the time of the last modification (mtime). So where a file
// is closed after writing (IN_CLOSE_WRITE), or its attributes change (IN_ATTRIB),
// the watcher looks at its mtime, and adds Modify if that is newer than what was
// told of the file. Most files are closed right after a Modify, and then there is
// nothing to look at.

// timeStep is by how much a file's time may be behind the clock: time stamps come
// from one that ticks more slowly.
const timeStep = 20 * time.Millisecond

// closeDelay is how long after a Modify the first close is taken to be that of the same
// writing, without a look at the file. Who waits for the end of a writing has waited
// for this close, so nothing is lost if more was stored in between.
const closeDelay = 100 * time.Millisecond

// contentSets is how many sets of four files are remembered.
const contentSets = 512

// contentTimes remember of the files that changed last when that was told. What
// changed before anything that is remembered counts as told.
type contentTimes struct {
	sets  *[contentSets][4]contentTime // made when the first file changes
	floor int64                        // all changes until then are told, of whatever file
	now   int64                        // when the records that are being applied were read
}

// A contentTime is of one name in a directory. Times are in ns since 1970.
type contentTime struct {
	key      uint64 // of directory and name; 0 is none
	used     int64  // when it was last asked for
	reported int64  // changes until then are told; 0: none was
	mtime    int64  // at the last look at the file; 0: there was none
	created  bool   // its making is the last that was told
	open     bool   // there was a Modify, and no CloseWrite since
}

// file finds or makes the time of the file with a name in the directory with a
// watch descriptor. It is valid until the next call.
func (c *contentTimes) file(t *tree, wd int32, name []byte) *contentTime {
	if c.sets == nil {
		c.sets = new([contentSets][4]contentTime)
	}
	key := maphash.Bytes(t.seed, name) ^ uint64(wd)*0x9e3779b97f4a7c15 | 1
	set := &c.sets[key>>32%contentSets]
	oldest := &set[0]
	for i := range set {
		if set[i].key == key {
			set[i].used = c.now
			return &set[i]
		}
		if set[i].used < oldest.used {
			oldest = &set[i]
		}
	}
	c.floor = max(c.floor, oldest.reported, min(oldest.mtime, oldest.used))
	*oldest = contentTime{key: key, used: c.now}
	return oldest
}

// reported notes that a change of the file's content is being told, or that it was
// made.
func (c *contentTimes) reported(t *tree, wd int32, name []byte, mask Mask) {
	file := c.file(t, wd, name)
	file.created = mask&(Modify|MovedTo) == 0
	file.open = mask&(Modify|CloseWrite) == Modify
	if !file.created {
		file.reported = c.now
	}
}

// isCovered says whether the latest change of a file's content is told by what was
// delivered or will be.
func (c *contentTimes) isCovered(file *contentTime, mtime, size int64) bool {
	return mtime == file.mtime || mtime <= max(c.floor, file.reported) || file.created && size == 0
}

// withModify is the mask of a record of a file in the directory n, or with that path
// if n is 0, with Modify if the content has changed and the kernel did not say so.
func (w *Watcher) withModify(n id, wd int32, name []byte, mask Mask) Mask {
	switch {
	case w.mask&Modify == 0:
		return mask // nobody asks
	case mask&(Modify|MovedTo|Create) != 0:
		w.content.reported(w.tree, wd, name, mask)
		return mask
	case mask&(CloseWrite|Attrib) == 0:
		return mask
	}
	file := w.content.file(w.tree, wd, name)
	since := w.content.now - file.reported
	closed := mask&CloseWrite != 0 && file.open
	if closed {
		file.open = false
	}
	if since == 0 || closed && since < int64(closeDelay) {
		return mask
	}
	mtime, size, ok := w.contentTime(n, name)
	if !ok {
		return mask
	}
	covered := w.content.isCovered(file, mtime, size)
	file.mtime, file.created = mtime, false
	if covered {
		return mask
	}
	file.reported = w.content.now
	return mask | Modify
}

// contentTime looks at a regular file in the directory n, or with that path if n
// is 0.
func (w *Watcher) contentTime(n id, name []byte) (mtime, size int64, ok bool) {
	dir, flags := unix.AT_FDCWD, 0
	if n != 0 {
		var err error
		if dir, err = w.openNode(n, unix.O_PATH); err != nil {
			return 0, 0, false // what becomes of it is in the queue
		}
		defer unix.Close(dir)
		flags = unix.AT_SYMLINK_NOFOLLOW
	}
	var st unix.Statx_t
	const want = unix.STATX_TYPE | unix.STATX_MTIME | unix.STATX_SIZE
	if unix.Statx(dir, string(name), flags, want, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return 0, 0, false
	}
	return st.Mtime.Sec*1e9 + int64(st.Mtime.Nsec), int64(st.Size), true
}

// emitFound emits that there is a file, or that it is another than before.
func (w *Watcher) emitFound(n id, name []byte) {
	if w.mask&Modify != 0 {
		w.content.now = time.Now().UnixNano()
		w.content.reported(w.tree, w.tree.nodes[n].wd, name, scanMask)
	}
	w.emit(n, name, scanMask, nil)
}
