// Execlogd serves a directory over HTTP, watches it with inotify, and tells
// the browsers that have a page of it open what has changed. With routes, it
// runs commands on changes as well, or these alone.
//
//	execlogd [flags]
//	execlogd run [flags] command [argument...]
//	execlogd check -config file
//	execlogd log [-f] [-json]
//	execlogd trigger [-n] route [path...]
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
// command line is wrong; what was wrong is one line on standard error. run
// -exit-on-failure, and trigger, have that of the command.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/internal/runnable"
	"github.com/execlog/execlogd/job"
)

// version is set by the Makefile.
var version = "dev"

func main() {
	job.Supervise() // in a supervisor process of package job, this is all
	// A write to a pipe that nobody reads any more, as in 2>&1 | head, is an
	// error like another. It does not end the daemon.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	quitOnKey()
	reaping, enough := context.WithCancel(context.Background())
	var reaper sync.WaitGroup
	reaper.Go(func() { job.Reap(reaping) })
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	enough()
	reaper.Wait()
	if err != nil {
		last := logging.NewQueue(nil) // which does not wait for ever until somebody reads it
		fmt.Fprintln(last.Writer(os.Stderr), "execlogd:", err)
		last.Close()
	}
	os.Exit(exitStatus(err))
}

// quitOnKey has SIGQUIT, which Ctrl-\ sends, end the process at once, and without
// the stacks that the runtime of Go prints, unless GOTRACEBACK asks for them.
func quitOnKey() {
	if os.Getenv("GOTRACEBACK") != "" {
		return
	}
	quit := make(chan os.Signal, 1)
	signal.Notify(quit, syscall.SIGQUIT)
	go func() {
		<-quit
		activeTerminal.Load().restore()
		fmt.Fprintln(os.Stderr, "execlogd: quit at once by SIGQUIT")
		os.Exit(128 + int(syscall.SIGQUIT))
	}()
}

