package certificate

import (
	"crypto/ecdsa"
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxLeaves is how many certificates for names that clients have asked for are kept.
const maxLeaves = 64

// renewTime is how long before its end a certificate is replaced.
const renewTime = 24 * time.Hour

// Local are certificates that an authority makes when they are needed. They are not kept
// beyond the process.
type Local struct {
	authority *Authority
	machine   []string
	key       *ecdsa.PrivateKey

	mu     sync.Mutex
	byName map[string]*tls.Certificate
	byAddr *tls.Certificate // for clients that have no name, or none that is permitted
}

// NewLocal returns the certificates of an authority for a machine of these names.
func NewLocal(a *Authority, machine []string) (*Local, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	return &Local{authority: a, machine: machine, key: key, byName: make(map[string]*tls.Certificate)}, nil
}

// Certificate is a Source: one for the name that the client wants, if the authority permits
// it, else one for all names and addresses of the machine.
func (l *Local) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if name != "" && l.authority.Permits(name) {
		return l.forName(name)
	}

	local := addressOf(hello.Conn) // which the machine may have got since
	isMissing := func(cert *tls.Certificate) bool {
		return l.authority.Permits(local) && cert.Leaf.VerifyHostname(local) != nil
	}
	if !isUsable(l.byAddr) || isMissing(l.byAddr) {
		cert, err := l.authority.issue(l.machineHosts(local), l.key)
		if err != nil {
			return nil, err
		}
		l.byAddr = cert
	}
	return l.byAddr, nil
}

// forName returns a certificate for a name. l.mu must be held.
func (l *Local) forName(name string) (*tls.Certificate, error) {
	if cert := l.byName[name]; isUsable(cert) {
		return cert, nil
	}
	cert, err := l.authority.issue([]string{name}, l.key)
	if err != nil {
		return nil, err
	}
	if len(l.byName) >= maxLeaves {
		clear(l.byName)
	}
	l.byName[name] = cert
	return cert, nil
}

func isUsable(cert *tls.Certificate) bool {
	return cert != nil && time.Until(cert.Leaf.NotAfter) > renewTime
}

// addressOf returns the address at which a client has reached us; empty for none.
func addressOf(conn net.Conn) string {
	tcp, ok := conn.LocalAddr().(*net.TCPAddr)
	if !ok {
		return ""
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("").String()
}

// machineHosts returns the names and addresses of the machine that the authority permits,
// with one more address.
func (l *Local) machineHosts(more string) (hosts []string) {
	all := slices.Concat([]string{"localhost"}, l.machine, []string{"127.0.0.1", "::1", more})
	addrs, _ := net.InterfaceAddrs() // without them the others are there
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			all = append(all, prefix.Addr().Unmap().WithZone("").String())
		}
	}
	for _, host := range all {
		if host != "" && l.authority.Permits(host) && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}
