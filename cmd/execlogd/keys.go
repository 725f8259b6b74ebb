package main

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/job"
)

// keys reads single keys from the terminal while no command has it, and calls press
// for each. What is typed while it is off stays in the terminal for whoever reads
// it next.
type keys struct {
	terminal *job.Terminal
	press    func(key byte)
	hungUp   func() // called when the terminal is gone

	file *os.File // the terminal once more, to be read without blocking

	mu      sync.Mutex // guards what follows
	changed sync.Cond
	active  bool
	reading bool
	closed  bool
	before  *unix.Termios // the modes to set when it is off; nil then
	over    chan struct{} // closed when nothing is read any more
}

// newKeys returns keys that are off. They must be closed.
func newKeys(terminal *job.Terminal, press func(key byte), hungUp func()) (*keys, error) {
	fd, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/tty", Err: err}
	}
	k := &keys{terminal: terminal, press: press, hungUp: hungUp, file: os.NewFile(uintptr(fd), "/dev/tty"), over: make(chan struct{})}
	k.changed.L = &k.mu
	if err := k.file.SetReadDeadline(time.Time{}); err != nil {
		return nil, errors.Join(err, k.file.Close()) // it cannot be waited for
	}
	go k.read()
	return k, nil
}

// on gives each key as it is pressed, without echo and without waiting for the end
// of the line. The keys that send signals go on doing so.
func (k *keys) on() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.active || k.closed {
		return
	}
	before, err := k.terminal.Modes()
	if err != nil {
		k.hungUp()
		return
	}
	single := *before
	single.Lflag &^= unix.ICANON | unix.ECHO
	single.Cc[unix.VMIN], single.Cc[unix.VTIME] = 1, 0
	if k.terminal.SetModes(&single) != nil {
		return
	}
	k.active, k.before = true, before
	_ = k.file.SetReadDeadline(time.Time{})
	k.changed.Broadcast()
}

// off undoes on. When it returns nothing is read any more.
func (k *keys) off() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.active {
		return
	}
	k.active = false
	_ = k.file.SetReadDeadline(time.Now())
	for k.reading {
		k.changed.Wait()
	}
	_ = k.terminal.SetModes(k.before)
}

// close ends the keys for good.
func (k *keys) close() {
	k.off()
	k.mu.Lock()
	k.closed = true
	k.changed.Broadcast()
	k.mu.Unlock()
	<-k.over
	k.file.Close()
}

// read calls press until the keys are closed or the terminal is gone.
func (k *keys) read() {
	defer close(k.over)
	one := make([]byte, 1) // what follows may be for the command that this starts
	for k.mayRead() {
		n, err := k.file.Read(one)
		k.mu.Lock()
		k.reading = false
		k.changed.Broadcast()
		k.mu.Unlock()
		switch {
		case n > 0:
			k.press(one[0])
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.EINTR):
		default:
			k.hungUp()
			return
		}
	}
}

// mayRead waits until the keys are on. It returns false when they are closed.
func (k *keys) mayRead() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for !k.active && !k.closed {
		k.changed.Wait()
	}
	k.reading = k.active
	return k.active
}
