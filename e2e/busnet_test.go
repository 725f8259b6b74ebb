package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

var (
	busRounds    = flag.Int("bus-rounds", 0, "measure the latency of `n` changes on the machine and on another")
	busPartition = flag.Duration("bus-partition", 3*time.Second, "how long a machine is cut off")
)

// A netHost is a network namespace with two links to this one: for the bus, and for pages.
type netHost struct {
	name          string
	busLink       string // of this side
	busIP, webIP  string // of that side
	natsIP, ourIP string // of this side
}

// netHosts counts the network namespaces that tests have made.
var netHosts atomic.Int32

// makeNetHost makes a network namespace that ends with the test.
func makeNetHost(t testing.TB) *netHost {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make network namespaces")
	}
	number := netHosts.Add(1)
	id := fmt.Sprintf("x%d-%d", os.Getpid()%100000, number)
	h := &netHost{name: "execlogd-" + id, busLink: "b" + id}
	h.natsIP, h.busIP = fmt.Sprintf("10.213.%d.1", number), fmt.Sprintf("10.213.%d.2", number)
	h.ourIP, h.webIP = fmt.Sprintf("10.214.%d.1", number), fmt.Sprintf("10.214.%d.2", number)
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Skipf("ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	ip("netns", "add", h.name)
	t.Cleanup(func() { exec.Command("ip", "netns", "delete", h.name).Run() })
	for _, link := range [][4]string{{h.busLink, "bus", h.natsIP, h.busIP}, {"w" + id, "web", h.ourIP, h.webIP}} {
		ip("link", "add", link[0], "type", "veth", "peer", "name", link[1], "netns", h.name)
		// The namespace would take it along some time later.
		t.Cleanup(func() { exec.Command("ip", "link", "delete", link[0]).Run() })
		ip("addr", "add", link[2]+"/24", "dev", link[0])
		ip("link", "set", link[0], "up")
		ip("-n", h.name, "addr", "add", link[3]+"/24", "dev", link[1])
		ip("-n", h.name, "link", "set", link[1], "up")
	}
	ip("-n", h.name, "link", "set", "lo", "up")
	return h
}

