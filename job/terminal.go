package job

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/job/internal/supervisor"
)

// A Terminal is the controlling terminal of the process. A Runner that has it in its
// Options lends it to each program that it runs, one at a time, as a shell does: the
// program is in the terminal's foreground, so that it may read from the terminal,
// change its modes and open /dev/tty, and gets the signals of its keys (Ctrl-C,
// Ctrl-\, Ctrl-Z). When nothing of the program is left, the process has the
// foreground back, and the modes are what they were before.
//
// When a program is stopped, by Ctrl-Z or because it reads from the terminal while
// it is in the background, the process stops as well, as if it were the program
// itself. Both go on when a shell continues the process. If nobody can do that,
// because there is no shell with job control, they go on at once.
//
// A program that starts while the process is in the background stays there as well.
//
// The fields must be set before the Terminal is used. The methods may be called by
// any goroutine at any time.
type Terminal struct {
	// Lending is called before a program gets the terminal. Returned is called
	// when the process has it back, also after the process was stopped. In between
	// nobody else may read from the terminal. Of the methods of the Terminal, they
	// may call Modes and SetModes alone. Nil is nobody.
	Lending, Returned func()

	// HungUp is called when the terminal cannot be taken back because there is
	// none any more. Nil is nobody.
	HungUp func()

	// OnDemand lends the terminal only when a program reads from it or changes
	// its modes. Until then the program is in the background, and this process
	// has the terminal and the signals of its keys.
	OnDemand bool

	file *os.File
	self int // the process group of this process

	mu       sync.Mutex   // guards what follows, and the terminal's foreground
	borrower int          // process group of the program that is running; 0 for none
	lent     bool         // that group has the foreground
	original unix.Termios // the modes when it was lent
}

// OpenTerminal returns the Terminal for a file, which must be the controlling terminal.
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

// SetModes sets the modes of the terminal after what was written to it is shown. The
// process may be in the background.
func (t *Terminal) SetModes(m *unix.Termios) error {
	return withoutTTOU(func() error { return unix.IoctlSetTermios(int(t.file.Fd()), unix.TCSETSW, m) })
}

// InForeground reports whether this process is in the terminal's foreground,
// rather than a program that it runs or another job of a shell.
func (t *Terminal) InForeground() bool {
	group, err := t.foreground()
	return err == nil && group == t.self
}

// foreground returns the process group in the foreground.
func (t *Terminal) foreground() (group int, err error) {
	return unix.IoctlGetInt(int(t.file.Fd()), unix.TIOCGPGRP)
}

func (t *Terminal) setForeground(group int) error {
	return withoutTTOU(func() error { return unix.IoctlSetPointerInt(int(t.file.Fd()), unix.TIOCSPGRP, group) })
}

// withoutTTOU makes a system call that stops a process in the background, unless its
// thread blocks SIGTTOU.
func withoutTTOU(call func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	var block, before unix.Sigset_t
	block.Val[0] = 1 << (unix.SIGTTOU - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &block, &before); err != nil {
		return err
	}

	err := call()
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil) // it was right before
	return err
}

// lend gives the terminal to a process group, if this process has it to give. The
// group is to have it until it is reclaimed. Without a Terminal it does nothing.
func (t *Terminal) lend(group int) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.borrower == 0 {
		t.borrower = group
		if !t.OnDemand {
			t.give(nil)
		}
	}
}

// give puts the borrower into the foreground, if this process is there, with the modes
// that its program had set; nil are those that there are. t.mu must be held.
func (t *Terminal) give(modes *unix.Termios) {
	if t.lent || !t.InForeground() {
		return
	}
	if t.Lending != nil {
		t.Lending()
	}

	if modes != nil {
		_ = t.SetModes(modes)
	} else if m, err := t.Modes(); err == nil {
		t.original = *m
	}
	t.lent = t.setForeground(t.borrower) == nil
}

