package router

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// Routes whose runs change what triggers them, or each other, would run for
// ever. Nobody tells who changed a file, so a run is suspected of what happens
// while it goes on, and of all the runs that this leads to. That is also what
// somebody makes who saves often and has a slow build; but in a loop nothing
// happens while nothing runs. So the more runs of a route led to one another,
// the longer the next batch waits for an event that clears it, and only after
// all that is it refused.
const (
	maxRounds  = 7                      // runs of a route that a run of it led to, one by the other
	trusted    = 2                      // of them are not made to wait
	shortRound = 400 * time.Millisecond // a run that took less is taken for that long
	longestGap = time.Minute            // that a suspected batch waits
	upheaval   = time.Second            // what happens in it after the start of a program that goes on running may be that's doing
)

// A LoopError says that a route was triggered again and again by what its own
// runs led to, and that such a batch was not run.
type LoopError struct {
	// Events is the batch that was not run; of a route with PerFile, all
	// that were not.
	Events []inotify.Event

	// Routes are the routes of the loop, each of which triggered the next,
	// and the last the first, which is the one of the batch.
	Routes []string
}

func (e *LoopError) Error() string { return e.Reason() + ": name it in Outputs or Ignore" }

// Reason is the error without what to do about it, for programs whose users do not
// write a Route.
func (e *LoopError) Reason() string {
	const enough = 5
	var names []string
	for _, x := range e.Events[:min(enough, len(e.Events))] {
		names = append(names, inotify.Quote(x.Path))
	}
	if more := len(e.Events) - enough; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("a loop%s: %d runs in a row were each triggered only by what the one before may have written, lastly %s",
		e.way(), maxRounds, strings.Join(names, ", "))
}

// way is the other routes of the loop.
func (e *LoopError) way() string {
	if len(e.Routes) < 2 {
		return ""
	}
	var others []string
	for _, name := range e.Routes[1:] {
		others = append(others, fmt.Sprintf("%q", name))
	}
	if len(others) == 1 {
		return " by way of route " + others[0]
	}
	return " by way of routes " + strings.Join(others, ", ")
}

// A trace is what is remembered of a run: what led to it, and until when it may
// lead to others. A route is known by its name, because its stage may be another
// later. The router's lock guards it.
type trace struct {
	route   string
	from    *trace // nil if no run led to it
	depth   int    // how many did, one by the other
	started time.Time
	ended   time.Time // from then on it leads to nothing; zero if that is not known yet
	cleared bool      // that runs of its route led to it counts for nothing
}

func newTrace(s *stage, from *trace, now time.Time) *trace {
	t := &trace{route: s.route.Name, started: now}
	if from != nil && from.depth < mostDepth {
		t.from, t.depth = from, from.depth+1
	}
	if s.route.OnBusy == Restart {
		t.ended = now.Add(upheaval)
	}
	return t
}

// end notes that the run is over, or with background, that what it has started
// goes on.
func (t *trace) end(now time.Time, background bool) {
	switch {
	case background:
		t.ended = now.Add(upheaval)
	case t.acts(now):
		t.ended = now
	}
}

// took is how long the run could lead to others; it counts when it cannot any
// more.
func (t *trace) took() time.Duration { return t.ended.Sub(t.started) }

// acts reports whether what happens at now may be the run's doing.
func (t *trace) acts(now time.Time) bool { return t.ended.IsZero() || now.Before(t.ended) }

// runs counts the runs of a route that led to what the trace did, with itself.
func (t *trace) runs(route string) int {
	n := 0
	for ; t != nil; t = t.from {
		if t.route != route {
			continue
		}
		n++
		if t.cleared {
			break
		}
	}
	return n
}

// before is what led to both t and u: the latest run that did, or is one of
// them, or if fewer runs of the route led to that than to either, the one of them
// to which the fewer did. It is nil if one of them is.
func (t *trace) before(u *trace, route string) *trace {
	if t == nil || u == nil {
		return nil
	}
	least := u
	if t.runs(route) < u.runs(route) {
		least = t
	}
	both := t.common(u)
	if both == nil || both.runs(route) < least.runs(route) {
		return least
	}
	return both
}

// common is the latest run that led to both, or is one of them.
func (t *trace) common(u *trace) *trace {
	for t != u && t != nil && u != nil {
		if t.depth >= u.depth {
			t = t.from
		} else {
			u = u.from
		}
	}
	if t != u {
		return nil
	}
	return t
}

