package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

// everything is the path of an event that stands for all files of the site,
// as httpd.Server.Refresh has it.
const everything = "/"

// errDropped is the error of a run whose route is another now, or none. For the
// router it is one of router.ErrRestarted, so that the new route gets the events of
// the run. Whoever looks at the run sees one that was stopped.
var errDropped error = droppedError{}

type droppedError struct{}

func (droppedError) Error() string { return "its route was changed" }

func (droppedError) Is(target error) bool {
	return target == router.ErrRestarted || target == context.Canceled
}

// A work is what a route does, as long as the configuration has it.
type work struct {
	do    router.Callback
	stop  func()          // ends a service
	ended <-chan struct{} // of the one before it
	own   context.Context // ends when it does
	drop  context.CancelCauseFunc
	over  chan struct{} // closed when nothing of it is left

	contents contents // of files, for changed_only

	down atomic.Bool // a service that is stopped until what it comes after succeeds
}

func newWork(do router.Callback, stop func()) *work {
	own, drop := context.WithCancelCause(context.Background())
	return &work{do: do, stop: stop, own: own, drop: drop, over: make(chan struct{})}
}

// follow makes the work wait for the end of another.
func (w *work) follow(other *work) { w.ended = other.over }

// run is the callback of the route.
func (w *work) run(ctx context.Context, batch []inotify.Event) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(w.own, func() { cancel(context.Cause(w.own)) })()
	if w.ended != nil {
		select {
		case <-w.ended:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	err := w.do(ctx, batch)
	if errors.Is(err, job.ErrTooLong) {
		err = fmt.Errorf("%w: they are %w", err, router.ErrKept) // by then the configuration may be another
	}
	if w.own.Err() == nil {
		return err
	}
	w.stop() // what has begun after all
	switch {
	case err == nil:
		return errDropped
	case errors.Is(err, errDropped):
		return err
	}
	return fmt.Errorf("%w: %w", errDropped, err)
}

// end ends the run or the service that goes on, and waits for the latter.
func (w *work) end() {
	w.drop(errDropped)
	w.stop()
	close(w.over)
}

// makeWork makes the work of a route, which has its program found. Died is told
// when a service does.
//
// Say is told what is wrong with what follows a run.
func makeWork(c *config.Route, runner *job.Runner, died func(error), say func(error)) (*work, error) {
	nothing := func() {}
	end, err := followingRuns(c, runner, say)
	if err != nil {
		return nil, err
	}
	switch {
	case !c.HasCommand():
		return newWork(end.after(idle), nothing), nil
	case c.IsService:
		var w *work
		service := c.Service
		service.Died = func(err error) {
			w.contents.forget() // any save starts it again
			died(err)
			end.follow(context.Background(), nil, err) // the end of the runner ends it
		}
		s, err := runner.Service(service)
		if err != nil {
			return nil, err
		}
		w = newWork(end.after(s.Run), s.Stop)
		return w, nil
	}
	j, err := runner.Command(c.Service.Command)
	if err != nil {
		return nil, err
	}
	return newWork(end.after(j.Run), nothing), nil
}

// idle is the callback of a route that only has its success noticed.
func idle(context.Context, []inotify.Event) error { return nil }

// realName is the file of an event. A root may be a link to it.
func realName(e inotify.Event) string {
	if e.Path == "." {
		return config.Resolve(e.Root)
	}
	return e.Name()
}

// ownOutput tells a route what its commands are writing, themselves or, where their
// output goes into a file with ours (execlogd run make >build.log), through us.
func ownOutput(runner *job.Runner, route string) func([]inotify.Event) []bool {
	return func(events []inotify.Event) []bool {
		var files []string
		for _, e := range events {
			files = append(files, realName(e))
		}
		writing := runner.Writing(route, files...)
		for i, name := range files {
			writing[i] = writing[i] || isOwnLog(name)
		}
		return writing
	}
}

// isOwnLog reports whether a file is our standard output or standard error.
func isOwnLog(name string) bool {
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
