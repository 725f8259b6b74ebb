package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/internal/runnable"
	"github.com/execlog/execlogd/router"
)

// A pipeline takes what changes in the file system to jobs and pages: a watcher, a
// router, which go by the active configuration.
type pipeline struct {
	d        *daemon
	router   *router.Router
	group    *router.Group
	state    *savedState
	machines *machines // nil without a bus

	listening sync.Mutex          // held while listeners change
	configs   []*resolvedConfig   // whose roots are watched
	links     map[string][]string // followed, by the roots of sites
}

// A resolvedConfig is a configuration with what its routes run. It does not change.
type resolvedConfig struct {
	config.Config
	resolved []runnable.Route // the routes of the file
	sites    []servedSite     // the first is that of [server]
}

// newPipeline watches the roots of a configuration, and triggers the routes that are to
// run at the start. Events are kept until run is called.
func (d *daemon) newPipeline(cfg *resolvedConfig) (_ *pipeline, err error) {
	p := &pipeline{d: d}
	if p.state, err = d.openState(&cfg.Config); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.close()
		}
	}()

	if p.machines, err = d.newMachines(cfg); err != nil {
		return nil, config.UsageError{Err: err}
	}

	opts := router.Options{
		Concurrency: cfg.Jobs, Grace: cfg.StopGrace, Waiting: d.logWaiting, Post: p.post,
		State: p.state.batches.file, Problem: func(err error) { d.log.Warn("routes", "err", err) },
	}
	if p.router, err = router.New(opts, p.routes(cfg)...); err != nil {
		return nil, config.UsageError{Err: err}
	}

	watching := inotify.Options{
		Problem: d.logWatchProblem,
		Scanning: func(directories int) error {
			d.scanned.Store(uint64(directories)) // for the watchdog
			return d.scans.scanning(directories)
		},
		Counted: func(int) { d.last.note() },
		Remote:  p.machines.trusts,
		State:   p.state.watches.file, Instance: p.state.instance,
	}
	p.configs, p.links = []*resolvedConfig{cfg}, d.findLinks(cfg)
	if p.group, err = router.NewGroup(watching, p.listeners(cfg)...); err != nil {
		return nil, err
	}
	if err := p.machines.watch(p.group, cfg.WaitsFor); err != nil {
		return nil, err
	}
	p.storeState()
	if err := p.start(cfg); err != nil {
		return nil, err
	}
	return p, nil
}

// close releases everything. What the pipeline has kept for the next process stays.
func (p *pipeline) close() {
	if p.group != nil {
		p.group.Close()
	}
	p.state.close()
}

// prepare checks the routes of another configuration, and watches its roots beside those
// of the active one, or with an error none of them. Nothing comes of it until replace is
// called.
func (p *pipeline) prepare(cfg *resolvedConfig) error {
	if !sameMachines(&cfg.Config, &p.d.active.Load().Config) {
		return errors.New("bus: to change what is shared, a queue or the server takes a restart")
	}
	if _, err := router.New(router.Options{}, p.routes(cfg)...); err != nil {
		return config.UsageError{Err: err}
	}
	return p.listen(p.d.active.Load(), cfg)
}

// dropRoots ends the watch of the roots that are not in the active configuration.
func (p *pipeline) dropRoots() {
	// Only a root to add could be an error, and there is none.
	if err := p.listen(p.d.active.Load()); err != nil {
		p.d.log.Error("watch", "err", err)
	}
}

// replace makes router and watcher go by another configuration, for which prepare was
// called, and which is the active one already: a run of a new route may end before
// SetRoutes returns. What is as it was goes on. Routes that are new and are to run at the
// start are triggered. An error means that the pipeline has ended.
func (p *pipeline) replace(cfg *resolvedConfig) error {
	p.router.SetConcurrency(cfg.Jobs)
	p.router.SetGrace(cfg.StopGrace)
	if err := p.router.SetRoutes(p.routes(cfg)...); err != nil {
		return err
	}
	p.dropRoots()
	return p.start(cfg)
}

// routes returns the routes of a configuration for the router: those of the file, and
// those that tell pages of changes.
func (p *pipeline) routes(cfg *resolvedConfig) []router.Route {
	d := p.d
	var routes []router.Route
	for _, f := range cfg.resolved {
		route := f.Route.Route
		route.Callback = p.callback(f)
		// Services are started anyway, and pages find out themselves what they have missed.
		route.Durable = f.HasCommand() && !f.IsService
		route.CatchUp = f.CatchUp || !f.HasCommand() // pages alone
		route.OwnOutput = runnable.OwnOutput(d.runner, route.Name)
		if f.OnFailure == router.Cancel && !f.StopOnFailure && cfg.MayRetry(f.After) {
			// The success may come without a further change, after a back-off.
			route.OnFailure = router.Keep
		}
		if f.Queue != "" {
			route.Callback = p.machines.enqueue(f)
			route.Elsewhere, route.OnBusy, route.Timeout, route.Retries = true, router.Restart, 0, 0
			route.ReadOnly = f.PerFile() // others write files all the time, and enqueue sees to loops
			if f.Work {
				routes = append(routes, p.machines.workRoute(f))
			}
		}
		routes = append(routes, route)
		if f.Service.Builds != nil && f.IsService {
			of := cfg.SourcesRoute(f.Route, d.sourcesOf(f.Name).note)
			of.OwnOutput = route.OwnOutput
			routes = append(routes, of)
			if f.Service.Builds.Lines.None() && cfg.SiteOf(f.Name).Reloads() {
				routes = append(routes, cfg.OutputRoute(f.Route, d.sourcesOf(f.Name).noteOutput))
			}
		}
	}
	for _, s := range cfg.sites {
		if s.Reloads() {
			routes = append(routes, d.pageRoutes(s)...)
		}
	}
	return routes
}

