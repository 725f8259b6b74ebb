package daemon

import (
	"context"
	"net"
	"slices"
	"sync"
)

// A listenerSet is the sockets at which something is served. They may be replaced
// while it is.
type listenerSet struct {
	serve func(context.Context, net.Listener) error

	mu     sync.Mutex  // guards what follows
	open   []*listener // that take connections
	served []*listener // those, and closed ones that still have connections
	ctx    context.Context
	fail   context.CancelCauseFunc // ends the run; nil before it
	wg     sync.WaitGroup          // of the goroutines that serve
}

// A listener is a socket of a listenerSet.
type listener struct {
	net.Listener
	stop context.CancelFunc // ends what is served there; nil before the run
}

// sockets are those that take connections, in their order.
func (s *listenerSet) sockets() (lns []net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.open {
		lns = append(lns, l.Listener)
	}
	return lns
}

// run serves at all sockets that there are and come, until ctx ends or serving at one
// of them fails, and waits for all that is served.
func (s *listenerSet) run(ctx context.Context) error {
	s.mu.Lock()
	s.ctx, s.fail = context.WithCancelCause(ctx)
	for _, l := range s.open {
		s.start(l)
	}
	s.mu.Unlock()

	<-s.ctx.Done()
	s.mu.Lock()
	s.open = nil
	s.mu.Unlock()
	s.wg.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return context.Cause(s.ctx)
}

// start serves at a socket. s.mu must be held.
func (s *listenerSet) start(l *listener) {
	ctx, stop := context.WithCancel(s.ctx)
	l.stop = stop
	s.served = append(s.served, l)
	s.wg.Go(func() {
		if err := s.serve(ctx, l.Listener); err != nil {
			s.fail(err)
		}
		stop()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.served = slices.DeleteFunc(s.served, func(other *listener) bool { return other == l })
	})
}

// replace serves at these sockets from now on. The others are closed; connections
// that were made there go on.
func (s *listenerSet) replace(sockets []net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var next []*listener
	for _, socket := range sockets {
		i := slices.IndexFunc(s.open, func(l *listener) bool { return l.Listener == socket })
		if i >= 0 {
			next = append(next, s.open[i])
			continue
		}
		l := &listener{Listener: socket}
		next = append(next, l)
		if s.fail != nil {
			s.start(l)
		}
	}
	for _, l := range s.open {
		if !slices.Contains(next, l) {
			l.Close()
		}
	}
	s.open = next
}

// close closes all sockets and ends what is served, without waiting, also at sockets
// that were closed before.
func (s *listenerSet) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.served {
		l.stop()
	}
	for _, l := range s.open {
		l.Close()
	}
	s.open = nil
}
