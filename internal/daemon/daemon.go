// Package daemon is execlogd at work: what changes below the roots of a configuration goes
// through the router to commands and services, and to the pages that are open. The
// configuration can be replaced while the daemon runs.
package daemon

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/internal/accesslog"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/internal/metrics"
	"github.com/execlog/execlogd/internal/runnable"
	"github.com/execlog/execlogd/job"
)

// Options are what Run needs beside a configuration.
type Options struct {
	// Load reads the configuration anew, for a reload. It is not called when the
	// configuration is not from a file.
	Load func() (config.Config, error)

	// Stderr gets the log, and what is said beside it.
	Stderr io.Writer

	// Stdout gets the access log if that is asked for. Nil discards it.
	Stdout io.Writer

	// Stdin is read for keys if it is the terminal that Stderr is. Nil is none.
	Stdin *os.File

	// Advice is logged after the start; empty for none.
	Advice string
}

// Run acquires everything that the configuration needs, tells the user and systemd that
// the daemon is ready, and works until ctx ends, which is no error, or a part fails. If ctx
// ends while a file system does not answer, a goroutine stays: the process must end.
func Run(ctx context.Context, cfg config.Config, opts Options) error {
	begun := time.Now()
	hangups := make(chan os.Signal, 1)
	if cfg.File != "" || !signal.Ignored(syscall.SIGHUP) { // as under nohup
		signal.Notify(hangups, syscall.SIGHUP) // which ends it neither at the start nor at a stop
		defer signal.Stop(hangups)
	}

	d, err := UnlessHung(ctx, func() (*daemon, error) { return newDaemon(ctx, cfg, opts) })
	switch {
	case errors.Is(err, ErrStopped):
		_, _ = sd.SdNotify(false, "STOPPING=1\nSTATUS=stopping") // it ends at once anyway
		return nil
	case err != nil:
		return err
	}
	defer d.release()

	if cfg.File != "" {
		stop := runnable.StopGuard{Runner: d.runner, Say: func(text string) { d.log.Warn(text) }, Again: runnable.StopAgain(opts.Stderr), AtOnce: true}
		defer stop.Start(ctx)()
	}
	d.hangups = hangups
	ctx, d.end = context.WithCancelCause(ctx)
	defer d.end(nil)

	d.announce()
	if opts.Advice != "" {
		d.log.Info(opts.Advice)
	}
	stopping := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopping)
		d.stopping.Store(true)
		d.notifyStopping()
		d.log.Info("stopping", "cause", context.Cause(ctx))
	})
	err = runTasks(ctx, d.tasks(cfg)...)
	if !stop() {
		<-stopping // so that it is said before the end
	}
	d.logEntry(logging.Stopped, slog.Duration("took", time.Since(begun).Round(time.Millisecond)))
	return err
}

// A daemon holds everything that was acquired.
type daemon struct {
	active atomic.Pointer[resolvedConfig]
	load   func() (config.Config, error)
	stderr io.Writer
	out    io.Writer // what leads there by way of queue, with the line of state
	log    *slog.Logger
	logs   *logging.SwapHandler // behind log
	queue  *logging.Queue       // through which everything goes to stderr
	stdout io.Writer
	access *accesslog.Log

	metrics       *metrics.Metrics
	metricsServer metricsServer
	stopping      atomic.Bool

	toJournal bool        // stderr leads there
	output    outputLimit // if so

	server     *httpd.Server // without sockets while nothing is served
	token      string        // lets the owner see all of the status page; the same until the daemon ends
	tokenShown bool
	noRoot     sync.Once // says that a build has not made the root
	tooLarge   sync.Once // says that a link leads to too much
	web        listenerSet
	activated  []net.Listener               // sockets from systemd, for web
	certs      atomic.Pointer[certificates] // nil before there is TLS
	local      *certificates                // of the local authority, once it was needed
	statusPage listenerSet                  // sockets from systemd, for the status page alone
	store      *descriptorStore             // of systemd

	machines atomic.Pointer[machines] // nil without a bus, and before the pipeline
	runner   *job.Runner              // nil without a configuration file
	pipeline *pipeline                // nil when there is nothing to watch

	sourcesMu sync.Mutex
	sources   map[string]*sources // by the names of builders

	errors  pageErrors
	remade  remadeRoots
	waits   runnable.WaitLog
	notes   map[string]bool // on patterns, that were logged for the active configuration
	control listenerSet
	scanned atomic.Uint64 // directories, while a scan takes long
	accepts accepts       // at the sockets of web

	terminal *userTerminal // nil without one
	activity *activity     // what is on it

	scans   *scanReport
	last    *lastEvents
	isReady chan struct{} // closed when systemd was told that the daemon is ready

	end            context.CancelCauseFunc // ends the daemon
	hangups        <-chan os.Signal        // SIGHUP
	reloadRequests chan struct{}           // holds one
	reloadWaiters  reloadWaiters
	released       chan struct{}  // closed when everything is released that the last reload has replaced
	background     sync.WaitGroup // of what a reload leaves to do
	reloaded       chan struct{}  // holds one: another configuration is active
}

