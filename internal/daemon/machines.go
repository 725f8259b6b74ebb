package daemon

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/execlog/execlogd/bus"
	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/internal/metrics"
	"github.com/execlog/execlogd/internal/runnable"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

// machines are what the daemon has to do with other machines: the bus, the root that they
// share, the queues of jobs, and what they have run. A nil one is for a configuration without
// a bus.
type machines struct {
	d     *daemon
	bus   *bus.Bus
	roots []*sharedRoot

	stopping context.Context // of the router, for runs that only wait
	stop     context.CancelCauseFunc
	ended    endedJobs
	repeats  jobRepeats
}

// newMachines returns what a configuration has to do with other machines; nil for nothing.
func (d *daemon) newMachines(cfg *resolvedConfig) (m *machines, err error) {
	if cfg.Bus.URL == "" {
		return nil, nil
	}
	m = &machines{d: d}
	m.stopping, m.stop = context.WithCancelCause(context.Background())
	opts := cfg.Bus.Options()
	opts.Logger, opts.Reported = d.log, m.noteReport
	for _, r := range cfg.SharedRoots() {
		s, err := d.newSharedRoot(r)
		if err != nil {
			return nil, err
		}
		m.roots, opts.Roots = append(m.roots, s), append(opts.Roots, s.busRoot(r.Name))
	}
	for _, f := range cfg.resolved {
		if f.Queue == "" {
			continue
		}
		q := bus.Queue{
			Name: f.Queue, Dir: f.Root, PerFile: f.PerFile(), AckWait: f.AckWait, Retries: f.Retries, Backoff: f.Backoff, Workers: 1,
		}
		if f.Work {
			route := f.Name
			q.Work = func(ctx context.Context, events []inotify.Event) (json.RawMessage, error) {
				return m.work(ctx, route, events)
			}
		}
		if f.PerFile() {
			q.Workers = cmp.Or(cfg.Jobs, max(router.DefaultConcurrency, runtime.GOMAXPROCS(0)))
		}
		opts.Queues = append(opts.Queues, q)
	}
	if m.bus, err = bus.New(opts); err != nil {
		return nil, err
	}
	for _, s := range m.roots {
		s.bus = m.bus
	}
	d.machines.Store(m)
	return m, nil
}

// sameMachines reports whether two configurations share the same over the same bus, and have
// the same queues.
func sameMachines(a, b *config.Config) bool {
	type queue struct {
		name, root string
		per        router.Per
		work       bool
		wait       time.Duration
		retries    int
		backoff    time.Duration
	}
	queues := func(cfg *config.Config) (all []queue) {
		for _, c := range cfg.Routes {
			if c.Queue != "" {
				all = append(all, queue{c.Queue, c.Root, c.Per, c.Work, c.AckWait, c.Retries, c.Backoff})
			}
		}
		return all
	}
	if a.Bus.URL == "" && b.Bus.URL == "" {
		return true
	}
	sameRoot := func(a, b config.SharedRoot) bool {
		return a.Name == b.Name && a.Root == b.Root && reflect.DeepEqual(a.Ignored, b.Ignored)
	}
	return a.Bus == b.Bus && slices.EqualFunc(a.SharedRoots(), b.SharedRoots(), sameRoot) && slices.Equal(queues(a), queues(b))
}

// trusts is inotify.Options.Remote: others tell of the changes of shared roots.
func (m *machines) trusts(path, _ string) bool {
	return m != nil && slices.ContainsFunc(m.roots, func(s *sharedRoot) bool {
		_, ok := config.Below(config.Resolve(s.root), path)
		return ok
	})
}

// watch has the watcher of a group report to other machines.
func (m *machines) watch(g *router.Group, waits func(root string) bool) error {
	if m == nil {
		return nil
	}
	for _, s := range m.roots {
		if err := s.watch(g, waits(s.root)); err != nil {
			return err
		}
	}
	return nil
}

// shares reports whether a root is shared.
func (m *machines) shares(root string) bool {
	return m != nil && slices.ContainsFunc(m.roots, func(s *sharedRoot) bool { return s.root == root })
}

