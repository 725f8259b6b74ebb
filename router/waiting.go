package router

import (
	"time"

	"github.com/execlog/execlogd/inotify"
)

// noticeAfter is how long a batch waits for a file that is being written before
// Options.Waiting is told.
const noticeAfter = time.Second

// notice has those told who want to know for which files a batch waits that could go
// otherwise. It returns when it is to be called again; zero if it need not be.
func (l *lane) notice(now time.Time) time.Time {
	r := l.stage.router
	if r.waiting == nil || len(l.batch.open) == l.batch.alone {
		return time.Time{} // nobody else waits for what holds back only itself
	}
	ready := l.moments.ready(l.stage.route)
	if at := ready.Add(noticeAfter); at.After(now) {
		return at
	}
	var files []inotify.Event
	var next time.Time
	for _, e := range l.batch.open {
		if e.alone || e.noticed {
			continue
		}
		// The batch may have waited for others, and this one just been opened.
		if at := e.opened.Add(noticeAfter); at.After(now) {
			next = earliest(next, at)
			continue
		}
		e.noticed = true
		files = append(files, e.event)
	}
	if len(files) > 0 {
		route := l.stage.route.Name
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
