package router

import (
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/execlog/execlogd/inotify"
)

const (
	// askAgainAfter is how long after an answer the kernel is asked again for files that
	// are open, in case their close is not seen.
	askAgainAfter = 2 * time.Second

	// maxAsked is how many batches are asked for together, so that the first of many
	// goes before the last was asked for.
	maxAsked = 32

	// reportWaitingAfter is how long a batch waits for a file that is being written
	// before Options.Waiting is told.
	reportWaitingAfter = time.Second
)

// An openState is what is known of the files of a queue with UntilClosed.
type openState struct {
	closed  bool      // all are closed, so the batch may go
	asking  bool      // a goroutine asks, or is about to
	changed bool      // something has happened to the files since it asked
	next    time.Time // the kernel is not asked before; zero is any time
}

// An asker asks for the files of a route's queues. The router's lock guards it.
type asker struct {
	queues  []*queue // that are to be asked for
	running bool     // the goroutine is
}

// A question is a batch and which of its files are open.
type question struct {
	queue   *queue
	settle  time.Duration
	mayOpen bool // no route would hear of it
	files   []fileState
}

// A fileState says whether a file is open for writing. If it is neither open nor closed
// that is not known, and events say what is.
type fileState struct {
	key
	existing bool // it was there before anybody watched
	open     bool
	closed   bool
	next     time.Time // when to ask again for an open file; zero if its close will be seen
}

// noteFileChange must be called when something has happened to a file of the batch.
func (q *queue) noteFileChange() {
	q.markDirty()
	q.open.closed, q.open.changed, q.open.next = false, true, time.Time{}
}

// filesAreClosed reports whether the files of the batch are known to be closed.
// Otherwise it has the kernel asked, or the queue wait.
func (q *queue) filesAreClosed(now time.Time) bool {
	o := &q.open
	if o.next.IsZero() && q.batch.isBlocked() {
		o.next = now.Add(askAgainAfter) // the close will be seen before
	}

	switch {
	case o.closed:
		return true
	case o.asking:
		q.stop()
	case o.next.After(now):
		q.wakeAt(earliest(o.next, q.reportWaiting(now)))
	default:
		o.asking = true
		q.stop()
		a, r := &q.state.asker, q.state.router
		a.queues = append(a.queues, q)
		if !a.running {
			a.running = true
			r.runs.Go(func() { a.run(r) })
		}
	}
	return false
}

// run asks until there is nothing to ask for.
func (a *asker) run(r *Router) {
	for {
		questions := a.take(r)
		if questions == nil {
			return
		}
		for _, x := range questions {
			x.ask(r.writers)
		}

		r.mu.Lock()
		now := time.Now()
		for _, x := range questions {
			x.apply(now)
		}
		if r.phase == running {
			r.update(now)
		}
		r.mu.Unlock()
	}
}

// take returns what is to be asked. If that is nil there is nothing, and run ends.
func (a *asker) take(r *Router) []*question {
	r.mu.Lock()
	defer r.mu.Unlock()
	const opens = inotify.Open | inotify.CloseNoWrite
	mayOpen := !slices.ContainsFunc(r.states, func(s *routeState) bool { return s.route.Mask&opens != 0 })

	var questions []*question
	for _, q := range a.queues[:min(len(a.queues), maxAsked)] {
		x := &question{queue: q, settle: q.state.route.Settle, mayOpen: mayOpen}
		for k, e := range q.batch.entries {
			if e.event.Mask&(gone|inotify.IsDir) == 0 && !e.selfBlocking {
				x.files = append(x.files, fileState{key: k, existing: e.existing})
			}
		}
		q.open.changed = false
		questions = append(questions, x)
	}
	a.queues = a.queues[len(questions):]
	a.running = questions != nil
	return questions
}

// ask asks the kernel for each file. The router's lock must not be held.
func (x *question) ask(writers func(string) inotify.WriterState) {
	for i := range x.files {
		f := &x.files[i]
		path := filepath.Join(f.root, f.path)
		if real, err := filepath.EvalSymlinks(path); f.path == "." && err == nil {
			path = real // a root may be a link to a file
		}

		writer := inotify.UnknownWriter
		if x.mayOpen {
			writer = writers(path)
		}
		f.open, f.closed = writer == inotify.HasWriter, writer == inotify.NoWriter
		if writer != inotify.RemoteWriter && (writer != inotify.UnknownWriter || !f.existing) {
			continue
		}

		// As nothing else can be known of it, what counts is when it was last written to.
		info, err := os.Lstat(path)
		if err != nil {
			f.closed = true
			continue
		}
		age := time.Since(info.ModTime()).Abs() // either clock may be wrong
		f.open, f.closed = age < x.settle, age >= x.settle
		if f.open {
			f.next = time.Now().Add(x.settle - age)
		}
	}
}

// apply notes the answers.
func (x *question) apply(now time.Time) {
	q := x.queue
	q.markDirty()
	q.open.asking, q.open.next = false, time.Time{}

	for _, f := range x.files {
		e := q.batch.entries[f.key]
		switch {
		case e == nil:
		case f.open:
			if e.openIndex == 0 {
				q.batch.markOpen(e, now, false)
			}
			q.open.next = earliest(q.open.next, f.next)
		case f.closed && !q.open.changed:
			q.batch.markClosed(e)
		}
	}

	q.open.closed = !q.open.changed && !q.batch.isBlocked()
}

// reportWaiting tells Options.Waiting for which files a batch waits that could go
// otherwise. It returns when it is to be called again; zero if it need not be.
func (q *queue) reportWaiting(now time.Time) time.Time {
	r := q.state.router
	if r.waiting == nil || len(q.batch.open) == q.batch.selfBlocking {
		return time.Time{} // files that block only themselves are of no interest
	}
	if at := q.times.ready(q.state.route).Add(reportWaitingAfter); at.After(now) {
		return at
	}

	var files []inotify.Event
	var next time.Time
	for _, e := range q.batch.open {
		if e.selfBlocking || e.reported {
			continue
		}
		// The batch may have waited for others, and this file just been opened.
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
