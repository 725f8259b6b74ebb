package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/router"
)

// onlyChanged is a callback of the route that leaves out files whose content is
// what it was at the last run, if the route is one with changed_only.
func onlyChanged(c *config.Route, w *work, do router.Callback) router.Callback {
	if !c.ChangedOnly {
		return do
	}
	return func(ctx context.Context, batch []inotify.Event) error {
		changed, seen := w.contents.compare(batch)
		if len(changed) == 0 {
			return router.ErrSkipped
		}
		if !c.PerFile() {
			w.contents.setRan(changed)
		}
		err := do(ctx, changed)
		switch {
		case err == nil:
			w.contents.remember(seen)
		case c.PerFile():
			w.contents.forget(batch...)
		default:
			w.contents.forget()
		}
		return err
	}
}

const (
	// maxContents bounds how many files a route remembers. With more, all of them
	// count as changed once more.
	maxContents = 64 << 10

	// maxCompared is how large a file may be for its content to be read. Of a
	// larger one the inode, the size and the time of modification decide.
	maxCompared = 64 << 20
)

// Contents are what files had in them when a route last ran on them and
// succeeded. The zero value knows none.
type contents struct {
	mu    sync.Mutex
	known map[string][sha256.Size]byte // by absolute path
	ran   []inotify.Event              // what the run was for of which nobody has been told; not by file
}

// A content is what is in a file. The zero content is of what is no regular file
// or cannot be read.
type content struct {
	digest [sha256.Size]byte
	state  fileState
}

// A fileState is another after each write.
type fileState struct {
	device, inode uint64
	size          int64
	mtime, ctime  syscall.Timespec
}

// compare returns the events of a batch that are not of a file with the content of
// the last run, and what is in all the files of the batch now. An event that
// somebody has triggered, and one of a directory, is a change.
func (k *contents) compare(batch []inotify.Event) (changed []inotify.Event, seen map[string]content) {
	seen = make(map[string]content)
	for _, e := range batch {
		if e.Mask == 0 || e.Mask&inotify.IsDir != 0 {
			changed = append(changed, e)
			continue
		}
		name := e.Name()
		now := contentOf(name)
		seen[name] = now
		if e.From != "" {
			seen[inotify.Event{Root: e.Root, Path: e.From}.Name()] = content{}
		}
		if now == (content{}) || !k.isKnown(name, now) {
			changed = append(changed, e)
		}
	}
	return changed, seen
}

func (k *contents) setRan(events []inotify.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ran = events
}

// told is a run without the files that were left out. It is for Post,
// which is told of one run before the next begins.
func (k *contents) told(f router.Run) router.Run {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ran != nil {
		f.Events, k.ran = k.ran, nil
	}
	return f
}

func (k *contents) isKnown(name string, now content) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	digest, known := k.known[name]
	return known && digest == now.digest
}

// remember notes what a run that succeeded found in files, but for those that
// have changed meanwhile: the run may have read either.
func (k *contents) remember(seen map[string]content) {
	for name, was := range seen {
		if info, err := os.Stat(name); err != nil || fileStateOf(info) != was.state {
			seen[name] = content{}
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, now := range seen {
		if now == (content{}) {
			delete(k.known, name)
			continue
		}
		if k.known == nil || len(k.known) >= maxContents {
			k.known = make(map[string][sha256.Size]byte)
		}
		k.known[name] = now.digest
	}
}

// forget has the files of these events count as changed when they are saved
// next; without any, all files.
func (k *contents) forget(batch ...inotify.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(batch) == 0 {
		k.known = nil
	}
	for _, e := range batch {
		delete(k.known, e.Name())
	}
}

// contentOf reads a file. It is looked at first, as the open of a FIFO would be
// noticed at its other end.
func contentOf(name string) content {
	info, err := os.Stat(name)
	if err != nil || !info.Mode().IsRegular() {
		return content{}
	}
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return content{}
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil || !info.Mode().IsRegular() {
		return content{}
	}
	now := content{state: fileStateOf(info)}
	h := sha256.New()
	if info.Size() > maxCompared {
		fmt.Fprintln(h, now.state.device, now.state.inode, now.state.size, now.state.mtime)
	} else if n, err := io.Copy(h, io.LimitReader(f, maxCompared+1)); err != nil || n > maxCompared {
		return content{}
	}
	h.Sum(now.digest[:0])
	return now
}

func fileStateOf(info os.FileInfo) fileState {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fileState{}
	}
	return fileState{uint64(stat.Dev), stat.Ino, stat.Size, stat.Mtim, stat.Ctim}
}
