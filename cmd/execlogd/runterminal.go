package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

const keyHelp = `Enter  run again
p      pause, and go on
q      quit
?      this list`

// A runTerminal is the terminal of `execlogd run`: what the command has while it
// runs, and where keys are read otherwise. All methods do nothing on a nil one.
type runTerminal struct {
	o        *oneLiner
	terminal *job.Terminal
	keys     *keys
	lends    bool // the command gets the terminal while it runs
	stop     func()

	mu      sync.Mutex // guards what follows
	paused  bool
	changes []inotify.Event // that came while it was paused
	last    []inotify.Event // that it ran for last
	typed   typedSignals

	patience *time.Timer // says what is waited for; nil before
}

// typedSignals are what keys have sent to a command that runs.
type typedSignals struct {
	run        uint64 // ID of its record
	interrupts int
	last       time.Time // of the interrupts
	quit       bool
}

// theTerminal is what there is to put right if the process ends at once.
var theTerminal atomic.Pointer[runTerminal]

// openTerminal returns the terminal that controls the process, if that is where
// it reads and writes; else nil.
func (o *oneLiner) openTerminal() (*runTerminal, error) {
	if !sameTerminal(o.stdin, o.stdout) && !sameTerminal(o.stdin, o.stderr) {
		return nil, nil
	}
	terminal, err := job.OpenTerminal(o.stdin)
	if err != nil {
		return nil, nil // another process's
	}
	t := &runTerminal{o: o, terminal: terminal, lends: o.cfg.Stdin != "none" && o.cfg.Per == "route"}
	terminal.HungUp = func() { o.end(nil) }
	if t.keys, err = newKeys(terminal, t.press, terminal.HungUp); err != nil {
		return nil, err
	}
	terminal.OnDemand = o.cfg.GoesOn()
	terminal.Lending, terminal.Returned = t.keys.off, t.keys.on
	theTerminal.Store(t)
	return t, nil
}

// sameTerminal reports whether both are one terminal.
func sameTerminal(in *os.File, out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok || in == nil {
		return false
	}
	var a, b unix.Stat_t
	return unix.Fstat(int(in.Fd()), &a) == nil && unix.Fstat(int(file.Fd()), &b) == nil &&
		a.Mode&unix.S_IFMT == unix.S_IFCHR && b.Mode&unix.S_IFMT == unix.S_IFCHR && a.Rdev == b.Rdev
}

// begin heeds the keys, and that the user stops the process and lets it go on.
// When a run is about to start, it is for that to read what is typed.
func (t *runTerminal) begin(starts bool) {
	if t == nil {
		return
	}
	signals := make(chan os.Signal, 8)
	over := make(chan struct{})
	signal.Notify(signals, syscall.SIGTSTP, syscall.SIGCONT)
	go func() {
		defer close(over)
		for s := range signals {
			if s == syscall.SIGTSTP {
				t.terminal.Suspend()
			} else {
				t.terminal.Continue()
			}
		}
	}()
	t.stop = func() {
		signal.Stop(signals)
		close(signals)
		<-over
	}
	if !(starts && t.lends && !t.terminal.OnDemand) && t.terminal.InForeground() {
		t.keys.on()
	}
}

func (t *runTerminal) close() {
	if t == nil {
		return
	}
	if t.stop != nil {
		t.stop()
	}
	if t.patience != nil {
		t.patience.Stop()
	}
	t.keys.close()
	theTerminal.CompareAndSwap(t, nil)
}

// restore puts the modes of the terminal right before the process ends at once.
func (t *runTerminal) restore() {
	if t != nil {
		t.keys.off()
	}
}

// hint is the end of the line that says what is watched.
func (t *runTerminal) hint() string {
	if t == nil {
		return ""
	}
	return "; ? lists keys"
}

// lend has jobs get the terminal.
func (t *runTerminal) lend(opts *job.Options) {
	if t != nil && t.lends {
		opts.Terminal, opts.KeySignal = t.terminal, t.note
	}
}

