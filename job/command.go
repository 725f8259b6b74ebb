package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/job/internal/supervisor"
)

// DefaultGrace is how long after SIGTERM a program gets SIGKILL if its Command
// does not say.
const DefaultGrace = 5 * time.Second

// shell runs the script of a Command.
const shell = "/bin/sh"

// A Command says what to run, and how. The package documentation has the rules.
type Command struct {
	// Name is what logs call the command, and EXECLOGD_ROUTE: the name of
	// its route. It is required.
	Name string

	// Argv is the program and its arguments, in which {path}, {root} and
	// {paths} are filled in.
	Argv []string

	// Shell is a script for /bin/sh, instead of Argv. Nothing is filled in.
	Shell string

	// BuiltLater says that a program given by its path, with a slash in it, may
	// not exist yet, as when a compiler has to run first. That it does not exist
	// is then an error of the run and not of the Command.
	BuiltLater bool

	// Dir is where the program runs; empty is the root of the batch's first
	// event. A relative one is relative to the directory of the process.
	Dir string

	// Env is what to set beside Options.Env, as in "KEY=value".
	Env []string

	// Input is what the program reads from standard input.
	Input Input

	// Grace is how long the program has from SIGTERM to SIGKILL when it is to
	// end, and what it leaves behind, when it has ended; 0 is DefaultGrace,
	// negative is none.
	Grace time.Duration

	// StopSignal asks the program to end, before the SIGKILL of Grace; 0 is
	// SIGTERM. What the program leaves behind gets SIGTERM anyway.
	StopSignal syscall.Signal

	// Leave are the names of processes that a run may leave behind when the
	// program has ended by itself, such as servers that a build tool starts to
	// be quick the next time: patterns of path.Match for the name that the
	// kernel has for a process (15 bytes of it) or the last part of the path
	// that it was started by; "*" is every process. What such a process has
	// started stays with it. The package documentation says what becomes of
	// them. A Service must have none.
	Leave []string
}

// A Job is a Command that can run.
type Job struct {
	runner *Runner
	name   string
	input  Input

	// request is what to ask a supervisor process for, but for what depends on
	// the batch: Argv before names are filled in, Env without the variables of
	// the batch, Dir only if the Command has one, and Path unless each run is to
	// look for the program.
	request supervisor.Request

	isShell bool
}

// Command checks a command and returns it as a Job. A program that cannot be
// found is an error here, unless it is built later.
func (r *Runner) Command(c Command) (_ *Job, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("route %q: %w", c.Name, err)
		}
	}()

	if err := c.check(); err != nil {
		return nil, err
	}
	j := &Job{runner: r, name: c.Name, input: c.Input, isShell: c.Shell != ""}
	j.request = supervisor.Request{
		Argv:       slices.Clone(c.Argv),
		Env:        environment(r.opts.Env, c.Env),
		Grace:      max(0, cmp.Or(c.Grace, DefaultGrace)),
		StopSignal: cmp.Or(c.StopSignal, unix.SIGTERM),
		Leave:      slices.Clone(c.Leave),
	}
	if j.isShell {
		j.request.Argv = []string{shell, "-c", c.Shell}
	}
	if err := checkArguments(j.request.Argv); err != nil {
		return nil, err
	}

	if c.Dir != "" {
		j.request.Dir = absolute(c.Dir)
		if !isDir(j.request.Dir) {
			return nil, fmt.Errorf("directory %q is not there: create it, or name another", j.request.Dir)
		}
	}

	// Look for the program, if it can be known already.
	program, isPath := j.request.Argv[0], strings.Contains(j.request.Argv[0], "/")
	if j.request.Dir == "" && isPath && !filepath.IsAbs(program) {
		return j, nil // it is relative to the root of the batch
	}
	j.request.Path, err = lookPath(program, j.request.Dir, j.request.Env)
	if c.BuiltLater && isPath && errors.Is(err, fs.ErrNotExist) {
		j.request.Path, err = "", nil // each run looks for it
	}
	return j, err
}

// check says what is wrong with a command, before its arguments are looked at.
func (c Command) check() error {
	switch {
	case c.Name == "":
		return errors.New("a command has no name: give it its route's")
	case c.Shell != "" && len(c.Argv) > 0:
		return errors.New("there are both a command and a shell script: drop one of them")
	case c.Shell == "" && (len(c.Argv) == 0 || c.Argv[0] == ""):
		return errors.New("there is no command: name a program, or write a shell script")
	case c.Input > TerminalInput:
		return fmt.Errorf("there is no input %d: take NoInput, JSONLines, NULPaths or TerminalInput", c.Input)
	}

	for _, v := range c.Env {
		if i := strings.IndexByte(v, '='); i < 1 || strings.Contains(v, "\x00") {
			return fmt.Errorf("environment %q: want KEY=value without a NUL byte", v)
		}
	}

	for _, name := range c.Leave {
		if err := CheckLeave(name); err != nil {
			return fmt.Errorf("leave: %w", err)
		}
	}

	return nil
}

