package router

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// A Submission is what Submit returns: it can be waited on.
type Submission struct {
	done chan struct{}

	mu   sync.Mutex
	refs int // places where something submitted is
	errs []error
}

// Submit hands over events that nobody watched, with everything that is said of
// Router.Events. The ticket waits for the frames that they end up in.
//
// An event need not be of a file: one without a Mask is wanted by every route
// whose patterns are for its Path, which may be anything then, and stays in
// its batch whatever happens to a file of that name.
func (r *Router) Submit(events ...inotify.Event) *Submission {
	t := newSubmission()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase == after {
		t.fail(ErrStopped)
	} else {
		now := time.Now()
		for _, s := range r.states {
			s.addAll(events, now, t, false)
		}
		r.update(now)
	}
	unrefAll([]*Submission{t}, nil)
	return t
}

// Trigger hands events to the route of that name alone, whatever it asks for,
// and spares them its Delay. It is for a first run, or one on demand. Without
// an event nothing runs: the root, ".", is one that stands for all.
func (r *Router) Trigger(route string, events ...inotify.Event) (*Submission, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.state(route)
	if err != nil {
		return nil, err
	}
	t := newSubmission()
	if r.phase == after {
		t.fail(ErrStopped)
	} else {
		for _, e := range events {
			s.addPinned(e, []*Submission{t}, nil)
		}
		r.update(time.Now())
	}
	unrefAll([]*Submission{t}, nil)
	return t, nil
}

// Offer hands events of files that were there before anybody watched to the
// route of that name alone, which gathers those that its patterns are for,
// whatever it asks for. A path that has something waiting stays as it is. The
// error is ErrStopped when the router was told to stop.
func (r *Router) Offer(route string, events ...inotify.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase == after {
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

// state is the route of a name at work.
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

// Wait returns when every event that was submitted has been in a frame that
// is over, and so has every frame of a route that followed one of those, and
// Post was told. Its error joins those of the frames; an event that no route
// wants, or whose file went away, is no error. If ctx ends earlier it is ctx's
// cause, and nothing else ends. A callback must not wait for its own route.
func (t *Submission) Wait(ctx context.Context) error {
	select {
	case <-t.done:
		t.mu.Lock()
		defer t.mu.Unlock()
		return errors.Join(t.errs...)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// newSubmission returns a ticket with one hold, which is Submit's.
func newSubmission() *Submission { return &Submission{done: make(chan struct{}), refs: 1} }

func (t *Submission) ref() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refs++
}

// another is the tickets of one more place that t is in; none for nil.
func (t *Submission) another() []*Submission {
	if t == nil {
		return nil
	}
	t.ref()
	return []*Submission{t}
}

// fail notes an error, once though many events end in it.
func (t *Submission) fail(err error) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil && (len(t.errs) == 0 || t.errs[len(t.errs)-1] != err) {
		t.errs = append(t.errs, err)
	}
}

func (t *Submission) unref(err error) {
	t.fail(err)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refs--; t.refs == 0 {
		close(t.done)
	}
}

// unrefAll gives up one place of each ticket.
func unrefAll(tickets []*Submission, err error) {
	for _, t := range tickets {
		t.unref(err)
	}
}
