package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

// sayWaiting logs that a route waits for a file that is being written.
func (d *daemon) sayWaiting(route string, file inotify.Event) {
	if line := d.waits.Line(file); line != "" {
		d.log.Info(line, "route", route, "file", file.Name())
	}
}

// logRun logs how a run ended.
func (d *daemon) logRun(run router.Run) {
	log := d.log.With("route", run.Route, "path", logging.PathsOf(run.Events), "took", run.Took.Round(time.Millisecond))

	switch run.Outcome {
	case router.Skipped:
		log.Debug("not run: the content is that of the last run")
	case router.Succeeded:
		if run.Route == config.ReloadRoute || run.Route == config.NamesRoute {
			log.Debug("pages told")
		} else {
			log.Info(logging.Done)
		}
	case router.Cancelled:
		log.Debug("not run", "err", run.Err)
	case router.Restarted:
		log.Info(run.Outcome.String())
	case router.Stopped:
		log.Info(run.Outcome.String(), "cause", run.Err.Error())
	default:
		about := []any{"err", run.Err}
		if panicked, ok := errors.AsType[*router.PanicError](run.Err); ok {
			about = append(about, "stack", string(panicked.Stack))
		}
		if run.Again {
			about = append(about, logging.AgainKey, run.Backoff)
		}
		log.Error("failed", about...)
	}
}

// everything is the path of an event that stands for all files of the site, as
// httpd.Server.Refresh has it.
const everything = "/"

// refresh is the callback of the reload route.
func (d *daemon) refresh(_ context.Context, batch []inotify.Event) error {
	var paths []string
	for _, e := range batch {
		switch {
		case e.Mask&inotify.IsDir == 0:
			paths = append(paths, e.Path)
		case e.From != "":
			paths = append(paths, e.Path+"/")
		default:
			// Files in a directory that was moved into the root have events of their own.
		}
	}
	d.log.Debug("changed", "paths", paths)
	d.server.Refresh(paths...)
	return nil
}

// recheck is the callback of the names route.
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

// watches returns what the status page shows of the watcher.
func (d *daemon) watches() []httpd.Watch {
	p := d.pipeline
	if p == nil {
		return nil
	}
	return []httpd.Watch{{Root: strings.Join(p.now().Roots(), ", "), Watched: p.group.Watches(), Unwatched: p.group.Unwatched()}}
}

// runs returns the last runs for the status page.
func (d *daemon) runs(runs, output int) []httpd.Run {
	var list []httpd.Run
	for _, r := range d.runner.Log().Recent(runs, output) {
		list = append(list, statusOfRun(r))
	}
	return list
}

// statusOfRun returns a run as the status page shows it.
func statusOfRun(r job.Run) httpd.Run {
	run := httpd.Run{
		ID: r.ID, Route: r.Route, Command: r.CommandLine(), Batch: r.Batch,
		Start: r.Start, Took: r.Took, State: httpd.RunStopped, Outcome: r.State(),
		Output: []byte(logging.StripControls(string(r.Output))), LeftBehind: logging.LeftBehind(r),
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

// noteRoot returns a function that logs that a root has gone or is there.
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
