package runnable

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

// errRouteChanged is the error of a run whose route is another now, or none. For the
// router it is a router.ErrRestarted, so that a route of the same name gets the
// events of the run. Whoever looks at the run sees one that was stopped.
var errRouteChanged error = routeChangedError{}

type routeChangedError struct{}

func (routeChangedError) Error() string { return "its route was changed" }

func (routeChangedError) Is(target error) bool {
	return target == router.ErrRestarted || target == context.Canceled
}

// A Runnable is what a route runs, for as long as the configuration has it: a
// command, a service, or nothing.
type Runnable struct {
	// Suspended says that it is a service that is stopped until a route before it
	// succeeds.
	Suspended atomic.Bool

	callback    router.Callback // without what run adds
	stop        func()          // ends the service; does nothing for a command
	running     func() bool     // nil for a command
	predecessor <-chan struct{} // closed when nothing is left of the runnable in whose place this is; nil if there is none

	ctx    context.Context // ends when the configuration does not have it any more
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when nothing of it is left

	contents contents // of files, for changed_only
}

func newRunnable(callback router.Callback, stop func()) *Runnable {
	ctx, cancel := context.WithCancelCause(context.Background())
	return &Runnable{callback: callback, stop: stop, ctx: ctx, cancel: cancel, done: make(chan struct{})}
}

// Notices are told what happens to runnables, by the names of their routes. Those that
// are nil are told nothing.
type Notices struct {
	Died    func(route string, err error) // a service has ended by itself
	Began   func(route string)            // a builder has begun to build by itself
	Ended   func(route string, err error) // a builder has ended by itself, or could not be started
	Problem func(route string, err error) // there is something wrong with a follow-up
}

// New makes what a route runs. The error is a *commandError.
func New(c *config.Route, runner *job.Runner, tell Notices) (*Runnable, error) {
	f, err := makeFollowups(c, runner, func(err error) { tell.Problem(c.Name, err) })
	if err != nil {
		return nil, err
	}

	succeed := func(context.Context, []inotify.Event) error { return nil }
	r := newRunnable(succeed, func() {})
	switch {
	case !c.HasCommand():
	case c.IsService:
		service := c.Service
		service.Died = func(err error) {
			r.contents.forget() // any save starts it again
			tell.Died(c.Name, err)
			f.run(context.Background(), nil, err) // the runner ends it when it is closed
		}
		if c.Service.Builds != nil {
			builds := *c.Service.Builds
			builds.Began = func() { tell.Began(c.Name) }
			builds.Ended = func(err error) { tell.Ended(c.Name, err) }
			service.Builds = &builds
		}
		var s *job.Server
		if s, err = runner.Service(withModules(c, service)); err == nil {
			r.callback, r.stop, r.running = s.Run, s.Stop, s.Running
		}
	default:
		var j *job.Job
		if j, err = runner.Command(withModules(c, c.Service).Command); err == nil {
			r.callback = j.Run
		}
	}
	if err != nil {
		key := "run"
		if c.Service.Shell != "" {
			key = "shell"
		}
		return nil, newCommandError(err, c.At(key), c.Service.Command)
	}

	r.callback = f.after(r.callback)
	return r, nil
}

// A commandError says what is wrong with a command, and where in the configuration.
type commandError struct {
	error
	at config.KeyPath
}

func (e *commandError) Unwrap() error { return e.error }

// newCommandError returns an error of the command that a key is for: of the argument
// that is wrong, if it has arguments.
func newCommandError(err error, at config.KeyPath, c job.Command) *commandError {
	if len(c.Argv) > 0 {
		index := 0
		if wrong, ok := errors.AsType[*job.ArgumentError](err); ok {
			index = wrong.Index
		}
		at = at.Element(index)
	}
	return &commandError{err, at}
}

