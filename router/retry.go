package router

import (
	"strings"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// nextRetry reports whether a run that has failed is followed by another, and after
// how long.
func (q *queue) nextRetry(run *activeRun) (ok bool, backoff time.Duration) {
	route := q.state.route
	switch {
	case q.retries >= route.Retries || len(run.remaining()) == 0:
		return false, 0
	case !q.batch.empty():
		return true, 0 // something new has come
	}
	most, backoff := max(maxBackoff, route.Backoff), route.Backoff
	for range q.retries {
		backoff = min(2*backoff, most)
	}
	return true, backoff
}

// retry puts the events of a run that has failed back. They wait for the back-off,
// unless something new has come meanwhile. Who waited for them knows of the
// failure.
func (q *queue) retry(run *activeRun, now time.Time) {
	last := run.remaining()
	if len(last) == 0 {
		return
	}
	for _, e := range last {
		e.submissions = nil
	}
	if q.batch.empty() {
		q.skipDelay()
		q.retries++
		q.times.retryAt = now.Add(run.Backoff)
	}
	q.batch.restore(last)
}

// keepForNew puts the events of a run back until something new comes.
func (q *queue) keepForNew(run *activeRun) {
	for _, e := range run.entries {
		e.submissions = nil
	}
	q.keptForNew = q.batch.empty()
	q.batch.restore(run.entries)
}

// noteNew is touch for something new that the batch is about to get: what was
// kept, or waited for a back-off, goes with that, after its Delay. It reports whether
// nothing else was in the batch.
func (q *queue) noteNew() (first bool) {
	q.markDirty()
	first = q.batch.empty()
	if q.keptForNew || !q.times.retryAt.IsZero() {
		q.keptForNew, q.times.retryAt = false, time.Time{}
		first, q.wasEmpty = true, true
	}
	q.retries = 0
	return first
}

// noteGoneInRun has a run not be retried for a path that went away during it, or for
// what is below a directory that did.
func (s *routeState) noteGoneInRun(k key, mask inotify.Mask, wanted bool) {
	if s.route.Retries == 0 || s.running == 0 || mask&(gone|arrived) == 0 {
		return
	}
	note := func(run *activeRun) {
		switch {
		case run == nil:
		case mask&arrived != 0:
			delete(run.gone, k)
		case !wanted:
			if run.gone == nil {
				run.gone = make(map[key]bool)
			}
			run.gone[k] = true
		}
	}
	if mask&inotify.IsDir == 0 {
		if q := s.queue(k); q != nil {
			note(q.run)
		}
		return
	}
	for q := range s.allQueues() {
		note(q.run)
	}
}

// remaining is the entries of a run that are still there.
func (run *activeRun) remaining() []*entry {
	if len(run.gone) == 0 {
		return run.entries
	}
	var last []*entry
	for _, e := range run.entries {
		if e.pinned || !run.isGone(keyOf(e.event)) {
			last = append(last, e)
		}
	}
	return last
}

func (run *activeRun) isGone(k key) bool {
	for {
		if run.gone[k] {
			return true
		}
		i := strings.LastIndexByte(k.path, '/')
		if i < 0 {
			return false
		}
		k.path = k.path[:i]
	}
}
