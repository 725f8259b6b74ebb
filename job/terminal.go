package job

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Terminal is the terminal that controls the process. A Runner that has it in
// its Options lends it to each program that it runs, one at a time, as a shell
// does: the program is in the terminal's foreground, so that it may read from it,
// change its modes and open /dev/tty, and gets the signals of its keys (Ctrl-C,
// Ctrl-\, Ctrl-Z). When nothing of the program is left, the process has the
// foreground back, and the modes are what they were before.
//
// A program that is stopped, by Ctrl-Z or because it reads from a terminal in
// whose background it is, stops the whole process, as if it were the program
// itself; both go on when a shell continues the process. If nobody can do that,
// because there is no shell with job control, they go on at once.
//
// A program whose start finds the process in the background stays there as well.
// Its methods may be called by any goroutine at any time.
type Terminal struct {
	// Lending is called before a program gets the terminal, and Returned after
	// it is back, and when the process has it again after it was stopped. In
	// between nobody else may read from it. Of the Terminal they may call Modes
	// and SetModes alone. They are set before it is used; nil is nobody.
	Lending, Returned func()

	// HungUp is called when the terminal cannot be taken back because there is none
	// any more. It is set before the terminal is used; nil is nobody.
	HungUp func()

	// OnDemand lends the terminal only when a program reads from it or changes
	// its modes. Until then the program is in the background, and this process
	// has the terminal and the signals of its keys. It is set before it is used.
	OnDemand bool

	file *os.File
	self int // the process group of this process

	mu       sync.Mutex // guards what follows, and the terminal's foreground
	running  int        // group of the program that is to have it; 0 for none
	lent     bool
	original unix.Termios // the modes when it was lent
}

// OpenTerminal returns the terminal that a file is, if that controls the process.
// The file must stay open as long as the Terminal is used.
func OpenTerminal(file *os.File) (*Terminal, error) {
	t := &Terminal{file: file, self: unix.Getpgrp()}
	if _, err := t.foreground(); err != nil {
		return nil, fmt.Errorf("%s is not the terminal of this process: %w", file.Name(), err)
	}
	return t, nil
}

// Modes returns the modes of the terminal.
func (t *Terminal) Modes() (*unix.Termios, error) {
	return unix.IoctlGetTermios(int(t.file.Fd()), unix.TCGETS)
}

// SetModes sets the modes of the terminal when what was written to it is shown.
// It also does so from the background, which without care would stop the process.
func (t *Terminal) SetModes(m *unix.Termios) error {
	return withoutTTOU(func() error { return unix.IoctlSetTermios(int(t.file.Fd()), unix.TCSETSW, m) })
}

// InForeground reports whether this process is in the terminal's foreground,
// rather than a program that it runs or another job of a shell.
func (t *Terminal) InForeground() bool {
	group, err := t.foreground()
	return err == nil && group == t.self
}

func (t *Terminal) foreground() (group int, err error) {
	return unix.IoctlGetInt(int(t.file.Fd()), unix.TIOCGPGRP)
}

func (t *Terminal) setForeground(group int) error {
	return withoutTTOU(func() error { return unix.IoctlSetPointerInt(int(t.file.Fd()), unix.TIOCSPGRP, group) })
}

// withoutTTOU makes a system call that is allowed in the background of a terminal
// only to those that block SIGTTOU.
func withoutTTOU(call func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var block, before unix.Sigset_t
	block.Val[0] = 1 << (syscall.SIGTTOU - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &block, &before); err != nil {
		return err
	}
	err := call()
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil) // it was right before
	return err
}

// lend gives the terminal to a process group, if this process has it to give. The
// group is to have it until it is reclaimed.
func (t *Terminal) lend(group int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running == 0 {
		t.running = group
		if !t.OnDemand {
			t.give()
		}
	}
}

// give is lend for the group that is to have it. t.mu is held.
func (t *Terminal) give() {
	if t.lent || !t.InForeground() {
		return
	}
	if t.Lending != nil {
		t.Lending()
	}
	if m, err := t.Modes(); err == nil {
		t.original = *m
	}
	t.lent = t.setForeground(t.running) == nil
}

