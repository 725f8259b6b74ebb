// Package metrics counts what the daemon does, for Prometheus. No series has a label whose
// values a client could choose.
package metrics

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxScrapes is how many requests are answered at once.
const maxScrapes = 4

// A State is what is asked for at each scrape.
type State struct {
	Connections        int
	RefusedConnections uint64
	CacheHits          uint64
	CacheMisses        uint64
	Pages              int
	Events             uint64
	Watches            int
	Unwatched          int
	BusConnected       int // 1 or 0
	BusPublished       uint64
	BusReceived        uint64
	BusLost            uint64
	JobsDone           uint64
	JobsDead           uint64
	BusJunk            uint64
}

// Metrics are the metrics of a daemon, with those of the Go runtime and of the process.
type Metrics struct {
	registry  *prometheus.Registry
	requests  *prometheus.CounterVec
	bytes     prometheus.Counter
	durations prometheus.Histogram
	reloads   prometheus.Counter
	overflows prometheus.Counter
	runs      *prometheus.CounterVec
	runTimes  *prometheus.HistogramVec
}

// New returns metrics in a registry of their own. state is called often and must not block.
func New(state func() State) *Metrics {
	counter := func(name, help string) prometheus.CounterOpts { return prometheus.CounterOpts{Name: name, Help: help} }
	m := &Metrics{
		registry:  prometheus.NewRegistry(),
		requests:  prometheus.NewCounterVec(counter("execlogd_http_requests_total", "Requests answered, by status and the first host of the [[site]]; websockets when they end."), []string{"code", "site"}),
		bytes:     prometheus.NewCounter(counter("execlogd_http_response_bytes_total", "Bytes of bodies that were written.")),
		reloads:   prometheus.NewCounter(counter("execlogd_reloads_total", "Changes that open pages were told of.")),
		overflows: prometheus.NewCounter(counter("execlogd_overflows_total", "Times that the kernel has dropped events below a root.")),
		runs:      prometheus.NewCounterVec(counter("execlogd_runs_total", "Runs that have ended, by route and outcome."), []string{"route", "outcome"}),
		durations: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "execlogd_http_request_duration_seconds", Help: "From the header of a request to the end of its answer, without websockets.",
			Buckets: []float64{.0005, .002, .01, .05, .25, 1, 5, 30},
		}),
		runTimes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "execlogd_run_duration_seconds", Help: "How long runs took, by route.", Buckets: []float64{.01, .05, .25, 1, 5, 30, 120, 600},
		}, []string{"route"}),
	}
	m.registry.MustRegister(
		m.requests, m.bytes, m.durations, m.reloads, m.overflows, m.runs, m.runTimes, stateCollector(state),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Handler answers a scrape.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, DisableCompression: true})
}

// Request counts a request that was answered for a site of the configuration; empty for that
// of [server].
func (m *Metrics) Request(site string, status int, bytes int64, took time.Duration) {
	code := "other" // of a connection that broke before there was one
	if status >= 100 && status < 600 {
		code = strconv.Itoa(status)
	}
	m.requests.WithLabelValues(code, site).Inc()
	m.bytes.Add(float64(bytes))
	if status != http.StatusSwitchingProtocols {
		m.durations.Observe(took.Seconds())
	}
}

// Reload counts a change that pages were told of.
func (m *Metrics) Reload() { m.reloads.Inc() }

// Overflow counts a loss of events.
func (m *Metrics) Overflow() { m.overflows.Inc() }

// Run counts a run that has ended, of a route of the configuration.
func (m *Metrics) Run(route, outcome string, took time.Duration) {
	m.runs.WithLabelValues(route, outcome).Inc()
	m.runTimes.WithLabelValues(route).Observe(took.Seconds())
}

// Forget takes away the series of a route that the configuration no longer has.
func (m *Metrics) Forget(route string) {
	of := prometheus.Labels{"route": route}
	m.runs.DeletePartialMatch(of)
	m.runTimes.DeletePartialMatch(of)
}

// ForgetSite takes away the series of a site that the configuration no longer has.
func (m *Metrics) ForgetSite(site string) {
	m.requests.DeletePartialMatch(prometheus.Labels{"site": site})
}

// A stateCollector makes metrics of a State.
type stateCollector func() State

// A stateMetric is a metric that is made of a State.
type stateMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(State) float64
}

func gauge(name, help string, value func(State) int) stateMetric {
	return stateMetric{prometheus.NewDesc(name, help, nil, nil), prometheus.GaugeValue, func(s State) float64 { return float64(value(s)) }}
}

func count(name, help string, value func(State) uint64) stateMetric {
	return stateMetric{prometheus.NewDesc(name, help, nil, nil), prometheus.CounterValue, func(s State) float64 { return float64(value(s)) }}
}

var stateMetrics = []stateMetric{
	gauge("execlogd_http_connections", "Connections that are open, with those of pages.", func(s State) int { return s.Connections }),
	count("execlogd_http_refused_connections_total", "Connections above a limit.", func(s State) uint64 { return s.RefusedConnections }),
	count("execlogd_cache_hits_total", "Files that were served from memory.", func(s State) uint64 { return s.CacheHits }),
	count("execlogd_cache_misses_total", "Files that were looked for on disk.", func(s State) uint64 { return s.CacheMisses }),
	gauge("execlogd_pages", "Pages that are open and listen for changes.", func(s State) int { return s.Pages }),
	count("execlogd_events_total", "Changes of files that roots were told of.", func(s State) uint64 { return s.Events }),
	gauge("execlogd_watches", "Directories that are watched.", func(s State) int { return s.Watches }),
	gauge("execlogd_unwatched_directories", "Directories that are polled, as they cannot be watched.", func(s State) int { return s.Unwatched }),
	gauge("execlogd_bus_connected", "Whether the bus to other machines is connected: 1 or 0.", func(s State) int { return s.BusConnected }),
	count("execlogd_bus_published_total", "Messages on changes here that the bus has taken.", func(s State) uint64 { return s.BusPublished }),
	count("execlogd_bus_received_total", "Messages of other machines.", func(s State) uint64 { return s.BusReceived }),
	count("execlogd_bus_lost_total", "Times that changes were lost on the way to or from the bus, and files were compared.", func(s State) uint64 { return s.BusLost }),
	count("execlogd_jobs_done_total", "Jobs of queues that were done here.", func(s State) uint64 { return s.JobsDone }),
	count("execlogd_jobs_dead_total", "Jobs of queues that have failed here for good.", func(s State) uint64 { return s.JobsDead }),
	count("execlogd_bus_junk_total", "Messages on the bus, and events in them, that were dropped.", func(s State) uint64 { return s.BusJunk }),
}

// Describe implements prometheus.Collector.
func (c stateCollector) Describe(to chan<- *prometheus.Desc) {
	for _, m := range stateMetrics {
		to <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c stateCollector) Collect(to chan<- prometheus.Metric) {
	state := c()
	for _, m := range stateMetrics {
		to <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(state))
	}
}
