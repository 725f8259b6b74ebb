package httpd

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/execlog/execlogd/httpd/internal/livereload"
)

// Access control. A page anywhere on the web can make a browser send requests to a
// loopback address. What the page cannot do is to choose Host, which is the name
// that the browser looked up, or to hide its Origin. So a request must name a host
// of ours, which a name whose DNS was rebound to us is not, and the page behind a
// websocket must be one that may listen.

// An access is what is known of who sent a request, and when. It is resolved once,
// before the request is answered, and kept in the request's context.
type access struct {
	host    string // Host in one spelling, without the port; "" if Host names no host
	allowed bool   // the server may be addressed as host
	reached string // host[:port] by which the browser reached us, which a proxy may have replaced in Host
	secure  bool   // the browser reached us by TLS, and no proxy that names itself is in between
	direct  bool   // sent by a program on this machine, with nothing in between that speaks for somebody else
	origin  originKind

	// cursor is from before anything is read for the answer: what changes from then on
	// is told to the page that the request gets.
	cursor livereload.Cursor
}

// An originKind is whose page sent a request, by its Origin header.
type originKind int

const (
	invalidOrigin originKind = iota // the header names no origin, or it was not looked at
	foreignOrigin                   // a page that may not listen
	allowedOrigin                   // a page of another server that may
	ownOrigin                       // a page of this server
	noOrigin                        // no header: the sender is no browser, and could send any
)

type accessKey struct{}

// accessOf returns what was resolved for a request.
func accessOf(r *http.Request) access {
	a, _ := r.Context().Value(accessKey{}).(access)
	return a
}

// accessRules say by which names the server may be addressed, and which pages may
// listen.
type accessRules struct {
	hosts   []string // lower case; a leading dot means everything below as well
	origins []string // lower case
	shared  []string // origins of Options.CORS, lower case
	machine []string // names of the machine
	files   bool     // files, or pages of an upstream, are served
}

func newAccessRules(opts Options) (*accessRules, error) {
	rules := &accessRules{files: opts.Root != "" || len(opts.Proxies) > 0, machine: MachineNames()}
	for _, entry := range opts.CORS {
		if err := CheckCORS(entry); err != nil {
			return nil, err
		}
		if origin, err := parseAllowedOrigin(entry); err == nil {
			entry = origin
		}
		rules.shared = append(rules.shared, entry)
	}

	for _, entry := range opts.AllowHosts {
		host, err := ParseHost(entry)
		if err != nil {
			return nil, err
		}
		rules.hosts = append(rules.hosts, host)
	}

	for _, entry := range opts.AllowOrigins {
		origin, err := parseAllowedOrigin(entry)
		if err != nil {
			return nil, err
		}
		rules.origins = append(rules.origins, origin)
	}

	return rules, nil
}

// MachineNames returns the names of this machine, in lower case, by which a Server may be
// addressed: its host name, the first label of that, and this with .local. They need not
// differ.
func MachineNames() []string {
	name, err := os.Hostname()
	if err != nil {
		return nil
	}
	return machineNames(name)
}

// machineNames are the names of a machine with a host name: that, and as multicast DNS
// and the network have it, its first label with .local and alone.
func machineNames(name string) []string {
	name = strings.ToLower(name)
	label, _, _ := strings.Cut(name, ".")
	if label == "" {
		return nil
	}
	return []string{name, label, label + ".local"}
}

// CheckHost says what is wrong with an entry of Options.AllowHosts, as New does.
func CheckHost(entry string) error {
	_, err := ParseHost(entry)
	return err
}

// CheckOrigin says what is wrong with an entry of Options.AllowOrigins, as New
// does.
func CheckOrigin(entry string) error {
	_, err := parseAllowedOrigin(entry)
	return err
}

// ParseHost returns an entry of Options.AllowHosts in the one spelling that all spellings of
// the same host have.
func ParseHost(entry string) (string, error) {
	bare := strings.TrimPrefix(entry, ".")
	if addr, err := netip.ParseAddr(strings.Trim(bare, "[]")); err == nil {
		return addr.Unmap().WithZone("").String(), nil // as hostname has it
	}

	host, ok := hostname(bare)
	if !ok || strings.Contains(bare, ":") {
		return "", fmt.Errorf("host %q: want a name or an address without a port, or .example.com", entry)
	}

	if bare != entry {
		host = "." + host
	}
	return host, nil
}

