package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

// everything is the path of an event that stands for all files of the site,
// as httpd.Server.Refresh has it.
const everything = "/"

// errDropped is the error of a run whose route is another now, or none. For the
// router it is one of router.ErrRestarted, so that the new route gets the events of
// the run. Whoever looks at the run sees one that was stopped.
var errDropped error = droppedError{}

type droppedError struct{}

func (droppedError) Error() string { return "its route was changed" }

func (droppedError) Is(target error) bool {
	return target == router.ErrRestarted || target == context.Canceled
}

// A work is what a route does, as long as the configuration has it.
type work struct {
	do    router.Callback
	stop  func()          // ends a service
	ended <-chan struct{} // of the one before it
	own   context.Context // ends when it does
	drop  context.CancelCauseFunc
	over  chan struct{} // closed when nothing of it is left

	contents contents // of files, for changed_only

	down atomic.Bool // a service that is stopped until what it comes after succeeds
}

func newWork(do router.Callback, stop func()) *work {
	own, drop := context.WithCancelCause(context.Background())
	return &work{do: do, stop: stop, own: own, drop: drop, over: make(chan struct{})}
}

// follow makes the work wait for the end of another.
func (w *work) follow(other *work) { w.ended = other.over }

// run is the callback of the route.
func (w *work) run(ctx context.Context, batch []inotify.Event) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(w.own, func() { cancel(context.Cause(w.own)) })()
	if w.ended != nil {
		select {
		case <-w.ended:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	err := w.do(ctx, batch)
	if errors.Is(err, job.ErrTooLong) {
		err = fmt.Errorf("%w: they are %w", err, router.ErrKept) // by then the configuration may be another
	}
	if w.own.Err() == nil {
		return err
	}
	w.stop() // what has begun after all
	switch {
	case err == nil:
		return errDropped
	case errors.Is(err, errDropped):
		return err
	}
	return fmt.Errorf("%w: %w", errDropped, err)
}

// end ends the run or the service that goes on, and waits for the latter.
func (w *work) end() {
	w.drop(errDropped)
	w.stop()
	close(w.over)
}

// make makes the work of a route, which has its program found. Died is told
// when a service does.
//
// Say is told what is wrong with what follows a run.
func (c *routeConfig) make(runner *job.Runner, died func(error), say func(error)) (*work, error) {
	nothing := func() {}
	end, err := c.followingRuns(runner, say)
	if err != nil {
		return nil, err
	}
	switch {
	case len(c.run) == 0 && c.shell.is == "":
		return newWork(end.after(idle), nothing), nil
	case c.service:
		var w *work
		s, err := runner.Service(c.serviceOf(func(err error) {
			w.contents.forget() // any save starts it again
			died(err)
			end.follow(context.Background(), nil, err) // the end of the runner ends it
		}))
		if err != nil {
			return nil, err
		}
		w = newWork(end.after(s.Run), s.Stop)
		return w, nil
	}
	j, err := runner.Command(c.command())
	if err != nil {
		return nil, err
	}
	return newWork(end.after(j.Run), nothing), nil
}

// idle is the callback of a route that only has its success noticed.
func idle(context.Context, []inotify.Event) error { return nil }

func (c *routeConfig) command() job.Command {
	inputs := map[string]job.Input{"": job.TerminalInput, "none": job.NoInput, "json": job.JSONLines, "nul": job.NULPaths}
	return job.Command{
		Name:       c.name.is,
		Argv:       texted(c.run),
		Shell:      c.shell.is,
		BuiltLater: len(c.after) > 0, // by one of those
		Dir:        c.dir.is,
		Env:        c.env,
		Input:      inputs[c.stdin],
		Grace:      orNone(c.grace),
		Leave:      texted(c.leave),
		StopSignal: c.stopBy,
	}
}

func (c *routeConfig) serviceOf(died func(error)) job.Service {
	s := job.Service{Command: c.command(), Startup: c.timeout, ReloadSignal: c.signal, Died: died}
	if s.Notify = c.ready == "notify"; !s.Notify {
		s.Address = c.ready
	}
	return s
}

// route is a route of the file as the router takes it.
func (c *routeConfig) route(work router.Callback) router.Route {
	r := router.Route{
		Name:     c.name.is,
		Roots:    []string{c.root.is},
		Patterns: texted(c.match),
		Ignore:   texted(c.ignore),
		Hidden:   c.hidden,
		Outputs:  texted(c.outputs),

		IgnoreFiles: c.gitignore,

		Mask:     c.mask(),
		Delay:    orNone(c.delay),
		Debounce: orNone(c.debounce),
		Quiet:    orNone(c.quiet),
		Settle:   orNone(c.settle),
		Hold:     c.hold,
		After:    texted(c.after),
		Timeout:  c.timeout,
		Retries:  c.retries,
		Backoff:  orNone(c.backoff),
		Callback: work,
	}
	if c.service {
		r.Background = true
		r.Timeout = 0 // it is the service's Startup
	}
	r.NotRecursive = !c.recursive
	if c.per == "file" {
		r.Per = router.PerFile
		r.Empty = c.events == 0
	}
	if c.onFailure == "continue" {
		r.OnFailure = router.Continue
	}
	switch c.onBusy {
	case "restart":
		r.OnBusy = router.Restart
	case "ignore":
		r.OnBusy = router.Ignore
	}
	return r
}

// realName is the file of an event. A root may be a link to it.
func realName(e inotify.Event) string {
	if e.Path == "." {
		return resolved(e.Root)
	}
	return e.Name()
}

// ownOutput tells a route what its commands are writing, themselves or, where their
// output goes into a file with ours (execlogd run make >build.log), through us.
func ownOutput(runner *job.Runner, route string) func([]inotify.Event) []bool {
	return func(events []inotify.Event) []bool {
		var files []string
		for _, e := range events {
			files = append(files, realName(e))
		}
		writing := runner.Writing(route, files...)
		for i, name := range files {
			writing[i] = writing[i] || isOwnLog(name)
		}
		return writing
	}
}

// isOwnLog reports whether a file is our standard output or standard error.
func isOwnLog(name string) bool {
	file, err := os.Stat(name)
	if err != nil || !file.Mode().IsRegular() {
		return false
	}
	for _, own := range []*os.File{os.Stdout, os.Stderr} {
		if info, err := own.Stat(); err == nil && os.SameFile(file, info) {
			return true
		}
	}
	return false
}

// reloads says whether there are pages to be told of changes.
func (cfg *config) reloads() bool { return cfg.serve && cfg.livereload }

// pagesAfter are the routes that pages wait for.
func (cfg *config) pagesAfter() []string {
	after := texted(cfg.after)
	for _, c := range cfg.routes {
		if c.reload {
			after = append(after, c.name.is)
		}
	}
	return after
}

// beforePages is pagesAfter, and what those come after.
func (cfg *config) beforePages() []string {
	byName, seen := cfg.byName(), make(map[string]bool)
	var all []string
	add := func(names []string) {
		for _, name := range names {
			if !seen[name] {
				seen[name] = true
				all = append(all, name)
			}
		}
	}
	add(cfg.pagesAfter())
	for i := 0; i < len(all); i++ {
		if c := byName[all[i]]; c != nil {
			add(texted(c.after))
		}
	}
	return all
}

// waitsFor reports whether a root need not be there at the start.
func (cfg *config) waitsFor(root string) bool {
	for i := range cfg.routes {
		if cfg.routes[i].wait && cfg.routes[i].root.is == root {
			return true
		}
	}
	return false
}

// roots are what the routes listen to, each once.
func (cfg *config) roots() []string {
	var roots []string
	seen := make(map[string]bool)
	add := func(root string) {
		if !seen[root] {
			seen[root] = true
			roots = append(roots, root)
		}
	}
	if cfg.reloads() {
		add(cfg.root)
	}
	for i := range cfg.routes {
		add(cfg.routes[i].root.is)
	}
	return roots
}
