package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/metrics"
	"github.com/execlog/execlogd/internal/testenv"
)

// askMetrics returns the answer at an address of metrics.
func askMetrics(t *testing.T, at, path, header string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+at+path, nil)
	testenv.Check(t, err)
	if name, value, ok := strings.Cut(header, ": "); ok {
		req.Header.Set(name, value)
		req.Host = req.Header.Get("Host") // "" is the address
	}
	res, err := http.DefaultClient.Do(req)
	testenv.Check(t, err)
	defer http.DefaultClient.CloseIdleConnections()
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	testenv.Check(t, err)
	return res.StatusCode, string(text)
}

// metricsAt returns the address that a line of the log names.
func metricsAt(line string) string {
	_, at, _ := strings.Cut(line, "address=")
	return at
}

func TestMetrics(t *testing.T) {
	const conf = "metrics = '127.0.0.1:0'\n[server]\nroot = 'site'\nport = 0\nallow_host = ['.in.example']\n[[route]]\nname = 'r'\nmatch = '*.md'\nrun = ['true']\n"
	s := begin(t, "-- x.toml --\n"+conf+"-- site/a.html --\n<p>hi")
	at := metricsAt(s.Seen[0])
	s.get("/a.html")
	s.get("/none")
	s.page("/a.html")
	s.Write("a.md", "1")
	s.Await("msg=done route=r")

	_, text := askMetrics(t, at, "/metrics", "")
	for _, want := range []string{
		`execlogd_http_requests_total{code="200",site=""} 1`, `execlogd_http_requests_total{code="404",site=""} 1`, "execlogd_pages 1", "execlogd_cache_misses_total ",
		`execlogd_runs_total{outcome="ok",route="r"} 1`, `execlogd_run_duration_seconds_count{route="r"} 1`, "execlogd_watches 2", "go_goroutines ", "process_open_fds ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "execlogd_events_total 0\n") {
		t.Error("no events")
	}
	for header, path := range map[string]string{
		"Sec-Fetch-Site: same-origin": "/metrics", "Origin: http://a.example": "/healthz",
		"Host: rebound.example:9100": "/metrics", "Host: in.example.com": "/readyz", "Host: a..b": "/healthz",
	} {
		if status, text := askMetrics(t, at, path, header); status != http.StatusForbidden {
			t.Errorf("%s with %s: %d %s", path, header, status, text)
		}
	}
	for _, host := range []string{"localhost:9100", "10.1.2.3", "[fd00::5]:9100", "a.in.example"} {
		if status, text := askMetrics(t, at, "/readyz", "Host: "+host); status != http.StatusOK {
			t.Errorf("for %s: %d %s", host, status, text)
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if status, text := askMetrics(t, at, path, "Sec-Fetch-Site: none"); status != http.StatusOK || text != "ok\n" {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}

	// What a reload leaves as it is goes on; the series of a route that is gone end.
	s.Reload(strings.ReplaceAll(conf, "name = 'r'", "name = 'other'"))
	if _, text := askMetrics(t, at, "/metrics", ""); strings.Contains(text, `route="r"`) || !strings.Contains(text, `code="404",site=""} 1`) {
		t.Errorf("after a reload:\n%s", text)
	}
	s.Load(strings.ReplaceAll(conf, "127.0.0.1:0", s.URL[len("http://"):]))
	s.Await(`msg="configuration refused, the old one stays"`, "metrics: ", "address already in use")
	s.Reload(strings.ReplaceAll(conf, "metrics = '127.0.0.1:0'\n", ""))
	if conn, err := net.Dial("tcp", at); err == nil {
		conn.Close()
		t.Error("metrics are served that are off")
	}
}

// The daemon is not ready while it starts and stops, or while a part of it hangs.
func TestReadiness(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	testenv.Check(t, err)
	d := &daemon{isReady: make(chan struct{}), log: slog.New(slog.DiscardHandler)}
	d.active.Store(&resolvedConfig{})
	d.metrics = metrics.New(d.metricsState)
	hangs := make(chan error, 1)
	hangs <- errors.New("it hangs")
	sign := &lifeSign{part: "router", prove: func(context.Context) error {
		select {
		case err := <-hangs:
			return err
		default:
			return nil
		}
	}}
	ctx, stop := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	health := &healthCheck{daemon: d, ctx: ctx, signs: []*lifeSign{sign}, endSigns: func() {}}
	serving.Go(func() { d.serveHealth(ctx, stop, ln, health) })
	expect := func(path string, status int, text string) {
		t.Helper()
		if got, body := askMetrics(t, ln.Addr().String(), path, ""); got != status || body != text+"\n" {
			t.Errorf("%s: %d %s, want %d %s", path, got, body, status, text)
		}
	}
	expect("/healthz", 200, "ok")
	expect("/readyz", 503, "starting")
	close(d.isReady)
	expect("/readyz", 503, "router: it hangs")
	expect("/healthz", 503, "router: it hangs")
	health.mu.Lock()
	health.at = time.Now().Add(-healthAge)
	health.mu.Unlock()
	expect("/readyz", 200, "ok")
	d.stopping.Store(true)
	expect("/readyz", 503, "stopping")
	expect("/healthz", 200, "ok")
	stop()
	serving.Wait()
}

// Metrics are served at sockets of systemd as well, from the first moment on.
func TestMetricsAtActivatedSocket(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	testenv.Check(t, err)
	d := &daemon{isReady: make(chan struct{}), log: slog.New(slog.DiscardHandler)}
	d.metrics = metrics.New(d.metricsState)
	d.active.Store(&resolvedConfig{})
	testenv.Check(t, d.openMetrics(&config.Config{}, []net.Listener{ln}))
	if status, body := askMetrics(t, ln.Addr().String(), "/readyz", ""); status != http.StatusServiceUnavailable || body != "starting\n" {
		t.Errorf("/readyz: %d %s", status, body)
	}
	if status, body := askMetrics(t, ln.Addr().String(), "/metrics", ""); status != http.StatusOK || !strings.Contains(body, "\nexeclogd_pages 0\n") {
		t.Errorf("/metrics: %d %s", status, body)
	}
	if d.serverOptions(&config.Config{Serve: true}).Answered == nil {
		t.Error("requests are not counted")
	}
	d.closeMetrics()
	if conn, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		conn.Close()
		t.Error("the socket is open")
	}
}
