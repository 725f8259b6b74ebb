// Execlogd serves a directory over HTTP, watches it with inotify, and tells
// the browsers that have a page of it open what has changed. With routes, it
// runs commands on changes as well, or these alone.
//
//	execlogd [flags] [directory | file.toml]
//	execlogd init [-dry-run] [directory]
//	execlogd run [flags] command [argument...]
//	execlogd check [flags] [directory | file.toml]
//	execlogd log [-f] [-json] [-cluster | -dead]
//	execlogd relay [flags] [directory]
//	execlogd reload
//	execlogd retry [-n] id
//	execlogd trigger [-n] route [path...]
//	execlogd watch [flags] [directory...]
//	execlogd why [flags] path
//
// It uses execlogd.toml(5) in the directory that is named, or in the current one;
// without such a file it serves the directory at http://127.0.0.1:8000/ to this
// machine alone. It runs until it gets SIGINT or SIGTERM; a second one
// ends it at once. It works as a Type=notify service of systemd, and takes its
// HTTP sockets from systemd when there are any. `execlogd -help` lists the
// flags; execlogd.toml(5) is what -config reads.
//
// The exit status is 0 after a signal, 1 when something failed, 2 when the
// command line is wrong, or 64 if systemd has started it; what was wrong is one
// line on standard error. run -exit-on-failure, trigger and retry have that of the
// command.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/daemon"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/internal/tty"
	"github.com/execlog/execlogd/job"
)

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
	returned := false
	defer tty.RestoreOnPanic(&returned)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	returned = true
	enough()
	reaper.Wait()
	if err != nil {
		logging.WriteFatal(os.Stderr, err)
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
		logging.WriteFatal(os.Stderr, errors.New("quit at once by SIGQUIT"))
		tty.Restore() // last, as the modes may be set meanwhile
		os.Exit(128 + int(syscall.SIGQUIT))
	}()
}

// A statusError is the failure of a command that was run, with the exit status for it.
type statusError struct {
	error
	status int
}

func (e statusError) Unwrap() error { return e.error }

func exitStatus(err error) int {
	if failed, ok := errors.AsType[statusError](err); ok {
		return failed.status
	}
	if _, ok := errors.AsType[config.UsageError](err); ok {
		return usageStatus()
	}
	if err != nil {
		return 1
	}
	return 0
}

// usageStatus is the exit status for a wrong command line: 2, as of other programs. For a
// service it is EX_USAGE of sysexits.h. A crash of the runtime of Go has the status 2 too,
// and is to be told from what a restart does not mend.
func usageStatus() int {
	if os.Getenv("NOTIFY_SOCKET") != "" {
		return 64
	}
	return 2
}

// commands are what a first argument without a dash names.
var commands = map[string]func(ctx context.Context, args []string, stdout, stderr io.Writer) error{
	"init": initialize, "run": runOnChanges, "check": check, "log": showLog, "relay": relay, "reload": reload, "retry": retry, "trigger": trigger, "watch": watch, "why": why,
}

// run is the whole program.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	start, name := serve, ""
	switch {
	case len(args) > 0 && commands[args[0]] != nil:
		start, name, args = commands[args[0]], args[0], args[1:]
	case len(args) > 0 && args[0] == "complete": // for shells, and in no list of commands
		start, name, args = complete, args[0], args[1:]
	case len(args) > 0 && args[0] == "version": // as other programs have it
		args = []string{"-version"}
	case len(args) > 0 && args[0] == "help":
		return run(ctx, append(args[1:min(2, len(args))], "-help"), stdout, stderr)
	}

	err := start(ctx, args, stdout, stderr)
	if help, ok := errors.AsType[config.HelpError](err); ok {
		program, _ := os.Executable()
		here, _ := os.Getwd()
		_, err = fmt.Fprintf(stdout, "%s\nThe manual: %s\n", help, manualCommand(program, here))
	}
	if errors.Is(err, config.ErrVersion) {
		_, err = fmt.Fprintln(stdout, versionLine())
	}
	if wrong, ok := errors.AsType[config.UsageError](err); ok {
		return config.UsageError{Err: wrong.Err, Command: name}
	}
	return err
}

// serve runs the daemon.
func serve(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags, err := daemonFlags("execlogd", usage, args, slices.Sorted(maps.Keys(commands))...)
	if err != nil {
		return err
	}
	load := func() (config.Config, error) {
		cfg, _, err := config.Parse("execlogd", usage, flags)
		return cfg, err
	}

	cfg, err := daemon.UnlessHung(ctx, load) // which looks at the roots
	switch {
	case errors.Is(err, daemon.ErrStopped):
		return nil
	case err != nil:
		return err
	}
	opts := daemon.Options{Load: load, Stdout: stdout, Stderr: stderr, Stdin: os.Stdin}
	if cfg.File == "" && cfg.ServesFiles() && os.Getenv("NOTIFY_SOCKET") == "" {
		opts.Advice = adviceOnInit(cfg.Root)
	}
	return daemon.Run(ctx, cfg, opts)
}

const usage = `Usage: execlogd [flags] [directory | file.toml]
       execlogd init [flags] [directory]
       execlogd run [flags] command [argument...]
       execlogd check [flags] [directory | file.toml]
       execlogd log [flags]
       execlogd relay [flags] [directory]
       execlogd reload [flags]
       execlogd retry [flags] id
       execlogd trigger [flags] route [path...]
       execlogd watch [flags] [directory...]
       execlogd why [flags] path [new-path]

Serves a directory and refreshes its pages in browsers when files change, or runs the
routes of a configuration file (execlogd.toml(5)), or both. Without a directory, a file,
-root and -config it uses execlogd.toml in the current directory, or else serves that
directory. The other commands:

  init     writes a configuration for what is in a directory
  run      runs one command when files change
  check    reports the mistakes in a configuration file, and in flags
  log      prints what a running daemon has run
  relay    tells daemons on other machines what changes in a directory
  reload   makes a running daemon load its configuration again
  retry    puts a job that has failed into the queue of a cluster again
  trigger  makes a running daemon run a route
  watch    prints the events in directories
  why      explains what a change of a path would do
`
