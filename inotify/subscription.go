package inotify

import (
	"path"
	"slices"

	"github.com/execlog/execlogd/inotify/internal/dirtree"
)

// A Subscription asks for what happens below one directory, or to one file.
type Subscription struct {
	// Root is the directory, or a regular file. A relative path is taken from
	// the working directory at the time of Add. A symbolic link is followed;
	// links below Root are not.
	Root string

	// Wait allows a Root that does not exist. It is watched from the moment
	// that it does, with its content reported.
	Wait bool

	// Mask is the set of events to deliver; 0 means Changes. An event is
	// delivered when it has one of these bits. Overflow, and that the root was
	// removed or has appeared, are always delivered.
	Mask Mask

	// SkipDir says which directories are left out. They are neither watched nor
	// looked into; that they appear is still an event of their parent. SkipDir
	// gets a path as in Event.Path. It is called when a directory is found, and
	// by Rescan and Handle.Update, but not for what lies below a directory that is
	// renamed.
	// Several goroutines may call it at once. Nil leaves nothing out.
	SkipDir func(path string) bool

	// SkipKey stands for what SkipDir leaves out, with Options.State: when a later process adds
	// the Root with another key, the directories below it are looked at again.
	SkipKey string

	// Deliver gets the events, in the order of the kernel's queue. It runs in
	// the goroutine of Run, so nothing is read from the kernel until it returns.
	// The slice is reused after that; the strings in it may be kept. Deliver must
	// not call Add, Flush or Close, nor Update of a Handle.
	Deliver func([]Event)
}

// A subscriber is a Subscription with its place in the tree and its events.
type subscriber struct {
	Subscription
	root       string       // absolute path
	dir        dirtree.ID   // of its root; 0 while there is none
	file       *watchedFile // its root, if that is a file
	components []component  // of its root's path; they are watched
	endMask    Mask         // how its root will end, as far as is known
	muted      bool         // no events, because Add is under way
	since      int64        // changes until then count as reported to it; in ns since 1970
	closed     bool         // Handle.Close was called

	queued     []Event // guarded by Watcher.mu
	delivering []Event // of the goroutine that delivers
	highWater  int     // most events in either slice since shrink
}

func newSubscriber(s Subscription, root string) *subscriber {
	if s.Mask == 0 {
		s.Mask = Changes
	}
	if s.Deliver == nil {
		s.Deliver = func([]Event) {}
	}
	return &subscriber{Subscription: s, root: root, endMask: MoveSelf}
}

// skips reports whether path or a directory above it is left out.
func (s *subscriber) skips(path string) bool { return skips(s.SkipDir, path) }

// skips reports whether a SkipDir leaves out path or a directory above it.
func skips(skipDir func(path string) bool, path string) bool {
	if skipDir == nil || path == "." {
		return false
	}
	for i := range len(path) {
		if path[i] == '/' && skipDir(path[:i]) {
			return true
		}
	}
	return skipDir(path)
}

// alwaysMask is delivered whatever a Subscription asks for. DeleteSelf and MoveSelf
// are emitted of roots alone.
const alwaysMask = Overflow | Unmount | DeleteSelf | MoveSelf

// scanMask is the mask of a file that a scan reports: it is there, with its content, and
// nothing is known of a writer.
const scanMask = Create | Modify | CloseWrite

// gets reports whether s gets events with a mask at the moment.
func (w *Watcher) gets(s *subscriber, mask Mask) bool {
	return !s.muted && mask&(s.Mask|alwaysMask) != 0 && (w.target == nil || s == w.target)
}

// emit queues an event of name in the directory n, or of n itself when name is empty,
// for all who watch n. from is the old place in a rename, or nil.
func (w *Watcher) emit(n dirtree.ID, name []byte, mask Mask, from *departure) {
	if w.paths.Locate(n, name) {
		hasFrom := from != nil && w.oldPaths.Locate(from.dir, from.name)
		w.queue(w.paths.Matches(), mask, hasFrom)
		return
	}

	// The path is not known: the event is made up for when it is. A scan reports
	// what is there, which is enough for something new. It finds neither what is
	// gone nor what changed in a directory that the tree has, so after such an
	// event everything is reported anew.
	const names = Create | Delete | MovedFrom | MovedTo
	if mask&(Delete|MovedFrom) != 0 || mask&IsDir != 0 && mask&names != 0 {
		w.pending.reportAnew(n)
	} else {
		w.pending.unscanned[n] = struct{}{}
	}
}

