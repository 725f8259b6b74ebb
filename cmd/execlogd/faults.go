package main

import (
	"context"
	"errors"
	"os"
	"sync"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

// faults are what pages show of routes that they wait for and that failed. The
// zero value shows nothing.
type faults struct {
	server *httpd.Server
	routes []string

	mu    sync.Mutex
	paths map[fault]bool // that failed, of routes by file
}

// A fault is what failed: a route, and the file if it is one by file.
type fault struct{ route, path string }

// source is the name by which httpd knows it.
func (f fault) source() string { return f.route + "\x00" + f.path }

// note takes notice of a run that is over.
func (fs *faults) note(f router.Frame, perFile bool) {
	switch {
	case errors.Is(f.Err, router.ErrCancelled), errors.Is(f.Err, router.ErrRestarted), errors.Is(f.Err, context.Canceled):
		return // nothing is known that was not before
	case perFile:
		fs.forgetGone(f.Route)
		fs.set(f.Route, f.Events[0].Name(), f.Err)
	default:
		fs.set(f.Route, "", f.Err)
	}
}

// set shows an error of a route, or of one of its files, or takes it away if
// it is nil.
func (fs *faults) set(route, path string, err error) {
	for _, name := range fs.routes {
		if name == route {
			what := fault{route, path}
			fs.remember(what, err != nil)
			fs.server.SetError(what.source(), pageError(route, err))
		}
	}
}

func (fs *faults) remember(what fault, failed bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.paths == nil {
		fs.paths = make(map[fault]bool)
	}
	if failed && what.path != "" {
		fs.paths[what] = true
	} else {
		delete(fs.paths, what)
	}
}

// forgetGone takes the errors of files away that are not there any more: no
// run will succeed for them.
func (fs *faults) forgetGone(route string) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for what := range fs.paths {
		if _, err := os.Lstat(what.path); what.route == route && errors.Is(err, os.ErrNotExist) {
			delete(fs.paths, what)
			fs.server.SetError(what.source(), nil)
		}
	}
}

// clear takes all away.
func (fs *faults) clear() {
	for _, route := range fs.routes {
		fs.set(route, "", nil)
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for what := range fs.paths {
		fs.server.SetError(what.source(), nil)
	}
	clear(fs.paths)
}

// pageError is what pages show of an error.
func pageError(route string, err error) *httpd.PageError {
	if err == nil {
		return nil
	}
	e := &httpd.PageError{Title: route + ": " + err.Error()}
	if failed, ok := errors.AsType[*job.Error](err); ok {
		e.Text = string(failed.Record.Output)
	}
	return e
}
