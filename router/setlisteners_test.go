package router

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// Roots are added and removed, and each change below one that is there is reported.
func TestSetListeners(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	batches := make(chan string, 100)
	r := mustNew(t, Options{}, Route{Name: "r", Delay: -1, Debounce: -1, Mask: inotify.CloseWrite, ReadOnly: true, Callback: func(_ context.Context, batch []inotify.Event) error {
		batches <- batch[0].Name()
		return nil
	}})
	g := listenGroup(t)
	at := func(roots ...string) {
		t.Helper()
		if err := g.SetListeners(listeners(r, roots...)...); err != nil {
			t.Fatal(err)
		}
		if n := g.Watches(); n != len(roots) {
			t.Errorf("%d directories are watched, want %d", n, len(roots))
		}
	}
	saved := func(dir, name string) {
		t.Helper()
		write(t, filepath.Join(dir, name), "x")
		if got := <-batches; got != filepath.Join(dir, name) {
			t.Errorf("got %s, want %s", got, filepath.Join(dir, name))
		}
	}
	at(a)
	saved(a, "1") // the Router runs, though it came later
	at(a, b)
	saved(a, "2")
	saved(b, "2")
	at(b)
	write(t, filepath.Join(a, "3"), "x") // which nobody hears of
	saved(b, "3")
	at()
	write(t, filepath.Join(b, "4"), "x")
	flush(t, g)
	at(b, a)
	saved(a, "5")
}

// SetListeners with an error changes nothing.
func TestSetListenersRefusesWhole(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	r, batches := reports(t)
	g := listenGroup(t, Listener{Root: dir, Router: r})
	err := g.SetListeners(Listener{Root: other, Router: r}, Listener{Root: filepath.Join(dir, "none"), Router: r})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a root that is not there: %v", err)
	}
	if err := g.SetListeners(Listener{Root: other}); err == nil {
		t.Error("a listener without a router is no error")
	}
	if n := g.Watches(); n != 1 {
		t.Errorf("%d directories are watched, want 1", n)
	}
	write(t, filepath.Join(other, "x"), "x")
	write(t, filepath.Join(dir, "y"), "x")
	if got := <-batches; got != "y" {
		t.Errorf("got %s, want y", got)
	}

	ran := mustNew(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ran.Run(ctx); err != nil {
		t.Fatal(err)
	}
	err = g.SetListeners(Listener{Root: other, Router: r}, Listener{Root: other, Router: ran})
	if err == nil || !strings.Contains(err.Error(), "Run was called before") {
		t.Errorf("a router that ran: %v", err)
	}
	flush(t, g)
	if n := g.Watches(); n != 1 {
		t.Errorf("%d directories are watched, want 1", n)
	}
	write(t, filepath.Join(dir, "z"), "x")
	select {
	case got := <-batches:
		if got != "z" {
			t.Errorf("got %s, want z", got)
		}
	case <-time.After(10 * time.Second):
		t.Error("the root that was watched is not watched any more")
	}
}

// What happened below a root before it is removed is delivered, though the watcher is
// busy with something else when SetListeners is called.
func TestSetListenersDeliversWhatIsQueued(t *testing.T) {
	dir, other := t.TempDir(), filepath.Join(t.TempDir(), "other")
	mkdir(t, other)
	r, batches := reports(t)
	busy, release := make(chan struct{}), make(chan struct{})
	stays := Listener{Root: other, Router: r, Notice: func(bool) {
		close(busy)
		<-release
	}}
	g := listenGroup(t, stays, Listener{Root: dir, Router: r})
	remove(t, other)
	<-busy
	write(t, filepath.Join(dir, "x"), "1")

	done := make(chan error)
	go func() { done <- g.SetListeners(stays) }()
	var err error
	select {
	case err = <-done: // without having waited
		close(release)
	case <-time.After(100 * ms):
		close(release)
		err = <-done
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Submit(inotify.Event{Root: dir, Path: "last"}).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-batches; !strings.Contains(got, "x") {
		t.Errorf("got %s, want x as well", got)
	}
}

// No save below a root is missed while others are added and removed.
func TestSetListenersLosesNothing(t *testing.T) {
	const saves = 300
	dir, other := t.TempDir(), t.TempDir()
	var mu sync.Mutex
	seen := make(map[string]int)
	r := mustNew(t, Options{}, Route{Name: "r", Delay: -1, Debounce: -1, Mask: inotify.CloseWrite, ReadOnly: true, Callback: func(_ context.Context, batch []inotify.Event) error {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range batch {
			seen[e.Path]++
		}
		return nil
	}})
	stays := Listener{Root: dir, Router: r}
	g := listenGroup(t, stays)
	done := make(chan struct{})
	var changing sync.WaitGroup
	changing.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			default:
			}
			all := []Listener{stays, {Root: other, Router: r}}
			if err := g.SetListeners(all[:1+n%2]...); err != nil {
				t.Error(err)
			}
		}
	})
	for n := range saves {
		write(t, filepath.Join(dir, fmt.Sprint(n)), "x")
	}
	close(done)
	changing.Wait()
	flush(t, g)
	if err := r.Submit(inotify.Event{Root: dir, Path: "last"}).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for n := range saves {
		if got := seen[fmt.Sprint(n)]; got != 1 {
			t.Errorf("file %d was reported %d times, want once", n, got)
		}
	}
}

// A root that stays keeps its Notice. The Notice of one that was removed is not called.
func TestSetListenersAndNotices(t *testing.T) {
	dir := t.TempDir()
	stays, goes := filepath.Join(dir, "stays"), filepath.Join(dir, "goes")
	for _, root := range []string{stays, goes} {
		mkdir(t, root)
	}
	notices := make(chan string, 10)
	listener := func(root, note string, r *Router) Listener {
		return Listener{Root: root, Router: r, Notice: func(there bool) { notices <- fmt.Sprint(note, there) }}
	}
	r := mustNew(t, Options{}, Route{Name: "r", Callback: discard})
	g := listenGroup(t, listener(goes, "goes ", r), listener(stays, "first ", r))
	if err := g.SetListeners(listener(stays, "second ", r)); err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{goes, stays} {
		remove(t, root)
	}
	if got := <-notices; got != "first false" {
		t.Errorf("got %q, want the first Notice of the root that stays", got)
	}
}
