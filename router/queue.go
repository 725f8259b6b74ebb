package router

import (
	"context"
	"slices"
	"time"

	"github.com/execlog/execlogd/router/internal/schedule"
)

// A queue is the part of a route that never overlaps itself: the batch that waits and
// the run that is under way, of the whole route or of one path. The router's lock
// guards it.
type queue struct {
	state *routeState
	key   key // zero for the whole route

	batch          batch
	keptForNew     bool     // the batch waits until something new comes
	keptForSuccess []*entry // waits until the routes that come first have succeeded
	run            *activeRun
	retries        int  // runs in a row that repeated one that had failed
	rejecting      bool // a batch that is not run is being reported
	program        program

	// When the batch may go.
	times    dueTimes
	timer    schedule.Timer[*queue]
	arrivals arrivals
	delayed  bool // by the loop guard
	git      gitCheck
	open     openState

	// What the next update has to look at, and how the batch was when it became so.
	dirty           bool
	wasEmpty        bool
	wasSelfBlocking bool
	wasBlocked      bool

	busy    bool   // counted in routeState.busy
	due     bool   // the next callback may be the queue's
	inReady bool   // it is in routeState.ready
	order   uint64 // in which the queues of all routes became due
}

func newQueue(s *routeState, k key) *queue {
	q := &queue{state: s, key: k}
	q.timer.Item = q
	return q
}

// markDirty must be called before each change of the batch or the run. The next update
// looks at the consequences.
func (q *queue) markDirty() {
	if q.dirty {
		return
	}
	q.dirty, q.state.router.dirty = true, true
	q.wasEmpty, q.wasSelfBlocking, q.wasBlocked = q.batch.empty(), q.batch.allSelfBlocking(), q.batch.isBlocked()
	q.state.dirty = append(q.state.dirty, q)
}

// skipDelay makes a batch that was empty due without a Delay, because what it gets was
// gathered elsewhere.
func (q *queue) skipDelay() {
	q.wasEmpty, q.wasSelfBlocking = false, false
	q.times.first, q.times.released = time.Time{}, time.Time{}
}

// noteChange updates the times after changes of the batch.
func (q *queue) noteChange(now time.Time) {
	if q.batch.empty() {
		return
	}

	// Files that block only themselves do not begin the batch of others.
	if q.wasEmpty || q.wasSelfBlocking && !q.batch.allSelfBlocking() {
		q.times.first, q.times.released = now, time.Time{}
		q.git = gitCheck{running: q.git.running}
	}
	q.times.written = time.Time{}
	for _, e := range q.batch.open {
		if !e.selfBlocking || q.batch.allSelfBlocking() { // it holds back the batch
			q.times.written = later(q.times.written, e.written)
		}
	}
	if !q.wasBlocked || q.batch.isBlocked() {
		return
	}

	// The last open file was closed. If the batch has waited for that alone, it has its
	// Delay again: once, or for a while with UntilClosed, so that a tree that is written
	// all the time cannot postpone the batch for ever.
	r := q.state.route
	ready := q.times.ready(r)
	waited := !q.state.held && (q.run == nil || q.mayRestart()) && now.After(ready)
	again := r.Hold == UntilClosed && now.Before(ready.Add(DefaultHold))
	if waited && (again || q.times.released.IsZero()) {
		q.times.released = now
	}
}

// countBusy keeps routeState.busy up to date. A batch that is kept, or in its back-off,
// keeps nobody waiting.
func (q *queue) countBusy(now time.Time) {
	waits := !q.batch.empty() && !q.keptForNew && !now.Before(q.times.retryAt)
	busy := waits || q.run != nil || q.rejecting
	if busy == q.busy {
		return
	}

	q.busy = busy
	if busy {
		q.state.busy++
	} else {
		q.state.busy--
	}
}

// dropsEvents reports whether OnBusy has events dropped that come now.
func (q *queue) dropsEvents() bool {
	return q.state.route.OnBusy == Ignore && q.run != nil && !q.run.returned
}

// mayRestart reports whether a batch that is due ends the run.
func (q *queue) mayRestart() bool {
	return q.state.route.OnBusy == Restart && q.run.cancel != nil && !q.run.returned && !q.run.restarted
}

