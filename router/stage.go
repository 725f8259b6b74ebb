package router

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"
)

// A stage is a route at work: its lanes, and its place among those that it
// waits for. The router's lock guards what changes.
type stage struct {
	router *Router
	*checkedRoute

	after  []*stage // the routes of After
	behind []*stage // the routes in whose After this one is

	only    *lane             // of a route with PerRoute
	lanes   map[key]*lane     // of one with PerFile: those that wait, run or remember
	touched []*lane           // what this turn has to look at
	asides  map[key]time.Time // names to which outputs were moved, or that they had, and when something happened to them
	born    map[key]bool      // directories that were made since the last run began
	made    map[key]bool      // new files that were neither closed nor written to; for Empty
	left    []entry           // what the latest MovedFrom took away: the MovedTo may follow
	awaited bool              // somebody waits for what left

	busy     int     // lanes that wait or run
	running  int     // callbacks
	refusing int     // batches that were refused and are being reported
	ready    []*lane // in the order in which they became due; skip those that are not queued

	outputs *outputs
	checks  checks

	former  []*stage // of its name before it, with another Per, of which runs may go on
	retired bool     // the route is no more, or has another Per

	blocked  bool      // a route that comes first has something to do
	held     bool      // by that, by what is being refused, or by former
	freed    time.Time // when it was no more
	failures failures  // of after, since it is held
	loop     loopGuard

	causedByNothing []string // the route's name alone, for causes that nothing has caused
}

// newStage returns the stage of a route that has not run yet.
func newStage(r *Router, c *checkedRoute) *stage {
	s := &stage{router: r, checkedRoute: c, made: make(map[key]bool), causedByNothing: []string{c.route.Name}}
	s.outputs = &outputs{router: r, stage: s}
	if c.route.Per == PerRoute {
		s.only = newLane(s, key{})
	} else {
		s.lanes = make(map[key]*lane)
	}
	return s
}

// at is the lane of a path, nil if it has none.
func (s *stage) at(k key) *lane {
	if s.only != nil {
		return s.only
	}
	return s.lanes[k]
}

// lane is the lane of a path, which is made if need be.
func (s *stage) lane(k key) *lane {
	l := s.at(k)
	if l == nil {
		l = newLane(s, k)
		s.lanes[k] = l
	}
	return l
}

func (s *stage) all() iter.Seq[*lane] {
	if s.only != nil {
		return slices.Values([]*lane{s.only})
	}
	return maps.Values(s.lanes)
}

// knowsNothing reports whether an event that the route does not want can
// change nothing.
func (s *stage) knowsNothing() bool {
	if len(s.left) > 0 || len(s.lanes) > 0 || len(s.made) > 0 || s.route.Retries > 0 && s.running > 0 {
		return false
	}
	return s.only == nil || s.only.batch.empty() && len(s.only.batch.endless) == 0
}

// turn sees what the lanes that were touched have to do now.
func (s *stage) turn(now time.Time) {
	if len(s.loop.delayed) > 0 && s.isQuiet(now) {
		s.loop.release()
	}
	for _, l := range s.touched {
		l.gathered(now)
		l.count(now)
	}
	s.releaseLeft()
	s.hold(now)
	for i := 0; i < len(s.touched); i++ { // hold may have added some, advance does not
		s.touched[i].touched = false
		s.touched[i].advance(now)
	}
	s.loop.advanceNext(now)
	clear(s.touched)
	s.touched = s.touched[:0]
}

// hold keeps everything that waits back while a route that comes first has
// something to do, and lets it go, or cancels it, when none has any more.
func (s *stage) hold(now time.Time) {
	// Those that come first have had their turn.
	s.blocked = slices.ContainsFunc(s.after, func(a *stage) bool { return a.busy > 0 || a.blocked })
	held := s.blocked || s.refusing > 0 || s.hasFormerRuns()
	if held == s.held {
		return
	}
	s.held = held
	failure := s.failures.take()
	if !held {
		s.freed = now
	}
	for l := range s.all() {
		switch {
		case !held && failure == nil:
			l.bringBack(now)
		case l.batch.empty():
		case failure != nil && s.route.OnFailure == Keep:
			l.putAside(now)
		case failure != nil && s.route.OnFailure == Cancel:
			l.refuse(newFrame(l, now), fmt.Errorf("%w: %w", ErrCancelled, failure))
		default:
			l.touch()
		}
	}
}

// fail tells the routes behind that a lane's frame failed, and those that give
// up with them.
func (s *stage) fail(l *lane, err error) {
	for _, b := range s.behind {
		b.failures.add(l, err)
		if b.route.OnFailure != Continue {
			b.fail(l, err)
		}
	}
}

// forgive takes back what fail said.
func (s *stage) forgive(l *lane) {
	for _, b := range s.behind {
		if b.failures.remove(l) {
			b.forgive(l)
		}
	}
}

// lead passes the events of a frame that succeeded on to the routes that
// follow.
func (s *stage) lead(f *frame) {
	for _, b := range s.behind {
		if !b.route.Follow {
			continue
		}
		for _, e := range f.entries {
			b.inherit(e.event, e.tickets, f.cause)
		}
	}
}

// errorf is an error for those who submitted something.
func (s *stage) errorf(err error) error { return fmt.Errorf("route %q: %w", s.route.Name, err) }

// failures are the lanes of earlier routes whose last frame failed, in order.
// The zero value is none.
type failures struct {
	errs map[spot]failure
	seq  int
}

// A spot is a lane's identity: lanes come and go.
type spot struct {
	*stage
	key
}

type failure struct {
	err error
	seq int
}

func (f *failures) add(l *lane, err error) {
	if f.errs == nil {
		f.errs = make(map[spot]failure)
	}
	f.seq++
	f.errs[spot{l.stage, l.key}] = failure{err, f.seq}
}

func (f *failures) remove(l *lane) bool {
	k := spot{l.stage, l.key}
	_, ok := f.errs[k]
	delete(f.errs, k)
	return ok
}

// take is the first of the failures, nil if there is none, and forgets all.
func (f *failures) take() error {
	var first failure
	for _, x := range f.errs {
		if first.err == nil || x.seq < first.seq {
			first = x
		}
	}
	*f = failures{}
	return first.err
}
