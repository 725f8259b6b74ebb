package e2e

import (
	"os"
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
	const soon = 10 * time.Second // they waited for half a minute
	dir := t.TempDir()
	write(t, dir, map[string]string{"index.html": "<p>old", "app.log": ""})
	d, err := startDaemon(t, dir, "-port", "0")
	if err != nil {
		t.Fatal(err)
	}
	save := func() time.Duration {
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
		write(t, dir, map[string]string{"index.html": "<p>new"})
		for _, p := range []*page{stock, ours} {
			message, err := p.next(soon)
			if err != nil || !strings.Contains(message, "index.html") {
				t.Fatalf("after a save of index.html: message %q, error %v", message, err)
			}
		}
		return time.Since(start)
	}
	without := save()
	keepWriting(t, filepath.Join(dir, "app.log"))
	if err := eventually(t.Context(), "lines", func() bool {
		info, err := os.Stat(filepath.Join(dir, "app.log"))
		return err == nil && info.Size() > 20
	}); err != nil {
		t.Fatal(err)
	}
	with := save()
	t.Logf("from a save to the message: %v without a log in the tree, %v with one", without.Round(time.Millisecond), with.Round(time.Millisecond))
}
