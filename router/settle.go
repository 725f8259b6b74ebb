package router

import (
	"context"
	"time"

	"github.com/execlog/execlogd/router/internal/schedule"
)

// dueTimes are the times that say when a batch may go. A zero time is long
// ago: what it stands for has not happened and holds nothing back.
type dueTimes struct {
	first     time.Time // the batch's first event
	started   time.Time // the last run began
	ended     time.Time // the last run was over
	unblocked time.Time // the routes that come first were last done
	retryAt   time.Time // the back-off after a failure is over
	delayed   time.Time // until then an event would show that the batch is no loop
	written   time.Time // the last write to a file that is still open
	released  time.Time // first that a batch which was ready had no open file any more
	quiet     time.Time // nothing more came for so long that a burst is over
}

// ready is when the batch could go if no file were open.
func (m dueTimes) ready(r *Route) time.Time {
	ready := later(m.first.Add(r.Delay), m.started.Add(r.Debounce))
	ready = later(later(ready, m.ended), m.retryAt)
	ready = later(ready, later(m.unblocked, m.delayed))
	return later(ready, m.quiet)
}

// due is when the batch may go; with UntilClosed, if no file is open.
func (m dueTimes) due(r *Route) time.Time {
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

// A queue is what of a route never overlaps: the batch that waits and the run
// that goes on, of the whole route or of one path. The router's lock guards it.
type queue struct {
	state          *routeState
	key            key // zero for the whole route
	batch          batch
	keptForSuccess []*entry // what waits for a success of the routes that come first
	times          dueTimes

	program    program    // that its runs start, if that keeps running
	run        *activeRun // nil if there is none
	rejecting  bool       // a batch was refused and is being reported
	retries    int        // runs in a row that began because the one before had failed
	keptForNew bool       // the batch waits for something new
	delayed    bool       // the batch is, by the loop guard

	arrivals arrivals // of the batch
	git      gitCheck // of the batch

	checked   bool      // its files are complete
	checking  bool      // somebody looks at them
	changed   bool      // since somebody has begun to look
	nextCheck time.Time // somebody looks not before; zero is any time

	dirty           bool   // the turn will look at it
	wasEmpty        bool   // when it was touched: the batch was empty
	wasSelfBlocking bool   // when it was touched: nothing was in the batch but what holds back only itself
	wasBlocked      bool   // when it was touched: files were open
	countedBusy     bool   // in stage.busy
	queued          bool   // the next callback may be its own
	inReady         bool   // in stage.ready
	order           uint64 // in the queue of all stages
	timer           schedule.Timer[*queue]
}

func newQueue(s *routeState, k key) *queue {
	q := &queue{state: s, key: k}
	q.timer.Item = q
	return q
}

// markDirty comes before each change of the batch or the run, and makes the turn
// look at what it means.
func (q *queue) markDirty() {
	if q.dirty {
		return
	}
	q.dirty, q.state.router.dirty = true, true
	q.wasEmpty, q.wasSelfBlocking, q.wasBlocked = q.batch.empty(), q.batch.allSelfBlocking(), q.batch.isBlocked()
	q.state.dirty = append(q.state.dirty, q)
}

// skipDelay makes a batch that was empty due at once: what it gets was
// gathered elsewhere.
func (q *queue) skipDelay() {
	q.wasEmpty, q.wasSelfBlocking = false, false
	q.times.first, q.times.released = time.Time{}, time.Time{}
}

// noteChange notes the moments that follow from what the batch has become.
func (q *queue) noteChange(now time.Time) {
	if q.batch.empty() {
		return
	}
	// What holds back only itself has waited by itself.
	if q.wasEmpty || q.wasSelfBlocking && !q.batch.allSelfBlocking() {
		q.times.first, q.times.released = now, time.Time{}
		q.git = gitCheck{running: q.git.running}
	}
	q.times.written = q.batch.lastWrite()
	if q.wasBlocked && !q.batch.isBlocked() {
		q.noteAllClosed(now)
	}
}

// noteAllClosed notes that the last open file is closed, if the batch waited for
// it. That counts once for a batch, or with UntilClosed for a while: else a tree
// that is written all the time could postpone it again and again.
func (q *queue) noteAllClosed(now time.Time) {
	r := q.state.route
	waited := !q.state.held && (q.run == nil || q.mayRestart())
	ready := q.times.ready(r)
	again := r.Hold == UntilClosed && now.Before(ready.Add(DefaultHold))
	if waited && (again || q.times.released.IsZero()) && now.After(ready) {
		q.times.released = now
	}
}

// countBusy keeps stage.busy. A batch that is kept, or in its back-off, keeps nobody
// waiting.
func (q *queue) countBusy(now time.Time) {
	busy := !q.batch.empty() && !q.keptForNew && !now.Before(q.times.retryAt) || q.run != nil || q.rejecting
	if busy == q.countedBusy {
		return
	}
	q.countedBusy = busy
	if busy {
		q.state.busy++
	} else {
		q.state.busy--
	}
}

// dropsEvents reports whether what comes now is dropped.
func (q *queue) dropsEvents() bool {
	return q.state.route.OnBusy == Ignore && q.run != nil && !q.run.returned
}

// mayRestart reports whether a batch that is due ends the run.
func (q *queue) mayRestart() bool {
	return q.state.route.OnBusy == Restart && q.run.cancel != nil && !q.run.returned && !q.run.restarted
}

// advance starts the run that is due, or sees to it that it starts when it
// is. It decides by the state alone, so it may be called at any time.
func (q *queue) advance(now time.Time) {
	s := q.state
	switch {
	case s.router.phase != during || q.rejecting:
		q.pause()
	case q.batch.empty():
		q.idle(now)
	case s.held || q.keptForNew || q.batch.maybeOutputs > 0 || q.run != nil && !q.mayRestart():
		q.pause()
	default:
		q.times.unblocked = s.unblocked
		until, ok := s.loop.delayUntil(q, now)
		if !ok {
			q.pause()
			return
		}
		q.times.delayed = until
		q.times.quiet = q.arrivals.quiet(s.route, q.times.first, s.unblocked)
		if due := q.times.due(s.route); due.After(now) {
			q.queued = false
			s.router.schedule.Set(&q.timer, earliest(due, q.reportWaiting(now)))
			return
		}
		if s.route.Hold == UntilClosed && !q.isChecked(now) {
			return
		}
		if !q.queued && !q.isGitIdle(now) {
			return
		}
		q.dispatch(now)
	}
}

// pause makes the lane do nothing until it is touched.
func (q *queue) pause() {
	q.queued = false
	q.state.router.schedule.Stop(&q.timer)
}

// idle is wait for a lane that has nothing to do, and the end of one that need
// remember nothing.
func (q *queue) idle(now time.Time) {
	q.pause()
	q.delayed = false
	s := q.state
	if s.shared != nil || q.run != nil || len(q.keptForSuccess) > 0 || q.checking {
		return
	}
	if over := q.times.started.Add(s.route.Debounce); over.After(now) {
		s.router.schedule.Set(&q.timer, over)
		return
	}
	delete(s.queues, q.key)
}

// dispatch gives the batch its run, when there is one to be had.
func (q *queue) dispatch(now time.Time) {
	s := q.state
	s.router.schedule.Stop(&q.timer)
	switch {
	case q.isLoop():
		s.loop.refuse(q, now)
	case q.run != nil:
		q.run.restart()
	case !q.queued:
		s.router.enqueue(q)
	}
}

// start begins the run of a batch that is due.
func (q *queue) start(now time.Time) {
	s := q.state
	s.loop.bringBack(q)
	from := q.batch.cause
	q.queued, q.delayed = false, false
	q.arrivals, q.git = arrivals{}, gitCheck{}
	q.times.started, q.times.retryAt = now, time.Time{}
	if s.running == 0 {
		s.newDirs = nil
	}
	if s.shared != nil {
		q.batch.noteOpenFiles(now)
	}
	q.run = newRun(q, now)
	q.run.ctx = s.router.work
	q.run.cause = s.newCause(from, now)
	s.noteRunStart(q.run.cause, now)
	if s.route.keepsRunning() {
		q.program.start(q.run.cause, q.times.first)
	}
	if s.route.OnBusy == Restart {
		q.run.ctx, q.run.cancel = context.WithCancelCause(q.run.ctx)
	}
	s.running++
	s.router.running++
	s.router.runs.Go(q.run.execute)
}

// keepForSuccess empties the batch, because a route that comes first has failed.
func (q *queue) keepForSuccess(now time.Time) {
	q.markDirty()
	q.keptForSuccess = append(q.keptForSuccess, q.batch.take()...)
	q.countBusy(now)
}

// restoreKept is for when none has, and makes the lane look at its batch.
func (q *queue) restoreKept(now time.Time) {
	if len(q.keptForSuccess) == 0 && q.batch.empty() {
		return
	}
	q.noteFileChange()
	if q.batch.empty() {
		q.skipDelay()
	}
	for _, e := range q.keptForSuccess {
		q.batch.merge(keyOf(e.event), *e)
	}
	q.keptForSuccess = nil
	q.countBusy(now)
}

// reject makes a batch that was taken a frame that has failed before it began.
func (q *queue) reject(f *activeRun, err error) {
	q.pause()
	f.Err, f.Outcome = err, OutcomeOf(err)
	q.rejecting = true
	q.state.rejecting++
	q.state.router.runs.Go(f.report)
}
