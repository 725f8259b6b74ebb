package router_test

import (
	"context"
	"fmt"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/router"
)

// A build runs once for all that was saved together, with each path once.
func Example() {
	built := make(chan struct{})
	routes, err := router.New(router.Options{}, router.Route{
		Name:     "build",
		Patterns: []string{"*.md"},
		Callback: func(_ context.Context, batch []inotify.Event) error {
			for _, e := range batch {
				fmt.Println("build", e.Path)
			}
			close(built)
			return nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	done := make(chan error)
	go func() { done <- routes.Run(ctx) }()

	// A watcher does this; here it is done by hand.
	saved := inotify.Modify | inotify.CloseWrite
	routes.Events([]inotify.Event{
		{Root: "/srv/www", Path: "index.md", Mask: saved},
		{Root: "/srv/www", Path: "style.css", Mask: saved},
		{Root: "/srv/www", Path: "blog/first.md", Mask: saved},
		{Root: "/srv/www", Path: "index.md", Mask: saved},
	})

	<-built
	cancel()
	fmt.Println("stopped:", <-done)
	// Output:
	// build index.md
	// build blog/first.md
	// stopped: <nil>
}
