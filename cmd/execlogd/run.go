package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

const runUsage = `Usage: execlogd run [flags] command [argument...]
       execlogd run [flags] -shell script

Runs a command at once, and again when something below a directory changes. In
arguments {path} stands for the file that has changed, and {paths}, if it is
one, for all of them; such a command, and one for each file (-per file), first
runs at a change. A -- before the command ends the flags.

On a terminal the command has that to itself, as under a shell: it may read from
it, and Ctrl-C goes to the command, whose end by it ends execlogd as well. While
none runs there are keys: Enter runs again, p pauses, q quits, ? lists them. With
-restart and -signal they are there until the command reads from the terminal, and
with -stdin none, where it cannot, all the time.
`

// A failedRun is the run at which -exit-on-failure ended it all.
type failedRun struct{ error }

func (f failedRun) Unwrap() error { return f.error }

func (f failedRun) status() int { return statusOf(f.error) }

// runOnChanges runs a command on changes until ctx ends.
func runOnChanges(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	cfg, err := config.ParseRun("execlogd run", runUsage, args)
	if err != nil {
		return err
	}
	if cfg.Help != "" {
		_, err := io.WriteString(stdout, cfg.Help)
		return err
	}
	for _, dir := range cfg.Paths {
		if err := config.CheckRootOrFile("path", dir, "name another with -path, or add -wait", cfg.Wait); err != nil {
			return err
		}
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	o := &oneLiner{cfg: cfg, stdin: os.Stdin, stdout: stdout, stderr: stderr, end: end}
	defer o.openOutputs(ctx)()
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
	cfg            config.Run
	stdin          *os.File
	stdout, stderr io.Writer
	outputs        runOutputs
	end            context.CancelCauseFunc
	runner         *job.Runner
	work           *work
	routes         *router.Router
	terminal       *runTerminal // nil without one
	waits          waitLog
}

func (o *oneLiner) run(ctx context.Context) (err error) {
	if o.terminal, err = o.openTerminal(); err != nil {
		return err
	}
	defer o.terminal.close()
	if o.runner, err = job.New(o.jobs()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.runner.Close()) }()
	if o.work, err = makeWork(&o.cfg.Route, o.runner, o.died, func(err error) { o.say(err.Error()) }); err != nil {
		return err
	}
	route := o.cfg.Router(onlyChanged(&o.cfg.Route, o.work, o.terminal.pausing(o.clearing(o.work.run))))
	route.Roots = nil
	route.OwnOutput = ownOutput(o.runner, route.Name)
	// Who stops us wants the command to end as well, and now.
	o.routes, err = router.New(router.Options{Grace: -1, Waiting: o.sayWaiting, Post: o.post}, route)
	if err != nil {
		return config.UsageError{Err: err}
	}
	var listeners []router.Listener
	for _, dir := range o.cfg.Paths {
		listeners = append(listeners, router.Listener{Root: dir, Router: o.routes, Wait: o.cfg.Wait, Notice: sayRoot(o.say, dir)})
	}
	group, err := router.NewGroup(inotify.Options{Problem: func(err error) { o.say(err.Error()) }}, listeners...)
	if err != nil {
		return err
	}
	defer group.Close()
	o.say("watching " + watchedCount(group.Watches(), o.cfg.Paths) + o.terminal.hint())
	sayMissing(o.say, o.cfg.Paths)
	var notes sync.WaitGroup
	defer notes.Wait()
	ctx, stopNotes := context.WithCancel(ctx)
	defer stopNotes()
	notes.Go(func() { o.sayNotes(ctx, o.routes) })
	if o.cfg.Start {
		if err := o.trigger(o.cfg.Whole()); err != nil {
			return err
		}
	}
	o.terminal.begin(o.cfg.Start)
	stop := stopGuard{runner: o.runner, say: o.say, again: stopAgain(o.stderr)}
	stop.guard(ctx)
	defer stop.end()
	return group.Run(ctx)
}

// trigger has the command run.
func (o *oneLiner) trigger(events ...inotify.Event) error {
	_, err := o.routes.Trigger(o.cfg.Name, events...)
	return err
}

// sayRoot says that a directory that is listened to is gone, and that it is there.
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

// sayMissing says which of what is to be listened to is not there yet.
func sayMissing(say func(string), roots []string) {
	for _, root := range roots {
		if _, err := os.Stat(root); err != nil {
			say(inotify.Quote(root) + " is not there yet; waiting for it")
		}
	}
}

// runOutputs are the standard streams as `execlogd run` writes to them: one line
// after the other, by one queue where both go to the same place. What the command
// writes is waited for, so that it is held up as under a shell; our own lines are
// dropped when nobody reads them.
type runOutputs struct {
	stdout, stderr io.Writer      // for the command
	queue          *logging.Queue // to standard error
}