// advance starts the run if it is due, or sets the timer for when it is. It depends on
// nothing but the state, so it may be called at any time.
func (q *queue) advance(now time.Time) {
	s := q.state
	switch {
	case s.router.phase != running || q.rejecting:
		q.stop()
		return
	case q.batch.empty():
		q.rest(now)
		return
	case s.held || q.keptForNew || q.batch.maybeOutputs > 0 || q.run != nil && !q.mayRestart():
		q.stop()
		return
	}

	q.times.unblocked, q.times.built = s.unblocked, s.firstFinished()
	delayed, ok := s.loop.delayUntil(q, now)
	if !ok {
		q.stop()
		return
	}
	q.times.delayed = delayed
	q.times.quiet = q.arrivals.quiet(s.route, q.times.first, s.unblocked)
	if due := q.times.due(s.route); due.After(now) {
		q.wakeAt(earliest(due, q.reportWaiting(now)))
		return
	}

	// Only now, because both ask the kernel, in a goroutine that calls back.
	if s.route.Hold == UntilClosed && !q.filesAreClosed(now) || !q.due && !q.gitIsIdle(now) {
		return
	}
	q.dispatch(now)
}

// isCurrent reports whether the route is still there and has the Per that the queue is for.
func (q *queue) isCurrent() bool { return !q.state.isRemoved && q.state.queue(q.key) == q }

// stop has the queue wait until it is dirty.
func (q *queue) stop() {
	q.due = false
	q.state.router.schedule.Stop(&q.timer)
}

// wakeAt has the queue wait until a time, or until it is dirty.
func (q *queue) wakeAt(at time.Time) {
	q.due = false
	q.state.router.schedule.Set(&q.timer, at)
}

// rest has an empty queue wait, and forgets the queue of a path when it has nothing to
// remember any more.
func (q *queue) rest(now time.Time) {
	q.stop()
	q.delayed = false
	s := q.state
	if s.queues[q.key] != q || q.run != nil || len(q.keptForSuccess) > 0 || q.open.asking {
		return
	}

	if over := q.times.started.Add(s.route.Debounce); over.After(now) {
		q.wakeAt(over)
		return
	}
	delete(s.queues, q.key)
}

// dispatch refuses a batch that is due, ends the run in its favour, or has it wait for
// its turn.
func (q *queue) dispatch(now time.Time) {
	s := q.state
	s.router.schedule.Stop(&q.timer)
	switch {
	case q.generation() >= maxGeneration:
		s.loop.refuse(q, now)
	case q.run != nil:
		q.run.restarted = true
		q.run.cancel(ErrRestarted)
	case !q.due && q.inReady: // it keeps its turn
		q.due = true
	case !q.due:
		s.router.enqueued++
		q.due, q.inReady, q.order = true, true, s.router.enqueued
		s.ready = append(s.ready, q)
	}
}

// start begins the run of a batch whose turn it is.
func (q *queue) start(now time.Time) {
	s := q.state
	s.loop.restoreRefused(q)
	if s.shared != nil {
		for _, e := range q.batch.open {
			q.batch.noteNeverClosed(keyOf(e.event), now) // the batch goes though they are open
		}
	}
	if s.running == 0 {
		s.newDirs = nil
	}

	cause := s.noteRunStart(q.batch.cause, now)
	run := newRun(q, now)
	run.cause, run.ctx = cause, s.router.ctx
	if s.route.StopAtOnce {
		run.ctx = s.router.atOnce
	}
	if s.route.OnBusy == Restart {
		run.ctx, run.cancel = context.WithCancelCause(run.ctx)
	}
	if s.route.keepsRunning() {
		q.program.trigger = 0
		if last := q.program.run; last != nil {
			q.program.trigger = q.times.first.Sub(last.started)
		}
		q.program.run = cause
	}

	q.run = run
	q.due, q.delayed = false, false
	q.arrivals, q.git = arrivals{}, gitCheck{}
	q.times.started, q.times.retryAt = now, time.Time{}
	s.running++
	if !run.route.Elsewhere {
		s.router.running++
	}
	s.router.runs.Go(run.execute)
}

