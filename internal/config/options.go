package config

import (
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/router"
)

// The daemon's own routes: one refreshes pages when content changes, the other when
// names come and go or permissions change.
const (
	ReloadRoute = "reload"
	NamesRoute  = "names"

	nameEvents = inotify.Create | inotify.Delete | inotify.MovedFrom | inotify.MovedTo | inotify.Attrib
)

// HTTP returns the options of the HTTP server. Watches is for its status page.
func (cfg *Config) HTTP(log *slog.Logger, watches func() []httpd.Watch) httpd.Options {
	o := httpd.Options{
		NoLiveReload: !cfg.LiveReload,
		NoInject:     !cfg.Inject,
		Logger:       log,
		Watches:      watches,
		AllowHosts:   cfg.AllowHosts,
		AllowOrigins: cfg.AllowOrigins,
		Grace:        cfg.StopGrace,
	}

	if cfg.Static {
		o.Root = cfg.Root
	}
	if cfg.Static && cfg.File != "" {
		// It may have secrets in the environment of jobs.
		o.Private = slices.Compact([]string{cfg.Path, Resolve(cfg.Path)})
	}
	return o
}

// PageRoutes returns the routes that refresh pages: ReloadRoute calls refresh, and
// NamesRoute recheck. NamesRoute waits longer: what was created is about to be
// written, and what a build removes it makes again. Both wait only for files being
// written that concern a page.
func (cfg *Config) PageRoutes(refresh, recheck router.Callback, concerns func(path string) bool) []router.Route {
	reload := router.Route{
		Name:     ReloadRoute,
		Roots:    []string{cfg.Root},
		Ignore:   cfg.Ignore,
		Hidden:   cfg.Hidden,
		ReadOnly: true,
		CatchUp:  true,
		Mask:     router.Reload,
		Delay:    cfg.Delay,
		Debounce: cfg.Debounce,
		After:    cfg.PagesAfter(),
		WaitsFor: func(e inotify.Event) bool { return concerns(e.Path) },

		// What was saved while a build failed is shown after the next success.
		OnFailure: router.Keep,
		Callback:  refresh,
	}

	names := reload
	names.Name, names.Mask, names.Callback = NamesRoute, nameEvents, recheck
	names.Delay = max(cfg.Delay, defaultDelay) + max(cfg.Debounce, 0)
	return []router.Route{reload, names}
}

// Reloads reports whether there are pages to refresh.
func (cfg *Config) Reloads() bool { return cfg.Serve && cfg.LiveReload }

// PagesAfter returns the names of the routes that pages wait for.
func (cfg *Config) PagesAfter() []string {
	after := slices.Clone(cfg.After)
	for _, c := range cfg.Routes {
		if c.Reload {
			after = append(after, c.Name)
		}
	}
	return after
}

// BeforePages returns PagesAfter, and the routes that those come after, and so on.
func (cfg *Config) BeforePages() (names []string) {
	for _, c := range cfg.withPredecessors(cfg.PagesAfter()) {
		names = append(names, c.Name)
	}
	return names
}

// MayRetry reports whether one of the routes, or of those that they come after, is
// run again when it has failed.
func (cfg *Config) MayRetry(names []string) bool {
	return slices.ContainsFunc(cfg.withPredecessors(names), func(c *Route) bool { return c.Retries > 0 })
}

// withPredecessors returns the routes of some names, and all that come before these by
// After, each once.
func (cfg *Config) withPredecessors(names []string) (all []*Route) {
	left := make(map[string]*Route)
	for i := range cfg.Routes {
		left[cfg.Routes[i].Name] = &cfg.Routes[i]
	}

	for todo := slices.Clone(names); len(todo) > 0; todo = todo[1:] {
		if c := left[todo[0]]; c != nil {
			delete(left, c.Name)
			all = append(all, c)
			todo = append(todo, c.After...)
		}
	}
	return all
}

// Roots returns what the routes listen to, each once: directories, and files.
func (cfg *Config) Roots() []string {
	roots := make(map[string]bool)
	if cfg.Reloads() {
		roots[cfg.Root] = true
	}
	for _, c := range cfg.Routes {
		for _, root := range c.Roots {
			roots[root] = true
		}
	}
	return slices.Sorted(maps.Keys(roots))
}

// WaitsFor reports whether a root need not exist at the start.
func (cfg *Config) WaitsFor(root string) bool {
	return slices.ContainsFunc(cfg.Routes, func(c Route) bool { return c.Wait && c.Root == root })
}

// StopTime returns how long a stop may take: commands end first, then requests, then
// services.
func (cfg *Config) StopTime() time.Duration {
	const others = 5 * time.Second // for what has no grace of its own
	grace := max(0, cfg.StopGrace)
	var commands, services time.Duration
	for _, c := range cfg.Routes {
		own := max(0, c.Service.Grace)
		switch {
		case c.IsService:
			services = max(services, own)
		case c.StopAtOnce:
			commands = max(commands, own)
		default:
			commands = max(commands, grace+own)
		}
	}
	return commands + grace + services + others
}
