package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A natsServer is a NATS server with JetStream, whose files outlive it.
type natsServer struct {
	*server.Server
	opts server.Options
}

// startNATS starts a server at a free port of this machine. It ends with the test.
func startNATS(t testing.TB) *natsServer {
	s := &natsServer{opts: server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
	}}
	s.start(t)
	_, port, _ := net.SplitHostPort(s.Addr().String())
	fmt.Sscan(port, &s.opts.Port)
	t.Cleanup(s.stop)
	return s
}

func (s *natsServer) start(t testing.TB) {
	t.Helper()
	opts := s.opts
	var err error
	if s.Server, err = server.NewServer(&opts); err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(maxWait) {
		t.Fatal("the NATS server does not start")
	}
}

func (s *natsServer) stop() {
	s.Shutdown()
	s.WaitForShutdown()
}

func (s *natsServer) url() string { return fmt.Sprintf("nats://127.0.0.1:%d", s.opts.Port) }

// A relayedPort is a port that leads to another one, unless it is cut.
type relayedPort struct {
	net.Listener
	to string

	mu    sync.Mutex
	isCut bool
	conns []net.Conn
}

func relayPort(t testing.TB, to string) *relayedPort {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &relayedPort{Listener: ln, to: to}
	var copies sync.WaitGroup
	copies.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			p.mu.Lock()
			if err != nil || p.isCut {
				in.Close()
				if err == nil {
					out.Close()
				}
				p.mu.Unlock()
				continue
			}
			p.conns = append(p.conns, in, out)
			p.mu.Unlock()
			for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
				copies.Go(func() {
					io.Copy(pair[0], pair[1])
					pair[0].Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		ln.Close()
		p.cut(true)
		copies.Wait()
	})
	return p
}

// cut ends all connections and lets none be made, or lets them be made again.
func (p *relayedPort) cut(is bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isCut = is
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

func (p *relayedPort) url() string { return "nats://" + p.Addr().String() }

// mountRemote mounts a directory of another machine: what happens to it by another path
// is unknown to the kernel, and is seen a little later.
func mountRemote(t testing.TB, dir string) string {
	t.Helper()
	return mountRemoteAt(t, dir, t.TempDir(), 100*time.Millisecond)
}

// mountRemoteAt is mountRemote at a directory, and with the time for which what is known
// of files is used again.
func mountRemoteAt(t testing.TB, dir, at string, cached time.Duration) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	root, err := fs.NewLoopbackRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := fs.Mount(at, root, &fs.Options{
		EntryTimeout: &cached, AttrTimeout: &cached,
		MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "remote", DisableXAttrs: true},
	})
	if err != nil {
		t.Skip("a mount by FUSE is needed:", err)
	}
	t.Cleanup(func() {
		if err := s.Unmount(); err != nil {
			t.Error(err)
		}
		s.Wait()
	})
	return at
}

