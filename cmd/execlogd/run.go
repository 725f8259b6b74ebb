package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

const runUsage = `Usage: execlogd run [flags] command [argument...]

Runs a command at once, and again when something below a directory changes. In
arguments {path} stands for the file that has changed, and {paths}, if it is
one, for all of them; such a command, and one for each file (-per file), first
runs at a change. A -- before the command ends the flags.

On a terminal the command writes to that itself, with its colours. Ctrl-C ends
the command, and then execlogd.
`

// runConfig is the command line of `execlogd run`, checked.
type runConfig struct {
	routeConfig
	paths  []string
	clear  bool
	strict bool // -exit-on-failure

	print string // help: print it and be done
}

func parseRun(args []string) (runConfig, error) {
	cfg := runConfig{routeConfig: routeDefaults}
	cfg.ignore = slices.Clone(routeDefaults.ignore)
	cfg.name.is = "run"
	var restart, postpone bool
	flags := flag.NewFlagSet("execlogd run", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Var((*words)(&cfg.paths), "path", "listen to this `directory` with all below it, by default the current one (may be repeated)")
	flags.Var((*words)(&cfg.match), "match", "run when a file that matches this `pattern` changes, by default any (may be repeated)")
	flags.Var((*patterns)(&cfg.ignore), "ignore", "do not listen to what matches this `pattern` (may be repeated; adds to hidden and\ntemporary files, which an empty pattern takes away)")
	flags.Var((*maskFlag)(&cfg.events), "events", "run on these `events` of inotify(7) (default changes of content and of names)")
	flags.Var((*timeFlag)(&cfg.delay), "delay", "gather changes for this `duration` before each run")
	flags.Var((*timeFlag)(&cfg.timeout), "timeout", "end a run that takes longer than this `duration`; 0 is never")
	flags.StringVar(&cfg.per, "per", cfg.per, "route: one run for all that has changed; file: one for each file, side by side")
	flags.BoolVar(&restart, "restart", false, "end the command when something changes while it runs, and start it again, as for a server")
	flags.BoolVar(&postpone, "postpone", false, "do not run before the first change")
	flags.BoolVar(&cfg.clear, "clear", false, "clear the terminal before each run")
	flags.BoolVar(&cfg.strict, "exit-on-failure", false, "end at the first run that fails, with its exit status")
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return runConfig{print: help(flags, runUsage)}, nil
	}
	if err != nil {
		return cfg, usageError{error: err}
	}
	if restart {
		cfg.onBusy = "restart"
	}
	for _, arg := range flags.Args() {
		cfg.run = append(cfg.run, placed{is: arg})
	}
	cfg.start = !postpone && cfg.per == "route" && !strings.Contains(strings.Join(flags.Args(), " "), "{path")
	return cfg, cfg.check()
}

func (cfg *runConfig) check() error {
	if len(cfg.paths) == 0 {
		cfg.paths = []string{"."}
	}
	for i, path := range cfg.paths {
		abs, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		cfg.paths[i] = abs
	}
	switch {
	case len(cfg.run) == 0:
		return usagef("what is to run? Name a command, as in execlogd run make")
	case cfg.delay < 0 || cfg.timeout < 0:
		return usagef("a time is not negative")
	case cfg.per != "route" && cfg.per != "file":
		return usagef("-per %q: want route or file", cfg.per)
	}
	for _, p := range slices.Concat(cfg.match, cfg.ignore) {
		if err := router.CheckPattern(p); err != nil {
			return usagef("pattern %q: %w", p, err)
		}
	}
	return nil
}

// A failedRun is the run at which -exit-on-failure ended it all.
type failedRun struct{ error }

func (f failedRun) Unwrap() error { return f.error }

// status is the exit status of the command, or as a shell makes one of a
// signal; 1 when it did not start.
func (f failedRun) status() int {
	e, ok := errors.AsType[*job.Error](f.error)
	switch {
	case ok && e.Record.Signal != 0:
		return 128 + int(e.Record.Signal)
	case ok && e.Record.Exit > 0:
		return e.Record.Exit
	}
	return 1
}

