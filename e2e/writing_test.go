package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// keepWriting has this process append to a file for as long as the test takes,
// and more often than Settle, as servers write logs.
func keepWriting(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		defer f.Close()
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			if _, err := f.WriteString("a line\n"); err != nil {
				t.Error(err)
				return
			}
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-stopped
	})
}

// A log in the tree that somebody keeps open and writes to delays no page that
// does not show it.
func TestPagesDoNotWaitForALog(t *testing.T) {
	const soon = 25 * time.Second // they waited for half a minute
	dir := t.TempDir()
	write(t, dir, map[string]string{"index.html": "<p>old", "app.log": ""})
	d, err := startDaemon(t, dir, "-port", "0")
	if err != nil {
		t.Fatal(err)
	}
	save := func(text string) time.Duration {
		t.Helper()
		stock, err := openPage(t.Context(), nil, d.URL, "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := openOurs(t.Context(), d.URL, "/", []string{"/style.css"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ours.next(soon); err != nil { // its position
			t.Fatal(err)
		}
		start := time.Now()
		write(t, dir, map[string]string{"index.html": text})
		for _, p := range []*page{stock, ours} {
			message, err := p.next(soon)
			if err != nil || !strings.Contains(message, "index.html") {
				t.Fatalf("after a save of index.html: message %q, error %v", message, err)
			}
		}
		return time.Since(start)
	}
	without := save("<p>new")
	keepWriting(t, filepath.Join(dir, "app.log"))
	if err := eventually(t.Context(), "lines", func() bool {
		info, err := os.Stat(filepath.Join(dir, "app.log"))
		return err == nil && info.Size() > 20
	}); err != nil {
		t.Fatal(err)
	}
	with := save("<p>newer")
	t.Logf("from a save to the message: %v without a log in the tree, %v with one", without.Round(time.Millisecond), with.Round(time.Millisecond))
}

// chatty is a server that keeps its log in the tree open, and writes to it when it
// starts, all the time, and when it ends.
const chatty = `exec 5>>app.log
echo up >&5
echo up >>"$1"
trap 'echo down >&5; exit' TERM
while :; do echo a line >&5; sleep 0.1 & wait $!; done
`

// What a program writes to its own log does not start it again, nor does it hold
// up that a save does.
func TestAServerThatWritesALogIsStartedOnceForASave(t *testing.T) {
	tests := []struct {
		name string
		args []string
	}{
		{"run", []string{"run", "-restart", "-ignore", "site.toml", "--", "sh", "server.sh"}},
		{"service", []string{"-config", "site.toml", "-port", "0"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir, starts := t.TempDir(), filepath.Join(t.TempDir(), "starts")
			write(t, dir, map[string]string{
				"server.sh": chatty, "index.html": "<p>old", "app.log": "",
				"site.toml": "[server]\n[[route]]\nname = \"app\"\nservice = true\nrun = [\"sh\", \"server.sh\", \"" + starts + "\"]\n",
			})
			if tt.name == "run" {
				tt.args = append(tt.args, starts)
			}
			d := &daemon{cmd: exec.Command(execlogd, tt.args...), stderr: new(transcript), ended: make(chan struct{})}
			if err := d.start(t, dir); err != nil {
				t.Fatal(err)
			}
			lines := func(path string) int {
				text, _ := os.ReadFile(path)
				return strings.Count(string(text), "\n")
			}
			for saves := range 3 {
				soon, cancel := context.WithTimeout(t.Context(), 25*time.Second) // it was half a minute
				err := eventually(soon, "the server to start", func() bool { return lines(starts) > saves })
				cancel()
				if err != nil {
					t.Fatalf("after %d saves: %v", saves, err)
				}
				// It has a while to be started once too often.
				most := lines(filepath.Join(dir, "app.log")) + 10
				if err := eventually(t.Context(), "lines in the log", func() bool { return lines(filepath.Join(dir, "app.log")) > most }); err != nil {
					t.Fatal(err)
				}
				if n := lines(starts); n != saves+1 {
					t.Fatalf("after %d saves the server was started %d times\n%s", saves, n, d.stderr)
				}
				write(t, dir, map[string]string{"index.html": "<p>new"})
			}
		})
	}
}

// For what it waits is said, by run and by the daemon, with who writes it.
func TestWaitingIsSaid(t *testing.T) {
	config := "[[route]]\nname = \"build\"\nrun = [\"true\"]\n"
	for _, args := range [][]string{{"run", "true"}, {"-config", ".site.toml"}} {
		dir := t.TempDir()
		write(t, dir, map[string]string{"app.log": "", ".site.toml": config})
		d := &daemon{cmd: exec.Command(execlogd, args...), stderr: new(transcript), ended: make(chan struct{})}
		if err := d.start(t, dir); err != nil {
			t.Fatal(err)
		}
		says := func(what string) {
			t.Helper()
			if err := eventually(t.Context(), what, func() bool { return strings.Contains(d.stderr.String(), what) }); err != nil {
				t.Fatalf("%q: %v\n%s", args, err, d.stderr)
			}
		}
		says("watching 1 directory")
		keepWriting(t, filepath.Join(dir, "app.log"))
		says("waiting for app.log, which e2e.test (")
	}
}