// restoreKept puts back what was kept for a success, and has the next update look at
// the batch.
func (q *queue) restoreKept(now time.Time) {
	if len(q.keptForSuccess) == 0 && q.batch.empty() {
		return
	}
	q.noteFileChange()
	if q.batch.empty() {
		q.skipDelay()
	}
	q.state.noteKept(q.keptForSuccess, false)
	q.restore(q.keptForSuccess)
	q.keptForSuccess = nil
	q.countBusy(now)
}

// restore puts back what was taken from the batch. It does not change the cause.
func (q *queue) restore(entries []*entry) {
	for _, e := range entries {
		q.state.merge(&q.batch, keyOf(e.event), *e)
	}
}

// reject reports a run that has failed before it began. Its batch was taken out.
func (q *queue) reject(run *activeRun, err error) {
	q.stop()
	run.Err, run.Outcome = err, OutcomeOf(err)
	q.rejecting = true
	q.state.rejecting++
	q.state.router.runs.Go(run.report)
}

// dueTimes are the times that say when a batch may go. A zero time is long ago: what
// it stands for has not happened and delays nothing.
type dueTimes struct {
	first     time.Time // the first event of the batch
	started   time.Time // the last run began
	ended     time.Time // the last run was over
	unblocked time.Time // the routes that come first were last done
	built     time.Time // the last run of one of those was over
	retryAt   time.Time // the end of the back-off after a failure
	delayed   time.Time // the loop guard's delay ends
	written   time.Time // the last write to a file that is still open
	released  time.Time // the batch was ready, and the last of its open files was closed
	quiet     time.Time // the burst that the batch is part of is over
}

// ready returns when the batch may go if none of its files is open.
func (t dueTimes) ready(r *Route) time.Time {
	gathered := t.first.Add(r.Delay)
	if r.NoDelayAfter && !t.first.After(t.built) {
		gathered = t.unblocked
	}
	times := [...]time.Time{gathered, t.started.Add(r.Debounce), t.ended, t.retryAt, t.unblocked, t.delayed, t.quiet}
	return slices.MaxFunc(times[:], time.Time.Compare)
}

// due returns when the batch may go. With UntilClosed that counts only when none of
// its files is open.
func (t dueTimes) due(r *Route) time.Time {
	ready := t.ready(r)

	// What follows the close of a temporary file is its rename: that has a Delay.
	closed := t.released.Add(r.Delay)
	if r.Hold == UntilClosed {
		return later(ready, closed)
	}
	settled := later(t.written.Add(r.Settle), closed)
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

// earliest returns the earlier of two times of which a zero one is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// A checkout, an unpacked archive or an install writes many files, for longer than a
// Delay. Such a burst is one batch, which ends when no further path has come for Quiet.
const (
	// maxSaved is how many paths are no burst, however they come: as many as an
	// editor saves at once.
	maxSaved = 8

	// fewPaths is how many paths are a burst as well, if one of them came late in the
	// Delay.
	fewPaths = 4

	// longestQuiet is how many times Quiet a burst that lasts long waits for.
	longestQuiet = 5

	// longestBurst is how long a batch waits for the end of a burst.
	longestBurst = 10 * time.Second
)

// arrivals say how the paths of a batch came. The zero value is for a batch to which
// none came by an event.
type arrivals struct {
	paths int       // that came by an event
	last  time.Time // a path came that was not in the batch
}

// note notes that an event is about to put a path into a batch.
func (a *arrivals) note(b *batch, k key, now time.Time) {
	if b.empty() {
		*a = arrivals{}
	}
	if b.entries[k] == nil {
		a.paths++
		a.last = now
	}
}

// quiet returns when the burst is over, given the first event of the batch; zero if
// there is none. What came before unblocked is not waited for.
func (a arrivals) quiet(r *Route, first, unblocked time.Time) time.Time {
	late := a.paths >= fewPaths && a.last.Sub(first) > r.Delay/2
	isBurst := r.Per == PerRoute && (a.paths > maxSaved || late)
	if !isBurst || !a.last.After(unblocked) {
		return time.Time{}
	}

	wait := r.Quiet
	if !first.IsZero() {
		// The pauses in a burst that lasts long are longer as well.
		wait = max(wait, min(a.last.Sub(first)/4, longestQuiet*r.Quiet))
	}
	return earlier(a.last.Add(wait), first.Add(longestBurst))
}
