// Package tty reads single keys from the terminal that controls the process, stops
// and continues with a shell's job control, and leaves the terminal as it was found.
package tty

import (
	"io"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/execlog/execlogd/job"
)

// A Terminal is the controlling terminal with its keys. The fields of the job.Terminal,
// and Resized, must be set before Begin.
type Terminal struct {
	*job.Terminal

	// Resized is called when the terminal has another size. Nil is nobody.
	Resized func()

	keys *keyReader
	stop func()
}

// active is what Restore restores.
var active atomic.Pointer[Terminal]

// Open returns the Terminal for a file, which must be the controlling terminal and stay
// open. Press is called for each key while keys are on, by one goroutine, but not for those
// that send several bytes, as arrows do. The keys are off at first. A program that borrows
// the terminal, and Suspend, turn them off, and on again afterwards, by Lending and
// Returned: whoever replaces these calls KeysOff and KeysOn. The Terminal must be closed.
func Open(file *os.File, press func(key byte)) (*Terminal, error) {
	controlling, err := job.OpenTerminal(file)
	if err != nil {
		return nil, err
	}
	t := &Terminal{Terminal: controlling}
	if t.keys, err = newKeyReader(controlling, press); err != nil {
		return nil, err
	}
	t.Lending, t.Returned = t.KeysOff, t.KeysOn
	active.Store(t)
	return t, nil
}

// KeysOn begins to read keys: each as it is pressed, without echo and without waiting
// for the end of the line. Keys that send signals still do.
func (t *Terminal) KeysOn() { t.keys.on() }

// KeysOff stops to read keys, and restores the modes. When it returns, nothing is read
// any more.
func (t *Terminal) KeysOff() { t.keys.off() }

// foregroundInterval is how often a process in the background looks whether it is in the
// foreground: a shell sends no signal when it moves a process that runs.
const foregroundInterval = 250 * time.Millisecond

// Begin starts to handle SIGTSTP, SIGCONT and SIGWINCH.
func (t *Terminal) Begin() {
	signals := make(chan os.Signal, 8)
	var handling sync.WaitGroup
	signal.Notify(signals, syscall.SIGTSTP, syscall.SIGCONT, syscall.SIGWINCH)
	handling.Go(func() { t.handle(signals) })

	t.stop = func() {
		signal.Stop(signals)
		close(signals)
		handling.Wait()
	}
}

// handle handles signals until there are no more.
func (t *Terminal) handle(signals <-chan os.Signal) {
	inBackground := !t.InForeground()
	for {
		var look <-chan time.Time
		if inBackground {
			look = time.After(foregroundInterval)
		}
		select {
		case s, ok := <-signals:
			switch {
			case !ok:
				return
			case s == syscall.SIGTSTP:
				t.Suspend()
			case s == syscall.SIGCONT:
				t.Continue()
			case t.Resized != nil:
				t.Resized()
			}
			inBackground = !t.InForeground()
		case <-look:
			if inBackground = !t.InForeground(); !inBackground {
				t.Continue()
			}
		}
	}
}

// Close ends what Begin started, and restores the modes of the terminal. It may be called
// again.
func (t *Terminal) Close() {
	if t.stop != nil {
		t.stop()
		t.stop = nil
	}
	t.keys.close()
	active.CompareAndSwap(t, nil)
}

// Restore calls Lending of the terminal that is open, if there is one, for a process that
// ends without Close.
func Restore() {
	if t := active.Load(); t != nil {
		t.Lending()
	}
}

// RestoreOnPanic is to be deferred by a goroutine in which a panic would end the process.
// It calls Restore unless the goroutine says that it has returned.
func RestoreOnPanic(returned *bool) {
	if !*returned {
		Restore()
	}
}

// SameFile reports whether two outputs lead to the same file, as after 2>&1.
func SameFile(a, b io.Writer) bool {
	fileA, isFileA := a.(*os.File)
	fileB, isFileB := b.(*os.File)
	if !isFileA || !isFileB {
		return a == b
	}
	infoA, errA := fileA.Stat()
	infoB, errB := fileB.Stat()
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}
