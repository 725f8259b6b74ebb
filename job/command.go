package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// DefaultGrace is how long after SIGTERM a program gets SIGKILL if its Command
// does not say.
const DefaultGrace = 5 * time.Second

// shell runs the script of a Command.
const shell = "/bin/sh"

// A Command says what to run, and how. The package documentation has the
// rules.
type Command struct {
	// Name is what logs call the command, and EXECLOGD_ROUTE: the name of
	// its route. It is required.
	Name string

	// Argv is the program and its arguments, in which {path}, {root} and
	// {paths} are filled in.
	Argv []string

	// Shell is a script for /bin/sh, instead of Argv. Nothing is filled in.
	Shell string

	// Made says that a program given by its path, which has a slash in it,
	// may be made later, as by a compiler that runs first. That it is not
	// there is then an error of the run.
	Made bool

	// Dir is where it runs; empty is the root of the batch's first event.
	// A relative one is relative to the directory of the process.
	Dir string

	// Env is what to set beside Options.Env, as in "KEY=value".
	Env []string

	// Input is what it reads from standard input.
	Input Input

	// Grace is how long it has from SIGTERM to SIGKILL when it is to end,
	// and what it leaves behind, when it has ended; 0 is DefaultGrace,
	// negative is none.
	Grace time.Duration

	// Stop asks the program to end, before the SIGKILL of Grace; 0 is SIGTERM.
	// What the program leaves behind is asked by SIGTERM anyway.
	Stop syscall.Signal

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
	argv   []string // as in Command, or a shell's
	path   string   // of the program; empty if each run is to look
	dir    string   // absolute; empty is the root
	env    []string
	input  Input
	grace  time.Duration
	stop   syscall.Signal
	leave  []string
	shell  bool
}

// Command checks a command and returns it as a Job. A program that cannot be
// found is an error here, unless it is yet to be made.
func (r *Runner) Command(c Command) (*Job, error) {
	j, err := r.job(c)
	if err != nil {
		return nil, fmt.Errorf("route %q: %w", c.Name, err)
	}
	return j, nil
}

func (r *Runner) job(c Command) (*Job, error) {
	j := &Job{
		runner: r,
		name:   c.Name,
		argv:   slices.Clone(c.Argv),
		env:    environment(r.opts.Env, c.Env),
		input:  c.Input,
		grace:  max(0, cmp.Or(c.Grace, DefaultGrace)),
		stop:   cmp.Or(c.Stop, syscall.SIGTERM),
		leave:  slices.Clone(c.Leave),
		shell:  c.Shell != "",
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if j.shell {
		j.argv = []string{shell, "-c", c.Shell}
	}
	if err := checkArguments(j.argv); err != nil {
		return nil, err
	}
	if c.Dir != "" {
		j.dir = absolute(c.Dir)
		if !isDir(j.dir) {
			return nil, fmt.Errorf("directory %q is not there: create it, or name another", j.dir)
		}
	}
	return j, j.find(c.Made)
}

// check says what is wrong with a command before its program is looked for.
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

// find looks for the program, unless it is to be found from the root on, or is
// yet to be made.
func (j *Job) find(made bool) error {
	program := j.argv[0]
	isPath := strings.Contains(program, "/")
	if j.dir == "" && isPath && !filepath.IsAbs(program) {
		return nil
	}
	path, err := lookPath(program, j.dir, j.env)
	if made && isPath && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	j.path = path
	return err
}

// Run runs the command with a batch and returns when nothing of it is left,
// not a single process. When ctx ends first, the command is ended. It is a
// router.Callback. The error is an *[Error].
func (j *Job) Run(ctx context.Context, batch []inotify.Event) error {
	return j.RunWith(ctx, batch)
}

// RunWith is Run with more variables in the environment, as in "KEY=value".
func (j *Job) RunWith(ctx context.Context, batch []inotify.Event, env ...string) error {
	req, e, err := j.begin(batch)
	req.env = slices.Concat(req.env, env)
	if err != nil {
		return err
	}
	x, err := j.start(ctx, req, e, batch)
	if err != nil {
		return err
	}
	defer j.runner.leave(x)
	stop := context.AfterFunc(ctx, x.stop)
	defer stop()
	return x.finish(ctx)
}

// begin is what to run for a batch, and its record.
func (j *Job) begin(batch []inotify.Event) (request, *entry, error) {
	req, err := j.request(batch)
	e := j.runner.log.begin(Run{
		Route: j.name, Argv: j.shown(req.argv), Dir: req.dir,
		Events: slices.Clone(batch[:min(len(batch), maxEvents)]), Batch: len(batch),
	})
	if err != nil {
		err = j.runner.fail(e, err)
	}
	return req, e, err
}

// start starts what begin has returned, unless ctx has ended.
func (j *Job) start(ctx context.Context, req request, e *entry, batch []inotify.Event) (*execution, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, j.runner.skip(e, err)
	}
	x, err := j.runner.start(req, j.input.payload(batch), e)
	switch {
	case errors.Is(err, errClosed):
		return nil, j.runner.skip(e, err)
	case errors.Is(err, syscall.E2BIG) && slices.Contains(j.argv, pathsHole):
		return nil, j.runner.fail(e, tooLong(len(batch), "arguments", size(req)))
	case err != nil:
		return nil, j.runner.fail(e, startError(req, err))
	}
	return x, nil
}