// reclaim takes the terminal back from a group that has ended. Without a Terminal it
// does nothing.
func (t *Terminal) reclaim(group int) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.borrower != group {
		return
	}
	if t.takeBack() && t.Returned != nil {
		t.Returned()
	}
	t.borrower = 0
}

// takeBack takes the terminal back if it was lent, and no other job of a shell has
// it now. t.mu must be held.
func (t *Terminal) takeBack() bool {
	if !t.lent {
		return false
	}
	t.lent = false

	group, err := t.foreground()
	if err == nil {
		// A program below the supervisor process, which leads the borrower's
		// group, may have made a group of its own, as shells do for their jobs.
		isOurs := group == t.self || group == t.borrower ||
			slices.ContainsFunc(supervisor.Descendants(t.borrower), func(p supervisor.Process) bool { return p.Group == group })
		if exists := unix.Kill(-group, 0) == nil; exists && !isOurs {
			return false
		}
		err = t.setForeground(t.self)
	}
	if err != nil {
		if t.HungUp != nil {
			t.HungUp()
		}
		return false
	}

	_ = t.SetModes(&t.original) // it may be hung up
	return true
}

// pause is for a program that a signal has stopped. It stops this process as well,
// and lets both go on when this process is continued. If the program was stopped
// because it asks for the terminal, and can have it, it gets the terminal and goes
// on.
func (t *Terminal) pause(group, program int, by syscall.Signal) {
	t.mu.Lock()
	asks := by == unix.SIGTTIN || by == unix.SIGTTOU
	if asks && t.OnDemand && !t.lent && t.InForeground() {
		t.give(nil)
		t.mu.Unlock()
		resume(group, program)
		return
	}
	var modes *unix.Termios
	if m, err := t.Modes(); err == nil && t.lent {
		modes = m
	}
	t.takeBack()
	t.mu.Unlock()

	t.stopSelf(by)

	t.mu.Lock()
	defer t.mu.Unlock()
	t.give(modes)
	resume(group, program)
}

// resume continues a program that was stopped.
func resume(group, program int) {
	_ = unix.Kill(-group, unix.SIGCONT)
	_ = unix.Kill(program, unix.SIGCONT) // it may have made a group of its own
}

// Suspend stops the process as Ctrl-Z does, and returns when it goes on.
func (t *Terminal) Suspend() {
	t.mu.Lock()
	if t.Lending != nil && !t.lent {
		t.Lending()
	}
	t.mu.Unlock()
	t.stopSelf(unix.SIGTSTP)
	t.Continue()
}

// Continue is for a process that was stopped and goes on. If it is in the
// foreground now, the program that it runs gets the terminal, or the process
// itself uses it again.
func (t *Terminal) Continue() {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.lent || !t.InForeground():
	case t.borrower != 0 && !t.OnDemand:
		t.give(nil)
		_ = unix.Kill(-t.borrower, unix.SIGCONT)
	case t.Returned != nil:
		t.Returned()
	}
}

// stopSelf stops this process, and the others of its group, which a shell takes for
// one job. It returns when the process goes on: at once if the kernel sees that
// nobody would continue it.
//
// Package signal cannot bring back the default action of a signal that it has
// caught, so it is set by hand.
func (t *Terminal) stopSelf(by syscall.Signal) {
	if by == unix.SIGSTOP {
		by = unix.SIGTSTP // which the kernel ignores where nobody would continue us
	}
	maskSize := uintptr(8) // of the kernel's sigset_t
	if strings.HasPrefix(runtime.GOARCH, "mips") {
		maskSize = 16
	}
	type action [8]uint64 // a struct sigaction of the kernel has at most so much; zero is the default action
	setAction := func(to, old *action) {
		_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(by), uintptr(unsafe.Pointer(to)), uintptr(unsafe.Pointer(old)), maskSize, 0, 0)
	}

	// A signal to a thread is acted upon before the call returns.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before action
	setAction(new(action), &before)
	_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), by)
	setAction(&before, nil)

	time.Sleep(time.Millisecond) // so that no program can make us spin where the signal does nothing
}
