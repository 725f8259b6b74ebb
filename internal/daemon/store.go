package daemon

import (
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// A descriptorStore is what systemd keeps for the daemon while it is restarted, also after
// kill -9 (FDSTORE in sd_notify(3)): systemd has a duplicate of each descriptor, and passes
// them to the next process beside the sockets of a socket unit. It drops them when the service
// is stopped. Where the unit has no FileDescriptorStoreMax= it drops them at once, and the
// daemon is not told. Without NOTIFY_SOCKET nothing is sent.
type descriptorStore struct {
	files   map[string]*os.File // that were passed, by name, until they are taken
	sockets []storedSocket
}

// A storedSocket is a socket that the daemon has opened itself, and the name under which it is
// in the store.
type storedSocket struct {
	name string
	net.Listener
}

// Names in the store. Sockets of a socket unit have other names.
const (
	storedInstance = "inotify" // of the watcher
	storedWatches  = "watches" // inotify.Options.State
	storedBatches  = "batches" // router.Options.State
)

// isStoredSocket matches the names of sockets in the store.
var isStoredSocket = regexp.MustCompile(`^stored-http-\d+$`)

// newDescriptorStore takes the descriptors that systemd has passed, which it does once. It
// returns those that are not of the store.
func newDescriptorStore() (store *descriptorStore, others []*os.File) {
	store = &descriptorStore{files: make(map[string]*os.File)}
	for _, f := range activation.Files(true) { // which makes them close-on-exec
		name := f.Name()
		isFile := slices.Contains([]string{storedInstance, storedWatches, storedBatches}, name)
		switch {
		case isFile && store.files[name] == nil:
			store.files[name] = f
		case isStoredSocket.MatchString(name):
			if ln, err := net.FileListener(f); err == nil { // of a duplicate
				store.sockets = append(store.sockets, storedSocket{name, ln})
			}
			f.Close()
		default:
			others = append(others, f)
		}
	}
	return store, others
}

// take returns a file that was passed, which belongs to the caller then; nil if there is none.
func (s *descriptorStore) take(name string) *os.File {
	f := s.files[name]
	delete(s.files, name)
	return f
}

// dropRest drops the files that were not taken.
func (s *descriptorStore) dropRest() {
	for name := range s.files {
		s.take(name).Close()
		_ = s.drop(name) // nobody will want it
	}
}

// close closes everything that was passed. What is in the store stays there.
func (s *descriptorStore) close() {
	for name := range s.files {
		s.take(name).Close()
	}
	closeExcept(s.listeners(), nil)
}

// listeners returns the stored sockets.
func (s *descriptorStore) listeners() (lns []net.Listener) {
	for _, stored := range s.sockets {
		lns = append(lns, stored.Listener)
	}
	return lns
}

// keepSockets makes these the stored sockets. Those that are not among them are closed.
func (s *descriptorStore) keepSockets(lns []net.Listener) error {
	var errs []error
	kept := s.sockets[:0:0]
	for _, stored := range s.sockets {
		if slices.Contains(lns, stored.Listener) {
			kept = append(kept, stored)
			continue
		}
		stored.Close()
		errs = append(errs, s.drop(stored.name))
	}

	old := s.listeners()
	s.sockets = kept
	for _, ln := range lns {
		tcp, ok := ln.(*net.TCPListener)
		if !ok || slices.Contains(old, ln) {
			continue
		}
		name := s.freeName()
		if err := s.keep(name, tcp); err != nil {
			errs = append(errs, err)
			continue
		}
		s.sockets = append(s.sockets, storedSocket{name, ln})
	}
	return errors.Join(errs...)
}

// freeName returns a name that no stored socket has.
func (s *descriptorStore) freeName() string {
	for i := 0; ; i++ {
		name := fmt.Sprintf("stored-http-%d", i)
		if !slices.ContainsFunc(s.sockets, func(stored storedSocket) bool { return stored.name == name }) {
			return name
		}
	}
}

// keep has systemd keep a duplicate of a descriptor until the service ends, under a name that
// is free. It is passed to the next process even when it has failed or was hung up (FDPOLL).
func (s *descriptorStore) keep(name string, c syscall.Conn) error {
	return sendDescriptor("FDSTORE=1\nFDPOLL=0\nFDNAME="+name, c)
}

// drop has systemd close the descriptor of a name.
func (s *descriptorStore) drop(name string) error {
	return sendDescriptor("FDSTOREREMOVE=1\nFDNAME="+name, nil)
}

// sendDescriptor sends systemd a message, with a descriptor if c is not nil.
func sendDescriptor(message string, c syscall.Conn) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(socket)
	send := func(rights []byte) error {
		return os.NewSyscallError("sendmsg", unix.Sendmsg(socket, []byte(message), rights, &unix.SockaddrUnix{Name: path}, unix.MSG_NOSIGNAL))
	}
	if c == nil {
		return send(nil)
	}

	conn, err := c.SyscallConn()
	if err != nil {
		return err
	}
	ctlErr := conn.Control(func(fd uintptr) { err = send(unix.UnixRights(int(fd))) })
	return errors.Join(ctlErr, err)
}

// storeSockets has the sockets that are served stored, so that nobody is refused while the
// daemon is restarted: who connects meanwhile waits. Those of a socket unit are kept by systemd
// anyway.
func (d *daemon) storeSockets() {
	var own []net.Listener
	if len(d.activated) == 0 {
		for _, ln := range d.web.sockets() {
			own = append(own, socketOf(ln))
		}
	}
	if err := d.store.keepSockets(own); err != nil {
		d.log.Warn("systemd does not keep the socket for a restart", "err", err)
	}
}
