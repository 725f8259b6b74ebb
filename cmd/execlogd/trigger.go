package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/control"
	"github.com/execlog/execlogd/internal/runnable"
)

const triggerUsage = `Usage: execlogd trigger [flags] route [path...]

Makes the running daemon run a route at once, whatever its patterns: for the paths, as if
they had changed, or for its root as a whole. It waits for the end of the run, and its
exit status is that of the command.
`

// trigger makes a running daemon run a route.
func trigger(ctx context.Context, args []string, stdout, _ io.Writer) error {
	var noWait bool
	var socket string
	flags := flag.NewFlagSet("execlogd trigger", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&noWait, "n", false, "do not wait for the end of the run")
	flags.StringVar(&socket, "control", "", "the control `socket` of the daemon, where there are several")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		_, err := io.WriteString(stdout, config.Help(flags, triggerUsage))
		return err
	case err != nil:
		return config.UsageError{Err: err}
	case flags.NArg() == 0:
		return config.Usagef("which route is to run? Name one, as in execlogd trigger build")
	}

	var paths []string
	for _, arg := range flags.Args()[1:] {
		path, err := filepath.Abs(arg)
		if err != nil {
			return err
		}
		paths = append(paths, path)
	}
	conn, err := control.Dial(socket)
	if err != nil {
		return err
	}
	return requestRun(ctx, conn, flags.Arg(0), paths, noWait)
}

// A triggered is the answer of the daemon to a trigger.
type triggered struct {
	Failure string `json:"failure,omitempty"` // why the run has failed, or did not begin
	Status  int    `json:"status"`            // what the client exits with
}

// requestRun requests a run over a connection, which it closes.
func requestRun(ctx context.Context, conn net.Conn, route string, paths []string, noWait bool) error {
	defer conn.Close()
	query := url.Values{"route": {route}}
	if noWait {
		query.Set("nowait", "")
	}
	// A path may have any byte but NUL.
	body := strings.NewReader(strings.Join(paths, "\x00"))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://execlogd/trigger?"+query.Encode(), body)
	if err != nil {
		return err
	}
	res, err := control.Client(conn).Do(req)
	switch {
	case ctx.Err() != nil:
		return errors.New("not waited for any longer: the run goes on")
	case err != nil:
		return fmt.Errorf("control socket: the daemon has gone, or is of another version: %w", err)
	}
	defer res.Body.Close()

	var answer triggered
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return fmt.Errorf("control socket: %s: the daemon is of another version: %w", res.Status, err)
	}
	if answer.Failure != "" {
		return failedTrigger{answer}
	}
	return nil
}

// A failedTrigger is a run that has failed, or that the daemon has refused.
type failedTrigger struct{ triggered }

func (f failedTrigger) Error() string { return f.Failure }

// maxTrigger is how long the paths of a trigger may be.
const maxTrigger = 16 << 20

// serveTrigger runs a route and answers when that is over.
func (d *daemon) serveTrigger(w http.ResponseWriter, r *http.Request) {
	answer := func(code int, t triggered) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(t) // nobody may wait any more
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxTrigger))
	if err != nil {
		answer(http.StatusBadRequest, triggered{"the paths cannot be read: " + err.Error(), 1})
		return
	}
	var paths []string
	if len(body) > 0 {
		paths = strings.Split(string(body), "\x00")
	}
	query := r.URL.Query()
	p := d.pipeline
	events, err := p.now().eventsFor(query.Get("route"), paths)
	if err != nil {
		answer(http.StatusBadRequest, triggered{err.Error(), 2})
		return
	}
	ticket, err := p.router.Trigger(query.Get("route"), events...)
	switch {
	case err != nil:
		answer(http.StatusBadRequest, triggered{err.Error(), 1})
		return
	case query.Has("nowait"):
		answer(http.StatusAccepted, triggered{})
		return
	}
	if err := ticket.Wait(r.Context()); err != nil {
		answer(http.StatusOK, triggered{err.Error(), runnable.ExitStatus(err)})
		return
	}
	answer(http.StatusOK, triggered{})
}

// eventsFor are the events that a trigger of a route stands for.
func (r *resolvedConfig) eventsFor(route string, paths []string) ([]inotify.Event, error) {
	var names []string
	for _, c := range r.Routes {
		names = append(names, c.Name)
	}
	i := slices.Index(names, route)
	if i < 0 {
		if meant := config.Nearest(route, names); meant != "" {
			return nil, fmt.Errorf("no route %q: is %s meant?", route, meant)
		}
		return nil, fmt.Errorf("no route %q: want one of %s", route, strings.Join(names, ", "))
	}
	c := r.Routes[i]
	if len(paths) == 0 && c.PerFile() {
		return nil, fmt.Errorf("route %q runs for each file: name files below %s", route, c.Root)
	}
	if len(paths) == 0 {
		return []inotify.Event{{Root: c.Root, Path: "."}}, nil
	}
	var events []inotify.Event
	for _, path := range paths {
		// What is watched has one name for us, however people have come to it.
		real := config.ResolveDir(path)
		rel, ok := config.Below(config.Resolve(c.Root), real)
		if !ok {
			return nil, fmt.Errorf("%s is not below the root of route %q, %s: name what is", inotify.Quote(path), route, c.Root)
		}
		events = append(events, inotify.Event{Root: c.Root, Path: rel})
	}
	return events, nil
}