// share starts a daemon of the host that shares a site.
func (h *netHost) share(t testing.TB, site string, nats *natsServer, args ...string) *daemon {
	t.Helper()
	args = append([]string{
		"netns", "exec", h.name, execlogd, "-root", site, "-host", h.webIP, "-port", "8000", "-shared", "-log-format", "text",
		"-bus", fmt.Sprintf("nats://%s:%d", h.natsIP, nats.opts.Port),
	}, args...)
	d, err := launchCommand(t, t.TempDir(), exec.Command("ip", args...)) // not in the site, as share says
	if err == nil {
		err = d.waitReady(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	d.says(t, "bus is connected", 1)
	return d
}

// cut takes the host's link for the bus down, or up.
func (h *netHost) cut(t testing.TB, is bool) {
	t.Helper()
	state := map[bool]string{true: "down", false: "up"}[is]
	if out, err := exec.Command("ip", "link", "set", h.busLink, state).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// startNATSEverywhere is startNATS at all addresses of this machine.
func startNATSEverywhere(t testing.TB) *natsServer {
	s := &natsServer{opts: server.Options{Host: "0.0.0.0", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true}}
	s.start(t)
	_, port, _ := strings.Cut(s.Addr().String()[strings.LastIndexByte(s.Addr().String(), ']')+1:], ":")
	fmt.Sscan(port, &s.opts.Port)
	t.Cleanup(s.stop)
	return s
}

// A machine whose network is gone for a while misses nothing: neither what the others
// change meanwhile, nor they what it does.
func TestBusLinkDown(t *testing.T) {
	t.Parallel()
	nats := startNATSEverywhere(t)
	files := t.TempDir()
	content := map[string]string{"index.html": document("<p>zero")}
	const pages = 10
	for i := range pages {
		content[fmt.Sprintf("a%d.html", i)] = document("<p>zero")
		content[fmt.Sprintf("b%d.html", i)] = document("<p>zero")
	}
	write(t, files, content)
	hostA, hostB := makeNetHost(t), makeNetHost(t)
	siteA, siteB := mountRemote(t, files), mountRemote(t, files)
	a, b := hostA.share(t, siteA, nats), hostB.share(t, siteB, nats)
	var atA, atB []*liveClient
	for i := range pages {
		atA = append(atA, sharePage(t, a, fmt.Sprintf("/b%d.html", i)))
		atB = append(atB, sharePage(t, b, fmt.Sprintf("/a%d.html", i)))
	}

	if *busPartition > 5*time.Second {
		// It will be polled, and compared first with what was there before. By then the files
		// must not be as new as clocks may differ.
		time.Sleep(12 * time.Second)
	}
	hostB.cut(t, true)
	for i := range pages {
		save(t, siteA, fmt.Sprintf("a%d.html", i), document("<p>one"))
		save(t, siteB, fmt.Sprintf("b%d.html", i), document("<p>one"))
		time.Sleep(*busPartition / pages)
	}
	hostB.cut(t, false)
	for i := range pages {
		wantReload(t, atA[i], fmt.Sprintf("/b%d.html", i))
		wantReload(t, atB[i], fmt.Sprintf("/a%d.html", i))
	}
	if *busPartition <= 5*time.Second {
		wantNothing(t, append(atA, atB...)...)
		return
	}
	// A file that is saved while everything is compared may be found twice.
	time.Sleep(quietTime)
	twice := 0
	for _, p := range append(atA, atB...) {
		for range 2 {
			if _, ok := p.pending(); ok {
				twice++
			}
		}
	}
	if twice > 2 {
		t.Errorf("%d pages were told twice", twice)
	}
	t.Logf("%d saves on each of two machines, of which one was cut off for %v: none was missed, %d pages were told twice", pages, *busPartition, twice)
}

// mountBlind mounts a directory so that the kernel does not report there what happens to
// its files, and nothing is slower than in the directory itself.
func mountBlind(t testing.TB, dir string) string {
	t.Helper()
	at := t.TempDir()
	if out, err := exec.Command("mount", "-t", "overlay", "overlay", "-o", "lowerdir="+dir+":"+t.TempDir(), at).CombinedOutput(); err != nil {
		t.Skipf("an overlay is needed: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", at).Run() })
	return at
}

// TestBusLatency measures how long after a write pages are told, on the machine that wrote
// and on another.
func TestBusLatency(t *testing.T) {
	if *busRounds == 0 {
		t.Skip("run it with -bus-rounds 1000")
	}
	nats := startNATSEverywhere(t)
	files := t.TempDir()
	write(t, files, map[string]string{"index.html": document("<p>zero")})
	hostA, hostB := makeNetHost(t), makeNetHost(t)
	siteA, siteB := files, mountBlind(t, files)
	a, b := hostA.share(t, siteA, nats, "-delay", "0s", "-debounce", "0s"), hostB.share(t, siteB, nats, "-delay", "0s", "-debounce", "0s")
	pageA, pageB := sharePage(t, a, "/"), sharePage(t, b, "/")

	var here, there, more []time.Duration
	for i := range *busRounds {
		began := time.Now()
		write(t, siteA, map[string]string{"index.html": document(fmt.Sprint("<p>", i))})
		told := make(chan time.Time)
		go func() {
			p, err := pageB.next(maxWait)
			if err != nil || !strings.Contains(p, `"reload"`) {
				t.Errorf("message %q, %v", p, err)
			}
			told <- time.Now()
		}()
		atA := wantReload(t, pageA, "/index.html")
		atB := <-told
		here, there, more = append(here, atA.Sub(began)), append(there, atB.Sub(began)), append(more, atB.Sub(atA))
		time.Sleep(20 * time.Millisecond)
	}
	for name, took := range map[string][]time.Duration{"here": here, "there": there, "more": more} {
		slices.Sort(took)
		t.Logf("%-5s  p50 %v  p99 %v  max %v", name, took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
	}
}
