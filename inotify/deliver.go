package inotify

import (
	"hash/maphash"
	"path"
	"slices"
)

// A subscriber is a Subscription with the events that wait for delivery.
type subscriber struct {
	Subscription
	root  string  // absolute
	muted bool    // Add is under way
	batch []Event // guarded by Watcher.mu
	ready []Event // of the goroutine that delivers
}

func newSubscriber(s Subscription, root string) *subscriber {
	if s.Mask == 0 {
		s.Mask = Changes
	}
	if s.Deliver == nil {
		s.Deliver = func([]Event) {}
	}
	return &subscriber{Subscription: s, root: root}
}

// skips says whether path or a directory above it is left out.
func (s *subscriber) skips(path string) bool {
	if s.SkipDir == nil || path == "." {
		return false
	}
	for i := range len(path) {
		if path[i] == '/' && s.SkipDir(path[:i]) {
			return true
		}
	}
	return s.SkipDir(path)
}

// always is delivered whatever the Subscription asks for. The last two are
// emitted of roots alone.
const always = Overflow | Unmount | DeleteSelf | MoveSelf

// emit queues an event for all who watch the directory n; with an empty name
// it is of n itself. from is the old place in a rename, or nil.
func (w *Watcher) emit(n id, name []byte, mask Mask, from *origin) {
	if !w.here.find(w.tree, n, name) {
		w.unheard(n, mask)
		return
	}
	before := from != nil && w.before.find(w.tree, from.dir, from.name)
	w.post(mask, before)
}

// emitRoot queues an event of the root n for those whose root it is.
func (w *Watcher) emitRoot(n id, mask Mask) {
	w.here.find(w.tree, n, nil)
	w.here.hits = w.here.hits[:1]
	w.post(mask, false)
}

// post queues an event of the path that w.here has found, which w.before has
// the old path of if before says so.
func (w *Watcher) post(mask Mask, before bool) {
	for _, h := range w.here.hits {
		e := Event{Mask: mask}
		for _, s := range w.anchors[h.anchor] {
			if s.muted || mask&(s.Mask|always) == 0 {
				continue
			}
			if e.Path == "" {
				e.Path = w.here.text(h.length)
				if before {
					e.From = w.before.below(h.anchor)
				}
			}
			if len(w.here.hits) > 1 && s.skips(path.Dir(e.Path)) {
				continue
			}
			e.Root = s.Root
			s.batch = append(s.batch, e)
		}
	}
}

// heard says whether somebody watches n who is not just being added.
func (w *Watcher) heard(n id) bool {
	w.here.find(w.tree, n, nil)
	for _, h := range w.here.hits {
		if slices.ContainsFunc(w.anchors[h.anchor], func(s *subscriber) bool { return !s.muted }) {
			return true
		}
	}
	return false
}

// unheard makes up for an event in a directory whose path is not known: it is
// looked for when it is. What is not there any more cannot be found, and what
// is in a directory that the tree has is not looked for, so that after such an
// event all is said again.
func (w *Watcher) unheard(n id, mask Mask) {
	const namespace = Create | Delete | MovedFrom | MovedTo
	if mask&(Delete|MovedFrom) != 0 || mask&IsDir != 0 && mask&namespace != 0 {
		w.restate(n)
	} else {
		w.missed[n] = struct{}{}
	}
}

// deliver hands every subscriber what it has waiting, without the lock.
func (w *Watcher) deliver() {
	w.mu.Lock()
	subs := w.subs
	for _, s := range subs {
		s.batch, s.ready = s.ready, s.batch
	}
	w.mu.Unlock()
	for _, s := range subs {
		if len(s.ready) == 0 {
			continue
		}
		s.Deliver(s.ready)
		clear(s.ready)
		s.ready = s.ready[:0]
		if cap(s.ready) > 1<<14 {
			s.ready = nil // a burst need not be paid for ever
		}
	}
}

// A locator puts a path together from its end, and notes the anchors that it
// passes. It keeps the strings it made last, because the same few files are
// written again and again.
type locator struct {
	hits   []hit
	buf    []byte // the path is at its end
	at     int
	seed   maphash.Seed
	recent [128][4]string // sets, so that a few names with one hash do not chase each other
}

// A hit is an anchor at or above a directory, with the length of the path
// from there.
type hit struct {
	anchor id
	length int
}

func newLocator() *locator {
	return &locator{buf: make([]byte, 4096), seed: maphash.MakeSeed()}
}

// find builds the path of name in directory n, or of n itself when name is
// empty. It says whether the path is known.
func (l *locator) find(t *tree, n id, name []byte) bool {
	l.hits = l.hits[:0]
	l.at = len(l.buf)
	l.prepend(name)
	for ; ; n = t.nodes[n].parent {
		node := &t.nodes[n]
		if node.flags&flagAnchor != 0 {
			l.hits = append(l.hits, hit{n, len(l.buf) - l.at})
		}
		if node.parent == 0 {
			return node.flags&flagTop != 0
		}
		l.prepend(t.nameOf(n))
	}
}

// prepend puts name before what is there, with a slash between them.
func (l *locator) prepend(name []byte) {
	for l.at < len(name)+1 {
		grown := make([]byte, 2*len(l.buf))
		l.at += len(l.buf)
		copy(grown[l.at:], l.buf[l.at-len(l.buf):])
		l.buf = grown
	}
	if l.at < len(l.buf) {
		l.at--
		l.buf[l.at] = '/'
	}
	l.at -= len(name)
	copy(l.buf[l.at:], name)
}

// key identifies the path that was found.
func (l *locator) key() uint64 {
	return maphash.Bytes(l.seed, l.buf[l.at:]) | 1
}

// text is the last length bytes of the path; "." when there are none.
func (l *locator) text(length int) string {
	if length == 0 {
		return "."
	}
	b := l.buf[len(l.buf)-length:]
	set := &l.recent[maphash.Bytes(l.seed, b)%uint64(len(l.recent))]
	for _, kept := range set {
		if kept == string(b) {
			return kept
		}
	}
	copy(set[1:], set[:])
	set[0] = string(b)
	return set[0]
}

// below is the path from anchor on; empty when the path does not pass it.
func (l *locator) below(anchor id) string {
	for _, h := range l.hits {
		if h.anchor == anchor {
			return l.text(h.length)
		}
	}
	return ""
}
