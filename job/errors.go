package job

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/job/internal/supervisor"
	"github.com/execlog/execlogd/router"
)

// An Error is a run that did not succeed. Its text is one line.
type Error struct{ Run Run }

func (e *Error) Error() string { return programName(e.Run.Argv) + ": " + e.Run.Err.Error() }

// Unwrap is Run.Err.
func (e *Error) Unwrap() error { return e.Run.Err }

// programName is how errors call what ran: by its name, or by its script if
// it is a shell's.
func programName(argv []string) string {
	if script, ok := shellScript(argv); ok {
		const enough = 40
		if first, _, more := strings.Cut(strings.TrimSpace(script), "\n"); more || len(first) > enough {
			script = strings.ToValidUTF8(first[:min(len(first), enough)], "") + "…"
		}
		return fmt.Sprintf("%s -c %q", filepath.Base(argv[0]), script)
	}
	return filepath.Base(argv[0])
}

// An ending is what becomes known of a run when it is over.
type ending struct {
	err         error // nil if it succeeded
	stopped     bool  // from outside
	exit        int
	signal      syscall.Signal
	ended, left Processes
}

// endingOf judges what a supervisor process reports of the end of a run. The cause
// is why the run was stopped, or nil.
func endingOf(end supervisor.Report, cause error) ending {
	status := syscall.WaitStatus(end.Value)
	e := ending{stopped: cause != nil, exit: status.ExitStatus(), ended: processesOf(end.Killed), left: processesOf(end.Left)}
	if status.Signaled() {
		e.signal = status.Signal()
	}

	switch {
	case end.Unkillable > 0: // a failure, even of a run that was stopped
		e.err = fmt.Errorf("%d of its processes cannot be ended: they are another user's, or wait for a device", end.Unkillable)
	case cause != nil:
		e.err = cause
	case status.Signaled():
		e.err = errors.New(killedBy(status))
	case e.exit != 0:
		e.err = fmt.Errorf("exit status %d", e.exit)
	}
	return e
}

// ofService is the ending of a service, which is to go on until it is stopped.
func (e ending) ofService(ready bool) ending {
	switch {
	case e.stopped || e.exit < 0 && e.signal == 0: // or it did not start
	case ready && e.err == nil:
		e.err = errors.New("ended by itself, with exit status 0")
	case ready:
	case e.err == nil:
		e.err = errEarly
	default:
		e.err = fmt.Errorf("%w before it was ready", e.err)
	}
	return e
}

// killedBy names a signal that did not come from us.
func killedBy(status syscall.WaitStatus) string {
	s := "killed by " + signalName(status.Signal())
	switch {
	case status.CoreDump():
		s += " (core dumped)"
	case status.Signal() == syscall.SIGKILL:
		s += ", perhaps because memory ran out"
	}
	return s
}

// signalName is the name of a signal, as in "SIGTERM".
func signalName(s syscall.Signal) string {
	if name := unix.SignalName(s); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", int(s)) // a real-time signal
}

// A stopError is why a run was stopped, where that is not clear from the cause
// itself.
type stopError struct{ error }

func (e stopError) Unwrap() error { return e.error }

func (stopError) Is(target error) bool { return target == context.Canceled }

// stopCause is the error of a run that was stopped. It has failed only if its time
// was up.
func stopCause(cause error) error {
	if router.OutcomeOf(cause) == router.Failed && !errors.Is(cause, context.DeadlineExceeded) {
		return stopError{cause}
	}
	return cause
}

// startError says in one line why a program did not start, and what to do.
func startError(r supervisor.Request, err error) error {
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return err
	}
	switch {
	case errno == syscall.E2BIG:
		return fmt.Errorf("its arguments and environment are too long (%s): shorten them: %w", size(r), errno)
	case !isDir(r.Dir):
		return fmt.Errorf("directory %q is not there any more: create it, or name another: %w", r.Dir, errno)
	}
	_, missing := os.Stat(r.Path)
	switch {
	case missing != nil:
		return fmt.Errorf("%q is not there any more: install it again: %w", r.Path, errno)
	case errno == syscall.ENOENT:
		return fmt.Errorf("%q needs an interpreter that is not there: look at its first line: %w", r.Path, errno)
	case errno == syscall.ENOEXEC:
		return fmt.Errorf("%q is no program for this machine: a script begins with a line such as #!/bin/sh: %w", r.Path, errno)
	case errno == syscall.EACCES:
		return fmt.Errorf("%q may not be run by user %d in %q: give it permission: %w", r.Path, os.Geteuid(), r.Dir, errno)
	}
	return &os.PathError{Op: "start", Path: r.Path, Err: errno}
}

// ErrTooLong is of a run whose paths are too many, or too long, to be arguments in
// place of {paths}, or lines of EXECLOGD_PATHS. The program was not started.
var ErrTooLong = errors.New("too long")

// tooLong is ErrTooLong with what to do. The limits are the kernel's.
func tooLong(paths int, what, size string) error {
	return fmt.Errorf(`the %d paths are %w for %s (%s): have them on standard input (stdin nul, as xargs -0 reads it), or a run for each file (per file)`,
		paths, ErrTooLong, what, size)
}

// size is how long the arguments and the environment of a request are.
func size(r supervisor.Request) string {
	n := 0
	for _, list := range [][]string{r.Argv, r.Env} {
		for _, s := range list {
			n += len(s) + 1
		}
	}
	return fmt.Sprintf("%d bytes in %d arguments and %d variables", n, len(r.Argv), len(r.Env))
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
