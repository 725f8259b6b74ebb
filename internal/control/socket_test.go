package control

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/execlog/execlogd/internal/testenv"
)

func TestSocketIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.sock")
	testenv.Check(t, testenv.LeaveSocket(path))
	ln, err := Listen(path)
	if err != nil {
		t.Fatalf("one that was left behind: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("(pid %d) listens on %s: stop that", os.Getpid(), path)) {
		t.Errorf("while it is in use: %v", err)
	}
	ln.Close()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("closed, and it is still there: %v", err)
	}

	// What is in its place by now belongs to somebody else.
	if ln, err = Listen(path); err != nil {
		t.Fatal(err)
	}
	testenv.Check(t, errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)))
	ln.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the file of somebody else is gone: %v", err)
	}
}

func TestListenErrors(t *testing.T) {
	dir := t.TempDir()
	datagrams, err := net.ListenPacket("unixgram", filepath.Join(dir, "d"))
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	for path, want := range map[string]string{
		filepath.Join(dir, "no", "x"):                  "is no directory: create that, or name another path",
		filepath.Join(dir, strings.Repeat("long", 30)): "and may have 107: name a shorter one",
		filepath.Join(dir, "d"):                        "another program uses " + dir + "/d: stop that",
		filepath.Join("/proc/self/task", "x"):          "cannot be made",
	} {
		ln, err := Listen(path)
		if err == nil {
			ln.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}

// Of several daemons that find a socket that was left behind, one has its place.
func TestOneOfManyTakesTheSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.sock")
	for range 50 {
		testenv.Check(t, testenv.LeaveSocket(path))
		won := make(chan *Socket, 8)
		var wg sync.WaitGroup
		for range cap(won) {
			wg.Go(func() {
				if ln, err := Listen(path); err == nil {
					won <- ln
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Fatalf("%d have it", len(won))
		}
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatalf("nobody can be reached: %v", err)
		}
		conn.Close()
		(<-won).Close()
	}
}
