package e2e

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	serveRounds = flag.Int("serve", 0, "measure how fast files are served, in this `number` of rounds")
	serveTime   = flag.Duration("serve-time", 2*time.Second, "how long each measurement takes")
	serveOnly   = flag.String("serve-only", "", "measure what this `pattern` matches, of CASE/SERVER")
)

// serveConns is how many connections the client keeps open.
const serveConns = 16

// fileServerAddr in the environment makes this program net/http's file server, at that
// address and for the current directory.
const fileServerAddr = "SERVE_BENCH_ADDR"

func runFileServer(addr string) int {
	fmt.Fprintln(os.Stderr, http.ListenAndServe(addr, http.FileServer(http.Dir("."))))
	return 1
}

// A serveCase is a request that all servers are sent.
type serveCase struct {
	name   string
	path   string
	cached bool // the client has the file: the answer is 304
	header string
}

var serveCases = []serveCase{
	{name: "1 KiB", path: "/1k.css"},
	{name: "304", path: "/1k.css", cached: true},
	{name: "page as it is", path: "/page.html", header: "Sec-Fetch-Dest: empty"},
	{name: "page with the script", path: "/page.html"},
	{name: "100 KiB, type unknown", path: "/100k.unknown"},
	{name: "10 MiB", path: "/10m.unknown"},
}

// A fileServer is one of the programs that are compared.
type fileServer struct {
	name string
	args []string // ADDR and DIR are put in
	conf string   // the file CONF, likewise
	addr string
	cmd  *exec.Cmd
}

var fileServers = []*fileServer{
	// As Debian has it, but for the log, which the others do not write.
	{name: "nginx", args: []string{"nginx", "-c", "CONF"}, conf: `
worker_processes auto;
daemon off;
pid DIR.pid;
error_log stderr;
events { worker_connections 768; }
http {
	sendfile on;
	tcp_nopush on;
	types_hash_max_size 2048;
	include /etc/nginx/mime.types;
	default_type application/octet-stream;
	gzip on;
	access_log off;
	server { listen ADDR; root DIR; }
}
`},
	{name: "caddy", args: []string{"caddy", "run", "--adapter", "caddyfile", "--config", "CONF"}, conf: "{\n\tadmin off\n\tauto_https off\n}\nhttp://ADDR {\n\troot * DIR\n\tfile_server\n}\n"},
	{name: "lighttpd", args: []string{"lighttpd", "-D", "-f", "CONF"}, conf: `
server.document-root = "DIR"
server.bind = "HOST"
server.port = PORT
server.max-keep-alive-requests = 0
mimetype.assign = ( ".html" => "text/html", ".css" => "text/css", "" => "application/octet-stream" )
`},
	{name: "net/http", args: []string{os.Args[0]}},
	{name: "execlogd", args: []string{"EXECLOGD", "-root", "DIR", "-host", "HOST", "-port", "PORT"}},
}

// A rate is what one measurement yields.
type rate struct {
	perSecond float64
	cpu       float64 // µs of the server's CPU for a request
}

// TestServeBench compares how fast files are served with other servers, and prints a
// table. All servers run at the same time and take turns; the medians are shown.
func TestServeBench(t *testing.T) {
	if *serveRounds == 0 {
		t.Skip("a benchmark: run it by make bench-serve")
	}
	if _, err := exec.LookPath("wrk"); err != nil {
		t.Skip("no wrk: install it with apt-get install wrk")
	}
	only := regexp.MustCompile(*serveOnly)
	dir := t.TempDir()
	for at := dir; at != filepath.Clean(os.TempDir()); at = filepath.Dir(at) { // the workers of nginx have a user of their own
		os.Chmod(at, 0o755)
	}
	write(t, dir, map[string]string{
		"1k.css":       strings.Repeat("p { color: red }", 64),
		"page.html":    "<!doctype html><html><head><title>x</title></head><body>" + strings.Repeat("<p>text and more text\n", 500),
		"100k.unknown": strings.Repeat("0123456789abcdef", 100<<10/16),
		"10m.unknown":  strings.Repeat("0123456789abcdef", 10<<20/16),
	})
	// As files of a site are that nobody saves just now.
	time.Sleep(3 * time.Second)

	var servers []*fileServer
	for _, s := range fileServers {
		if err := s.start(t, dir); err != nil {
			fmt.Printf("%s is left out: %v\n", s.name, err)
			continue
		}
		servers = append(servers, s)
	}

	fmt.Println("| case | server | requests/s | of nginx | µs CPU a request |")
	fmt.Println("| --- | --- | --- | --- | --- |")
	for _, c := range serveCases {
		rates := make(map[string][]rate)
		for range *serveRounds {
			for _, s := range servers {
				if only.MatchString(c.name + "/" + s.name) {
					rates[s.name] = append(rates[s.name], s.measure(t, c))
				}
			}
		}
		base := medianOf(rates["nginx"], func(r rate) float64 { return r.perSecond })
		for _, s := range servers {
			if len(rates[s.name]) == 0 {
				continue
			}
			perSecond := medianOf(rates[s.name], func(r rate) float64 { return r.perSecond })
			cpu := medianOf(rates[s.name], func(r rate) float64 { return r.cpu })
			share := "-"
			if base > 0 {
				share = fmt.Sprintf("%.2f", perSecond/base)
			}
			fmt.Printf("| %s | %s | %.0f | %s | %.1f |\n", c.name, s.name, perSecond, share, cpu)
		}
	}
}

