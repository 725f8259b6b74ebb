package router

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/execlog/execlogd/inotify"
)

// onlyItself is in the mask of an event of a directory that does not stand for the files
// below it, because these come by themselves. The kernel has no such event (the bit is
// IN_MASK_CREATE), and no callback sees it.
const onlyItself inotify.Mask = 1 << 28

// maxListed bounds the files that are listed of one directory. If it has more, its own
// event stands for them.
const maxListed = 1 << 16

const moved = inotify.MovedFrom | inotify.MovedTo

func isMovedDir(e inotify.Event) bool { return e.Mask&moved != 0 && e.Mask&inotify.IsDir != 0 }

// withMovedFiles returns a batch with events for the files below the directories that
// were renamed in it, for which the kernel has none. It looks at the file system, so the
// router's lock must not be held.
func (r *Router) withMovedFiles(batch []inotify.Event) []inotify.Event {
	if !slices.ContainsFunc(batch, func(e inotify.Event) bool { return isMovedDir(e) && !r.skipsMoved(e.Root, e.Path, e.From) }) {
		return batch // as usual, or no route is for what is in them
	}

	var all []inotify.Event
	left := make(map[key]int) // index in all of the event with which a directory has left
	for _, e := range batch {
		all = append(all, e)
		last := &all[len(all)-1]
		switch {
		case !isMovedDir(e):
		case e.Mask&inotify.MovedFrom != 0:
			left[keyOf(e)] = len(all) - 1
		case e.From == "":
			last.Mask |= onlyItself // it came from outside, and the watcher reports what is in it
		default:
			files, ok := r.filesBelow(e)
			if !ok {
				break
			}
			last.Mask |= onlyItself
			if i, ok := left[key{e.Root, e.From}]; ok {
				all[i].Mask |= onlyItself
			}
			for _, file := range files {
				from := e.From + strings.TrimPrefix(file, e.Path)
				all = append(all,
					inotify.Event{Root: e.Root, Path: from, Mask: inotify.MovedFrom},
					inotify.Event{Root: e.Root, Path: file, Mask: inotify.MovedTo, From: from})
			}
		}
	}
	return all
}

// skipsMoved reports whether no route is for anything below a directory, nor below the
// path that it had before.
func (r *Router) skipsMoved(root, path, from string) bool {
	return r.SkipDir(root, path) && (from == "" || r.SkipDir(root, from))
}

// filesBelow returns the paths of the files below a directory that was renamed, if a
// route may be for them. It is not ok if they are too many, or if the root cannot be
// read. A file that is gone again is reported by other events.
func (r *Router) filesBelow(e inotify.Event) (files []string, ok bool) {
	top := filepath.Join(e.Root, e.Path)
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if path == top {
				return err
			}
			return nil // it has just gone, or the watcher has reported the problem
		}

		rest := strings.TrimPrefix(path, top)
		switch {
		case d.IsDir() && r.skipsMoved(e.Root, e.Path+rest, e.From+rest):
			return fs.SkipDir
		case !d.IsDir():
			files = append(files, e.Path+rest)
		}
		if len(files) > maxListed {
			return errors.New("too many")
		}
		return nil
	})

	if errors.Is(err, fs.ErrNotExist) {
		_, err = filepath.EvalSymlinks(e.Root)
	}
	return files, err == nil
}
