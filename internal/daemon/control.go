package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/control"
	"github.com/execlog/execlogd/router"
)

// controlSockets returns the control socket of a configuration: at the path that it names,
// or at the default path, where it does without if there is an error. A socket that is
// open at the path is kept.
func (d *daemon) controlSockets(cfg config.Config) ([]net.Listener, error) {
	switch {
	case d.runner == nil:
		return nil, nil // nobody asks for runs
	case d.hasControl(cfg):
		return d.control.sockets(), nil
	case cfg.Control != "":
		ln, err := control.Listen(cfg.Control)
		if err != nil {
			return nil, controlError(&cfg, err)
		}
		return []net.Listener{ln}, nil
	}

	path, err := control.DefaultPath()
	if err == nil {
		var ln net.Listener
		if ln, err = control.Listen(path); err == nil {
			return []net.Listener{ln}, nil
		}
	}
	d.log.Warn("no control socket", "err", err)
	return nil, nil
}

// hasControl reports whether the open control socket is at the path of a configuration,
// and its file still exists.
func (d *daemon) hasControl(cfg config.Config) bool {
	open := d.control.sockets()
	if len(open) == 0 {
		return false
	}
	s := open[0].(*control.Socket)
	path := cfg.Control
	if path == "" && d.cfg.Control == "" {
		path = s.Path()
	}
	return path != "" && s.IsAt(path)
}

// controlError returns the error of a control socket that cannot be made, with the flag or
// key that names it.
func controlError(cfg *config.Config, err error) error {
	at, ok := cfg.ControlKey()
	if !ok {
		return fmt.Errorf("-control: %w", err)
	}
	r := cfg.NewReport()
	r.Add(at, "control: %v", err)
	return r.Mistakes()
}

// serveControl answers requests on a control socket until ctx ends, or until the socket is
// closed and the last request is over.
func (d *daemon) serveControl(ctx context.Context, ln net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /log", d.serveLog)
	mux.HandleFunc("POST /trigger", d.serveTrigger)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()

	err := srv.Serve(ln)
	switch {
	case errors.Is(err, net.ErrClosed):
		_ = srv.Shutdown(ctx)
	case !errors.Is(err, http.ErrServerClosed):
		return err
	}
	return nil
}

// serveLog sends the runs that are remembered, as one JSON object a line. With ?follow it
// goes on, and sends each run when it is over, and that of a service when it is ready.
func (d *daemon) serveLog(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/jsonl")
	lines, flush := json.NewEncoder(w), http.NewResponseController(w)
	if !r.URL.Query().Has("follow") {
		for _, r := range d.runner.Log().Runs() {
			if lines.Encode(r) != nil {
				return
			}
		}
		return
	}

	_ = flush.Flush() // the first run may be long in coming
	ready := make(map[uint64]bool)
	for r := range d.runner.Log().Follow(r.Context()) {
		runs := r.Outcome == router.Running
		if runs && (!r.Ready || ready[r.ID]) {
			continue
		}
		if runs {
			ready[r.ID] = true
		} else {
			delete(ready, r.ID)
		}
		if lines.Encode(r) != nil || flush.Flush() != nil {
			return
		}
	}
}
