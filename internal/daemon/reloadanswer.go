package daemon

import (
	"net/http"
	"sync"

	"github.com/execlog/execlogd/internal/control"
)

// reloadWaiters are those who wait for the end of a reload that they have requested. The zero
// value is none.
type reloadWaiters struct {
	mu      sync.Mutex
	waiting []chan<- error // hold one
}

// add adds one, before the request. What is received is the error of the reload.
func (w *reloadWaiters) add() <-chan error {
	w.mu.Lock()
	defer w.mu.Unlock()
	answer := make(chan error, 1)
	w.waiting = append(w.waiting, answer)
	return answer
}

// take takes those who have requested the reload that is about to begin, and returns a function
// that answers them.
func (w *reloadWaiters) take() (answer func(error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	waiting := w.waiting
	w.waiting = nil
	return func(err error) {
		for _, one := range waiting {
			one <- err
		}
	}
}

// serveReload loads the configuration again, and answers when that is done or refused.
func (d *daemon) serveReload(w http.ResponseWriter, r *http.Request) {
	if d.active.Load().File == "" {
		d.log.Info("nothing to load again: no file is named by -config")
		sendResult(w, http.StatusOK, control.Result{})
		return
	}

	loaded := d.reloadWaiters.add()
	d.requestReload()
	select {
	case err := <-loaded:
		var result control.Result
		if err != nil {
			result = control.Result{Failure: err.Error(), Status: 1}
		}
		sendResult(w, http.StatusOK, result)
	case <-r.Context().Done(): // or the daemon is stopping
	}
}
