package router

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/statelog"
)

// What has changed while nobody watched is for routes with CatchUp alone; what changes later is
// for all.
func TestCatchUp(t *testing.T) {
	state, err := statelog.Memory("state")
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	root := t.TempDir()
	for _, name := range []string{"kept", "written", "dir/written"} {
		write(t, filepath.Join(root, name), "old")
	}

	// run watches, with a route of each kind, while do runs.
	all, caughtUp := make(chan string, 10), make(chan string, 10)
	run := func(do func()) {
		mask := Reload | inotify.Create
		r := mustNew(t, Options{},
			Route{Name: "all", Mask: mask, Delay: 50 * ms, Debounce: -1, Callback: to(all)},
			Route{Name: "caught up", Mask: mask, Delay: 50 * ms, Debounce: -1, CatchUp: true, Callback: to(caughtUp)})
		g, err := NewGroup(inotify.Options{State: state}, Listener{Root: root, Router: r})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- g.Run(ctx) }()
		if err := g.watcher.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		do()
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}

	const pause = 100 * ms // longer than the clock of files stands still
	time.Sleep(pause)
	run(func() {})
	time.Sleep(pause)
	write(t, filepath.Join(root, "written"), "new")
	write(t, filepath.Join(root, "dir/written"), "new")
	write(t, filepath.Join(root, "new/sub/file"), "new")
	time.Sleep(pause)

	run(func() {
		got := strings.Split(<-caughtUp, "+")
		slices.Sort(got)
		if want := []string{".", "dir/written", "new", "new/sub", "new/sub/file", "written"}; !slices.Equal(got, want) {
			t.Errorf("the route with CatchUp got %q, want %q", got, want)
		}
		write(t, filepath.Join(root, "kept"), "new")
		for name, batches := range map[string]chan string{"with": caughtUp, "without": all} {
			if got := <-batches; got != "kept" {
				t.Errorf("the route %s CatchUp got %q, want the file that was written later", name, got)
			}
		}
	})
}
