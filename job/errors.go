package job

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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

// Errors of runs.
var (
	errClosed           = fmt.Errorf("the runner is closed: %w", context.Canceled)
	errStop             = fmt.Errorf("stopped: %w", context.Canceled)
	errReplaced         = fmt.Errorf("stopped to be started again: %w", router.ErrRestarted)
	errEarly            = errors.New("ended before it was ready")
	errSupervisorKilled = errors.New("its supervisor process was killed, and what it had started with it")
)

// An endError says why a run was ended, and is context.Canceled or
// context.DeadlineExceeded, as errors.Is has it, without saying so.
type endError struct {
	error
	kind error
}

func (e endError) Unwrap() []error { return []error{e.error, e.kind} }

// programName is what errors call a command: the name of its program, and if that
// is a shell, the beginning of its script.
func programName(argv []string) string {
	name := filepath.Base(argv[0])
	index := scriptIndex(argv[1:])
	if index < 0 || !slices.Contains(shells, programNamed(argv[0])) {
		return name
	}

	const maxLength = 40
	script := argv[1+index]
	line, _, more := strings.Cut(strings.TrimSpace(script), "\n")
	if more || len(line) > maxLength {
		script = strings.ToValidUTF8(line[:min(len(line), maxLength)], "") + "…"
	}
	return fmt.Sprintf("%s -c %q", name, script)
}

// startError says in one line why a program did not start, and what to do. The error
// number alone does not tell what is missing: the directory, the program or its
// interpreter.
func startError(r supervisor.Request, err error) error {
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return err
	}
	_, missing := os.Stat(r.Path)

	switch {
	case errno == unix.E2BIG:
		return fmt.Errorf("its arguments and environment are too long (%s): shorten them: %w", size(r), errno)
	case !isDir(r.Dir):
		return fmt.Errorf("directory %q is not there any more: create it, or name another: %w", r.Dir, errno)
	case missing != nil:
		return fmt.Errorf("%q is not there any more: install it again: %w", r.Path, errno)
	case errno == unix.ENOENT:
		return fmt.Errorf("%q needs an interpreter that is not there: look at its first line: %w", r.Path, errno)
	case errno == unix.ENOEXEC:
		return fmt.Errorf("%q is no program for this machine: a script begins with a line such as #!/bin/sh: %w", r.Path, errno)
	case errno == unix.EACCES:
		return fmt.Errorf("%q may not be run by user %d in %q: give it permission: %w", r.Path, os.Geteuid(), r.Dir, errno)
	}
	return &os.PathError{Op: "start", Path: r.Path, Err: errno}
}

// ErrTooLong is the error of a run whose paths are too many, or too long, to be
// arguments in place of {paths}, or lines of EXECLOGD_PATHS. The program was not
// started.
var ErrTooLong = errors.New("too long")

// tooLong returns an ErrTooLong that says what to do.
func tooLong(paths int, what, size string) error {
	return fmt.Errorf(`the %d paths are %w for %s (%s): have them on standard input (stdin nul, as xargs -0 reads it), or a run for each file (per file)`,
		paths, ErrTooLong, what, size)
}

// size says how long the arguments and the environment of a request are.
func size(r supervisor.Request) string {
	n := 0
	for _, s := range slices.Concat(r.Argv, r.Env) {
		n += len(s) + 1
	}
	return fmt.Sprintf("%d bytes in %d arguments and %d variables", n, len(r.Argv), len(r.Env))
}
