package router

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/statelog"
)

// TestResumeWithOtherRules checks that a process watches what the one before has left out by other rules.
func TestResumeWithOtherRules(t *testing.T) {
	tests := []struct {
		name          string
		before, after Route
		between       func(t *testing.T, top string) // the root is site in it, which is a work tree
		update        bool                           // the first process comes to its rules by SetRoutes
	}{
		{name: "the route ignores nothing any more", before: Route{Ignore: []string{"out/"}}},
		{name: "the route was changed before", before: Route{Ignore: []string{"out/"}}, update: true},
		{name: "an ignore file is gone", before: Route{IgnoreFiles: true}, after: Route{IgnoreFiles: true}, between: func(t *testing.T, top string) {
			remove(t, filepath.Join(top, "site", ".gitignore"))
		}},
		{name: "one above the root is gone", before: Route{IgnoreFiles: true}, after: Route{IgnoreFiles: true}, between: func(t *testing.T, top string) {
			remove(t, filepath.Join(top, ".gitignore"))
		}},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			top := t.TempDir()
			root := filepath.Join(top, "site")
			mkdir(t, filepath.Join(top, ".git"))
			mkdir(t, filepath.Join(root, "out", "dir"))
			if i == 2 {
				write(t, filepath.Join(root, ".gitignore"), "out/\n")
			} else {
				write(t, filepath.Join(top, ".gitignore"), "out/\n")
			}

			state, err := statelog.Memory("state")
			if err != nil {
				t.Fatal(err)
			}
			defer state.Close()
			var instance *os.File
			run := func(do func(batches <-chan string), route Route) {
				batches := make(chan string, 100)
				route.Name, route.Delay, route.Debounce, route.Callback = "test", 50*ms, -1, to(batches)
				first := route
				if tt.update && instance == nil {
					first.Ignore = nil
				}
				r := mustNew(t, Options{}, first)
				g, err := NewGroup(inotify.Options{State: state, Instance: instance}, Listener{Root: root, Router: r})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(context.Background())
				done := make(chan error)
				go func() { done <- g.Run(ctx) }()
				if err := r.SetRoutes(route); err != nil {
					t.Fatal(err)
				}
				flush(t, g)
				flush(t, g) // and for the scan that a change of an ignore file has led to
				do(batches)
				instance, err = g.Instance()
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
				if err != nil {
					t.Error(err)
				}
				g.Close()
			}

			run(func(<-chan string) {}, tt.before)
			if tt.between != nil {
				tt.between(t, top)
			}
			run(func(batches <-chan string) {
				write(t, filepath.Join(root, "out", "dir", "f"), "new")
				for got := range batches {
					if got != ".gitignore" && got != "out/dir/f" {
						t.Errorf("got %q", got)
					}
					if got == "out/dir/f" {
						return
					}
				}
			}, tt.after)
			instance.Close()
		})
	}
}