// run works until ctx ends.
func (m *machines) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var polling sync.WaitGroup
	defer polling.Wait()
	defer cancel()
	for _, s := range m.roots {
		polling.Go(func() { s.pollWhenSilent(ctx) })
	}
	return m.bus.Run(ctx)
}

// stopWaiting ends runs that wait for a queue when ctx ends. Their jobs stay there. No more jobs
// are taken from then on: the router would stop them.
func (m *machines) stopWaiting(ctx context.Context) error {
	<-ctx.Done()
	m.bus.StopTaking()
	m.stop(fmt.Errorf("stopped while it waited for its queue: %w", context.Canceled))
	return nil
}

// position is httpd.Options.Position for a site with a root.
func (d *daemon) position(root string) string {
	if m := d.machines.Load(); m.shares(root) {
		return m.bus.Position(root)
	}
	return ""
}

// changedSince is httpd.Options.Since for a site with a root.
func (d *daemon) changedSince(root, position string) (time.Time, bool) {
	if m := d.machines.Load(); m.shares(root) {
		return m.bus.Since(root, position)
	}
	return time.Time{}, false
}

// enqueue returns the callback of a route with a queue: it puts jobs there, and returns when they
// were done.
func (m *machines) enqueue(f runnable.Route) router.Callback {
	return func(ctx context.Context, batch []inotify.Event) error {
		if isInitialScan(f.Route, batch) {
			return m.d.pipeline.offerPresent(f.Route)
		}
		defer m.d.activity.begin(f.Name + " is in its queue")()
		newer := make(chan struct{})
		waiting, stop := context.WithCancelCause(context.WithoutCancel(ctx))
		defer stop(nil)
		defer context.AfterFunc(m.stopping, func() { stop(context.Cause(m.stopping)) })()
		defer context.AfterFunc(ctx, func() {
			if cause := context.Cause(ctx); errors.Is(cause, router.ErrRestarted) {
				close(newer)
			} else {
				stop(cause)
			}
		})()

		if f.PerFile() {
			if err := m.repeats.check(waiting, f.Name, batch, newer); err != nil {
				return err
			}
			defer m.repeats.end(f.Name, batch[0])
		}
		_, err := m.bus.Do(waiting, f.Queue, batch, newer)
		if errors.Is(err, bus.ErrWaits) {
			return router.ErrRestarted
		}
		if failed, ok := errors.AsType[*bus.JobError](err); ok {
			err = jobError(failed)
		}
		return err
	}
}

// jobError returns the error of a job that has failed on some machine, with the run if the
// machine has said what it was.
func jobError(failed *bus.JobError) error {
	var run job.Run
	if json.Unmarshal(failed.Report, &run) != nil || run.Err == nil || len(run.Argv) == 0 {
		return failed
	}
	return fmt.Errorf("on %s: %w", printable(failed.Machine), &job.Error{Run: run})
}

// workRoute is the route that does the jobs of the queue of a route, when it is triggered.
func (m *machines) workRoute(f runnable.Route) router.Route {
	route := f.Route.Route
	route.Name, route.TriggerOnly, route.Patterns = config.WorkRoute(f.Name), true, nil
	route.After, route.Follow, route.Retries, route.Durable, route.CatchUp = nil, false, 0, false, false
	route.Delay, route.Debounce, route.Quiet, route.Settle, route.Hold = -1, -1, -1, -1, -1
	route.OwnOutput = runnable.OwnOutput(m.d.runner, f.Name)
	route.Callback = func(ctx context.Context, batch []inotify.Event) error {
		defer m.d.activity.begin(f.Name + " runs")()
		return f.Runnable.Run(ctx, batch)
	}
	return route
}

