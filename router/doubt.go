package router

import (
	"slices"
	"time"
)

// With PerFile a run may lead to that of another path, and so may somebody who
// copies many files in while the first of them run. So the lanes whose batches
// are suspected too often go by turns: when all is calm and no event has
// cleared them, one of them runs, alone. If nothing comes of it they are cleared;
// if something does, that has the next turn, until it is refused with all that
// wait.

// doubts are what a stage knows of its lanes in doubt. The zero value is none.
type doubts struct {
	lanes   []*lane   // in doubt; skip those that are not any more
	trial   *lane     // of them the one whose turn it is; nil is whoever is next
	stirred time.Time // when something was last seen to go on that may come of the stage's runs
	heard   int       // events ever
	ran     bool      // there was a run since lanes were last cleared
	mark    int       // heard, when the last run began
	asked   []*trace  // the runs of which the answer is the one suspected
	answer  *trace
	shelf   []*entry // what was refused: it goes when that is seen to have been a mistake
}

// add is for a lane that is suspected. To which most runs led, it is next.
func (d *doubts) add(l *lane) {
	if !l.doubted {
		l.doubted = true
		d.lanes = append(d.lanes, l)
	}
	if d.trial == nil || !d.trial.doubted || l.rounds() > d.trial.rounds() {
		d.trial = l
	}
}

// take empties the list.
func (d *doubts) take() []*lane {
	lanes := slices.DeleteFunc(d.lanes, func(l *lane) bool { return !l.doubted })
	for _, l := range lanes {
		l.doubted = false
	}
	d.lanes, d.trial = nil, nil
	return lanes
}

// hear notes an event that is wanted, and what may have led to it. One that is
// nobody's doing clears all lanes.
func (s *stage) hear(from *trace) {
	s.doubts.heard++
	if s.only == nil && len(s.doubts.lanes) > 0 && !s.ledTo(from) {
		s.clear()
	}
}

// ledTo reports whether a run of the stage led to what the trace did.
func (s *stage) ledTo(t *trace) bool { return t.runs(s.route.Name) > 0 }

// clear makes all lanes in doubt as good as new.
func (s *stage) clear() {
	for _, l := range s.doubts.take() {
		l.touch()
		l.cleared = true
	}
}

// acquit clears the lanes, and brings back what was refused, if nothing came
// of the last run.
func (s *stage) acquit(now time.Time) {
	d := &s.doubts
	if s.only != nil || !d.ran || d.heard != d.mark || len(d.lanes)+len(d.shelf) == 0 {
		return
	}
	if until, ok := s.stirs(now); !ok || until.After(now) {
		return
	}
	s.clear()
	for _, e := range d.shelf {
		l := s.lane(keyOf(e.event))
		l.touch()
		l.batch.restore([]*entry{e})
	}
	d.ran, d.shelf = false, nil
}

// try is advance for the lane whose turn it is: what goes on elsewhere may
// have been what it waits for.
func (s *stage) try(now time.Time) {
	d := &s.doubts
	if d.trial != nil && !d.trial.doubted {
		lanes := d.take()
		for _, l := range lanes {
			d.add(l)
		}
	}
	if d.trial != nil {
		d.trial.advance(now)
	}
}

// calm is until when a lane waits, if it is its turn, so that there was nothing
// for a while that may come of the stage's runs.
func (s *stage) calm(l *lane, now, ended time.Time, wait time.Duration) (until time.Time, ok bool) {
	d := &s.doubts
	if d.trial != l {
		return time.Time{}, false
	}
	until, ok = s.stirs(now)
	if !ok || until.After(now) {
		d.stirred = now
	}
	return later(later(until, ended), d.stirred).Add(wait), ok
}

// stirs is until when something goes on, or waits, that comes of the stage's
// runs and may lead to others. It is not ok if nobody knows.
func (s *stage) stirs(now time.Time) (until time.Time, ok bool) {
	for _, t := range s.router.acting.at(now) {
		switch {
		case !s.ledTo(t):
		case t.ended.IsZero():
			return time.Time{}, false
		default:
			until = later(until, t.ended)
		}
	}
	for _, o := range s.router.stages {
		// What is held may be so by this very stage.
		if o != s && o.busy > 0 && !o.held && o.mayGoOn(s) {
			return time.Time{}, false
		}
	}
	return until, true
}

// mayGoOn reports whether a batch waits to which runs of another stage led. One
// that is in doubt among others does not count: they might wait for each other.
func (s *stage) mayGoOn(o *stage) bool {
	for l := range s.all() {
		if !l.batch.empty() && (s.only != nil || !l.doubted) && o.ledTo(l.batch.from) {
			return true
		}
	}
	return false
}

// breakLoop refuses the batch, and what is in doubt with it. It is kept for
// a run that shows that this was a mistake.
func (l *lane) breakLoop(now time.Time) {
	d := &l.stage.doubts
	routes := l.cycle()
	f := newFrame(l, now)
	for _, o := range d.take() {
		f.entries = append(f.entries, o.batch.take()...)
		if o != l {
			o.count(now)
			o.rest(now)
		}
	}
	for _, e := range f.entries {
		kept := *e
		kept.tickets = nil
		d.shelf = append(d.shelf, &kept)
		if l.stage.only != nil && l.stage.route.goesOn() {
			l.writes.report(keyOf(e.event), now)
		}
	}
	l.refused = true
	l.refuse(f, &LoopError{Events: eventsOf(f.entries), Routes: routes})
}

// refuseMore is breakLoop for what the program that was refused a new start goes
// on to write: it was said, and waits with what waits.
func (l *lane) refuseMore(now time.Time) {
	d := &l.stage.doubts
	for _, e := range l.batch.take() {
		release(e.tickets, nil)
		e.tickets = nil
		same := func(o *entry) bool { return keyOf(o.event) == keyOf(e.event) }
		if !slices.ContainsFunc(d.shelf, same) {
			d.shelf = append(d.shelf, e)
		}
	}
	l.count(now)
	l.rest(now)
}

// cycle is the routes by which runs of the lane's route led to its batch, from
// its own on.
func (l *lane) cycle() []string {
	var routes []string
	for t := l.batch.last; t != nil && t.route != l.stage.route.Name; t = t.from {
		if !slices.Contains(routes, t.route) {
			routes = append(routes, t.route)
		}
	}
	routes = append(routes, l.stage.route.Name)
	slices.Reverse(routes)
	return routes
}
