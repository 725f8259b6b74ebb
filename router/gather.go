package router

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// addAll is add for events that came together. What a watcher has delivered
// comes once for each root, of which the route takes one.
func (s *routeState) addAll(events []inotify.Event, now time.Time, t *Submission, delivered bool) {
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
		s.add(outer, now, t)
	}
}

// add merges an event that came at now, and that t waits for unless it is nil,
// into the batch of its path. An event that the route does not want changes
// only what is known already.
func (s *routeState) add(e inotify.Event, now time.Time, t *Submission) {
	k := keyOf(e)
	wanted := s.rules.wants(e) || e.Mask == 0 && s.rules.isFor(e)
	wanted = s.isEmptyNewFile(k, e) || wanted
	isOutput := t == nil && s.isOutputRename(k, e, now)
	if isOutput = t == nil && s.outputs.isOwn(k, e, now) || isOutput; isOutput {
		wanted = false
		e.Mask &^= inotify.Modify // nor is it waited for
	} else if t == nil && s.outputs.mustAsk(k, e) && s.outputs.isQuestionDue(k, e, now) && s.rules.isFor(e) {
		defer s.outputs.ask(k, e, !s.has(k), now)
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
		var from *cause
		if t == nil {
			from = s.causeOf(k, now)
		}
		s.merge(k, e, from, t, now)
	}
	if e.From != "" {
		s.rename(e, now)
	}
	s.trackOpen(k, e.Mask, now)
}

// has reports whether something waits for a path.
func (s *routeState) has(k key) bool {
	q := s.queue(k)
	return q != nil && q.batch.entries[k] != nil
}

// isEmptyNewFile reports whether e is the close of a new file to which nothing was
// written, for a route that asks for those.
func (s *routeState) isEmptyNewFile(k key, e inotify.Event) bool {
	if !s.route.Empty {
		return false
	}
	made := s.newFiles[k] || e.Mask&(inotify.Create|inotify.IsDir) == inotify.Create && s.rules.isFor(e)
	if made && e.Mask&(content|gone|inotify.MovedTo) == 0 {
		s.newFiles[k] = true
	} else {
		delete(s.newFiles, k)
	}
	return made && e.Mask&inotify.CloseWrite != 0
}

// merge puts the part of e that the route asks for, or that it was closed, into
// its path's entry, with the run that may have led to it and who waits for it.
func (s *routeState) merge(k key, e inotify.Event, from *cause, t *Submission, now time.Time) {
	q := s.makeQueue(k)
	if q.dropsEvents() {
		t.fail(s.errorf(ErrBusy))
		return
	}
	x := entry{event: e, pinned: e.Mask == 0, submissions: t.another()}
	x.event.Mask = cmp.Or(e.Mask&(s.rules.want|inotify.IsDir), e.Mask&inotify.CloseWrite)
	if t == nil && s.loop.isMuted(k, now) {
		s.loop.keep(&x)
		return
	}
	q.noteNew()
	q.attribute(from)
	q.noteArrival(k, now)
	q.batch.merge(k, x)
}

// addExisting puts an event in whose path has nothing waiting. It says neither that a
// file was made nor that it is complete, and is nobody's doing.
func (s *routeState) addExisting(e inotify.Event) {
	e, _ = s.outermost(e)
	k := keyOf(e)
	if s.has(k) || !s.rules.isFor(e) {
		return
	}
	s.merge(k, e, nil, nil, time.Now())
	if s.has(k) {
		s.queue(k).batch.entries[k].existing = true
	}
}

// addPinned puts an event in that is not of the route's asking, with the tickets
// that wait for it and the run that led to it, if one did.
func (s *routeState) addPinned(e inotify.Event, tickets []*Submission, from *cause) {
	e = s.canonical(e)
	k := keyOf(e)
	q := s.makeQueue(k)
	if q.dropsEvents() {
		for _, t := range tickets {
			t.fail(s.errorf(ErrBusy))
		}
		return
	}
	if q.noteNew() {
		q.skipDelay()
	}
	for _, t := range tickets {
		t.ref()
	}
	q.attribute(from)
	q.batch.merge(k, entry{event: e, pinned: true, submissions: slices.Clone(tickets)})
}

// noteGone takes a path out that is gone, unless the route wants to know, and
// what is below a directory that was renamed.
func (s *routeState) noteGone(k key, e inotify.Event, wanted bool) {
	moved := e.Mask&inotify.MovedFrom != 0
	if moved {
		s.forgetMovedOut()
	}
	q := s.queue(k)
	if q != nil {
		s.takeOut(q, k, moved, wanted)
	}
	if moved && e.Mask&inotify.IsDir != 0 {
		s.noteGoneBelow(k)
	}
}

// takeOut is depart for one path. What moved may come again under another name.
func (s *routeState) takeOut(q *queue, k key, moved, stays bool) {
	e, ok := q.batch.entries[k]
	if !ok {
		return
	}
	q.markDirty()
	stays = stays || e.pinned
	d := *e
	if stays {
		d.submissions = nil
		q.batch.markClosed(e)
		q.batch.clearMaybeOutput(e)
	} else {
		q.batch.remove(k)
	}
	if moved {
		s.movedOut = append(s.movedOut, d)
		s.movedOutAwaited = s.movedOutAwaited || d.submissions != nil
	} else {
		unrefAll(d.submissions, nil)
	}
}

