package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/internal/runnable"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

const runUsage = `Usage: execlogd run [flags] command [argument...]
       execlogd run [flags] -shell script

Runs a command at once, and again when a file below a directory changes. In its
arguments {path} stands for the file that has changed, and an argument {paths} for all
such files. A command with one of these, and one for each file (-per file), does not run
before the first change. A -- before the command ends the flags.

The command has the terminal while it runs, as under a shell: it may read from it, and
Ctrl-C goes to the command; if that ends the command, execlogd ends too. While no command
runs, there are keys: Enter runs it again, p pauses, q quits, ? lists the keys. With
-restart or -signal there are keys until the command reads from the terminal; with
-stdin none, where it cannot, there are always keys.
`

// runOnChanges runs a command on changes until ctx ends.
func runOnChanges(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	cfg, err := config.ParseRun("execlogd run", runUsage, args)
	if err != nil {
		return err
	}
	for _, dir := range cfg.Paths {
		if err := config.CheckRootOrFile("path", dir, "name another with -path, or add -wait", cfg.Wait); err != nil {
			return err
		}
	}

	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	c := &runCommand{cfg: cfg, stdin: os.Stdin, stdout: stdout, stderr: stderr, end: end}
	defer c.openOutputs(ctx)()
	if err := c.run(ctx); err != nil {
		return err
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// A runCommand is the command execlogd run.
type runCommand struct {
	cfg            config.Run
	stdin          *os.File
	stdout, stderr io.Writer

	toStdout, toStderr io.Writer      // which the command writes to
	lines              *logging.Queue // to standard error

	end      context.CancelCauseFunc // ends it all; nil is success
	runner   *job.Runner
	runnable *runnable.Runnable
	router   *router.Router
	terminal *runTerminal // nil without one
	waits    runnable.WaitLog
}

// run watches the paths and runs the command until ctx ends.
func (c *runCommand) run(ctx context.Context) (err error) {
	c.terminal = c.openTerminal()
	defer c.terminal.close()
	if c.runner, err = job.New(c.jobOptions()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.runner.Close()) }()
	if c.router, err = c.newRouter(); err != nil {
		return err
	}

	var listeners []router.Listener
	for _, dir := range c.cfg.Paths {
		listeners = append(listeners, router.Listener{Root: dir, Router: c.router, Wait: c.cfg.Wait, Notice: sayRoot(c.say, dir)})
	}
	stopped := func(int) error { return ctx.Err() }
	group, err := router.NewGroup(inotify.Options{Problem: func(err error) { c.say(err.Error()) }, Scanning: stopped}, listeners...)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	defer group.Close()
	watching := "watching " + logging.WatchedCount(group.Watches(), c.cfg.Paths)
	if c.terminal != nil {
		watching += "; ? lists keys"
	}
	c.say(watching)
	sayMissing(c.say, c.cfg.Paths)

	var notes sync.WaitGroup
	defer notes.Wait()
	ctx, stopNotes := context.WithCancel(ctx)
	defer stopNotes()
	notes.Go(func() { c.sayNotes(ctx) })

	if c.cfg.Start {
		if err := c.trigger(c.cfg.Whole()); err != nil {
			return err
		}
	}
	c.terminal.begin(c.cfg.Start)
	stop := runnable.StopGuard{Runner: c.runner, Say: c.say, Again: runnable.StopAgain(c.stderr)}
	defer stop.Start(ctx)()
	return group.Run(ctx)
}

// newRouter returns the router with the one route of the command.
func (c *runCommand) newRouter() (_ *router.Router, err error) {
	tell := runnable.Notices{
		Died:    func(_ string, err error) { c.died(err) },
		Problem: func(_ string, err error) { c.say(err.Error()) },
	}
	if c.runnable, err = runnable.New(&c.cfg.Route, c.runner, tell); err != nil {
		return nil, err
	}

	clears := c.cfg.Clear && logging.IsTerminal(c.stdout)
	callback := func(ctx context.Context, batch []inotify.Event) error {
		if c.terminal.keep(batch) {
			return errPaused
		}
		if clears {
			const home, screen, history = "\x1b[H", "\x1b[2J", "\x1b[3J"
			_, _ = io.WriteString(c.toStdout, home+screen+history)
		}
		return c.runnable.Run(ctx, batch)
	}

	route := c.cfg.Route.Route
	route.Callback = c.runnable.OnlyChanged(&c.cfg.Route, callback)
	route.OwnOutput = runnable.OwnOutput(c.runner, route.Name)

	// Whoever stops execlogd run wants the command to end as well, and at once.
	r, err := router.New(router.Options{Grace: -1, Waiting: c.sayWaiting, Post: c.post}, route)
	if err != nil {
		return nil, config.UsageError{Err: err}
	}
	return r, nil
}

// trigger runs the command for events.
func (c *runCommand) trigger(events ...inotify.Event) error {
	_, err := c.router.Trigger(c.cfg.Name, events...)
	return err
}

// post says how a run ended.
func (c *runCommand) post(run router.Run) {
	run = c.runnable.WithChangedFiles(run)
	run.Err = runnable.AdviseOnLoop(run.Err, "name it with -outputs or -ignore")

	took := run.Took.Round(time.Millisecond)
	text := fmt.Sprintf("%v after %v", run.Err, took)
	switch {
	case run.Outcome != router.Succeeded && run.Outcome != router.Failed:
		return // it was stopped, skipped or paused
	case run.Again:
		c.say(text + ", " + logging.AgainIn(run.Backoff) + c.about(run))
		return
	case run.Err == nil:
		program := "sh"
		if c.cfg.Service.Shell == "" {
			program = filepath.Base(c.cfg.Service.Argv[0])
		}
		text = fmt.Sprintf("%s: ok after %v", program, took)
	case errors.As(run.Err, new(*router.LoopError)), errors.Is(run.Err, router.ErrKept):
		text = run.Err.Error() // nothing ran that took any time
	}
	c.over(run, text+c.about(run))
}

// died says how a command ended that is told of changes by -signal. The next change
// starts it again.
func (c *runCommand) died(err error) { c.over(router.Run{Err: err}, err.Error()) }

// over says how a run ended, unless execlogd ends with it.
func (c *runCommand) over(run router.Run, text string) {
	switch {
	case run.Err != nil && c.cfg.ExitOnFailure:
		c.end(statusError{fmt.Errorf("%w%s", run.Err, c.about(run)), runnable.ExitStatus(run.Err)})
	case c.terminal.ended(run):
		c.end(nil) // as a shell script ends after Ctrl-C
	default:
		c.say(text)
	}
}

// about names the file of a run with -per file, at the end of a message.
func (c *runCommand) about(run router.Run) string {
	if !c.cfg.PerFile() {
		return ""
	}
	line := logging.Line{Paths: logging.Paths{run.Events[0].Name()}}
	return ": " + line.About()
}

// sayWaiting says that a run waits for a file that is being written.
func (c *runCommand) sayWaiting(_ string, file inotify.Event) {
	if line := c.waits.Line(file); line != "" {
		c.say(line)
	}
}

// sayLeftBehind says what a run that is over has left behind.
func (c *runCommand) sayLeftBehind(r job.Run) {
	if text := logging.LeftBehind(r); text != "" {
		c.say(text)
	}
}

// sayNotes says what may be wrong with the patterns.
func (c *runCommand) sayNotes(ctx context.Context) {
	for _, note := range c.cfg.Notes() {
		c.say("note: " + note.Text)
	}
	if len(c.cfg.Patterns) == 0 || len(runnable.Unmatched(ctx, c.router, c.cfg.Paths, []string{c.cfg.Name})) == 0 {
		return
	}

	why := ""
	hasIgnoreFile := func(root string) bool { return config.IsFile(filepath.Join(root, ".gitignore")) }
	if c.cfg.IgnoreFiles && slices.ContainsFunc(c.cfg.Paths, hasIgnoreFile) {
		why = " (what git ignores counts only with -ignore-files=false)"
	}
	c.say("note: no file matches yet: " + strings.Join(c.cfg.Patterns, " ") + why)
}

// sayRoot returns a function that says that a root is gone, or that it is there.
func sayRoot(say func(string), root string) func(there bool) {
	is := "is there"
	return func(there bool) {
		if there {
			say(inotify.Quote(root) + " " + is)
			return
		}
		is = "is there again"
		say(inotify.Quote(root) + " is gone; waiting for it to come back")
	}
}

// sayMissing says which of the roots do not exist yet.
func sayMissing(say func(string), roots []string) {
	for _, root := range roots {
		if _, err := os.Stat(root); err != nil {
			say(inotify.Quote(root) + " is not there yet; waiting for it")
		}
	}
}
