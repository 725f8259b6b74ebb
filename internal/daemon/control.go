package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/control"
	"github.com/execlog/execlogd/internal/runnable"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

// controlSockets returns the control socket of a configuration: at the path that it names,
// or at the default path, where it does without if there is an error. A service of systemd
// has both. A socket that is open at the path, and whose file still exists, is kept.
func (d *daemon) controlSockets(cfg config.Config) (sockets []net.Listener, err error) {
	isService := control.RuntimeDirectory() != ""
	if d.runner == nil && !isService {
		return nil, nil // nobody asks for runs
	}

	usual := ""
	if cfg.Control == "" || isService { // whose unit finds it there
		usual, err = control.DefaultPath()
		if err == nil {
			sockets, err = d.addControl(sockets, usual)
		}
		if err != nil {
			d.log.Warn("no control socket", "err", err)
		}
	}
	if cfg.Control != "" && cfg.Control != usual {
		if sockets, err = d.addControl(sockets, cfg.Control); err != nil {
			closeExcept(sockets, d.control.sockets())
			return nil, controlError(&cfg, err)
		}
	}
	return sockets, nil
}

// addControl appends the control socket at a path to others.
func (d *daemon) addControl(sockets []net.Listener, path string) ([]net.Listener, error) {
	for _, ln := range d.control.sockets() {
		if ln.(*control.Socket).IsAt(path) {
			return append(sockets, ln), nil
		}
	}
	ln, err := control.Listen(path)
	if err != nil {
		return sockets, err
	}
	return append(sockets, ln), nil
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
	mux.HandleFunc("GET /place", d.servePlace)
	mux.HandleFunc("GET /routes", d.serveRoutes)
	mux.HandleFunc("POST /reload", d.serveReload)
	if d.runner != nil {
		mux.HandleFunc("GET /log", d.serveLog)
		mux.HandleFunc("POST /trigger", d.serveTrigger)
		mux.HandleFunc("GET /dead", d.serveDead)
		mux.HandleFunc("POST /retry", d.serveRetry)
	}
	srv := &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelWarn),
	}
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

// servePlace sends the directories that the daemon is at work in, that of its file first.
func (d *daemon) servePlace(w http.ResponseWriter, _ *http.Request) {
	cfg := d.active.Load()
	var place control.Place
	if cfg.File != "" {
		place.Directories = append(place.Directories, filepath.Dir(cfg.Path))
	}
	place.Directories = append(place.Directories, cfg.Roots()...)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(place) // the client may be gone
}

// serveRoutes sends the names of the routes, one a line.
func (d *daemon) serveRoutes(w http.ResponseWriter, _ *http.Request) {
	for _, route := range d.active.Load().Routes {
		fmt.Fprintln(w, route.Name)
	}
}

// serveLog sends the runs that are remembered, as one JSON object a line, with ?cluster those of
// other machines as well. With ?follow it goes on, and sends each run when it is over, and that
// of a service when it is ready.
func (d *daemon) serveLog(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/jsonl")
	lines, flush := json.NewEncoder(w), http.NewResponseController(w)
	query := r.URL.Query()
	wanted := func(r job.Run) bool { return r.Machine == "" || query.Has("cluster") }
	if !query.Has("follow") {
		for _, r := range d.runner.Log().Runs() {
			if wanted(r) && lines.Encode(r) != nil {
				return
			}
		}
		return
	}

	_ = flush.Flush() // the first run may be long in coming
	ready := make(map[uint64]bool)
	for r := range d.runner.Log().Follow(r.Context()) {
		if !wanted(r) {
			continue
		}
		if r.Outcome != router.Running {
			delete(ready, r.ID)
		} else if !r.Ready || ready[r.ID] {
			continue
		} else {
			ready[r.ID] = true
		}
		if lines.Encode(r) != nil || flush.Flush() != nil {
			return
		}
	}
}

// sendResult answers a request for something that may fail.
func sendResult(w http.ResponseWriter, code int, result control.Result) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(result) // the client may be gone
}

// maxTriggerSize bounds the paths of a trigger, in bytes.
const maxTriggerSize = 16 << 20

// serveTrigger runs a route for the paths in the body, with a NUL between them, and
// answers when the run is over; with ?nowait at once.
func (d *daemon) serveTrigger(w http.ResponseWriter, r *http.Request) {
	answer := func(code int, failure string, status int) {
		sendResult(w, code, control.Result{Failure: failure, Status: status})
	}

	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxTriggerSize))
	if err != nil {
		answer(http.StatusBadRequest, "the paths cannot be read: "+err.Error(), 1)
		return
	}
	var paths []string
	if len(body) > 0 {
		paths = strings.Split(string(body), "\x00")
	}

	query := r.URL.Query()
	events, err := d.active.Load().triggerEvents(query.Get("route"), paths)
	if err != nil {
		answer(http.StatusBadRequest, err.Error(), 2)
		return
	}
	submission, err := d.pipeline.router.Trigger(query.Get("route"), events...)
	switch {
	case err != nil:
		answer(http.StatusBadRequest, err.Error(), 1)
		return
	case query.Has("nowait"):
		answer(http.StatusAccepted, "", 0)
		return
	}
	if err := submission.Wait(r.Context()); err != nil {
		answer(http.StatusOK, err.Error(), runnable.ExitStatus(err))
		return
	}
	answer(http.StatusOK, "", 0)
}

// triggerEvents returns the events for a trigger of a route: of each path, which is
// absolute, or of the root of the route.
func (c *resolvedConfig) triggerEvents(route string, paths []string) ([]inotify.Event, error) {
	var names []string
	for _, c := range c.Routes {
		names = append(names, c.Name)
	}
	i := slices.Index(names, route)
	if i < 0 {
		if meant := config.Nearest(route, names); meant != "" {
			return nil, fmt.Errorf("no route %q: is %s meant?", route, meant)
		}
		return nil, fmt.Errorf("no route %q: want one of %s", route, strings.Join(names, ", "))
	}

	to := c.Routes[i]
	if len(paths) == 0 && to.PerFile() {
		return nil, fmt.Errorf("route %q runs for each file: name files below %s", route, to.Root)
	}
	if len(paths) == 0 {
		return []inotify.Event{{Root: to.Root, Path: "."}}, nil
	}
	var events []inotify.Event
	for _, path := range paths {
		// The path may lead through links, and so may the root.
		rel, ok := config.Below(config.Resolve(to.Root), config.ResolveDir(path))
		if !ok {
			return nil, fmt.Errorf("%s is not below the root of route %q, %s: name what is", inotify.Quote(path), route, to.Root)
		}
		events = append(events, inotify.Event{Root: to.Root, Path: rel})
	}
	return events, nil
}