// listen has the roots of these configurations watched, and no others.
func (p *pipeline) listen(configs ...*resolvedConfig) error {
	p.listening.Lock()
	defer p.listening.Unlock()
	return p.listenTo(configs)
}

// listenTo is listen. p.listening must be held.
func (p *pipeline) listenTo(configs []*resolvedConfig) error {
	before := p.links
	p.links = p.d.findLinks(configs...)
	var all []router.Listener
	for _, cfg := range configs {
		all = append(all, p.listeners(cfg)...)
	}
	if err := p.group.SetListeners(all...); err != nil {
		p.links = before
		return err
	}
	p.configs = configs
	return nil
}

// listeners returns the roots of a configuration for the group, with what links lead to.
// p.listening must be held, or the pipeline be new.
func (p *pipeline) listeners(cfg *resolvedConfig) []router.Listener {
	var listeners []router.Listener
	for _, root := range cfg.Roots() {
		listeners = append(listeners, router.Listener{Root: root, Router: p.router, Wait: cfg.WaitsFor(root), Notice: p.d.logRoot(root), Lost: p.d.logLost(root)})
	}
	for _, s := range cfg.sites {
		for _, link := range p.links[s.Root] {
			at := inotify.Location{Root: s.Root, Path: link}
			root := filepath.Join(s.Root, link)
			listeners = append(listeners, router.Listener{Root: root, As: at, Router: p.router, Wait: true, Lost: p.d.logLost(root)})
		}
	}
	return listeners
}

// start triggers the routes that are new and are to run at the start.
func (p *pipeline) start(cfg *resolvedConfig) error {
	for _, root := range cfg.Roots() {
		if _, err := os.Stat(root); err != nil && cfg.WaitsFor(root) && config.IsHidden(root) {
			p.d.log.Warn(logging.RootHidden, "root", root)
		} else if err != nil && cfg.WaitsFor(root) {
			level := slog.LevelWarn
			if cfg.HasPages(root) && cfg.MakesRoot() {
				level = slog.LevelInfo // as in each fresh clone
			}
			p.d.log.Log(context.Background(), level, logging.RootMissing, "root", root)
		}
	}
	for _, f := range cfg.resolved {
		if !f.Start || f.Kept {
			continue
		}
		if _, err := p.router.Trigger(f.Name, inotify.Event{Root: f.Root, Path: "."}); err != nil {
			return fmt.Errorf("start: %w", err)
		}
	}
	return nil
}

// post is called with each run that is over, before the routes that wait for it go on.
func (p *pipeline) post(run router.Run) {
	d := p.d
	cfg := d.active.Load()
	if config.IsNoteRoute(run.Route) {
		return
	}
	if route, isWork := config.WorksFor(run.Route); isWork {
		d.logJob(route, run)
		return
	}
	run.Err = runnable.AdviseOnLoop(run.Err, "name it in outputs or ignore")

	// The routes that tell pages are not among those of the file.
	i := slices.IndexFunc(cfg.resolved, func(r runnable.Route) bool { return r.Name == run.Route })
	if i < 0 {
		d.logRun(run)
		return
	}
	route := cfg.resolved[i]
	if route.Queue != "" && run.Outcome == router.Restarted {
		return // its job waits, and is put into the queue anew with the newer events
	}
	if isInitialScan(route.Route, run.Events) {
		d.log.Debug("files listed", "route", run.Route, "took", run.Took, "err", run.Err)
		return
	}

	// What the log says is on the pages and in the status already.
	run = route.Runnable.WithChangedFiles(run)
	d.last.noteChange(run.Events)
	d.last.noteRun(run)
	d.activity.noteRun(run)
	d.countRun(run)
	d.errors.note(run, route.PerFile())
	d.logRun(run)
	d.noteRoots(cfg, run.Route)
	p.suspendServices(cfg, run)
	if route.Start && run.Outcome == router.Succeeded && cfg.Serve && cfg.ServesFiles() {
		d.warnOfNoRoot(cfg.Root, run.Route)
	}
	for _, s := range cfg.sites {
		if route.Reload && run.Outcome == router.Succeeded && s.Reloads() && slices.Contains(s.PagesAfter(), run.Route) {
			// The route is there, and takes it after those that it waits for.
			_, _ = p.router.Trigger(s.RouteName(config.ReloadRoute), inotify.Event{Root: s.Root, Path: everything})
		}
	}
}

// suspendServices is told of each run. It stops services with on_failure = "stop" when a
// route that they come after fails, and starts them at the next success of one.
func (p *pipeline) suspendServices(cfg *resolvedConfig, run router.Run) {
	failed := run.Outcome == router.Failed || run.Outcome == router.Cancelled
	for _, s := range cfg.resolved {
		first := slices.Contains(s.After, run.Route)
		// A success may have come too early, when another failed.
		cancelled := s.Name == run.Route && run.Outcome == router.Cancelled
		switch {
		case !s.StopOnFailure:
		case failed && (first || cancelled):
			if !s.Runnable.Suspended.Swap(true) {
				p.d.log.Info(logging.Suspended, "route", s.Name, "after", run.Route)
			}
			s.Runnable.Stop()
		case first && run.Err == nil && s.Runnable.Suspended.Swap(false):
			// The route is there, and waits for all that come first.
			_, _ = p.router.Trigger(s.Name, inotify.Event{Root: s.Root, Path: "."})
		}
	}
}
