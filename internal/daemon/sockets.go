package daemon

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/internal/config"
)

// webSockets returns the sockets at which a configuration has HTTP served: those that
// systemd has passed (called "http", or all of them if none is called that), or one that
// it opens. Open sockets are kept if the address has not changed.
func (d *daemon) webSockets(cfg config.Config) ([]net.Listener, error) {
	open := d.web.sockets()
	same := len(open) > 0 && cfg.Host == d.cfg.Host && cfg.Port == d.cfg.Port
	switch {
	case !cfg.Serve && len(open) > 0 && len(d.activated) > 0:
		return nil, errors.New("the server has its sockets from systemd: to be without it takes a restart")
	case !cfg.Serve:
		return nil, nil
	case len(d.activated) > 0:
		return d.activated, nil
	case same:
		return open, nil
	}

	named, err := activation.ListenersWithNames() // once: it forgets them
	if err != nil {
		return nil, fmt.Errorf("sockets from systemd: %w", err)
	}
	if d.activated = activatedSockets(named); len(d.activated) > 0 {
		return d.activated, nil
	}

	ln, err := listenWeb(cfg.Host, cfg.Port, open)
	if err != nil {
		return nil, err
	}
	return []net.Listener{ln}, nil
}

// listenWeb opens a socket that replaces others. Until those are closed, both are open: the
// others may have the same port at another address.
func listenWeb(host string, port int, old []net.Listener) (net.Listener, error) {
	address := net.JoinHostPort(host, strconv.Itoa(port))
	if at, err := net.ResolveTCPAddr("tcp", address); err == nil {
		for _, ln := range old {
			if ln.Addr().String() == at.String() {
				return ln, nil // the same address, by another name
			}
		}
	}
	ln, err := net.Listen("tcp", address)
	hasPort := func(o net.Listener) bool {
		at, ok := o.Addr().(*net.TCPAddr)
		return ok && at.Port == port
	}
	if errors.Is(err, syscall.EADDRINUSE) && slices.ContainsFunc(old, hasPort) {
		ln, err = listenBeside(address, old)
	}
	if err != nil {
		return nil, explainListen(err, host, port)
	}
	return ln, nil
}

// listenBeside opens a socket although others of ours have its port, at every address or
// at one of its own.
func listenBeside(address string, others []net.Listener) (net.Listener, error) {
	share(others, true)
	defer share(others, false)
	shared := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return sharePort(c, true) }}
	ln, err := shared.Listen(context.Background(), "tcp", address)
	if err == nil {
		share([]net.Listener{ln}, false)
	}
	return ln, err
}

// share lets other sockets of this user be bound to the ports of these, or not. If that
// fails, binding fails as well, and that error is reported.
func share(lns []net.Listener, may bool) {
	for _, ln := range lns {
		if tcp, ok := ln.(*net.TCPListener); ok {
			if c, err := tcp.SyscallConn(); err == nil {
				_ = sharePort(c, may)
			}
		}
	}
}

func sharePort(c syscall.RawConn, may bool) (err error) {
	value := 0
	if may {
		value = 1
	}
	outer := c.Control(func(fd uintptr) {
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, value))
	})
	return errors.Join(outer, err)
}

// activatedSockets returns the HTTP sockets among those that systemd has passed. A
// descriptor that is no listener is nil in the lists.
func activatedSockets(named map[string][]net.Listener) (lns []net.Listener) {
	if http := named["http"]; len(http) > 0 {
		named = map[string][]net.Listener{"http": http}
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		lns = append(lns, named[name]...)
	}
	return slices.DeleteFunc(lns, func(ln net.Listener) bool { return ln == nil })
}

// address returns where a socket answers, for people.
func address(ln net.Listener) string {
	tcp, ok := ln.Addr().(*net.TCPAddr)
	switch {
	case !ok:
		return ln.Addr().String()
	case tcp.IP.IsUnspecified():
		return siteURL(ln) + " and every other address of this machine"
	}
	return siteURL(ln)
}

// siteURL returns the URL of the site at a socket, for a browser on this machine. It is
// just a slash for a socket to which browsers cannot connect.
func siteURL(ln net.Listener) string {
	tcp, ok := ln.Addr().(*net.TCPAddr)
	switch {
	case !ok:
		return "/"
	case tcp.IP.IsUnspecified():
		return fmt.Sprintf("http://localhost:%d/", tcp.Port)
	}
	return "http://" + tcp.String() + "/"
}

// explainListen returns the error of a socket that cannot be opened, with what to do
// about it.
func explainListen(err error, host string, port int) error {
	dns, notFound := errors.AsType[*net.DNSError](err)
	addr, unreadable := errors.AsType[*net.AddrError](err)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("port %d is taken by %s: stop that, or choose another with -port", port, portOwner(port))
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

func unprivilegedPort() int {
	text, _ := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 1024
	}
	return n
}

// portOwner names the program that listens on a port, if this user may see that.
func portOwner(port int) string {
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
	return "another program"
}

// listening returns the inodes of the sockets that listen on a port, from /proc/net/tcp
// and tcp6 (proc(5)).
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
