package inotify

import (
	"context"
	"errors"
	"time"
)

// A scan of a large tree takes seconds, and longer where the disk is slow. Then
// Options.Scanning is told how far it is, and the scan ends early when that wants it, when
// the Watcher is closed, or when the context of the Run ends that scans.

// scanTick is how often Options.Scanning is called.
const scanTick = 100 * time.Millisecond

// errStopped says that a directory was not read to its end.
var errStopped = errors.New("the scan was stopped")

// beginAdding is called by what does not belong to Run, whose context has no effect on the
// scans until the function that it returns is called. mu must be held.
func (w *Watcher) beginAdding() (end func()) {
	w.adding, w.stopped, w.asked = true, nil, time.Now()
	if w.state.log != nil {
		w.state.hasWork.Store(1) // watches that are not saved yet
	}
	return func() { w.adding, w.stopped = false, nil }
}

// mustStop reports whether scans are to end, for the reason that w.stopped has then. It is
// for the goroutine that has locked mu.
func (w *Watcher) mustStop() bool {
	if w.stopped != nil || time.Since(w.asked) < scanTick {
		return w.stopped != nil
	}
	w.asked = time.Now()

	switch {
	case w.closing.Load():
		w.stopped = ErrClosed
	case !w.adding && w.runCtx != nil && w.runCtx.Err() != nil:
		w.stopped = errStopped
	case w.scanning != nil:
		w.stopped = w.scanning(int(w.looked.Load()))
	}
	return w.stopped != nil
}

// takeStopped returns why a scan of Run has ended early, unless ctx, which is that of Run,
// has ended.
func (w *Watcher) takeStopped(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.stopped
	w.stopped = nil
	if ctx.Err() != nil {
		return nil
	}
	return err
}
