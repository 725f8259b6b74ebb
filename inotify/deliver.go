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
	root       string      // absolute
	dir        id          // its directory; 0 while it is missing
	file       *rootFile   // if the root is a file
	components []component // to its root
	endMask    Mask        // how it will lose its directory, as far as is known
	muted      bool        // Add is under way
	closed     bool        // Handle.Close was called
	queued     []Event     // guarded by Watcher.mu
	delivering []Event     // of the goroutine that delivers
	highWater  int         // how many events there were in either, since letGo
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

// skips says whether path or a directory above it is left out.
func (s *subscriber) skips(path string) bool { return skips(s.SkipDir, path) }

// skips says whether a SkipDir leaves path or a directory above it out.
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

// alwaysMask is delivered whatever the Subscription asks for. The last two are
// emitted of roots alone.
const alwaysMask = Overflow | Unmount | DeleteSelf | MoveSelf

// emit queues an event for all who watch the directory n; with an empty name
// it is of n itself. from is the old place in a rename, or nil.
func (w *Watcher) emit(n id, name []byte, mask Mask, from *departure) {
	if !w.paths.locate(n, name) {
		w.deferEvent(n, mask)
		return
	}
	before := from != nil && w.oldPaths.locate(from.dir, from.name)
	w.queue(w.paths.matches, mask, before)
}

// emitRoot queues an event of the root n for those whose root it is.
func (w *Watcher) emitRoot(n id, mask Mask) {
	w.paths.locate(n, nil)
	w.queue(w.paths.matches[:1], mask, false)
}

// queue queues an event of the path that w.here has found, for some of its
// anchors. w.before has the old path if before says so.
func (w *Watcher) queue(hits []match, mask Mask, before bool) {
	for i := range hits {
		h := &hits[i]
		at, from := "", ""
		for _, s := range h.subs {
			if s.muted || mask&(s.Mask|alwaysMask) == 0 || w.only != nil && s != w.only {
				continue
			}
			if at == "" {
				at = w.paths.from(h.start)
				if before {
					from = w.oldPaths.relativeTo(h.dir)
				}
			}
			if len(hits) > 1 && s.skips(path.Dir(at)) {
				continue
			}
			s.queued = append(s.queued, Event{Root: s.Root, Path: at, From: from, Mask: mask})
		}
	}
}

// observed says whether somebody watches n who is not just being added.
func (w *Watcher) observed(n id) bool {
	return w.anySubscriber(n, func(s *subscriber) bool { return !s.muted })
}

// observedByOthers says whether somebody watches n who gets no events now.
func (w *Watcher) observedByOthers(n id) bool {
	return w.anySubscriber(n, func(s *subscriber) bool { return s != w.only })
}

func (w *Watcher) anySubscriber(n id, who func(*subscriber) bool) bool {
	w.paths.locate(n, nil)
	return slices.ContainsFunc(w.paths.matches, func(h match) bool { return slices.ContainsFunc(h.subs, who) })
}

// deferEvent makes up for an event in a directory whose path is not known: it is
// looked for when it is. What is not there any more cannot be found, and what
// is in a directory that the tree has is not looked for, so that after such an
// event all is said again.
func (w *Watcher) deferEvent(n id, mask Mask) {
	const namespace = Create | Delete | MovedFrom | MovedTo
	if mask&(Delete|MovedFrom) != 0 || mask&IsDir != 0 && mask&namespace != 0 {
		w.reportAnew(n)
	} else {
		w.unscanned[n] = struct{}{}
	}
}

// deliver hands every subscriber what it has waiting, without the lock.
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

// yieldProcessor lets the goroutines run that Deliver has made ready. This thread may be
// about to sleep in the kernel with them in its queue, and when other threads
// are busy some milliseconds would pass until the runtime noticed.
func (w *Watcher) yieldProcessor() {
	if w.delivered {
		w.delivered = false
		runtime.Gosched()
	}
}

// shrink forgets what was delivered, now that there is nothing else to do.
func (s *subscriber) shrink() {
	if s.highWater == 0 {
		return
	}
	for _, events := range []*[]Event{&s.delivering, &s.queued} {
		if cap(*events) > 1<<12 && len(*events) == 0 {
			*events = nil // a burst need not be paid for ever
		}
		clear((*events)[len(*events):min(max(s.highWater, len(*events)), cap(*events))])
	}
	s.highWater = 0
}

