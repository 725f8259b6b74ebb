package daemon

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/execlog/execlogd/internal/config"
)

func TestPortTakenNamesWhoHasIt(t *testing.T) {
	comm, err := os.ReadFile("/proc/self/comm") // the binary has another name with -o
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimSpace(string(comm))
	for _, host := range []string{"127.0.0.1", "::1"} {
		ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			t.Logf("%s: %v", host, err)
			continue
		}
		defer ln.Close()
		port := ln.Addr().(*net.TCPAddr).Port
		_, err = listenWeb(host, port, false, nil)
		want := fmt.Sprintf("port %d is taken by %s (pid %d): stop that, or choose another with -port", port, name, os.Getpid())
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func TestListenErrorsSayWhatToDo(t *testing.T) {
	for host, want := range map[string]string{
		"192.0.2.1":    "192.0.2.1 is not an address of this machine: choose another with -host",
		"no.invalid":   "give an address of this machine with -host",
		"[::1]":        "give an address without brackets and port with -host",
		"not an addr!": "give an address of this machine with -host",
	} {
		_, err := listenWeb(host, 0, false, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", host, err, want)
		}
	}
}

// One address of a port gives way to every address, and back, while both are
// there for a moment; to others the port is taken as ever.
func TestListenBesideOneself(t *testing.T) {
	first, err := listenWeb("127.0.0.1", 0, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	port := first.Addr().(*net.TCPAddr).Port
	if same, err := listenWeb("localhost", port, false, []net.Listener{first}); err != nil || same != first {
		t.Errorf("the same address by another name is %v, %v", same, err)
	}
	old := first
	for _, host := range []string{"0.0.0.0", "127.0.0.1", "", "127.0.0.2", "127.0.0.1"} {
		ln, err := listenWeb(host, port, false, []net.Listener{old})
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		old.Close()
		old = ln
		conn, err := net.Dial("tcp", net.JoinHostPort(cmp.Or(host, "127.0.0.1"), fmt.Sprint(port)))
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if other, err := listenWeb(host, port, false, nil); err == nil {
			other.Close()
			t.Errorf("%s: the port can be had by others", host)
		}
	}
}

func TestAddress(t *testing.T) {
	for addr, want := range map[net.Addr]string{
		&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8000}: "http://127.0.0.1:8000/",
		&net.TCPAddr{IP: net.IPv6loopback, Port: 80}:         "http://[::1]:80/",
		&net.TCPAddr{IP: net.IPv6unspecified, Port: 80}:      "http://localhost:80/ and every other address of this machine",
		&net.UnixAddr{Name: "/run/x.sock"}:                   "/run/x.sock",
	} {
		if got := address(fakeListener{addr}); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

type fakeListener struct{ addr net.Addr }

func (l fakeListener) Addr() net.Addr            { return l.addr }
func (l fakeListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (l fakeListener) Close() error              { return nil }

// The next free port serves where the default is taken, and nobody has asked for one. With
// [server] port, with -port, and in a service, it is an error.
func TestNextFreePort(t *testing.T) {
	first := unusedPorts(t, 3)
	taken := make([]net.Listener, 2)
	for i := range taken {
		var err error
		if taken[i], err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+i)); err != nil {
			t.Fatal(err)
		}
		defer taken[i].Close()
	}

	var log strings.Builder
	d := &daemon{store: new(descriptorStore), log: slog.New(slog.NewTextHandler(&log, nil))}
	cfg := config.Config{Serve: true, Host: "127.0.0.1", Port: first, AnyPort: true, Static: true}
	sockets, err := d.webSockets(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer closeExcept(sockets, nil)
	if got, want := siteURL(sockets[0]), fmt.Sprintf("http://127.0.0.1:%d/", first+2); got != want {
		t.Errorf("serves at %s, want %s", got, want)
	}
	if want := fmt.Sprintf("port %d is taken by ", first); !strings.Contains(log.String(), want) || !strings.Contains(log.String(), fmt.Sprintf("taking %d", first+2)) {
		t.Errorf("logged %q, want %s", log.String(), want)
	}

	// A reload keeps the socket, and one that asks for the port does not.
	d.web.replace(sockets)
	d.active.Store(&resolvedConfig{Config: cfg})
	if again, err := d.webSockets(cfg); err != nil || again[0] != sockets[0] {
		t.Errorf("after a reload %v %v", again, err)
	}
	cfg.AnyPort = false
	want := fmt.Sprintf("port %d is taken by ", first)
	if again, err := d.webSockets(cfg); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("a reload with that port: %v %v, want an error", again, err)
	}

	d.web.replace(nil)
	if again, err := d.webSockets(config.Config{Serve: true, Host: "127.0.0.1", Port: first, AnyPort: true}); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("for pages of another server: %v %v, want an error", again, err)
	}
	t.Setenv("NOTIFY_SOCKET", "/nowhere")
	cfg.AnyPort = true
	if again, err := d.webSockets(cfg); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("in a service: %v %v, want an error", again, err)
	}
}

// unusedPorts returns the first of n ports in a row that nobody has.
func unusedPorts(t *testing.T, n int) int {
	t.Helper()
	for range 100 {
		first, free := unusedPort(t), 0
		for ; free < n; free++ {
			ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+free))
			if err != nil {
				break
			}
			ln.Close()
		}
		if free == n {
			return first
		}
	}
	t.Skip("there are no ports in a row")
	return 0
}
