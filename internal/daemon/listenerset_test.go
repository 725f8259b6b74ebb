package daemon

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/execlog/execlogd/internal/control"
)

// The file of a socket that systemd hands over is systemd's.
func TestActivatedSocketStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.sock")
	theirs, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	f, err := theirs.File()
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.FileListener(f) // as activation.ListenersWithNames has it
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	web := listenerSet{}
	web.replace(activatedSockets(map[string][]net.Listener{"http": {ln}}))
	web.close()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("it is gone: %v", err)
	}
	if _, err := control.Listen(path); err == nil || !strings.Contains(err.Error(), "listens on "+path) {
		t.Errorf("as a control socket: %v", err)
	}
}
