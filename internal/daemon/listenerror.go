package daemon

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// A portError says by whom a port is taken.
type portError string

func (e portError) Error() string { return string(e) }

func (portError) Unwrap() error { return syscall.EADDRINUSE }

// explainListen returns the error of a socket that cannot be opened, with what to do
// about it.
func explainListen(err error, host string, port int) error {
	dns, notFound := errors.AsType[*net.DNSError](err)
	addr, unreadable := errors.AsType[*net.AddrError](err)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return portError(fmt.Sprintf("port %d is taken by %s: stop that, or choose another with -port", port, portOwner(port)))
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("port %d is for privileged programs: choose one from %d on with -port", port, unprivilegedPort())
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s is not an address of this machine: choose another with -host", host)
	case unreadable:
		return fmt.Errorf("host %q: %s: give an address without brackets and port with -host", host, addr.Err)
	case notFound:
		return fmt.Errorf("host %q: %s: give an address of this machine with -host", host, dns.Err)
	}
	return err
}

// unprivilegedPort is the first port that every user may take (ip(7)).
func unprivilegedPort() int {
	port := 1024
	text, _ := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	_, _ = fmt.Sscan(string(text), &port)
	return port
}

// portOwner names the program that listens on a port, if this user may see that.
func portOwner(port int) string {
	sockets := listening(port)
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*") // what may not be read does not match
	for _, fd := range fds {
		if link, _ := os.Readlink(fd); !slices.Contains(sockets, link) {
			continue
		}
		pid := strings.Split(fd, "/")[2]
		name, _ := os.ReadFile("/proc/" + pid + "/comm")
		return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), pid)
	}
	return "another program"
}

// listening returns the sockets that listen on a port, from /proc/net/tcp and tcp6, as
// the links in /proc/pid/fd name them (proc(5)).
func listening(port int) (sockets []string) {
	const listen = "0A"
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, _ := os.ReadFile(table)
		for line := range strings.Lines(string(text)) {
			field := strings.Fields(line)
			if len(field) > 9 && field[3] == listen && strings.HasSuffix(field[1], fmt.Sprintf(":%04X", port)) {
				sockets = append(sockets, "socket:["+field[9]+"]")
			}
		}
	}
	return sockets
}