// reclaim takes the terminal back from a group that has ended.
func (t *Terminal) reclaim(group int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running != group {
		return
	}
	if t.takeBack() && t.Returned != nil {
		t.Returned()
	}
	t.running = 0
}

// takeBack takes the terminal back if it was lent and no other job of a shell
// has it now. t.mu is held.
func (t *Terminal) takeBack() bool {
	if !t.lent {
		return false
	}
	t.lent = false
	now, err := t.foreground()
	if err != nil && t.HungUp != nil {
		t.HungUp()
	}
	if err != nil || now != t.self && now != t.running && unix.Kill(-now, 0) == nil && !t.below(now) {
		return false
	}
	if t.setForeground(t.self) != nil {
		return false
	}
	_ = t.SetModes(&t.original) // it may be hung up
	return true
}

// below reports whether a group is of programs that the one that has the terminal
// has started, such as a shell's jobs.
func (t *Terminal) below(group int) bool {
	for _, p := range descendants(t.running) { // the group is that of its keeper
		if p.group == group {
			return true
		}
	}
	return false
}

// halt stops this process because the program that it runs was stopped by a signal,
// and lets both go on when this process does; or it gives the program the terminal
// that it asks for.
func (t *Terminal) halt(group, program int, by syscall.Signal) {
	t.mu.Lock()
	asks := by == syscall.SIGTTIN || by == syscall.SIGTTOU
	if asks && t.OnDemand && !t.lent && t.InForeground() {
		t.give()
		t.mu.Unlock()
		goOn(group, program)
		return
	}
	modes, err := t.Modes()
	had := t.lent
	t.takeBack()
	t.mu.Unlock()
	t.stop(by)
	t.mu.Lock()
	defer t.mu.Unlock()
	if had && err == nil && t.InForeground() {
		if t.Lending != nil {
			t.Lending()
		}
		_ = t.SetModes(modes)
		t.lent = t.setForeground(t.running) == nil
	} else {
		t.give()
	}
	goOn(group, program)
}

// goOn continues what was stopped.
func goOn(group, program int) {
	_ = syscall.Kill(-group, syscall.SIGCONT)
	_ = syscall.Kill(program, syscall.SIGCONT) // it may have made a group of its own
}

// Suspend stops the process as Ctrl-Z does, and returns when it goes on.
func (t *Terminal) Suspend() {
	t.mu.Lock()
	if t.Lending != nil && !t.lent {
		t.Lending()
	}
	t.mu.Unlock()
	t.stop(syscall.SIGTSTP)
	t.Continue()
}

// Continue is for a process that was stopped and goes on: if it is in the
// foreground now, the program that it runs gets the terminal, or the process
// itself uses it again.
func (t *Terminal) Continue() {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.lent || !t.InForeground():
	case t.running != 0 && !t.OnDemand:
		t.give()
		_ = syscall.Kill(-t.running, syscall.SIGCONT)
	case t.Returned != nil:
		t.Returned()
	}
}

// stop stops this process, and the others of its group, which a shell takes for
// one job. It returns when the process goes on: at once if the kernel sees that
// nobody would continue it.
func (t *Terminal) stop(by syscall.Signal) {
	if by == syscall.SIGSTOP {
		by = syscall.SIGTSTP
	}
	defaultAction, before := [8]uint64{}, [8]uint64{} // struct sigaction has at most so much
	const maskSize = 8
	change := func(to, old *[8]uint64) {
		_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(by), uintptr(unsafe.Pointer(to)), uintptr(unsafe.Pointer(old)), maskSize, 0, 0)
	}
	// Package signal cannot bring back the default action of a signal that it has
	// caught. A signal to a thread is acted upon before the call returns.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	change(&defaultAction, &before)
	_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), by)
	change(&before, nil)
	time.Sleep(time.Millisecond) // where it does nothing, so that no program can make us spin
}
