package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// A daemon is one running execlogd.
type daemon struct {
	URL string // of its root, without the last slash

	cmd    *exec.Cmd
	stderr *syncBuffer
	read   int           // how much of stderr scripts have looked at
	ended  chan struct{} // closed when the process is gone
}

// readyURL finds the address in the line that says what is served. It is the first
// line in both log formats.
var readyURL = regexp.MustCompile(`\b(https?://[^/\s]+)/.*\n`)

// defects matches output that always means a defect.
var defects = regexp.MustCompile(`DATA RACE|(?m)^(panic|fatal error): |^goroutine \d+ `)

// startDaemon runs execlogd in dir and returns when it is ready. The process ends
// with the test.
func startDaemon(t testing.TB, dir string, args ...string) (*daemon, error) {
	d, err := launch(t, dir, args...)
	if err != nil {
		return nil, err
	}
	return d, d.waitReady(t.Context())
}

// launch runs execlogd in dir and does not wait for it. The process ends with the
// test.
func launch(t testing.TB, dir string, args ...string) (*daemon, error) {
	return launchCommand(t, dir, exec.Command(execlogd, args...))
}

// launchCommand runs execlogd by another command, which becomes it.
func launchCommand(t testing.TB, dir string, cmd *exec.Cmd) (*daemon, error) {
	d := &daemon{cmd: cmd, stderr: new(syncBuffer), ended: make(chan struct{})}
	d.cmd.Dir = dir
	d.cmd.Stderr = d.stderr
	// If the test itself is killed, no cleanup runs.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(d.ended)
		d.cmd.Wait() // ProcessState has the result
	}()
	t.Cleanup(func() { d.end(t) })
	return d, nil
}

func (d *daemon) waitReady(ctx context.Context) error {
	err := eventually(ctx, "execlogd to be ready", func() bool {
		return readyURL.MatchString(d.stderr.String()) || d.hasEnded()
	})
	if err == nil && d.hasEnded() {
		err = fmt.Errorf("execlogd ended before it was ready: %v", d.cmd.ProcessState)
	}
	if err != nil {
		return fmt.Errorf("%w\nstderr: %s", err, d.stderr)
	}
	d.URL = readyURL.FindStringSubmatch(d.stderr.String())[1]
	return nil
}

// says waits until a daemon has written a line that matches, so many times.
func (d *daemon) says(t testing.TB, line string, times int) {
	t.Helper()
	re := regexp.MustCompile("(?m)" + line)
	err := eventually(t.Context(), "execlogd to say "+line, func() bool {
		return len(re.FindAllString(d.stderr.String(), -1)) >= times
	})
	if err != nil {
		t.Fatalf("%v\nstderr: %s", err, d.stderr)
	}
}

// signal sends a signal. It is no error if the process has ended.
func (d *daemon) signal(name string) error {
	number, ok := signals[name]
	if !ok {
		return fmt.Errorf("unknown signal %q", name)
	}
	if err := d.cmd.Process.Signal(number); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

func (d *daemon) hasEnded() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

// end kills the process if it still runs, and checks its output for defects.
func (d *daemon) end(t testing.TB) {
	d.cmd.Process.Kill()
	<-d.ended
	if said := d.stderr.String(); hasDefect(said) || t.Failed() {
		t.Errorf("execlogd %s wrote:\n%s", strings.Join(d.cmd.Args[1:], " "), said)
	}
}

// hasDefect reports whether a process wrote what always means a defect. Make test does
// not run a test again that has failed after a line that begins as this one does.
func hasDefect(said string) bool {
	found := defects.FindString(said)
	if found != "" {
		fmt.Printf("\nWARNING: DATA RACE or panic in a process under test: %s\n", found)
	}
	return found != ""
}

// wait waits for the end of the process and returns its exit status, or the name of
// the signal that ended it: "0" or "TERM".
func (d *daemon) wait(ctx context.Context) (string, error) {
	if err := eventually(ctx, "execlogd to end", d.hasEnded); err != nil {
		return "", err
	}
	return exitStatus(d.cmd.ProcessState), nil
}

func exitStatus(state *os.ProcessState) string {
	status := state.Sys().(syscall.WaitStatus)
	for name, signal := range signals {
		if status.Signaled() && status.Signal() == signal {
			return name
		}
	}
	return fmt.Sprint(status.ExitStatus())
}

var signals = map[string]syscall.Signal{
	"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL, "TERM": syscall.SIGTERM,
}

// A syncBuffer holds what a process writes, while others read it.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}
