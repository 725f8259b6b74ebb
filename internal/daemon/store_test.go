package daemon

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/internal/testenv"
)

// A store is what systemd does with messages about its descriptor store.
type store struct {
	t        *testing.T
	messages *net.UnixConn
}

// newStore makes NOTIFY_SOCKET.
func newStore(t *testing.T) *store {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "notify")
	messages, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	testenv.Check(t, err)
	t.Cleanup(func() { messages.Close() })
	t.Setenv("NOTIFY_SOCKET", socket)
	return &store{t, messages}
}

// until returns the messages about the store before the next that has text in it: a plus or minus,
// the name, and of a descriptor what it is.
func (s *store) until(text string) string {
	s.t.Helper()
	var said []string
	message, rights := make([]byte, 1<<16), make([]byte, 1<<10)
	for {
		testenv.Check(s.t, s.messages.SetReadDeadline(time.Now().Add(testenv.WaitLimit)))
		n, rn, _, _, err := s.messages.ReadMsgUnix(message, rights)
		testenv.Check(s.t, err)
		if strings.Contains(string(message[:n]), text) {
			return strings.Join(said, " ")
		}
		_, name, isAbout := strings.Cut(string(message[:n]), "FDNAME=")
		switch {
		case isAbout && rn == 0:
			said = append(said, "-"+name)
		case isAbout:
			said = append(said, "+"+name+"="+s.kind(rights[:rn]))
		}
	}
}

// kind says what a descriptor is that came with a message, and closes it.
func (s *store) kind(rights []byte) string {
	s.t.Helper()
	messages, err := unix.ParseSocketControlMessage(rights)
	testenv.Check(s.t, err)
	fds, err := unix.ParseUnixRights(&messages[0])
	testenv.Check(s.t, err)
	defer unix.Close(fds[0])
	kind, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fds[0]))
	testenv.Check(s.t, err)
	kind, _, _ = strings.Cut(kind, ":[")
	return kind
}

// The store has what the configuration asks for, from before READY on.
func TestDescriptorStore(t *testing.T) {
	systemd := newStore(t)
	const route = "[[route]]\nname = 'build'\nrun = ['true']\n"
	s := begin(t, "-- x.toml --\nserver = { root = '.', port = 0 }\n"+route)
	if got, want := systemd.until("READY=1"), "+stored-http-0=socket +watches=/memfd:watches (deleted) +batches=/memfd:batches (deleted) +inotify=anon_inode:inotify"; got != want {
		t.Errorf("at the start\n%s, want\n%s", got, want)
	}
	s.Reload("server = { root = '.', port = 0 }\nlog_level = 'debug'\n" + route)
	if got := systemd.until("READY=1"); got != "" {
		t.Errorf("after a reload with the same address: %s", got)
	}
	s.Reload("server = { root = '.', host = '127.0.0.2', port = 0 }\n" + route)
	if got, want := systemd.until("READY=1"), "-stored-http-0 +stored-http-0=socket"; got != want {
		t.Errorf("at another address: %s, want %s", got, want)
	}
	s.Reload(route)
	if got, want := systemd.until("READY=1"), "-stored-http-0"; got != want {
		t.Errorf("without a server: %s, want %s", got, want)
	}
	s.Stop()
	if got := systemd.until("STOPPING=1"); got != "" {
		t.Errorf("at the end: %s", got)
	}
}