// shown is what a record says of the arguments: as they are, or without the
// paths if those are many.
func (j *Job) shown(argv []string) []string {
	if len(argv) == 0 || len(argv) > max(maxEvents, len(j.argv)) {
		return j.argv
	}
	return argv
}

// request is the command with a batch.
func (j *Job) request(batch []inotify.Event) (request, error) {
	r := request{path: j.path, dir: j.dir, argv: j.argv, grace: j.grace, stop: j.stop, leave: j.leave, terminal: j.input == TerminalInput}
	env, list := variables(j.name, batch)
	if !list && j.shell && strings.Contains(j.argv[2], "EXECLOGD_PATHS") {
		return r, tooLong(len(batch), "EXECLOGD_PATHS", "a variable has 128 KiB at most")
	}
	if r.dir == "" && len(batch) > 0 {
		r.dir = absolute(batch[0].Root)
	}
	if r.dir == "" {
		return r, errors.New("there is no directory to run in: no event has led to this run, so name one")
	}
	r.env = slices.Concat(j.env, env, []string{"PWD=" + r.dir})
	var err error
	if r.path == "" {
		if r.path, err = lookPath(j.argv[0], r.dir, j.env); err != nil {
			return r, err
		}
	}
	if !j.shell {
		r.argv, err = expand(j.argv, batch)
	}
	return r, err
}

// skip notes that a run was stopped before it began.
func (r *Runner) skip(e *entry, cause error) error {
	return r.done(e, ending{err: stopCause(cause), stopped: true, exit: -1})
}

// fail notes that a run did not start.
func (r *Runner) fail(e *entry, err error) error {
	return r.done(e, ending{err: err, exit: -1})
}

// done notes how a run ended, tells Options.Done of it and returns its *Error, or
// nil if it succeeded.
func (r *Runner) done(e *entry, how ending) error {
	run := e.end(how)
	if r.opts.Done != nil {
		r.opts.Done(run)
	}
	if run.Err == nil {
		return nil
	}
	return &Error{run}
}

// finish waits for the end of an execution and notes how the run ended.
func (x *execution) finish(ctx context.Context) error {
	end, err := x.wait()
	if err != nil {
		return x.runner.fail(x.entry, err)
	}
	var cause error
	if x.stopping() {
		cause = stopCause(cmp.Or(context.Cause(ctx), errStop)) // errStop is that of Close
	}
	return x.runner.done(x.entry, endingOf(end, cause))
}
