package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/internal/runnable"
	"github.com/execlog/execlogd/internal/tty"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

const keyHelp = `Enter  run again
p      pause, and go on
q      quit
?      this list`

// A runTerminal is the terminal of execlogd run. The command has it while it runs;
// otherwise its keys are read. All methods do nothing on a nil runTerminal.
type runTerminal struct {
	c        *runCommand
	terminal *tty.Terminal
	lends    bool // the command gets the terminal while it runs

	mu      sync.Mutex // guards what follows
	paused  bool
	changes []inotify.Event // that came during the pause
	last    []inotify.Event // of the last run
	typed   typedSignals
	slow    *time.Timer // says that the command does not end
}

// typedSignals are the signals that keys have sent to a command while it runs.
type typedSignals struct {
	run        uint64 // its ID
	interrupts int
	last       time.Time // of the interrupts
	quit       bool
}

// openTerminal opens the terminal that controls the process. It returns nil unless
// the standard streams are that terminal.
func (c *runCommand) openTerminal() *runTerminal {
	if !logging.IsTerminal(c.stdin) || !tty.SameFile(c.stdin, c.stdout) && !tty.SameFile(c.stdin, c.stderr) {
		return nil
	}
	t := &runTerminal{c: c, lends: c.cfg.Service.Input != job.NoInput && !c.cfg.PerFile()}
	var err error
	if t.terminal, err = tty.Open(c.stdin, t.press); err != nil {
		return nil // it controls other processes
	}
	t.terminal.HungUp = func() { c.end(nil) }
	t.terminal.OnDemand = c.cfg.GoesOn()
	return t
}

// begin starts to handle SIGTSTP and SIGCONT, and to read keys. When a run is about
// to start, what is typed is for that.
func (t *runTerminal) begin(starts bool) {
	if t == nil {
		return
	}
	t.terminal.Begin()

	isForCommand := starts && t.lends && !t.terminal.OnDemand
	if !isForCommand && t.terminal.InForeground() {
		t.terminal.KeysOn()
	}
}

// close ends what begin started, and restores the modes of the terminal.
func (t *runTerminal) close() {
	if t == nil {
		return
	}

	t.mu.Lock()
	if t.slow != nil {
		t.slow.Stop()
	}
	t.mu.Unlock()

	t.terminal.Close()
}

// press does what a key is for.
func (t *runTerminal) press(key byte) {
	switch key {
	case '\r', '\n':
		t.again()
	case 'p':
		t.pause()
	case 'q':
		t.c.end(nil)
	case '?':
		_, _ = io.WriteString(t.c.toStderr, keyHelp+"\n")
	}
}

// again runs the command for the events of its last run, or for all files if there
// was none.
func (t *runTerminal) again() {
	t.mu.Lock()
	events := t.last
	t.mu.Unlock()

	switch {
	case events != nil:
		t.run(events...)
	case t.c.cfg.NeedsPath():
		t.c.say("nothing has changed yet that the command could run for")
	default:
		t.run(t.c.cfg.Whole())
	}
}

// pause begins a pause, or ends it and runs the command for what has changed since.
func (t *runTerminal) pause() {
	t.mu.Lock()
	t.paused = !t.paused
	paused, changes := t.paused, t.changes
	t.changes = nil
	t.mu.Unlock()

	switch {
	case paused:
		t.c.say("paused; p goes on")
	case len(changes) == 0:
		t.c.say("goes on")
	default:
		t.c.say("goes on with what has changed")
		t.run(changes...)
	}
}

func (t *runTerminal) run(events ...inotify.Event) {
	if err := t.c.trigger(events...); err != nil {
		t.c.say(err.Error())
	}
}

// errPaused is the error of runs that did not start because of a pause.
var errPaused = fmt.Errorf("paused: %w", context.Canceled)

// keep keeps a batch for later, each path once, and reports true if there is a pause.
func (t *runTerminal) keep(batch []inotify.Event) bool {
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.paused {
		t.last = batch
		return false
	}

	known := make(map[string]bool)
	for _, e := range t.changes {
		known[e.Name()] = true
	}
	for _, e := range batch {
		if !known[e.Name()] {
			t.changes = append(t.changes, e)
		}
	}
	return true
}

// signalTyped is called when a key has sent a signal to the command. A command that
// ignores SIGINT would go on for ever, so a second Ctrl-C kills it.
func (t *runTerminal) signalTyped(r job.Run, s syscall.Signal) {
	if s == syscall.SIGHUP {
		t.c.end(nil) // the terminal is gone, and would have ended us too
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.typed.run != r.ID {
		t.typed = typedSignals{run: r.ID}
	}
	if s == syscall.SIGQUIT {
		t.typed.quit = true
		return
	}
	t.typed.interrupts++
	t.typed.last = time.Now()
	if !ignoresInterrupts(r.PID) {
		return
	}

	if t.typed.interrupts > 1 {
		t.c.end(nil)
		t.c.runner.Kill()
		return
	}
	t.slow = time.AfterFunc(runnable.SlowStop, func() {
		if names := runnable.Running(t.c.runner); names != "" {
			t.c.say(runnable.WaitingFor(names, runnable.CtrlCAgain))
		}
	})
}

// ignoresInterrupts reports whether a process ignores SIGINT (proc_pid_status(5)).
func ignoresInterrupts(pid int) bool {
	status, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status") // empty if it has ended
	_, ignored, _ := strings.Cut(string(status), "\nSigIgn:\t")
	var mask uint64
	_, err := fmt.Sscanf(ignored, "%x", &mask)
	return err == nil && mask>>(syscall.SIGINT-1)&1 == 1
}

// ended reports whether a key has ended the command, so that execlogd ends as well:
// the command died of the signal, or its exit status says so, or it is one that goes
// on, such as a server, and ended soon after the key. Other commands, such as an
// interpreter, may use the key in another way.
func (t *runTerminal) ended(run router.Run) bool {
	if t == nil || !t.lends {
		return false
	}
	t.mu.Lock()
	typed := t.typed
	t.typed = typedSignals{}
	t.mu.Unlock()

	if t.c.cfg.GoesOn() && typed.interrupts > 0 && time.Since(typed.last) < t.c.cfg.Service.Grace {
		return true
	}
	e, ok := errors.AsType[*job.Error](run.Err)
	if !ok {
		return false
	}
	signal, exit := e.Run.Signal, syscall.Signal(e.Run.Exit-128)
	return signal == syscall.SIGINT || signal == syscall.SIGQUIT ||
		exit == syscall.SIGINT && typed.interrupts > 0 || exit == syscall.SIGQUIT && typed.quit
}
