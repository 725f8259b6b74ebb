package daemon

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/control"
	"github.com/execlog/execlogd/internal/runnable"
)

// maxTriggerSize bounds the paths of a trigger, in bytes.
const maxTriggerSize = 16 << 20

// serveTrigger runs a route for the paths in the body, with a NUL between them, and
// answers when the run is over; with ?nowait at once.
func (d *daemon) serveTrigger(w http.ResponseWriter, r *http.Request) {
	answer := func(code int, failure string, status int) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(control.TriggerResult{Failure: failure, Status: status}) // the client may be gone
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
	events, err := d.pipeline.now().triggerEvents(query.Get("route"), paths)
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