// share starts a daemon that shares a site.
func share(t testing.TB, site, url string, args ...string) *daemon {
	t.Helper()
	// Not in the site: the child of a fork would wait for the file server in this process.
	d, err := startDaemon(t, t.TempDir(), append([]string{"-root", site, "-port", "0", "-bus", url, "-shared", "-log-format", "text"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// awaitShared waits until daemons tell each other, and do not poll.
func awaitShared(t testing.TB, daemons ...*daemon) {
	t.Helper()
	for _, d := range daemons {
		d.says(t, "bus is connected", 1)
	}
	for _, d := range daemons {
		err := eventually(t.Context(), "execlogd not to poll", func() bool {
			said := d.stderr.String()
			return strings.Count(said, "root is polled") == strings.Count(said, "root is not polled any more")
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// sharePage is a page of a daemon, which never loads again whatever it is told.
func sharePage(t testing.TB, d *daemon, path string) *liveClient {
	t.Helper()
	p, err := dialStock(t.Context(), nil, d.URL, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// wantReload waits until a page is told to load again because of a file, and returns when
// that was.
func wantReload(t testing.TB, p *liveClient, file string) time.Time {
	t.Helper()
	message, err := p.next(maxWait)
	if err != nil || !strings.Contains(message, `"reload"`) || !strings.Contains(message, file) {
		t.Fatalf("message %q, %v; want a reload for %s", message, err, file)
	}
	return time.Now()
}

// wantNothing checks that pages get no message for a while.
func wantNothing(t testing.TB, pages ...*liveClient) {
	t.Helper()
	time.Sleep(quietTime)
	for _, p := range pages {
		if message, ok := p.pending(); ok {
			t.Errorf("a page got %s", message)
		}
	}
}

// Two machines serve a tree on a file server, which tells neither what the other does.
func TestSharedRoot(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	files := t.TempDir()
	write(t, files, map[string]string{"index.html": document("<p>zero"), "other.html": document("<p>")})
	siteA, siteB := mountRemote(t, files), mountRemote(t, files)
	a, b := share(t, siteA, nats.url()), share(t, siteB, nats.url())
	awaitShared(t, a, b)
	before := a.stderr.String() + b.stderr.String() // it may have polled while it was alone
	pageA, pageB := sharePage(t, a, "/"), sharePage(t, b, "/")

	for i, site := range []string{siteA, siteB, siteA} {
		save(t, site, "index.html", document(fmt.Sprint("<p>", i)))
		saved := time.Now()
		for _, p := range []*liveClient{pageA, pageB} {
			if took := wantReload(t, p, "/index.html").Sub(saved); took > time.Second {
				t.Logf("round %d: the page was told after %v", i, took)
			}
		}
	}
	save(t, siteA, "other.html", document("<p>1"))
	write(t, siteB, map[string]string{"new/dir/file.html": "<p>"})
	wantNothing(t, pageA, pageB)
	said := a.stderr.String() + b.stderr.String()
	if strings.Count(said, "polled") != strings.Count(before, "polled") || strings.Contains(said, "looking for changes") {
		t.Errorf("one of them polls, or has:\n%s", said)
	}

	// What comes with a directory, and goes with it.
	pageB = sharePage(t, b, "/new/dir/file.html")
	write(t, siteA, map[string]string{"new/dir/file.html": "<p>1"})
	wantReload(t, pageB, "/new/dir/file.html")
}

// A daemon starts, serves and watches without the server. What it has to tell is told
// when the server is there, in order, and so after each time that it was away.
func TestBusAway(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	nats.stop()
	files := t.TempDir()
	write(t, files, map[string]string{"index.html": document("<p>zero")})
	siteA, siteB := mountRemote(t, files), mountRemote(t, files)
	a, b := share(t, siteA, nats.url()), share(t, siteB, nats.url())
	a.says(t, `level=WARN msg="bus is away`, 1)
	pageA, pageB := sharePage(t, a, "/"), sharePage(t, b, "/")

	save(t, siteA, "index.html", document("<p>one"))
	wantReload(t, pageA, "/index.html")
	b.says(t, "root is polled", 1)
	wantReload(t, pageB, "/index.html")

	nats.start(t)
	for _, d := range []*daemon{a, b} {
		d.says(t, "bus is connected", 1)
		d.says(t, "root is not polled any more", 1)
	}
	save(t, siteA, "index.html", document("<p>two"))
	wantReload(t, pageA, "/index.html")
	wantReload(t, pageB, "/index.html")

	nats.stop()
	a.says(t, `level=WARN msg="bus is away`, 2)
	save(t, siteB, "index.html", document("<p>three"))
	wantReload(t, pageB, "/index.html")
	nats.start(t)
	wantReload(t, pageA, "/index.html") // by the bus, or because it was polled
	for _, d := range []*daemon{a, b} {
		d.says(t, "bus is connected", 2)
		if n := strings.Count(d.stderr.String(), "bus is away"); n != 2 {
			t.Errorf("it has said %d times that the bus is away, want 2", n)
		}
	}
	wantNothing(t, pageA, pageB)
}

// What a machine has missed while the stream kept it is delivered afterwards; if the stream
// does not have it any more the machine compares.
func TestBusPartition(t *testing.T) {
	t.Parallel()
	for _, kept := range []bool{true, false} {
		t.Run(map[bool]string{true: "kept", false: "not kept"}[kept], func(t *testing.T) {
			server := startNATS(t)
			if !kept {
				conn, err := nats.Connect(server.url())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				js, err := jetstream.New(conn)
				if err == nil {
					_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "execlogd-default-changes", Subjects: []string{"execlogd.default.changes.*.*"}, MaxMsgs: 1})
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			files := t.TempDir()
			write(t, files, map[string]string{"index.html": document("<p>zero"), "a.html": document("<p>"), "b.html": document("<p>")})
			port := relayPort(t, strings.TrimPrefix(server.url(), "nats://"))
			siteA, siteB := mountRemote(t, files), mountRemote(t, files)
			a, b := share(t, siteA, server.url()), share(t, siteB, port.url())
			awaitShared(t, a, b)
			pages := []*liveClient{sharePage(t, b, "/"), sharePage(t, b, "/a.html"), sharePage(t, b, "/b.html")}
			local := sharePage(t, a, "/b.html")

			port.cut(true)
			b.says(t, "bus is away", 1)
			for _, name := range []string{"index.html", "a.html", "b.html"} {
				save(t, siteA, name, document("<p>one"))
				time.Sleep(50 * time.Millisecond) // a message of its own
			}
			wantReload(t, local, "/b.html")
			port.cut(false)
			b.says(t, "bus is connected", 2)
			for i, name := range []string{"/index.html", "/a.html", "/b.html"} {
				wantReload(t, pages[i], name)
			}
			if compares := strings.Contains(b.stderr.String(), "events were lost"); compares == kept {
				t.Errorf("it compares: %v", compares)
			}
			wantNothing(t, pages...)
		})
	}
}

// A relay on the machine that has the files is enough for a daemon in a container or VM.
// Without it the root is polled.
func TestRelay(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	files := t.TempDir()
	write(t, files, map[string]string{"index.html": document("<p>zero"), ".hidden/file": ""})
	site := mountRemote(t, files)
	d := share(t, site, nats.url())
	page := sharePage(t, d, "/")
	relay := func() *daemon {
		r, err := launch(t, files, "relay", "-root", files, "-bus", nats.url())
		if err != nil {
			t.Fatal(err)
		}
		r.says(t, "bus is connected", 1)
		return r
	}
	r := relay()
	save(t, files, "index.html", document("<p>one"))
	wantReload(t, page, "/index.html")
	write(t, files, map[string]string{"index.html": document("<p>two")})
	wantReload(t, page, "/index.html")

	if err := r.signal("KILL"); err != nil {
		t.Fatal(err)
	}
	save(t, files, "index.html", document("<p>three"))
	wantReload(t, page, "/index.html")
	d.says(t, "root is polled", 1)

	r = relay()
	d.says(t, "root is not polled any more", 1)
	save(t, files, "index.html", document("<p>four"))
	wantReload(t, page, "/index.html")
	if err := r.signal("TERM"); err != nil {
		t.Fatal(err)
	}
	if status, err := r.wait(t.Context()); err != nil || status != "0" {
		t.Errorf("the relay ended with %s, %v", status, err)
	}

	// It is started again before its absence is noticed.
	polled := strings.Count(d.stderr.String(), "root is polled")
	save(t, files, "index.html", document("<p>five"))
	relay()
	wantReload(t, page, "/index.html")
	if strings.Count(d.stderr.String(), "root is polled") != polled {
		t.Errorf("the root was polled\n%s", d.stderr)
	}
}

// What another machine changes right after this one is found by polling.
func TestBusAwayWhileTwoChangeAFile(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	nats.stop()
	files := t.TempDir()
	write(t, files, map[string]string{"index.html": document("<p>zero")})
	site := mountRemote(t, files)
	d := share(t, site, nats.url())
	d.says(t, "root is polled", 1)
	page := sharePage(t, d, "/")
	save(t, site, "index.html", document("<p>own"))
	wantReload(t, page, "/index.html")
	save(t, files, "index.html", document("<p>of another"))
	wantReload(t, page, "/index.html")
}

// A slowNode is a file or directory on a slow file server.
type slowNode struct {
	fs.LoopbackNode
	pause *atomic.Int64 // before a name is looked up, in ns
}

func (n *slowNode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	time.Sleep(time.Duration(n.pause.Load()))
	return n.LoopbackNode.Lookup(ctx, name, out)
}

func (n *slowNode) WrapChild(context.Context, fs.InodeEmbedder) fs.InodeEmbedder {
	return &slowNode{fs.LoopbackNode{RootData: n.RootData}, n.pause}
}

// mountSlow mounts a directory of a file server, which is slow once a pause is stored.
func mountSlow(t testing.TB, dir string) (site string, pause *atomic.Int64) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	site, pause = t.TempDir(), new(atomic.Int64)
	root := &slowNode{fs.LoopbackNode{RootData: &fs.LoopbackRoot{Path: dir}}, pause}
	root.RootData.RootNode = root
	cached := 100 * time.Millisecond
	server, err := fs.Mount(site, root, &fs.Options{
		EntryTimeout: &cached, AttrTimeout: &cached,
		MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "remote", DisableXAttrs: true},
	})
	if err != nil {
		t.Skip("a mount by FUSE is needed:", err)
	}
	t.Cleanup(func() {
		if err := server.Unmount(); err != nil {
			t.Error(err)
		}
		server.Wait()
	})
	return site, pause
}

// The comparison with which polling begins comes to its end, although a relay that is heard
// again meanwhile ends the polling: nobody tells of what has changed before.
func TestRelayDuringComparison(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	files := t.TempDir()
	write(t, files, map[string]string{"z/index.html": document("<p>zero")})
	for i := range 45 {
		write(t, files, map[string]string{fmt.Sprintf("%d/file", i): ""})
	}
	site, pause := mountSlow(t, files)
	d := share(t, site, nats.url())
	page := sharePage(t, d, "/z/index.html")
	write(t, files, map[string]string{"z/index.html": document("<p>one")})
	pause.Store(int64(50 * time.Millisecond))
	d.says(t, "root is polled", 1)
	r, err := launch(t, files, "relay", "-root", files, "-bus", nats.url())
	if err != nil {
		t.Fatal(err)
	}
	r.says(t, "bus is connected", 1)
	wantReload(t, page, "/z/index.html")
	pause.Store(0)
}

// A machine is heard also while it looks for what has changed.
func TestBeatsDuringComparison(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	files := t.TempDir()
	write(t, files, map[string]string{"index.html": document("<p>")})
	for i := range 45 {
		write(t, files, map[string]string{fmt.Sprintf("%d/file", i): ""})
	}
	site, pause := mountSlow(t, files)
	d := share(t, site, server.url())
	d.says(t, "bus is connected", 1)
	conn, err := nats.Connect(server.url())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	beats, err := conn.SubscribeSync("execlogd.default.alive.site.*")
	if err != nil {
		t.Fatal(err)
	}
	pause.Store(int64(100 * time.Millisecond))
	lost := fmt.Appendf(nil, `{"v":1,"m":"other","n":1,"l":%d}`, time.Now().UnixMilli())
	if err := conn.Publish("execlogd.default.changes.site.other", lost); err != nil {
		t.Fatal(err)
	}
	d.says(t, "events were lost, and everything is compared", 1)
	began := time.Now()
	for time.Since(began) < 8*time.Second {
		if _, err := beats.NextMsg(4 * time.Second); err != nil {
			t.Fatalf("nothing was heard for 4 s: %v", err)
		}
	}
	pause.Store(0)
}

// A root may be on a file system of another machine that is mounted when the daemon runs.
func TestSharedRootMountedLater(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	nats.stop()
	dir, files := t.TempDir(), t.TempDir()
	write(t, files, map[string]string{"a.txt": "zero"})
	write(t, dir, map[string]string{"pictures/x": "", "execlogd.toml": fmt.Sprintf(`
[bus]
url = %q
[server]
port = 0
[[route]]
name = "r"
root = "pictures"
wait = true
shared = "pictures"
match = "*.txt"
shell = 'echo "got $(cat "$EXECLOGD_PATH")"'
`, nats.url())})
	d, err := startDaemon(t, dir, "-config", "execlogd.toml", "-log-format", "text")
	if err != nil {
		t.Fatal(err)
	}
	mountRemoteAt(t, files, filepath.Join(dir, "pictures"), 100*time.Millisecond)
	defer func() {
		d.signal("TERM")
		d.wait(t.Context())
	}()
	d.says(t, "root is polled", 1)
	time.Sleep(quietTime) // it is compared first
	write(t, files, map[string]string{"a.txt": "one"})
	d.says(t, "got one", 1)
}

// A page that was served by one machine and connects to another, as behind a load balancer,
// reloads if and only if something that it uses has changed.
func TestSharedCatchUp(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	files := t.TempDir()
	write(t, files, map[string]string{"index.html": document("<p>zero"), "style.css": "p {}", "other.css": "p {}"})
	siteA, siteB := mountRemote(t, files), mountRemote(t, files)
	a, b := share(t, siteA, nats.url()), share(t, siteB, nats.url())
	awaitShared(t, a, b)

	// connect is what a page of a token does at a daemon, that had an answer or none, and
	// returns the answer.
	connect := func(to *daemon, token string, was map[string]any) map[string]any {
		t.Helper()
		info := map[string]any{"command": "info", "plugins": map[string]any{}, "url": to.URL + "/", "path": "/", "uses": []string{"/style.css"}}
		for _, key := range []string{"seen", "digest"} {
			if was[key] != nil {
				info[key] = was[key]
			}
		}
		p, err := dialServed(t.Context(), nil, to.URL, token, nil, info, official7, ourProtocol)
		if err != nil {
			t.Fatal(err)
		}
		defer p.conn.CloseNow()
		message, err := p.next(maxWait)
		if err != nil {
			t.Fatal(err)
		}
		answer := make(map[string]any)
		if err := json.Unmarshal([]byte(message), &answer); err != nil {
			t.Fatal(err)
		}
		return answer
	}
	// served is the token with which a daemon serves the page now.
	served := func(by *daemon) string {
		t.Helper()
		resp, err := http.Get(by.URL + "/")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		page, err := io.ReadAll(resp.Body)
		found := regexp.MustCompile(`livereload\?([^"]+)"`).FindSubmatch(page)
		if err != nil || found == nil {
			t.Fatalf("the page is %s, %v", page, err)
		}
		return string(found[1])
	}
	const nothing, missed = "<nil>", "[]" // missed is a reload for no file in particular
	want := func(what string, answer map[string]any, files string) {
		t.Helper()
		if got := fmt.Sprint(answer["files"]); got != files {
			t.Errorf("%s: answer %v, want files %s", what, answer, files)
		}
	}

	witnesses := []*liveClient{sharePage(t, a, "/"), sharePage(t, b, "/")}
	change := func(site, name, content string) {
		t.Helper()
		save(t, site, name, content)
		for _, p := range witnesses {
			wantReload(t, p, name)
		}
	}

	first, at := served(a), connect(a, served(a), nil)
	want("nothing has changed, connected before", connect(b, first, at), nothing)
	want("nothing has changed", connect(b, first, nil), nothing)
	for i, site := range []string{siteA, siteB} {
		was, at := served(a), connect(a, served(a), nil)
		change(site, "other.css", fmt.Sprintf("p { margin: %dpx }", i))
		want("another sheet, connected before", connect(b, was, at), nothing)
		want("another sheet", connect(b, was, nil), nothing)
		want("another sheet, since", connect(b, served(a), nil), nothing)

		change(site, "style.css", fmt.Sprintf("p { margin: %dpx }", i))
		want("its sheet, connected before", connect(b, was, at), missed)
		want("its sheet", connect(b, was, nil), "[/style.css]")
		for range 3 {
			want("served after that", connect(b, served(a), nil), nothing)
			want("served there after that", connect(a, served(b), nil), nothing)
		}

		was, at = served(b), connect(b, served(b), nil)
		change(site, "index.html", document(fmt.Sprint("<p>", i)))
		want("the page, connected before", connect(a, was, at), missed)
		want("the page", connect(a, was, nil), "[/index.html]")
		want("served after that", connect(a, served(b), nil), nothing)
	}
}

// Whatever is on the subjects, nothing outside of the root is looked at, and what comes
// afterwards is heard.
func TestBusJunk(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	files := t.TempDir()
	write(t, files, map[string]string{"index.html": document("<p>zero")})
	siteA, siteB := mountRemote(t, files), mountRemote(t, files)
	a, b := share(t, siteA, server.url()), share(t, siteB, server.url())
	awaitShared(t, a, b)
	page := sharePage(t, b, "/")

	conn, err := nats.Connect(server.url())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i, junk := range []string{"", "junk", "{}", `{"v":1,"m":"x","n":1,"e":[{"p":"Li4vLi4vZXRjL3Bhc3N3ZA==","o":2,"s":{}}]}`, strings.Repeat("x", 200<<10)} {
		for _, kind := range []string{"changes", "alive"} {
			if err := conn.Publish(fmt.Sprintf("execlogd.default.%s.site.x", kind), []byte(junk)); err != nil {
				t.Fatalf("%d: %v", i, err)
			}
		}
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	b.says(t, "is not of execlogd", 1)
	save(t, siteA, "index.html", document("<p>one"))
	wantReload(t, page, "/index.html")
	if n := strings.Count(b.stderr.String(), "is not of execlogd"); n != 1 {
		t.Errorf("it has said %d times that there is junk", n)
	}
}

// A server that asks for a user does not get what others say: it is said why, once, and
// without the password.
func TestBusCredentials(t *testing.T) {
	t.Parallel()
	nats := &natsServer{opts: server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true, Username: "me", Password: "secret"}}
	nats.start(t)
	t.Cleanup(nats.stop)
	site := t.TempDir()
	write(t, site, map[string]string{"index.html": document("<p>zero")})
	addr := nats.Addr().String()
	stranger := share(t, site, "nats://me:wrong@"+addr)
	known := share(t, site, "nats://me:secret@"+addr)
	known.says(t, "bus is connected", 1)
	stranger.says(t, "bus is away.*(?i)authorization", 1)
	time.Sleep(quietTime)
	for _, d := range []*daemon{stranger, known} {
		if said := d.stderr.String(); strings.Contains(said, "secret") || strings.Contains(said, "wrong") {
			t.Errorf("it tells the password:\n%s", said)
		}
	}
	if n := strings.Count(stranger.stderr.String(), "bus is away"); n != 1 {
		t.Errorf("it has said %d times that the bus is away", n)
	}
}

// Who has no queue needs no room for jobs at the server.
func TestBusWithoutRoomForJobs(t *testing.T) {
	t.Parallel()
	nats := &natsServer{opts: server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, JetStreamMaxStore: 512 << 20, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
	}}
	nats.start(t)
	t.Cleanup(nats.stop)
	files := t.TempDir()
	write(t, files, map[string]string{"index.html": document("<p>zero")})
	siteA, siteB := mountRemote(t, files), mountRemote(t, files)
	url := "nats://" + nats.Addr().String()
	a, b := share(t, siteA, url), share(t, siteB, url)
	awaitShared(t, a, b)
	page := sharePage(t, b, "/")
	save(t, siteA, "index.html", document("<p>one"))
	wantReload(t, page, "/index.html")
}

// The root of a route, and that of a further site, are shared as that of [server] is.
func TestSharedRouteAndSite(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	sources, docs := t.TempDir(), t.TempDir()
	write(t, docs, map[string]string{"index.html": document("<p>zero")})
	sourcesB, docsB := mountRemote(t, sources), mountRemote(t, docs)
	machine := func(sources, docs string) *daemon {
		dir := t.TempDir()
		write(t, dir, map[string]string{"www/index.html": document("<p>"), "execlogd.toml": fmt.Sprintf(`
[bus]
url = %q
[server]
root = "www"
port = 0
[[site]]
host = "docs.localhost"
root = %q
shared = "docs"
[[route]]
name = "build"
root = %q
shared = "sources"
match = "*.txt"
shell = 'echo "got $(cat "$EXECLOGD_PATH")"'
`, nats.url(), docs, sources)})
		d, err := startDaemon(t, dir, "-config", "execlogd.toml", "-log-format", "text")
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	a, b := machine(sources, docs), machine(sourcesB, docsB)
	awaitShared(t, a, b)
	page, err := dialStock(t.Context(), nil, b.URL, "/", http.Header{"Host": {"docs.localhost"}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, sources, map[string]string{"a.txt": "one"})
	a.says(t, "got one", 1)
	b.says(t, "got one", 1)
	save(t, docs, "index.html", document("<p>one"))
	wantReload(t, page, "/index.html")
	if said := b.stderr.String(); strings.Contains(said, "looking for changes") {
		t.Errorf("it polls:\n%s", said)
	}
}

// What a site ignores, and a route of the same root does not, is told all the same.
func TestSharedRootOfSiteAndRoute(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	files := t.TempDir()
	write(t, files, map[string]string{"index.html": document("<p>zero")})
	machine := func(site string) *daemon {
		dir := t.TempDir()
		write(t, dir, map[string]string{"execlogd.toml": fmt.Sprintf(`
[bus]
url = %q
[server]
root = %q
port = 0
shared = true
[[route]]
name = "env"
root = %q
match = ".env"
ignore = [""]
shell = 'echo "got $(cat "$EXECLOGD_PATH")"'
`, nats.url(), site, site)})
		d, err := startDaemon(t, dir, "-config", "execlogd.toml", "-log-format", "text")
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	siteA, siteB := mountRemote(t, files), mountRemote(t, files)
	a, b := machine(siteA), machine(siteB)
	awaitShared(t, a, b)
	write(t, siteA, map[string]string{".env": "one"})
	a.says(t, "got one", 1)
	b.says(t, "got one", 1)
}

// So is what a site ignores, and a route of a directory in it is for.
func TestSharedRootOfSiteWithRouteInside(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	files := t.TempDir()
	write(t, files, map[string]string{"index.html": document("<p>zero"), "a/.data/b/old.txt": ""})
	machine := func(site string) *daemon {
		dir := t.TempDir()
		write(t, dir, map[string]string{"execlogd.toml": fmt.Sprintf(`
[bus]
url = %q
[server]
root = %q
port = 0
shared = true
[[route]]
name = "data"
root = %q
match = "*.txt"
shell = 'echo "got $(cat "$EXECLOGD_PATH")"'
`, nats.url(), site, filepath.Join(site, "a/.data"))})
		d, err := startDaemon(t, dir, "-config", "execlogd.toml", "-log-format", "text")
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	siteA, siteB := mountRemote(t, files), mountRemote(t, files)
	a, b := machine(siteA), machine(siteB)
	awaitShared(t, a, b)
	write(t, siteA, map[string]string{"a/.data/b/new.txt": "one"})
	a.says(t, "got one", 1)
	b.says(t, "got one", 1)
}
