package httpd

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// connLimits are how many connections there may be at once; 0 is no limit.
type connLimits struct {
	all        int
	perAddress int // see countedAddress
}

// newConnLimits returns the limits of options. A quarter of the descriptors, or where they are
// few up to half of them, is for other things than connections: the files that they ask for.
func newConnLimits(opts Options) connLimits {
	l := connLimits{opts.MaxConnections, opts.MaxConnectionsPerAddress}
	var descriptors unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &descriptors) == nil {
		all := int(min(descriptors.Cur, 1<<30))
		most := max(1, all-max(all/4, min(all/2, 64)))
		if l.all == 0 || l.all > most {
			l.all = most
		}
	}
	return l
}

// connCounts counts the connections of a Server, over all of its listeners. Those that
// became websockets of pages count until these are closed. The zero connCounts is empty.
type connCounts struct {
	mu        sync.Mutex
	all       int
	byAddress map[netip.Addr]int
	refused   uint64
}

// countedAddress returns the address whose connections are counted together: of IPv6 the
// network of 64 bits, which is what a customer gets. It is not valid for connections that
// count only among all: those of this machine, where a proxy may stand for many clients,
// and those of unix sockets.
func countedAddress(addr net.Addr) netip.Addr {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	switch {
	case ip.IsLoopback():
		return netip.Addr{}
	case ip.Is6():
		network, _ := ip.Prefix(64) // which every address of IPv6 has
		return network.Addr()
	}
	return ip
}

// add counts a connection.
func (c *connCounts) add(addr net.Addr) { c.tryAdd(addr, connLimits{}) }

// tryAdd counts a connection if the limits allow one more.
func (c *connCounts) tryAdd(addr net.Addr, limits connLimits) bool {
	from := countedAddress(addr)
	c.mu.Lock()
	defer c.mu.Unlock()
	if limits.all > 0 && c.all >= limits.all || limits.perAddress > 0 && c.byAddress[from] >= limits.perAddress {
		c.refused++
		return false
	}
	if from.IsValid() {
		if c.byAddress == nil {
			c.byAddress = make(map[netip.Addr]int)
		}
		c.byAddress[from]++
	}
	c.all++
	return true
}

// remove takes away a connection that was counted.
func (c *connCounts) remove(addr net.Addr) {
	from := countedAddress(addr)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if from.IsValid() {
		if c.byAddress[from]--; c.byAddress[from] == 0 {
			delete(c.byAddress, from)
		}
	}
}

// count returns how many connections there are, and how many were refused.
func (c *connCounts) count() (all int, refused uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all, c.refused
}

// A limitedListener accepts what the limits of its Server allow, and refuses the rest at
// once, over TLS without an answer, so that who is above a limit keeps nobody else from being accepted.
type limitedListener struct {
	net.Listener
	server *Server
	isTLS  bool
}

func (l limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		now := l.server.current.Load()
		if l.server.conns.tryAdd(conn.RemoteAddr(), now.connLimits) {
			return conn, nil
		}
		now.logLimited(tooManyConns, "remote", conn.RemoteAddr().String())
		if l.isTLS {
			conn.Close()
		} else {
			refuseConn(conn)
		}
	}
}

const tooMany = "too many connections\n"

var tooManyAnswer = fmt.Sprintf("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\n"+
	"Cache-Control: no-store\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n\r\n%s", len(tooMany), tooMany)

// refuseConn answers a connection of HTTP with 503, whatever it asks for, and closes it. It
// waits for nothing: the answer fits into the buffer of a new socket. What the client has
// sent by now is read, as the kernel would otherwise reset the connection, and the client
// might not see the answer.
func refuseConn(conn net.Conn) {
	defer conn.Close()
	plain, ok := conn.(interface {
		CloseWrite() error
		syscall.Conn
	})
	if !ok {
		return
	}
	_, _ = io.WriteString(conn, tooManyAnswer)
	_ = plain.CloseWrite()
	_ = control(plain, func(fd int) error {
		var early [4 << 10]byte
		_, _, err := unix.Recvfrom(fd, early[:], unix.MSG_DONTWAIT)
		return err
	})
}

// countEnd is an http.Server's ConnState: it no longer counts a connection that has ended,
// or that is no longer the http.Server's.
func (c *connCounts) countEnd(conn net.Conn, state http.ConnState) {
	if state == http.StateClosed || state == http.StateHijacked {
		c.remove(conn.RemoteAddr())
	}
}
