package runnable

import (
	"errors"
	"reflect"
	"slices"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/control"
	"github.com/execlog/execlogd/job"
)

// A Route is a route of the configuration file with what it runs.
type Route struct {
	*config.Route
	Runnable *Runnable
	Kept     bool // the runnable is that of the configuration before
}

// Resolve reports what a configuration names that does not exist, and returns
// what its routes run. There must be a runner if there are routes.
func Resolve(cfg *config.Config, runner *job.Runner, tell Notices) ([]Route, config.Mistakes) {
	r := cfg.NewReport()
	if at, ok := cfg.ControlKey(); ok {
		if err := control.Check(cfg.Control); err != nil {
			r.Add(at, "control: %v", err)
		}
	}

	var routes []Route
	for _, c := range cfg.Check(r) {
		run, err := New(c, runner, tell)
		if wrong, ok := errors.AsType[*commandError](err); ok {
			r.Add(wrong.at, "%v", wrong)
		}
		routes = append(routes, Route{Route: c, Runnable: run})
	}
	return routes, r.Mistakes()
}

// Inherit takes over the runnable of the route that had the name before, if it is to go
// on. Otherwise the new runnable waits for the end of the old one.
func (r *Route) Inherit(old Route) {
	// What is run does not depend on when, nor on where the route is in the file.
	spec := func(c *config.Route) any {
		return []any{c.Per, c.IsService, c.Service, c.Notify, c.OnSuccess, c.OnFailureRun}
	}
	// A service that is suspended begins anew if it may not have to be any more.
	resumes := old.Runnable.Suspended.Load() && (r.StopOnFailure != old.StopOnFailure || !slices.Equal(r.After, old.After))

	if !resumes && reflect.DeepEqual(spec(old.Route), spec(r.Route)) {
		r.Runnable, r.Kept = old.Runnable, true
	} else {
		r.Runnable.predecessor = old.Runnable.done
	}
}
