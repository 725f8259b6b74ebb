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
	mu     sync.Mutex // not held while files are looked at
	server *httpd.Server
	routes []string // those that pages wait for
	files  sourceFiles
	shown  map[errorSource]*httpd.PageError
}

// An errorSource is what failed: a route, or a file of a route with per = "file".
type errorSource struct{ route, path string }

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
	isShown, files := slices.Contains(e.routes, route), e.files
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
	if slices.Contains(e.routes, route) { // still
		e.show(errorSource{route, path}, shown)
	}
}

// show shows an error, or removes it if it is nil. e.mu must be held.
func (e *pageErrors) show(what errorSource, err *httpd.PageError) {
	if e.shown == nil {
		e.shown = make(map[errorSource]*httpd.PageError)
	}
	if e.shown[what] = err; err == nil {
		delete(e.shown, what)
	}
	e.server.SetError(what.route+"\x00"+what.path, err)
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
func (e *pageErrors) follow(server *httpd.Server, cfg *resolvedConfig) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.server, e.routes, e.files = server, nil, sourceFiles{cfg.Roots(), cfg.Path}
	if cfg.Reloads() {
		e.routes = cfg.BeforePages()
	}
	for what := range e.shown {
		kept := func(r runnable.Route) bool { return r.Kept && r.Name == what.route }
		if !slices.Contains(e.routes, what.route) || !slices.ContainsFunc(cfg.resolved, kept) {
			e.show(what, nil)
		}
	}
}
