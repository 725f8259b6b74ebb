package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"sync/atomic"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/control"
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

// A runnable is what a route runs, for as long as the configuration has it: a
// command, a service, or nothing.
type runnable struct {
	callback    router.Callback // without what run adds
	stop        func()          // ends the service; does nothing for a command
	predecessor <-chan struct{} // closed when nothing is left of the runnable in whose place this is; nil if there is none

	ctx    context.Context // ends when the configuration does not have it any more
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when nothing of it is left

	contents  contents    // of files, for changed_only
	suspended atomic.Bool // it is a service that is stopped until a route before it succeeds
}

func newRunnable(callback router.Callback, stop func()) *runnable {
	ctx, cancel := context.WithCancelCause(context.Background())
	return &runnable{callback: callback, stop: stop, ctx: ctx, cancel: cancel, done: make(chan struct{})}
}

// makeRunnable makes what a route runs. It calls died when a service ends by itself,
// and report with what is wrong with a follow-up.
func makeRunnable(c *config.Route, runner *job.Runner, died, report func(error)) (*runnable, error) {
	nothing := func() {}
	f, err := makeFollowups(c, runner, report)
	if err != nil {
		return nil, err
	}

	switch {
	case !c.HasCommand():
		return newRunnable(f.after(succeed), nothing), nil
	case c.IsService:
		var r *runnable
		service := c.Service
		service.Died = func(err error) {
			r.contents.forget() // any save starts it again
			died(err)
			f.run(context.Background(), nil, err) // the runner ends it when it is closed
		}
		s, err := runner.Service(service)
		if err != nil {
			return nil, err
		}
		r = newRunnable(f.after(s.Run), s.Stop)
		return r, nil
	}
	j, err := runner.Command(c.Service.Command)
	if err != nil {
		return nil, err
	}
	return newRunnable(f.after(j.Run), nothing), nil
}

// succeed is the callback of a route without a command.
func succeed(context.Context, []inotify.Event) error { return nil }

// waitFor makes the runnable wait for the end of another one.
func (r *runnable) waitFor(other *runnable) { r.predecessor = other.done }

// run is the callback of the route.
func (r *runnable) run(ctx context.Context, batch []inotify.Event) error {
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

// end ends the run that there is, or the service. It waits for the service.
func (r *runnable) end() {
	r.cancel(errRouteChanged)
	r.stop()
	close(r.done)
}

// A resolvedRoute is a route of the configuration file with what it runs.
type resolvedRoute struct {
	*config.Route
	runnable *runnable
	kept     bool // the runnable is that of the configuration before
}

// resolveRoutes reports what a configuration names that does not exist, and returns
// what its routes run. It calls died at the end of a service, and report with what is
// wrong with a follow-up, both with the name of the route. There must be a runner if
// there are routes.
func resolveRoutes(cfg *config.Config, runner *job.Runner, died, report func(route string, err error)) ([]resolvedRoute, config.Mistakes) {
	r := cfg.NewReport()
	if at, ok := cfg.ControlPlace(); ok {
		if err := control.Check(cfg.Control); err != nil {
			r.Add(at, "control: %v", err)
		}
	}

	var routes []resolvedRoute
	for _, c := range cfg.Check(r) {
		runnable, err := makeRunnable(c, runner, func(err error) { died(c.Name, err) }, func(err error) { report(c.Name, err) })
		if err != nil {
			r.Add(commandPlace(c, err), "%v", err)
		}
		routes = append(routes, resolvedRoute{Route: c, runnable: runnable})
	}
	return routes, r.Mistakes()
}

// commandPlace returns the place in the file of the command that an error is about,
// or of the argument that is wrong.
func commandPlace(c *config.Route, err error) config.Place {
	if wrong, ok := errors.AsType[followupError](err); ok {
		return wrong.at
	}
	if len(c.Service.Argv) == 0 {
		return c.At("shell")
	}
	if wrong, ok := errors.AsType[*job.ArgumentError](err); ok {
		return c.At("run").Element(wrong.Index)
	}
	return c.At("run").Element(0)
}

// inherit takes over the runnable of the route that had the name before, if it is to go
// on. Otherwise the new runnable waits for the end of the old one.
func (r *resolvedRoute) inherit(old resolvedRoute) {
	if r.canInherit(old) {
		r.runnable, r.kept = old.runnable, true
	} else {
		r.runnable.waitFor(old.runnable)
	}
}

// canInherit reports whether a route runs the same as before. A service that is
// suspended begins anew if it may not have to be any more.
func (r *resolvedRoute) canInherit(old resolvedRoute) bool {
	resumes := old.runnable.suspended.Load() && (r.StopOnFailure != old.StopOnFailure || !slices.Equal(r.After, old.After))
	return !resumes && r.Per == old.Per && reflect.DeepEqual(runnableSpec(old.Route), runnableSpec(r.Route))
}

// runnableSpec returns what the runnable of a route depends on, for a comparison. It
// does not depend on when the route runs, nor on where the route is in the file.
func runnableSpec(c *config.Route) any {
	return []any{c.IsService, c.Service, c.Notify, c.OnSuccess, c.OnFailureRun}
}

// realName returns the path of the file of an event. If that is the root, it may be a
// link to the file.
func realName(e inotify.Event) string {
	if e.Path == "." {
		return config.Resolve(e.Root)
	}
	return e.Name()
}

// ownOutput returns a function that tells a route which files its commands are writing
// to: themselves, or through us if their output goes into a file with ours (execlogd
// run make >build.log).
func ownOutput(runner *job.Runner, route string) func([]inotify.Event) []bool {
	return func(events []inotify.Event) []bool {
		var files []string
		for _, e := range events {
			files = append(files, realName(e))
		}

		writing := runner.Writing(route, files...)
		for i, name := range files {
			writing[i] = writing[i] || isOwnOutput(name)
		}
		return writing
	}
}

// isOwnOutput reports whether a file is our standard output or standard error.
func isOwnOutput(name string) bool {
	file, err := os.Stat(name)
	if err != nil || !file.Mode().IsRegular() {
		return false
	}
	for _, own := range []*os.File{os.Stdout, os.Stderr} {
		if info, err := own.Stat(); err == nil && os.SameFile(file, info) {
			return true
		}
	}
	return false
}
