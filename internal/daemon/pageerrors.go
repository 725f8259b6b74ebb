package daemon

import (
	"errors"
	"os"
	"slices"
	"sync"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

// pageErrors shows on pages that a route has failed that they wait for. The zero value
// shows nothing.
type pageErrors struct {
	mu     sync.Mutex
	server *httpd.Server
	routes []string // those that pages wait for
	shown  map[errorSource]bool
}

// An errorSource is what failed: a route, or a file of a route with per = "file".
type errorSource struct{ route, path string }

// key is what the server calls the source.
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
	defer e.mu.Unlock()
	if !slices.Contains(e.routes, route) {
		return
	}
	if err == nil {
		e.remove(errorSource{route, path})
		return
	}
	if e.shown == nil {
		e.shown = make(map[errorSource]bool)
	}
	e.shown[errorSource{route, path}] = true
	e.server.SetError(errorSource{route, path}.key(), pageError(route, err))
}

// remove removes an error. e.mu must be held.
func (e *pageErrors) remove(what errorSource) {
	delete(e.shown, what)
	e.server.SetError(what.key(), nil)
}

// forgetGone removes the errors of files of a route that do not exist any more: no run
// will succeed for them.
func (e *pageErrors) forgetGone(route string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for what := range e.shown {
		if what.path == "" || what.route != route {
			continue
		}
		if _, err := os.Lstat(what.path); errors.Is(err, os.ErrNotExist) {
			e.remove(what)
		}
	}
}

// follow makes pages show errors of the routes of a configuration. Errors of routes that
// are not in it, or run something else now, are removed.
func (e *pageErrors) follow(server *httpd.Server, cfg *resolvedConfig) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.server, e.routes = server, nil
	if cfg.Reloads() {
		e.routes = cfg.BeforePages()
	}
	for what := range e.shown {
		if !cfg.keeps(what.route) || !slices.Contains(e.routes, what.route) {
			e.remove(what)
		}
	}
}

// pageError returns what pages show of an error.
func pageError(route string, err error) *httpd.PageError {
	shown := &httpd.PageError{Title: route + ": " + err.Error()}
	if failed, ok := errors.AsType[*job.Error](err); ok {
		shown.Text = logging.StripControls(string(failed.Run.Output))
	}
	return shown
}
