package inotify

import (
	"hash/maphash"
	"path"
	"runtime"
	"slices"
)

// A subscriber is a Subscription with the events that wait for delivery.
type subscriber struct {
	Subscription
	root  string    // absolute
	node  id        // its directory; 0 while it is missing
	file  *rootFile // if the root is a file
	way   []step    // to its root
	lost  Mask      // how it will lose its directory, as far as is known
	muted bool      // Add is under way
	batch []Event   // guarded by Watcher.mu
	ready []Event   // of the goroutine that delivers
	used  int       // how many events there were in either, since letGo
}

func newSubscriber(s Subscription, root string) *subscriber {
	if s.Mask == 0 {
		s.Mask = Changes
	}
	if s.Deliver == nil {
		s.Deliver = func([]Event) {}
	}
	return &subscriber{Subscription: s, root: root, lost: MoveSelf}
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
	if !w.here.find(n, name) {
		w.unheard(n, mask)
		return
	}
	before := from != nil && w.before.find(from.dir, from.name)
	w.post(w.here.hits, mask, before)
}

// emitRoot queues an event of the root n for those whose root it is.
func (w *Watcher) emitRoot(n id, mask Mask) {
	w.here.find(n, nil)
	w.post(w.here.hits[:1], mask, false)
}

// post queues an event of the path that w.here has found, for some of its
// anchors. w.before has the old path if before says so.
func (w *Watcher) post(hits []hit, mask Mask, before bool) {
	for i := range hits {
		h := &hits[i]
		at, from := "", ""
		for _, s := range h.subs {
			if s.muted || mask&(s.Mask|always) == 0 || w.only != nil && s != w.only {
				continue
			}
			if at == "" {
				at = w.here.text(h.start)
				if before {
					from = w.before.below(h.anchor)
				}
			}
			if len(hits) > 1 && s.skips(path.Dir(at)) {
				continue
			}
			s.batch = append(s.batch, Event{Root: s.Root, Path: at, From: from, Mask: mask})
		}
	}
}

// heard says whether somebody watches n who is not just being added.
func (w *Watcher) heard(n id) bool {
	return w.heardBy(n, func(s *subscriber) bool { return !s.muted })
}

// heardBeside says whether somebody watches n who gets no events now.
func (w *Watcher) heardBeside(n id) bool {
	return w.heardBy(n, func(s *subscriber) bool { return s != w.only })
}

func (w *Watcher) heardBy(n id, who func(*subscriber) bool) bool {
	w.here.find(n, nil)
	return slices.ContainsFunc(w.here.hits, func(h hit) bool { return slices.ContainsFunc(h.subs, who) })
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
		s.used = max(s.used, len(s.ready))
		s.ready = s.ready[:0]
		w.delivered = true
	}
}

// yield lets the goroutines run that Deliver has made ready. This thread may be
// about to sleep in the kernel with them in its queue, and when other threads
// are busy some milliseconds would pass until the runtime noticed.
func (w *Watcher) yield() {
	if w.delivered {
		w.delivered = false
		runtime.Gosched()
	}
}

// letGo forgets what was delivered, now that there is nothing else to do.
func (s *subscriber) letGo() {
	if s.used == 0 {
		return
	}
	for _, events := range []*[]Event{&s.ready, &s.batch} {
		if cap(*events) > 1<<12 && len(*events) == 0 {
			*events = nil // a burst need not be paid for ever
		}
		clear((*events)[len(*events):min(max(s.used, len(*events)), cap(*events))])
	}
	s.used = 0
}

// A locator puts paths together, and notes the anchors that they pass. It
// keeps the last directory and the strings that it made last, because the same
// few files are written again and again.
type locator struct {
	tree    *tree
	anchors map[id][]*subscriber

	dir     id // whose path is in buf
	version uint64
	known   bool   // that path, from a top on
	hits    []hit  // the anchors at or above dir, from the nearest on
	buf     []byte // the path of dir, and in path what is in it
	length  int    // of dir's path
	name    []byte // in dir; empty is dir itself
	above   []id

	seed   maphash.Seed
	recent [128][4]kept // in sets, so that a few names with one hash do not chase each other
}

