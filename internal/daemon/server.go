package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

// openServer makes the server and opens its sockets. Where only a reload may bring
// something to serve, it makes one without sockets.
func (d *daemon) openServer(cfg config.Config) (err error) {
	store, others := newDescriptorStore()
	d.store = store
	passed, err := sortSockets(others)
	if err != nil {
		return fmt.Errorf("socket from systemd: %w", err)
	}
	d.activated = passed.http
	d.statusPage.replace(passed.status)
	if cfg.Serve {
		if err := cfg.CheckRoot("name another with -root"); err != nil {
			return err
		}
	}
	if d.server, err = httpd.New(d.serverOptions(cfg)); err != nil {
		return explainServer(err)
	}

	sockets, err := d.webSockets(cfg)
	if err != nil {
		return err
	}
	d.web.serve = func(ctx context.Context, ln net.Listener) error {
		counted, end := d.accepts.count(ln)
		defer end()
		return d.server.Serve(ctx, counted)
	}
	d.statusPage.serve = d.server.ServeStatus
	d.web.replace(sockets)
	d.storeSockets()
	return nil
}

// warnOfNoRoot logs once that a route has succeeded that may make the root of the pages,
// and that there is none.
func (d *daemon) warnOfNoRoot(root, route string) {
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		d.noRoot.Do(func() {
			d.log.Warn("root is still not there: does the route write to another directory?", "root", root, "route", route)
		})
	}
}

// explainServer returns the error for options that the server has refused, or nil.
func explainServer(err error) error {
	if _, noRoot := errors.AsType[*fs.PathError](err); noRoot || err == nil {
		return err
	}
	return config.UsageError{Err: err} // an -allow flag
}

// serverOptions returns the options of a configuration for the server, with what the
// status page shows of the daemon.
func (d *daemon) serverOptions(cfg config.Config) httpd.Options {
	o := httpd.Options{Logger: d.log, NoLiveReload: true, Watches: d.watches}
	if cfg.Serve {
		o = cfg.HTTP(d.log, d.watches)
	}
	o.Token, o.Rebuilding = d.token, d.isRebuilding
	if d.runner != nil {
		o.Runs, o.RunsChanged = d.runs, d.runner.Log().Changed
	}
	return o
}

// isRebuilding reports whether pages are to wait for routes.
func (d *daemon) isRebuilding() bool {
	return d.pipeline != nil && d.pipeline.router.Waits(config.ReloadRoute)
}

// everything is the path of an event that stands for all files of the site, as
// httpd.Server.Refresh has it.
const everything = "/"

// refresh is the callback of the reload route.
func (d *daemon) refresh(_ context.Context, batch []inotify.Event) error {
	d.last.noteChange(batch)
	var paths []string
	for _, e := range batch {
		// Files in a directory that was moved into the root have events of their own.
		if e.Mask&inotify.IsDir == 0 || e.From != "" {
			paths = append(paths, sitePath(e))
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
		paths = append(paths, sitePath(e))
	}
	d.log.Debug("names changed", "paths", paths)
	d.server.Recheck(paths...)
	return nil
}

// sitePath returns the path of an event as httpd.Server.Refresh has it.
func sitePath(e inotify.Event) string {
	if e.Mask&inotify.IsDir != 0 {
		return e.Path + "/"
	}
	return e.Path
}

// watches returns what the status page shows of the watcher.
func (d *daemon) watches() []httpd.Watch {
	p := d.pipeline
	if p == nil {
		return nil
	}
	return []httpd.Watch{{Root: strings.Join(d.active.Load().Roots(), ", "), Watched: p.group.Watches(), Unwatched: p.group.Unwatched()}}
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
		Output: r.Output, LeftBehind: logging.LeftBehind(r),
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
		run.Problem, run.Place = r.Problem.Message, r.Problem.Place(r.Dir)
	}

	for _, e := range r.Events {
		if e.Path == "." {
			e.Path = e.Root // all of it, as at the start
		}
		run.Paths = append(run.Paths, e.Path)
	}
	return run
}
