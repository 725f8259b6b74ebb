package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/router"
)

// DefaultStartup is how long a service may take to be ready if it does not
// say.
const DefaultStartup = 30 * time.Second

var (
	errEarly = errors.New("ended before it was ready")
	errStop  = fmt.Errorf("stopped: %w", context.Canceled)
)

// errReplaced is the error of a service in whose place a new one was started.
var errReplaced = fmt.Errorf("stopped to be started again: %w", router.ErrRestarted)

// A lateError is of a service that was not ready in time.
type lateError string

func (e lateError) Error() string { return string(e) }

func (lateError) Is(target error) bool { return target == context.DeadlineExceeded }

// A Service is a Command that goes on running, such as a server that is being
// developed.
type Service struct {
	Command

	// Address is a TCP address, as in "127.0.0.1:8080"; the service is ready
	// when it takes connections there, of which one is made and closed.
	Address string

	// Notify says that the service sends READY=1 by sd_notify(3), to a
	// socket of its own, when it is ready. With neither Address nor Notify
	// it is ready when it has started; with both, when both say so.
	Notify bool

	// Startup is how long it may take to be ready before it is stopped; 0 is
	// DefaultStartup, negative is no limit.
	Startup time.Duration

	// Reload is a signal that a run sends to the program, and to nothing that it
	// has started, in place of ending it and starting it again; 0 is none. A
	// service that does not run is started.
	Reload syscall.Signal

	// Died is told when the service ends by itself after it was ready, with
	// an *[Error], whatever its exit status. A goroutine of the Runner calls
	// it, and Close waits for that. Nil is for those who need not know.
	Died func(error)
}

// A Server is a Service that can run. Its methods may be called by any
// goroutine at any time; they wait for each other, but that Stop ends a Run.
type Server struct {
	job     *Job
	service Service

	starting atomic.Pointer[context.CancelCauseFunc] // ends a Run; nil without one

	mu   sync.Mutex // held while it starts or stops
	life *life      // nil if it is not to run
}

// Service checks a service and returns it as a Server that does not run yet.
// A program that cannot be found is an error here, unless it is yet to be made.
func (r *Runner) Service(s Service) (*Server, error) {
	j, err := r.Command(s.Command)
	if err != nil {
		return nil, err
	}
	if len(s.Leave) > 0 {
		return nil, fmt.Errorf("route %q: leave is for commands that end: nothing of a service stays when it is started again", s.Name)
	}
	if s.Address != "" {
		if _, _, err := net.SplitHostPort(s.Address); err != nil {
			return nil, fmt.Errorf("route %q: address %q: want a host and a port, as in 127.0.0.1:8080: %w", s.Name, s.Address, err)
		}
	}
	s.Startup = cmp.Or(s.Startup, DefaultStartup)
	return &Server{job: j, service: s}, nil
}

// Run ends the service, if it runs, starts it and returns when it is ready. It
// is a failure if it ends before that or takes too long, or if ctx ends; then
// nothing of it is left. It is a router.Callback. The error is an *[Error].
func (s *Server) Run(ctx context.Context, batch []inotify.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	s.starting.Store(&end)
	defer s.starting.Store(nil)
	if s.service.Reload != 0 && s.life != nil && s.life.run.signal(s.service.Reload) {
		return nil
	}
	s.halt(errReplaced)
	req, e, err := s.job.begin(batch)
	if err != nil {
		return err
	}
	sign, err := s.sign(ctx)
	if err != nil {
		return s.job.runner.fail(e.serve(), err)
	}
	req.env = slices.Concat(req.env, sign.env())
	x, err := s.job.start(ctx, req, e.serve(), batch)
	if err != nil {
		sign.close()
		return err
	}
	s.life = s.live(ctx, x, sign)
	return s.life.begin(ctx, s.service)
}

// Stop ends the service, if it runs or starts, and returns when nothing of it is
// left.
func (s *Server) Stop() {
	if end := s.starting.Load(); end != nil {
		(*end)(errStop)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.halt(errStop)
}

// halt ends the life that there is. s.mu is held.
func (s *Server) halt(cause error) {
	if s.life == nil {
		return
	}
	s.life.end(cause)
	<-s.life.over.Done()
	s.life = nil
}

// A life is a service from a start to its end.
type life struct {
	run  *execution
	sign *sign
	end  context.CancelCauseFunc // ends it
	over context.Context         // ends when nothing of it is left
	err  error                   // of the run; for those who have seen over end
}

// live sees to it that the run ends when it is told to, and that its end is
// known.
func (s *Server) live(ctx context.Context, x *execution, sign *sign) *life {
	ctx, end := context.WithCancelCause(context.WithoutCancel(ctx))
	over, gone := context.WithCancel(context.WithoutCancel(ctx))
	l := &life{run: x, sign: sign, end: end, over: over}
	context.AfterFunc(ctx, x.stop)
	go func() {
		defer x.runner.leave(x)
		defer end(nil)
		l.err = x.finish(ctx)
		sign.close()
		died := x.entry.wasReady() && !x.stopping()
		gone()
		if died && s.service.Died != nil {
			s.service.Died(l.err)
		}
	}()
	return l
}

// begin returns when the service is ready, or over because it will not be.
func (l *life) begin(ctx context.Context, s Service) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if s.Startup > 0 {
		late := time.AfterFunc(s.Startup, func() { cancel(s.late()) })
		defer late.Stop()
	}
	stop := context.AfterFunc(l.over, func() { cancel(errEarly) })
	defer stop()
	if l.sign.await(ctx) == nil && l.run.entry.ready() {
		return nil
	}
	l.end(context.Cause(ctx))
	<-l.over.Done()
	return l.err
}

// late is why a service is stopped that does not get ready.
func (s Service) late() error {
	what := "it sent no READY=1"
	if s.Address != "" {
		what = "nothing listens on " + s.Address
	}
	if s.Address != "" && s.Notify {
		what = "it sent no READY=1, or " + what
	}
	return lateError(fmt.Sprintf("not ready after %v: %s", s.Startup, what))
}