// press does what a key is for.
func (t *runTerminal) press(key byte) {
	switch key {
	case '\r', '\n':
		t.again()
	case 'p':
		t.pause()
	case 'q':
		t.o.end(nil)
	case '?':
		_, _ = io.WriteString(t.o.outputs.stderr, keyHelp+"\n")
	}
}

// again runs the command for what it ran for last, or as at the start.
func (t *runTerminal) again() {
	t.mu.Lock()
	events := t.last
	t.mu.Unlock()
	if events == nil {
		if t.o.cfg.NeedsPath() {
			t.o.say("nothing has changed yet that the command could run for")
			return
		}
		events = []inotify.Event{t.o.cfg.Whole()}
	}
	if err := t.o.trigger(events...); err != nil {
		t.o.say(err.Error())
	}
}

// pause holds back what changes, or lets the command run for what has changed
// since.
func (t *runTerminal) pause() {
	t.mu.Lock()
	t.paused = !t.paused
	paused, changes := t.paused, t.changes
	t.changes = nil
	t.mu.Unlock()
	switch {
	case paused:
		t.o.say("paused; p goes on")
	case len(changes) == 0:
		t.o.say("goes on")
	default:
		t.o.say("goes on with what has changed")
		if err := t.o.trigger(changes...); err != nil {
			t.o.say(err.Error())
		}
	}
}

// errPaused is how runs end that were not begun because of a pause.
var errPaused = fmt.Errorf("paused: %w", context.Canceled)

// pausing is work that keeps what has changed for later while it is paused.
func (t *runTerminal) pausing(work router.Callback) router.Callback {
	if t == nil {
		return work
	}
	return func(ctx context.Context, batch []inotify.Event) error {
		if t.keep(batch) {
			return errPaused
		}
		return work(ctx, batch)
	}
}

// keep reports whether there is a pause. Each path is kept once.
func (t *runTerminal) keep(batch []inotify.Event) bool {
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

// note is told of a signal that a key has sent to the command. It is the
// command's, but for a second Ctrl-C at one that ignores them, which would go on
// for ever.
func (t *runTerminal) note(r job.Run, s syscall.Signal) {
	if s == syscall.SIGHUP {
		t.o.end(nil) // it would have had us end as well, had we not lent it
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
		t.o.end(nil)
		t.o.runner.Kill()
		return
	}
	t.patience = time.AfterFunc(aMoment, func() {
		if names := running(t.o.runner); names != "" {
			t.o.say(waitingFor(names, ctrlCAgain))
		}
	})
}

// ignoresInterrupts reports whether a process ignores SIGINT.
func ignoresInterrupts(pid int) bool {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(status), "\nSigIgn:\t")
	line, _, _ := strings.Cut(rest, "\n")
	mask, err := strconv.ParseUint(line, 16, 64)
	return err == nil && mask>>(syscall.SIGINT-1)&1 == 1
}

// ended reports whether a key has ended the command, so that execlogd is to end as
// well: it died of the signal, or its exit status says so, or it is one that is
// started again, such as a server, and has ended soon after. Others, such as an
// interpreter, have their own use for the key.
func (t *runTerminal) ended(f router.Frame) bool {
	if t == nil || !t.lends {
		return false
	}
	t.mu.Lock()
	typed := t.typed
	t.typed = typedSignals{}
	t.mu.Unlock()
	if t.o.cfg.GoesOn() && typed.interrupts > 0 && time.Since(typed.last) < t.o.cfg.Grace {
		return true
	}
	e, ok := errors.AsType[*job.Error](f.Err)
	if !ok {
		return false
	}
	switch e.Run.Signal {
	case syscall.SIGINT, syscall.SIGQUIT:
		return true
	}
	exit := e.Run.Exit - 128
	return exit == int(syscall.SIGINT) && typed.interrupts > 0 || exit == int(syscall.SIGQUIT) && typed.quit
}
