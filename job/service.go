package job

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"regexp"
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

	// ReloadSignal is a signal that a run sends to the program, and to nothing
	// that it has started, in place of ending it and starting it again; 0 is
	// none. A service that is not running is started.
	ReloadSignal syscall.Signal

	// Builds, if not nil, says that the service builds something, and builds it again
	// by itself when a source changes. Its standard input is a pipe that stays empty
	// and open, as some programs end, or do not watch, when they can read to its end.
	Builds *Builds

	// Died is told when the service ends by itself after it was ready, with an *[Error],
	// whatever its exit status. A goroutine of the Runner calls it, and Close waits for
	// that. Nil is nobody.
	Died func(error)
}

// A Server is a Service that can run. Its methods may be called by any
// goroutine at any time. They wait for each other, but Stop ends a Run.
type Server struct {
	job     *Job
	service Service

	begins, succeeds, fails []*regexp.Regexp // of Builds

	starting atomic.Pointer[context.CancelCauseFunc] // ends the Run that there is; nil without one
	running  atomic.Bool

	mu      sync.Mutex // held while the service starts or stops
	current *instance  // nil if the service is not to run
}

// Service checks a service and returns it as a Server that is not running yet.
// A program that cannot be found is an error here, unless it is built later.
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
	server := &Server{job: j, service: s}
	if s.Builds != nil {
		err = server.compile(s.Builds.Lines)
	}
	return server, err
}

// Run ends the service, if it is running, starts it and returns when it is ready. It
// is a failure if it ends before that or takes too long, or if ctx ends; then
// nothing of it is left. It is a router.Callback. The error is an *[Error].
//
// With Builds, a batch of BuildEvent alone has Run wait for the end of the build that is
// under way, if the service runs. Then the error, as that of the build at the start, is
// that of the build, and the service goes on.
func (s *Server) Run(ctx context.Context, batch []inotify.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.starting.Store(&cancel)
	defer s.starting.Store(nil)

	isBuilding := s.service.Builds != nil && !slices.ContainsFunc(batch, func(e inotify.Event) bool { return !isBuildEvent(e) })
	if isBuilding && s.Running() {
		return s.current.execution.builds.await(ctx)
	}
	if s.service.ReloadSignal != 0 && s.current != nil && s.current.execution.signal(s.service.ReloadSignal) {
		return nil
	}
	s.end(errReplaced)

	req, e, err := s.job.prepare(batch)
	if err != nil {
		return s.ended(err)
	}
	probe, err := newReadinessProbe(ctx, s.service)
	if err != nil {
		return s.ended(s.job.runner.fail(e, err))
	}
	if s.service.Notify {
		req.Env = append(req.Env, "NOTIFY_SOCKET="+probe.socket())
	}

	x := s.job.newExecution(e)
	if s.service.Builds != nil {
		x.builds = s.newBuilds(e)
	}
	if err := s.job.start(ctx, x, req, batch); err != nil {
		x.builds.endProgram(err)
		probe.close()
		return s.ended(err)
	}

	s.current = s.newInstance(ctx, x, probe)
	if x.builds != nil {
		return s.current.awaitBuild(ctx)
	}
	return s.current.awaitReady(ctx, s.service)
}

// ended tells Builds.Ended of an error that is not that of a stop, and returns it.
func (s *Server) ended(err error) error {
	if b := s.service.Builds; b != nil && b.Ended != nil && router.OutcomeOf(err) == router.Failed {
		b.Ended(err)
	}
	return err
}

// Running reports whether the program of the service runs.
func (s *Server) Running() bool { return s.running.Load() }

// Stop ends the service, if it is running or starting, and returns when nothing of it
// is left.
func (s *Server) Stop() {
	if cancel := s.starting.Load(); cancel != nil {
		(*cancel)(errStop)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(errStop)
}

// end ends the current instance and waits for that. s.mu must be held.
func (s *Server) end(cause error) {
	if s.current != nil {
		s.current.cancel(cause)
		<-s.current.over.Done()
		s.current = nil
	}
}

// An instance is a service from a start to its end.
type instance struct {
	execution *execution
	probe     *readinessProbe
	cancel    context.CancelCauseFunc // ends it
	over      context.Context         // ends when nothing of it is left
	err       error                   // of the run; it may be read when over has ended
}

// newInstance has a service go on that was started, until it is cancelled or ends by
// itself. It outlives ctx.
func (s *Server) newInstance(ctx context.Context, x *execution, probe *readinessProbe) *instance {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	over, setOver := context.WithCancel(context.WithoutCancel(ctx))
	i := &instance{execution: x, probe: probe, cancel: cancel, over: over}
	context.AfterFunc(ctx, func() { x.stop(false) })

	judge := (*Run).endService
	if x.builds != nil {
		judge = (*Run).endBuilder
	}
	s.running.Store(true)
	go func() {
		defer x.runner.remove(x)
		defer cancel(nil)
		i.err = x.finish(ctx, judge)
		probe.close()
		x.builds.endProgram(i.err)
		died := x.entry.now().Ready && !x.wasStopped()
		s.running.Store(false)
		setOver()
		if died && s.service.Died != nil {
			s.service.Died(i.err)
		}
		if !x.wasStopped() {
			_ = s.ended(i.err)
		}
	}()
	return i
}

// awaitBuild returns when the first build of the service is over.
func (i *instance) awaitBuild(ctx context.Context) error {
	err := i.execution.builds.await(ctx)
	if ctx.Err() != nil {
		i.cancel(context.Cause(ctx))
		<-i.over.Done()
		return i.err
	}
	return err
}

// awaitReady returns when the service is ready, or over because it will not be.
func (i *instance) awaitReady(ctx context.Context, s Service) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if s.Startup > 0 {
		late := time.AfterFunc(s.Startup, func() { cancel(s.startupError()) })
		defer late.Stop()
	}
	stop := context.AfterFunc(i.over, func() { cancel(errEarly) })
	defer stop()

	if i.probe.await(ctx) == nil {
		run := i.execution.entry.update(func(r *Run) { r.Ready = r.Outcome == router.Running })
		if run.Ready {
			return nil
		}
	}
	i.cancel(context.Cause(ctx))
	<-i.over.Done()
	return i.err
}

// startupError says why a service is stopped that is not ready in time.
func (s Service) startupError() error {
	missing := "it sent no READY=1"
	if s.Address != "" {
		missing = "nothing listens on " + s.Address
	}
	if s.Address != "" && s.Notify {
		missing = "it sent no READY=1, or " + missing
	}
	return endError{fmt.Errorf("not ready after %v: %s", s.Startup, missing), context.DeadlineExceeded}
}
