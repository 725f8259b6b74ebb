package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/internal/tty"
	"github.com/execlog/execlogd/job"
)

// openOutputs opens the outputs of execlogd run. Where both lead to the same file they
// have one queue, so that lines do not mix. The command waits for what it writes to be
// read, as under a shell. Our own lines are dropped when nobody reads them. The function
// that it returns writes what is left in the queues.
func (c *runCommand) openOutputs(ctx context.Context) (closeAll func()) {
	errs := logging.NewQueue(func(n int) {
		c.say(logging.Count(n, "line was", "lines were") + " dropped, as nobody read them")
	})

	out := errs
	if !tty.SameFile(c.stdout, c.stderr) {
		out = logging.NewQueue(nil)
	}

	c.toStdout, c.toStderr, c.lines = out.WaitingWriter(ctx, c.stdout), errs.WaitingWriter(ctx, c.stderr), errs

	return func() {
		var closing sync.WaitGroup
		closing.Go(out.Close)
		errs.Close()
		closing.Wait()
	}
}

// say prints a line for the user.
func (c *runCommand) say(text string) {
	c.lines.WriteLine(c.stderr, "execlogd: "+text+"\n")
}

// jobOptions returns how to run the command. It writes to terminals itself.
func (c *runCommand) jobOptions() job.Options {
	opts := job.Options{Output: c.printOutput, Done: c.sayLeftBehind, Separate: !tty.SameFile(c.stdout, c.stderr)}
	if logging.IsTerminal(c.stdout) {
		opts.Stdout, _ = c.stdout.(*os.File)
	}
	if logging.IsTerminal(c.stderr) {
		opts.Stderr, _ = c.stderr.(*os.File)
	}
	if t := c.terminal; t != nil && t.lends {
		opts.Terminal, opts.KeySignal = t.terminal.Terminal, t.signalTyped
	}
	return opts
}

// printOutput prints what the command wrote. When nobody reads it, execlogd ends.
func (c *runCommand) printOutput(l job.Line) {
	end := "\n"
	if l.Cut {
		end = ""
	}

	to := c.toStdout
	if l.Stderr {
		to = c.toStderr
	}

	if _, err := io.WriteString(to, l.Text+end); err != nil {
		c.end(fmt.Errorf("print output: %w", err))
	}
}
