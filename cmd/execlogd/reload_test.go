package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const reloading = `
-- src/ --
-- x.toml --
[[route]]
name = "service"
match = "*.never"
service = true
shell = "echo up; sleep 1000 & wait"

[[route]]
name = "slow"
match = "*.md"
shell = "echo begun; read x <held; echo whole"

[[route]]
name = "gone"
match = "*.txt"
shell = "echo one; sleep 1000"
`

func hangup(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

func TestReloadChangesWhatDiffers(t *testing.T) {
	s := begin(t, reloading)
	s.fifo("held")
	s.awaitAll("msg=up route=service", "msg=done route=service")
	started := len(s.seen)
	s.write("a.md", "1")
	s.await("msg=begun")
	s.write("a.txt", "1")
	s.await("msg=one")

	text := strings.TrimPrefix(reloading, "\n-- src/ --\n-- x.toml --\n")
	text = strings.Replace(text, `name = "slow"`, "name = \"slow\"\ndelay = \"10ms\"", 1)
	text = strings.Replace(text, "echo one; sleep 1000", "echo two", 1)
	s.write("x.toml", text+`
[[route]]
name = "new"
match = "*.new"
start = true
shell = "echo new"
`)
	hangup(t)
	if line := s.await(`level=INFO msg=stopped route=gone`); !strings.Contains(line, "its route was changed") {
		t.Error(line)
	}
	s.write("held", "") // slow was not ended
	s.await("msg=whole")
	s.awaitAll("msg=new route=new", `msg="configuration loaded"`)
	s.write("b.txt", "1")
	s.await("msg=two")
	for _, line := range s.seen[started:] {
		if strings.Contains(line, "route=service") {
			t.Errorf("the service was touched: %s", line)
		}
	}
}

func TestReloadRefusesWhatIsWrong(t *testing.T) {
	s := begin(t, reloading)
	s.await("msg=up route=service")
	for text, want := range map[string]string{
		"[[route]]\nname = 1\n":                     "x.toml:2:8: name is a number",
		"[[route]]\nname='x'\nrun=['no-such-prog']": "no-such-prog",
		"log_level = 'debug'\n" + wrongRoute(""):    "a change of log_level takes a restart",
	} {
		s.write("x.toml", strings.ReplaceAll(text, "run=['x']", "run=['sh']"))
		hangup(t)
		if line := s.await("configuration refused, the old one stays"); !strings.Contains(line, want) {
			t.Errorf("got %s, want %s", line, want)
		}
	}
	s.fifo("held")
	s.write("a.md", "1")
	s.await("msg=begun")
	s.write("held", "")
	s.await("msg=whole")
}

func TestReloadWhenTheFileChanges(t *testing.T) {
	s := begin(t, reloading, "-watch-config")
	s.await("msg=up route=service")
	s.write("x.toml.new", "[[route]]\nname='x'\nmatch='*.x'\nshell='echo x'\n")
	if err := os.Rename(filepath.Join(s.dir, "x.toml.new"), filepath.Join(s.dir, "x.toml")); err != nil {
		t.Fatal(err)
	}
	if line := s.await(`msg="configuration loaded"`); !strings.Contains(line, "1 route,") {
		t.Error(line)
	}
	s.write("a.x", "1")
	s.await("msg=x route=x")
}

// No connection drops, and the pages' own routes change.
func TestReloadKeepsPages(t *testing.T) {
	s := begin(t, `
-- index.html --
-- x.toml --
[server]
port = 0
`)
	told := s.page("/")
	s.write("x.toml", "[server]\nport = 0\nignore = '*.css'\n[[route]]\nname = 'x'\nmatch = '*.x'\nreload = true\nshell = 'echo x'\n")
	hangup(t)
	s.await(`msg="configuration loaded"`)
	s.write("a.css", "1")
	s.write("a.x", "1")
	if m := told(); !strings.Contains(m, `"command":"reload"`) || strings.Contains(m, "a.css") {
		t.Errorf("told %s", m)
	}
}

func TestTerminalThatHangsUp(t *testing.T) {
	screen, program := terminal(t)
	if hasHungUp(program) {
		t.Error("it has hung up while it is there")
	}
	screen.Close()
	if !hasHungUp(program) {
		t.Error("it has not hung up")
	}
}
