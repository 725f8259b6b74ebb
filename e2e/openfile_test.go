package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// keepWriting keeps a file open and appends to it until the test ends, more often
// than the settle time, as a server writes a log.
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

// A log that a program keeps open and writes to does not delay pages that do not use
// it.
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
		stock, err := dialStock(t.Context(), nil, d.URL, "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := dialOurs(t.Context(), d.URL, "/", []string{"/style.css"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ours.next(soon); err != nil { // its position
			t.Fatal(err)
		}
		start := time.Now()
		write(t, dir, map[string]string{"index.html": text})
		for _, p := range []*liveClient{stock, ours} {
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

// loggingServer is a server that keeps a log in the tree open, and writes to it at its
// start, all the time, and at its end.
const loggingServer = `exec 5>>app.log
echo up >&5
echo up >>"$1"
trap 'echo down >&5; exit' TERM
while :; do echo a line >&5; sleep 0.1 & wait $!; done
`

// The writes of a server to its own log do not restart it, and do not delay the
// restart after a save.
func TestAServerThatWritesALogIsStartedOnceForASave(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		args []string
	}{
		{"run", []string{"run", "-restart", "-ignore", "site.toml", "--", "sh", "server.sh"}},
		{"service", []string{"-config", "site.toml", "-port", "0"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir, starts := t.TempDir(), filepath.Join(t.TempDir(), "starts")
			write(t, dir, map[string]string{
				"server.sh": loggingServer, "index.html": "<p>old", "app.log": "",
				"site.toml": "[server]\n[[route]]\nname = \"app\"\nservice = true\nrun = [\"sh\", \"server.sh\", \"" + starts + "\"]\n",
			})
			if tt.name == "run" {
				tt.args = append(tt.args, starts)
			}
			d, err := launch(t, dir, tt.args...)
			if err != nil {
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
				// Meanwhile it could be restarted once too often.
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

// When a file is waited for, run and the daemon say so and name the writer.
func TestWaitingIsSaid(t *testing.T) {
	t.Parallel()
	config := "[[route]]\nname = \"build\"\nrun = [\"true\"]\n"
	for _, args := range [][]string{{"run", "true"}, {"-config", ".site.toml"}} {
		dir := t.TempDir()
		write(t, dir, map[string]string{"app.log": "", ".site.toml": config})
		d, err := launch(t, dir, args...)
		if err != nil {
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