// mostDepth is how many runs that led to one another are remembered. A loop is
// refused long before, if it is of eight routes or less.
const mostDepth = 64

// mostActing is how many runs are suspected of one event: the latest, if as
// many run at once.
const mostActing = 64

// acting are the runs that may lead to what happens now. The zero value is
// none.
type acting struct {
	runs   []*trace // in the order of their starts, some that are over among them
	latest []*trace // of them, when an event last asked; nil if there are others since
}

func (a *acting) add(t *trace) {
	if len(a.runs) == cap(a.runs) {
		a.forget(t.started)
	}
	a.runs = append(a.runs, t)
	a.latest = nil
}

// forget drops the runs that are over.
func (a *acting) forget(now time.Time) {
	a.runs = slices.DeleteFunc(a.runs, func(t *trace) bool { return !t.acts(now) })
}

// at is the same slice as long as the runs are the same: batches keep it, and
// nobody may change it.
func (a *acting) at(now time.Time) []*trace {
	if a.latest == nil || slices.ContainsFunc(a.latest, func(t *trace) bool { return !t.acts(now) }) {
		a.forget(now)
		a.latest = slices.Clone(a.runs[max(0, len(a.runs)-mostActing):])
	}
	return a.latest
}

// suspect is the run that may have led to what happens now, nil if there is
// none: of those that may, the one to which most runs of the stage led.
func (s *stage) suspect(k key, now time.Time) *trace {
	t := s.suspectRunning(now)
	if l := s.at(k); l != nil {
		if own := l.writes.by(k, now); own != nil && s.blames(own, t) {
			return own
		}
	}
	return t
}

// suspectRunning is suspect among the runs that go on.
func (s *stage) suspectRunning(now time.Time) *trace {
	d := &s.doubts
	if runs := s.router.acting.at(now); !same(runs, d.asked) {
		d.asked, d.answer = runs, nil
		for _, t := range runs {
			if s.blames(t, d.answer) {
				d.answer = t
			}
		}
	}
	return d.answer
}

func same(x, y []*trace) bool { return len(x) == len(y) && (len(x) == 0 || &x[0] == &y[0]) }

// blames reports whether t is to be suspected rather than u, which began before.
func (s *stage) blames(t, u *trace) bool {
	n, m := t.runs(s.route.Name), u.runs(s.route.Name)
	return u == nil || n > m || n == m && t.depth >= u.depth
}

// rounds is how many runs of the route led to its batch, each but the first by
// a run of the route.
func (l *lane) rounds() int {
	if l.cleared {
		return 0
	}
	return max(0, l.batch.from.runs(l.stage.route.Name)-1)
}

// doubt is until when a suspected batch waits to be cleared. It is not ok if
// that depends on what is under way or on other paths; then it is asked again
// in the next turn.
func (l *lane) doubt(now time.Time) (until time.Time, ok bool) {
	rounds := l.rounds()
	if l.stage.route.ReadOnly || rounds < trusted {
		l.doubted = false
		return time.Time{}, true
	}
	l.stage.doubts.add(l)
	last, ended, took := l.batch.last, l.batch.last.ended, l.batch.last.took()
	if first := l.moments.first; last == l.writes.run && !ended.IsZero() && first.After(ended) {
		// It came long after the start of a program that goes on running.
		ended, took = first, first.Sub(last.started)
	}
	switch wait := gap(rounds, max(l.took, took)); {
	case l.stage.route.Per == PerFile:
		return l.stage.calm(l, now, ended, wait)
	case !ended.IsZero():
		return ended.Add(wait), true
	case rounds < maxRounds: // another route's run, which may take long
		return later(l.moments.first, l.moments.ended).Add(gap(rounds, l.took)), true
	default:
		return time.Time{}, false
	}
}

// gap is how long a batch after so many rounds waits: a fourth of a run's
// time, then twice as long each.
func gap(rounds int, took time.Duration) time.Duration {
	return min(longestGap, max(took, shortRound)/4<<(rounds-trusted))
}

func (l *lane) isLoop() bool { return !l.stage.route.ReadOnly && l.rounds() >= maxRounds }

// justify is the run that led to the one that begins, nil if there is none. If
// that is of no run of the route, what was refused had better gone too.
func (l *lane) justify() *trace {
	d, name := &l.stage.doubts, l.stage.route.Name
	from := l.batch.from
	if l.stage.only != nil && from.runs(name) == 0 {
		l.batch.restore(d.shelf)
		d.shelf = nil
	}
	l.doubted = false
	d.ran, d.mark = true, d.heard
	return from
}
