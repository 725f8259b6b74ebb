package job

import (
	"cmp"
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/job/internal/supervisor"
)

// outputTimeout is how long output is waited for when all processes of a run are
// gone. Only what is in the pipe can still come, unless a program that is not a
// descendant of the run was given the pipe.
const outputTimeout = time.Second

// leftOutputTimeout is how long output is waited for when processes are left behind,
// which may hold the pipe: as long as it takes to read what the program itself has
// written.
const leftOutputTimeout = 50 * time.Millisecond

// An execution is a program that was started, until nothing that it has started is
// left.
type execution struct {
	runner *Runner
	entry  *entry
	builds *builds // nil without Service.Builds

	input   *os.File      // our end of the pipe; nil without one
	written chan struct{} // closed when the input is written, or nobody reads it
	outputs []*os.File    // our ends of the pipes
	copiers sync.WaitGroup
	early   []supervisor.Report // that came before the program was known to have started

	mu         sync.Mutex         // guards what follows
	supervisor *supervisor.Client // nil until it was asked to start the program
	stopped    bool               // the program was to end
	killed     bool               // without a grace
	over       bool               // the supervisor process is for others now
}

// start starts a program, with input unless that is nil. The error is the error number
// of the start, or says what could not be had.
func (x *execution) start(req supervisor.Request, input []byte, fromTerminal bool) (err error) {
	opts := x.runner.opts
	defer func() {
		if err != nil {
			for _, f := range append(x.outputs, x.input) {
				_ = f.Close() // the input may be nil
			}
		}
	}()

	stdin := x.runner.null
	if input != nil || x.builds != nil {
		in, w, err := os.Pipe()
		if err != nil {
			return err
		}
		defer in.Close()
		stdin, x.input = in, w
	} else if fromTerminal && opts.Terminal != nil {
		stdin = opts.Terminal.file
	}

	// One pipe is for both outputs, unless they are to be told apart.
	stdout, stderr := opts.Stdout, opts.Stderr
	for _, to := range []**os.File{&stdout, &stderr} {
		if *to != nil {
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		defer w.Close()
		*to = w
		x.outputs = append(x.outputs, r)
		if stderr == nil && !opts.Separate {
			stderr = w
		}
	}

	pid, err := x.launch(req, stdin, stdout, stderr)
	if err != nil {
		return err
	}
	x.entry.update(func(r *Run) { r.PID = pid })
	for _, r := range x.early {
		x.note(r)
	}
	go x.writeInput(input)
	for i, r := range x.outputs {
		isStderr := opts.Stdout != nil || i == 1
		x.copiers.Go(func() { x.readOutput(r, isStderr) })
	}
	return nil
}

// launch has a supervisor process start the program, and returns the process id of
// that.
func (x *execution) launch(req supervisor.Request, stdin, stdout, stderr *os.File) (pid int, err error) {
	for x.supervisor == nil {
		s, idle, err := x.runner.takeSupervisor()
		if err != nil {
			return 0, err
		}
		if err := x.request(s, req, stdin, stdout, stderr); err != nil {
			s.Close()
			if !idle {
				return 0, err
			}
			// An idle one may have been killed meanwhile: take another.
		}
	}

	s := x.supervisor
	answer, err := s.Wait(func(r supervisor.Report) { x.early = append(x.early, r) })
	if err == nil && answer.Kind == supervisor.Started {
		return answer.Value, nil
	}
	x.end()
	if err != nil {
		s.Close()
		return 0, errSupervisorKilled
	}
	x.runner.giveBack(s)
	return 0, syscall.Errno(answer.Value)
}

// request asks a supervisor process to start the program. The terminal is lent
// before that. From the moment that the program may run, the supervisor process is
// that of the execution.
func (x *execution) request(s *supervisor.Client, req supervisor.Request, stdin, stdout, stderr *os.File) error {
	terminal := x.runner.opts.Terminal
	terminal.lend(s.PID())

	x.mu.Lock()
	defer x.mu.Unlock()
	if err := s.Run(req, stdin, stdout, stderr); err != nil {
		terminal.reclaim(s.PID())
		return err
	}
	x.supervisor = s
	if x.stopped {
		s.Stop(x.killed)
	}
	return nil
}

// stop asks for the end of the program and of all that it has started, without a grace
// if it is to be killed. It does not wait. A program that has not started yet is ended
// when it has.
func (x *execution) stop(kill bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over || x.killed || x.stopped && !kill {
		return
	}
	x.stopped, x.killed = true, kill
	if x.supervisor != nil {
		x.supervisor.Stop(kill)
	}
}

// signal sends a signal to the program itself. It reports whether that is running
// and is to go on.
func (x *execution) signal(s syscall.Signal) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.supervisor == nil || x.stopped || x.over {
		return false
	}
	return x.supervisor.Signal(s) == nil
}

