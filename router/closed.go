package router

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// UntilClosed is a Route's Hold without a bound: a file is waited for until nobody
// has it open for writing. Its last close says so, but not for a file that was
// there before anybody watched, nor for one that several programs write to, nor
// where events are missing. So before each run the kernel is asked who has the
// files of the batch open (inotify.Writers), without the router's lock.
const UntilClosed = time.Duration(math.MaxInt64)

// openCheckInterval is how long after an answer the kernel is asked again for files that are
// open, in case that their close is not seen.
const openCheckInterval = 2 * time.Second

// maxChecked is how many batches are looked at together: the first of many goes
// before somebody has looked at the last.
const maxChecked = 32

// openChecks are the lanes of a stage whose files are to be looked at before they may
// go. The router's lock guards it.
type openChecks struct {
	queues  []*queue
	running bool // a goroutine looks
}

// A openCheck is a batch whose files are looked at.
type openCheck struct {
	queue   *queue
	settle  time.Duration
	noOpens bool // a route would hear that files are opened for this
	files   []checkedFile
}

type checkedFile struct {
	key
	found bool // it was there before anybody watched
	state fileState
}

// A fileState says whether a file is complete. The zero state is as far as events
// tell.
type fileState struct {
	open   bool
	closed bool
	until  time.Time // when to look at an open file again; zero if its close will be seen
}

// isChecked reports whether the lane's files are known to be complete. Otherwise it
// sees to it that somebody looks.
func (q *queue) isChecked(now time.Time) bool {
	if q.nextCheck.IsZero() && q.batch.isBlocked() {
		q.nextCheck = now.Add(openCheckInterval) // its close will be seen
	}
	switch {
	case q.checked:
		return true
	case q.checking:
		q.pause()
	case q.nextCheck.After(now):
		q.queued = false
		q.state.router.schedule.Set(&q.timer, earliest(q.nextCheck, q.reportWaiting(now)))
	default:
		q.checking = true
		q.pause()
		c := &q.state.openChecks
		c.queues = append(c.queues, q)
		if r := q.state.router; !c.running {
			c.running = true
			r.runs.Go(func() { c.run(r) })
		}
	}
	return false
}

// noteFileChange notes that what was seen of the lane's files may be so no more.
func (q *queue) noteFileChange() {
	q.markDirty()
	q.checked, q.changed, q.nextCheck = false, true, time.Time{}
}

// run looks at files until there are none to look at.
func (c *openChecks) run(r *Router) {
	for {
		batches := c.take(r)
		if batches == nil {
			return
		}
		for _, b := range batches {
			b.ask(r.writers)
		}
		r.mu.Lock()
		now := time.Now()
		for _, b := range batches {
			b.apply(now)
		}
		if r.phase == during {
			r.update(now)
		}
		r.mu.Unlock()
	}
}

// take is what is to be looked at; nil if there is nothing, and work has ended.
func (c *openChecks) take(r *Router) []*openCheck {
	r.mu.Lock()
	defer r.mu.Unlock()
	var batches []*openCheck
	for _, q := range c.queues[:min(len(c.queues), maxChecked)] {
		b := &openCheck{queue: q, settle: q.state.route.Settle, noOpens: r.asksForOpens()}
		for k, e := range q.batch.entries {
			if e.event.Mask&(gone|inotify.IsDir) == 0 && !e.blocksOnlyItself {
				b.files = append(b.files, checkedFile{key: k, found: e.existing})
			}
		}
		q.changed = false
		batches = append(batches, b)
	}
	c.queues = c.queues[len(batches):]
	c.running = batches != nil
	return batches
}

// asksForOpens reports whether a route asks for what looking at a file does.
func (r *Router) asksForOpens() bool {
	return slices.ContainsFunc(r.states, func(s *routeState) bool { return s.rules.want&(inotify.Open|inotify.CloseNoWrite) != 0 })
}

// ask asks the kernel for each file.
func (b *openCheck) ask(writers func(string) inotify.WriterState) {
	for i := range b.files {
		f := &b.files[i]
		path := filepath.Join(f.root, f.path)
		if real, err := filepath.EvalSymlinks(path); f.path == "." && err == nil {
			path = real // a root may be a link to a file
		}
		writer := inotify.UnknownWriter
		if !b.noOpens {
			writer = writers(path)
		}
		switch {
		case writer == inotify.NoWriter:
			f.state.closed = true
		case writer == inotify.HasWriter:
			f.state.open = true
		case writer == inotify.RemoteWriter, writer == inotify.UnknownWriter && f.found:
			f.state = quietState(path, b.settle)
		}
	}
}

// quietState is of a file of which all that can be known is when it was last written
// to: it is taken for complete when that is settle ago.
func quietState(path string, settle time.Duration) fileState {
	info, err := os.Lstat(path)
	if err != nil {
		return fileState{closed: true}
	}
	quiet := time.Since(info.ModTime()).Abs() // either clock may be wrong
	if quiet >= settle {
		return fileState{closed: true}
	}
	return fileState{open: true, until: time.Now().Add(settle - quiet)}
}

// apply notes what was seen.
func (b *openCheck) apply(now time.Time) {
	q := b.queue
	q.markDirty()
	q.checking = false
	q.nextCheck = time.Time{}
	for _, f := range b.files {
		e := q.batch.entries[f.key]
		switch {
		case e == nil:
		case f.state.open && e.openIndex == 0:
			q.batch.markOpen(e, now, false)
			fallthrough
		case f.state.open:
			q.nextCheck = earliest(q.nextCheck, f.state.until)
		case f.state.closed && !q.changed:
			q.batch.markClosed(e)
		}
	}
	q.checked = !q.changed && !q.batch.isBlocked()
}
