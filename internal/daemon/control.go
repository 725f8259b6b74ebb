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

// controlSockets are where a configuration has `execlogd log` answered: where
// it says, or where it is usual if that is possible. Those that are open are
// kept if they are there already.
func (d *daemon) controlSockets(cfg config.Config) ([]net.Listener, error) {
	switch {
	case d.runner == nil:
		return nil, nil // there is nothing to tell
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

// hasControl reports whether the control socket that is open is where a
// configuration has it, with its file there.
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

// controlError says which flag or key names a control socket that cannot be had.
func controlError(cfg *config.Config, err error) error {
	at, ok := cfg.ControlKey()
	if !ok {
		return fmt.Errorf("-control: %w", err)
	}
	r := cfg.NewReport()
	r.Add(at, "control: %v", err)
	return r.Mistakes()
}

// serveControl answers on a control socket until ctx ends, or until that was
// closed and nobody follows the log there any more.
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

// serveLog sends the runs that are remembered, a JSON object a line, or with ?follow
// those that are over or, as a service, ready, and then each when it is.
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

	_ = flush.Flush() // what follows may take a while
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
