package router

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// The kernel has one event for the rename of a directory, and none for what is
// in it. So what is in it is listed, and each file comes as renamed by itself,
// behind the directory: a moved directory stands for the files below it.

// onlyItself is in the mask of an event of a directory that stands for nothing but
// itself, because what is below it comes singly. The kernel has no such event
// (it is IN_MASK_CREATE), and no callback sees it.
const onlyItself inotify.Mask = 1 << 28

// maxListed bounds the files that are listed of one directory. If it has more,
// its own event stands for them.
const maxListed = 1 << 16

// maxRenamedOutputs bounds the names that are remembered of moved outputs.
const maxRenamedOutputs = 64

const moved = inotify.MovedFrom | inotify.MovedTo

func isMovedDir(e inotify.Event) bool { return e.Mask&moved != 0 && e.Mask&inotify.IsDir != 0 }

// listMoved is a batch with the files below the directories that were moved in
// it. It looks at the file system, so the lock must not be held.
func (r *Router) listMoved(batch []inotify.Event) []inotify.Event {
	if !slices.ContainsFunc(batch, isMovedDir) {
		return batch
	}
	if !slices.ContainsFunc(batch, func(e inotify.Event) bool { return isMovedDir(e) && !r.skipsMoved(e.Root, e.Path, e.From) }) {
		return batch // nobody is for what is in it
	}
	var all []inotify.Event
	departed := make(map[key]int) // where the directories that have left are in all
	for _, e := range batch {
		all = append(all, e)
		last := &all[len(all)-1]
		switch {
		case !isMovedDir(e):
		case e.Mask&inotify.MovedFrom != 0:
			departed[keyOf(e)] = len(all) - 1
		case e.From == "":
			last.Mask |= onlyItself // the watcher says what is in it
		default:
			files, ok := r.filesBelow(e)
			if !ok {
				break
			}
			last.Mask |= onlyItself
			if i, ok := departed[key{e.Root, e.From}]; ok {
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

// skipsMoved reports whether no route is for anything below a directory, nor below
// where it was before.
func (r *Router) skipsMoved(root, path, from string) bool {
	return r.SkipDir(root, path) && (from == "" || r.SkipDir(root, from))
}

// filesBelow lists the files below a directory that was renamed, by their paths,
// if some route may be for them. It is not ok if they are too many, or if the root
// cannot be seen. What is gone again comes by other events.
func (r *Router) filesBelow(e inotify.Event) (files []string, ok bool) {
	top := filepath.Join(e.Root, e.Path)
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if path == top {
				return err
			}
			return nil // it has just gone, or the watcher has complained of it
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

// A program that replaces what it makes as a whole writes it beside its place
// and renames it: out.new to out, and out to out.old before. None of that is a
// change: what was made since the last run began and is moved away again was
// never there, and what an output is renamed to is one as well, as long as the
// run goes on.

// isOutputRename reports whether what has happened is no change to the route, by these
// rules, and keeps up with it. It is to be called with each event.
func (s *routeState) isOutputRename(k key, e inotify.Event, now time.Time) bool {
	if at := s.renamedOutput(k, now); at != (key{}) {
		if at != k || e.Mask&arrived == 0 || s.rules.isOutput(e.From) {
			s.renamedOutputs[at] = now
			return true
		}
		delete(s.renamedOutputs, k) // another of that name
	}
	switch {
	case e.Mask&inotify.MovedFrom != 0 && s.isNew(k):
		if e.Mask&inotify.IsDir != 0 {
			s.noteRenamedOutput(k, now)
		}
		return true
	case e.From != "" && s.rules.isOutput(e.From) && !s.rules.isOutput(e.Path):
		s.dropNewBelow(k)
		s.noteRenamedOutput(k, now)
		return true
	case e.Mask&(inotify.Create|inotify.IsDir) == inotify.Create|inotify.IsDir && len(s.newDirs) < maxOutputs && s.rules.want&inotify.MovedFrom != 0:
		if s.newDirs == nil {
			s.newDirs = make(map[key]bool)
		}
		s.newDirs[k] = true
	case e.Mask&gone != 0:
		delete(s.newDirs, k)
	}
	return false
}

// noteRenamedOutput remembers a name to which an output was moved, or from which a directory
// was that is no change.
func (s *routeState) noteRenamedOutput(k key, now time.Time) {
	s.renamedOutputs = noteTime(s.renamedOutputs, k, now, maxRenamedOutputs)
}

// renamedOutput is the name by which a path, or a directory above it, was moved and is no
// change; the zero key if there is none.
func (s *routeState) renamedOutput(k key, now time.Time) key {
	for at, last := range s.renamedOutputs {
		if (s.running == 0 || s.route.keepsRunning()) && now.Sub(last) >= rotation {
			delete(s.renamedOutputs, at)
			continue
		}
		if at.root == k.root && isBelow(k.path, at.path) {
			return at
		}
	}
	return key{}
}

// dropNewBelow takes out what has come as new below a path before an output was renamed
// to it: a scan of the watcher had met the output under that name already.
func (s *routeState) dropNewBelow(at key) {
	for q := range s.allQueues() {
		for k := range q.batch.entries {
			if k.root == at.root && isBelow(k.path, at.path) && s.isNew(k) {
				s.takeOut(q, k, false, false)
			}
		}
	}
}

// isNew reports whether a path that is moved away was not there when the last
// run began.
func (s *routeState) isNew(k key) bool {
	if s.newDirs[k] {
		return true
	}
	q := s.queue(k)
	if q == nil {
		return false
	}
	e := q.batch.entries[k]
	return e != nil && e.event.Mask&inotify.Create != 0 && !e.replacedFile && !e.pinned
}

// isBelow reports whether a path is a directory or below it.
func isBelow(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, dir)
	return ok && (rest == "" || rest[0] == '/')
}