// parseAllowedOrigin returns an entry as browsers write it: without the port that
// the scheme implies.
func parseAllowedOrigin(entry string) (string, error) {
	origin, ok := parseOrigin(entry)
	switch {
	case ok:
		entry = strings.TrimSuffix(entry, impliedPorts[origin.Scheme])
	case entry != "null":
		return "", fmt.Errorf("origin %q: want scheme://host[:port] or null", entry)
	}
	return strings.ToLower(entry), nil
}

// resolve finds out what is known of who sent a request.
func (rules *accessRules) resolve(r *http.Request) access {
	a := access{reached: r.Host, secure: r.TLS != nil}
	host, ok := hostname(r.Host)
	if !ok {
		return a
	}
	a.host = host
	a.allowed = rules.allows(host, r)

	local := isLocal(r)
	a.direct = local && isLoopback(host) && r.ProtoAtLeast(1, 1) && !isForwarded(r.Header)

	// A proxy on this machine may put another name into Host. Its word counts if the
	// name that it forwards is one of ours, as Host has to be. No page can make the
	// header up: a websocket has no header of a page's choosing, and before a fetch
	// with one the browser asks, and is refused, except for files and by Options.CORS. X-Forwarded-Proto is not needed,
	// since a port that the origin's own scheme implies may be left out.
	if forwarded := r.Header.Get("X-Forwarded-Host"); forwarded != "" && local {
		first, _, _ := strings.Cut(forwarded, ",") // in a row of proxies it is the browser's
		first = strings.TrimSpace(first)
		if name, ok := hostname(first); ok && rules.allows(name, r) {
			a.reached, a.secure = first, false
		}
	}

	switch values := r.Header.Values("Origin"); len(values) {
	case 0:
		a.origin = noOrigin
	case 1:
		a.origin = rules.originKind(strings.ToLower(values[0]), a)
	}
	return a
}

// IsHostAllowed reports whether Host, as a client sends it, is an address or a name by which
// a server may be addressed that has allow as its [Options.AllowHosts]. It is for servers
// beside this one: no page can have such a name lead to a server of its own.
func IsHostAllowed(hostport string, allow []string) bool {
	host, ok := hostname(hostport)
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	rules, err := newAccessRules(Options{AllowHosts: allow})
	return ok && err == nil && rules.allowsName(host)
}

// allowsName reports whether host is one of the names of the server.
func (rules *accessRules) allowsName(host string) bool {
	return isLoopback(host) || slices.Contains(rules.machine, host) || slices.ContainsFunc(rules.hosts, func(h string) bool {
		return host == strings.TrimPrefix(h, ".") || h[0] == '.' && strings.HasSuffix(host, h)
	})
}

// allows reports whether a request may address the server as host.
func (rules *accessRules) allows(host string, r *http.Request) bool {
	if rules.allowsName(host) {
		return true
	}

	addr, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	tcp, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr) // else it is a unix socket
	if ok && tcp.AddrPort().Addr().Unmap().WithZone("") == addr {
		return true
	}
	listener := listenerOf(r.Context())
	return listener != nil && listener.wildcard && isMachineAddr(addr)
}

// originKind judges an Origin header in lower case.
func (rules *accessRules) originKind(text string, a access) originKind {
	origin, ok := parseOrigin(text)
	if !ok && text != "null" {
		return invalidOrigin
	}

	web := ok && (origin.Scheme == "http" || origin.Scheme == "https")
	switch {
	case web && sameHost(origin.Scheme, origin.Host, a.reached) && (origin.Scheme == "https" || !a.secure):
		return ownOrigin
	case slices.Contains(rules.origins, text):
		return allowedOrigin
	case !a.direct:
		return foreignOrigin
	}

	// The browser is on this machine. A loopback page at a loopback server may
	// listen, and a file: page, whose origin is null, where no files are served.
	// Where there are, it may not: every sandboxed frame on the web has that origin.
	if text == "null" && !rules.files {
		return allowedOrigin
	}
	if web {
		if page, _ := hostname(origin.Host); isLoopback(page) {
			return allowedOrigin
		}
	}
	return foreignOrigin
}