// A pathBuilder puts paths together, and notes the anchors that they pass. It
// keeps the last directory and the strings that it made last, because the same
// few files are written again and again.
type pathBuilder struct {
	tree    *tree
	anchors map[id][]*subscriber

	dir       id // whose path is in buf
	version   uint64
	known     bool    // that path, from a top on
	matches   []match // the anchors at or above dir, from the nearest on
	buf       []byte  // the path of dir, and in path what is in it
	dirLen    int     // of dir's path
	name      []byte  // in dir; empty is dir itself
	ancestors []id

	seed  maphash.Seed
	cache [128][4]cachedPath // in sets, so that a few names with one hash do not chase each other
}

// A cachedPath is a string made for a name in a directory. It is right as long as the
// tree has that version.
type cachedPath struct {
	path    string
	dir     id
	version uint64
	start   int
	nameLen int // length of the name at its end
}

func (k *cachedPath) name() string { return k.path[len(k.path)-k.nameLen:] }

// A match is an anchor at or above a directory, with where the path from there
// starts.
type match struct {
	dir   id
	start int
	subs  []*subscriber
}

func newPathBuilder(t *tree, anchors map[id][]*subscriber) *pathBuilder {
	return &pathBuilder{tree: t, anchors: anchors, seed: maphash.MakeSeed()}
}

// locate looks for name in directory n, or n itself when name is empty, which
// must not change until it is asked for. It says whether the path is known.
func (l *pathBuilder) locate(n id, name []byte) bool {
	if n != l.dir || l.version != l.tree.version {
		l.build(n)
	}
	l.name = name
	return l.known
}

// build builds the path of n.
func (l *pathBuilder) build(n id) {
	l.dir, l.version = n, l.tree.version
	l.ancestors, l.matches, l.buf = l.ancestors[:0], l.matches[:0], l.buf[:0]
	for x := n; x != 0; x = l.tree.nodes[x].parent {
		l.ancestors = append(l.ancestors, x)
	}
	for i, x := range slices.Backward(l.ancestors) {
		if i < len(l.ancestors)-1 {
			l.append(l.tree.nameOf(x))
		}
		if l.tree.nodes[x].flags&flagSubscribed == 0 {
			continue
		}
		start := len(l.buf)
		if start > 0 {
			start++ // the slash that follows
		}
		l.matches = append(l.matches, match{x, start, l.anchors[x]})
	}
	slices.Reverse(l.matches)
	l.dirLen = len(l.buf)
	l.known = l.tree.nodes[l.ancestors[len(l.ancestors)-1]].flags&flagRoot != 0
}

func (l *pathBuilder) append(name []byte) {
	if len(l.buf) > 0 {
		l.buf = append(l.buf, '/')
	}
	l.buf = append(l.buf, name...)
}

// path is all of what was found.
func (l *pathBuilder) path() []byte {
	l.buf = l.buf[:l.dirLen]
	if len(l.name) > 0 {
		l.append(l.name)
	}
	return l.buf
}

// hash identifies the path that was found.
func (l *pathBuilder) hash() uint64 {
	return maphash.Bytes(l.seed, l.path()) | 1
}

// from is the path from start on; "." when that is empty.
func (l *pathBuilder) from(start int) string {
	set := &l.cache[l.cacheSet()]
	for i := range set {
		if k := &set[i]; k.dir == l.dir && k.version == l.version && k.start == start && k.name() == string(l.name) {
			return k.path
		}
	}
	return l.intern(set, start)
}

// intern makes the string and keeps it in set, unless it is there from before
// the tree has changed.
func (l *pathBuilder) intern(set *[4]cachedPath, start int) string {
	path := l.path()
	if start >= len(path) {
		return "."
	}
	i := slices.IndexFunc(set[:], func(k cachedPath) bool { return k.path == string(path[start:]) })
	if i < 0 {
		i = len(set) - 1
		set[i].path = string(path[start:])
	}
	k := cachedPath{path: set[i].path, dir: l.dir, version: l.version, start: start, nameLen: len(l.name)}
	copy(set[1:i+1], set[:i])
	set[0] = k
	return k.path
}

// cacheSet is where text keeps a path. The end of the name is enough to tell
// files in a directory apart, most of them.
func (l *pathBuilder) cacheSet() uint64 {
	end := uint64(len(l.name))
	for _, c := range l.name[max(0, len(l.name)-8):] {
		end = end<<8 | uint64(c)
	}
	return (end + uint64(l.dir)<<40) * 0x9e3779b97f4a7c15 >> 32 % uint64(len(l.cache))
}

// relativeTo is the path from anchor on; empty when the path does not pass it.
func (l *pathBuilder) relativeTo(anchor id) string {
	for _, h := range l.matches {
		if h.dir == anchor {
			return l.from(h.start)
		}
	}
	return ""
}
