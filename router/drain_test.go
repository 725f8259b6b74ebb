package router

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// What waits and what runs when a group is drained is over when Run returns,
// and what happens afterwards is left to others.
func TestDrainLosesNothing(t *testing.T) {
	dir := t.TempDir()
	began, proceed := make(chan string, 10), make(chan struct{})
	r := mustNew(t, Options{}, Route{Name: "r", Delay: -1, Debounce: -1, Callback: func(ctx context.Context, batch []inotify.Event) error {
		began <- batch[0].Path
		<-proceed
		return ctx.Err()
	}})
	g, err := NewGroup(inotify.Options{}, Listener{Root: dir, Router: r})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	ended := make(chan error, 1)
	go func() { ended <- g.Run(t.Context()) }()
	save := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	save("a")
	if got := <-began; got != "a" {
		t.Errorf("ran for %s", got)
	}
	save("b")
	if err := g.watcher.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.Drain()
	g.Drain()
	proceed <- struct{}{}
	if got := <-began; got != "b" {
		t.Errorf("ran for %s", got)
	}
	select {
	case err := <-ended:
		t.Errorf("ended with %v while b runs", err)
	default:
	}
	for waits := false; !waits; runtime.Gosched() { // until nothing is listened to any more
		r.mu.Lock()
		waits = len(r.rested) > 0
		r.mu.Unlock()
	}
	save("c")
	proceed <- struct{}{}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if len(began) > 0 {
		t.Errorf("ran for %s", <-began)
	}
}

func TestDrainEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	began := make(chan struct{})
	r := mustNew(t, Options{Grace: -1}, Route{Name: "r", Delay: -1, Callback: func(ctx context.Context, _ []inotify.Event) error {
		close(began)
		<-ctx.Done()
		return nil
	}})
	g, err := NewGroup(inotify.Options{}, Listener{Root: t.TempDir(), Router: r})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	r.Submit(inotify.Event{Path: "x"})
	<-began
	g.Drain()
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("goes on")
	}
}
