// Execlogd serves a directory over HTTP, watches it with inotify, and tells
// the browsers that have a page of it open what has changed. With routes, it
// runs commands on changes as well, or these alone.
//
//	execlogd [flags]
//	execlogd run [flags] command [argument...]
//	execlogd check [flags]
//	execlogd log [-f] [-json]
//	execlogd reload
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
// command line is wrong, or 64 if systemd has started it; what was wrong is one
// line on standard error. run -exit-on-failure, and trigger, have that of the
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
	"strings"
	"sync"
	"syscall"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/daemon"
	"github.com/execlog/execlogd/internal/logging"
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
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
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
		if t := activeTerminal.Load(); t != nil {
			t.keys.off() // which restores the modes of the terminal; last, as they may be set meanwhile
		}
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
	"run": runOnChanges, "check": check, "log": showLog, "reload": reload, "trigger": trigger, "watch": watch, "why": why,
}

// run is the whole program.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	start, name := serve, ""
	switch {
	case len(args) > 0 && commands[args[0]] != nil:
		start, name, args = commands[args[0]], args[0], args[1:]
	case len(args) > 0 && args[0] == "complete": // for shells, and in no list of commands
		start, name, args = complete, args[0], args[1:]
	}

	err := start(ctx, args, stdout, stderr)
	if help, ok := errors.AsType[config.HelpError](err); ok {
		_, err = io.WriteString(stdout, string(help))
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
func serve(ctx context.Context, args []string, _, stderr io.Writer) error {
	load := func() (config.Config, error) {
		cfg, rest, err := config.Parse("execlogd", usage, args)
		if err == nil && len(rest) > 0 {
			err = config.Usagef("what is %q? It is no command (%s), and the directory to serve is -root %[1]s", rest[0], strings.Join(slices.Sorted(maps.Keys(commands)), ", "))
		}
		return cfg, err
	}

	cfg, err := daemon.UnlessHung(ctx, load) // which looks at the roots
	switch {
	case errors.Is(err, daemon.ErrStopped):
		return nil
	case err != nil:
		return err
	}
	return daemon.Run(ctx, cfg, daemon.Options{Load: load, Stderr: stderr})
}

const usage = `Usage: execlogd [flags]
       execlogd run [flags] command [argument...]
       execlogd check [flags]
       execlogd log [flags]
       execlogd reload [flags]
       execlogd trigger [flags] route [path...]
       execlogd watch [flags] [directory...]
       execlogd why [flags] path [new-path]

Serves a directory and refreshes its pages in browsers when files change, or runs the
routes of a configuration file (execlogd.toml(5)), or both. The other commands:

  run      runs one command when files change
  check    reports the mistakes in a configuration file, and in flags
  log      prints what a running daemon has run
  reload   makes a running daemon load its configuration again
  trigger  makes a running daemon run a route
  watch    prints the events in directories
  why      explains what a change of a path would do
`
