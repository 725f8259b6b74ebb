package httpd

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
)

// A gate decides who may talk to the server. A page anywhere on the web can
// make a browser send requests to a loopback address; what it cannot do is
// choose the Host (which shows the name that was looked up, and so a name
// whose DNS was rebound to us) or hide its Origin.
type gate struct {
	hosts   []string // lower case; a leading dot means everything below as well
	origins []string // lower case
	machine string   // the machine's name
	files   bool     // files are served
}

func newGate(opts Options) (gate, error) {
	g := gate{files: opts.Root != ""}
	if name, err := os.Hostname(); err == nil {
		g.machine = strings.ToLower(name)
	}
	for _, h := range opts.AllowHosts {
		host, err := parseAllowedHost(h)
		if err != nil {
			return gate{}, err
		}
		g.hosts = append(g.hosts, host)
	}
	for _, o := range opts.AllowOrigins {
		origin, err := parseAllowedOrigin(o)
		if err != nil {
			return gate{}, err
		}
		g.origins = append(g.origins, origin)
	}
	return g, nil
}

// CheckHost says what is wrong with an entry of Options.AllowHosts, as New does.
func CheckHost(entry string) error {
	_, err := parseAllowedHost(entry)
	return err
}

// CheckOrigin says what is wrong with an entry of Options.AllowOrigins, as New
// does.
func CheckOrigin(entry string) error {
	_, err := parseAllowedOrigin(entry)
	return err
}

// parseAllowedHost checks an entry of Options.AllowHosts.
func parseAllowedHost(entry string) (string, error) {
	bare := strings.TrimPrefix(entry, ".")
	if addr, err := netip.ParseAddr(strings.Trim(bare, "[]")); err == nil {
		return addr.Unmap().WithZone("").String(), nil // as hostname has it
	}
	host, ok := hostname(bare)
	if !ok || strings.Contains(bare, ":") {
		return "", fmt.Errorf("allow host %q: want a name or an address without a port, or .example.com", entry)
	}
	if bare != entry {
		host = "." + host
	}
	return host, nil
}

// parseAllowedOrigin returns an entry of Options.AllowOrigins as browsers write
// it.
func parseAllowedOrigin(entry string) (string, error) {
	origin, ok := parseOrigin(entry)
	switch {
	case ok:
		entry = strings.TrimSuffix(entry, impliedPort(origin.Scheme))
	case entry != "null":
		return "", fmt.Errorf("allow origin %q: want scheme://host[:port] or null", entry)
	}
	return strings.ToLower(entry), nil
}

// host says whether the request's Host is one of ours: 0, or the status to
// refuse it with and why.
func (g *gate) host(r *http.Request) (code int, why string) {
	host, ok := hostname(r.Host)
	if !ok {
		return http.StatusBadRequest, "the Host header names no host"
	}
	if g.ours(host, r) {
		return 0, ""
	}
	return http.StatusForbidden, fmt.Sprintf("this server does not go by the name %q; if it should, start it with -allow-host %s", host, host)
}

func (g *gate) ours(host string, r *http.Request) bool {
	if isLoopback(host) || host == g.machine {
		return true
	}
	if slices.ContainsFunc(g.hosts, func(h string) bool {
		return host == strings.TrimPrefix(h, ".") || h[0] == '.' && strings.HasSuffix(host, h)
	}) {
		return true
	}
	addr, err := netip.ParseAddr(host)
	listener := listenerOf(r.Context())
	return err == nil && (addr == localAddr(r) || listener != nil && listener.wildcard && isMachineAddr(addr))
}

// origin says whether the page that opens a websocket may listen: 0, or the
// status to refuse it with and why. Who sends no Origin is no browser, and
// could send any.
func (g *gate) origin(r *http.Request) (code int, why string) {
	values := r.Header.Values("Origin")
	if len(values) == 0 {
		return 0, ""
	}
	text := strings.ToLower(values[0])
	origin, ok := parseOrigin(text)
	if len(values) > 1 || !ok && text != "null" {
		return http.StatusForbidden, "the Origin header names no origin"
	}
	if slices.Contains(g.origins, text) || g.neighbour(text, origin, r) {
		return 0, ""
	}
	return http.StatusForbidden, fmt.Sprintf("pages of %q may not listen here; if they should, start the server with -allow-origin %s", text, text)
}

// neighbour says whether an origin needs no permission: the server itself, or,
// when the browser is on this machine, a loopback page at a loopback server, or a
// file: page where no files are served. Every sandboxed frame on the web has the origin null as well, which
// is why it does not do where there is something to serve.
func (g *gate) neighbour(text string, origin *url.URL, r *http.Request) bool {
	if text == "null" {
		return !g.files && isDirect(r)
	}
	if origin.Scheme != "http" && origin.Scheme != "https" {
		return false
	}
	if sameHost(origin.Scheme, origin.Host, g.reached(r)) {
		return true
	}
	page, _ := hostname(origin.Host)
	return isLoopback(page) && isDirect(r)
}

// isOwn reports whether the page at the other end of a websocket is one of
// this server, and not a neighbour or an allowed stranger. Programs that are no
// browsers do not say.
func (g *gate) isOwn(r *http.Request) bool {
	text := r.Header.Get("Origin")
	origin, ok := parseOrigin(strings.ToLower(text))
	return text == "" || ok && sameHost(origin.Scheme, origin.Host, g.reached(r))
}

// reached is the host by which a browser reached us: Host, or X-Forwarded-Host
// where a proxy on this machine has put another name in its place. That name
// has to be one of ours, as Host has. No page can make the header up: a
// websocket sends none of a page's choosing, and a fetch with it is preceded by
// a preflight, which we refuse; and a page that could would have to be at a name
// of ours already to gain by it. So it does no harm if a proxy passes on what a
// client sent. X-Forwarded-Proto is not needed: a port that the origin's own
// scheme implies may be left out.
func (g *gate) reached(r *http.Request) string {
	first, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Host"), ",") // of a row of proxies
	forwarded := strings.TrimSpace(first)
	host, ok := hostname(forwarded)
	if !ok || !isOnThisMachine(r) || !g.ours(host, r) {
		return r.Host
	}
	return forwarded
}

// parseOrigin reads a serialised origin (RFC 6454): scheme, host and port,
// and nothing else.
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

// isLoopback says whether a host, as hostname returns it, can only be this
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

// isOnThisMachine says whether the client of a connection is: by the loopback
// interface or a unix socket.
func isOnThisMachine(r *http.Request) bool {
	_, unix := r.Context().Value(http.LocalAddrContextKey).(*net.UnixAddr)
	return unix || remoteAddr(r).IsLoopback()
}

func isWildcard(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.AddrPort().Addr().Unmap().IsUnspecified()
}

// isMachineAddr says whether one of the machine's interfaces has the address.
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
