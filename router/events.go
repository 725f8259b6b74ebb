package router

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// addAll adds events that came together, in order, as add does. A watcher delivers what
// happened to a file once for each root above it, of which the route takes one.
func (s *routeState) addAll(events []inotify.Event, now time.Time, by []*Submission, delivered bool) {
	for _, e := range events {
		if e.Mask&inotify.Overflow != 0 {
			s.outputs.forget()
		}
		if e.Mask&s.subscribed == 0 && e.Mask != 0 {
			continue
		}

		outer, ok := s.outermost(e)
		if ok && delivered {
			continue
		}
		s.add(outer, now, by)
	}
}

// add merges an event that came at now into the batch of its path. It was submitted, or
// came from a watcher if by is nil. An event that the route does not
// want changes only what is known already.
func (s *routeState) add(e inotify.Event, now time.Time, by []*Submission) {
	k := keyOf(e)
	ignored := e.Mask&beforeStart != 0 && !s.route.CatchUp
	e.Mask &^= beforeStart
	wanted := s.wants(e) || e.Mask == 0 && s.isFor(e)
	wanted = (s.isEmptyNewFile(k, e) || wanted) && !ignored

	// What the route's own runs have written is neither wanted nor waited for. Both
	// calls must see each event.
	if by == nil {
		renamed := s.isOutputRename(k, e, now)
		if s.outputs.isOwn(k, e, now) || renamed {
			wanted = false
			e.Mask &^= inotify.Modify
		} else if s.outputs.mustAsk(k, e, now) && s.isFor(e) {
			defer s.outputs.ask(k, e, s.entry(k) == nil, now)
		}
	}
	if !wanted && s.ignoresUnwanted() {
		return
	}

	if e.Mask&gone != 0 {
		s.noteGone(k, e, wanted)
	}
	if e.Mask&arrived != 0 {
		s.noteNewFile(k)
	}
	s.noteGoneInRun(k, e.Mask, wanted)
	if wanted {
		var c *cause
		if by == nil {
			c = s.causeOf(k, now)
		}
		s.put(entry{event: e, watched: by == nil, submissions: refAll(by)}, c, now)
	}
	if e.From != "" {
		s.rename(e, now)
	}
	s.trackOpen(k, e.Mask, now)
}

// entry returns the entry of a path; nil if it is in no batch.
func (s *routeState) entry(k key) *entry {
	if q := s.queue(k); q != nil {
		return q.batch.entries[k]
	}
	return nil
}

// isEmptyNewFile reports whether e is the close of a new file to which nothing was
// written, for a route with Empty. It must be called with each event.
func (s *routeState) isEmptyNewFile(k key, e inotify.Event) bool {
	if !s.route.Empty {
		return false
	}
	isNew := s.newFiles[k] || e.Mask&(inotify.Create|inotify.IsDir) == inotify.Create && s.isFor(e)
	if isNew && e.Mask&(content|gone|inotify.MovedTo) == 0 {
		s.newFiles[k] = true
	} else {
		delete(s.newFiles, k)
	}
	return isNew && e.Mask&inotify.CloseWrite != 0
}

// put puts the part of an event that the route asks for, or that the file was closed, into
// the entry of its path.
func (s *routeState) put(x entry, c *cause, now time.Time) {
	k, mask := keyOf(x.event), x.event.Mask
	x.pinned = mask == 0
	x.event.Mask = cmp.Or(mask&(s.route.Mask|inotify.IsDir), mask&inotify.CloseWrite)
	if x.submissions == nil && s.loop.reported.renew(k, now, muteReported) {
		if q := s.makeQueue(k); !q.dropsEvents() {
			s.keepRefused(&x)
			q.markDirty() // if it is new it is forgotten again
			return
		}
	}
	s.insert(x, c, now, false)
}