// A kept is a string made for a name in a directory. It is right as long as the
// tree has that version.
type kept struct {
	path    string
	dir     id
	version uint64
	start   int
	short   int // length of the name at its end
}

func (k *kept) name() string { return k.path[len(k.path)-k.short:] }

// A hit is an anchor at or above a directory, with where the path from there
// starts.
type hit struct {
	anchor id
	start  int
	subs   []*subscriber
}

func newLocator(t *tree, anchors map[id][]*subscriber) *locator {
	return &locator{tree: t, anchors: anchors, seed: maphash.MakeSeed()}
}

// find looks for name in directory n, or n itself when name is empty, which
// must not change until it is asked for. It says whether the path is known.
func (l *locator) find(n id, name []byte) bool {
	if n != l.dir || l.version != l.tree.version {
		l.locate(n)
	}
	l.name = name
	return l.known
}

// locate builds the path of n.
func (l *locator) locate(n id) {
	l.dir, l.version = n, l.tree.version
	l.above, l.hits, l.buf = l.above[:0], l.hits[:0], l.buf[:0]
	for x := n; x != 0; x = l.tree.nodes[x].parent {
		l.above = append(l.above, x)
	}
	for i, x := range slices.Backward(l.above) {
		if i < len(l.above)-1 {
			l.append(l.tree.nameOf(x))
		}
		if l.tree.nodes[x].flags&flagAnchor == 0 {
			continue
		}
		start := len(l.buf)
		if start > 0 {
			start++ // the slash that follows
		}
		l.hits = append(l.hits, hit{x, start, l.anchors[x]})
	}
	slices.Reverse(l.hits)
	l.length = len(l.buf)
	l.known = l.tree.nodes[l.above[len(l.above)-1]].flags&flagTop != 0
}

func (l *locator) append(name []byte) {
	if len(l.buf) > 0 {
		l.buf = append(l.buf, '/')
	}
	l.buf = append(l.buf, name...)
}

// path is all of what was found.
func (l *locator) path() []byte {
	l.buf = l.buf[:l.length]
	if len(l.name) > 0 {
		l.append(l.name)
	}
	return l.buf
}

// key identifies the path that was found.
func (l *locator) key() uint64 {
	return maphash.Bytes(l.seed, l.path()) | 1
}

// text is the path from start on; "." when that is empty.
func (l *locator) text(start int) string {
	set := &l.recent[l.place()]
	for i := range set {
		if k := &set[i]; k.dir == l.dir && k.version == l.version && k.start == start && k.name() == string(l.name) {
			return k.path
		}
	}
	return l.build(set, start)
}

// build makes the string and keeps it in set, unless it is there from before
// the tree has changed.
func (l *locator) build(set *[4]kept, start int) string {
	path := l.path()
	if start >= len(path) {
		return "."
	}
	i := slices.IndexFunc(set[:], func(k kept) bool { return k.path == string(path[start:]) })
	if i < 0 {
		i = len(set) - 1
		set[i].path = string(path[start:])
	}
	k := kept{path: set[i].path, dir: l.dir, version: l.version, start: start, short: len(l.name)}
	copy(set[1:i+1], set[:i])
	set[0] = k
	return k.path
}

// place is where text keeps a path. The end of the name is enough to tell
// files in a directory apart, most of them.
func (l *locator) place() uint64 {
	end := uint64(len(l.name))
	for _, c := range l.name[max(0, len(l.name)-8):] {
		end = end<<8 | uint64(c)
	}
	return (end + uint64(l.dir)<<40) * 0x9e3779b97f4a7c15 >> 32 % uint64(len(l.recent))
}

// below is the path from anchor on; empty when the path does not pass it.
func (l *locator) below(anchor id) string {
	for _, h := range l.hits {
		if h.anchor == anchor {
			return l.text(h.start)
		}
	}
	return ""
}
