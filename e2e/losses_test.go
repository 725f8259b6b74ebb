package e2e

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

var (
	losses      = flag.Int("losses", 0, "count what `n` restarts of each kind lose")
	lossesOf    = flag.String("source", "..", "the source tree whose program and units are measured; with EXECLOGD in the environment, its units alone")
	lossesPause = flag.Duration("pause", time.Second, "the time between two restarts")
)

// A lossCase is a way to end the service, again and again, while files change.
type lossCase struct {
	fault  string // a key of faults
	writer string // a key of writers
	page   string // what a visitor has open: "", "silent" or "slow"
	dirs   int    // directories in the site, apart from those that the writer makes
	socket bool   // with execlogd.socket
	share  int    // of the rounds, this part is enough: one in share
}

var lossCases = []lossCase{
	{fault: "kill", writer: "files"},
	{fault: "kill", writer: "trees"},
	{fault: "kill", writer: "checkout"},
	{fault: "kill", writer: "files", socket: true},
	{fault: "kill", writer: "files", page: "silent"},
	{fault: "kill", writer: "files", dirs: 60_000, share: 5},
	{fault: "kill", writer: "files", dirs: 100_000, share: 20},
	{fault: "kill twice", writer: "files", share: 2},
	{fault: "segv", writer: "files", share: 2},
	{fault: "watchdog", writer: "files", share: 10},
	{fault: "restart", writer: "files"},
	{fault: "restart", writer: "trees"},
	{fault: "restart", writer: "checkout"},
	{fault: "restart", writer: "files", socket: true},
	{fault: "restart", writer: "files", page: "silent"},
	{fault: "restart", writer: "files", page: "slow"},
	{fault: "restart", writer: "files", dirs: 60_000, share: 5},
}

func (c lossCase) String() string {
	words := []string{c.fault, c.writer}
	if c.page != "" {
		words = append(words, c.page+" page")
	}
	if c.dirs > 0 {
		words = append(words, fmt.Sprint(c.dirs, " directories"))
	}
	if c.socket {
		words = append(words, "socket unit")
	}
	return strings.Join(words, " + ") // no comma: it ends up in the options of a mount
}

// TestLosses counts files that were written while the service was ended and started
// again, and that its route has never processed, or more than once. It runs for make
// losses.
func TestLosses(t *testing.T) {
	if *losses == 0 {
		t.Skip("runs with -losses")
	}
	table := newTable("how it ends, what is written", "ends", "gave up", "files", "never", "twice", "to READY: median", "most")
	defer table.print()
	for _, c := range lossCases {
		t.Run(c.String(), func(t *testing.T) {
			rounds := max(*losses/max(c.share, 1), 1)
			h := newLossHost(t, c)
			result := h.measure(t.Context(), rounds, *lossesPause)
			table.row(c, rounds, h.gaveUp, result.files, result.never, result.twice, median(h.starts), slices.Max(append(h.starts, 0)))
			if result.never > 0 {
				t.Errorf("%d of %d files were never processed: %s", result.never, result.files, result.examples)
			}
		})
	}
}

// The same in small, for every run of the tests.
func TestRestartsLoseNoFile(t *testing.T) {
	t.Parallel()
	for _, c := range []lossCase{{fault: "kill", writer: "trees"}, {fault: "restart", writer: "files"}} {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			h := newLossHost(t, c)
			if result := h.measure(t.Context(), 3, 300*time.Millisecond); result.never > 0 || result.files == 0 {
				t.Errorf("%d of %d files were never processed: %s", result.never, result.files, result.examples)
			}
		})
	}
}

// A lossHost is a host whose service has a route that appends the path of each changed
// file to a list.
type lossHost struct {
	*host
	kind   lossCase
	pid    string          // of the service
	gaveUp int             // how often systemd did not start it again
	starts []time.Duration // from each start of the program to READY
}

