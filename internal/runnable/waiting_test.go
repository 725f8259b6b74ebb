package runnable

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// That a file is waited for is said once, whoever waits for it, with who writes it.
func TestWaitingIsSaidOnce(t *testing.T) {
	dir := t.TempDir()
	event := func(name string) inotify.Event { return inotify.Event{Root: dir, Path: name, Mask: inotify.Modify} }
	open, err := os.Create(filepath.Join(dir, "a\x1b.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	var w WaitLog
	if got, want := w.Line(event("a\x1b.log")), `waiting for a\x1b.log, which runnable.test (`; len(got) < len(want) || got[:len(want)] != want {
		t.Errorf("got %q, want %q and so on", got, want)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("a\x1b.log", link); err != nil {
		t.Fatal(err)
	}
	if got, want := w.Line(inotify.Event{Root: link, Path: "."}), "waiting for link, which runnable.test ("; len(got) < len(want) || got[:len(want)] != want {
		t.Errorf("of a root that is a file: got %q, want %q and so on", got, want)
	}
	if got, want := w.Line(event("none")), "waiting for none, which a program is writing"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for range 3 {
		if got := w.Line(event("none")); got != "" {
			t.Errorf("said again: %q", got)
		}
	}
	file := event("none").Name()
	if now := time.Now(); w.isNews(file, now.Add(sayAgain/2)) || !w.isNews(file, now.Add(2*sayAgain)) {
		t.Error("that a file is waited for is not said again when it is time to")
	}
}
