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
	open    []*entry         // whose files are open for writing, in no order
	endless map[key]struct{} // open files that hold back nothing but themselves
	added   int              // entries ever made, to keep their order
	from    *trace           // the run that led to it; nil if none did, or not to all of it
	last    *trace           // the one that led to its last event
}

// A key is a path's identity: routes may serve several roots.
type key struct{ root, path string }

func keyOf(e inotify.Event) key { return key{e.Root, e.Path} }

type entry struct {
	event   inotify.Event
	seq     int
	firm    bool      // it stays, whatever becomes of the path
	tickets []*Ticket // of those who submitted it
	written time.Time // last, while its file is open
	place   int       // in open, from 1 on; 0 if it is closed
}

func (b *batch) empty() bool { return len(b.entries) == 0 }

// blame notes the run that may have led to an event of the route, before that
// is put in. What led to all of them is what led to each of their runs, or if
// nothing did so, the one that counts least.
func (b *batch) blame(t *trace, route string) {
	switch {
	case b.empty():
		b.from = t
	case b.from != t:
		b.from = t.before(b.from, route)
	}
	b.last = t
}

// written is when a file that holds the batch was last written to; zero if no
// file does.
func (b *batch) written() time.Time {
	var last, endless time.Time
	for _, e := range b.open {
		if b.isEndless(keyOf(e.event)) {
			endless = later(endless, e.written)
		} else {
			last = later(last, e.written)
		}
	}
	if b.onlyEndless() {
		return later(last, endless)
	}
	return last
}

func (b *batch) onlyEndless() bool {
	for k := range b.entries {
		if !b.isEndless(k) {
			return false
		}
	}
	return true
}

func (b *batch) isEndless(k key) bool {
	_, ok := b.endless[k]
	return ok
}

// take empties the batch and returns its entries in the order in which their
// paths appeared.
func (b *batch) take() []*entry {
	entries := slices.AppendSeq(make([]*entry, 0, len(b.entries)), maps.Values(b.entries))
	slices.SortFunc(entries, func(x, y *entry) int { return cmp.Compare(x.seq, y.seq) })
	*b = batch{endless: b.endless, added: b.added}
	return entries
}

// giveUp notes the files that are being written at now: they used up the
// patience of a whole batch, as logs do, and the next is not to wait for them.
func (b *batch) giveUp(now time.Time, settle time.Duration) {
	for _, e := range b.open {
		if now.Before(e.written.Add(settle)) {
			if b.endless == nil {
				b.endless = make(map[key]struct{})
			}
			b.endless[keyOf(e.event)] = struct{}{}
		}
	}
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
	x.written, x.place = time.Time{}, 0
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
	delete(b.entries, k)
}

// hold notes a write to an entry's file, if that is there.
func (b *batch) hold(e *entry, written time.Time) {
	if e.event.Mask&gone != 0 {
		return
	}
	e.written = written
	if e.place == 0 {
		b.open = append(b.open, e)
		e.place = len(b.open)
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
	e.written, e.place = time.Time{}, 0
}

// eventsOf is what a callback gets.
func eventsOf(entries []*entry) []inotify.Event {
	events := make([]inotify.Event, len(entries))
	for i, e := range entries {
		events[i] = e.event
	}
	return events
}