func (s *routeState) noteGoneBelow(dir key) {
	maps.DeleteFunc(s.newFiles, func(k key, _ bool) bool {
		return k.root == dir.root && strings.HasPrefix(k.path, dir.path+"/")
	})
	for q := range s.allQueues() {
		for k, e := range q.batch.entries {
			rest, below := strings.CutPrefix(k.path, dir.path)
			if below && strings.HasPrefix(rest, "/") && k.root == dir.root && e.event.Mask&gone == 0 {
				s.takeOut(q, k, true, false)
			}
		}
	}
	slices.SortFunc(s.movedOut, func(x, y entry) int { return cmp.Compare(x.seq, y.seq) })
}

// forgetMovedOut gives up what has left and came nowhere.
func (s *routeState) forgetMovedOut() {
	s.unrefMovedOut()
	s.movedOut = nil
}

// unrefMovedOut lets those go who wait for what has left: the two halves of a
// rename come together.
func (s *routeState) unrefMovedOut() {
	if !s.movedOutAwaited {
		return
	}
	s.movedOutAwaited = false
	for i, d := range s.movedOut {
		unrefAll(d.submissions, nil)
		s.movedOut[i].submissions = nil
	}
}

// noteNewFile forgets what was known of an earlier file at the path.
func (s *routeState) noteNewFile(k key) {
	q := s.queue(k)
	if q == nil {
		return
	}
	e, ok := q.batch.entries[k]
	if !ok {
		return
	}
	q.noteFileChange()
	q.batch.markClosed(e)
	e.replacedFile = e.replacedFile || e.event.Mask&gone != 0
	e.event.Mask &^= gone
	e.event.From = ""
	if e.event.Mask&s.rules.want == 0 && !e.pinned {
		q.batch.remove(k)
		unrefAll(e.submissions, nil)
	}
}

// rename gives what happened to a path, or below it, before a rename to the
// new path. That a file was made is not passed on: the new name may be old.
func (s *routeState) rename(e inotify.Event, now time.Time) {
	if q := s.queue(key{e.Root, e.From}); q != nil && q.batch.isNeverClosed(key{e.Root, e.From}, now) {
		q.batch.noteNeverClosed(keyOf(e), now) // a log that is rotated, and still written to
	}
	for i, d := range s.movedOut {
		rest, ok := strings.CutPrefix(d.event.Path, e.From)
		if !ok || d.event.Root != e.Root || rest != "" && rest[0] != '/' {
			continue
		}
		s.movedOut[i].submissions = nil
		x := d
		x.seq, x.pinned = 0, false
		x.event = inotify.Event{Root: e.Root, Path: e.Path + rest, Mask: d.event.Mask &^ arrived}
		s.putMoved(x, now)
	}
	s.forgetMovedOut()
}

// putMoved puts an entry in under its new path.
func (s *routeState) putMoved(x entry, now time.Time) {
	k := keyOf(x.event)
	empty := s.route.Empty && x.event.Mask&inotify.CloseWrite != 0 && s.rules.isFor(x.event)
	if !s.rules.wants(x.event) && !empty {
		unrefAll(x.submissions, nil)
		return
	}
	q := s.makeQueue(k)
	if q.dropsEvents() {
		unrefAll(x.submissions, s.errorf(ErrBusy))
		return
	}
	q.noteNew()
	q.attribute(s.causeOf(k, now))
	known := s.has(k)
	q.noteArrival(k, now)
	q.batch.merge(k, x)
	if x.maybeOutput && !known {
		s.outputs.ask(k, x.event, true, now)
	}
	if !x.written.IsZero() {
		q.batch.markOpen(q.batch.entries[k], x.written, s.blocksOnlyItself(q, x.event, now))
	}
}

// blocksOnlyItself reports whether a file that is open for writing holds back nothing
// but itself.
func (s *routeState) blocksOnlyItself(q *queue, e inotify.Event, now time.Time) bool {
	return q.batch.isNeverClosed(keyOf(e), now) || s.route.WaitsFor != nil && !s.route.WaitsFor(e)
}

// trackOpen notes whether the path is open for writing. Of a file whose time was set
// (Modify|Attrib), nobody knows.
func (s *routeState) trackOpen(k key, mask inotify.Mask, now time.Time) {
	q := s.queue(k)
	timeSet := mask&(inotify.Attrib|inotify.CloseWrite) == inotify.Attrib
	if q == nil || mask&(inotify.CloseWrite|inotify.Modify) == 0 || mask&inotify.IsDir != 0 || timeSet {
		return // nobody writes to a directory, whatever becomes of its times
	}
	e, ok := q.batch.entries[k]
	if !ok {
		return
	}
	q.noteFileChange()
	if mask&inotify.CloseWrite != 0 {
		q.batch.markClosed(e)
	} else {
		q.batch.markOpen(e, now, s.blocksOnlyItself(q, e.event, now))
	}
}