// Run is the callback of the route.
func (r *Runnable) Run(ctx context.Context, batch []inotify.Event) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.ctx, func() { cancel(context.Cause(r.ctx)) })()

	if r.predecessor != nil {
		select {
		case <-r.predecessor:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	err := r.callback(ctx, batch)
	if errors.Is(err, job.ErrTooLong) {
		// The next run may be for fewer files, or by another configuration.
		err = fmt.Errorf("%w: they are %w", err, router.ErrKept)
	}
	if r.ctx.Err() == nil {
		return err
	}

	// The configuration has changed meanwhile: another runnable gets the events.
	r.stop() // a service may have started after all
	switch {
	case err == nil:
		return errRouteChanged
	case errors.Is(err, errRouteChanged):
		return err
	}
	return fmt.Errorf("%w: %w", errRouteChanged, err)
}

// Running reports whether it is a service whose program runs.
func (r *Runnable) Running() bool { return r.running != nil && r.running() }

// withModules returns a service with the programs of the project's node_modules before
// those of PATH, if the route is a builder, and after them those of the directories that the
// project is in: npm installs there what several packages of a repository use. A
// directory of another user is none of these.
func withModules(c *config.Route, s job.Service) job.Service {
	if !c.IsBuilder {
		return s
	}
	path := os.Getenv("PATH")
	for _, v := range s.Env {
		if own, ok := strings.CutPrefix(v, "PATH="); ok {
			path = own
		}
	}
	dirs := []string{filepath.Join(s.Dir, "node_modules/.bin")}
	for dir := s.Dir; dir != filepath.Dir(dir); {
		dir = filepath.Dir(dir)
		modules := filepath.Join(dir, "node_modules")
		if bin := filepath.Join(modules, ".bin"); isOfSameUser(s.Dir, modules) && isOfSameUser(s.Dir, bin) {
			dirs = append(dirs, bin)
		}
	}
	s.Env = append(slices.Clone(s.Env), "PATH="+strings.Join(append(dirs, path), ":"))
	return s
}

// isOfSameUser reports whether two files exist and belong to the same user. A link is a
// file of its own.
func isOfSameUser(a, b string) bool {
	infoA, errA := os.Lstat(a)
	infoB, errB := os.Lstat(b)
	return errA == nil && errB == nil && infoA.Sys().(*syscall.Stat_t).Uid == infoB.Sys().(*syscall.Stat_t).Uid
}

// Stop stops the service, if it is one. The next run starts it again.
func (r *Runnable) Stop() { r.stop() }

// End ends the run that there is, or the service. It waits for the service.
func (r *Runnable) End() {
	r.cancel(errRouteChanged)
	r.stop()
	close(r.done)
}

// realPath returns the path of the file of an event. If that is the root, it may be a
// link to the file.
func realPath(e inotify.Event) string {
	if e.Path == "." {
		return config.Resolve(e.Root)
	}
	return e.Name()
}

// OwnOutput returns a function that tells a route which files its commands are writing
// to: themselves, or through us if their output goes into a file with ours (execlogd
// run make >build.log).
func OwnOutput(runner *job.Runner, route string) func([]inotify.Event) []bool {
	return func(events []inotify.Event) []bool {
		var files []string
		for _, e := range events {
			files = append(files, realPath(e))
		}

		writing := runner.Writing(route, files...)
		for i, name := range files {
			file, _ := os.Stat(name) // SameFile takes nil for another file
			for _, own := range []*os.File{os.Stdout, os.Stderr} {
				if ours, err := own.Stat(); err == nil && ours.Mode().IsRegular() && os.SameFile(file, ours) {
					writing[i] = true
				}
			}
		}
		return writing
	}
}

// ExitStatus is the exit status of the command that an error is of, or as a shell
// makes one of a signal; 1 if it did not start.
func ExitStatus(err error) int {
	e, ok := errors.AsType[*job.Error](err)
	switch {
	case ok && e.Run.Signal != 0:
		return 128 + int(e.Run.Signal)
	case ok && e.Run.Exit > 0:
		return e.Run.Exit
	}
	return 1
}
