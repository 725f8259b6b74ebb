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
	open    map[key]time.Time // paths of entries that are open for writing, with their last write
	endless map[key]struct{}  // open files that hold back nothing but themselves
	added   int               // entries ever made, to keep their order
	fresh   int               // entries that are fresh
}

// A key is a path's identity: routes may serve several roots.
type key struct{ root, path string }

func keyOf(e inotify.Event) key { return key{e.Root, e.Path} }

type entry struct {
	event   inotify.Event
	seq     int
	firm    bool      // it stays, whatever becomes of the path
	fresh   bool      // not all of it may be the route's own doing
	tickets []*Ticket // of those who submitted it
}

func (b *batch) empty() bool { return len(b.entries) == 0 }

// written is when a file that holds the batch was last written to; zero if no
// file does.
func (b *batch) written() time.Time {
	var last, endless time.Time
	for k, t := range b.open {
		if _, ok := b.endless[k]; ok {
			endless = later(endless, t)
		} else {
			last = later(last, t)
		}
	}
	if b.onlyEndless() {
		return later(last, endless)
	}
	return last
}

func (b *batch) onlyEndless() bool {
	for k := range b.entries {
		if _, ok := b.endless[k]; !ok {
			return false
		}
	}
	return true
}

// take empties the batch and returns its entries in the order in which their
// paths appeared.
func (b *batch) take() []*entry {
	entries := slices.SortedFunc(maps.Values(b.entries), func(x, y *entry) int { return cmp.Compare(x.seq, y.seq) })
	*b = batch{endless: b.endless, added: b.added}
	return entries
}

// giveUp notes the files that are being written at now: they used up the
// patience of a whole batch, as logs do, and the next is not to wait for them.
func (b *batch) giveUp(now time.Time, settle time.Duration) {
	for k, written := range b.open {
		if now.Before(written.Add(settle)) {
			if b.endless == nil {
				b.endless = make(map[key]struct{})
			}
			b.endless[k] = struct{}{}
		}
	}
}

// put merges x into its path's entry. An x that was in a batch before comes
// first.
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
	if x.fresh && !old.fresh {
		old.fresh = true
		b.fresh++
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
	if x.fresh {
		b.fresh++
	}
	b.entries[k] = &x
}

// restore puts back what was taken. That it comes again says nothing of who
// caused it.
func (b *batch) restore(entries []*entry) {
	for _, e := range entries {
		e.fresh = false
		b.put(keyOf(e.event), *e)
	}
}

// drop takes the entry of a path out, if there is one.
func (b *batch) drop(k key) {
	delete(b.open, k)
	e, ok := b.entries[k]
	if !ok {
		return
	}
	if e.fresh {
		b.fresh--
	}
	delete(b.entries, k)
}

// hold notes a write to a path of the batch that is there.
func (b *batch) hold(k key, written time.Time) {
	e, ok := b.entries[k]
	if !ok || e.event.Mask&gone != 0 {
		return
	}
	if b.open == nil {
		b.open = make(map[key]time.Time)
	}
	b.open[k] = written
}

// eventsOf is what a callback gets.
func eventsOf(entries []*entry) []inotify.Event {
	events := make([]inotify.Event, len(entries))
	for i, e := range entries {
		events[i] = e.event
	}
	return events
}
