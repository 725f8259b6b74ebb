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
	// serve closes the socket when it returns, which it does when its context ends, or
	// when the socket was closed and the last connection has ended.
	serve func(context.Context, net.Listener) error

	mu   sync.Mutex     // guards what follows
	open []net.Listener // that take connections; the slice is not changed
	wg   sync.WaitGroup // of the goroutines that serve

	// Both are nil before run. A call of close ends serving, and the next sockets are
	// served in another context.
	running, serving context.Context
	fail             context.CancelCauseFunc // ends running
	stop             context.CancelFunc      // ends serving
}

// sockets are those that take connections, in their order.
func (s *listenerSet) sockets() []net.Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// run serves at all sockets that there are and come, until ctx ends or serving at one
// of them fails, and waits for all that is served.
func (s *listenerSet) run(ctx context.Context) error {
	s.mu.Lock()
	s.running, s.fail = context.WithCancelCause(ctx)
	s.serving, s.stop = context.WithCancel(s.running)
	for _, ln := range s.open {
		s.start(ln)
	}
	s.mu.Unlock()

	<-s.running.Done()
	s.mu.Lock()
	s.open = nil // and no other is started from here on
	s.mu.Unlock()
	s.wg.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return context.Cause(s.running)
}

// start serves at a socket. s.mu must be held.
func (s *listenerSet) start(ln net.Listener) {
	serving := s.serving
	s.wg.Go(func() {
		if err := s.serve(serving, ln); err != nil {
			s.fail(err)
		}
	})
}

// replace serves at these sockets from now on. The others are closed; connections
// that were made there go on. When run has ended, or is about to, these are closed.
func (s *listenerSet) replace(sockets []net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil && s.running.Err() != nil {
		closeExcept(sockets, nil)
		return
	}

	closeExcept(s.open, sockets)
	if s.running != nil {
		for _, ln := range sockets {
			if !slices.Contains(s.open, ln) {
				s.start(ln)
			}
		}
	}
	s.open = sockets
}

// closeExcept closes sockets that are not to be kept.
func closeExcept(sockets, kept []net.Listener) {
	for _, ln := range sockets {
		if !slices.Contains(kept, ln) {
			ln.Close()
		}
	}
}

// close closes all sockets and ends what is served, without waiting, also at sockets
// that were closed before.
func (s *listenerSet) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		s.stop()
		s.serving, s.stop = context.WithCancel(s.running)
	}
	closeExcept(s.open, nil)
	s.open = nil
}