// CheckLeave says what is wrong with an element of Command.Leave.
func CheckLeave(name string) error {
	switch _, err := path.Match(name, ""); {
	case err != nil:
		return fmt.Errorf("%q is no pattern: close its bracket, or put a backslash before it", name)
	case strings.Contains(name, "/"):
		return fmt.Errorf("%q has a slash, which the name of a process has not: write %q", name, path.Base(name))
	case name == "":
		return fmt.Errorf("%q is no name: want that of a program, as in %q", name, "java")
	}
	return nil
}

// Run runs the command with a batch and returns when nothing of it is left,
// not a single process. When ctx ends first, the command is ended. It is a
// router.Callback. The error is an *[Error].
func (j *Job) Run(ctx context.Context, batch []inotify.Event) error {
	return j.RunWith(ctx, batch)
}

// RunWith is Run with more variables in the environment, as in "KEY=value".
func (j *Job) RunWith(ctx context.Context, batch []inotify.Event, env ...string) error {
	req, e, err := j.prepare(batch)
	if err != nil {
		return err
	}
	req.Env = append(req.Env, env...)
	x := j.newExecution(e)
	if err := j.start(ctx, x, req, batch); err != nil {
		return err
	}
	defer j.runner.remove(x)

	stop := context.AfterFunc(ctx, func() { x.stop(false) })
	defer stop()
	return x.finish(ctx, (*Run).end)
}

// prepare returns what to run for a batch, with a new entry of the log. If that
// cannot be run, the entry has failed.
func (j *Job) prepare(batch []inotify.Event) (supervisor.Request, *entry, error) {
	req, err := j.requestFor(batch)

	// The log has the arguments without the paths if those are many.
	argv := req.Argv
	if len(argv) == 0 || len(argv) > max(maxEvents, len(j.request.Argv)) {
		argv = j.request.Argv
	}
	e := j.runner.log.begin(Run{
		Route: j.name, Argv: argv, Dir: req.Dir,
		Events: slices.Clone(batch[:min(len(batch), maxEvents)]), Batch: len(batch),
	})
	if err != nil {
		err = j.runner.fail(e, err)
	}
	return req, e, err
}

// requestFor fills in what the command gets of a batch.
func (j *Job) requestFor(batch []inotify.Event) (supervisor.Request, error) {
	r := j.request
	env, complete := variables(j.name, batch)
	if !complete && j.isShell && strings.Contains(r.Argv[2], "EXECLOGD_PATHS") {
		return r, tooLong(len(batch), "EXECLOGD_PATHS", "a variable has 128 KiB at most")
	}
	if r.Dir == "" && len(batch) > 0 {
		r.Dir = absolute(batch[0].Root)
	}
	if r.Dir == "" {
		return r, errors.New("there is no directory to run in: no event has led to this run, so name one")
	}
	r.Env = slices.Concat(r.Env, env, []string{"PWD=" + r.Dir})

	var err error
	if r.Path == "" {
		if r.Path, err = lookPath(r.Argv[0], r.Dir, j.request.Env); err != nil {
			return r, err
		}
	}
	if !j.isShell {
		r.Argv, err = expand(r.Argv, batch)
	}
	return r, err
}

func (j *Job) newExecution(e *entry) *execution {
	return &execution{runner: j.runner, entry: e, written: make(chan struct{})}
}

// start starts what prepare has returned, unless ctx has ended. Without an error the
// caller must remove the execution from the Runner when it is over.
func (j *Job) start(ctx context.Context, x *execution, req supervisor.Request, batch []inotify.Event) error {
	r, e := j.runner, x.entry
	if err := r.add(x); err != nil {
		return r.skip(e, err)
	}

	// Only now is ctx asked: who ends it first and then calls Kill misses no execution.
	if err := context.Cause(ctx); err != nil {
		r.remove(x)
		return r.skip(e, err)
	}

	err := x.start(req, j.input.encode(batch), j.input == TerminalInput)
	if err == nil {
		return nil
	}
	r.remove(x)
	if errors.Is(err, unix.E2BIG) && slices.Contains(j.request.Argv, pathsPlaceholder) {
		err = tooLong(len(batch), "arguments", size(req))
	} else {
		err = startError(req, err)
	}
	return r.fail(e, err)
}

// skip notes that a run was stopped before it began.
func (r *Runner) skip(e *entry, cause error) error {
	return r.done(e, func(run *Run) { run.Err, run.stopped, run.Exit = stopCause(cause), true, -1 })
}

// fail notes that a run did not start.
func (r *Runner) fail(e *entry, err error) error {
	return r.done(e, func(run *Run) { run.Err, run.Exit = err, -1 })
}

// done notes how a run ended, as note has it, tells Options.Done of it and returns its
// *Error, or nil if it succeeded.
func (r *Runner) done(e *entry, note func(*Run)) error {
	run := e.end(note)
	if r.opts.Done != nil {
		r.opts.Done(run)
	}
	if run.Err == nil {
		return nil
	}
	return &Error{run}
}