// admit resolves the access of a request and answers a request that is not for a
// host of ours. ok is false if it did, else the request that is returned has the
// access in its context.
func (s *handler) admit(w http.ResponseWriter, r *http.Request, at livereload.Cursor) (admitted *http.Request, ok bool) {
	a := s.rules.resolve(r)
	a.cursor = at
	if a.allowed {
		return r.WithContext(context.WithValue(r.Context(), accessKey{}, a)), true
	}

	s.boundBody(w, r)
	s.logLimited(hostRefused, "host", clip(r.Host), "remote", r.RemoteAddr)
	if a.host == "" {
		refuse(w, http.StatusBadRequest, "the Host header names no host")
	} else {
		refuse(w, http.StatusForbidden, fmt.Sprintf("this server does not go by the name %q; if it should, start it with -allow-host %s", a.host, a.host))
	}
	return nil, false
}

// refuseOrigin answers a request of a page that may not do something here.
func (s *handler) refuseOrigin(w http.ResponseWriter, r *http.Request, something string) {
	origin := r.Header.Get("Origin")
	s.logLimited(originRefused, "origin", clip(origin), "remote", r.RemoteAddr)
	if accessOf(r).origin == invalidOrigin {
		refuse(w, http.StatusForbidden, "the Origin header names no origin")
		return
	}
	origin = strings.ToLower(origin)
	refuse(w, http.StatusForbidden, fmt.Sprintf("pages of %q may not %s here; if they should, start the server with -allow-origin %[1]s", origin, something))
}

// isForwarded reports whether the header of a request shows a proxy. There are more
// headers of proxies than anybody can list (Forwarded, Via, X-Forwarded-For,
// X-Real-IP, CF-Connecting-IP...), and of some the value is empty. So any header
// counts that browsers do not send by themselves, whatever its value.
func isForwarded(h http.Header) bool {
	for name := range h {
		if !browserHeaders[name] && !strings.HasPrefix(name, "Sec-") && !strings.HasPrefix(name, "Accept") && !strings.HasPrefix(name, "If-") {
			return true
		}
	}

	// nginx leaves "Connection: upgrade" in requests whose Upgrade was empty.
	for _, value := range h.Values("Connection") {
		for name := range strings.SplitSeq(value, ",") {
			name = http.CanonicalHeaderKey(strings.TrimSpace(name))
			if _, has := h[name]; !has && name != "Keep-Alive" && name != "Close" && name != "" {
				return true
			}
		}
	}
	return false
}

// browserHeaders are the headers that browsers send with a request for a page,
// an event stream or a websocket, beside Sec-*, Accept* and If-*. Host is not
// among the headers of an http.Request.
var browserHeaders = map[string]bool{
	"Authorization": true, "Cache-Control": true, "Connection": true, "Cookie": true, "Dnt": true, "Keep-Alive": true,
	"Last-Event-Id": true, "Origin": true, "Pragma": true, "Priority": true, "Purpose": true, "Range": true, "Referer": true,
	"Save-Data": true, "Te": true, "Upgrade": true, "Upgrade-Insecure-Requests": true, "User-Agent": true,
}

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

// impliedPorts are the ports that an origin of a scheme leaves out, as written behind a
// host.
var impliedPorts = map[string]string{"http": ":80", "https": ":443"}

// sameHost compares two hosts with optional ports, where the port that scheme
// implies may be left out.
func sameHost(scheme, a, b string) bool {
	port := impliedPorts[scheme]
	return strings.EqualFold(strings.TrimSuffix(a, port), strings.TrimSuffix(b, port))
}

// hostname cuts the port from host[:port] and returns the rest in one
// spelling: lower case, no final dot, an address without brackets and zone.
func hostname(hostport string) (host string, ok bool) {
	u := url.URL{Host: hostport}
	host = u.Hostname()

	// Nothing may be left beside a host, with brackets if it has colons, and a port.
	written := host
	if strings.Contains(host, ":") {
		written = "[" + host + "]"
	}
	if port := u.Port(); port != "" {
		written += ":" + port
	}
	if written != hostport {
		return "", false
	}

	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().WithZone("").String(), true
	}
	if host == "" || len(host) > 253 || strings.Contains("."+host, "..") || strings.ContainsFunc(host, notInName) {
		return "", false
	}
	return host, true
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

// isLocal reports whether the client of a connection is on this machine: it comes
// over the loopback interface or a unix socket.
func isLocal(r *http.Request) bool {
	_, unix := r.Context().Value(http.LocalAddrContextKey).(*net.UnixAddr)
	remote, _ := netip.ParseAddrPort(r.RemoteAddr)
	return unix || remote.Addr().Unmap().IsLoopback()
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
