package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/metrics"
	"github.com/execlog/execlogd/router"
)

// A metricsServer answers /metrics, /healthz and /readyz, at listeners of its own, from
// before the first scan until the daemon has stopped.
type metricsServer struct {
	listenerSet
	activated []net.Listener // sockets from systemd

	ctx   context.Context // ends when the server is to stop
	stop  context.CancelFunc
	tasks sync.WaitGroup
}

// openMetrics begins to serve metrics, also at sockets that systemd has passed.
func (d *daemon) openMetrics(cfg *config.Config, passed []net.Listener) error {
	m := &d.metricsServer
	m.activated = passed
	sockets, err := d.metricsSockets(cfg)
	if err != nil {
		closeExcept(passed, nil)
		return err
	}
	m.serve = d.serveMetrics
	m.replace(sockets)
	m.ctx, m.stop = context.WithCancel(context.Background())
	m.tasks.Go(func() {
		if err := m.run(m.ctx); err != nil {
			d.log.Error("metrics", "err", err)
		}
	})
	return nil
}

// closeMetrics stops serving metrics. They need all other parts of the daemon.
func (d *daemon) closeMetrics() {
	if d.metricsServer.stop != nil {
		d.metricsServer.stop()
		d.metricsServer.tasks.Wait()
	}
}

// metricsSockets returns the sockets at which a configuration has metrics served. An open one
// is kept if its address has not changed.
func (d *daemon) metricsSockets(cfg *config.Config) ([]net.Listener, error) {
	m := &d.metricsServer
	if cfg.Metrics == "" {
		return m.activated, nil
	}
	sockets := m.activated[:len(m.activated):len(m.activated)]
	if now := d.active.Load(); now.Metrics == cfg.Metrics && len(m.sockets()) > 0 {
		return m.sockets(), nil
	}
	ln, err := net.Listen("tcp", cfg.Metrics)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	d.log.Info("metrics are served", "address", ln.Addr())
	return append(sockets, ln), nil
}

// serveMetrics answers at a listener until ctx ends or the listener is closed.
func (d *daemon) serveMetrics(ctx context.Context, ln net.Listener) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	return d.serveHealth(ctx, stop, ln, &healthCheck{daemon: d, ctx: ctx})
}

// serveHealth is serveMetrics with a health check, which it ends, and whose context stop ends.
func (d *daemon) serveHealth(ctx context.Context, stop func(), ln net.Listener, health *healthCheck) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", d.metrics.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if d.stage() == "" {
			answerHealth(w, health.check())
			return
		}
		answerHealth(w, nil)
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if stage := d.stage(); stage != "" {
			answerHealth(w, errors.New(stage))
			return
		}
		answerHealth(w, health.check())
	})
	var serving sync.RWMutex // by requests; http.Server.Close does not wait for them
	srv := &http.Server{
		Handler: d.notForPages(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			serving.RLock()
			defer serving.RUnlock()
			if ctx.Err() == nil {
				mux.ServeHTTP(w, r)
			}
		})),
		ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelDebug),
	}
	closed := context.AfterFunc(ctx, func() { srv.Close() })
	defer func() {
		closed()
		stop()
		serving.Lock() // after the last request
		defer serving.Unlock()
		health.end()
	}()

	err := srv.Serve(ln)
	switch {
	case errors.Is(err, net.ErrClosed):
		_ = srv.Shutdown(ctx)
	case !errors.Is(err, http.ErrServerClosed):
		return err
	}
	return nil
}

// notForPages refuses the requests of scripts and pages, and those for a host that is none
// of ours. A page of another site could otherwise read the metrics by having its name lead
// to this address.
func (d *daemon) notForPages(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, isTCP := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
		if isTCP && !httpd.IsHostAllowed(r.Host, d.active.Load().AllowHosts) {
			http.Error(w, fmt.Sprintf("this server does not go by the name %q; if it should, add it to allow_host", r.Host), http.StatusForbidden)
			return
		}
		if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "none" || r.Header.Get("Origin") != "" {
			http.Error(w, "this is not for pages", http.StatusForbidden)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// answerHealth answers that all is well, or says what is not.
func answerHealth(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, "ok")
}

// stage returns "starting" or "stopping", or "" while the daemon works.
func (d *daemon) stage() string {
	if d.stopping.Load() {
		return "stopping"
	}
	select {
	case <-d.isReady:
		return ""
	default:
		return "starting"
	}
}

// A healthCheck has the signs given that the watchdog of systemd is pinged for.
type healthCheck struct {
	daemon *daemon
	ctx    context.Context // ends with the server

	mu         sync.Mutex // held while signs are given
	signs      []*lifeSign
	endSigns   func()
	background sync.WaitGroup
	at         time.Time
	err        error
}

// How long a check may take, and for how long its result is used.
const (
	healthTimeout = 5 * time.Second
	healthAge     = time.Second
)

// check returns what does not work, or nil. The daemon must be ready.
func (h *healthCheck) check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.at.IsZero() && time.Since(h.at) < healthAge {
		return h.err
	}
	if h.signs == nil {
		h.signs, h.endSigns = h.daemon.lifeSigns()
	}
	round, end := context.WithTimeoutCause(h.ctx, healthTimeout, fmt.Errorf("no answer within %v", healthTimeout))
	defer end()
	var wrong []error
	for i, err := range giveAll(h.ctx, round, h.signs, &h.background) {
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", h.signs[i].part, err))
		}
	}
	h.at, h.err = time.Now(), errors.Join(wrong...)
	return h.err
}

// end waits for what is under way. The context must have ended.
func (h *healthCheck) end() {
	h.background.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.endSigns != nil {
		h.endSigns()
	}
}

// metricsState returns what is asked for at each scrape. Before the daemon is ready its
// parts may not be there.
func (d *daemon) metricsState() (s metrics.State) {
	if d.stage() == "starting" {
		return s
	}
	stats := d.server.Stats()
	s.Connections, s.RefusedConnections = stats.Connections, stats.RefusedConnections
	for _, site := range d.sites() {
		of := site.server.Stats()
		s.CacheHits, s.CacheMisses = s.CacheHits+of.CacheHits, s.CacheMisses+of.CacheMisses
	}
	s.Pages = d.openPages()
	if p := d.pipeline; p != nil {
		s.Events, s.Watches, s.Unwatched = p.group.Events(), p.group.Watches(), p.group.Unwatched()
		p.machines.count(&s)
	}
	return s
}

// answered is told of each request for a site. It counts it, and logs it if that is asked for.
func (d *daemon) answered(site string, a httpd.Answer) {
	d.metrics.Request(site, a.Status, a.Bytes, a.Took)
	d.access.Log(a)
}

// countRun counts a run of a route of the configuration.
func (d *daemon) countRun(run router.Run) {
	d.metrics.Run(run.Route, run.Outcome.String(), run.Took)
}

// forgetGone takes away what was counted of routes and sites that a new configuration does not
// have.
func (d *daemon) forgetGone(old, now *resolvedConfig) {
	for _, was := range old.sites {
		if !slices.ContainsFunc(now.sites, func(s servedSite) bool { return s.name() == was.name() }) {
			d.metrics.ForgetSite(was.name())
		}
	}
	has := make(map[string]bool)
	for _, r := range now.resolved {
		has[r.Name] = true
	}
	for _, r := range old.resolved {
		if !has[r.Name] {
			d.metrics.Forget(r.Name)
		}
	}
}
