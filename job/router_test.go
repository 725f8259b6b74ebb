package job

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/execlog/execlogd/router"
)

// A Job and a Server can be the callback of a route, and the route's timeout ends them.
func TestRoute(t *testing.T) {
	done := make(chan Run, 1)
	jobs := newTestRunnerWith(t, Options{Done: func(r Run) { done <- r }})
	service := jobs.server(Service{Notify: true, Command: Command{Shell: "sleep 1000"}})
	for _, callback := range []router.Callback{jobs.job(Command{Shell: "sleep 1000"}).Run, service.Run} {
		routes, err := router.New(router.Options{}, router.Route{Name: "test", Settle: -1, Timeout: 50 * time.Millisecond, Callback: callback})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan error)
		go func() { stopped <- routes.Run(ctx) }()
		routes.Events(jobs.events("a"))
		if r := <-done; r.Outcome != router.Failed || !strings.HasPrefix(r.Err.Error(), "stopped at its timeout of 50ms") || len(r.Events) != 1 {
			t.Errorf("got %v of %v, want that it was stopped at its timeout", r, r.Events)
		}
		cancel()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	}
}
