package httpd

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// parseOrigin parses a serialised origin (RFC 6454): scheme, host and port, and
// nothing else.
func parseOrigin(text string) (*url.URL, bool) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return nil, false
	}
	_, ok := hostname(u.Host)
	bare := url.URL{Scheme: u.Scheme, Host: u.Host}
	return u, ok && strings.EqualFold(bare.String(), text)
}

// sameHost compares two hosts with optional ports, where the port that scheme
// implies may be left out.
func sameHost(scheme, a, b string) bool {
	port := impliedPort(scheme)
	return strings.EqualFold(strings.TrimSuffix(a, port), strings.TrimSuffix(b, port))
}

// impliedPort is the port that an origin of a scheme leaves out, as written
// behind a host.
func impliedPort(scheme string) string {
	switch scheme {
	case "http":
		return ":80"
	case "https":
		return ":443"
	}
	return ""
}

// hostname cuts the port from host[:port] and returns the rest in one
// spelling: lower case, no final dot, an address without brackets and zone.
func hostname(hostport string) (host string, ok bool) {
	u := url.URL{Host: hostport}
	host, port := u.Hostname(), u.Port()
	if strings.HasPrefix(hostport, "[") || strings.Count(hostport, ":") > 1 {
		return ipv6Literal(hostport, host, port)
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "" || len(host) > 253 || strings.Contains("."+host, "..") || strings.ContainsFunc(host, notInName) {
		return "", false
	}
	if rest := hostport[len(u.Hostname()):]; rest != "" && (port == "" || rest != ":"+port) {
		return "", false
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		host = addr.String()
	}
	return host, true
}

// ipv6Literal is hostname for an IPv6 address.
func ipv6Literal(hostport, host, port string) (string, bool) {
	addr, err := netip.ParseAddr(host)
	rest, found := strings.CutPrefix(hostport, "["+host+"]")
	if err != nil || !found || !addr.Is6() || rest != "" && (port == "" || rest != ":"+port) {
		return "", false
	}
	return addr.Unmap().WithZone("").String(), true
}

// notInName reports what no host name has. The underscore is no letter of
// host names either, but people use it.
func notInName(c rune) bool {
	return !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_')
}

// isLoopback reports whether a host, as hostname returns it, can only be this
// machine. Resolvers keep localhost and all below it local (RFC 6761).
func isLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// localAddr is the address that a request's connection came to, the zero Addr
// where there is none (a unix socket).
func localAddr(r *http.Request) netip.Addr {
	if tcp, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

func remoteAddr(r *http.Request) netip.Addr {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Addr().Unmap()
}

// isLocal reports whether the client of a connection is on this machine: it comes
// over the loopback interface or a unix socket.
func isLocal(r *http.Request) bool {
	_, unix := r.Context().Value(http.LocalAddrContextKey).(*net.UnixAddr)
	return unix || remoteAddr(r).IsLoopback()
}

func isWildcard(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.AddrPort().Addr().Unmap().IsUnspecified()
}

// isMachineAddr reports whether one of the machine's interfaces has the address.
// The unspecified one is what people copy from a wildcard listener's log.
func isMachineAddr(addr netip.Addr) bool {
	if addr.IsUnspecified() {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(addrs, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())
		return err == nil && prefix.Addr().Unmap().WithZone("") == addr
	})
}
