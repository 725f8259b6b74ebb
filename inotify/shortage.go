package inotify

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// isResourceLimit says whether err means that something has run out of which there
// may be more later: watches, descriptors or memory.
func isResourceLimit(err error) bool {
	for _, errno := range []error{unix.ENOSPC, unix.EMFILE, unix.ENFILE, unix.ENOMEM} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// retryLater has act called, with the lock, when the timer goes off next. Why
// is told, once until nothing is postponed any more.
func (w *Watcher) retryLater(why error, act func()) {
	p := &w.unwatched
	if !p.hasTimer() {
		p.next = time.Now().Add(p.retryInterval())
	}
	p.retries = append(p.retries, act)
	if !w.toldShortage {
		w.toldShortage = true
		w.problem(why)
	}
}

// runRetries does what was postponed, if there is enough of everything by now.
func (w *Watcher) runRetries() {
	todo := w.unwatched.retries
	w.unwatched.retries = nil
	for _, act := range todo {
		act()
	}
}
