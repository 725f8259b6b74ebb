package e2e

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var soakTime = flag.Duration("soak", 2*time.Second, "how long TestSoak lets clients misbehave; from a minute on memory is compared as well")

// soakConnections is the limit of connections, which the flood exceeds.
const soakConnections = 200

// A soak is a daemon and the clients that it has to survive.
type soak struct {
	site, addr, metrics string
	pages               *http.Client
	ctx                 context.Context // ends when clients are to stop
}

// Whatever clients do, and however long, in the end the daemon has as many goroutines and
// descriptors as before, and no more memory than after the first while.
func TestSoak(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	site, d := serve(t, map[string]string{"index.html": document("<p>0</p>"), "style.css": "p {}", "large.zip": strings.Repeat("x", 16<<20)},
		"-metrics", "127.0.0.1:0", "-max-connections", strconv.Itoa(soakConnections))
	s := &soak{site: site, addr: strings.TrimPrefix(d.URL, "http://"), metrics: metricsAddress(t, d), pages: &http.Client{Transport: new(http.Transport)}, ctx: ctx}
	s.scrape(t) // what it needs itself is there now
	before := s.scrape(t)

	clients := []struct {
		number int
		act    func(*soak) error
	}{
		{10, (*soak).readSlowly},
		{10, (*soak).writeSlowly},
		{10, (*soak).announceBody},
		{4, (*soak).request},
		{1, (*soak).flood},
		{4, (*soak).sendJunkFrames},
		{4, (*soak).reloadPage},
		{1, (*soak).save},
	}
	var acting sync.WaitGroup
	for _, c := range clients {
		for range c.number {
			acting.Go(func() {
				for ctx.Err() == nil {
					if err := c.act(s); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	heap := s.watchHeap(t, *soakTime)
	stop()
	acting.Wait()

	count := func(name string) float64 { return s.scrape(t)[name] }
	for _, name := range []string{"go_goroutines", "process_open_fds", "execlogd_http_connections", "execlogd_pages"} {
		err := eventually(t.Context(), name, func() bool {
			s.pages.CloseIdleConnections() // also of a page that has stopped while it connected
			return count(name) <= before[name]
		})
		if err != nil {
			t.Errorf("%s: %v, %v before; %v", name, count(name), before[name], err)
		}
	}
	after := s.scrape(t)
	for _, name := range []string{"execlogd_http_refused_connections_total", "execlogd_reloads_total", `execlogd_http_requests_total{code="101",site=""}`, `execlogd_http_requests_total{code="405",site=""}`} {
		if after[name] == 0 {
			t.Errorf("no %s: the clients have not done what they should", name)
		}
	}
	t.Logf("%v: %.0f requests, %.0f connections refused, %.0f reloads, heap %.1f MiB early and %.1f MiB late, at most %.0f MiB resident",
		*soakTime, after[`execlogd_http_requests_total{code="200",site=""}`], after["execlogd_http_refused_connections_total"], after["execlogd_reloads_total"],
		heap[0]/(1<<20), heap[1]/(1<<20), after["process_resident_memory_bytes"]/(1<<20))
	if *soakTime >= time.Minute && heap[1] > 1.25*heap[0]+4<<20 {
		t.Errorf("the heap has grown from %.0f to %.0f bytes", heap[0], heap[1])
	}
}

// metricsAddress is where the daemon serves metrics.
func metricsAddress(t *testing.T, d *daemon) string {
	t.Helper()
	found := regexp.MustCompile(`address=(\S+)`).FindStringSubmatch(d.stderr.String())
	if found == nil {
		t.Fatal("no address of metrics in the log")
	}
	return found[1]
}

// scrape returns the metrics by their names with labels.
func (s *soak) scrape(t *testing.T) map[string]float64 {
	t.Helper()
	return scrapeMetrics(t, s.metrics)
}

// scrapeMetrics returns the metrics at an address by their names with labels.
func scrapeMetrics(t *testing.T, address string) map[string]float64 {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: maxWait}
	resp, err := client.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	values := make(map[string]float64)
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if number, err := strconv.ParseFloat(value, 64); ok && err == nil {
			values[name] = number
		}
	}
	return values
}

// watchHeap returns the size of the heap in the second and in the last quarter of a time:
// the least of many looks, as what is garbage counts until it is collected.
func (s *soak) watchHeap(t *testing.T, total time.Duration) (least [2]float64) {
	least = [2]float64{math.Inf(1), math.Inf(1)}
	const looks = 80
	tick := time.NewTicker(total / looks)
	defer tick.Stop()
	for i := range looks {
		<-tick.C
		switch heap := s.scrape(t)["go_memstats_heap_alloc_bytes"]; i * 4 / looks {
		case 1:
			least[0] = min(least[0], heap)
		case 3:
			least[1] = min(least[1], heap)
		}
	}
	return least
}

// connect opens a connection for an action, which is closed at its end. Errors of it are no
// concern: the daemon may refuse or close it at any time.
func (s *soak) connect(act func(conn net.Conn)) {
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		return
	}
	defer conn.Close()
	defer context.AfterFunc(s.ctx, func() { conn.Close() })()
	act(conn)
}

// pause waits for a moment, and reports whether the client is to go on.
func (s *soak) pause(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-s.ctx.Done():
		return false
	}
}

func (s *soak) get(path string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n"
}

// readSlowly takes a little of a large file now and then, and leaves.
func (s *soak) readSlowly() error {
	s.connect(func(conn net.Conn) {
		io.WriteString(conn, s.get("/large.zip"))
		for range 20 {
			if _, err := io.CopyN(io.Discard, conn, 4<<10); err != nil || !s.pause(50*time.Millisecond) {
				return
			}
		}
	})
	return nil
}

// writeSlowly sends a header byte by byte, and leaves before its end.
func (s *soak) writeSlowly() error {
	s.connect(func(conn net.Conn) {
		for _, c := range s.get("/index.html")[:30] {
			if _, err := conn.Write([]byte{byte(c)}); err != nil || !s.pause(20*time.Millisecond) {
				return
			}
		}
	})
	return nil
}

// announceBody announces a body that does not come.
func (s *soak) announceBody() error {
	s.connect(func(conn net.Conn) {
		io.WriteString(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
		conn.SetReadDeadline(time.Now().Add(12 * time.Second))
		io.Copy(io.Discard, conn)
	})
	return nil
}

// request asks for pages as fast as it gets them.
func (s *soak) request() error {
	s.connect(func(conn net.Conn) {
		in := bufio.NewReader(conn)
		for range 100 {
			io.WriteString(conn, s.get("/index.html"))
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				return
			}
			io.Copy(io.Discard, resp.Body)
		}
	})
	return nil
}

// flood opens more connections than there may be. The last is answered all the same: most
// often with 503, and as usual if others have left meanwhile.
func (s *soak) flood() error {
	var conns []net.Conn
	defer func() {
		for _, conn := range conns {
			conn.Close()
		}
	}()
	for range soakConnections + 50 {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			return nil
		}
		conns = append(conns, conn)
	}
	last := conns[len(conns)-1]
	last.SetReadDeadline(time.Now().Add(maxWait))
	io.WriteString(last, s.get("/index.html"))
	if line, err := bufio.NewReader(last).ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 503 ") && !strings.HasPrefix(line, "HTTP/1.1 200 ") {
		return fmt.Errorf("above the limit: %q, %w", line, err)
	}
	s.pause(100 * time.Millisecond)
	return nil
}

