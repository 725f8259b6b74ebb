package daemon

import (
	"errors"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/internal/runnable"
	"github.com/execlog/execlogd/router"
)

// pageErrors shows on pages that a route has failed that they wait for. The zero value
// shows nothing.
type pageErrors struct {
	mu    sync.Mutex // not held while files are looked at
	sites []waitingPages
	all   []runnable.Route
	files sourceFiles
	shown map[errorSource]*httpd.PageError
}

// waitingPages are the pages of a server, and the routes that they wait for.
type waitingPages struct {
	server *httpd.Server
	routes []string
}

func (w waitingPages) waitFor(route string) bool { return slices.Contains(w.routes, route) }

// isShown reports whether any pages wait for a route. e.mu must be held.
func (e *pageErrors) isShown(route string) bool {
	return slices.ContainsFunc(e.sites, func(w waitingPages) bool { return w.waitFor(route) })
}

// An errorSource is what failed: a route, or a file of a route with per = "file".
type errorSource struct{ route, path string }

// key is by which a server knows it.
func (s errorSource) key() string { return s.route + "\x00" + s.path }

// note shows the error of a run that is over, or removes the one before.
func (e *pageErrors) note(run router.Run, perFile bool) {
	switch run.Outcome {
	case router.Cancelled, router.Restarted, router.Stopped:
		return // it is not known whether the route would succeed now
	}

	if perFile {
		e.forgetGone(run.Route)
		e.set(run.Route, run.Events[0].Name(), run.Err)
	} else {
		e.set(run.Route, "", run.Err)
	}
}

// set shows an error of a route, or of one of its files, or removes it if it is nil.
func (e *pageErrors) set(route, path string, err error) {
	e.mu.Lock()
	isShown, files := e.isShown(route), e.files
	e.mu.Unlock()
	if !isShown {
		return
	}
	var shown *httpd.PageError
	if err != nil {
		shown = files.pageError(route, err)
	}

	e.mu.Lock()
	defer e.mu.Unlock()
	if e.isShown(route) && (err != nil || !e.hasEnded(route)) { // still
		e.show(errorSource{route, path}, shown)
	}
}

// hasEnded reports whether a route is a service whose program does not run: it may have died
// before its last run was noted as a success. e.mu must be held.
func (e *pageErrors) hasEnded(route string) bool {
	return slices.ContainsFunc(e.all, func(r runnable.Route) bool {
		return r.Name == route && r.IsService && !r.Runnable.Running()
	})
}

// show shows an error, or removes it if it is nil. e.mu must be held.
func (e *pageErrors) show(what errorSource, err *httpd.PageError) {
	if e.shown == nil {
		e.shown = make(map[errorSource]*httpd.PageError)
	}
	if e.shown[what] = err; err == nil {
		delete(e.shown, what)
	}
	for _, w := range e.sites {
		if err == nil || w.waitFor(what.route) {
			w.server.SetError(what.key(), err)
		}
	}
}

// forgetGone removes the errors of files of a route that do not exist any more: no run
// will succeed for them.
func (e *pageErrors) forgetGone(route string) {
	e.mu.Lock()
	shown := maps.Clone(e.shown)
	e.mu.Unlock()

	for what, was := range shown {
		if what.path == "" || what.route != route {
			continue
		}
		if _, err := os.Lstat(what.path); !errors.Is(err, os.ErrNotExist) {
			continue
		}
		e.mu.Lock()
		if e.shown[what] == was { // and no run has failed for a new file since then
			e.show(what, nil)
		}
		e.mu.Unlock()
	}
}

// follow makes pages show errors of the routes of a configuration. Errors of routes that
// are not in it, or run something else now, are removed.
func (e *pageErrors) follow(cfg *resolvedConfig) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sites, e.all, e.files = nil, cfg.resolved, sourceFiles{cfg.Roots(), cfg.Path}
	for _, s := range cfg.sites {
		w := waitingPages{server: s.server}
		if s.Reloads() {
			w.routes = s.BeforePages()
		}
		e.sites = append(e.sites, w)
	}
	for what, was := range e.shown {
		kept := func(r runnable.Route) bool { return r.Kept && r.Name == what.route }
		if !e.isShown(what.route) || !slices.ContainsFunc(cfg.resolved, kept) {
			e.show(what, nil)
			continue
		}
		for _, w := range e.sites {
			shown := was // also by the pages of a site that is new
			if !w.waitFor(what.route) {
				shown = nil
			}
			w.server.SetError(what.key(), shown)
		}
	}
}