func newLossHost(t *testing.T, c lossCase) *lossHost {
	h := &lossHost{host: bootHost(t), kind: c}
	if out, err := exec.Command("make", "--silent", "-C", *lossesOf, "install", "DESTDIR="+h.path("/"), "PREFIX=/usr/local").CombinedOutput(); err != nil {
		t.Fatalf("make install: %v\n%s", err, out)
	}
	if other := os.Getenv("EXECLOGD"); other != "" {
		if out, err := exec.Command("install", other, h.path("usr/local/bin/execlogd")).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	unit := "[Service]\nReadWritePaths=/srv/out\nEnvironment=\"EXECLOGD_OPTS=-config /etc/execlogd.toml\"\n"
	if c.fault == "watchdog" {
		unit += "WatchdogSec=2s\n"
	}
	write(t, h.path("/"), map[string]string{
		"etc/execlogd.toml": "[server]\nroot = \"/srv/www\"\n\n[[route]]\nname = \"list\"\nroot = \"/srv/www\"\nper = \"file\"\n" +
			"shell = 'echo \"$EXECLOGD_PATH\" >>/srv/out/list'\n",
		"etc/systemd/system/execlogd.service.d/test.conf": unit,
		"srv/www/index.html":                              "<!doctype html><p>text",
		"srv/out/list":                                    "",
	})
	if err := os.Chmod(h.path("srv/out/list"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.path("srv/www/large"), make([]byte, 64<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	for n := range c.dirs {
		if err := os.MkdirAll(h.path(fmt.Sprintf("srv/www/tree/%d/%d/%d", n/2500, n/50%50, n%50)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h.run("systemctl", "daemon-reload")
	if c.socket {
		h.run("systemctl", "enable", "--now", "execlogd.socket")
	}
	h.run("systemctl", "start", "execlogd")
	h.ready()
	h.starts = nil
	return h
}

// faults are the ways to end the service.
var faults = map[string]func(*lossHost){
	"kill": func(h *lossHost) { h.signal("KILL") },
	// The second kill meets a process that is not ready yet.
	"kill twice": func(h *lossHost) {
		h.signal("KILL")
		time.Sleep(time.Duration(100+rand.IntN(150)) * time.Millisecond)
		h.signal("KILL")
	},
	"segv":     func(h *lossHost) { h.signal("SEGV") },
	"watchdog": func(h *lossHost) { h.signal("STOP") },
	"restart":  func(h *lossHost) { h.command("systemctl", "restart", "execlogd.service").Run() },
}

func (h *lossHost) signal(name string) {
	h.command("systemctl", "kill", "--kill-who=main", "--signal="+name, "execlogd.service").Run()
}

// ready waits until the service is another process than before, and ready. When
// systemd has given up, it starts the service.
func (h *lossHost) ready() {
	h.t.Helper()
	state := make(map[string]string)
	again := func() bool {
		out, _ := h.command("systemctl", "show", "execlogd.service",
			"--property=MainPID,ActiveState,SubState,ExecMainStartTimestampMonotonic,ActiveEnterTimestampMonotonic").Output()
		for line := range strings.Lines(string(out)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			state[key] = value
		}
		if state["ActiveState"] == "failed" || state["ActiveState"] == "inactive" {
			h.gaveUp++
			h.command("systemctl", "reset-failed", "execlogd.service", "execlogd.socket").Run()
			h.command("systemctl", "start", "execlogd.service").Run()
			return false
		}
		return state["ActiveState"] == "active" && state["SubState"] == "running" && state["MainPID"] != h.pid
	}
	if err := eventually(h.t.Context(), "the service to be ready again", again); err != nil {
		h.t.Fatalf("%v: %v\n%s", err, state, h.run("journalctl", "--no-pager", "--unit=execlogd.*", "--lines=30"))
	}
	h.pid = state["MainPID"]
	started, _ := strconv.Atoi(state["ExecMainStartTimestampMonotonic"])
	ready, _ := strconv.Atoi(state["ActiveEnterTimestampMonotonic"])
	h.starts = append(h.starts, time.Duration(ready-started)*time.Microsecond)
}

// A lossResult says what became of the files that were written.
type lossResult struct {
	files, never, twice int
	examples            []string // of files that were never processed
}

// measure ends the service several times while files are written, and waits until the
// route has nothing more to do.
func (h *lossHost) measure(ctx context.Context, rounds int, pause time.Duration) lossResult {
	h.t.Helper()
	writing, stop := context.WithCancel(ctx)
	defer stop()
	var names []string
	var failed error
	var writer sync.WaitGroup
	writer.Go(func() { names, failed = writers[h.kind.writer](writing, h.host) })
	for range rounds {
		hangUp := h.visit(ctx)
		h.pause(pause)
		faults[h.kind.fault](h)
		h.ready()
		hangUp()
	}
	h.pause(pause)
	stop()
	writer.Wait()
	if failed != nil {
		h.t.Fatal(failed)
	}
	return h.count(names)
}

func (h *lossHost) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-h.t.Context().Done():
		h.t.FailNow()
	}
}

// visit opens what a visitor has open during a restart, and returns what closes it.
func (h *lossHost) visit(ctx context.Context) (hangUp func()) {
	h.t.Helper()
	request := map[string]string{
		"":       "",
		"slow":   "GET /large HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n",
		"silent": "GET /livereload HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
	}[h.kind.page]
	if request == "" {
		return func() {}
	}
	conn, err := h.dial(ctx, "tcp", "127.0.0.1:8000")
	if err != nil {
		h.t.Fatal(err)
	}
	start := make([]byte, 12)
	if _, err := fmt.Fprint(conn, request); err != nil {
		h.t.Fatal(err)
	}
	if _, err := conn.Read(start); err != nil || !strings.HasPrefix(string(start), "HTTP/1.1 ") {
		h.t.Fatalf("the visitor got %q, %v", start, err)
	}
	return func() { conn.Close() }
}

// count compares the files that were written with the list of the route, once that
// does not grow any more.
func (h *lossHost) count(names []string) lossResult {
	h.t.Helper()
	last := fmt.Sprint("last-", rand.Int())
	write(h.t, h.path("srv/www"), map[string]string{last: "x"})
	var list []byte
	read := func() {
		var err error
		if list, err = os.ReadFile(h.path("srv/out/list")); err != nil {
			h.t.Fatal(err)
		}
	}
	if err := eventually(h.t.Context(), "the route to process a file", func() bool {
		read()
		return strings.Contains(string(list), last)
	}); err != nil {
		h.t.Errorf("%v\n%s", err, h.run("journalctl", "--no-pager", "--unit=execlogd.*", "--lines=30"))
	}
	for size := -1; size != len(list); read() {
		size = len(list)
		h.pause(4 * time.Second)
	}

	// A file is at another path after a rename of its directory, and processed there.
	processed := make(map[string]bool)
	runs := make(map[string]int)
	result := lossResult{files: len(names)}
	for line := range strings.Lines(string(list)) {
		path := strings.TrimSpace(line)
		processed[filepath.Base(path)] = true
		if runs[path]++; runs[path] == 2 {
			result.twice++
		}
	}
	for _, name := range names {
		if !processed[name] {
			result.never++
			result.examples = append(result.examples, name)
		}
	}
	result.examples = result.examples[:min(len(result.examples), 5)]
	return result
}

// writers write files with different names into the site of a host until ctx ends, and
// return the names.
var writers = map[string]func(ctx context.Context, h *host) ([]string, error){
	"files":    func(ctx context.Context, h *host) ([]string, error) { return everyTick(ctx, h, writeFile) },
	"trees":    func(ctx context.Context, h *host) ([]string, error) { return everyTick(ctx, h, writeTree) },
	"checkout": checkOut,
}

// everyTick writes one file every 10 ms.
func everyTick(ctx context.Context, h *host, write func(site, name string, n int) error) ([]string, error) {
	var names []string
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		if ctx.Err() != nil {
			return names, nil
		}
		name := fmt.Sprintf("f%06d", len(names))
		if err := write(h.path("srv/www"), name, len(names)); err != nil {
			return names, err
		}
		names = append(names, name)
	}
}

func writeFile(site, name string, _ int) error {
	return os.WriteFile(filepath.Join(site, name), []byte("x"), 0o644)
}

// writeTree writes a file, in turns: in new directories, by rename, in a directory that
// is then renamed to its visible name, and in one that is renamed 50 times, with what is
// in it so far.
func writeTree(site, name string, n int) error {
	in := func(elem ...string) string { return filepath.Join(append([]string{site}, elem...)...) }
	switch n % 4 {
	case 0:
		dir := in("new", fmt.Sprint(n/400), fmt.Sprint(n), "a", "b")
		return cmp.Or(os.MkdirAll(dir, 0o755), writeFile(dir, name, n))
	case 1:
		return replace(in(name), "x")
	case 2:
		dir := in(".draft-" + name)
		return cmp.Or(os.Mkdir(dir, 0o755), writeFile(dir, name, n), os.Rename(dir, in("dir-"+name)))
	default:
		dir, next := in(fmt.Sprintf("moving-%d-%d", n/200, n)), in(fmt.Sprintf("moving-%d-%d", n/200, n+4))
		return cmp.Or(os.MkdirAll(dir, 0o755), writeFile(dir, name, n), os.Rename(dir, next))
	}
}

// checkOut makes a repository with more and more files, and checks them out, 50 every
// half second. An index of its own tells git which files of the site are up to date.
func checkOut(ctx context.Context, h *host) ([]string, error) {
	const perCommit, repository = 50, "/srv/repository"
	git := func(index string, args ...string) error {
		all := []string{"env", "GIT_INDEX_FILE=" + repository + "/.git/" + index, "git", "-c", "user.name=x", "-c", "user.email=x@localhost", "-c", "gc.auto=0", "-C", repository}
		if out, err := h.command(append(all, args...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("git %s: %w\n%s", args, err, out)
		}
		return nil
	}
	if err := cmp.Or(os.Mkdir(h.path(repository), 0o755), git("", "init", "--quiet")); err != nil {
		return nil, err
	}
	var names []string
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for commit := 0; ctx.Err() == nil; commit++ {
		var added []string
		for n := range perCommit {
			name := fmt.Sprintf("f%06d", len(names)+n)
			dir := filepath.Join(h.path(repository), "src", fmt.Sprint(commit), fmt.Sprint(n%10))
			if err := cmp.Or(os.MkdirAll(dir, 0o755), writeFile(dir, name, n)); err != nil {
				return names, err
			}
			added = append(added, name)
		}
		err := cmp.Or(git("index", "add", "--all"), git("index", "commit", "--quiet", "--message=x"),
			git("site-index", "--work-tree=/srv/www", "checkout", "--force", "HEAD", "--", "."))
		if err != nil {
			return names, err
		}
		names = append(names, added...)
		<-tick.C
	}
	return names, nil
}

// A table is printed when its measurements are complete.
type table struct {
	text strings.Builder
	rows *tabwriter.Writer
}

func newTable(head ...any) *table {
	t := new(table)
	t.rows = tabwriter.NewWriter(&t.text, 0, 0, 2, ' ', 0)
	t.row(head...)
	return t
}

func (t *table) row(cells ...any) {
	for i, cell := range cells {
		if d, ok := cell.(time.Duration); ok {
			cell = d.Round(time.Millisecond)
		}
		if i > 0 {
			fmt.Fprint(t.rows, "\t")
		}
		fmt.Fprint(t.rows, cell)
	}
	fmt.Fprintln(t.rows)
}

func (t *table) print() {
	t.rows.Flush()
	fmt.Print("\n", t.text.String(), "\n")
}

func median(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}