// sendJunkFrames opens the websocket of a page and sends what is no frame.
func (s *soak) sendJunkFrames() error {
	s.connect(func(conn net.Conn) {
		io.WriteString(conn, "GET /livereload HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		io.CopyN(conn, rand.Reader, 4<<10)
		io.Copy(io.Discard, conn)
	})
	return nil
}

// reloadPage is a page that is told of some changes, and leaves.
func (s *soak) reloadPage() error {
	p, err := dialStock(s.ctx, s.pages, "http://"+s.addr, "/index.html", nil)
	if err != nil {
		return nil // it was refused
	}
	defer p.conn.CloseNow()
	for range 3 {
		if _, err := p.next(time.Second); err != nil {
			return nil
		}
	}
	return nil
}

// save saves the page.
func (s *soak) save() error {
	s.pause(30 * time.Millisecond)
	return replace(filepath.Join(s.site, "index.html"), document(fmt.Sprintf("<p>%d</p>", time.Now().UnixNano())))
}

// Where there are few descriptors, a flood neither ends the daemon nor fills its log, and
// after it requests are answered.
func TestFewDescriptors(t *testing.T) {
	site := t.TempDir()
	write(t, site, map[string]string{"index.html": document("<p>hi</p>")})
	d, err := launchCommand(t, site, exec.Command("sh", "-c", "ulimit -n 64; exec "+execlogd+" -port 0 -max-connections 0"))
	if err == nil {
		err = d.waitReady(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	var conns []net.Conn
	var answers []string
	for range 300 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(d.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	}
	for _, conn := range conns {
		conn.SetReadDeadline(time.Now().Add(maxWait))
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			line = err.Error()
		}
		answers = append(answers, strings.TrimSpace(line))
	}
	slices.Sort(answers)
	if kinds := slices.Compact(answers); !slices.Equal(kinds, []string{"HTTP/1.1 200 OK", "HTTP/1.1 503 Service Unavailable"}) {
		t.Errorf("got %q", kinds)
	}
	for _, conn := range conns {
		conn.Close()
	}
	err = eventually(t.Context(), "a request to be answered", func() bool {
		resp, err := http.Get(d.URL + "/")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	// Of connections, and where files could not be opened, of descriptors.
	if lines := strings.Count(d.stderr.String(), "level=WARN"); err != nil || lines < 1 || lines > 2 {
		t.Errorf("%v; %d warnings in the log, want 1 or 2:\n%s", err, lines, d.stderr)
	}
}
