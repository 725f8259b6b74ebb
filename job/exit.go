package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// An Error is a run that was no success. Its text is one line.
type Error struct {
	Record Record
	cause  error // of a run that was stopped or did not start
}

func (e *Error) Error() string {
	why := e.Record.Failure
	if why == "" {
		why = e.Record.Cause.Error()
	}
	return programName(e.Record.Argv) + ": " + why
}

// Unwrap is why the run was stopped, or why it did not start; nil if the
// program ended by itself.
func (e *Error) Unwrap() error { return e.cause }

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

// An outcome is how a run ended, in the terms of its record.
type outcome struct {
	failure string
	exit    int
	signal  syscall.Signal
	ended   Processes
	left    Processes
	cause   error // why it was stopped; nil if it was not
}

// outcomeOf judges a run that has ended. The cause is why it was stopped; nil
// if it was not.
func outcomeOf(end report, cause error) outcome {
	status := syscall.WaitStatus(end.value)
	o := outcome{exit: status.ExitStatus(), ended: end.ended, left: end.stay, cause: cause}
	if status.Signaled() {
		o.signal = status.Signal()
	}
	switch {
	case end.alive > 0:
		o.failure = fmt.Sprintf("%d of its processes cannot be ended: they are another user's, or wait for a device", end.alive)
	case cause != nil:
		o.failure = failureOf(cause)
	case status.Signaled():
		o.failure = killedBy(status)
	case o.exit != 0:
		o.failure = fmt.Sprintf("exit status %d", o.exit)
	}
	return o
}

// failureOf is what a run has failed at that was stopped: its time alone.
func failureOf(cause error) string {
	if errors.Is(cause, context.DeadlineExceeded) {
		return cause.Error()
	}
	return ""
}

// ofService is the outcome for a service, which is to go on until it is
// stopped.
func (o outcome) ofService(ready bool) outcome {
	switch {
	case o.cause != nil || o.exit < 0 && o.signal == 0:
	case ready && o.failure == "":
		o.failure = "ended by itself, with exit status 0"
	case ready:
	case o.failure == "":
		o.failure = errEarly.Error()
	default:
		o.failure += " before it was ready"
	}
	return o
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

// signalNames are the signals that end programs.
var signalNames = map[syscall.Signal]string{
	syscall.SIGABRT: "SIGABRT", syscall.SIGALRM: "SIGALRM", syscall.SIGBUS: "SIGBUS",
	syscall.SIGFPE: "SIGFPE", syscall.SIGHUP: "SIGHUP", syscall.SIGILL: "SIGILL",
	syscall.SIGINT: "SIGINT", syscall.SIGIO: "SIGIO", syscall.SIGKILL: "SIGKILL",
	syscall.SIGPIPE: "SIGPIPE", syscall.SIGPROF: "SIGPROF", syscall.SIGPWR: "SIGPWR",
	syscall.SIGQUIT: "SIGQUIT", syscall.SIGSEGV: "SIGSEGV", syscall.SIGSTKFLT: "SIGSTKFLT",
	syscall.SIGSYS: "SIGSYS", syscall.SIGTERM: "SIGTERM", syscall.SIGTRAP: "SIGTRAP",
	syscall.SIGUSR1: "SIGUSR1", syscall.SIGUSR2: "SIGUSR2", syscall.SIGVTALRM: "SIGVTALRM",
	syscall.SIGXCPU: "SIGXCPU", syscall.SIGXFSZ: "SIGXFSZ",
}

func signalName(s syscall.Signal) string {
	if name, ok := signalNames[s]; ok {
		return name
	}
	return fmt.Sprintf("signal %d", int(s))
}

// stopCause is why a run ended that was stopped, in plain words.
func stopCause(ctx context.Context) error {
	return cmp.Or(context.Cause(ctx), errStop) // which is Close's
}

// startError says in one line why a program did not start, and what to do.
func startError(r request, err error) error {
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return err
	}
	switch {
	case errno == syscall.E2BIG:
		return fmt.Errorf("its arguments and environment are too long (%s): shorten them: %w", size(r), errno)
	case !isDir(r.dir):
		return fmt.Errorf("directory %q is not there any more: create it, or name another: %w", r.dir, errno)
	}
	_, missing := os.Stat(r.path)
	switch {
	case missing != nil:
		return fmt.Errorf("%q is not there any more: install it again: %w", r.path, errno)
	case errno == syscall.ENOENT:
		return fmt.Errorf("%q needs an interpreter that is not there: look at its first line: %w", r.path, errno)
	case errno == syscall.ENOEXEC:
		return fmt.Errorf("%q is no program for this machine: a script begins with a line such as #!/bin/sh: %w", r.path, errno)
	case errno == syscall.EACCES:
		return fmt.Errorf("%q may not be run by user %d in %q: give it permission: %w", r.path, os.Geteuid(), r.dir, errno)
	}
	return &os.PathError{Op: "start", Path: r.path, Err: errno}
}

// ErrTooLong is of a run whose paths are too many, or too long, to be arguments in
// place of {paths}, or lines of EXECLOGD_PATHS. The program was not started.
var ErrTooLong = errors.New("too long")

// tooLong is ErrTooLong with what to do. The limits are the kernel's.
func tooLong(paths int, what, size string) error {
	return fmt.Errorf(`the %d paths are %w for %s (%s): have them on standard input (stdin = "nul", as xargs -0 reads it), or a run for each file (per = "file")`,
		paths, ErrTooLong, what, size)
}

// size is how long the arguments and the environment of a request are.
func size(r request) string {
	n := 0
	for _, list := range [][]string{r.argv, r.env} {
		for _, s := range list {
			n += len(s) + 1
		}
	}
	return fmt.Sprintf("%d bytes in %d arguments and %d variables", n, len(r.argv), len(r.env))
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
