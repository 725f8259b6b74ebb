package router

import (
	"strings"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// again reports whether a run that has failed is followed by another, and after
// how long.
func (l *lane) again(f *frame) (ok bool, backoff time.Duration) {
	route := l.stage.route
	switch {
	case l.retries >= route.Retries || len(f.lasting()) == 0:
		return false, 0
	case !l.batch.empty():
		return true, 0 // something new has come
	}
	most, backoff := max(maxBackoff, route.Backoff), route.Backoff
	for range l.retries {
		backoff = min(2*backoff, most)
	}
	return true, backoff
}

// retry puts the events of a run that has failed back. They wait for the back-off,
// unless something new has come meanwhile. Who waited for them knows of the
// failure.
func (l *lane) retry(f *frame, now time.Time) {
	last := f.lasting()
	if len(last) == 0 {
		return
	}
	for _, e := range last {
		e.tickets = nil
	}
	if l.batch.empty() {
		l.skipDelay()
		l.retries++
		l.moments.retry = now.Add(f.Backoff)
	}
	l.batch.restore(last)
}

// keep puts the events of a run back until something new comes.
func (l *lane) keep(f *frame) {
	for _, e := range f.entries {
		e.tickets = nil
	}
	l.kept = l.batch.empty()
	l.batch.restore(f.entries)
}

// renew is touch for something new that the batch is about to get: what was
// kept, or waited for a back-off, goes with that, after its Delay. It reports whether
// nothing else was in the batch.
func (l *lane) renew() (first bool) {
	l.touch()
	first = l.batch.empty()
	if l.kept || !l.moments.retry.IsZero() {
		l.kept, l.moments.retry = false, time.Time{}
		first, l.wasIdle = true, true
	}
	l.retries = 0
	return first
}

// noteGone has a run not be retried for a path that went away during it, or for
// what is below a directory that did.
func (s *stage) noteGone(k key, mask inotify.Mask, wanted bool) {
	if s.route.Retries == 0 || s.running == 0 || mask&(gone|arrived) == 0 {
		return
	}
	note := func(f *frame) {
		switch {
		case f == nil:
		case mask&arrived != 0:
			delete(f.gone, k)
		case !wanted:
			if f.gone == nil {
				f.gone = make(map[key]bool)
			}
			f.gone[k] = true
		}
	}
	if mask&inotify.IsDir == 0 {
		if l := s.at(k); l != nil {
			note(l.run)
		}
		return
	}
	for l := range s.all() {
		note(l.run)
	}
}

// lasting is the entries of a run that are still there.
func (f *frame) lasting() []*entry {
	if len(f.gone) == 0 {
		return f.entries
	}
	var last []*entry
	for _, e := range f.entries {
		if e.firm || !f.isGone(keyOf(e.event)) {
			last = append(last, e)
		}
	}
	return last
}

func (f *frame) isGone(k key) bool {
	for {
		if f.gone[k] {
			return true
		}
		i := strings.LastIndexByte(k.path, '/')
		if i < 0 {
			return false
		}
		k.path = k.path[:i]
	}
}
