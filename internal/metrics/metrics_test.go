package metrics

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// scrape returns the metrics of ours, without their descriptions.
func scrape(m *Metrics) (text string) {
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "execlogd_") && !strings.Contains(line, "_bucket{") {
			text += line
		}
	}
	return text
}

func TestMetrics(t *testing.T) {
	m := New(func() State {
		return State{
			Connections: 1, RefusedConnections: 2, CacheHits: 3, CacheMisses: 4, Pages: 5, Events: 6, Watches: 7, Unwatched: 8,
			BusConnected: 1, BusPublished: 9, BusReceived: 10, BusLost: 11, BusJunk: 12, JobsDone: 13, JobsDead: 14,
		}
	})
	m.Request("", 200, 10, time.Second)
	m.Request("", 404, 5, time.Second)
	m.Request("", 101, 0, time.Hour)
	m.Request("", 0, 0, time.Second)
	m.Request("", 777, 0, time.Second)
	m.Request("docs.localhost", 200, 0, 0)
	m.Request("gone.localhost", 200, 0, 0)
	m.ForgetSite("gone.localhost")
	m.Reload()
	m.Overflow()
	m.Run("build", "ok", 2*time.Second)
	m.Run("build", "failed", time.Second)
	m.Run("gone", "ok", time.Second)
	m.Forget("gone")
	const want = `execlogd_bus_connected 1
execlogd_bus_junk_total 12
execlogd_bus_lost_total 11
execlogd_bus_published_total 9
execlogd_bus_received_total 10
execlogd_cache_hits_total 3
execlogd_cache_misses_total 4
execlogd_events_total 6
execlogd_http_connections 1
execlogd_http_refused_connections_total 2
execlogd_http_request_duration_seconds_sum 4
execlogd_http_request_duration_seconds_count 6
execlogd_http_requests_total{code="101",site=""} 1
execlogd_http_requests_total{code="200",site=""} 1
execlogd_http_requests_total{code="200",site="docs.localhost"} 1
execlogd_http_requests_total{code="404",site=""} 1
execlogd_http_requests_total{code="other",site=""} 2
execlogd_http_response_bytes_total 15
execlogd_jobs_dead_total 14
execlogd_jobs_done_total 13
execlogd_overflows_total 1
execlogd_pages 5
execlogd_reloads_total 1
execlogd_run_duration_seconds_sum{route="build"} 3
execlogd_run_duration_seconds_count{route="build"} 2
execlogd_runs_total{outcome="failed",route="build"} 1
execlogd_runs_total{outcome="ok",route="build"} 1
execlogd_unwatched_directories 8
execlogd_watches 7
`
	if got := scrape(m); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// What the soak reads is there.
func TestProcessMetrics(t *testing.T) {
	w := httptest.NewRecorder()
	New(func() State { return State{} }).Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, name := range []string{"go_goroutines", "process_open_fds", "process_resident_memory_bytes", "go_memstats_heap_inuse_bytes"} {
		if !strings.Contains(w.Body.String(), "\n"+name+" ") {
			t.Errorf("no %s", name)
		}
	}
}
