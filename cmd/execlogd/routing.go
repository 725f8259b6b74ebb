package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

// A routing is the routes of a configuration at work, with the watcher that
// brings their events.
type routing struct {
	d      *daemon
	cfg    config.Config
	found  []finding
	begun  chan struct{} // closed when it has taken over
	alone  chan struct{} // closed when nothing is left of the one before
	router *router.Router
	group  *router.Group
}

// route watches for the routes of a configuration, and has those due that are
// to run at the start. Those of old go on if they are the same.
func (d *daemon) route(cfg config.Config, found []finding, old *routing) (*routing, error) {
	r := &routing{d: d, cfg: cfg, found: found, begun: make(chan struct{}), alone: make(chan struct{})}
	opts := router.Options{Concurrency: cfg.Jobs, Waiting: d.sayWaiting, Post: func(f router.Frame) { d.shift.of(r).post(f) }}
	if old != nil {
		opts.Succeeds = old.router
	} else {
		close(r.alone)
	}
	var routes []router.Route
	for _, f := range found {
		route := f.Router(r.callback(f))
		route.OwnOutput = ownOutput(d.runner, route.Name)
		if f.OnFailure == "cancel" && cfg.MayRetry(f.After) {
			// The success may come without a further change, after a back-off.
			route.OnFailure = router.Keep
		}
		routes = append(routes, route)
	}
	if cfg.Reloads() {
		routes = append(routes, cfg.PageRoutes(d.refresh, d.recheck, d.server.Concerns)...)
	}
	var err error
	if r.router, err = router.New(opts, routes...); err != nil {
		return nil, config.UsageError{Err: err}
	}
	var listeners []router.Listener
	for _, root := range cfg.Roots() {
		wait := cfg.WaitsFor(root)
		if _, err := os.Stat(root); wait && err != nil {
			d.log.Warn("root is not there yet; waiting for it", "root", root)
		}
		listeners = append(listeners, router.Listener{Root: root, Router: r.router, Wait: wait, Notice: d.noteRoot(root)})
	}
	watching := inotify.Options{Problem: func(err error) { d.log.Warn("watch", "err", err) }}
	if old != nil {
		r.group, err = old.group.Successor(watching, listeners...)
	} else {
		r.group, err = router.NewGroup(watching, listeners...)
	}
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		if f.Start && !f.kept {
			if _, err := r.router.Trigger(f.Name, inotify.Event{Root: f.Root, Path: "."}); err != nil {
				return nil, errors.Join(err, r.group.Close())
			}
		}
	}
	return r, nil
}

// post is told of each run that is over, and comes before what waits for it.
func (r *routing) post(f router.Frame) {
	d := r.d
	f.Err = adviseOnLoop(f.Err, "name it in outputs or ignore")
	if r.isList(f) {
		d.log.Debug("files listed", "route", f.Route, "took", f.Took, "err", f.Err)
		return
	}
	for _, route := range r.found {
		if route.Name == f.Route {
			f = route.work.contents.told(f)
		}
	}
	d.logRun(f)
	r.upAndDown(f)
	for _, c := range r.cfg.Routes {
		if c.Name != f.Route {
			continue
		}
		d.faults.note(f, c.PerFile())
		if c.Reload && f.Outcome == router.Succeeded && r.cfg.Reloads() {
			// The route is there, and takes it after those that it waits for.
			_, _ = r.router.Trigger(config.ReloadRoute, inotify.Event{Root: r.cfg.Root, Path: everything})
		}
	}
}

// A loopError is a loop with what its user can do about it.
type loopError struct {
	*router.LoopError
	advice string
}

func (e *loopError) Error() string { return e.Reason() + ": " + e.advice }

func (e *loopError) Unwrap() error { return e.LoopError }

// adviseOnLoop is an error with the advice, if it is of a loop.
func adviseOnLoop(err error, advice string) error {
	if loop, ok := err.(*router.LoopError); ok {
		return &loopError{loop, advice}
	}
	return err
}

// sayWaiting logs that a route waits for a file that is being written.
func (d *daemon) sayWaiting(route string, file inotify.Event) {
	if line := d.waits.line(file); line != "" {
		d.log.Info(line, "route", route, "file", file.Name())
	}
}

