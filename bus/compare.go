package bus

import (
	"context"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// clockSkew is by how much the clocks of machines and of file servers may differ.
const clockSkew = 5 * time.Second

// isThere is what a comparison reports of a file: it is there, with its content.
const isThere = inotify.Create | inotify.Modify | inotify.CloseWrite

// compare finds what may have changed below a root since a time, by ctime, and hands it to
// emit as a scan of package inotify reports it: a file as there, and a directory, in which
// names may have gone, as modified. It ends early when ctx does.
func compare(ctx context.Context, root *os.Root, name string, since time.Time, skip func(path string) bool, emit func(inotify.Event)) {
	since = since.Add(-clockSkew)
	_ = fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return fs.SkipAll
		case err != nil:
			return nil // it has gone, or may not be read
		case d.IsDir() && p != "." && skip != nil && skip(p):
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil || time.Unix(info.Sys().(*syscall.Stat_t).Ctim.Unix()).Before(since) {
			return nil
		}
		mask := inotify.Mask(isThere)
		if d.IsDir() {
			mask = inotify.Modify | inotify.IsDir
		}
		emit(inotify.Event{Root: name, Path: p, Mask: mask})
		return nil
	})
}
