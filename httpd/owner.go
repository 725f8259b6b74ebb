package httpd

import (
	"bufio"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// isOwner reports whether a request is the owner's, who may see what the server
// knows of the machine. Nothing else decides that.
//
// The owner is a client with the secret of Options.Token, from anywhere, or one that
// asks directly and is a program of the user that the server runs as, or of root. The
// second way needs both conditions. Headers give most proxies away, but some add none
// and let their client choose Host. The kernel tells whose a connection is, and so
// gives away other users of the machine and proxies that run as a user of their own,
// but not a proxy that the owner has started. A program of the owner or of root that
// only forwards bytes (ssh -R, socat) is taken for the owner.
func (s *handler) isOwner(r *http.Request) bool {
	if slices.ContainsFunc(r.CookiesNamed(tokenCookie(r)), func(c *http.Cookie) bool { return s.isToken(c.Value) }) {
		return true
	}
	return accessOf(r).direct && peerOf(r).isOwner()
}

// ownerCheck returns isOwner for a connection that a request becomes, or nil if that is not
// the owner's. It does not keep the request.
func (s *handler) ownerCheck(r *http.Request) func() bool {
	if !accessOf(r).direct {
		return nil
	}
	return peerOf(r).isOwner
}

// overflowUser is the user id that the kernel shows for users that a user
// namespace has no id for (user_namespaces(7)). It may be anybody's.
const overflowUser = 65534

// isOwnUser reports whether a program of user uid may know what the server, which runs
// as own, knows.
func isOwnUser(uid, own int) bool {
	return uid != overflowUser && (uid == 0 || uid == own)
}

// A peer is the other end of a connection.
type peer struct {
	unix          *net.UnixConn
	local, remote netip.AddrPort // where it is no unix socket
}

func peerOf(r *http.Request) peer {
	conn, _ := r.Context().Value(connKey{}).(*net.UnixConn)
	p := peer{unix: conn}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		p.local = local.AddrPort()
	}
	p.remote, _ = netip.ParseAddrPort(r.RemoteAddr)
	return p
}

func (p peer) isOwner() bool {
	uid, known := p.user()
	return known && isOwnUser(uid, os.Geteuid())
}

// user is the user whose program is at the other end, when that is on this machine. It is
// not known when the kernel does not tell, as in a container without /proc, or when the
// program is gone.
func (p peer) user() (uid int, known bool) {
	if p.unix != nil {
		err := control(p.unix, func(fd int) error {
			peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
			if err == nil {
				uid = int(peer.Uid)
			}
			return err
		})
		return uid, err == nil
	}
	if !p.local.IsValid() || !p.remote.IsValid() {
		return 0, false
	}
	// The tables are not read at once, and while connections come and go a line
	// may be missed.
	const tries = 3
	for range tries {
		for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
			if uid, known := socketUser(table, p.remote, p.local); known {
				return uid, true
			}
		}
	}
	return 0, false
}

// socketUser looks a TCP socket up in one of the kernel's tables (proc(5)), by
// its two addresses. Only a socket that is connected and open counts: the owner
// of any other is shown as root.
func socketUser(table string, local, remote netip.AddrPort) (uid int, known bool) {
	f, err := os.Open(table)
	if err != nil {
		return 0, false
	}
	defer f.Close()

	const established = "01"
	wide := strings.HasSuffix(table, "6")
	localText, remoteText := socketAddr(local, wide), socketAddr(remote, wide)

	for lines := bufio.NewScanner(f); lines.Scan(); {
		field := strings.Fields(lines.Text())
		if len(field) < 10 || field[1] != localText || field[2] != remoteText || field[3] != established || field[9] == "0" {
			continue
		}

		uid, err := strconv.Atoi(field[7])
		return uid, err == nil
	}

	return 0, false
}

// socketAddr writes an address as the tables have it: 32 bits at a time, in the
// order of this machine's bytes; of IPv6 when wide.
func socketAddr(a netip.AddrPort, wide bool) string {
	bytes := a.Addr().Unmap().AsSlice()
	if wide {
		full := a.Addr().As16()
		bytes = full[:]
	}

	var text strings.Builder
	for ; len(bytes) >= 4; bytes = bytes[4:] {
		fmt.Fprintf(&text, "%08X", binary.NativeEndian.Uint32(bytes))
	}

	fmt.Fprintf(&text, ":%04X", a.Port())
	return text.String()
}

// isToken compares in a time that does not depend on where the two differ.
func (s *handler) isToken(text string) bool {
	return s.opts.Token != "" && subtle.ConstantTimeCompare([]byte(text), []byte(s.opts.Token)) == 1
}

// tokenCookie is the name of the cookie with the token. Browsers have one set of
// cookies for all ports of a host, on each of which may be a server of its own.
func tokenCookie(r *http.Request) string {
	name := "execlogd"
	if tcp, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		name += "-" + strconv.Itoa(tcp.Port)
	}
	return name
}

// acceptToken answers a request for the status page that has a token in its
// URL. When it is the right one, the browser gets a cookie in its place and is
// sent to the URL without it, so that the token is neither in the browser's
// history nor in a Referer. The cookie has no Path: then it is for the URLs
// below that of the status page, as the browser has that, also where a proxy has
// cut off a prefix.
func (s *handler) acceptToken(w http.ResponseWriter, r *http.Request, token string) {
	if !s.isToken(token) {
		refuse(w, http.StatusForbidden, "this is not the token of this server, which has another after each start: open the address that it wrote when it started")
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name: tokenCookie(r), Value: token, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
	})
	w.Header().Set("Location", "./")
	w.WriteHeader(http.StatusSeeOther)
}
