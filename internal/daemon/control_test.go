package daemon

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/execlog/execlogd/internal/control"
	"github.com/execlog/execlogd/internal/testenv"
)

// What killed daemons left in the directory of all of them goes, and nothing
// else does.
func TestControlSocketsLeftBehindGo(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	for _, name := range []string{"XDG_RUNTIME_DIR", "RUNTIME_DIRECTORY"} {
		t.Setenv(name, "")
	}
	own := filepath.Join(temp, fmt.Sprint("execlogd-", os.Getuid()))
	testenv.Check(t, os.Mkdir(own, 0o700))
	in := func(name string) string { return filepath.Join(own, name) }
	for _, name := range []string{"1.sock", fmt.Sprint(os.Getpid(), ".sock"), "named.sock"} {
		testenv.Check(t, testenv.LeaveSocket(in(name)))
	}
	live, err := control.Listen(in("2.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	testenv.Check(t, os.WriteFile(in("3.sock"), nil, 0o600))
	there := func() (names []string) {
		entries, err := os.ReadDir(own)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, strings.ReplaceAll(e.Name(), fmt.Sprint(os.Getpid()), "own"))
		}
		slices.Sort(names)
		return names
	}
	s := begin(t, oneRouteFiles)
	if got := strings.Join(there(), " "); got != "2.sock 3.sock named.sock own.sock" {
		t.Errorf("there are %s", got)
	}
	s.Stop()
	if got := strings.Join(there(), " "); got != "2.sock 3.sock named.sock" {
		t.Errorf("after its end there are %s", got)
	}
}

// A control socket whose file is gone is made again, and one that is named by
// another path goes on.
func TestReloadLooksForTheControlSocket(t *testing.T) {
	const text = "control = 'd/c.sock'\n" + oneRoute
	s := begin(t, "-- d/ --\n-- x.toml --\n"+text)
	path := filepath.Join(s.Dir, "d/c.sock")
	first, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	testenv.Check(t, os.Symlink("d", filepath.Join(s.Dir, "e")))
	s.Load(strings.Replace(text, "d/", "e/", 1))
	s.Await("msg=\"configuration ", "loaded")
	if info, err := os.Lstat(path); err != nil || !os.SameFile(first, info) {
		t.Errorf("by another name: %v", err)
	}
	testenv.Check(t, os.Remove(path))
	s.Reload(text)
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("removed: %v", err)
	}
	conn.Close()
}
