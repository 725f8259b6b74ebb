package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
)

// sockets are the HTTP sockets that systemd hands over (those called "http",
// or all of them when none is), or one of our own.
func sockets(host string, port int) ([]net.Listener, error) {
	named, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("sockets from systemd: %w", err)
	}
	if lns := handedOver(named); len(lns) > 0 {
		return lns, nil
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return nil, explainListen(err, host, port)
	}
	return []net.Listener{ln}, nil
}

// handedOver picks the HTTP sockets. A descriptor that is not a listener is a
// nil in the list.
func handedOver(named map[string][]net.Listener) (lns []net.Listener) {
	if http := named["http"]; len(http) > 0 {
		named = map[string][]net.Listener{"http": http}
	}
	for _, some := range named {
		lns = append(lns, some...)
	}
	return slices.DeleteFunc(lns, func(ln net.Listener) bool { return ln == nil })
}

// address is the URL at which a socket answers.
func address(ln net.Listener) string {
	tcp, ok := ln.Addr().(*net.TCPAddr)
	switch {
	case !ok:
		return ln.Addr().String()
	case tcp.IP.IsUnspecified():
		return fmt.Sprintf("http://localhost:%d/ and every other address of this machine", tcp.Port)
	}
	return "http://" + tcp.String() + "/"
}

// explainListen says what to do about a socket that cannot be had.
func explainListen(err error, host string, port int) error {
	dns, notFound := errors.AsType[*net.DNSError](err)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("port %d is taken by %s: stop that, or choose another with -port", port, portOwner(port))
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("port %d is for privileged programs: choose one from %d on with -port", port, unprivilegedPort())
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s is not an address of this machine: choose another with -host", host)
	case strings.ContainsAny(host, "[]"):
		return fmt.Errorf("host %q: write an IPv6 address without its brackets, as in -host ::1", host)
	case notFound:
		return fmt.Errorf("host %q: %s: give an address of this machine with -host", host, dns.Err)
	}
	return err
}

func unprivilegedPort() int {
	text, _ := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 1024
	}
	return n
}

// portOwner names the program that listens on a port, as far as this user may
// know it.
func portOwner(port int) string {
	owner := "another program"
	for _, inode := range listening(port) {
		// What may not be read does not match.
		fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
		for _, fd := range fds {
			if link, _ := os.Readlink(fd); link != "socket:["+inode+"]" {
				continue
			}
			pid := strings.Split(fd, "/")[2]
			name, _ := os.ReadFile("/proc/" + pid + "/comm")
			return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), pid)
		}
	}
	return owner
}

// listening lists the inodes of the sockets that listen on a port, from
// /proc/net/tcp and tcp6 (proc(5)).
func listening(port int) (inodes []string) {
	const listen = "0A"
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(table)
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			field := strings.Fields(lines.Text())
			if len(field) > 9 && field[3] == listen && strings.HasSuffix(field[1], fmt.Sprintf(":%04X", port)) {
				inodes = append(inodes, field[9])
			}
		}
		f.Close()
	}
	return inodes
}
