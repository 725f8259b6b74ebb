package inotify

import (
	"slices"
	"strings"
	"time"

	"github.com/execlog/execlogd/inotify/internal/dirtree"
)

// A Handle stands for a Subscription that a Watcher has. It changes the Subscription,
// or ends it.
type Handle struct {
	w *Watcher
	s *subscriber
}

// Update replaces the Mask, the SkipDir and the SkipKey of the Subscription. Everything else stays,
// and no event is lost or comes twice because of the change.
//
// Directories that were left out before and are not any more are watched when Update
// returns, without a report of what is in them. Directories that every Subscription
// leaves out now are watched no longer. Events that the kernel has queued already are
// delivered by the new Mask.
//
// An error is ErrClosed, or one with which the change holds: a *LimitError as of Add, or that of
// Options.Scanning, with which Run watches the rest.
// Deliver must not call Update.
func (h *Handle) Update(mask Mask, skipDir func(path string) bool, skipKey string) error {
	w, s := h.w, h.s
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || s.closed {
		return ErrClosed
	}
	defer w.wake() // Run does what the scan has left pending, and may have to start a timer
	defer w.beginAdding()()

	if mask == 0 {
		mask = Changes
	}
	hasNewFiles := mask&Modify&^s.Mask != 0 // all, since it has not asked for content
	s.Mask = mask
	formerSkip := s.SkipDir
	s.SkipDir, s.SkipKey = skipDir, skipKey

	var err error
	began := time.Now()
	if s.dir != 0 && w.tree.Reachable(s.dir) {
		w.pruneSkipped(s.dir)
		watches := w.tree.Watches()
		err = w.runScan(workers, scanRequest{dir: s.dir, kind: scanWatch, former: s, skipDir: formerSkip})
		w.pollBelow(s.dir)
		w.compareMountedFiles(false)
		hasNewFiles = hasNewFiles || w.tree.Watches() > watches
	}
	if hasNewFiles { // what was written to them before is not reported
		s.since = began.Add(-clockStep).UnixNano()
	}
	w.widenMask(mask)
	w.pollUnseen()
	if w.stopped != nil {
		return w.stopped
	}
	return w.subscribeError(s, err)
}

// Close ends the Subscription. Directories that no other Subscription asks for are watched
// no longer. Events that were read before may still be delivered while Close returns. Close
// does not wait for Deliver, which may call it. Further calls do nothing.
func (h *Handle) Close() {
	w, s := h.w, h.s
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.closed {
		return
	}
	defer w.wake() // Run removes the watches
	w.unsubscribe(s)
}

// unsubscribe ends a subscription, or what there is of it.
func (w *Watcher) unsubscribe(s *subscriber) {
	s.closed = true

	// A copy, since the list may be in use by deliver.
	w.subs = slices.DeleteFunc(slices.Clone(w.subs), func(other *subscriber) bool { return other == s })
	s.queued = nil
	delete(w.pending.roots, s)
	w.unwatchComponents(s)
	if s.file != nil {
		w.removeFile(s.file)
	}
	if n := s.dir; n != 0 {
		w.unsetRoot(s)
		parent := w.tree.Parent(n)
		if !w.state.resumed && !w.tree.Has(n, dirtree.Subscribed) && (parent == 0 || w.skipped(parent, w.tree.Name(n))) {
			w.dropSubtree(n)
		} else {
			w.pruneSkipped(n)
		}
	}
}

// pruneSkipped takes the directories below n that all subscribers skip out of the tree.
func (w *Watcher) pruneSkipped(n dirtree.ID) {
	if w.state.resumed { // and subscriptions may be missing
		w.state.unpruned = append(w.state.unpruned, n)
		return
	}
	skip := w.skipFunc(n, nil, nil)
	if skip == nil {
		return // some subscriber skips nothing
	}

	for name := range w.unwatched.dirs[n] {
		if name != "" && skip(name) {
			w.unwatched.remove(n, name)
		}
	}

	for _, c := range w.tree.Children(n) {
		switch {
		case !skip(string(w.tree.Name(c))):
			w.pruneSkipped(c)
		case w.tree.Has(c, dirtree.Subscribed):
			w.detach(c, detachment{}) // it stays, as a root
			w.pruneSkipped(c)
		default:
			w.dropSubtree(c)
		}
	}
}

// Verify looks at a path below the root of a Subscription, for when it is known otherwise
// that a directory has come there, or gone, of which the kernel knows nothing: on a file
// system that other machines change. One that is new is watched and reported with all that is
// in it, and one that is gone is reported as removed. Verify returns at once, and Run does
// it. Deliver may call it.
func (w *Watcher) Verify(root, path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.subs {
		if s.Root != root || s.dir == 0 || w.tree.Node(s.dir).WD == 0 {
			continue
		}
		n, rest := s.dir, path
		for more := true; more; {
			var name string
			name, rest, more = strings.Cut(rest, "/")
			child := w.tree.Lookup(n, []byte(name))
			if child == 0 || !more {
				w.verify(n, []byte(name), 0)
				break
			}
			n = child
		}
	}
	w.wake()
}

// Rescan calls SkipDir again for the directories below the root of a Subscription, for
// when it would answer otherwise. A directory that is not left out any more is watched
// from then on, without a report of what is in it; one that is left out now stays
// watched. Rescan returns at once, and Run does it. Deliver may call it.
func (w *Watcher) Rescan(root string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.pending.skipChecks, root) {
		w.pending.skipChecks = append(w.pending.skipChecks, root)
	}
	w.wake()
}

// checkSkipped does what Rescan asks for.
func (w *Watcher) checkSkipped() {
	roots := w.pending.skipChecks
	w.pending.skipChecks = nil
	for _, s := range w.subs {
		if s.dir != 0 && slices.Contains(roots, s.Root) && w.tree.Reachable(s.dir) {
			w.scan(workers, scanRequest{dir: s.dir, kind: scanSilent})
			w.pollBelow(s.dir)
		}
	}
}
