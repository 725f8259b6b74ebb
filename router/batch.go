package router

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// A batch gathers the events that one run will get, merged by path. The zero
// value with its rules is an empty one.
type batch struct {
	rules   *rules
	entries map[key]*entry
	open    map[key]time.Time // paths of entries that are open for writing, with their last write
	left    []departed        // what the latest MovedFrom took away: the MovedTo may follow
	endless map[key]struct{}  // open files that hold back nothing but themselves
	added   int               // entries ever made, to keep their order
}

// A key is a path's identity: routes may serve several roots.
type key struct{ root, path string }

type entry struct {
	event inotify.Event
	seq   int
}

// A departed entry waits for the new name of its path.
type departed struct {
	entry
	written time.Time // zero if it was not open
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

// take empties the batch and returns its events in the order in which their
// paths appeared.
func (b *batch) take() []inotify.Event {
	entries := slices.SortedFunc(maps.Values(b.entries), func(x, y *entry) int { return cmp.Compare(x.seq, y.seq) })
	events := make([]inotify.Event, len(entries))
	for i, e := range entries {
		events[i] = e.event
	}
	*b = batch{rules: b.rules, endless: b.endless}
	return events
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

// add merges an event that came at now. One that the route does not want
// changes only what the batch already knows.
func (b *batch) add(e inotify.Event, now time.Time) {
	wanted := b.rules.wants(e)
	if !wanted && b.empty() && len(b.left) == 0 && len(b.endless) == 0 {
		return
	}
	k := key{e.Root, e.Path}
	if e.Mask&(gone|arrived|inotify.CloseWrite) != 0 {
		delete(b.endless, k)
	}
	if e.Mask&gone != 0 {
		b.depart(k, e, wanted)
	}
	if e.Mask&arrived != 0 {
		b.arrive(k)
	}
	if wanted {
		b.merge(k, e)
	}
	if e.From != "" {
		b.follow(e)
	}
	b.track(k, e.Mask, now)
}

// merge puts the part of e that the route asks for into its path's entry.
func (b *batch) merge(k key, e inotify.Event) {
	e.Mask &= b.rules.want | inotify.IsDir
	old, ok := b.entries[k]
	if !ok {
		if b.entries == nil {
			b.entries = make(map[key]*entry)
		}
		b.added++
		b.entries[k] = &entry{event: e, seq: b.added}
		return
	}
	old.event.Mask |= e.Mask
	old.event.From = cmp.Or(e.From, old.event.From)
}

// depart takes a path out that is gone, unless the route wants to know, and
// what is below a directory that was renamed.
func (b *batch) depart(k key, e inotify.Event, wanted bool) {
	if e.Mask&inotify.MovedFrom != 0 {
		b.left = b.left[:0]
		b.remember(k)
		if e.Mask&inotify.IsDir != 0 {
			b.departBelow(k)
		}
	}
	delete(b.open, k)
	if !wanted {
		delete(b.entries, k)
	}
}

func (b *batch) departBelow(dir key) {
	for k, e := range b.entries {
		rest, below := strings.CutPrefix(k.path, dir.path)
		if below && strings.HasPrefix(rest, "/") && k.root == dir.root && e.event.Mask&gone == 0 {
			b.remember(k)
			delete(b.open, k)
			delete(b.entries, k)
		}
	}
	slices.SortFunc(b.left, func(x, y departed) int { return cmp.Compare(x.seq, y.seq) })
}

// remember keeps an entry for the MovedTo that may follow.
func (b *batch) remember(k key) {
	if e, ok := b.entries[k]; ok {
		b.left = append(b.left, departed{*e, b.open[k]})
	}
}

// arrive forgets what was known of an earlier file at the path.
func (b *batch) arrive(k key) {
	delete(b.open, k)
	e, ok := b.entries[k]
	if !ok {
		return
	}
	e.event.Mask &^= gone
	e.event.From = ""
	if e.event.Mask&b.rules.want == 0 {
		delete(b.entries, k)
	}
}

// follow gives what happened to a path, or below it, before a rename to the
// new path. That a file was made is not passed on: the new name may be old.
func (b *batch) follow(e inotify.Event) {
	for _, d := range b.left {
		rest, ok := strings.CutPrefix(d.event.Path, e.From)
		if !ok || d.event.Root != e.Root || rest != "" && rest[0] != '/' {
			continue
		}
		moved := inotify.Event{Root: e.Root, Path: e.Path + rest, Mask: d.event.Mask &^ arrived}
		k := key{moved.Root, moved.Path}
		if b.rules.wants(moved) {
			b.merge(k, moved)
		}
		if !d.written.IsZero() {
			b.hold(k, d.written)
		}
	}
	b.left = nil
}

// track notes whether the path is open for writing.
func (b *batch) track(k key, mask inotify.Mask, now time.Time) {
	switch {
	case mask&inotify.CloseWrite != 0:
		delete(b.open, k)
	case mask&inotify.Modify != 0:
		b.hold(k, now)
	}
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
