package daemon

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/internal/control"
)

// The file of a socket that systemd hands over is systemd's.
func TestActivatedSocketStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.sock")
	theirs, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	f, err := theirs.File()
	if err != nil {
		t.Fatal(err)
	}
	copied, err := unix.Dup(int(f.Fd()))
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	passed, err := sortSockets([]*os.File{os.NewFile(uintptr(copied), "http")})
	if err != nil {
		t.Fatal(err)
	}
	web := listenerSet{}
	web.replace(passed.http)
	web.close()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("it is gone: %v", err)
	}
	if _, err := control.Listen(path); err == nil || !strings.Contains(err.Error(), "listens on "+path) {
		t.Errorf("as a control socket: %v", err)
	}
}

// When serving at one socket has failed, one that comes later is closed, and nobody has
// to wait for it.
func TestNoSocketIsServedAfterAFailure(t *testing.T) {
	broken, served := errors.New("broken"), 0
	set := listenerSet{serve: func(context.Context, net.Listener) error {
		served++
		return broken
	}}
	listen := func() *net.TCPListener {
		ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		return ln
	}
	set.replace([]net.Listener{listen()})
	if err := set.run(t.Context()); !errors.Is(err, broken) {
		t.Errorf("it ended with %v, want %v", err, broken)
	}

	late := listen()
	set.replace([]net.Listener{late})
	set.wg.Wait()
	if err := late.SetDeadline(time.Now()); !errors.Is(err, net.ErrClosed) || served != 1 {
		t.Errorf("served at %d sockets, want 1; the late one: %v", served, err)
	}
}
