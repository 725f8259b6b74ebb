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
		return d.activated, checkActivated(cfg, d.activated)
	}

	if len(open) > 0 {
		now := d.active.Load()
		if cfg.Host == now.Host && cfg.Port == now.Port && cfg.AnyPort == now.AnyPort && cfg.TLSPort == now.TLSPort && cfg.HasTLS() == now.HasTLS() {
			return open, nil
		}
	} else {
		// Nobody accepts at them yet, so that their connections may speak either.
		stored := d.store.listeners()
		open = slices.Concat(stored, withTLS(stored))
	}
	secure := cfg.HasTLS() && cfg.TLSPort == 0
	ln, err := listenWeb(cfg.Host, cfg.Port, secure, open)
	// Pages of another server name the port, and who relies on that of a service would not see
	// that it has another.
	if errors.Is(err, syscall.EADDRINUSE) && cfg.AnyPort && (cfg.Static || len(cfg.Proxies) > 0) && os.Getenv("NOTIFY_SOCKET") == "" {
		ln, err = d.listenNext(cfg, secure, open, err)
	}
	if err != nil {
		return nil, err
	}
	if cfg.TLSPort == 0 || !cfg.HasTLS() {
		return []net.Listener{ln}, nil
	}

	beside, err := listenWeb(cfg.Host, cfg.TLSPort, true, open)
	if err != nil {
		closeExcept([]net.Listener{ln}, open)
		return nil, err
	}
	return []net.Listener{beside, ln}, nil // browsers are led to the first
}

// checkActivated says what is wrong with a configuration for sockets from systemd.
func checkActivated(cfg config.Config, sockets []net.Listener) error {
	switch hasTLS := slices.ContainsFunc(sockets, isTLS); {
	case hasTLS && !cfg.HasTLS():
		return errors.New("systemd has passed a socket for HTTPS, and there is no certificate: set tls or tls_cert, or take FileDescriptorName=https out of the socket unit")
	case cfg.HasTLS() && !hasTLS:
		return errors.New("systemd has passed no socket for HTTPS: it needs FileDescriptorName=https in the socket unit")
	}
	return nil
}

// maxNextPorts is how many ports after one that is taken are tried.
const maxNextPorts = 100

// listenNext is listenWeb for the next free port after that of a configuration, which is
// taken, with that error.
func (d *daemon) listenNext(cfg config.Config, secure bool, old []net.Listener, taken error) (net.Listener, error) {
	for port := cfg.Port + 1; port <= min(cfg.Port+maxNextPorts, 65535); port++ {
		ln, err := listenWeb(cfg.Host, port, secure, old)
		if err == nil {
			d.log.Info(fmt.Sprintf("port %d is taken by %s: taking %d, as -port names none", cfg.Port, portOwner(cfg.Port), port))
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return ln, err
		}
	}
	return nil, taken
}

// listenWeb opens a socket, for TLS if it is to be secure, that replaces others. Until those
// are closed, both are open: the others may have the same port at another address, or not
// speak TLS.
func listenWeb(host string, port int, secure bool, old []net.Listener) (net.Listener, error) {
	address := net.JoinHostPort(host, strconv.Itoa(port))
	if at, err := net.ResolveTCPAddr("tcp", address); err == nil {
		for _, ln := range old {
			if ln.Addr().String() == at.String() && isTLS(ln) == secure {
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
	if secure {
		return tlsListener{ln}, nil
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
		if tcp, ok := socketOf(ln).(*net.TCPListener); ok {
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
		return fmt.Sprintf("%slocalhost:%d/", scheme(ln), tcp.Port)
	}
	return scheme(ln) + tcp.String() + "/"
}

// scheme is how a URL of a socket begins.
func scheme(ln net.Listener) string {
	if isTLS(ln) {
		return "https://"
	}
	return "http://"
}

const everyAddress = " and every other address of this machine"

// address returns where a socket answers, for people.
func address(ln net.Listener) string {
	tcp, ok := ln.Addr().(*net.TCPAddr)
	switch {
	case !ok:
		return ln.Addr().String()
	case tcp.IP.IsUnspecified():
		return siteURL(ln) + everyAddress
	}
	return siteURL(ln)
}

// networkURLs returns the URLs of the site at a socket for other devices; none
// for a socket that is for this machine alone. IPv6 counts where there is no IPv4. Where that is every address of the machine,
// those of bridges to containers are left out, as nobody but these is behind them.
func networkURLs(ln net.Listener) (urls []string) {
	tcp, ok := ln.Addr().(*net.TCPAddr)
	switch {
	case !ok || tcp.IP.IsLoopback():
		return nil
	case !tcp.IP.IsUnspecified():
		return []string{siteURL(ln)}
	}

	interfaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var ipv6 []string
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || isContainerBridge(i.Name) {
			continue
		}
		addrs, _ := i.Addrs() // it may be gone
		for _, a := range addrs {
			network, ok := a.(*net.IPNet)
			if !ok || !network.IP.IsGlobalUnicast() {
				continue
			}
			url := scheme(ln) + net.JoinHostPort(network.IP.String(), strconv.Itoa(tcp.Port)) + "/"
			if network.IP.To4() != nil {
				urls = append(urls, url)
			} else if tcp.IP.To4() == nil {
				ipv6 = append(ipv6, url)
			}
		}
	}
	if urls == nil {
		return ipv6
	}
	return urls
}

// isContainerBridge reports whether an interface has a name that Docker, Podman, libvirt
// or LXC gives to bridges.
func isContainerBridge(name string) bool {
	for _, prefix := range []string{"docker", "br-", "podman", "cni", "virbr", "lxcbr", "lxdbr", "veth"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// addresses returns where sockets answer, for people.
func addresses(lns []net.Listener) string {
	var all []string
	for _, ln := range lns {
		all = append(all, address(ln))
	}
	return strings.Join(all, " and ")
}
