package httpd

import (
	"bytes"
	"fmt"
	"strings"
)

// A Site is a site with host names of its own: a Server with a root, options and pages of
// its own, which answers at the listeners of another.
type Site struct {
	// Hosts are the names by which the site is addressed, as in Options.AllowHosts. Its
	// Server has to allow them as well. A whole name comes before a domain, and of two
	// domains the longer one.
	Hosts []string

	// Server answers all requests for the Hosts. Its own Options.Sites do not count, and
	// neither do its limits of connections.
	Server *Server
}

// hostTable has the servers of sites by their hosts. Nil has none.
type hostTable struct {
	names   map[string]*Server
	domains map[string]*Server // with everything below them, and a dot before them
}

func newHostTable(sites []Site) (*hostTable, error) {
	if len(sites) == 0 {
		return nil, nil
	}
	t := &hostTable{make(map[string]*Server), make(map[string]*Server)}
	for _, site := range sites {
		for _, entry := range site.Hosts {
			host, err := ParseHost(entry)
			if err != nil {
				return nil, err
			}
			by := t.names
			if host[0] == '.' {
				by = t.domains
			}
			if by[host] != nil {
				return nil, fmt.Errorf("host %q: two sites have it", entry)
			}
			by[host] = site.Server
		}
	}
	return t, nil
}

// find returns the server for a Host header; nil for one that no site has.
func (t *hostTable) find(header string) *Server {
	if t == nil {
		return nil
	}
	host, ok := hostname(header)
	if !ok {
		return nil
	}
	if s := t.names[host]; s != nil {
		return s
	}
	for rest := "." + host; rest != ""; {
		if s := t.domains[rest]; s != nil {
			return s
		}
		dot := strings.IndexByte(rest[1:], '.')
		if dot < 0 {
			return nil
		}
		rest = rest[1+dot:]
	}
	return nil
}

// hostHeader returns the Host of a request, which is a part of its header, or nil.
func hostHeader(header []byte) []byte {
	for len(header) > 0 {
		var line []byte
		line, header, _ = bytes.Cut(header, []byte("\r\n"))
		name, value, ok := bytes.Cut(line, []byte(":"))
		if ok && len(name) == len("Host") && strings.EqualFold(string(name), "Host") {
			return bytes.TrimSpace(value)
		}
	}
	return nil
}
