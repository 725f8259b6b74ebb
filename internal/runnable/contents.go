package runnable

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/router"
)

// OnlyChanged returns a callback that leaves out files that have the content of the
// last run, if the route has changed_only.
func (r *Runnable) OnlyChanged(c *config.Route, callback router.Callback) router.Callback {
	if !c.ChangedOnly {
		return callback
	}
	return func(ctx context.Context, batch []inotify.Event) error {
		changed, seen := r.contents.compare(batch)
		if len(changed) == 0 {
			return router.ErrSkipped
		}
		if !c.PerFile() {
			r.contents.mu.Lock()
			r.contents.changed = changed
			r.contents.mu.Unlock()
		}

		err := callback(ctx, changed)
		switch {
		case err == nil:
			r.contents.remember(seen)
		case c.PerFile():
			r.contents.forget(batch...)
		default:
			r.contents.forget()
		}
		return err
	}
}

// WithChangedFiles returns a run without the files that OnlyChanged has left out. It is
// for Post, which is told of one run before the next begins.
func (r *Runnable) WithChangedFiles(run router.Run) router.Run {
	c := &r.contents
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changed != nil {
		run.Events, c.changed = c.changed, nil
	}
	return run
}

const (
	// maxContents bounds how many files a route remembers. With more, all of them
	// count as changed once more.
	maxContents = 64 << 10

	// maxCompared is how large a file may be, in bytes, for its content to be read.
	// Of a larger one the inode, the size and the time of modification decide.
	maxCompared = 64 << 20
)

// contents are what files had in them when a route last ran on them and succeeded. The
// zero value knows none.
type contents struct {
	mu        sync.Mutex
	digests   map[string][sha256.Size]byte // by absolute path
	rewritten map[string]bool              // files that had the same content written during their last run
	changed   []inotify.Event              // what the run was for that Post was not told of; not with per = "file"
}

// A content is what a file has in it. The zero content is that of a file that is not a
// regular one or cannot be read.
type content struct {
	digest [sha256.Size]byte
	stamp  fileStamp
}

// A fileStamp differs after each write to a file.
type fileStamp struct {
	device, inode uint64
	size          int64
	mtime, ctime  syscall.Timespec
}

// compare returns the events of a batch without those of files that have the content of
// the last run, and what all files of the batch have in them now. An event that somebody
// has triggered, and one of a directory, is always a change.
func (c *contents) compare(batch []inotify.Event) (changed []inotify.Event, seen map[string]content) {
	seen = make(map[string]content)
	for _, e := range batch {
		isTriggered, isDir := e.Mask == 0, e.Mask&inotify.IsDir != 0
		if isTriggered || isDir {
			changed = append(changed, e)
			continue
		}

		name := e.Name()
		now := readContent(name)
		seen[name] = now
		if e.From != "" {
			seen[inotify.Event{Root: e.Root, Path: e.From}.Name()] = content{}
		}

		c.mu.Lock()
		before, known := c.digests[name]
		c.mu.Unlock()
		if now == (content{}) || !known || before != now.digest {
			changed = append(changed, e)
		}
	}
	return changed, seen
}

// remember notes what a run that succeeded found in files. Files that have changed
// meanwhile are forgotten: nobody knows which content the run has read. But those that had
// the same content written during two runs in a row are what the runs write.
func (c *contents) remember(seen map[string]content) {
	same := make(map[string]bool) // of files that were written meanwhile, whether with the same content
	for name, was := range seen {
		if info, err := os.Stat(name); err != nil || stampOf(info) != was.stamp {
			same[name] = was != (content{}) && readContent(name).digest == was.digest
		}
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	for name, was := range seen {
		isSame, isWritten := same[name]
		wasRewritten := c.rewritten[name]
		delete(c.rewritten, name)
		if c.digests == nil || len(c.digests) >= maxContents {
			c.digests, c.rewritten = make(map[string][sha256.Size]byte), make(map[string]bool)
		}
		if isSame {
			c.rewritten[name] = true
		}
		if was == (content{}) || isWritten && !(isSame && wasRewritten) {
			delete(c.digests, name)
			continue
		}
		c.digests[name] = was.digest
	}
}

// forget has the files of these events count as changed when they are saved next, or
// without any events, all files.
func (c *contents) forget(batch ...inotify.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(batch) == 0 {
		c.digests, c.rewritten = nil, nil
	}
	for _, e := range batch {
		delete(c.digests, e.Name())
	}
}

// readContent reads a file. It looks at the file before it opens it, because the other
// end of a FIFO would notice the open.
func readContent(name string) content {
	info, err := os.Stat(name)
	if err != nil || !info.Mode().IsRegular() {
		return content{}
	}
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return content{}
	}
	defer f.Close()

	if info, err = f.Stat(); err != nil || !info.Mode().IsRegular() {
		return content{} // it was replaced meanwhile
	}

	now := content{stamp: stampOf(info)}
	h := sha256.New()
	if info.Size() > maxCompared {
		fmt.Fprintln(h, now.stamp.device, now.stamp.inode, now.stamp.size, now.stamp.mtime)
	} else if n, err := io.Copy(h, io.LimitReader(f, maxCompared+1)); err != nil || n > maxCompared {
		return content{}
	}
	h.Sum(now.digest[:0])
	return now
}

func stampOf(info os.FileInfo) fileStamp {
	stat := info.Sys().(*syscall.Stat_t)
	return fileStamp{uint64(stat.Dev), stat.Ino, stat.Size, stat.Mtim, stat.Ctim}
}
