package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

const runUsage = `Usage: execlogd run [flags] command [argument...]
       execlogd run [flags] -shell script

Runs a command at once, and again when something below a directory changes. In
arguments {path} stands for the file that has changed, and {paths}, if it is
one, for all of them; such a command, and one for each file (-per file), first
runs at a change. A -- before the command ends the flags.

On a terminal the command writes to that itself, with its colours. Ctrl-C ends
the command, and then execlogd.
`

// runConfig is the command line of `execlogd run`, checked. Its root is the
// first of its paths.
type runConfig struct {
	routeConfig
	paths  []string // absolute
	clear  bool
	strict bool // -exit-on-failure

	print string // help: print it and be done
}

func parseRun(args []string) (runConfig, error) {
	cfg, argv, err := parseRunFlags("execlogd run", runUsage, args)
	if err != nil || cfg.print != "" {
		return cfg, err
	}
	for _, arg := range argv {
		cfg.run = append(cfg.run, placed{is: arg})
	}
	switch {
	case len(cfg.run) == 0 && cfg.shell.is == "":
		return cfg, usagef("what is to run? Name a command, as in execlogd run make")
	case len(cfg.run) > 0 && cfg.shell.is != "":
		return cfg, usagef("there are both -shell and a command, %q: drop one of them", argv[0])
	}
	cfg.start = cfg.start && cfg.per == "route" && !strings.Contains(strings.Join(argv, " "), "{path")
	return cfg, nil
}

// parseRunFlags reads the flags of run, and returns what follows them.
func parseRunFlags(name, usage string, args []string) (runConfig, []string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return runConfig{}, nil, err
	}
	cfg := runConfig{routeConfig: routeDefaults}
	cfg.name.is = "run"
	cfg.dir.is = dir
	r := &reader{dir: dir}
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	cfg.define(flags, r)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return runConfig{print: help(flags, usage)}, nil, nil
	case err != nil:
		return cfg, nil, usageError{error: err}
	case len(r.mistakes) > 0:
		return cfg, nil, usageError{error: errors.New(r.mistakes[0].text)}
	}
	if len(cfg.paths) == 0 {
		cfg.paths = []string{dir}
	}
	cfg.root.is = cfg.paths[0]
	cfg.setHold()
	return cfg, flags.Args(), wrongFlag(cfg.listed(), cfg.paths...)
}

// define declares the flags: those of the keys that a route has in a file, and
// a few that are run's alone.
func (cfg *runConfig) define(flags *flag.FlagSet, r *reader) {
	defineKeys(flags, r, cfg.keys())
	defineKeys(flags, r, []key{{"path", directory(func(p placed) { cfg.paths = append(cfg.paths, p.is) }), "listen to this `directory` with all below it, by default the current one (may be repeated)"}})
	flags.BoolFunc("restart", "end the command when something changes while it runs, and start it again, as for a\nserver: -on-busy restart", func(s string) error {
		if on, err := strconv.ParseBool(s); err != nil || !on {
			return err
		}
		cfg.onBusy = "restart"
		return nil
	})
	cfg.start = true
	flags.BoolFunc("postpone", "do not run before the first change", func(s string) error {
		postpone, err := strconv.ParseBool(s)
		cfg.start = !postpone
		return err
	})
	flags.BoolVar(&cfg.clear, "clear", false, "clear the terminal before each run")
	flags.BoolVar(&cfg.strict, "exit-on-failure", false, "end at the first run that fails, with its exit status")
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
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	o := &oneLiner{cfg: cfg, stdout: stdout, stderr: &lockedWriter{w: stderr}, end: end}
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
	opts := job.Options{Output: o.output, Done: o.sayLeftBehind}
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
	route.OwnOutput = ownOutput(runner, route.Name)
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
	var notes sync.WaitGroup
	defer notes.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	notes.Go(func() { o.sayNotes(ctx, routes) })
	if o.cfg.start {
		if _, err := routes.Trigger(o.cfg.name.is, inotify.Event{Root: o.cfg.paths[0], Path: "."}); err != nil {
			return err
		}
	}
	return group.Run(ctx)
}

// A lockedWriter writes what one of several goroutines says after the other.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
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

// sayLeftBehind says what a run has left behind.
func (o *oneLiner) sayLeftBehind(r job.Record) {
	if said := leftBehindBy(r.Ended, r.Left); said != "" {
		fmt.Fprintf(o.stderr, "execlogd: %s\n", printable(said))
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
	f.Err = adviseOnLoop(f.Err, "name it with -outputs or -ignore")
	switch {
	case errors.Is(f.Err, router.ErrRestarted), errors.Is(f.Err, context.Canceled):
		return
	case f.Err == nil:
		fmt.Fprintf(o.stderr, "execlogd: %s: ok after %v%s\n", o.cfg.program(), f.Took.Round(time.Millisecond), o.about(f))
	case f.Again:
		fmt.Fprintf(o.stderr, "execlogd: %v after %v, %s%s\n", f.Err, f.Took.Round(time.Millisecond), againIn(f.Backoff), o.about(f))
	case o.cfg.strict:
		o.end(failedRun{fmt.Errorf("%w%s", f.Err, o.about(f))})
	default:
		fmt.Fprintf(o.stderr, "execlogd: %v after %v%s\n", f.Err, f.Took.Round(time.Millisecond), o.about(f))
	}
}

// program is what lines call the command.
func (cfg *runConfig) program() string {
	if cfg.shell.is != "" {
		return "sh"
	}
	return filepath.Base(cfg.run[0].is)
}

// about is the file of a run by file, for the end of a line.
func (o *oneLiner) about(f router.Frame) string {
	if o.cfg.per != "file" {
		return ""
	}
	line := jobLine{paths: pathList{f.Events[0].Name()}}
	return ": " + line.about()
}
