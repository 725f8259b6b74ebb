package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

// openServer makes the server and opens its sockets. Where only a reload may bring
// something to serve, it makes one without sockets.
func (d *daemon) openServer(active *resolvedConfig) (err error) {
	cfg := active.Config
	store, others := newDescriptorStore()
	d.store = store
	passed, err := sortSockets(others)
	if err != nil {
		return fmt.Errorf("socket from systemd: %w", err)
	}
	d.activated = slices.Concat(withTLS(passed.https), passed.http)
	d.statusPage.replace(passed.status)
	if err := d.openMetrics(&cfg, passed.metrics); err != nil {
		return err
	}
	for _, site := range cfg.AllSites() {
		if err := site.CheckRoot("name another with -root"); err != nil {
			return err
		}
	}
	certs, err := d.openCertificates(cfg)
	if err != nil {
		return err
	}
	d.certs.Store(certs)
	first := d.serverOptions(&cfg)
	if d.server, err = httpd.New(first); err != nil {
		return explainServer(err)
	}
	if active.sites, _, err = d.openSites(&active.Config, nil); err != nil {
		return err
	}
	if first.Sites = withHosts(active.sites); first.Sites != nil {
		if err := d.server.Change(first); err != nil {
			return explainServer(err)
		}
	}

	sockets, err := d.webSockets(cfg)
	if err != nil {
		return err
	}
	d.web.serve = func(ctx context.Context, ln net.Listener) error {
		counted, end := d.accepts.count(ln)
		defer end()
		if isTLS(ln) {
			return d.server.ServeTLS(ctx, counted, d.tlsConfig())
		}
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
func (d *daemon) serverOptions(cfg *config.Config) httpd.Options {
	o := httpd.Options{Logger: d.log, NoLiveReload: true, Watches: d.watches}
	if cfg.Serve {
		o = cfg.HTTP(d.log, d.watches)
	}
	if cfg.Shared != "" && cfg.Reloads() {
		o.Position = func() string { return d.position(cfg.Root) }
		o.Since = func(position string) (time.Time, bool) { return d.changedSince(cfg.Root, position) }
	}
	if d.local != nil {
		o.Private = append(o.Private, d.local.authority.Key)
	}
	o.Token, o.Rebuilding = d.token, func() bool { return d.isRebuilding(cfg) }
	if cfg.Serve && (cfg.AccessLog != "" || cfg.Metrics != "" || len(d.metricsServer.activated) > 0) {
		name := siteName(cfg)
		o.Answered = func(a httpd.Answer) { d.answered(name, a) }
	}
	if d.runner != nil {
		o.Runs, o.RunsChanged = d.runs, d.runner.Log().Changed
	}
	return o
}

// isRebuilding reports whether pages of a site are to wait for routes.
func (d *daemon) isRebuilding(site *config.Config) bool {
	return d.pipeline != nil && d.pipeline.router.Waits(site.RouteName(config.ReloadRoute))
}

// everything is the path of an event that stands for all files of the site, as
// httpd.Server.Refresh has it.
const everything = "/"

// refresh tells pages of a server what has changed.
func (d *daemon) refresh(server *httpd.Server, batch []inotify.Event) {
	d.last.noteChange(batch)
	var paths []string
	for _, e := range batch {
		// Files in a directory that was moved into the root have events of their own.
		if e.Mask&inotify.IsDir == 0 || e.From != "" {
			paths = append(paths, sitePath(e))
		}
	}
	d.log.Debug("changed", "paths", paths)
	d.metrics.Reload()
	server.Refresh(paths...)
}

// recheck tells pages of a server which names have come or gone.
func (d *daemon) recheck(server *httpd.Server, batch []inotify.Event) {
	var paths []string
	for _, e := range batch {
		paths = append(paths, sitePath(e))
	}
	d.log.Debug("names changed", "paths", paths)
	server.Recheck(paths...)
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
		Start: r.Start, Took: r.Took, State: httpd.RunStopped, Ready: r.Ready, Outcome: r.State(),
		Machine: r.Machine, Output: r.Output, LeftBehind: logging.LeftBehind(r),
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
