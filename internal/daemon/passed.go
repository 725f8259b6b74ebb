package daemon

import (
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// passedSockets are the listening sockets that systemd has passed (sd_listen_fds(3)), by
// what they are for.
type passedSockets struct {
	http   []net.Listener // of the site
	https  []net.Listener // of the site, over TLS
	status []net.Listener // of the status page alone

	metrics []net.Listener // of metrics and health checks
}

// sortSockets sorts sockets by their names, which are those of FileDescriptorName= in
// systemd.socket(5), and closes the files. A name that we do not know, or a descriptor
// that is no listening socket, is an error: nobody would answer there.
func sortSockets(files []*os.File) (passed passedSockets, err error) {
	for _, f := range files {
		var to *[]net.Listener
		switch name := f.Name(); {
		case name == "http" || isDefaultName(name):
			to = &passed.http
		case name == "https":
			to = &passed.https
		case name == "status":
			to = &passed.status
		case name == "metrics":
			to = &passed.metrics
		case name == "connection":
			err = fmt.Errorf("it is a connection and not a listening socket: take Accept=yes out of the socket unit")
		default:
			err = fmt.Errorf("the name %q is unknown: FileDescriptorName= is http or https, for the site, status, for the status page alone, or metrics", name)
		}

		if to != nil && err == nil {
			var ln net.Listener
			if ln, err = asListener(f); err == nil {
				*to = append(*to, ln)
			}
		}
		f.Close() // the listener has a descriptor of its own
	}

	if err != nil {
		closeExcept(passed.http, nil)
		closeExcept(passed.https, nil)
		closeExcept(passed.status, nil)
		closeExcept(passed.metrics, nil)
		return passedSockets{}, err
	}
	return passed, nil
}

// isDefaultName reports whether a socket has the name that it gets where nobody has named
// it: that of its unit from systemd, "unknown" from other programs, and from go-systemd
// that of its descriptor if there are no names at all.
func isDefaultName(name string) bool {
	return name == "unknown" || strings.HasSuffix(name, ".socket") || strings.HasPrefix(name, "LISTEN_FD_")
}

// asListener returns a listener for a socket at which connections arrive.
func asListener(f *os.File) (net.Listener, error) {
	accepts, err := unix.GetsockoptInt(int(f.Fd()), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil || accepts == 0 {
		return nil, fmt.Errorf("%q is not a socket at which connections arrive: the socket unit needs ListenStream=", f.Name())
	}
	return net.FileListener(f)
}
