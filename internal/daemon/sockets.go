package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/internal/config"
)

// webSockets returns the sockets at which a configuration has HTTP served: those of a socket
// unit, or one that it opens. Open sockets, also those of the process before that systemd has
// stored, are kept if the address has not changed.
func (d *daemon) webSockets(cfg config.Config) ([]net.Listener, error) {
	open := d.web.sockets()
	switch {
	case !cfg.Serve && len(open) > 0 && len(d.activated) > 0:
		return nil, errors.New("the server has its sockets from systemd: to be without it takes a restart")
	case !cfg.Serve && len(d.activated) > 0:
		return nil, errors.New("systemd has passed sockets for HTTP, and nothing is served: add a [server] table, or stop and disable the socket unit")
	case !cfg.Serve:
		return nil, nil
	case len(d.activated) > 0:
		return d.activated, nil
	}

	if len(open) > 0 {
		if now := d.active.Load(); cfg.Host == now.Host && cfg.Port == now.Port {
			return open, nil
		}
	} else {
		open = d.store.listeners()
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
	share(others, 1)
	defer share(others, 0)
	shared := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return sharePort(c, 1) }}
	ln, err := shared.Listen(context.Background(), "tcp", address)
	if err == nil {
		share([]net.Listener{ln}, 0)
	}
	return ln, err
}

// share lets other sockets of this user be bound to the ports of these, or not. If that
// fails, binding fails as well, and that error is reported.
func share(lns []net.Listener, on int) {
	for _, ln := range lns {
		if tcp, ok := ln.(*net.TCPListener); ok {
			if c, err := tcp.SyscallConn(); err == nil {
				_ = sharePort(c, on)
			}
		}
	}
}

func sharePort(c syscall.RawConn, on int) (err error) {
	outer := c.Control(func(fd uintptr) {
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, on))
	})
	return errors.Join(outer, err)
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

// addresses returns where sockets answer, for people.
func addresses(lns []net.Listener) string {
	var all []string
	for _, ln := range lns {
		all = append(all, address(ln))
	}
	return strings.Join(all, " and ")
}