func exitStatus(err error) int {
	_, usage := errors.AsType[config.UsageError](err)
	failedThere, isTrigger := errors.AsType[failedTrigger](err)
	failed, isRun := errors.AsType[failedRun](err)
	switch {
	case err == nil:
		return 0
	case isRun:
		return runnable.ExitStatus(failed.error)
	case isTrigger:
		return failedThere.Status
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

var commands = []command{{"run", runOnChanges}, {"check", check}, {"log", showLog}, {"trigger", trigger}, {"watch", watch}, {"why", why}}

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
			if wrong, ok := errors.AsType[config.UsageError](err); ok {
				wrong.Command = c.name
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
	if cfg.Version {
		return printVersion(stdout)
	}
	if cfg.Help != "" {
		_, err := io.WriteString(stdout, cfg.Help)
		return err
	}
	d, err := acquire(cfg, args, stderr)
	if err != nil {
		return err
	}
	defer d.release()
	if d.runner != nil {
		stop := runnable.StopGuard{Runner: d.runner, Say: func(text string) { d.log.Warn(text) }, Again: runnable.StopAgain(stderr), AtOnce: true}
		stop.Start(ctx)
		defer stop.End()
	}
	if cfg.File != "" {
		var end context.CancelCauseFunc
		ctx, end = context.WithCancelCause(ctx)
		defer end(nil)
		defer d.handleHangups(stderr, end)()
	}
	d.announce()
	said := make(chan struct{})
	quiet := context.AfterFunc(ctx, func() {
		defer close(said)
		d.notify("STOPPING=1\nSTATUS=stopping")
		d.log.Info("stopping", "cause", context.Cause(ctx))
	})
	err = runTasks(ctx, d.tasks()...)
	if !quiet() {
		<-said
	}
	return err
}

// A daemon is all that was acquired. What changes flows from the listeners
// through the routes to jobs and the server, and they stop in that order.
type daemon struct {
	cfg       config.Config
	args      []string
	token     string // by which the owner sees all of the status page; as long as the process lives
	told      bool   // the owner was told
	stderr    io.Writer
	log       *slog.Logger
	logs      *logging.SwapHandler // behind log
	queue     *logging.Queue       // by which all that is said goes to stderr
	server    *httpd.Server        // nil if there never is HTTP
	web       listenerSet
	activated []net.Listener // by systemd, for the web
	runner    *job.Runner
	pipeline  *pipeline // nil when there is nothing to watch for
	errors    pageErrors
	waits     runnable.WaitLog
	noted     map[string]bool // of patterns, in the configuration that there is
	control   listenerSet

	reloadRequests chan struct{}  // holds one
	released       chan struct{}  // closed when what the last reload has replaced is released
	background     sync.WaitGroup // of that, and of the search for unmatched routes
}

func acquire(cfg config.Config, args []string, stderr io.Writer) (_ *daemon, err error) {
	d := &daemon{cfg: cfg, args: args, token: rand.Text(), stderr: stderr, reloadRequests: make(chan struct{}, 1), released: make(chan struct{})}
	close(d.released)
	d.queue = logging.NewQueue(func(n int) { d.log.Warn("messages were dropped, as nobody read the log", "messages", n) })
	d.logs = logging.NewSwapHandler(logging.NewHandler(stderr, d.queue, logOptions(&cfg)))
	d.log = slog.New(d.logs)
	defer func() {
		if err != nil {
			d.release()
		}
	}()
	if cfg.File != "" {
		if d.runner, err = job.New(job.Options{Output: d.output, Done: d.logLeftBehind}); err != nil {
			return nil, err
		}
	}
	found, wrong := runnable.Resolve(&cfg, d.runner, d.died, d.complain)
	if err := wrong.Err(); err != nil {
		return nil, err
	}
	if err := d.acquireServer(); err != nil {
		return nil, err
	}
	controls, err := d.controlSockets(cfg)
	if err != nil {
		return nil, err
	}
	d.control.serve = d.serveControl
	d.control.replace(controls)
	if len(cfg.Roots()) > 0 || cfg.File != "" {
		resolved := &resolvedConfig{cfg, found}
		if d.pipeline, err = d.newPipeline(resolved); err != nil {
			return nil, err
		}
		d.errors.follow(d.server, resolved)
	}
	d.logNotes(cfg)
	return d, nil
}

// acquireServer makes the server and its sockets, or, where a configuration
// that is loaded anew may have one, a server without any.
func (d *daemon) acquireServer() (err error) {
	if !d.cfg.Serve && d.cfg.File == "" {
		return nil
	}
	if d.cfg.Serve {
		if err := config.CheckRoot(d.cfg.Root); err != nil {
			return err
		}
	}
	if d.server, err = httpd.New(d.serverOptions(d.cfg)); err != nil {
		return explainServer(err)
	}
	sockets, err := d.webSockets(d.cfg)
	if err != nil {
		return err
	}
	d.web.serve = d.server.Serve
	d.web.replace(sockets)
	return nil
}

// explainServer says what to do about options that the server refuses.
func explainServer(err error) error {
	if _, noRoot := errors.AsType[*fs.PathError](err); noRoot {
		return err
	}
	return config.UsageError{Err: err} // an -allow flag
}

// serverOptions are what a configuration says, and what the status page shows
// of the daemon.
func (d *daemon) serverOptions(cfg config.Config) httpd.Options {
	if !cfg.Serve {
		return httpd.Options{Logger: d.log, NoLiveReload: true}
	}
	o := cfg.HTTP(d.log, d.watches)
	o.Token = d.token
	if d.runner != nil {
		o.Runs, o.RunsChanged = d.runs, d.runner.Log().Changed
	}
	return o
}

// output logs what a job writes, no faster than the log is read.
func (d *daemon) output(l job.Line) {
	d.queue.WaitForRoom()
	d.log.Info(l.Text, "route", l.Route)
}

// logLeftBehind logs what a run that is over has left behind.
func (d *daemon) logLeftBehind(r job.Run) {
	if r.Ended.Count > 0 {
		d.log.Info(logging.EndedBehind, "route", r.Route, "processes", r.Ended)
	}
	if r.Left.Count > 0 {
		d.log.Info(logging.LeftRunning, "route", r.Route, "processes", r.Left)
	}
}

// complain logs what is wrong with what follows a run.
func (d *daemon) complain(route string, err error) { d.log.Warn(err.Error(), "route", route) }

// died logs the end of a service.
func (d *daemon) died(route string, err error) {
	log := d.log
	if e, ok := errors.AsType[*job.Error](err); ok {
		log = log.With("took", e.Run.Took.Round(time.Millisecond))
	}
	log.Error(logging.Died, "route", route, "err", err)
	d.errors.set(route, "", err)
}

func (d *daemon) release() {
	if d.pipeline != nil {
		d.pipeline.group.Close()
	}
	if d.runner != nil {
		d.runner.Close()
	}
	d.control.close()
	d.web.close()
	if d.server != nil {
		d.server.Close()
	}
	d.queue.Close()
}

// announce tells the user, and systemd, that the daemon is ready: its sockets
// take connections and every directory is watched.
func (d *daemon) announce() {
	status := d.status()
	if d.cfg.LogFormat == "json" {
		d.log.Info(status)
	} else {
		d.say(status)
	}
	d.tellOwner()
	d.notify("READY=1\nSTATUS=" + status)
}

// tellOwner writes, once, the address at which the owner sees all of the status
// page, as soon as there is one. It stands nowhere else: not in later lines of
// the log, and not in the status that systemd shows to every user.
func (d *daemon) tellOwner() {
	sockets := d.web.sockets()
	if d.told || !d.cfg.Reloads() || len(sockets) == 0 {
		return
	}
	d.told = true
	page := siteURL(sockets[0]) + ".execlogd/?token=" + d.token
	if d.cfg.LogFormat == "json" {
		d.log.Info("status page", "url", page)
	} else {
		d.say("status page " + page)
	}
}

// say writes a line that is no part of the log, in its order.
func (d *daemon) say(line string) { fmt.Fprintln(d.queue.Writer(d.stderr), "execlogd:", line) }

// status is what the daemon does, in one line.
func (d *daemon) status() string {
	var parts []string
	if d.cfg.Serve {
		parts = append(parts, d.serving())
	}
	if n := len(d.cfg.Routes); n > 0 {
		parts = append(parts, logging.Count(n, "route", "routes"))
	}
	if p := d.pipeline; p != nil {
		parts = append(parts, "watching "+logging.WatchedCount(p.group.Watches(), p.now().Roots()))
	}
	return strings.Join(parts, ", ")
}

func (d *daemon) serving() string {
	what := "live reload for " + d.cfg.Root
	if d.cfg.Static {
		what = "serving " + d.cfg.Root
	}
	var addresses []string
	for _, ln := range d.web.sockets() {
		addresses = append(addresses, address(ln))
	}
	return what + " on " + strings.Join(addresses, " and ")
}

func (d *daemon) tasks() []task {
	var tasks []task
	if d.cfg.WatchFile {
		problem := func(err error) { d.log.Warn("watch configuration", "err", err) }
		w := &fileWatch{path: d.cfg.Path, text: d.cfg.Text, changed: d.requestReload, problem: problem}
		tasks = append(tasks, task{"watch configuration", w.run})
	}
	if d.cfg.File != "" {
		tasks = append(tasks, task{"reload", d.reloadOnRequest})
	}
	if d.pipeline != nil {
		tasks = append(tasks, task{"watch", d.pipeline.run})
	}
	if d.server != nil {
		tasks = append(tasks, task{"serve", d.web.run})
	}
	if d.runner != nil {
		tasks = append(tasks, task{"control", d.control.run})
	}
	return tasks
}

const usage = `Usage: execlogd [flags]
       execlogd run [flags] command [argument...]
       execlogd check -config file
       execlogd log [flags]
       execlogd trigger [flags] route [path...]
       execlogd watch [flags] [directory...]
       execlogd why [flags] path [new-path]

Serves a directory and refreshes its pages in browsers when files change, or runs the
routes of a configuration file (execlogd.toml(5)), or both. The other commands:

  run      runs one command when files change
  check    reports the mistakes in a configuration file
  log      prints what a running daemon has run
  trigger  makes a running daemon run a route
  watch    prints the events in directories
  why      explains what a change of a path would do
`

func printVersion(stdout io.Writer) error {
	_, err := fmt.Fprintln(stdout, "execlogd", version)
	return err
}

func parseConfig(args []string) (config.Config, error) {
	cfg, rest, err := config.Parse("execlogd", usage, args)
	if err == nil && len(rest) > 0 {
		err = config.Usagef("what is %q? It is no command (%s), and the directory to serve is -root %[1]s", rest[0], commandNames())
	}
	return cfg, err
}

// logOptions returns how to log.
func logOptions(cfg *config.Config) logging.Options {
	o := logging.Options{
		Level: cfg.LogLevel, Format: logging.Format(cfg.LogFormat), NoColor: os.Getenv("NO_COLOR") != "",
		JournalStream: os.Getenv("JOURNAL_STREAM"), JournalSocket: journalSocket,
	}
	for _, r := range cfg.Routes {
		o.Routes = append(o.Routes, r.Name)
	}
	return o
}

// journalSocket is where systemd-journald listens.
const journalSocket = "/run/systemd/journal/socket"