// runOnChanges runs a command on changes until ctx ends.
func runOnChanges(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	cfg, err := parseRun(args)
	if err != nil {
		return err
	}
	if cfg.print != "" {
		_, err := io.WriteString(stdout, cfg.print)
		return err
	}
	for _, dir := range cfg.paths {
		if err := checkDir("directory", dir, "name another with -path"); err != nil {
			return err
		}
	}
	if cfg.dir.is, err = os.Getwd(); err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	o := &oneLiner{cfg: cfg, stdout: stdout, stderr: stderr, end: end}
	if err := o.run(ctx); err != nil {
		return err
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// A oneLiner is `execlogd run` at work.
type oneLiner struct {
	cfg            runConfig
	stdout, stderr io.Writer
	end            context.CancelCauseFunc
}

func (o *oneLiner) run(ctx context.Context) (err error) {
	opts := job.Options{Output: o.output}
	if isTerminal(o.stdout) {
		opts.Terminal, _ = o.stdout.(*os.File)
	}
	runner, err := job.New(opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, runner.Close()) }()
	work, err := o.cfg.make(runner, nil)
	if err != nil {
		return err
	}
	route := o.cfg.route(o.clearing(work.run))
	route.Roots = nil
	// Who stops us wants the command to end as well, and now.
	routes, err := router.New(router.Options{Grace: -1, Post: o.post}, route)
	if err != nil {
		return usageError{error: err}
	}
	var listeners []router.Listener
	for _, dir := range o.cfg.paths {
		listeners = append(listeners, router.Listener{Root: dir, Router: routes})
	}
	group, err := router.NewGroup(inotify.Options{Problem: func(err error) { fmt.Fprintln(o.stderr, "execlogd:", err) }}, listeners...)
	if err != nil {
		return err
	}
	defer group.Close()
	fmt.Fprintln(o.stderr, "execlogd: watching", count(group.Watches(), "directory", "directories"))
	if o.cfg.start {
		if _, err := routes.Trigger(o.cfg.name.is, inotify.Event{Root: o.cfg.paths[0], Path: "."}); err != nil {
			return err
		}
	}
	return group.Run(ctx)
}

// output passes on what the command writes. When nobody reads it, it all ends.
func (o *oneLiner) output(l job.Line) {
	end := "\n"
	if l.Cut {
		end = ""
	}
	if _, err := io.WriteString(o.stdout, l.Text+end); err != nil {
		o.end(fmt.Errorf("print output: %w", err))
	}
}

// clearing is work that clears the terminal first, if it is one and that is
// asked for.
func (o *oneLiner) clearing(work router.Callback) router.Callback {
	if !o.cfg.clear || !isTerminal(o.stdout) {
		return work
	}
	const home, screen, history = "\x1b[H", "\x1b[2J", "\x1b[3J"
	return func(ctx context.Context, batch []inotify.Event) error {
		fmt.Fprint(o.stdout, home+screen+history)
		return work(ctx, batch)
	}
}

// post says how a run ended.
func (o *oneLiner) post(f router.Frame) {
	switch {
	case errors.Is(f.Err, router.ErrRestarted), errors.Is(f.Err, context.Canceled):
		return
	case f.Err == nil:
		fmt.Fprintf(o.stderr, "execlogd: %s: ok after %v%s\n", filepath.Base(o.cfg.run[0].is), f.Took.Round(time.Millisecond), o.about(f))
	case o.cfg.strict:
		o.end(failedRun{fmt.Errorf("%w%s", f.Err, o.about(f))})
	default:
		fmt.Fprintf(o.stderr, "execlogd: %v after %v%s\n", f.Err, f.Took.Round(time.Millisecond), o.about(f))
	}
}

// about is the file of a run by file, for the end of a line.
func (o *oneLiner) about(f router.Frame) string {
	if o.cfg.per != "file" {
		return ""
	}
	line := jobLine{paths: pathList{f.Events[0].Name()}}
	return ": " + line.about()
}
