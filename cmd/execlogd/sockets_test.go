package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
)

func TestPortTakenNamesWhoHasIt(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			t.Logf("%s: %v", host, err)
			continue
		}
		defer ln.Close()
		port := ln.Addr().(*net.TCPAddr).Port
		_, err = sockets(host, port)
		want := fmt.Sprintf("port %d is taken by execlogd.test (pid %d): stop that, or choose another with -port", port, os.Getpid())
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
		_, err := sockets(host, 0)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", host, err, want)
		}
	}
}

func TestHandedOver(t *testing.T) {
	http, other := new(net.TCPListener), new(net.UnixListener)
	tests := []struct {
		name  string
		named map[string][]net.Listener
		want  int
	}{
		{"none", nil, 0},
		{"the one called http", map[string][]net.Listener{"http": {http, nil}, "status": {other}}, 1},
		{"all when none is called http", map[string][]net.Listener{"execlogd.socket": {http, other}}, 2},
		{"descriptors that are no listeners", map[string][]net.Listener{"inotify": {nil}}, 0},
	}
	for _, tt := range tests {
		if got := handedOver(tt.named); len(got) != tt.want {
			t.Errorf("%s: %d sockets, want %d", tt.name, len(got), tt.want)
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