// insert puts an entry with something new into the batch of its path, unless OnBusy has it
// dropped. Its event came at a time, which is zero if it was handed on by somebody.
func (s *routeState) insert(x entry, c *cause, came time.Time, skipDelay bool) (q *queue, ok bool) {
	k := keyOf(x.event)
	q = s.makeQueue(k)
	if q.dropsEvents() {
		unrefAll(x.submissions, s.errorf(ErrBusy))
		s.router.saved.finish(&x)
		return q, false
	}

	if q.noteNew() && skipDelay {
		q.skipDelay()
	}
	q.attribute(c)
	if !came.IsZero() {
		q.arrivals.note(&q.batch, k, came)
	}
	s.merge(&q.batch, k, x)
	return q, true
}

// addExisting puts in an event of a file that was there before anybody watched, unless
// its path is in a batch already. It says neither that the file was made nor that it is
// complete, and has no cause.
func (s *routeState) addExisting(e inotify.Event) {
	e, _ = s.outermost(e)
	k := keyOf(e)
	if s.entry(k) != nil || !s.isFor(e) {
		return
	}
	s.put(entry{event: e, existing: true}, nil, time.Now())
}

// addPinned puts in an event that the route need not have asked for, without a Delay. It
// stays, whatever happens to the file. A watcher may have brought what led to it.
func (s *routeState) addPinned(e inotify.Event, watched bool, by []*Submission, c *cause) {
	s.insert(entry{event: s.canonical(e), watched: watched, pinned: true, submissions: refAll(by)}, c, time.Time{}, true)
}

// noteGone takes out a path that is gone, unless the route wants to know that. If a
// directory was moved it does the same for what is below it.
func (s *routeState) noteGone(k key, e inotify.Event, wanted bool) {
	moved := e.Mask&inotify.MovedFrom != 0
	if moved {
		s.forgetMovedOut()
	}
	if q := s.queue(k); q != nil {
		s.takeOut(q, k, moved, wanted)
	}
	if !moved || e.Mask&inotify.IsDir == 0 {
		return
	}

	maps.DeleteFunc(s.newFiles, func(other key, _ bool) bool {
		return other.root == k.root && other.path != k.path && isBelow(other.path, k.path)
	})
	for q := range s.allQueues() {
		for other, x := range q.batch.entries {
			if other.root == k.root && other.path != k.path && isBelow(other.path, k.path) && x.event.Mask&gone == 0 {
				s.takeOut(q, other, true, false)
			}
		}
	}
	slices.SortFunc(s.movedOut, func(x, y entry) int { return cmp.Compare(x.seq, y.seq) })
}

// takeOut takes one path out, unless it stays. If it was moved, its entry is remembered,
// as it may come again under another name.
func (s *routeState) takeOut(q *queue, k key, moved, stays bool) {
	e, ok := q.batch.entries[k]
	if !ok {
		return
	}

	q.markDirty()
	x := *e

	if stays || e.pinned {
		x.submissions, x.id = nil, 0
		q.batch.markClosed(e)
		q.batch.clearMaybeOutput(e)
	} else {
		q.batch.remove(k)
	}

	if moved {
		s.movedOut = append(s.movedOut, x)
		s.movedOutAwaited = s.movedOutAwaited || x.submissions != nil
	} else {
		unrefAll(x.submissions, nil)
		s.router.saved.finish(&x)
	}
}

// forgetMovedOut gives up what was moved out and has not come again.
func (s *routeState) forgetMovedOut() {
	s.unrefMovedOut()
	for i := range s.movedOut {
		s.router.saved.finish(&s.movedOut[i])
	}
	s.movedOut = nil
}

// unrefMovedOut ends the wait for what was moved out. The two halves of a rename come
// together, so what has not come by the next update will not come.
func (s *routeState) unrefMovedOut() {
	if !s.movedOutAwaited {
		return
	}
	s.movedOutAwaited = false
	for i, x := range s.movedOut {
		unrefAll(x.submissions, nil)
		s.movedOut[i].submissions = nil
	}
}

