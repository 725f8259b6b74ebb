package router

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// A batch gathers the events that one run will get, merged by path. The zero
// value is an empty one.
type batch struct {
	entries      map[key]*entry
	open         []*entry          // whose files are open for writing, in no order
	selfBlocking int               // of them those that hold back nothing but themselves
	maybeOutputs int               // entries that the route's own runs may have written
	neverClosed  map[key]time.Time // paths that are written without end, and when they last were
	lastSeq      int               // entries ever made, to keep their order
	cause        *cause            // the run that may have caused its events; nil if none may have caused them all
}

// A key is a path's identity: routes may serve several roots.
type key struct{ root, path string }

func keyOf(e inotify.Event) key { return key{e.Root, e.Path} }

type entry struct {
	event            inotify.Event
	seq              int
	replacedFile     bool          // there was another file at the path before
	pinned           bool          // it stays, whatever becomes of the path
	submissions      []*Submission // of those who submitted it
	opened           time.Time     // when its file was first seen open; zero if it is closed
	written          time.Time     // last, while its file is open
	openIndex        int           // in open, from 1 on; 0 if it is closed
	blocksOnlyItself bool          // it is open, and holds back nothing but itself
	maybeOutput      bool          // the route's own runs may have written it
	asked            time.Time     // when it last was whether they have
	reported         bool          // Options.Waiting was told of it
	existing         bool          // it was there before anybody watched
}

func (b *batch) empty() bool { return len(b.entries) == 0 }

// lastWrite is when a file that holds the batch was last written to; zero if no
// file does. Files that hold back only themselves count when there is nothing
// else.
func (b *batch) lastWrite() time.Time {
	var last time.Time
	for _, e := range b.open {
		if !e.blocksOnlyItself || b.allSelfBlocking() {
			last = later(last, e.written)
		}
	}
	return last
}

// isBlocked reports whether a file that is open holds the batch.
func (b *batch) isBlocked() bool {
	return len(b.open) > b.selfBlocking || len(b.open) > 0 && b.allSelfBlocking()
}

// allSelfBlocking reports whether there is nothing but files that hold back only
// themselves.
func (b *batch) allSelfBlocking() bool { return b.selfBlocking == len(b.entries) }

// take empties the batch and returns its entries in the order in which their
// paths appeared.
func (b *batch) take() []*entry {
	entries := slices.AppendSeq(make([]*entry, 0, len(b.entries)), maps.Values(b.entries))
	slices.SortFunc(entries, func(x, y *entry) int { return cmp.Compare(x.seq, y.seq) })
	*b = batch{neverClosed: b.neverClosed, lastSeq: b.lastSeq}
	return entries
}

// How many paths that are written without end are remembered, and for how long
// after the last write.
const (
	maxNeverClosed    = 256
	forgetNeverClosed = 10 * time.Minute
)

// noteOpenFiles notes the files that are open though the batch goes: they were waited
// for in vain, as logs are, and nothing else is to wait for them again, also
// when they have been closed, rotated or made anew meanwhile.
func (b *batch) noteOpenFiles(now time.Time) {
	for _, e := range b.open {
		b.noteNeverClosed(keyOf(e.event), now)
	}
}

func (b *batch) noteNeverClosed(k key, now time.Time) {
	b.neverClosed = noteTime(b.neverClosed, k, now, maxNeverClosed)
}

// noteTime sets the time of a path in a map, which it returns, and makes one if there
// is none. A map that has as many paths as it may forgets that of the earliest time.
func noteTime(times map[key]time.Time, k key, now time.Time, most int) map[key]time.Time {
	if times == nil {
		times = make(map[key]time.Time)
	}
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
	return times
}

// isNeverClosed reports whether a path that is written to now is known to be
// written without end.
func (b *batch) isNeverClosed(k key, now time.Time) bool {
	last, known := b.neverClosed[k]
	switch {
	case !known:
		return false
	case now.Sub(last) > forgetNeverClosed:
		delete(b.neverClosed, k)
		return false
	}
	b.neverClosed[k] = now
	return true
}

// merge merges x into its path's entry. An x that was in a batch before comes
// first. That x was open is not merged.
func (b *batch) merge(k key, x entry) {
	old, ok := b.entries[k]
	if !ok {
		b.insert(k, x)
		return
	}
	old.event.Mask |= x.event.Mask
	if x.seq == 0 {
		old.event.From = cmp.Or(x.event.From, old.event.From)
	} else {
		old.event.From = cmp.Or(old.event.From, x.event.From)
		old.seq = x.seq
	}
	old.pinned = old.pinned || x.pinned
	old.replacedFile = old.replacedFile || x.replacedFile
	old.existing = old.existing && x.existing
	old.submissions = append(old.submissions, x.submissions...)
}

func (b *batch) insert(k key, x entry) {
	if b.entries == nil {
		b.entries = make(map[key]*entry)
	}
	if x.seq == 0 {
		b.lastSeq++
		x.seq = b.lastSeq
	}
	x.opened, x.written = time.Time{}, time.Time{}
	x.openIndex, x.blocksOnlyItself, x.maybeOutput = 0, false, false
	b.entries[k] = &x
}

// restore puts back what was taken. That it comes again says nothing of who
// caused it.
func (b *batch) restore(entries []*entry) {
	for _, e := range entries {
		b.merge(keyOf(e.event), *e)
	}
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

// markMaybeOutput notes that the route's own runs may have written an entry's file.
func (b *batch) markMaybeOutput(e *entry) {
	if !e.maybeOutput {
		e.maybeOutput = true
		b.maybeOutputs++
	}
}

// clearMaybeOutput is the end of doubt.
func (b *batch) clearMaybeOutput(e *entry) {
	if e.maybeOutput {
		e.maybeOutput = false
		b.maybeOutputs--
	}
}

// markOpen notes a write to an entry's file, if that is there. Alone says that it
// holds back nothing but itself.
func (b *batch) markOpen(e *entry, written time.Time, alone bool) {
	if e.event.Mask&gone != 0 {
		return
	}
	e.written = written
	if e.openIndex == 0 {
		b.open = append(b.open, e)
		e.openIndex, e.opened = len(b.open), written
	}
	if alone != e.blocksOnlyItself {
		e.blocksOnlyItself = alone
		if alone {
			b.selfBlocking++
		} else {
			b.selfBlocking--
		}
	}
}

// markClosed notes that nobody writes to an entry's file any more.
func (b *batch) markClosed(e *entry) {
	if e.openIndex == 0 {
		return
	}
	last := len(b.open) - 1
	b.open[e.openIndex-1] = b.open[last]
	b.open[e.openIndex-1].openIndex = e.openIndex
	b.open[last] = nil
	b.open = b.open[:last]
	if e.blocksOnlyItself {
		b.selfBlocking--
	}
	e.opened, e.written = time.Time{}, time.Time{}
	e.openIndex, e.blocksOnlyItself = 0, false
}

// eventsOf is what a callback gets.
func eventsOf(entries []*entry) []inotify.Event {
	events := make([]inotify.Event, len(entries))
	for i, e := range entries {
		events[i] = e.event
	}
	return events
}