// openOutputs makes the outputs. The function that it returns writes what is
// left.
func (o *oneLiner) openOutputs(ctx context.Context) (closeAll func()) {
	errs := logging.NewQueue(func(n int) {
		o.say(count(n, "line was", "lines were") + " dropped, as nobody read them")
	})
	out := errs
	if !sameOutput(o.stdout, o.stderr) {
		out = logging.NewQueue(nil)
	}
	o.outputs = runOutputs{out.WaitingWriter(ctx, o.stdout), errs.WaitingWriter(ctx, o.stderr), errs}
	return func() {
		var closing sync.WaitGroup
		closing.Go(out.Close)
		errs.Close()
		closing.Wait()
	}
}

// say prints a line for the user.
func (o *oneLiner) say(text string) {
	o.outputs.queue.WriteLine(o.stderr, "execlogd: "+text+"\n")
}

// jobs are how the command runs. It writes to terminals itself, and its standard
// error goes where ours does.
func (o *oneLiner) jobs() job.Options {
	opts := job.Options{Output: o.output, Done: o.sayLeftBehind, Separate: !sameOutput(o.stdout, o.stderr)}
	if logging.IsTerminal(o.stdout) {
		opts.Stdout, _ = o.stdout.(*os.File)
	}
	if logging.IsTerminal(o.stderr) {
		opts.Stderr, _ = o.stderr.(*os.File)
	}
	o.terminal.lend(&opts)
	return opts
}

// sayLeftBehind says what a run that is over has left behind.
func (o *oneLiner) sayLeftBehind(r job.Run) {
	if text := describeLeftBehind(r); text != "" {
		o.say(text)
	}
}

// sameOutput reports whether what is written to one goes where the other goes, as
// after 2>&1.
func sameOutput(a, b io.Writer) bool {
	fileA, isFileA := a.(*os.File)
	fileB, isFileB := b.(*os.File)
	if !isFileA || !isFileB {
		return a == b
	}
	infoA, errA := fileA.Stat()
	infoB, errB := fileB.Stat()
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// output passes on what the command writes. When nobody reads it, it all ends.
func (o *oneLiner) output(l job.Line) {
	end := "\n"
	if l.Cut {
		end = ""
	}
	to := o.outputs.stdout
	if l.Stderr {
		to = o.outputs.stderr
	}
	if _, err := io.WriteString(to, l.Text+end); err != nil {
		o.end(fmt.Errorf("print output: %w", err))
	}
}

// sayWaiting says that a file is waited for because it is being written.
func (o *oneLiner) sayWaiting(_ string, file inotify.Event) {
	if line := o.waits.line(file); line != "" {
		o.say(line)
	}
}

// clearing is work that clears the terminal first, if it is one and that is
// asked for.
func (o *oneLiner) clearing(work router.Callback) router.Callback {
	if !o.cfg.Clear || !logging.IsTerminal(o.stdout) {
		return work
	}
	const home, screen, history = "\x1b[H", "\x1b[2J", "\x1b[3J"
	return func(ctx context.Context, batch []inotify.Event) error {
		_, _ = io.WriteString(o.outputs.stdout, home+screen+history)
		return work(ctx, batch)
	}
}

// post says how a run ended.
func (o *oneLiner) post(f router.Frame) {
	f = o.work.contents.told(f)
	f.Err = adviseOnLoop(f.Err, "name it with -outputs or -ignore")
	took := f.Took.Round(time.Millisecond)
	switch {
	case f.Outcome != router.Succeeded && f.Outcome != router.Failed:
		return // nothing has come of it, or it was a pause
	case f.Again:
		o.say(fmt.Sprintf("%v after %v, %s%s", f.Err, took, logging.AgainIn(f.Backoff), o.about(f)))
	case f.Err != nil && o.cfg.ExitOnFailure:
		o.end(failedRun{fmt.Errorf("%w%s", f.Err, o.about(f))})
	case o.terminal.ended(f):
		o.end(nil) // as a shell script does after Ctrl-C
	case f.Err == nil:
		o.say(fmt.Sprintf("%s: ok after %v%s", o.program(), took, o.about(f)))
	case errors.As(f.Err, new(*router.LoopError)), errors.Is(f.Err, router.ErrKept):
		o.say(fmt.Sprintf("%v%s", f.Err, o.about(f))) // nothing ran that took any time
	default:
		o.say(fmt.Sprintf("%v after %v%s", f.Err, took, o.about(f)))
	}
}

// died says how a command has ended that gets signals. The next change starts it
// again.
func (o *oneLiner) died(err error) {
	switch {
	case o.cfg.ExitOnFailure:
		o.end(failedRun{err})
	case o.terminal.ended(router.Frame{Err: err}):
		o.end(nil)
	default:
		o.say(err.Error())
	}
}

// program is what lines call the command.
func (o *oneLiner) program() string {
	if o.cfg.Shell != "" {
		return "sh"
	}
	return filepath.Base(o.cfg.Run[0])
}

// about is the file of a run by file, for the end of a line.
func (o *oneLiner) about(f router.Frame) string {
	if !o.cfg.PerFile() {
		return ""
	}
	line := logging.Line{Paths: logging.Paths{f.Events[0].Name()}}
	return ": " + line.About()
}
