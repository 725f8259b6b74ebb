package tty

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/job"
)

// A keyReader reads single keys from the terminal while no command has it. It is on
// or off. What is typed while it is off stays in the terminal for whoever reads it
// next.
type keyReader struct {
	terminal *job.Terminal
	press    func(key byte) // called for each key, by the goroutine that reads

	file *os.File // the terminal opened once more, without blocking

	mu      sync.Mutex // guards what follows
	changed sync.Cond
	active  bool // it is on
	reading bool
	closed  bool
	before  *unix.Termios // the modes to restore; nil while it was never on
	done    chan struct{} // closed when nothing is read any more
}

// newKeyReader returns a keyReader that is off. It must be closed.
func newKeyReader(terminal *job.Terminal, press func(key byte)) (*keyReader, error) {
	fd, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/tty", Err: err}
	}
	k := &keyReader{terminal: terminal, press: press, file: os.NewFile(uintptr(fd), "/dev/tty"), done: make(chan struct{})}
	k.changed.L = &k.mu

	// Without deadlines a read could not be interrupted.
	if err := k.file.SetReadDeadline(time.Time{}); err != nil {
		return nil, errors.Join(err, k.file.Close())
	}
	go k.read()
	return k, nil
}

// on is KeysOn.
func (k *keyReader) on() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.active || k.closed {
		return
	}

	before, err := k.terminal.Modes()
	if err == nil {
		single := *before
		single.Lflag &^= unix.ICANON | unix.ECHO
		single.Cc[unix.VMIN], single.Cc[unix.VTIME] = 1, 0
		err = k.terminal.SetModes(&single)
	}
	if err != nil {
		k.hungUp()
		return
	}

	k.active, k.before = true, before
	_ = k.file.SetReadDeadline(time.Time{})
	k.changed.Broadcast()
}

// off is KeysOff.
func (k *keyReader) off() {
	k.mu.Lock()
	defer k.mu.Unlock()

	if !k.active {
		return
	}

	k.active = false
	_ = k.file.SetReadDeadline(time.Now())

	// A read that goes on would take a key that is meant for the program.
	for k.reading {
		k.changed.Wait()
	}

	_ = k.terminal.SetModes(k.before)
}

// close turns the reader off for good, and waits for its goroutine.
func (k *keyReader) close() {
	k.off()
	k.mu.Lock()
	k.closed = true
	k.changed.Broadcast()
	k.mu.Unlock()
	<-k.done
	k.file.Close()
}

func (k *keyReader) hungUp() {
	if k.terminal.HungUp != nil {
		k.terminal.HungUp()
	}
}

// read calls press until the reader is closed or the terminal is gone.
func (k *keyReader) read() {
	defer close(k.done)
	defer k.off() // after a panic of press
	var typed sequence
	one := make([]byte, 1) // the next key may be for the command that this one starts
	for k.waitActive() {
		n, err := k.file.Read(one)
		k.mu.Lock()
		k.reading = false
		k.changed.Broadcast()
		k.mu.Unlock()

		switch {
		case n > 0 && typed.has(one[0]):
		case n > 0:
			k.press(one[0])
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.EINTR):
		default:
			k.hungUp()
			return
		}
	}
}

// waitActive waits until the reader is on. It returns false when it is closed.
func (k *keyReader) waitActive() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for !k.active && !k.closed {
		k.changed.Wait()
	}
	k.reading = k.active
	return k.active
}
