// Execlogd serves a directory over HTTP, watches it with inotify, and tells
// the browsers that have a page of it open what has changed.
//
//	execlogd [flags]
//	execlogd check -config file
//	execlogd watch [flags] [directory...]
//	execlogd why [flags] path
//
// Without flags it serves the current directory at http://127.0.0.1:8000/ to
// this machine alone. It runs until it gets SIGINT or SIGTERM; a second one
// ends it at once. It works as a Type=notify service of systemd, and takes its
// HTTP sockets from systemd when there are any. `execlogd -help` lists the
// flags; execlogd.toml(5) is what -config reads.
//
// The exit status is 0 after a signal, 1 when something failed, 2 when the
// command line is wrong; what was wrong is one line on standard error.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/router"
)

// version is set by the Makefile.
var version = "dev"

func main() {
	// A write to a pipe that nobody reads any more, as in 2>&1 | head, is an
	// error like another. It does not end the daemon.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "execlogd:", err)
	}
	os.Exit(exitStatus(err))
}

func exitStatus(err error) int {
	_, usage := errors.AsType[usageError](err)
	switch {
	case err == nil:
		return 0
	case usage:
		return 2
	}
	return 1
}

// A command is what a first argument without a dash names.
type command struct {
	name string
	run  func(ctx context.Context, args []string, stdout, stderr io.Writer) error
}

var commands = []command{{"check", check}, {"watch", watch}, {"why", why}}

func commandNames() string {
	var names []string
	for _, c := range commands {
		names = append(names, c.name)
	}
	return strings.Join(names, ", ")
}

// run is the whole program.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	for _, c := range commands {
		if len(args) > 0 && args[0] == c.name {
			err := c.run(ctx, args[1:], stdout, stderr)
			if wrong, ok := errors.AsType[usageError](err); ok {
				wrong.command = " " + c.name
				return wrong
			}
			return err
		}
	}
	return serve(ctx, args, stdout, stderr)
}

// serve acquires everything the daemon needs, says that it is ready, and
// works until ctx ends or a part fails.
func serve(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	cfg, err := parseConfig(args)
	if err != nil {
		return err
	}
	if cfg.print != "" {
		_, err := io.WriteString(stdout, cfg.print)
		return err
	}
	d, err := acquire(cfg, stderr)
	if err != nil {
		return err
	}
	defer d.release()
	d.announce(stderr)
	said := make(chan struct{})
	quiet := context.AfterFunc(ctx, func() {
		defer close(said)
		d.notify("STOPPING=1\nSTATUS=stopping")
		d.log.Info("stopping", "cause", context.Cause(ctx))
	})
	err = inTurn(ctx, d.tasks()...)
	if !quiet() {
		<-said
	}
	return err
}

// A daemon is all that was acquired. What changes flows from the listeners
// through the routes to the server, and they stop in that order.
type daemon struct {
	cfg     config
	log     *slog.Logger
	server  *httpd.Server
	sockets []net.Listener
	group   *router.Group // nil without live reload
}

func acquire(cfg config, stderr io.Writer) (_ *daemon, err error) {
	d := &daemon{cfg: cfg, log: newLogger(cfg, stderr)}
	defer func() {
		if err != nil {
			d.release()
		}
	}()
	if err := cfg.look().sorted(); err != nil {
		return nil, err
	}
	if err := checkRoot(cfg.root); err != nil {
		return nil, err
	}
	if d.server, err = httpd.New(cfg.server(d.log, d.watches)); err != nil {
		if _, noRoot := errors.AsType[*fs.PathError](err); !noRoot {
			err = usageError{error: err} // an -allow flag
		}
		return nil, err
	}
	if d.sockets, err = sockets(cfg.host, cfg.port); err != nil {
		return nil, err
	}
	if !cfg.livereload {
		return d, nil
	}
	routes, err := router.New(router.Options{Logger: d.log}, cfg.pageRoutes(d.refresh, d.recheck)...)
	if err != nil {
		return nil, usageError{error: err}
	}
	watching := inotify.Options{Problem: func(err error) { d.log.Warn("watch", "err", err) }}
	d.group, err = router.NewGroup(watching, router.Listener{Root: cfg.root, Router: routes, Notice: d.noteRoot})
	return d, err
}

// watches is for the status page, which is there when the group is.
func (d *daemon) watches() []httpd.Watch {
	return []httpd.Watch{{Root: d.cfg.root, Watched: d.group.Watches(), Unwatched: d.group.Unwatched()}}
}

// noteRoot logs what became of the root.
func (d *daemon) noteRoot(there bool) {
	if there {
		d.log.Info("root is there again", "root", d.cfg.root)
	} else {
		d.log.Warn("root is gone; what comes to its place is served and watched", "root", d.cfg.root)
	}
}

func (d *daemon) release() {
	if d.group != nil {
		d.group.Close()
	}
	for _, ln := range d.sockets {
		ln.Close()
	}
	if d.server != nil {
		d.server.Close()
	}
}

// announce tells the user, and systemd, that the daemon is ready: its sockets
// take connections and every directory is watched.
func (d *daemon) announce(stderr io.Writer) {
	status := d.status()
	if d.cfg.logFormat == "json" {
		d.log.Info(status)
	} else {
		fmt.Fprintln(stderr, "execlogd:", status)
	}
	d.notify("READY=1\nSTATUS=" + status)
}

// status is what the daemon does, in one line.
func (d *daemon) status() string {
	what := "live reload for " + d.cfg.root
	if d.cfg.static {
		what = "serving " + d.cfg.root
	}
	var addresses []string
	for _, ln := range d.sockets {
		addresses = append(addresses, address(ln))
	}
	s := what + " on " + strings.Join(addresses, " and ")
	if d.group != nil {
		s += fmt.Sprintf(", watching %s", count(d.group.Watches(), "directory", "directories"))
	}
	return s
}

func (d *daemon) tasks() []task {
	var tasks []task
	if d.group != nil {
		tasks = append(tasks, task{"watch", d.group.Run})
	}
	for _, ln := range d.sockets {
		tasks = append(tasks, task{"serve", func(ctx context.Context) error { return d.server.Serve(ctx, ln) }})
	}
	return tasks
}

// refresh is the reload route's callback.
func (d *daemon) refresh(_ context.Context, batch []inotify.Event) error {
	var paths []string
	for _, e := range batch {
		switch {
		case e.Mask&inotify.IsDir == 0:
			paths = append(paths, e.Path)
		case e.From != "":
			paths = append(paths, e.Path+"/")
		default:
			// What is in a directory that came from outside comes singly.
		}
	}
	d.log.Debug("changed", "paths", paths)
	d.server.Refresh(paths...)
	return nil
}

// recheck is the names route's callback.
func (d *daemon) recheck(_ context.Context, batch []inotify.Event) error {
	var paths []string
	for _, e := range batch {
		path := e.Path
		if e.Mask&inotify.IsDir != 0 {
			path += "/"
		}
		paths = append(paths, path)
	}
	d.log.Debug("names changed", "paths", paths)
	d.server.Recheck(paths...)
	return nil
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
