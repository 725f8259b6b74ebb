package daemon

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/runnable"
)

// A candidate that is discarded leaves no watch and no socket, and what is active stays.
func TestDiscard(t *testing.T) {
	site, other := t.TempDir(), t.TempDir()
	file := filepath.Join(t.TempDir(), "x.toml")
	read := func(text string) config.Config {
		t.Helper()
		if err := os.WriteFile(file, []byte("[server]\nroot = '"+site+"'\nport = 0\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Read(file)
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	d, err := newDaemon(read(""), Options{Stderr: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	defer d.release()
	watches, socket := d.pipeline.group.Watches(), d.web.sockets()[0]

	cfg := read("host = '127.0.0.2'\n[[route]]\nname = 'r'\nroot = '" + other + "'\nrun = ['true']\n")
	routes, wrong := runnable.Resolve(&cfg, d.runner, d.serviceDied, d.logProblem)
	if err := wrong.Err(); err != nil {
		t.Fatal(err)
	}
	c := &candidate{cfg: &resolvedConfig{cfg, routes}}
	if err := c.prepare(d); err != nil {
		t.Fatal(err)
	}
	if n := d.pipeline.group.Watches(); n != watches+1 {
		t.Errorf("%d directories are watched for the candidate, want %d", n, watches+1)
	}
	c.discard(d)

	if n := d.pipeline.group.Watches(); n != watches {
		t.Errorf("%d directories are watched after it was discarded, want %d", n, watches)
	}
	if _, err := c.web[0].Accept(); err == nil {
		t.Error("the socket of the candidate is open")
	}
	if now := d.web.sockets(); len(now) != 1 || now[0] != socket {
		t.Errorf("the sockets are %v, want %v", now, socket)
	}

	// Sockets from systemd stay: they are had once.
	passed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer passed.Close()
	d.activated = []net.Listener{passed}
	sockets, err := d.webSockets(cfg)
	(&candidate{web: sockets}).discard(d)
	if err != nil || len(sockets) != 1 {
		t.Fatalf("from systemd: %v, %v", sockets, err)
	}
	conn, err := net.Dial("tcp", passed.Addr().String())
	if err != nil {
		t.Fatalf("after a refusal: %v", err)
	}
	conn.Close()
	if _, err := d.webSockets(config.Config{}); err == nil {
		t.Error("they may be given up")
	}
}
