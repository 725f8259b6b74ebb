package main

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

// faults are what pages show of routes that they wait for and that failed. The
// zero value shows nothing.
type faults struct {
	mu     sync.Mutex
	server *httpd.Server
	routes []string // that pages wait for
	shown  map[fault]bool
}

// A fault is what failed: a route, and the file if it is one by file.
type fault struct{ route, path string }

// source is the name by which httpd knows it.
func (f fault) source() string { return f.route + "\x00" + f.path }

// note takes notice of a run that is over.
func (fs *faults) note(f router.Frame, perFile bool) {
	switch f.Outcome {
	case router.Cancelled, router.Restarted, router.Stopped:
		return // nothing is known that was not before
	}
	if perFile {
		fs.forgetGone(f.Route)
		fs.set(f.Route, f.Events[0].Name(), f.Err)
	} else {
		fs.set(f.Route, "", f.Err)
	}
}

// set shows an error of a route, or of one of its files, or takes it away if
// it is nil.
func (fs *faults) set(route, path string, err error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if !slices.Contains(fs.routes, route) {
		return
	}
	if err == nil {
		fs.remove(fault{route, path})
		return
	}
	if fs.shown == nil {
		fs.shown = make(map[fault]bool)
	}
	fs.shown[fault{route, path}] = true
	fs.server.SetError(fault{route, path}.source(), pageError(route, err))
}

// remove takes an error away. fs.mu is held.
func (fs *faults) remove(what fault) {
	delete(fs.shown, what)
	fs.server.SetError(what.source(), nil)
}

// forgetGone takes the errors of files away that are not there any more: no
// run will succeed for them.
func (fs *faults) forgetGone(route string) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for what := range fs.shown {
		if what.path == "" || what.route != route {
			continue
		}
		if _, err := os.Lstat(what.path); errors.Is(err, os.ErrNotExist) {
			fs.remove(what)
		}
	}
}

// follow shows from now on what the routes of a routing do, and takes away
// what those have shown that are not in it or are others now.
func (fs *faults) follow(r *routing) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.server, fs.routes = r.d.server, nil
	if r.cfg.Reloads() {
		fs.routes = r.cfg.BeforePages()
	}
	for what := range fs.shown {
		if !r.keeps(what.route) || !slices.Contains(fs.routes, what.route) {
			fs.remove(what)
		}
	}
}

// pageError is what pages show of an error.
func pageError(route string, err error) *httpd.PageError {
	e := &httpd.PageError{Title: route + ": " + err.Error()}
	if failed, ok := errors.AsType[*job.Error](err); ok {
		e.Text = logging.StripControls(string(failed.Run.Output))
	}
	return e
}
