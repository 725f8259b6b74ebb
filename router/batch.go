package router

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// Paths that are never closed, such as logs, are remembered so that nothing is held
// back for them again.
const (
	maxNeverClosed    = 256
	forgetNeverClosed = 10 * time.Minute // after the last write
)

// A batch gathers the events that one run will get, merged by path. The zero value is
// empty.
type batch struct {
	entries      map[key]*entry
	lastSeq      int       // of the entries that were ever made
	open         []*entry  // whose files are open for writing, in no order
	selfBlocking int       // how many of open hold back nothing but themselves
	maybeOutputs int       // how many entries the route's own runs may have written
	neverClosed  pathTimes // files that were waited for in vain, and when they were last written to
	cause        *cause    // the run that may have caused all events; nil if there is none
}

// A key is the identity of a path: a route may have several roots.
type key struct{ root, path string }

func keyOf(e inotify.Event) key { return key{e.Root, e.Path} }

// An entry is what has happened to one path.
type entry struct {
	event        inotify.Event
	id           uint64        // in Options.State; 0 if it is not there
	seq          int           // in the order in which the paths came; 0 is after all others
	submissions  []*Submission // that wait for it
	watched      bool          // a watcher has brought it, or what led to it
	resumed      bool          // it is of the process before
	kept         bool          // it is in keptForSuccess
	pinned       bool          // it stays, whatever happens to the path
	existing     bool          // the file was there before anybody watched
	replacedFile bool          // there was another file at the path before
	reported     bool          // Options.Waiting was told of it
	maybeOutput  bool          // the route's own runs may have written it
	selfBlocking bool          // it is open, and holds back nothing but itself

	asked time.Time // when OwnOutput was asked last whether the route's own runs have written it

	// While the file is open for writing; zero otherwise.
	openIndex int // in batch.open, from 1 on
	opened    time.Time
	written   time.Time // last
}

func (b *batch) empty() bool { return len(b.entries) == 0 }

// isBlocked reports whether an open file holds the batch back.
func (b *batch) isBlocked() bool {
	return len(b.open) > b.selfBlocking || len(b.open) > 0 && b.allSelfBlocking()
}

// allSelfBlocking reports whether the batch has nothing but open files that hold back
// only themselves. It does for an empty one.
func (b *batch) allSelfBlocking() bool { return b.selfBlocking == len(b.entries) }

// take empties the batch and returns its entries in the order in which their paths came.
func (b *batch) take() []*entry {
	entries := slices.AppendSeq(make([]*entry, 0, len(b.entries)), maps.Values(b.entries))
	slices.SortFunc(entries, func(x, y *entry) int { return cmp.Compare(x.seq, y.seq) })
	*b = batch{neverClosed: b.neverClosed, lastSeq: b.lastSeq}
	return entries
}

// merge merges x into the entry of its path. An x that was in a batch before comes before
// what is there. Whether x was open is not merged.
func (b *batch) merge(k key, x entry) {
	old, ok := b.entries[k]
	if !ok {
		if b.entries == nil {
			b.entries = make(map[key]*entry)
		}
		if x.seq == 0 {
			b.lastSeq++
			x.seq = b.lastSeq
		}
		x.openIndex, x.opened, x.written, x.selfBlocking = 0, time.Time{}, time.Time{}, false
		x.maybeOutput = false
		b.entries[k] = &x
		return
	}

	old.event.Mask |= x.event.Mask
	if x.seq == 0 {
		old.event.From = cmp.Or(x.event.From, old.event.From)
	} else {
		old.event.From = cmp.Or(old.event.From, x.event.From)
		old.seq = x.seq
	}

	old.id = cmp.Or(old.id, x.id)
	old.watched = old.watched || x.watched
	old.pinned = old.pinned || x.pinned
	old.replacedFile = old.replacedFile || x.replacedFile
	old.existing = old.existing && x.existing
	old.submissions = append(old.submissions, x.submissions...)
}

// remove takes the entry of a path out, if there is one.
func (b *batch) remove(k key) {
	e, ok := b.entries[k]
	if !ok {
		return
	}
	b.markClosed(e)
	b.clearMaybeOutput(e)
	delete(b.entries, k)
}

func (b *batch) clearMaybeOutput(e *entry) {
	if e.maybeOutput {
		e.maybeOutput = false
		b.maybeOutputs--
	}
}

// markOpen notes a write to the file of an entry, and whether that file holds back
// nothing but itself. A file that is gone is not open.
func (b *batch) markOpen(e *entry, written time.Time, selfBlocking bool) {
	if e.event.Mask&gone != 0 {
		return
	}
	e.written = written

	if e.openIndex == 0 {
		b.open = append(b.open, e)
		e.openIndex, e.opened = len(b.open), written
	}

	if selfBlocking != e.selfBlocking {
		e.selfBlocking = selfBlocking
		if selfBlocking {
			b.selfBlocking++
		} else {
			b.selfBlocking--
		}
	}
}

// markClosed notes that nobody writes to the file of an entry any more.
func (b *batch) markClosed(e *entry) {
	if e.openIndex == 0 {
		return
	}

	// The last one takes its place, as they have no order.
	last := len(b.open) - 1
	b.open[e.openIndex-1] = b.open[last]
	b.open[e.openIndex-1].openIndex = e.openIndex
	b.open[last] = nil
	b.open = b.open[:last]

	if e.selfBlocking {
		b.selfBlocking--
	}
	e.openIndex, e.opened, e.written, e.selfBlocking = 0, time.Time{}, time.Time{}, false
}

// noteNeverClosed remembers a file that was waited for in vain. Nothing else is to wait for
// its path again, also when it has been closed, rotated or made anew meanwhile.
func (b *batch) noteNeverClosed(k key, now time.Time) {
	b.neverClosed.note(k, now, maxNeverClosed)
}

// isNeverClosed reports whether a file that is written to now was waited for in vain
// before, and has not been left alone since.
func (b *batch) isNeverClosed(k key, now time.Time) bool {
	return b.neverClosed.renew(k, now, forgetNeverClosed)
}

// pathTimes are the paths of which something was noted, and when. The zero value is none.
type pathTimes map[key]time.Time

// note notes a path. If there are as many as there may be, that of the earliest time is
// forgotten.
func (t *pathTimes) note(k key, now time.Time, most int) {
	if *t == nil {
		*t = make(pathTimes)
	}

	times := *t
	if _, known := times[k]; !known && len(times) >= most {
		oldest := k
		for other, at := range times {
			if oldest == k || at.Before(times[oldest]) {
				oldest = other
			}
		}
		delete(times, oldest)
	}
	times[k] = now
}

// renew reports whether a path was noted and renewed without a longer pause, and renews it.
func (t pathTimes) renew(k key, now time.Time, pause time.Duration) bool {
	last, known := t[k]
	switch {
	case !known:
		return false
	case now.Sub(last) > pause:
		delete(t, k)
		return false
	}
	t[k] = now
	return true
}

// eventsOf returns what a callback gets.
func eventsOf(entries []*entry) []inotify.Event {
	events := make([]inotify.Event, len(entries))
	for i, e := range entries {
		events[i] = e.event
	}
	return events
}
