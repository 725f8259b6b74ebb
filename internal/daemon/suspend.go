package daemon

import (
	"slices"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/router"
)

// suspendServices is told of each run. It stops services with on_failure = "stop" when a
// route that they come after fails, and starts them at the next success of one.
func (p *pipeline) suspendServices(cfg *resolvedConfig, run router.Run) {
	failed := run.Outcome == router.Failed || run.Outcome == router.Cancelled
	for _, s := range cfg.resolved {
		first := slices.Contains(s.After, run.Route)
		// A success may have come too early, when another failed.
		cancelled := s.Name == run.Route && run.Outcome == router.Cancelled
		switch {
		case !s.StopOnFailure:
		case failed && (first || cancelled):
			if !s.Runnable.Suspended.Swap(true) {
				p.d.log.Info(logging.Suspended, "route", s.Name, "after", run.Route)
			}
			s.Runnable.Stop()
		case first && run.Err == nil && s.Runnable.Suspended.Swap(false):
			// The route is there, and waits for all that come first.
			_, _ = p.router.Trigger(s.Name, inotify.Event{Root: s.Root, Path: "."})
		}
	}
}
