package inotify

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify/internal/dirfd"
	"github.com/execlog/execlogd/inotify/internal/dirtree"
)

// The kernel sends no IN_MODIFY for what is stored through a memory map, nor for
// touch(1), which sets the time of the last modification (mtime). So when a file is
// closed after writing (IN_CLOSE_WRITE) or its attributes change (IN_ATTRIB), the
// Watcher looks at its mtime, and adds Modify if that is newer than the last change that
// was reported. Most files are closed right after an IN_MODIFY, and then there is no need
// to look.

// clockStep is by how much a file's time may be behind the clock: time stamps come from
// one that ticks more slowly.
const clockStep = 20 * time.Millisecond

// closeDelay is how long after an IN_MODIFY the first close is taken to be of the same
// writing, without a look at the file. Whoever waits for the end of a writing has waited
// for this close, so nothing is lost if more was stored in between.
const closeDelay = 100 * time.Millisecond

// contentSets is how many sets of four files a contentTimes remembers.
const contentSets = 512

// contentTimes remembers, of the files that changed last, when a change was reported.
// Times are in ns since 1970.
type contentTimes struct {
	sets  *[contentSets][4]contentTime // made when the first file changes
	floor int64                        // changes until then count as reported, of any file
	now   int64                        // when the records that are being applied were read
}

// A contentTime is of one file.
type contentTime struct {
	key      uint64 // of directory and name; 0 is none
	used     int64  // when it was last asked for
	reported int64  // changes until then are reported; 0 is none
	mtime    int64  // at the last look at the file; 0 is none
	created  bool   // the last report was that the file was made
	open     bool   // there was an IN_MODIFY, and no IN_CLOSE_WRITE since
}

// file returns the time of the file with a key, which is made if it is not there. It is
// valid until the next call.
func (c *contentTimes) file(key uint64) *contentTime {
	if c.sets == nil {
		c.sets = new([contentSets][4]contentTime)
	}
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

	// What is forgotten counts as reported, or it would be reported again.
	c.floor = max(c.floor, oldest.reported, min(oldest.mtime, oldest.used))
	*oldest = contentTime{key: key, used: c.now}
	return oldest
}

// reported notes that a change of a file's content is reported, or that it was made.
func (c *contentTimes) reported(key uint64, mask Mask) {
	file := c.file(key)
	file.created = mask&(Modify|MovedTo) == 0
	file.open = mask&(Modify|CloseWrite) == Modify
	if !file.created {
		file.reported = c.now
	}
}

// contentKey returns the key in contentTimes of the file with a name in the directory
// with a watch descriptor.
func (w *Watcher) contentKey(wd int32, name []byte) uint64 {
	return w.tree.HashName(uint64(wd), name)
}

// withModify returns the mask of a record of a file, with Modify if its content has
// changed and the kernel did not say so. The file is name in the directory n, or has that
// path if n is 0; wd is the watch of the record.
func (w *Watcher) withModify(n dirtree.ID, wd int32, name []byte, mask Mask) Mask {
	switch {
	case w.mask&Modify == 0:
		return mask // no subscription asks for it
	case mask&(Modify|MovedTo|Create) != 0:
		w.content.reported(w.contentKey(wd, name), mask)
		return mask
	case mask&(CloseWrite|Attrib) == 0:
		return mask
	}

	file := w.content.file(w.contentKey(wd, name))
	sinceReport := w.content.now - file.reported
	closed := mask&CloseWrite != 0 && file.open
	if closed {
		file.open = false
	}
	if sinceReport == 0 || closed && sinceReport < int64(closeDelay) {
		return mask
	}

	st, err := w.statFile(n, name)
	if err != nil || st.Kind != unix.DT_REG {
		return mask // what became of it is in the queue
	}
	isNews := func(s *subscriber) bool { return s.Mask&Modify != 0 && s.since < st.Mtime }
	known := st.Mtime == file.mtime || st.Mtime <= max(w.content.floor, file.reported) || file.created && st.Size == 0 ||
		n != 0 && !w.anySubscriber(n, isNews) ||
		n == 0 && !slices.ContainsFunc(w.subs, func(s *subscriber) bool { return s.root == string(name) && isNews(s) })
	file.mtime, file.created = st.Mtime, false
	if known {
		return mask
	}
	file.reported = w.content.now
	return mask | Modify
}

// noteReported notes that something is reported which no record has told.
func (w *Watcher) noteReported(wd int32, name []byte, mask Mask) {
	if w.mask&Modify != 0 {
		w.content.now = time.Now().UnixNano()
		w.content.reported(w.contentKey(wd, name), mask)
	}
}

// emitPresent queues the event that a scan reports of a file: it is there, or it is
// another than before.
func (w *Watcher) emitPresent(n dirtree.ID, name []byte) {
	w.noteReported(w.tree.Node(n).WD, name, scanMask)
	w.emit(n, name, scanMask, nil)
}

// statFile looks at name in the directory n, or at what that path leads to if n is 0.
func (w *Watcher) statFile(n dirtree.ID, name []byte) (dirfd.Inode, error) {
	if n == 0 {
		return dirfd.StatPath(string(name))
	}
	dir, err := w.openDir(n, unix.O_PATH)
	if err != nil {
		return dirfd.Inode{}, err
	}
	defer unix.Close(dir)
	return dirfd.Stat(dir, string(name))
}
