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

// askAgain is how long after an answer the kernel is asked again for files that are
// open, in case that their close is not seen.
const askAgain = 2 * time.Second

// mostChecked is how many batches are looked at together: the first of many goes
// before somebody has looked at the last.
const mostChecked = 32

// checks are the lanes of a stage whose files are to be looked at before they may
// go. The router's lock guards it.
type checks struct {
	lanes   []*lane
	running bool // a goroutine looks
}

// A check is a batch whose files are looked at.
type check struct {
	lane    *lane
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
func (l *lane) isChecked(now time.Time) bool {
	if l.nextCheck.IsZero() && l.batch.waits() {
		l.nextCheck = now.Add(askAgain) // its close will be seen
	}
	switch {
	case l.checked:
		return true
	case l.checking:
		l.wait()
	case l.nextCheck.After(now):
		l.queued = false
		l.stage.router.schedule.Set(&l.timer, earliest(l.nextCheck, l.notice(now)))
	default:
		l.checking = true
		l.wait()
		c := &l.stage.checks
		c.lanes = append(c.lanes, l)
		if r := l.stage.router; !c.running {
			c.running = true
			r.runs.Go(func() { c.work(r) })
		}
	}
	return false
}

// change notes that what was seen of the lane's files may be so no more.
func (l *lane) change() {
	l.touch()
	l.checked, l.changed, l.nextCheck = false, true, time.Time{}
}

// work looks at files until there are none to look at.
func (c *checks) work(r *Router) {
	for {
		batches := c.take(r)
		if batches == nil {
			return
		}
		for _, b := range batches {
			b.look(r.writers)
		}
		r.mu.Lock()
		now := time.Now()
		for _, b := range batches {
			b.apply(now)
		}
		if r.phase == during {
			r.turn(now)
		}
		r.mu.Unlock()
	}
}

// take is what is to be looked at; nil if there is nothing, and work has ended.
func (c *checks) take(r *Router) []*check {
	r.mu.Lock()
	defer r.mu.Unlock()
	var batches []*check
	for _, l := range c.lanes[:min(len(c.lanes), mostChecked)] {
		b := &check{lane: l, settle: l.stage.route.Settle, noOpens: r.hearsOpens()}
		for k, e := range l.batch.entries {
			if e.event.Mask&(gone|inotify.IsDir) == 0 && !e.alone {
				b.files = append(b.files, checkedFile{key: k, found: e.found})
			}
		}
		l.changed = false
		batches = append(batches, b)
	}
	c.lanes = c.lanes[len(batches):]
	c.running = batches != nil
	return batches
}

// hearsOpens reports whether a route asks for what looking at a file does.
func (r *Router) hearsOpens() bool {
	return slices.ContainsFunc(r.stages, func(s *stage) bool { return s.rules.want&(inotify.Open|inotify.CloseNoWrite) != 0 })
}

// look asks the kernel for each file.
func (b *check) look(writers func(string) inotify.WriterState) {
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
func (b *check) apply(now time.Time) {
	l := b.lane
	l.touch()
	l.checking = false
	l.nextCheck = time.Time{}
	for _, f := range b.files {
		e := l.batch.entries[f.key]
		switch {
		case e == nil:
		case f.state.open && e.place == 0:
			l.batch.hold(e, now, false)
			fallthrough
		case f.state.open:
			l.nextCheck = earliest(l.nextCheck, f.state.until)
		case f.state.closed && !l.changed:
			l.batch.close(e)
		}
	}
	l.checked = !l.changed && !l.batch.waits()
}