// emitRoot queues an event of the root n for those whose root it is.
func (w *Watcher) emitRoot(n dirtree.ID, mask Mask) {
	w.paths.Locate(n, nil)
	w.queue(w.paths.Matches()[:1], mask, false)
}

// queue queues an event of the place that w.paths has located, for some of its matches.
// hasFrom says that w.oldPaths has located the old place.
func (w *Watcher) queue(matches []match, mask Mask, hasFrom bool) {
	for i := range matches {
		m := &matches[i]
		at, from := "", ""
		for _, s := range m.Subscriptions {
			if !w.gets(s, mask) {
				continue
			}
			if at == "" {
				at = w.paths.Path(m.Start)
				if hasFrom {
					from = w.oldPaths.RelativeTo(m.Dir)
				}
			}
			// A directory with several subscribers is watched although some of
			// them skip it.
			if (len(matches) > 1 || len(m.Subscriptions) > 1) && s.skips(path.Dir(at)) {
				continue
			}
			s.queued = append(s.queued, Event{Root: s.Root, Path: at, From: from, Mask: mask})
		}
	}
}

// anySubscriber reports whether is returns true for a subscriber that watches n.
func (w *Watcher) anySubscriber(n dirtree.ID, is func(*subscriber) bool) bool {
	w.paths.Locate(n, nil)
	return slices.ContainsFunc(w.paths.Matches(), func(m match) bool { return slices.ContainsFunc(m.Subscriptions, is) })
}

// sameSubscriptions reports whether the same subscriptions watch a and b.
func (w *Watcher) sameSubscriptions(a, b dirtree.ID) bool {
	if !w.oldPaths.Locate(a, nil) || !w.paths.Locate(b, nil) {
		return false
	}
	return slices.EqualFunc(w.oldPaths.Matches(), w.paths.Matches(), func(x, y match) bool { return x.Dir == y.Dir })
}

// skipFunc returns a function that reports whether a name in n is skipped by all who
// watch n; nil when one of them skips nothing. The function may be called without the lock.
// Of former, unless it is nil, skipDir is asked in place of its own.
func (w *Watcher) skipFunc(n dirtree.ID, former *subscriber, skipDir func(path string) bool) func(name string) bool {
	type question struct {
		skip func(string) bool
		dir  string // with a slash at its end, or empty
	}
	var all []question
	if !w.paths.Locate(n, nil) {
		return nil
	}
	matches := w.paths.Matches()
	for _, m := range matches {
		dir := w.paths.Path(m.Start)
		prefix := ""
		if dir != "." {
			prefix = dir + "/"
		}
		for _, s := range m.Subscriptions {
			skip := s.SkipDir
			if s == former {
				skip = skipDir
			}
			if skip == nil {
				return nil
			}
			if (len(matches) > 1 || len(m.Subscriptions) > 1) && skips(skip, dir) {
				continue // it does not watch n
			}
			all = append(all, question{skip, prefix})
		}
	}

	return func(name string) bool {
		for _, q := range all {
			if !q.skip(q.dir + name) {
				return false
			}
		}
		return true
	}
}

// skipped reports whether name in n is skipped by all who watch n.
func (w *Watcher) skipped(n dirtree.ID, name []byte) bool {
	skip := w.skipFunc(n, nil, nil)
	return skip != nil && skip(string(name))
}

// deliver hands every subscriber its queued events. mu must not be held.
func (w *Watcher) deliver() {
	w.mu.Lock()
	subs := w.subs
	for _, s := range subs {
		s.queued, s.delivering = s.delivering, s.queued
	}
	w.mu.Unlock()

	for _, s := range subs {
		if len(s.delivering) == 0 {
			continue
		}
		s.Deliver(s.delivering)
		s.highWater = max(s.highWater, len(s.delivering))
		s.delivering = s.delivering[:0]
		w.delivered = true
	}
}

// shrink gives memory back that a burst of events took, and lets go of the strings in
// events that are delivered.
func (s *subscriber) shrink() {
	if s.highWater == 0 {
		return
	}

	const keep = 1 << 12 // events
	for _, events := range []*[]Event{&s.delivering, &s.queued} {
		if cap(*events) > keep && len(*events) == 0 {
			*events = nil
		}
		clear((*events)[len(*events):min(max(s.highWater, len(*events)), cap(*events))])
	}

	s.highWater = 0
}
