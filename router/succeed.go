package router

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// takeOver is the moment at which r takes the place of old, which runs.
func (r *Router) takeOver(old *Router) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase != before || r.floor.router != old || old.phase != during {
		return
	}
	heirs := make(map[*stage]*stage)
	for _, s := range r.stages {
		if i := slices.IndexFunc(old.stages, func(o *stage) bool { return o.route.Name == s.route.Name }); i >= 0 {
			heirs[old.stages[i]] = s
		}
	}
	for _, o := range old.stages {
		if s := heirs[o]; s != nil {
			s.succeed(o)
		}
		o.drop()
		o.behind = nil // a run of it that goes on means nothing to others
	}
	for o, s := range heirs {
		s.failures = o.failures.of(heirs, s.above)
		if !slices.Equal(s.aboveNames(), o.aboveNames()) {
			s.bringBack(time.Now()) // what failed may not come first any more
		}
	}
	old.order, old.phase = nil, after
	r.floor.router = r
	r.succeeds = nil // or each would keep all those before it
	close(old.relieved)
	r.open(time.Now())
}

// succeed takes what a stage of the same name has, which is left empty. Only
// with the same Per can it be its lanes, with their runs; else it waits for
// those.
func (s *stage) succeed(o *stage) {
	s.held, s.freed, s.past = o.held, o.freed, o.past
	s.outputs, o.outputs = o.outputs, s.outputs
	s.outputs.stage, o.outputs.stage = s, o
	if s.route.Per != o.route.Per {
		s.past = append(s.past, o)
		for _, l := range slices.SortedFunc(o.all(), func(x, y *lane) int { return x.moments.first.Compare(y.moments.first) }) {
			s.adopt(slices.Concat(l.aside, l.batch.take()))
			l.aside = nil
		}
		s.loop.refused.restore(o.loop.refused.take())
		return
	}
	var own []*entry
	for l := range s.all() {
		own = append(own, l.batch.take()...)
	}
	s.only, o.only = o.only, s.only
	s.lanes, o.lanes = o.lanes, make(map[key]*lane)
	s.made, s.loop = o.made, o.loop
	s.left, s.awaited, o.left, o.awaited = o.left, o.awaited, nil, false
	s.busy, s.running, s.refusing, s.ready = o.busy, o.running, o.refusing, o.ready
	o.busy, o.running, o.refusing, o.ready = 0, 0, 0, nil
	for l := range s.all() {
		l.stage, l.kept = s, false
		l.sieve()
	}
	if o.only != nil {
		o.only.stage, o.only.counted, o.only.touched = o, false, false
	}
	s.adopt(own)
}

// leave leaves the events of a frame to the route of its name that has another
// Per now, if there is one.
func (r *Router) leave(f *frame) bool {
	heir, err := r.now().stage(f.Route)
	if err != nil || heir.router.phase != during {
		return false
	}
	heir.adopt(f.entries)
	return true
}

// hasPast reports whether runs go on that began by another Per.
func (s *stage) hasPast() bool {
	s.past = slices.DeleteFunc(s.past, func(o *stage) bool { return o.running == 0 })
	return len(s.past) > 0
}

// adopt puts entries that waited elsewhere into the lanes of their paths, if
// the route is for them.
func (s *stage) adopt(entries []*entry) {
	slices.SortFunc(entries, func(x, y *entry) int { return cmp.Compare(x.seq, y.seq) })
	for _, e := range entries {
		if !s.keeps(e) {
			release(e.tickets, nil)
			continue
		}
		k := keyOf(e.event)
		l := s.lane(k)
		l.renew()
		if e.firm && l.batch.empty() {
			l.skipDelay()
		}
		l.attribute(nil)
		x := *e
		x.seq = 0
		l.batch.put(k, x)
	}
}

// keeps reports whether what waited elsewhere is still for the route. That it
// has CloseWrite says that it was, whatever the mask is.
func (s *stage) keeps(e *entry) bool {
	return e.firm || s.rules.wants(e.event) || e.event.Mask&inotify.CloseWrite != 0 && s.rules.isFor(e.event)
}

// sieve takes out what waits and the route does not want any more.
func (l *lane) sieve() {
	l.touch()
	unwanted := func(e *entry) bool { return !l.stage.keeps(e) }
	for _, k := range slices.Collect(maps.Keys(l.batch.entries)) {
		if e := l.batch.entries[k]; unwanted(e) {
			l.batch.drop(k)
			release(e.tickets, nil)
		}
	}
	l.aside = slices.DeleteFunc(l.aside, func(e *entry) bool {
		if unwanted(e) {
			release(e.tickets, nil)
		}
		return unwanted(e)
	})
}

// bringBack brings back what was put aside.
func (s *stage) bringBack(now time.Time) {
	for l := range s.all() {
		l.bringBack(now)
	}
}

func (s *stage) aboveNames() []string {
	var names []string
	for _, a := range s.above {
		names = append(names, a.route.Name)
	}
	slices.Sort(names)
	return names
}

// drop drops all that waits.
func (s *stage) drop() {
	s.releaseLeft()
	for l := range s.all() {
		l.wait()
		for _, e := range slices.Concat(l.aside, l.batch.take()) {
			release(e.tickets, ErrStopped)
		}
		l.aside = nil
	}
}

// of is the failures that count where stages have heirs, of which some come
// first.
func (f *failures) of(heirs map[*stage]*stage, above []*stage) failures {
	g := failures{errs: make(map[spot]failure), seq: f.seq}
	for at, x := range f.errs {
		if heir := heirs[at.stage]; slices.Contains(above, heir) {
			g.errs[spot{heir, at.key}] = x
		}
	}
	return g
}
