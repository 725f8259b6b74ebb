package daemon

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/testenv"
	"github.com/execlog/execlogd/router"
)

// patience is how long the tests wait for what must not come.
const patience = 100 * time.Millisecond

// expectHang checks that a part gives its sign, does not while it hangs, and does again when it
// goes on.
func expectHang(t *testing.T, prove func(context.Context) error, hang, goOn func()) {
	t.Helper()
	ctx, end := context.WithTimeout(t.Context(), testenv.WaitLimit)
	defer end()
	if err := prove(ctx); err != nil {
		t.Fatalf("while it works: %v", err)
	}
	hang()
	proof := make(chan error, 1)
	go func() { proof <- prove(ctx) }()
	select {
	case err := <-proof:
		t.Errorf("a sign of life while it hangs: %v", err)
		proof <- err
	case <-time.After(patience):
	}
	goOn()
	if err := <-proof; err != nil {
		t.Errorf("when it goes on: %v", err)
	}
}

// A wedge is where something hangs until it is released.
type wedge struct{ reached, released chan struct{} }

func newWedge() wedge { return wedge{make(chan struct{}), make(chan struct{})} }

func (w wedge) hang() {
	close(w.reached)
	<-w.released
}

// watchedDaemon is a daemon with a watched directory. With a name in it comes one of the wedges.
func watchedDaemon(t *testing.T, inWatcher, inRouter wedge) (d *daemon, dir string) {
	t.Helper()
	dir = t.TempDir()
	r, err := router.New(router.Options{}, router.Route{
		Name: "r", Roots: []string{dir}, Callback: func(context.Context, []inotify.Event) error { return nil },
		WaitsFor: func(e inotify.Event) bool { // called in a turn of the router
			if e.Path == "router" {
				inRouter.hang()
			}
			return false
		},
	})
	testenv.Check(t, err)
	notice := func(there bool) { // called by the watcher
		if !there {
			inWatcher.hang()
		}
	}
	group, err := router.NewGroup(inotify.Options{}, router.Listener{Root: dir, Router: r, Notice: notice})
	testenv.Check(t, err)
	server, err := httpd.New(httpd.Options{})
	testenv.Check(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- group.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		server.Close()
		group.Close()
	})
	d = &daemon{log: slog.New(slog.DiscardHandler), server: server}
	d.pipeline = &pipeline{d: d, router: r, group: group}
	return d, dir
}

// signOf returns the proof of a part.
func signOf(t *testing.T, d *daemon, part string) func(context.Context) error {
	t.Helper()
	signs, end := d.lifeSigns()
	t.Cleanup(end)
	for _, s := range signs {
		if s.part == part {
			return s.prove
		}
	}
	t.Fatalf("no sign of %s", part)
	return nil
}

func TestNoSignOfAHungWatcher(t *testing.T) {
	w := newWedge()
	d, dir := watchedDaemon(t, w, newWedge())
	expectHang(t, signOf(t, d, "inotify"), func() {
		testenv.Check(t, os.RemoveAll(dir))
		<-w.reached
	}, func() { close(w.released) })
}

func TestNoSignOfAHungRouter(t *testing.T) {
	w := newWedge()
	d, dir := watchedDaemon(t, newWedge(), w)
	expectHang(t, signOf(t, d, "router"), func() {
		f, err := os.Create(filepath.Join(dir, "router")) // and so open
		testenv.Check(t, err)
		t.Cleanup(func() { f.Close() })
		_, err = f.WriteString("x")
		testenv.Check(t, err)
		<-w.reached
	}, func() { close(w.released) })
}

func TestNoSignOfAHungServer(t *testing.T) {
	server, err := httpd.New(httpd.Options{})
	testenv.Check(t, err)
	defer server.Close()
	var gate sync.RWMutex // in place of a lock of the server
	srv := &http.Server{DisableGeneralOptionsHandler: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gate.RLock()
		defer gate.RUnlock()
		server.ServeHTTP(w, r)
	})}
	serve := func(ctx context.Context, ln net.Listener) error {
		defer context.AfterFunc(ctx, func() { srv.Close() })()
		srv.Serve(ln)
		return nil
	}

	sign, end := httpSign(serve, slog.New(slog.DiscardHandler))
	defer end()
	idle := server.Idle()
	expectHang(t, sign.prove, gate.Lock, gate.Unlock)
	if now := server.Idle(); now < idle+patience {
		t.Errorf("idle for %v before and %v after: the sign counts as use", idle, now)
	}
}

func TestNoSignOfSocketsThatAreNotAccepted(t *testing.T) {
	d, _ := watchedDaemon(t, newWedge(), newWedge())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	testenv.Check(t, err)
	defer ln.Close()
	d.web.replace([]net.Listener{ln})
	counted, end := d.accepts.count(ln)
	defer end()
	connect := func() {
		conn, err := net.Dial("tcp", ln.Addr().String())
		testenv.Check(t, err)
		t.Cleanup(func() { conn.Close() })
	}
	accept := func() {
		conn, err := counted.Accept()
		testenv.Check(t, err)
		conn.Close()
	}
	expectHang(t, signOf(t, d, "http sockets"), connect, accept)
}

// While a part hangs there is no ping, unless it gets on with something.
func TestPings(t *testing.T) {
	const period = 20 * time.Millisecond
	pings := make(chan struct{})
	hung, release := make(chan struct{}), make(chan struct{})
	var progress uint64
	signs := []*lifeSign{
		{part: "quick", prove: func(context.Context) error { return nil }},
		{part: "slow", prove: func(context.Context) error {
			hung <- struct{}{}
			<-release
			return nil
		}, progress: func() uint64 { return progress }},
	}
	var log strings.Builder
	d := &daemon{log: slog.New(slog.NewTextHandler(&log, nil))}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.ping(ctx, period, signs, func() {
			select {
			case pings <- struct{}{}:
			case <-ctx.Done():
			}
		})
	}()

	<-hung
	select {
	case <-pings:
		t.Error("a ping while a part hangs")
	case <-time.After(5 * period):
	}
	release <- struct{}{}
	<-pings
	<-hung
	stop()
	close(release)
	<-done
	if !strings.Contains(log.String(), "part=slow err=\"no answer within 20ms\"") {
		t.Errorf("log:\n%s", &log)
	}
}
