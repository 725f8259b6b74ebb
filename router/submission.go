package router

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// A Submission is events that were submitted together. It can be waited for.
type Submission struct {
	done chan struct{} // closed when refs is 0

	mu   sync.Mutex
	refs int // one for each entry with one of the events, and Submit's own
	errs []error
}

// Submit hands over events that nobody watched. Everything that is said of Router.Events
// holds for them, except that they are never taken for a loop.
//
// An event need not be of a file: one without a Mask is wanted by every route whose
// patterns are for its Path, which may be anything then, and stays in its batch whatever
// happens to a file of that name.
func (r *Router) Submit(events ...inotify.Event) *Submission {
	by := newSubmission()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase == stopped {
		by.unref(ErrStopped)
		return by
	}

	now := time.Now()
	for _, s := range r.states {
		s.addAll(events, now, []*Submission{by}, false)
	}
	r.update(now)
	by.unref(nil)
	return by
}

// Trigger hands events to the route of that name alone, whatever it asks for, and without
// a Delay. It is for a first run, or one on demand. Without an event nothing runs: the
// root, ".", is one that stands for all.
func (r *Router) Trigger(route string, events ...inotify.Event) (*Submission, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.state(route)
	if err != nil {
		return nil, err
	}

	by := newSubmission()
	if r.phase == stopped {
		by.unref(ErrStopped)
		return by, nil
	}

	for _, e := range events {
		s.addPinned(e, false, []*Submission{by}, nil)
	}
	r.update(time.Now())
	by.unref(nil)
	return by, nil
}

// Hold has the routes that come after a route wait, as while it runs, until release is
// called, which must be done once. It is for what is known to lead to a run soon.
func (r *Router) Hold(route string) (release func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.state(route)
	if err != nil {
		return nil, err
	}

	add := func(n int) {
		s.busy += n
		r.dirty = true
		r.update(time.Now())
	}
	add(1)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		add(-1)
	}, nil
}

// Waits reports whether a route is to wait because one that comes first has something
// waiting or running, or is held. It does not for a route that is not there.
func (r *Router) Waits(route string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.byName[route]
	return s != nil && s.blocked
}

// Offer hands events of files that were there before anybody watched to the route of that
// name alone. The route gathers those that its patterns are for, whatever Mask says. A path
// that is in a batch already stays as it is. The error is ErrStopped when the router was
// told to stop.
func (r *Router) Offer(route string, events ...inotify.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase == stopped {
		return ErrStopped
	}
	s, err := r.state(route)
	if err != nil {
		return err
	}

	for _, e := range events {
		s.addExisting(e)
	}
	r.update(time.Now())
	return nil
}

// state returns the state of the route of a name. r.mu must be held.
func (r *Router) state(name string) (*routeState, error) {
	s := r.byName[name]
	if s == nil {
		return nil, noRoute(name, r.routes.Load())
	}
	return s, nil
}

func noRoute(name string, set *routeSet) error {
	return fmt.Errorf("no route %q: there is %s", name, quoted(names(set.all), ", "))
}

// Wait returns when every event that was submitted has been in a run that is over, and so
// has every run of a route that followed one of those, and Post was told. The error joins
// those of the runs; an event that no route wants, or whose file went away, is no error.
// If ctx ends earlier the error is its cause, and nothing else ends. A callback must not
// wait for its own route.
func (by *Submission) Wait(ctx context.Context) error {
	select {
	case <-by.done:
		by.mu.Lock()
		defer by.mu.Unlock()
		return errors.Join(by.errs...)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// newSubmission returns a Submission with one reference, which is the caller's.
func newSubmission() *Submission { return &Submission{done: make(chan struct{}), refs: 1} }

// unref gives up a reference and notes an error. The same error of many events counts once.
func (by *Submission) unref(err error) {
	by.mu.Lock()
	defer by.mu.Unlock()
	if err != nil && (len(by.errs) == 0 || by.errs[len(by.errs)-1] != err) {
		by.errs = append(by.errs, err)
	}
	by.refs--
	if by.refs == 0 {
		close(by.done)
	}
}

// refAll takes references for an entry.
func refAll(submissions []*Submission) []*Submission {
	for _, by := range submissions {
		by.mu.Lock()
		by.refs++
		by.mu.Unlock()
	}
	return slices.Clone(submissions)
}

// unrefAll gives up the references of an entry.
func unrefAll(submissions []*Submission, err error) {
	for _, by := range submissions {
		by.unref(err)
	}
}