// work does a job of the queue of a route, whose run it returns in JSON.
func (m *machines) work(ctx context.Context, route string, events []inotify.Event) (json.RawMessage, error) {
	key := m.ended.await(route, events[0])
	submission, err := m.d.pipeline.router.Trigger(config.WorkRoute(route), events...)
	if err != nil {
		m.ended.take(key)
		return nil, fmt.Errorf("%w: %w", bus.ErrGivenBack, err) // a new configuration does not have it
	}
	err = submission.Wait(ctx)
	report := m.ended.take(key)
	switch router.OutcomeOf(err) {
	case router.Restarted, router.Stopped, router.Cancelled:
		return nil, fmt.Errorf("%w: %w", bus.ErrGivenBack, err)
	}
	if errors.Is(err, router.ErrStopped) || err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("%w: %w", bus.ErrGivenBack, err)
	}
	if failed, ok := errors.AsType[*job.Error](err); ok {
		err = failed // without the name of the route here
	}
	return report, err
}

// maxReportOutput is how many bytes of the output of a run other machines are told.
const maxReportOutput = 16 << 10

// reportRun tells other machines of a run that is over.
func (m *machines) reportRun(r job.Run) {
	if m == nil {
		return
	}
	if extra := len(r.Output) - maxReportOutput; extra > 0 {
		r.Output = r.Output[extra:]
	}
	body, err := json.Marshal(r)
	if err != nil {
		return // it has only numbers, bytes and text
	}
	if !m.ended.note(r, body) {
		m.bus.Report(body)
	}
}

// endedJobs hold the runs of jobs, until they are taken. The zero value is ready to use.
type endedJobs struct {
	mu      sync.Mutex
	awaited map[jobKey]json.RawMessage
}

// A jobKey tells a job under way from others: there is one for a path of a route.
type jobKey struct{ route, path string }

func (e *endedJobs) await(route string, first inotify.Event) jobKey {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.awaited == nil {
		e.awaited = make(map[jobKey]json.RawMessage)
	}
	k := jobKey{route, first.Name()}
	e.awaited[k] = nil
	return k
}

// note keeps a run in JSON, if it is that of a job.
func (e *endedJobs) note(r job.Run, body json.RawMessage) bool {
	if len(r.Events) == 0 {
		return false
	}
	k := jobKey{r.Route, r.Events[0].Name()}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, is := e.awaited[k]; !is {
		return false
	}
	e.awaited[k] = body
	return true
}

func (e *endedJobs) take(k jobKey) json.RawMessage {
	e.mu.Lock()
	defer e.mu.Unlock()
	body := e.awaited[k]
	delete(e.awaited, k)
	return body
}

// noteReport is bus.Options.Reported.
func (m *machines) noteReport(r bus.Report) {
	var run job.Run
	if r.Own || m.d.runner == nil || json.Unmarshal(r.Body, &run) != nil || run.Outcome == router.Running {
		return
	}
	run.Machine = printable(r.Machine)
	if early := time.Until(run.Start.Add(run.Took)); early > 0 { // by its clock it is not over yet
		run.Start = run.Start.Add(-early)
	}
	m.d.runner.Log().Add(run)
}

// printable returns what another machine calls itself, so that it can be shown. It is never
// empty.
func printable(name string) string {
	const most = 64
	return cmp.Or(logging.Printable(name[:min(len(name), most)]), "?")
}

// logJob logs how the run of a job ended.
func (d *daemon) logJob(route string, run router.Run) {
	log := d.log.With("route", route, "path", logging.PathsOf(run.Events), "took", run.Took.Round(time.Millisecond))
	if run.Outcome == router.Failed {
		log.Error("job failed", "err", run.Err)
		return
	}
	log.Info("job " + run.Outcome.String())
}

// count enters in metrics what the bus has done. A nil one does nothing.
func (m *machines) count(state *metrics.State) {
	if m == nil {
		return
	}
	stats := m.bus.Stats()
	state.BusPublished, state.BusReceived, state.BusLost, state.BusJunk = stats.Published, stats.Received, stats.Lost, stats.Junk
	state.JobsDone, state.JobsDead = stats.Done, stats.Dead
	if stats.Connected {
		state.BusConnected = 1
	}
}
