package router

import (
	"context"
	"time"

	"github.com/execlog/execlogd/router/internal/schedule"
)

// moments are the times that say when a batch may go. A zero time is long
// ago: what it stands for has not happened and holds nothing back.
type moments struct {
	first    time.Time // the batch's first event
	started  time.Time // the last run began
	ended    time.Time // the last run was over
	freed    time.Time // the routes that come first were last done
	retry    time.Time // the back-off after a failure is over
	delayed  time.Time // until then an event would show that the batch is no loop
	written  time.Time // the last write to a file that is still open
	released time.Time // first that a batch which was ready had no open file any more
	quiet    time.Time // nothing more came for so long that a burst is over
}

// ready is when the batch could go if no file were open.
func (m moments) ready(r *Route) time.Time {
	ready := later(m.first.Add(r.Delay), m.started.Add(r.Debounce))
	ready = later(later(ready, m.ended), m.retry)
	ready = later(ready, later(m.freed, m.delayed))
	return later(ready, m.quiet)
}

// due is when the batch may go; with UntilClosed, if no file is open.
func (m moments) due(r *Route) time.Time {
	ready := m.ready(r)
	if r.Hold == UntilClosed {
		return later(ready, m.released.Add(r.Delay))
	}
	settled := later(m.written.Add(r.Settle), m.released.Add(r.Delay))
	return later(ready, earlier(settled, ready.Add(r.Hold)))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// A phase is where a router is in its life.
type phase uint8

const (
	before phase = iota // events are kept
	during              // and dispatched
	after               // and ignored
)

// A lane is what of a route never overlaps: the batch that waits and the run
// that goes on, of the whole route or of one path. The router's lock guards it.
type lane struct {
	stage   *stage
	key     key // zero for the whole route
	batch   batch
	aside   []*entry // what waits for a success of the routes that come first
	moments moments

	program  program // that its runs start, if that keeps running
	run      *frame  // nil if there is none
	refusing bool    // a batch was refused and is being reported
	retries  int     // runs in a row that began because the one before had failed
	kept     bool    // the batch waits for something new
	delayed  bool    // the batch is, by the loop guard

	arrivals arrivals // of the batch
	git      gitCheck // of the batch

	checked   bool      // its files are complete
	checking  bool      // somebody looks at them
	changed   bool      // since somebody has begun to look
	nextCheck time.Time // somebody looks not before; zero is any time

	touched  bool   // the turn will look at it
	wasIdle  bool   // when it was touched: the batch was empty
	wasAlone bool   // when it was touched: nothing was in the batch but what holds back only itself
	wasOpen  bool   // when it was touched: files were open
	counted  bool   // in stage.busy
	queued   bool   // the next callback may be its own
	listed   bool   // in stage.ready
	place    uint64 // in the queue of all stages
	timer    schedule.Timer[*lane]
}

func newLane(s *stage, k key) *lane {
	l := &lane{stage: s, key: k}
	l.timer.Item = l
	return l
}

// touch comes before each change of the batch or the run, and makes the turn
// look at what it means.
func (l *lane) touch() {
	if l.touched {
		return
	}
	l.touched, l.stage.router.touched = true, true
	l.wasIdle, l.wasAlone, l.wasOpen = l.batch.empty(), l.batch.onlyAlone(), l.batch.waits()
	l.stage.touched = append(l.stage.touched, l)
}

// skipDelay makes a batch that was empty due at once: what it gets was
// gathered elsewhere.
func (l *lane) skipDelay() {
	l.wasIdle, l.wasAlone = false, false
	l.moments.first, l.moments.released = time.Time{}, time.Time{}
}

// gathered notes the moments that follow from what the batch has become.
func (l *lane) gathered(now time.Time) {
	if l.batch.empty() {
		return
	}
	// What holds back only itself has waited by itself.
	if l.wasIdle || l.wasAlone && !l.batch.onlyAlone() {
		l.moments.first, l.moments.released = now, time.Time{}
		l.git = gitCheck{running: l.git.running}
	}
	l.moments.written = l.batch.written()
	if l.wasOpen && !l.batch.waits() {
		l.release(now)
	}
}

// release notes that the last open file is closed, if the batch waited for
// it. That counts once for a batch, or with UntilClosed for a while: else a tree
// that is written all the time could postpone it again and again.
func (l *lane) release(now time.Time) {
	r := l.stage.route
	waited := !l.stage.held && (l.run == nil || l.mayRestart())
	ready := l.moments.ready(r)
	again := r.Hold == UntilClosed && now.Before(ready.Add(DefaultHold))
	if waited && (again || l.moments.released.IsZero()) && now.After(ready) {
		l.moments.released = now
	}
}

// count keeps stage.busy. A batch that is kept, or in its back-off, keeps nobody
// waiting.
func (l *lane) count(now time.Time) {
	busy := !l.batch.empty() && !l.kept && !now.Before(l.moments.retry) || l.run != nil || l.refusing
	if busy == l.counted {
		return
	}
	l.counted = busy
	if busy {
		l.stage.busy++
	} else {
		l.stage.busy--
	}
}

// ignores reports whether what comes now is dropped.
func (l *lane) ignores() bool {
	return l.stage.route.OnBusy == Ignore && l.run != nil && !l.run.over
}

// mayRestart reports whether a batch that is due ends the run.
func (l *lane) mayRestart() bool {
	return l.stage.route.OnBusy == Restart && l.run.cancel != nil && !l.run.over && !l.run.restarted
}

// advance starts the run that is due, or sees to it that it starts when it
// is. It decides by the state alone, so it may be called at any time.
func (l *lane) advance(now time.Time) {
	s := l.stage
	switch {
	case s.router.phase != during || l.refusing:
		l.wait()
	case l.batch.empty():
		l.rest(now)
	case s.held || l.kept || l.batch.unsure > 0 || l.run != nil && !l.mayRestart():
		l.wait()
	default:
		l.moments.freed = s.freed
		until, ok := s.loop.delayUntil(l, now)
		if !ok {
			l.wait()
			return
		}
		l.moments.delayed = until
		l.moments.quiet = l.arrivals.quiet(s.route, l.moments.first, s.freed)
		if due := l.moments.due(s.route); due.After(now) {
			l.queued = false
			s.router.schedule.Set(&l.timer, earliest(due, l.notice(now)))
			return
		}
		if s.route.Hold == UntilClosed && !l.isChecked(now) {
			return
		}
		if !l.queued && !l.isGitIdle(now) {
			return
		}
		l.dispatch(now)
	}
}

// wait makes the lane do nothing until it is touched.
func (l *lane) wait() {
	l.queued = false
	l.stage.router.schedule.Stop(&l.timer)
}

// rest is wait for a lane that has nothing to do, and the end of one that need
// remember nothing.
func (l *lane) rest(now time.Time) {
	l.wait()
	l.delayed = false
	s := l.stage
	if s.only != nil || l.run != nil || len(l.aside) > 0 || l.checking {
		return
	}
	if over := l.moments.started.Add(s.route.Debounce); over.After(now) {
		s.router.schedule.Set(&l.timer, over)
		return
	}
	delete(s.lanes, l.key)
}

// dispatch gives the batch its run, when there is one to be had.
func (l *lane) dispatch(now time.Time) {
	s := l.stage
	s.router.schedule.Stop(&l.timer)
	switch {
	case l.isLoop():
		s.loop.refuse(l, now)
	case l.run != nil:
		l.run.restart()
	case !l.queued:
		s.router.enqueue(l)
	}
}

// start begins the run of a batch that is due.
func (l *lane) start(now time.Time) {
	s := l.stage
	s.loop.bringBack(l)
	from := l.batch.cause
	l.queued, l.delayed = false, false
	l.arrivals, l.git = arrivals{}, gitCheck{}
	l.moments.started, l.moments.retry = now, time.Time{}
	if s.running == 0 {
		s.born = nil
	}
	if s.only != nil {
		l.batch.giveUp(now)
	}
	l.run = newFrame(l, now)
	l.run.ctx = s.router.work
	l.run.cause = s.newCause(from, now)
	s.starts(l.run.cause, now)
	if s.route.keepsRunning() {
		l.program.start(l.run.cause, l.moments.first)
	}
	if s.route.OnBusy == Restart {
		l.run.ctx, l.run.cancel = context.WithCancelCause(l.run.ctx)
	}
	s.running++
	s.router.running++
	s.router.runs.Go(l.run.work)
}

// putAside empties the batch, because a route that comes first has failed.
func (l *lane) putAside(now time.Time) {
	l.touch()
	l.aside = append(l.aside, l.batch.take()...)
	l.count(now)
}

// bringBack is for when none has, and makes the lane look at its batch.
func (l *lane) bringBack(now time.Time) {
	if len(l.aside) == 0 && l.batch.empty() {
		return
	}
	l.change()
	if l.batch.empty() {
		l.skipDelay()
	}
	for _, e := range l.aside {
		l.batch.put(keyOf(e.event), *e)
	}
	l.aside = nil
	l.count(now)
}

// refuse makes a batch that was taken a frame that has failed before it began.
func (l *lane) refuse(f *frame, err error) {
	l.wait()
	f.Err, f.Outcome = err, OutcomeOf(err)
	l.refusing = true
	l.stage.refusing++
	l.stage.router.runs.Go(f.report)
}
