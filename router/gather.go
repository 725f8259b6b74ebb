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
func (s *stage) addAll(events []inotify.Event, now time.Time, t *Ticket, delivered bool) {
	for _, e := range events {
		if e.Mask&inotify.Overflow != 0 {
			s.outputs.forget()
		}
		if e.Mask&s.heeds == 0 && e.Mask != 0 {
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
func (s *stage) add(e inotify.Event, now time.Time, t *Ticket) {
	k := keyOf(e)
	wanted := s.rules.wants(e) || e.Mask == 0 && s.rules.isFor(e)
	wanted = s.completes(k, e) || wanted
	isOutput := t == nil && s.movesOutput(k, e, now)
	if isOutput = t == nil && s.outputs.has(k, e, now) || isOutput; isOutput {
		wanted = false
		e.Mask &^= inotify.Modify // nor is it waited for
	} else if t == nil && s.outputs.mayHave(k, e) && s.outputs.isDue(k, e, now) && s.rules.isFor(e) {
		defer s.outputs.ask(k, e, !s.has(k), now)
	}
	if !wanted && s.knowsNothing() {
		return
	}
	if e.Mask&gone != 0 {
		s.depart(k, e, wanted)
	}
	if e.Mask&arrived != 0 {
		s.arrive(k)
	}
	s.noteGone(k, e.Mask, wanted)
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
	s.track(k, e.Mask, now)
}

// has reports whether something waits for a path.
func (s *stage) has(k key) bool {
	l := s.at(k)
	return l != nil && l.batch.entries[k] != nil
}

// completes reports whether e is the close of a new file to which nothing was
// written, for a route that asks for those.
func (s *stage) completes(k key, e inotify.Event) bool {
	if !s.route.Empty {
		return false
	}
	made := s.made[k] || e.Mask&(inotify.Create|inotify.IsDir) == inotify.Create && s.rules.isFor(e)
	if made && e.Mask&(content|gone|inotify.MovedTo) == 0 {
		s.made[k] = true
	} else {
		delete(s.made, k)
	}
	return made && e.Mask&inotify.CloseWrite != 0
}

// merge puts the part of e that the route asks for, or that it was closed, into
// its path's entry, with the run that may have led to it and who waits for it.
func (s *stage) merge(k key, e inotify.Event, from *cause, t *Ticket, now time.Time) {
	l := s.lane(k)
	if l.ignores() {
		t.fail(s.errorf(ErrBusy))
		return
	}
	x := entry{event: e, firm: e.Mask == 0, tickets: t.held()}
	x.event.Mask = cmp.Or(e.Mask&(s.rules.want|inotify.IsDir), e.Mask&inotify.CloseWrite)
	if t == nil && s.loop.mutes(k, now) {
		s.loop.keep(&x)
		return
	}
	l.renew()
	l.attribute(from)
	l.came(k, now)
	l.batch.put(k, x)
}

// offer puts an event in whose path has nothing waiting. It says neither that a
// file was made nor that it is complete, and is nobody's doing.
func (s *stage) offer(e inotify.Event) {
	e, _ = s.outermost(e)
	k := keyOf(e)
	if s.has(k) || !s.rules.isFor(e) {
		return
	}
	s.merge(k, e, nil, nil, time.Now())
	if s.has(k) {
		s.at(k).batch.entries[k].found = true
	}
}

// inherit puts an event in that is not of the route's asking, with the tickets
// that wait for it and the run that led to it, if one did.
func (s *stage) inherit(e inotify.Event, tickets []*Ticket, from *cause) {
	e = s.named(e)
	k := keyOf(e)
	l := s.lane(k)
	if l.ignores() {
		for _, t := range tickets {
			t.fail(s.errorf(ErrBusy))
		}
		return
	}
	if l.renew() {
		l.skipDelay()
	}
	for _, t := range tickets {
		t.hold()
	}
	l.attribute(from)
	l.batch.put(k, entry{event: e, firm: true, tickets: slices.Clone(tickets)})
}

// depart takes a path out that is gone, unless the route wants to know, and
// what is below a directory that was renamed.
func (s *stage) depart(k key, e inotify.Event, wanted bool) {
	moved := e.Mask&inotify.MovedFrom != 0
	if moved {
		s.forgetLeft()
	}
	l := s.at(k)
	if l != nil {
		s.leave(l, k, moved, wanted)
	}
	if moved && e.Mask&inotify.IsDir != 0 {
		s.departBelow(k)
	}
}

// leave is depart for one path. What moved may come again under another name.
func (s *stage) leave(l *lane, k key, moved, stays bool) {
	e, ok := l.batch.entries[k]
	if !ok {
		return
	}
	l.touch()
	stays = stays || e.firm
	d := *e
	if stays {
		d.tickets = nil
		l.batch.close(e)
		l.batch.makeSure(e)
	} else {
		l.batch.drop(k)
	}
	if moved {
		s.left = append(s.left, d)
		s.awaited = s.awaited || d.tickets != nil
	} else {
		release(d.tickets, nil)
	}
}

func (s *stage) departBelow(dir key) {
	maps.DeleteFunc(s.made, func(k key, _ bool) bool {
		return k.root == dir.root && strings.HasPrefix(k.path, dir.path+"/")
	})
	for l := range s.all() {
		for k, e := range l.batch.entries {
			rest, below := strings.CutPrefix(k.path, dir.path)
			if below && strings.HasPrefix(rest, "/") && k.root == dir.root && e.event.Mask&gone == 0 {
				s.leave(l, k, true, false)
			}
		}
	}
	slices.SortFunc(s.left, func(x, y entry) int { return cmp.Compare(x.seq, y.seq) })
}

// forgetLeft gives up what has left and came nowhere.
func (s *stage) forgetLeft() {
	s.releaseLeft()
	s.left = nil
}

// releaseLeft lets those go who wait for what has left: the two halves of a
// rename come together.
func (s *stage) releaseLeft() {
	if !s.awaited {
		return
	}
	s.awaited = false
	for i, d := range s.left {
		release(d.tickets, nil)
		s.left[i].tickets = nil
	}
}

// arrive forgets what was known of an earlier file at the path.
func (s *stage) arrive(k key) {
	l := s.at(k)
	if l == nil {
		return
	}
	e, ok := l.batch.entries[k]
	if !ok {
		return
	}
	l.change()
	l.batch.close(e)
	e.existed = e.existed || e.event.Mask&gone != 0
	e.event.Mask &^= gone
	e.event.From = ""
	if e.event.Mask&s.rules.want == 0 && !e.firm {
		l.batch.drop(k)
		release(e.tickets, nil)
	}
}

// rename gives what happened to a path, or below it, before a rename to the
// new path. That a file was made is not passed on: the new name may be old.
func (s *stage) rename(e inotify.Event, now time.Time) {
	if l := s.at(key{e.Root, e.From}); l != nil && l.batch.isEndless(key{e.Root, e.From}, now) {
		l.batch.noteEndless(keyOf(e), now) // a log that is rotated, and still written to
	}
	for i, d := range s.left {
		rest, ok := strings.CutPrefix(d.event.Path, e.From)
		if !ok || d.event.Root != e.Root || rest != "" && rest[0] != '/' {
			continue
		}
		s.left[i].tickets = nil
		x := d
		x.seq, x.firm = 0, false
		x.event = inotify.Event{Root: e.Root, Path: e.Path + rest, Mask: d.event.Mask &^ arrived}
		s.reappear(x, now)
	}
	s.forgetLeft()
}

// reappear puts an entry in under its new path.
func (s *stage) reappear(x entry, now time.Time) {
	k := keyOf(x.event)
	empty := s.route.Empty && x.event.Mask&inotify.CloseWrite != 0 && s.rules.isFor(x.event)
	if !s.rules.wants(x.event) && !empty {
		release(x.tickets, nil)
		return
	}
	l := s.lane(k)
	if l.ignores() {
		release(x.tickets, s.errorf(ErrBusy))
		return
	}
	l.renew()
	l.attribute(s.causeOf(k, now))
	known := s.has(k)
	l.came(k, now)
	l.batch.put(k, x)
	if x.unsure && !known {
		s.outputs.ask(k, x.event, true, now)
	}
	if !x.written.IsZero() {
		l.batch.hold(l.batch.entries[k], x.written, s.waitsAlone(l, x.event, now))
	}
}

// waitsAlone reports whether a file that is open for writing holds back nothing
// but itself.
func (s *stage) waitsAlone(l *lane, e inotify.Event, now time.Time) bool {
	return l.batch.isEndless(keyOf(e), now) || s.route.WaitsFor != nil && !s.route.WaitsFor(e)
}

// track notes whether the path is open for writing. Of a file whose time was set
// (Modify|Attrib), nobody knows.
func (s *stage) track(k key, mask inotify.Mask, now time.Time) {
	l := s.at(k)
	timeSet := mask&(inotify.Attrib|inotify.CloseWrite) == inotify.Attrib
	if l == nil || mask&(inotify.CloseWrite|inotify.Modify) == 0 || mask&inotify.IsDir != 0 || timeSet {
		return // nobody writes to a directory, whatever becomes of its times
	}
	e, ok := l.batch.entries[k]
	if !ok {
		return
	}
	l.change()
	if mask&inotify.CloseWrite != 0 {
		l.batch.close(e)
	} else {
		l.batch.hold(e, now, s.waitsAlone(l, e.event, now))
	}
}