// newDaemon acquires everything that a configuration needs, or nothing. A scan ends when ctx
// does, also one that is made later.
func newDaemon(ctx context.Context, cfg config.Config, opts Options) (_ *daemon, err error) {
	d := &daemon{
		load: opts.Load, stderr: opts.Stderr, stdout: cmp.Or(opts.Stdout, io.Discard), token: rand.Text(), store: new(descriptorStore),
		reloadRequests: make(chan struct{}, 1), reloaded: make(chan struct{}, 1), released: make(chan struct{}),
	}
	close(d.released)
	d.last, d.activity, d.isReady = newLastEvents(), newActivity(), make(chan struct{})
	d.queue = logging.NewQueue(func(n int) { d.log.Warn(logging.Dropped, "messages", n) })
	d.toJournal = logOptions(&cfg).ToJournal(d.stderr)
	d.out = d.stderr
	if d.terminal = d.openTerminal(&cfg, opts.Stdin); d.terminal != nil {
		d.out = d.terminal.line
	}
	d.scans = &scanReport{ctx: ctx, show: d.terminal.showScan}
	d.logs = logging.NewSwapHandler(logging.NewHandler(d.out, d.queue, logOptions(&cfg)))
	d.log = slog.New(d.logs)
	d.access = d.newAccessLog()
	d.metrics = metrics.New(d.metricsState)
	defer func() {
		if err != nil {
			d.release()
		}
	}()

	if cfg.File != "" {
		if d.runner, err = job.New(job.Options{Output: d.logOutput, Done: d.logEnd}); err != nil {
			return nil, err
		}
	}
	routes, wrong := runnable.Resolve(&cfg, d.runner, d.notices())
	if err := wrong.Err(); err != nil {
		return nil, err
	}
	active := &resolvedConfig{Config: cfg, resolved: routes}
	d.active.Store(active)

	accessTarget, err := d.accessTarget(&cfg)
	if err != nil {
		return nil, err
	}
	d.access.Set(accessTarget, accesslog.Format(cfg.AccessLogFormat))
	if err := d.openServer(active); err != nil {
		return nil, err
	}
	controls, err := d.controlSockets(cfg)
	if err != nil {
		return nil, err
	}
	d.control.serve = d.serveControl
	d.control.replace(controls)

	// With a file, a reload may bring something to watch.
	if len(cfg.Roots()) > 0 || cfg.File != "" {
		if d.pipeline, err = d.newPipeline(active); err != nil {
			return nil, err
		}
		d.errors.follow(active)
	}
	d.store.dropRest()
	d.logNotes(cfg)
	return d, nil
}

// release releases everything. The tasks must have ended.
func (d *daemon) release() {
	d.closeMetrics()
	d.closeSources()
	if d.pipeline != nil {
		d.pipeline.close()
	}
	if d.runner != nil {
		d.runner.Close()
	}
	d.control.close()
	d.web.close()
	d.statusPage.close()
	d.store.close()
	if d.server != nil {
		d.server.Close()
	}
	if active := d.active.Load(); active != nil {
		for _, s := range active.sites {
			s.server.Close()
		}
	}
	d.access.Close()
	d.terminal.close()
	d.queue.Close()
}

// tasks are what runs until the daemon ends, in the order in which they are stopped: what
// brings events comes first, what they lead to after it.
func (d *daemon) tasks(cfg config.Config) []task {
	var tasks []task
	if d.terminal != nil {
		tasks = append(tasks, task{"terminal", d.terminal.run})
	}
	tasks = append(tasks, task{"tell systemd", d.keepStatus}, task{"watchdog", d.watchdog})
	if cfg.WatchFile {
		problem := func(err error) { d.log.Warn("watch configuration", "err", err) }
		w := &fileWatch{path: cfg.Path, text: cfg.Text, changed: d.requestReload, problem: problem}
		tasks = append(tasks, task{"watch configuration", w.run})
	}
	tasks = append(tasks, task{"handle SIGHUP", d.handleHangups})
	if cfg.File != "" {
		tasks = append(tasks, task{"reload", d.reloadOnRequest})
	}
	if d.pipeline != nil {
		m := d.pipeline.machines
		if m != nil {
			tasks = append(tasks, task{"wait for jobs", m.stopWaiting})
		}
		tasks = append(tasks, task{"watch", d.pipeline.group.Run})
		if m != nil {
			tasks = append(tasks, task{"bus", m.run})
		}
	}
	return append(tasks, task{"end when idle", d.endWhenIdle}, task{"open browser", d.openAtStart}, task{"serve", d.web.run}, task{"serve status", d.statusPage.run}, task{"control", d.control.run})
}