func medianOf(rates []rate, value func(rate) float64) float64 {
	var values []float64
	for _, r := range rates {
		values = append(values, value(r))
	}
	slices.Sort(values)
	if len(values) == 0 {
		return 0
	}
	return values[len(values)/2]
}

// start runs a server until the test ends.
func (s *fileServer) start(t *testing.T, dir string) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.addr = ln.Addr().String()
	ln.Close()
	host, port, _ := net.SplitHostPort(s.addr)
	own := t.TempDir()
	conf := filepath.Join(own, "conf")
	fill := strings.NewReplacer("ADDR", s.addr, "HOST", host, "PORT", port, "CONF", conf, "EXECLOGD", execlogd, "DIR", dir)
	if err := os.WriteFile(conf, []byte(fill.Replace(s.conf)), 0o644); err != nil {
		return err
	}

	args := slices.Clone(s.args)
	for i := range args {
		args[i] = fill.Replace(args[i])
	}
	if args[0], err = exec.LookPath(args[0]); err != nil {
		return err
	}
	s.cmd = exec.Command(args[0], args[1:]...)
	s.cmd.Dir = own
	s.cmd.Env = append(os.Environ(), "HOME="+own, "XDG_CONFIG_HOME="+own, "XDG_DATA_HOME="+own)
	if len(args) == 1 {
		s.cmd.Dir, s.cmd.Env = dir, append(s.cmd.Env, fileServerAddr+"="+s.addr)
	}
	said := new(syncBuffer)
	s.cmd.Stderr = said
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	t.Cleanup(func() {
		s.cmd.Process.Signal(syscall.SIGTERM)
		s.cmd.Wait()
	})
	if err := eventually(t.Context(), s.name+" to serve", func() bool { return isServed("http://" + s.addr + "/1k.css") }); err != nil {
		return fmt.Errorf("%w: %s", err, said)
	}
	return nil
}

var (
	wrkRate  = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	wrkCount = regexp.MustCompile(`(\d+) requests in`)
	wrkError = regexp.MustCompile(`Socket errors.*|Non-2xx.*`)
)

// measure sends a server requests for a while.
func (s *fileServer) measure(t *testing.T, c serveCase) rate {
	t.Helper()
	url := "http://" + s.addr + c.path
	args := []string{"-t", "2", "-c", strconv.Itoa(serveConns), "-d", strconv.Itoa(int(serveTime.Seconds())) + "s"}
	if c.header != "" {
		args = append(args, "-H", c.header)
	}
	if c.cached {
		args = append(args, "-H", conditionFor(t, url))
	}
	before := s.cpuTime(t)
	out, err := exec.Command("wrk", append(args, url)...).CombinedOutput()
	spent := s.cpuTime(t) - before
	count, perSecond := wrkCount.FindSubmatch(out), wrkRate.FindSubmatch(out)
	if err != nil || count == nil || perSecond == nil || wrkError.Match(out) {
		t.Fatalf("%s, %s: %v\n%s", s.name, c.name, err, out)
	}
	n, _ := strconv.ParseFloat(string(count[1]), 64)
	r, _ := strconv.ParseFloat(string(perSecond[1]), 64)
	return rate{r, float64(spent.Microseconds()) / n}
}

// conditionFor is the header with which a server says that the client has the file.
func conditionFor(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	if tag := resp.Header.Get("ETag"); tag != "" {
		return "If-None-Match: " + tag
	}
	return "If-Modified-Since: " + resp.Header.Get("Last-Modified")
}

// cpuTime is what a server and its children have used so far.
func (s *fileServer) cpuTime(t *testing.T) (spent time.Duration) {
	t.Helper()
	const tick = time.Second / 100 // USER_HZ
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		pid := filepath.Base(filepath.Dir(name))
		if own := strconv.Itoa(s.cmd.Process.Pid); pid == own || fields[1] == own {
			user, _ := strconv.Atoi(fields[11])
			system, _ := strconv.Atoi(fields[12])
			spent += time.Duration(user+system) * tick
		}
	}
	return spent
}
