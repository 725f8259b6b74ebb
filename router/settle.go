package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// moments are the times that say when a batch may go. A zero time is long
// ago: what it stands for has not happened and holds nothing back.
type moments struct {
	first    time.Time // the batch's first event
	started  time.Time // the last run began
	ended    time.Time // the last run was over
	written  time.Time // the last write to a file that is still open
	released time.Time // first that a batch which was ready had no open file any more
}

// ready is when the batch could go if no file were open.
func (m moments) ready(r *Route) time.Time {
	return later(later(m.first.Add(r.Delay), m.started.Add(r.Debounce)), m.ended)
}

// due is when the batch may go.
func (m moments) due(r *Route) time.Time {
	ready := m.ready(r)
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

// A phase is where a lane is in its router's life.
type phase uint8

const (
	before phase = iota // events are kept
	during              // and dispatched
	after               // and ignored
)

// A lane is a route at work: the batch that waits, the run that goes on, and
// the timer between them.
type lane struct {
	route  Route
	rules  *rules
	heeds  inotify.Mask
	logger *slog.Logger
	runs   *sync.WaitGroup // the router's

	mu      sync.Mutex // guards what follows
	phase   phase
	ctx     context.Context // what callbacks get; set from during on
	batch   batch
	moments moments
	running bool
	timer   *time.Timer
	armed   time.Time // when the timer fires; zero if it does not
}

// newLane returns the lane of a route that has its defaults.
func newLane(route Route, logger *slog.Logger, runs *sync.WaitGroup) (*lane, error) {
	rs, err := route.rules()
	if err != nil {
		return nil, err
	}
	return &lane{
		route:  route,
		rules:  rs,
		heeds:  rs.want | gone | arrived | content,
		logger: logger,
		runs:   runs,
		batch:  batch{rules: rs},
	}, nil
}

// events merges what came at now into the batch and sees what that makes due.
func (l *lane) events(events []inotify.Event, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.phase == after {
		return
	}
	idle, held := l.batch.empty(), len(l.batch.open) > 0
	for _, e := range events {
		if e.Mask&l.heeds != 0 {
			l.batch.add(e, now)
		}
	}
	if idle && l.batch.empty() {
		return
	}
	if idle {
		l.moments.first, l.moments.released = now, time.Time{}
	}
	l.moments.written = l.batch.written()
	if held && len(l.batch.open) == 0 {
		l.release(now)
	}
	l.advance(now)
}

// release notes that the last open file is closed, if the batch waited for
// it. That counts once for a batch: else a tree that is written all the time
// could postpone it again and again.
func (l *lane) release(now time.Time) {
	if !l.running && l.moments.released.IsZero() && now.After(l.moments.ready(&l.route)) {
		l.moments.released = now
	}
}

// advance starts the run that is due, or sees to it that it starts when it
// is. It decides by the state alone, so it may be called at any time. l.mu is
// held.
func (l *lane) advance(now time.Time) {
	if l.phase != during || l.running || l.batch.empty() {
		l.disarm()
		return
	}
	due := l.moments.due(&l.route)
	if due.After(now) {
		l.arm(due, now)
		return
	}
	l.disarm()
	l.running, l.moments.started = true, now
	l.batch.giveUp(now, l.route.Settle)
	batch := l.batch.take()
	l.runs.Go(func() { l.run(batch) })
}

// lead is how much sooner than a batch is due its timer fires, to sleep the
// rest in a way that ends on time. The runtime waits for its timers in whole
// milliseconds, so that they are late by as much.
const lead = 1500 * time.Microsecond

func (l *lane) arm(due, now time.Time) {
	wait := due.Sub(now)
	if wait > 2*lead {
		wait -= lead
	}
	switch {
	case due.Equal(l.armed):
		return
	case l.timer == nil:
		l.timer = time.AfterFunc(wait, l.fire)
	default:
		l.timer.Reset(wait)
	}
	l.armed = due
}

func (l *lane) disarm() {
	if !l.armed.IsZero() {
		l.timer.Stop()
		l.armed = time.Time{}
	}
}

// fire is the timer's. A timer that was stopped too late does no harm.
func (l *lane) fire() {
	l.mu.Lock()
	due := l.armed
	l.mu.Unlock()
	nap(time.Until(due))

	l.mu.Lock()
	defer l.mu.Unlock()
	if l.armed.Equal(due) {
		l.armed = time.Time{}
	}
	l.advance(time.Now())
}

// nap sleeps for a time that is shorter than lead, to within some 60 us. Where
// time is not the kernel's, as in testing/synctest, none of it passes, and
// fire arms the timer again.
func nap(d time.Duration) {
	if d <= 0 || d > 2*lead {
		return
	}
	left := syscall.NsecToTimespec(int64(d))
	for syscall.Nanosleep(&left, &left) == syscall.EINTR {
	}
}

// run calls back and makes way for the next run.
func (l *lane) run(batch []inotify.Event) {
	growStack(len(batch))
	defer l.done()
	start := time.Now()
	stack, err := l.call(batch)
	name, took := slog.String("route", l.route.Name), slog.Duration("took", time.Since(start))
	switch {
	case stack != nil:
		l.logger.Error("route failed", name, took, "err", err, "stack", string(stack))
	case err != nil:
		l.logger.Error("route failed", name, took, "err", err)
	default:
		l.logger.Debug("route ran", name, took, "paths", len(batch))
	}
}

// growStack makes room for what callbacks are likely to need, while there are
// no frames yet that would have to be moved for it again and again: that takes
// as long as a callback that does little.
//
//go:noinline
func growStack(n int) byte {
	var room [8 << 10]byte
	return room[n%len(room)]
}

// call is the callback with its timeout; the stack is that of a panic.
func (l *lane) call(batch []inotify.Event) (stack []byte, err error) {
	ctx := l.ctx
	if l.route.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, l.route.Timeout,
			fmt.Errorf("stopped at its timeout of %v: %w", l.route.Timeout, context.DeadlineExceeded))
		defer cancel()
	}
	defer func() {
		if p := recover(); p != nil {
			stack, err = debug.Stack(), fmt.Errorf("panic: %v", p)
		}
	}()
	err = l.route.Callback(ctx, batch)
	if err != nil && errors.Is(err, ctx.Err()) {
		err = context.Cause(ctx)
	}
	return nil, err
}

func (l *lane) done() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.running, l.moments.ended = false, now
	l.advance(now)
}

// begin dispatches what was kept and all that comes.
func (l *lane) begin(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.phase, l.ctx = during, ctx
	l.advance(time.Now())
}

// end drops what waits and ignores all that comes. No run starts after it.
func (l *lane) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.phase = after
	l.disarm()
	l.batch.take()
}
