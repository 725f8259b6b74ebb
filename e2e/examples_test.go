package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The examples whose pages need no browser are testdata/example-*.txtar.

// A Go server is compiled and started again; its page, which it serves itself,
// shows the new one, or what is wrong with it.
func TestExampleGoServer(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skipf("no compiler: %v", err)
	}
	browser := startChromium(t)
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../examples/goserver")); err != nil {
		t.Fatal(err)
	}
	port, app := freePort(t), freePort(t)
	change(t, dir, "execlogd.toml", "9000", app)
	change(t, dir, "main.go", ":8000/", ":"+port+"/")
	d, err := startDaemon(t, dir, "-config", "execlogd.toml", "-port", port)
	if err != nil {
		t.Fatal(err)
	}
	said := func(line string) {
		t.Helper()
		if err := eventually(t.Context(), "execlogd to say "+line, func() bool { return strings.Contains(d.stderr.String(), line) }); err != nil {
			t.Fatal(err)
		}
	}
	said("msg=done route=server")
	p := open(t, browser, "http://127.0.0.1:"+app+"/")
	p.shows(heading, "Hello")

	change(t, dir, "main.go", `"Hello"`, `"Good morning"`)
	p.shows(heading, "Good morning")
	p.sameLoads(2)

	// What does not compile is no reason to stop what runs.
	change(t, dir, "main.go", `"Good morning"`, `"Good evening`)
	p.shows(panel+"?.textContent.includes('compile: go: exit status 1')", "true")
	p.shows(panel+"?.textContent.includes('main.go:26:48: newline in string')", "true")
	p.shows(heading, "Good morning")
	p.do("fetch('/').then(r => r.text()).then(text => window.fetched = text)")
	p.shows("window.fetched?.includes('Good morning')", "true")
	p.sameLoads(2)

	change(t, dir, "main.go", `"Good evening`, `"Good evening"`)
	p.shows(heading, "Good evening")
	p.shows(panel, "undefined")
	p.sameLoads(3)
}

const heading = "document.querySelector('h1').textContent"

// change replaces all of old in a file, as careful editors save.
func change(t *testing.T, dir, name, old, with string) {
	t.Helper()
	path := filepath.Join(dir, name)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.ReplaceAll(string(text), old, with)
	if changed == string(text) {
		t.Fatalf("%s has no %s", name, old)
	}
	if err := replace(path, changed); err != nil {
		t.Fatal(err)
	}
}

// freePort is a port that nobody has at the moment.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return fmt.Sprint(ln.Addr().(*net.TCPAddr).Port)
}
