package config

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
		NoLiveReload:   !cfg.LiveReload,
		NoInject:       !cfg.Inject,
		Sync:           cfg.Sync,
		Logger:         log,
		Watches:        watches,
		AllowHosts:     cfg.AllowHosts,
		AllowOrigins:   cfg.AllowOrigins,
		Editor:         cfg.Editor,
		CORS:           cfg.CORS,
		Types:          cfg.Types,
		CacheBytes:     int64(cfg.CacheSize) << 20,
		CacheFiles:     cfg.CacheFiles,
		SPA:            cfg.SPA,
		FollowSymlinks: cfg.FollowSymlinks,
		Compress:       cfg.Compress,
		Precompressed:  cfg.Precompressed,
		CleanURLs:      cfg.CleanURLs,
		ErrorPages:     cfg.ErrorPages,
		Redirects:      cfg.Redirects,
		Headers:        cfg.Headers,
		NoRuleFiles:    !cfg.RuleFiles,
		Proxies:        cfg.Proxies,
		Grace:          cfg.StopGrace,

		MaxConnections:           cfg.MaxConnections,
		MaxConnectionsPerAddress: cfg.MaxConnectionsPerAddress,
	}

	if cfg.CacheSize == 0 || cfg.CacheFiles == 0 {
		o.CacheFiles = -1
	}
	for _, key := range cfg.TLSKey {
		o.Private = append(o.Private, key, Resolve(key))
	}
	if !cfg.Static {
		return o
	}
	if cfg.ServesFiles() {
		o.Root, o.Wait = cfg.Root, cfg.MakesRoot()
	}
	// A configuration may have secrets in the environment of jobs, whether it is used or not.
	o.Private = append(o.Private, filepath.Join(cfg.Root, DefaultFile))
	if cfg.File != "" {
		o.Private = slices.Compact(append(o.Private, cfg.Path, Resolve(cfg.Path)))
	}
	if cfg.AccessLog != "" && cfg.AccessLog != AccessToStdout && cfg.AccessLog != AccessToJournal {
		o.Private = append(o.Private, cfg.AccessLog)
	}
	return o
}

// PageRoutes returns the routes that refresh pages: ReloadRoute calls refresh, and
// NamesRoute recheck. NamesRoute waits longer: what was created is about to be
// written, and what a build removes it makes again. Both wait only for files being
// written that concern a page.
func (cfg *Config) PageRoutes(refresh, recheck router.Callback, concerns func(path string) bool) []router.Route {
	reload := router.Route{
		Name:     cfg.RouteName(ReloadRoute),
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

		NoDelayAfter: true,

		// What was saved while a build failed is shown after the next success.
		OnFailure: router.Keep,
		Callback:  refresh,
	}

	names := reload
	names.Name, names.Mask, names.Callback = cfg.RouteName(NamesRoute), nameEvents, recheck
	names.Delay = max(cfg.Delay, defaultDelay) + max(cfg.Debounce, 0)
	return []router.Route{reload, names}
}

// These end the names of routes for what a builder reads and writes. They are in no name of a
// file.
const (
	sourcesSuffix = " sources"
	outputSuffix  = " output"
)

// SourcesRoute returns a route for the sources of a builder: what changes below its root
// and is neither ignored, by git either, nor written by it.
func (cfg *Config) SourcesRoute(c *Route, note router.Callback) router.Route {
	ignore := slices.Concat(c.Ignore, c.Outputs, []string{"node_modules/"})
	if pages := cfg.SiteOf(c.Name); pages.Reloads() {
		if rel, ok := Below(c.Root, pages.Root); ok && rel != "." {
			ignore = append(ignore, "/"+literal.Replace(rel)+"/")
		}
	}
	return router.Route{
		Name: c.Name + sourcesSuffix, Roots: c.Roots, Ignore: ignore, Hidden: c.Hidden, IgnoreFiles: true, ReadOnly: true,
		Mask: router.Reload | inotify.Create | inotify.Delete | inotify.MovedFrom, Delay: none, Debounce: none, Quiet: none, Settle: none, Hold: none,
		Callback: note,
	}
}

// OutputRoute returns a route for what changes below the root of the pages, for a builder of
// which nothing else says when it builds.
func (cfg *Config) OutputRoute(c *Route, note router.Callback) router.Route {
	pages := cfg.SiteOf(c.Name)
	return router.Route{
		Name: c.Name + outputSuffix, Roots: []string{pages.Root}, Ignore: pages.Ignore, Hidden: pages.Hidden, ReadOnly: true,
		Mask: router.Reload | inotify.Create | inotify.Delete | inotify.MovedFrom, Delay: none, Debounce: none, Quiet: none, Settle: none, Hold: none,
		Callback: note,
	}
}

// workSuffix is what the name of a route that does jobs has, beside that of the route of the
// file.
const workSuffix = " works"

// WorkRoute returns the name of the route that does the jobs of the queue of a route.
func WorkRoute(route string) string { return route + workSuffix }

// WorksFor returns the route for which one of that name does jobs.
func WorksFor(name string) (route string, ok bool) { return strings.CutSuffix(name, workSuffix) }

// IsNoteRoute reports whether a name is that of a SourcesRoute or an OutputRoute.
func IsNoteRoute(name string) bool {
	return strings.HasSuffix(name, sourcesSuffix) || strings.HasSuffix(name, outputSuffix)
}

// literal makes a path a pattern that matches it alone.
var literal = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "{", `\{`)

// Reloads reports whether there are pages to refresh.
func (cfg *Config) Reloads() bool { return cfg.Serve && cfg.LiveReload }

// PagesAfter returns the names of the routes that pages of the site wait for. A builder, and
// a route with reload, that no site names is for those of [server].
func (cfg *Config) PagesAfter() []string {
	after := slices.Clone(cfg.After)
	for _, c := range cfg.Routes {
		if (c.Reload || c.IsBuilder) && len(cfg.Hosts) == 0 && cfg.SiteOf(c.Name) == cfg {
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
	for _, site := range cfg.AllSites() {
		if site.Reloads() {
			roots[site.Root] = true
		}
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
	return cfg.HasPages(root) && cfg.MakesRoot() || slices.ContainsFunc(cfg.Routes, func(c Route) bool { return c.Wait && c.Root == root })
}

// MakesRoot reports whether a route that runs at the start may make the root of the pages.
func (cfg *Config) MakesRoot() bool {
	return slices.ContainsFunc(cfg.Routes, func(c Route) bool { return c.Start && c.HasCommand() })
}

// Writes reports whether a directory is, or is in, one of the outputs of the route that are
// named without wildcards.
func (c *Route) Writes(dir string) bool {
	rel, ok := Below(c.Root, dir)
	return ok && slices.ContainsFunc(c.Outputs, func(output string) bool {
		_, below := Below(strings.Trim(output, "/"), rel)
		return below
	})
}

// CheckRoot says what is wrong with the root of the pages. Instead is what can be done
// about it otherwise.
func (cfg *Config) CheckRoot(instead string) error {
	if _, err := os.Stat(cfg.Root); cfg.MakesRoot() && isMissing(err) && !IsHidden(cfg.Root) {
		return nil
	}
	return CheckDir("root", cfg.Root, instead)
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
