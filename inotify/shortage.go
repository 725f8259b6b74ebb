package inotify

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// exhausted says whether err means that something has run out of which there
// may be more later: watches, descriptors or memory.
func exhausted(err error) bool {
	for _, errno := range []error{unix.ENOSPC, unix.EMFILE, unix.ENFILE, unix.ENOMEM} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// postpone has act called, with the lock, when the timer goes off next. Why
// is told, once until nothing is postponed any more.
func (w *Watcher) postpone(why error, act func()) {
	p := &w.blind
	if !p.waits() {
		p.next = time.Now().Add(p.pause())
	}
	p.postponed = append(p.postponed, act)
	if !w.short {
		w.short = true
		w.problem(why)
	}
}

// takeUp does what was postponed, if there is enough of everything by now.
func (w *Watcher) takeUp() {
	todo := w.blind.postponed
	w.blind.postponed = nil
	for _, act := range todo {
		act()
	}
}
