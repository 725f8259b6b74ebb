package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/internal/runnable"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

// logWaiting logs that a route waits for a file that is being written.
func (d *daemon) logWaiting(route string, file inotify.Event) {
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
		if config.IsPageRoute(run.Route, config.ReloadRoute) || config.IsPageRoute(run.Route, config.NamesRoute) {
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
		log.Error(logging.RunFailed, about...)
	}
}

// logLost returns a function that logs that events below a root were lost.
func (d *daemon) logLost(root string) func() {
	return func() {
		d.metrics.Overflow()
		d.log.Warn(logging.Overflowed, "root", root)
	}
}

// logWatchProblem logs what cannot be watched.
func (d *daemon) logWatchProblem(err error) {
	message := "watch"
	if _, ok := errors.AsType[*inotify.LimitError](err); ok {
		message = logging.WatchLimit
	}
	d.log.Warn(message, "err", err)
}

// logEnd logs, of a run that is over, how much of its output was not logged and what it
// has left behind.
func (d *daemon) logEnd(r job.Run) {
	d.machines.Load().reportRun(r)
	d.logLeftOutput(r.Route, d.output.end(r.ID))
	if r.Ended.Count > 0 {
		d.log.Info(logging.EndedBehind, "route", r.Route, "processes", r.Ended)
	}
	if r.Left.Count > 0 {
		d.log.Info(logging.LeftRunning, "route", r.Route, "processes", r.Left)
	}
}

// notices are told of runnables.
func (d *daemon) notices() runnable.Notices {
	return runnable.Notices{
		Died:    d.serviceDied,
		Began:   func(route string) { d.sourcesOf(route).noteBuild() },
		Ended:   func(route string, err error) { d.sourcesOf(route).noteDeath(tookOf(err)) },
		Problem: d.logProblem,
	}
}

// logProblem logs what is wrong with what follows a run.
func (d *daemon) logProblem(route string, err error) { d.log.Warn(err.Error(), "route", route) }

// serviceDied logs that a service has ended by itself, and shows it on pages.
func (d *daemon) serviceDied(route string, err error) {
	log := d.log
	if took := tookOf(err); took > 0 {
		log = log.With("took", took.Round(time.Millisecond))
	}
	d.errors.set(route, "", err)
	d.last.noteDied(route)
	log.Error(logging.Died, "route", route, "err", err)
}

// tookOf returns how long the run took that an error is of; 0 if it is of none.
func tookOf(err error) time.Duration {
	if e, ok := errors.AsType[*job.Error](err); ok {
		return e.Run.Took
	}
	return 0
}

// logOptions returns the options of a configuration for the log.
func logOptions(cfg *config.Config) logging.Options {
	o := logging.SystemOptions()
	o.Level, o.Format = cfg.LogLevel, logging.Format(cfg.LogFormat)
	for _, r := range cfg.Routes {
		o.Routes = append(o.Routes, r.Name)
	}
	return o
}

// logNotes logs the notes on the patterns of a configuration that were not logged for the
// one before.
func (d *daemon) logNotes(cfg config.Config) {
	said := make(map[string]bool)
	for _, note := range cfg.Notes() {
		said[note.Text] = true
		switch {
		case d.notes[note.Text]:
		case note.Line > 0:
			d.log.Warn(note.Error())
		default:
			d.log.Warn(note.Text) // of a flag
		}
	}
	d.notes = said
}

// noteUnmatched logs which routes match no file that exists. Routes that old has with the
// same patterns are left out. It walks the roots, and returns early when ctx ends.
func (d *daemon) noteUnmatched(ctx context.Context, cfg *resolvedConfig, old []runnable.Route) {
	known := make(map[string]bool)
	patternsOf := func(c *config.Route) string {
		return fmt.Sprintf("%q %q %q %q %q", c.Name, c.Root, c.Patterns, c.Ignore, c.Hidden)
	}
	for _, f := range old {
		known[patternsOf(f.Route)] = true
	}

	fresh := make(map[string][]string) // by their root
	match := make(map[string][]string)
	for _, f := range cfg.resolved {
		// The patterns of a builder are for files that may be there, and start it again.
		if len(f.Patterns) > 0 && f.Service.Builds == nil && !known[patternsOf(f.Route)] {
			fresh[f.Root] = append(fresh[f.Root], f.Name)
			match[f.Name] = f.Patterns
		}
	}

	for _, root := range cfg.Roots() {
		for _, route := range runnable.Unmatched(ctx, d.pipeline.router, []string{root}, fresh[root]) {
			d.log.Info("no file matches yet", "route", route, "match", match[route])
		}
	}
}