// noteNewFile forgets what was known of an earlier file at a path at which there is
// another one now.
func (s *routeState) noteNewFile(k key) {
	e := s.entry(k)
	if e == nil {
		return
	}
	q := s.queue(k)
	q.noteFileChange()
	q.batch.markClosed(e)
	was := e.event
	e.replacedFile = e.replacedFile || e.event.Mask&gone != 0
	e.event.Mask &^= gone
	e.event.From = ""

	switch {
	case e.event.Mask&s.route.Mask == 0 && !e.pinned: // only that the earlier file was gone was wanted
		q.batch.remove(k)
		unrefAll(e.submissions, nil)
		s.router.saved.finish(e)
	case e.event != was:
		s.saveAgain(e)
	}
}

// rename gives what happened to a path, or below it, before the rename e to the new path.
func (s *routeState) rename(e inotify.Event, now time.Time) {
	from := key{e.Root, e.From}
	if q := s.queue(from); q != nil && q.batch.isNeverClosed(from, now) {
		q.batch.noteNeverClosed(keyOf(e), now) // a log that was rotated, and is still written to
	}

	// The process before may have got the first half of the rename alone.
	if x := s.entry(from); x != nil && x.resumed && x.event.Mask&gone == 0 {
		s.takeOut(s.queue(from), from, true, false)
	}

	for i, x := range s.movedOut {
		if x.event.Root != e.Root || !isBelow(x.event.Path, e.From) {
			continue
		}
		s.movedOut[i].submissions = nil
		path := e.Path + strings.TrimPrefix(x.event.Path, e.From)
		x.id, x.seq, x.pinned, x.resumed = 0, 0, false, false
		// That the file was made is not passed on: there may have been one of the new name.
		x.event = inotify.Event{Root: e.Root, Path: path, Mask: x.event.Mask &^ arrived}
		s.putMoved(x, now)
	}
	s.forgetMovedOut()
}

// putMoved puts an entry in under its new path.
func (s *routeState) putMoved(x entry, now time.Time) {
	k := keyOf(x.event)
	empty := s.route.Empty && x.event.Mask&inotify.CloseWrite != 0 && s.isFor(x.event)
	if !s.wants(x.event) && !empty {
		unrefAll(x.submissions, nil)
		return
	}

	known := s.entry(k) != nil
	q, ok := s.insert(x, s.causeOf(k, now), now, false)
	if !ok {
		return
	}
	if x.maybeOutput && !known {
		s.outputs.ask(k, x.event, true, now)
	}
	if !x.written.IsZero() {
		q.batch.markOpen(q.batch.entries[k], x.written, s.isSelfBlocking(q, x.event, now))
	}
}

// isSelfBlocking reports whether a file that is open for writing holds back nothing but
// itself.
func (s *routeState) isSelfBlocking(q *queue, e inotify.Event, now time.Time) bool {
	return q.batch.isNeverClosed(keyOf(e), now) || s.route.WaitsFor != nil && !s.route.WaitsFor(e)
}

// trackOpen notes whether the file of a path is open for writing.
func (s *routeState) trackOpen(k key, mask inotify.Mask, now time.Time) {
	const written = inotify.Modify | inotify.CloseWrite
	isWrite := mask&written != 0 && mask&inotify.IsDir == 0

	// The watcher reports a time that was set as Modify|Attrib, with which nobody need
	// have opened the file.
	timeWasSet := mask&(inotify.Attrib|inotify.CloseWrite) == inotify.Attrib

	q := s.queue(k)
	if q == nil || !isWrite || timeWasSet {
		return
	}
	e := q.batch.entries[k]
	if e == nil {
		return
	}
	q.noteFileChange()
	if mask&inotify.CloseWrite != 0 {
		q.batch.markClosed(e)
	} else {
		q.batch.markOpen(e, now, s.isSelfBlocking(q, e.event, now))
	}
}

// isBelow reports whether a path is a directory or below it.
func isBelow(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, dir)
	return ok && (rest == "" || rest[0] == '/')
}

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
	if !slices.ContainsFunc(batch, isMovedDir) { // as usual, so it must be quick
		return batch
	}
	if !slices.ContainsFunc(batch, func(e inotify.Event) bool { return isMovedDir(e) && !r.skipsMoved(e.Root, e.Path, e.From) }) {
		return batch // no route is for what is in them
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
