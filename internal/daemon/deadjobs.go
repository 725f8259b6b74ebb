package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/execlog/execlogd/bus"
	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/control"
	"github.com/execlog/execlogd/internal/runnable"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

// errNoBus is the answer to questions about a cluster without one.
var errNoBus = errors.New("this daemon has no bus to other machines: its configuration has no [bus]")

// serveDead sends the jobs that have failed for good, as one JSON object a line, the oldest
// first.
func (d *daemon) serveDead(w http.ResponseWriter, r *http.Request) {
	m := d.machines.Load()
	if m == nil {
		sendResult(w, http.StatusBadRequest, control.Result{Failure: errNoBus.Error(), Status: 1})
		return
	}
	dead, err := m.bus.Dead(r.Context())
	if err != nil {
		sendResult(w, http.StatusBadGateway, control.Result{Failure: err.Error(), Status: 1})
		return
	}
	w.Header().Set("Content-Type", "application/jsonl")
	lines := json.NewEncoder(w)
	for _, j := range dead {
		var run job.Run
		_ = json.Unmarshal(j.Report, &run) // it may have none
		one := control.DeadJob{
			ID: j.ID, Queue: j.Queue, Paths: []string{}, Failed: j.Failed, Time: j.Time, Machine: printable(j.Machine), Failure: j.Error, Output: string(run.Output),
		}
		for _, e := range j.Events {
			one.Paths = append(one.Paths, e.Name())
		}
		if lines.Encode(one) != nil {
			return
		}
	}
}

// serveRetry has a route run for a job that has failed for good, and answers when it was done;
// with ?nowait at once.
func (d *daemon) serveRetry(w http.ResponseWriter, r *http.Request) {
	answer := func(code int, err error, status int) {
		result := control.Result{Status: status}
		if err != nil {
			result.Failure = err.Error()
		}
		sendResult(w, code, result)
	}
	m := d.machines.Load()
	if m == nil {
		answer(http.StatusBadRequest, errNoBus, 1)
		return
	}
	query := r.URL.Query()
	id, err := strconv.ParseUint(query.Get("id"), 10, 64)
	if err != nil {
		answer(http.StatusBadRequest, fmt.Errorf("%q is no ID of a job: execlogd log -dead prints them", query.Get("id")), 2)
		return
	}
	dead, err := m.bus.DeadJob(r.Context(), id)
	if errors.Is(err, bus.ErrNoDeadJob) {
		answer(http.StatusConflict, fmt.Errorf("%d: %w", id, err), 1)
		return
	} else if err != nil {
		answer(http.StatusBadGateway, err, 1)
		return
	}
	routes := d.active.Load().resolved
	i := slices.IndexFunc(routes, func(f runnable.Route) bool { return f.Queue == dead.Queue })
	if i < 0 {
		answer(http.StatusBadRequest, fmt.Errorf("job %d is of the queue %q, of which this daemon has no route: ask one that has", id, dead.Queue), 1)
		return
	}
	events := dead.Events
	for i := range events {
		events[i] = inotify.Event{Root: events[i].Root, Path: events[i].Path} // somebody asks for it
	}
	submission, err := d.pipeline.router.Trigger(routes[i].Name, events...)
	if err != nil {
		answer(http.StatusBadRequest, err, 1)
		return
	}
	noWait := query.Has("nowait")
	if noWait {
		answer(http.StatusAccepted, nil, 0)
		_ = http.NewResponseController(w).Flush() // the client may be gone
	}

	// Until the route was done with it, it may be that nobody has put it into the queue: because a
	// route that comes first has failed, or the daemon stops.
	err = submission.Wait(m.stopping)
	if wasDone(err) {
		m.forget(routes[i].Name, id)
	}
	switch {
	case noWait:
	case err != nil:
		answer(http.StatusOK, err, runnable.ExitStatus(err))
	default:
		answer(http.StatusOK, nil, 0)
	}
}

// wasDone reports whether a job was done, well or not, by the error of its run.
func wasDone(err error) bool {
	switch router.OutcomeOf(err) {
	case router.Succeeded, router.Skipped, router.Failed:
		return !errors.Is(err, router.ErrStopped)
	}
	return false
}

// forget removes a dead job of a route that was done again.
func (m *machines) forget(route string, id uint64) {
	ctx, cancel := context.WithTimeout(context.Background(), forgetTimeout)
	defer cancel()
	if err := m.bus.Forget(ctx, id); err != nil {
		m.d.logProblem(route, fmt.Errorf("job %d was tried again, and stays among the dead ones: %w", id, err))
	}
}

// forgetTimeout is how long the server may take to remove a dead job.
const forgetTimeout = 5 * time.Second
