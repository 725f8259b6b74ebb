package main

import (
	"slices"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/router"
)

// suspendServices stops the services that are not to outlive the failure of a route
// before them, and starts them at the next success of one.
func (p *pipeline) suspendServices(cfg *resolvedConfig, f router.Run) {
	failed := f.Outcome == router.Failed || f.Outcome == router.Cancelled
	for _, s := range cfg.resolved {
		first := slices.Contains(s.After, f.Route)
		// A success may have come too early, when another failed.
		cancelled := s.Name == f.Route && f.Outcome == router.Cancelled
		switch {
		case !s.StopOnFailure:
		case failed && (first || cancelled):
			if !s.work.down.Swap(true) {
				p.d.log.Info(logging.Suspended, "route", s.Name, "after", f.Route)
			}
			s.work.stop()
		case first && f.Err == nil && s.work.down.Swap(false):
			// The route is there, and waits for all that come first.
			_, _ = p.router.Trigger(s.Name, inotify.Event{Root: s.Root, Path: "."})
		}
	}
}
