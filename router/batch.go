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
	entries map[key]*entry
	open    []*entry          // whose files are open for writing, in no order
	alone   int               // of them those that hold back nothing but themselves
	unsure  int               // entries that the route's own runs may have written
	endless map[key]time.Time // paths that are written without end, and when they last were
	added   int               // entries ever made, to keep their order
	cause   *cause            // the run that may have caused its events; nil if none may have caused them all
}

// A key is a path's identity: routes may serve several roots.
type key struct{ root, path string }

func keyOf(e inotify.Event) key { return key{e.Root, e.Path} }

type entry struct {
	event   inotify.Event
	seq     int
	existed bool      // there was another file at the path before
	firm    bool      // it stays, whatever becomes of the path
	tickets []*Ticket // of those who submitted it
	opened  time.Time // when its file was first seen open; zero if it is closed
	written time.Time // last, while its file is open
	place   int       // in open, from 1 on; 0 if it is closed
	alone   bool      // it is open, and holds back nothing but itself
	unsure  bool      // the route's own runs may have written it
	asked   time.Time // when it last was whether they have
	noticed bool      // Options.Waiting was told of it
	found   bool      // it was there before anybody watched
}

func (b *batch) empty() bool { return len(b.entries) == 0 }

// written is when a file that holds the batch was last written to; zero if no
// file does. Files that hold back only themselves count when there is nothing
// else.
func (b *batch) written() time.Time {
	var last time.Time
	for _, e := range b.open {
		if !e.alone || b.onlyAlone() {
			last = later(last, e.written)
		}
	}
	return last
}

// waits reports whether a file that is open holds the batch.
func (b *batch) waits() bool {
	return len(b.open) > b.alone || len(b.open) > 0 && b.onlyAlone()
}

// onlyAlone reports whether there is nothing but files that hold back only
// themselves.
func (b *batch) onlyAlone() bool { return b.alone == len(b.entries) }

// take empties the batch and returns its entries in the order in which their
// paths appeared.
func (b *batch) take() []*entry {
	entries := slices.AppendSeq(make([]*entry, 0, len(b.entries)), maps.Values(b.entries))
	slices.SortFunc(entries, func(x, y *entry) int { return cmp.Compare(x.seq, y.seq) })
	*b = batch{endless: b.endless, added: b.added}
	return entries
}

// How many paths that are written without end are remembered, and for how long
// after the last write.
const (
	maxEndless    = 256
	forgetEndless = 10 * time.Minute
)

// giveUp notes the files that are open though the batch goes: they were waited
// for in vain, as logs are, and nothing else is to wait for them again, also
// when they have been closed, rotated or made anew meanwhile.
func (b *batch) giveUp(now time.Time) {
	for _, e := range b.open {
		b.noteEndless(keyOf(e.event), now)
	}
}

func (b *batch) noteEndless(k key, now time.Time) {
	b.endless = noteTime(b.endless, k, now, maxEndless)
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

// isEndless reports whether a path that is written to now is known to be
// written without end.
func (b *batch) isEndless(k key, now time.Time) bool {
	last, known := b.endless[k]
	switch {
	case !known:
		return false
	case now.Sub(last) > forgetEndless:
		delete(b.endless, k)
		return false
	}
	b.endless[k] = now
	return true
}

// put merges x into its path's entry. An x that was in a batch before comes
// first. That x was open is not merged.
func (b *batch) put(k key, x entry) {
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
	old.firm = old.firm || x.firm
	old.existed = old.existed || x.existed
	old.found = old.found && x.found
	old.tickets = append(old.tickets, x.tickets...)
}

func (b *batch) insert(k key, x entry) {
	if b.entries == nil {
		b.entries = make(map[key]*entry)
	}
	if x.seq == 0 {
		b.added++
		x.seq = b.added
	}
	x.opened, x.written = time.Time{}, time.Time{}
	x.place, x.alone, x.unsure = 0, false, false
	b.entries[k] = &x
}

// restore puts back what was taken. That it comes again says nothing of who
// caused it.
func (b *batch) restore(entries []*entry) {
	for _, e := range entries {
		b.put(keyOf(e.event), *e)
	}
}

// drop takes the entry of a path out, if there is one.
func (b *batch) drop(k key) {
	e, ok := b.entries[k]
	if !ok {
		return
	}
	b.close(e)
	b.makeSure(e)
	delete(b.entries, k)
}

// doubt notes that the route's own runs may have written an entry's file.
func (b *batch) doubt(e *entry) {
	if !e.unsure {
		e.unsure = true
		b.unsure++
	}
}

// makeSure is the end of doubt.
func (b *batch) makeSure(e *entry) {
	if e.unsure {
		e.unsure = false
		b.unsure--
	}
}

// hold notes a write to an entry's file, if that is there. Alone says that it
// holds back nothing but itself.
func (b *batch) hold(e *entry, written time.Time, alone bool) {
	if e.event.Mask&gone != 0 {
		return
	}
	e.written = written
	if e.place == 0 {
		b.open = append(b.open, e)
		e.place, e.opened = len(b.open), written
	}
	if alone != e.alone {
		e.alone = alone
		if alone {
			b.alone++
		} else {
			b.alone--
		}
	}
}

// close notes that nobody writes to an entry's file any more.
func (b *batch) close(e *entry) {
	if e.place == 0 {
		return
	}
	last := len(b.open) - 1
	b.open[e.place-1] = b.open[last]
	b.open[e.place-1].place = e.place
	b.open[last] = nil
	b.open = b.open[:last]
	if e.alone {
		b.alone--
	}
	e.opened, e.written = time.Time{}, time.Time{}
	e.place, e.alone = 0, false
}

// eventsOf is what a callback gets.
func eventsOf(entries []*entry) []inotify.Event {
	events := make([]inotify.Event, len(entries))
	for i, e := range entries {
		events[i] = e.event
	}
	return events
}
