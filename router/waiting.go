package router

import (
	"time"

	"github.com/execlog/execlogd/inotify"
)

// reportWaitingAfter is how long a batch waits for a file that is being written before
// Options.Waiting is told.
const reportWaitingAfter = time.Second

// reportWaiting has those told who want to know for which files a batch waits that could go
// otherwise. It returns when it is to be called again; zero if it need not be.
func (q *queue) reportWaiting(now time.Time) time.Time {
	r := q.state.router
	if r.waiting == nil || len(q.batch.open) == q.batch.selfBlocking {
		return time.Time{} // nobody else waits for what holds back only itself
	}
	ready := q.times.ready(q.state.route)
	if at := ready.Add(reportWaitingAfter); at.After(now) {
		return at
	}
	var files []inotify.Event
	var next time.Time
	for _, e := range q.batch.open {
		if e.blocksOnlyItself || e.reported {
			continue
		}
		// The batch may have waited for others, and this one just been opened.
		if at := e.opened.Add(reportWaitingAfter); at.After(now) {
			next = earliest(next, at)
			continue
		}
		e.reported = true
		files = append(files, e.event)
	}
	if len(files) > 0 {
		route := q.state.route.Name
		r.runs.Go(func() {
			for _, e := range files {
				r.waiting(route, e)
			}
		})
	}
	return next
}

// earliest is the earlier of two times of which a zero one is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
