package inotify

import (
	"errors"
	"slices"
	"time"
)

// A Handle stands for a Subscription that a Watcher has. It changes the
// Subscription, or ends it.
type Handle struct {
	w *Watcher
	s *subscriber
}

// Update replaces the Mask and the SkipDir of the Subscription. Everything else
// stays, and no event is lost or comes twice because of the change.
//
// Directories that were left out before and are not any more are watched when
// Update returns, without a report of what is in them. Directories that every
// Subscription leaves out now are watched no longer. Events that the kernel has
// queued already are delivered by the new Mask.
//
// An error is ErrClosed, or a *LimitError as of Add, with which the change holds.
// Update must not be called by Deliver.
func (h *Handle) Update(mask Mask, skipDir func(path string) bool) error {
	w, s := h.w, h.s
	defer w.wakeRun() // what the scan left in doubt is for Run
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.handingOver || s.closed {
		return ErrClosed
	}

	if mask == 0 {
		mask = Changes
	}
	s.Mask = mask
	former := s.SkipDir
	s.SkipDir = skipDir

	var err error
	if s.dir != 0 && w.tree.reachable(s.dir) {
		began := time.Now()
		w.pruneSkipped(s.dir)
		before := w.skipperBefore(s, former)
		err = w.runScan(workers, scanRequest{dir: s.dir, all: true, before: before})
		w.scanMountedFiles(fileScan{})
		w.content.floor = max(w.content.floor, began.Add(-timeStep).UnixNano())
	}
	w.widen(mask)

	w.pollUnseen()
	if w.unwatched.hasTimer() {
		w.wakeLocked() // Run may wait without a timer
	}
	return w.limitOf(s, err)
}

// Close ends the Subscription. Directories that no other Subscription asks for are
// watched no longer. Events that were read before may still be delivered while
// Close returns; it does not wait for Deliver, which may call it. Further calls do
// nothing.
func (h *Handle) Close() {
	w, s := h.w, h.s
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true

	// The list may be in use by who delivers.
	w.subs = slices.DeleteFunc(slices.Clone(w.subs), func(other *subscriber) bool { return other == s })
	s.queued = nil
	delete(w.lostRoots, s)
	for _, st := range s.components {
		w.components.remove(st, s)
		w.unwanted = append(w.unwanted, st.wd) // unless it is needed otherwise
	}
	s.components = nil
	if s.file != nil {
		w.unwatchRootFile(s)
	}
	if s.dir != 0 {
		w.leaveRoot(s)
	}
	w.wakeLocked()
}

// leaveRoot takes the subscriber, which is closed, away from the directory that is
// its root.
func (w *Watcher) leaveRoot(s *subscriber) {
	n := s.dir
	s.dir = 0
	w.subscribed[n] = slices.DeleteFunc(slices.Clone(w.subscribed[n]), func(other *subscriber) bool { return other == s })
	if len(w.subscribed[n]) > 0 {
		w.tree.setFlags(n, flagSubscribed, 0)
		w.makeRoot(n)
		w.pruneSkipped(n)
		return
	}

	delete(w.subscribed, n)
	delete(w.rootPaths, n)
	isRoot := w.tree.nodes[n].flags&flagRoot != 0
	w.tree.setFlags(n, 0, flagRoot|flagSubscribed)
	parent := w.tree.nodes[n].parent
	switch {
	case isRoot, w.skipped(parent, w.tree.nameOf(n)):
		w.dropSubtree(n)
	default:
		w.pruneSkipped(n)
	}
}

// pruneSkipped takes the directories below n that are left out by everybody out of the
// tree.
func (w *Watcher) pruneSkipped(n id) {
	skip := w.skipper(n)
	if skip == nil {
		return // somebody leaves nothing out
	}
	for name := range w.unwatched.dirs[n] {
		if name != "" && skip(name) {
			w.unwatched.remove(n, name)
		}
	}
	var children []id
	for c := w.tree.nodes[n].child; c != 0; c = w.tree.nodes[c].next {
		children = append(children, c)
	}
	for _, c := range children {
		switch {
		case !skip(string(w.tree.nameOf(c))):
			w.pruneSkipped(c)
		case w.tree.nodes[c].flags&flagSubscribed != 0:
			w.detach(c, detachment{}) // it stays, as a root
			w.pruneSkipped(c)
		default:
			w.dropSubtree(c)
		}
	}
}

// skipperBefore returns what skipper returned for a directory before the SkipDir
// of s was replaced.
func (w *Watcher) skipperBefore(s *subscriber, former func(path string) bool) func(n id) func(name string) bool {
	return func(n id) func(name string) bool {
		return w.skipperBy(n, func(other *subscriber) func(path string) bool {
			if other == s {
				return former
			}
			return other.SkipDir
		})
	}
}

// limitOf is what to tell of an error of the scan of s's root: a *LimitError, or
// nil for what Options.Problem is told.
func (w *Watcher) limitOf(s *subscriber, err error) error {
	if err == nil {
		return nil
	}
	w.toldLimit = true
	err = watchLimitError(s.root, s.SkipDir, err)
	if _, limit := errors.AsType[*LimitError](err); !limit {
		w.problem(err)
		return nil
	}
	return err
}
