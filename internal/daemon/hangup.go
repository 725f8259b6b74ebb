package daemon

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// handleHangups requests a reload at SIGHUP, until stop is called. If the signal comes
// because the terminal is gone, it calls end instead.
func (d *daemon) handleHangups(end context.CancelCauseFunc) (stop func()) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)

	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-hangups:
				if hasHungUp(d.stderr) {
					end(errors.New("the terminal is gone"))
				}
				d.requestReload()
			case <-done:
				return
			}
		}
	})

	return func() {
		signal.Stop(hangups)
		close(done)
		wg.Wait()
	}
}

// hasHungUp reports whether w is a terminal that is gone.
func hasHungUp(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}

	var asked error
	err = conn.Control(func(fd uintptr) { _, asked = unix.IoctlGetTermios(int(fd), unix.TCGETS) })
	return err == nil && errors.Is(asked, unix.EIO)
}
