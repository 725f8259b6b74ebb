package main

import (
	"context"
	"net"
	"slices"
	"sync"
)

// A front is the sockets at which something is served. They may change while
// it is.
type front struct {
	serve func(context.Context, net.Listener) error

	mu     sync.Mutex // guards what follows
	doors  []*door    // that are open
	served []*door    // and those that are not, but at which somebody is
	ctx    context.Context
	fail   context.CancelCauseFunc // ends the run; nil before it
	wg     sync.WaitGroup          // of who serves
}

// A door is one of the sockets.
type door struct {
	net.Listener
	shut context.CancelFunc // ends what is served there; nil before the run
}

// sockets are those that are open, in their order.
func (f *front) sockets() (lns []net.Listener) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.doors {
		lns = append(lns, d.Listener)
	}
	return lns
}

// run serves at all sockets that there are and come, until ctx ends or one of
// them fails, and waits for all that is served.
func (f *front) run(ctx context.Context) error {
	f.begin(ctx)
	<-f.ctx.Done()
	f.mu.Lock()
	f.doors = nil
	f.mu.Unlock()
	f.wg.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return context.Cause(f.ctx)
}

func (f *front) begin(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ctx, f.fail = context.WithCancelCause(ctx)
	for _, d := range f.doors {
		f.open(d)
	}
}

// open serves at a door. f.mu is held.
func (f *front) open(d *door) {
	ctx, shut := context.WithCancel(f.ctx)
	d.shut = shut
	f.served = append(f.served, d)
	f.wg.Go(func() {
		defer f.leave(d)
		if err := f.serve(ctx, d.Listener); err != nil {
			f.fail(err)
		}
	})
}

// leave is for when nobody is at a door any more.
func (f *front) leave(d *door) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d.shut()
	f.served = slices.DeleteFunc(f.served, func(o *door) bool { return o == d })
}

// move serves at these sockets from now on. Who is connected at another stays
// so, but nobody else gets in there.
func (f *front) move(to []net.Listener) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var doors []*door
	for _, ln := range to {
		i := slices.IndexFunc(f.doors, func(d *door) bool { return d.Listener == ln })
		if i >= 0 {
			doors = append(doors, f.doors[i])
			continue
		}
		d := &door{Listener: ln}
		doors = append(doors, d)
		if f.fail != nil {
			f.open(d)
		}
	}
	for _, d := range f.doors {
		if !slices.Contains(doors, d) {
			d.Close()
		}
	}
	f.doors = doors
}

// close ends all that is served, also to those who came by a socket that was
// there before, without waiting, and leaves no socket.
func (f *front) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.served {
		d.shut()
	}
	for _, d := range f.doors {
		d.Close()
	}
	f.doors = nil
}
