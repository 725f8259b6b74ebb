package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/runnable"
	"github.com/execlog/execlogd/router"
)

// A pipeline takes what changes in the file system to jobs and pages: a watcher, a
// router, and the configuration that both go by, which may be replaced.
type pipeline struct {
	d      *daemon
	router *router.Router
	group  *router.Group

	mu     sync.Mutex
	active *resolvedConfig
}

// A resolvedConfig is a configuration with what its routes run. It does not change.
type resolvedConfig struct {
	config.Config
	resolved []runnable.Route // the routes of the file
}

// keeps reports whether a route is as it was in the configuration before.
func (c *resolvedConfig) keeps(route string) bool {
	return slices.ContainsFunc(c.resolved, func(f runnable.Route) bool { return f.Kept && f.Name == route })
}

// newPipeline watches the roots of a configuration, and triggers the routes that are to
// run at the start. Events are kept until run is called.
func (d *daemon) newPipeline(cfg *resolvedConfig) (*pipeline, error) {
	p := &pipeline{d: d, active: cfg}
	opts := router.Options{Concurrency: cfg.Jobs, Waiting: d.logWaiting, Post: p.post}

	var err error
	if p.router, err = router.New(opts, p.routes(cfg)...); err != nil {
		return nil, config.UsageError{Err: err}
	}

	watching := inotify.Options{Problem: func(err error) { d.log.Warn("watch", "err", err) }}
	if p.group, err = router.NewGroup(watching, p.listeners(cfg)...); err != nil {
		return nil, err
	}
	if err := p.start(cfg); err != nil {
		return nil, errors.Join(err, p.group.Close())
	}
	return p, nil
}

// now is the configuration that the pipeline goes by.
func (p *pipeline) now() *resolvedConfig {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.active
}

// prepare checks the routes of another configuration, and watches its roots beside those
// of the active one, or with an error none of them. Nothing comes of it until replace is
// called.
func (p *pipeline) prepare(cfg *resolvedConfig) error {
	if _, err := router.New(router.Options{}, p.routes(cfg)...); err != nil {
		return config.UsageError{Err: err}
	}
	return p.group.SetListeners(append(p.listeners(p.now()), p.listeners(cfg)...)...)
}

// dropRoots ends the watch of the roots that are not in the active configuration.
func (p *pipeline) dropRoots() {
	// Only a root to add could be an error, and there is none.
	if err := p.group.SetListeners(p.listeners(p.now())...); err != nil {
		p.d.log.Error("watch", "err", err)
	}
}

// replace makes another configuration the active one, for which prepare was called. What
// is as it was goes on. Routes that are new and are to run at the start are triggered. An
// error means that the pipeline has ended.
func (p *pipeline) replace(cfg *resolvedConfig) error {
	// This comes first: a run of a new route may end before SetRoutes returns.
	p.mu.Lock()
	p.active = cfg
	p.mu.Unlock()

	p.router.SetConcurrency(cfg.Jobs)
	if err := p.router.SetRoutes(p.routes(cfg)...); err != nil {
		return err
	}
	p.dropRoots()
	return p.start(cfg)
}

// run watches until ctx ends.
func (p *pipeline) run(ctx context.Context) error {
	var noting sync.WaitGroup
	defer noting.Wait()
	noting.Go(func() { p.noteUnmatched(ctx, p.now(), nil) })
	return p.group.Run(ctx)
}

// routes returns the routes of a configuration for the router: those of the file, and
// those that tell pages of changes.
func (p *pipeline) routes(cfg *resolvedConfig) []router.Route {
	d := p.d
	var routes []router.Route
	for _, f := range cfg.resolved {
		route := f.Route.Route
		route.Callback = p.callback(f)
		route.OwnOutput = runnable.OwnOutput(d.runner, route.Name)
		if f.OnFailure == router.Cancel && !f.StopOnFailure && cfg.MayRetry(f.After) {
			// The success may come without a further change, after a back-off.
			route.OnFailure = router.Keep
		}
		routes = append(routes, route)
	}
	if cfg.Reloads() {
		routes = append(routes, cfg.PageRoutes(d.refresh, d.recheck, d.server.Concerns)...)
	}
	return routes
}

// listeners returns the roots of a configuration for the group.
func (p *pipeline) listeners(cfg *resolvedConfig) []router.Listener {
	var listeners []router.Listener
	for _, root := range cfg.Roots() {
		listeners = append(listeners, router.Listener{Root: root, Router: p.router, Wait: cfg.WaitsFor(root), Notice: p.d.logRoot(root)})
	}
	return listeners
}

// start triggers the routes that are new and are to run at the start.
func (p *pipeline) start(cfg *resolvedConfig) error {
	for _, root := range cfg.Roots() {
		if _, err := os.Stat(root); err != nil && cfg.WaitsFor(root) {
			p.d.log.Warn("root is not there yet; waiting for it", "root", root)
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
	d, cfg := p.d, p.now()
	run.Err = runnable.AdviseOnLoop(run.Err, "name it in outputs or ignore")
	isInitialScan := func(c config.Route) bool { return c.Name == run.Route && isInitialScan(&c, run.Events) }
	if slices.ContainsFunc(cfg.Routes, isInitialScan) {
		d.log.Debug("files listed", "route", run.Route, "took", run.Took, "err", run.Err)
		return
	}
	for _, route := range cfg.resolved {
		if route.Name == run.Route {
			run = route.Runnable.WithChangedFiles(run)
		}
	}

	d.logRun(run)
	p.suspendServices(cfg, run)
	for _, c := range cfg.Routes {
		if c.Name != run.Route {
			continue
		}
		d.errors.note(run, c.PerFile())
		if c.Reload && run.Outcome == router.Succeeded && cfg.Reloads() {
			// The route is there, and takes it after those that it waits for.
			_, _ = p.router.Trigger(config.ReloadRoute, inotify.Event{Root: cfg.Root, Path: everything})
		}
	}
}