// end notes that the program has ended: the supervisor process and the terminal are for
// others now.
func (x *execution) end() {
	x.runner.opts.Terminal.reclaim(x.supervisor.PID())
	x.mu.Lock()
	defer x.mu.Unlock()
	x.over = true
}

// wasStopped reports whether the program was asked to end.
func (x *execution) wasStopped() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.stopped
}

// finish returns when no process of the execution is left and the output was read, and
// has judge note how the run ended. Where it was stopped, ctx says why.
func (x *execution) finish(ctx context.Context, judge func(*Run, supervisor.Report, error)) error {
	s := x.supervisor
	end, err := s.Wait(x.note)
	x.end()

	if err != nil {
		// The kernel has killed the program with its supervisor process. The
		// rest of its group is there, and what had left the group gets away.
		group := x.entry.now().PID
		if x.runner.opts.Terminal != nil {
			group = s.PID()
		}
		_ = unix.Kill(-group, unix.SIGKILL)
	}
	x.finishCopies(len(end.Left) > 0)

	if err != nil || end.Unkillable > 0 || len(end.Left) > 0 {
		s.Close() // it has ended
	} else {
		x.runner.giveBack(s)
	}
	if err != nil {
		return x.runner.fail(x.entry, errSupervisorKilled)
	}

	var cause error
	if x.wasStopped() {
		cause = stopCause(cmp.Or(context.Cause(ctx), errStop)) // errStop is that of Close
	}
	return x.runner.done(x.entry, func(run *Run) { judge(run, end, cause) })
}

// note acts on what a supervisor process reports while the program runs.
func (x *execution) note(r supervisor.Report) {
	opts := x.runner.opts
	s := syscall.Signal(r.Value)
	if r.Kind == supervisor.Paused {
		opts.Terminal.pause(x.supervisor.PID(), x.entry.now().PID, s)
	} else if opts.KeySignal != nil {
		opts.KeySignal(x.entry.now(), s)
	}
}

// finishCopies ends the writing of the input and waits for the end of the output.
func (x *execution) finishCopies(left bool) {
	timeout := outputTimeout
	if left {
		timeout = leftOutputTimeout
	}

	for _, f := range x.outputs {
		late := time.AfterFunc(timeout, func() { _ = f.SetReadDeadline(time.Now()) })
		defer late.Stop()
	}

	// The program has ended: what it has not read by now is not written.
	if x.input != nil {
		_ = x.input.SetWriteDeadline(time.Now())
	}
	if x.builds != nil {
		x.input.Close()
	}

	<-x.written
	x.copiers.Wait()
}

// writeInput writes the input. A program need not read it. That of a builder has no end
// before the program.
func (x *execution) writeInput(input []byte) {
	defer close(x.written)
	if x.input != nil && x.builds == nil {
		_, _ = x.input.Write(input)
		x.input.Close()
	}
}

// readOutput reads an output to its end.
func (x *execution) readOutput(from *os.File, isStderr bool) {
	defer from.Close()
	lines := lineWriter{emit: func(text string, cut bool) {
		if x.runner.opts.Output != nil {
			run := &x.entry.run
			x.runner.opts.Output(Line{Route: run.Route, ID: run.ID, Text: text, Cut: cut, Stderr: isStderr})
		}
		if x.builds != nil {
			x.builds.line(text) // which may end a build, that is logged after it
		}
	}}
	defer lines.end()

	write := func(p []byte) {
		x.entry.write(p)
		lines.write(p)
	}

	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		write(buf[:n])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			write(unread(from)) // the program wrote it in time, and Options.Output is slow
		}
		if err != nil {
			return
		}
	}
}

// unread returns what is in a pipe, without waiting for more.
func unread(pipe *os.File) []byte {
	raw, err := pipe.SyscallConn()
	if err != nil {
		return nil
	}
	buf := make([]byte, 64<<10) // the capacity of a pipe, see pipe(7)
	n := 0
	_ = raw.Control(func(fd uintptr) { n, _ = unix.Read(int(fd), buf) }) // it does not block
	return buf[:max(n, 0)]
}