// logRun says what came of a run.
func (d *daemon) logRun(f router.Frame) {
	log := d.log.With("route", f.Route, "path", pathsOf(f.Events), "took", f.Took.Round(time.Millisecond))

	switch f.Outcome {
	case router.Skipped:
		log.Debug("not run: the content is that of the last run")
	case router.Succeeded:
		if f.Route == config.ReloadRoute || f.Route == config.NamesRoute {
			log.Debug("pages told")
		} else {
			log.Info(logging.Done)
		}
	case router.Cancelled:
		log.Debug("not run", "err", f.Err)
	case router.Restarted:
		log.Info(f.Outcome.String())
	case router.Stopped:
		log.Info(f.Outcome.String(), "cause", f.Err.Error())
	default:
		about := []any{"err", f.Err}
		if panicked, ok := errors.AsType[*router.PanicError](f.Err); ok {
			about = append(about, "stack", string(panicked.Stack))
		}
		if f.Again {
			about = append(about, logging.AgainKey, f.Backoff)
		}
		log.Error("failed", about...)
	}
}

// refresh is the reload route's callback.
func (d *daemon) refresh(_ context.Context, batch []inotify.Event) error {
	var paths []string
	for _, e := range batch {
		switch {
		case e.Mask&inotify.IsDir == 0:
			paths = append(paths, e.Path)
		case e.From != "":
			paths = append(paths, e.Path+"/")
		default:
			// What is in a directory that came from outside comes singly.
		}
	}
	d.log.Debug("changed", "paths", paths)
	d.server.Refresh(paths...)
	return nil
}

// recheck is the names route's callback.
func (d *daemon) recheck(_ context.Context, batch []inotify.Event) error {
	var paths []string
	for _, e := range batch {
		path := e.Path
		if e.Mask&inotify.IsDir != 0 {
			path += "/"
		}
		paths = append(paths, path)
	}
	d.log.Debug("names changed", "paths", paths)
	d.server.Recheck(paths...)
	return nil
}

// watches is for the status page, which is there when the group is.
func (d *daemon) watches() []httpd.Watch {
	r := d.shift.now()
	if r == nil {
		return nil
	}
	g := r.group
	return []httpd.Watch{{Root: strings.Join(r.cfg.Roots(), ", "), Watched: g.Watches(), Unwatched: g.Unwatched()}}
}

// runs are the last runs for the status page.
func (d *daemon) runs(runs, output int) []httpd.Run {
	var list []httpd.Run
	for _, r := range d.runner.Log().Recent(runs, output) {
		list = append(list, statusOfRun(r))
	}
	return list
}

// statusOfRun is a run as the status page shows it.
func statusOfRun(r job.Run) httpd.Run {
	run := httpd.Run{
		ID: r.ID, Route: r.Route, Command: r.CommandLine(), Batch: r.Batch,
		Start: r.Start, Took: r.Took, State: httpd.RunStopped, Outcome: r.State(),
		Output: []byte(logging.StripControls(string(r.Output))), LeftBehind: describeLeftBehind(r),
	}
	switch r.Outcome {
	case router.Running:
		run.State = httpd.RunRunning
	case router.Succeeded:
		run.State, run.Outcome = httpd.RunDone, "done"
	case router.Failed:
		run.State, run.Outcome = httpd.RunFailed, r.Err.Error()
		if r.Died() {
			run.Outcome = "died: " + run.Outcome
		}
	}

	for _, e := range r.Events {
		if e.Path == "." {
			e.Path = e.Root // all of it, as at the start
		}
		run.Paths = append(run.Paths, e.Path)
	}
	return run
}

// noteRoot logs what becomes of a root.
func (d *daemon) noteRoot(root string) func(there bool) {
	was := false
	return func(there bool) {
		switch {
		case !there:
			d.log.Warn("root is gone; waiting for it to come back", "root", root)
		case was:
			d.log.Info("root is there again", "root", root)
		default:
			d.log.Info("root is there", "root", root)
		}
		was = was || !there
	}
}
