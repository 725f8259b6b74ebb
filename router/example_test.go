package router_test

import (
	"context"
	"errors"
	"fmt"
	"os"
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

// Pages are refreshed once, when the build of all that was saved has
// succeeded.
func Example_buildThenReload() {
	routes, err := router.New(router.Options{},
		router.Route{
			Name:     "build",
			Patterns: []string{"*.md"},
			Outputs:  []string{"/public"},
			Callback: func(_ context.Context, batch []inotify.Event) error {
				fmt.Println("build", len(batch), "pages")
				return nil
			},
		},
		router.Route{
			Name:     "reload",
			Patterns: []string{"*.css"},
			After:    []string{"build"},
			Follow:   true,
			Callback: func(_ context.Context, batch []inotify.Event) error {
				for _, e := range batch {
					fmt.Println("reload for", e.Path)
				}
				return nil
			},
		})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- routes.Run(ctx) }()

	submission := routes.Submit(
		inotify.Event{Root: "/srv/www", Path: "style.css", Mask: inotify.MovedTo},
		inotify.Event{Root: "/srv/www", Path: "index.md", Mask: inotify.MovedTo},
		inotify.Event{Root: "/srv/www", Path: "about.md", Mask: inotify.MovedTo},
	)
	fmt.Println("failed:", submission.Wait(ctx))
	cancel()
	<-done
	// Output:
	// build 2 pages
	// reload for style.css
	// reload for index.md
	// reload for about.md
	// failed: <nil>
}

// Events need not be of files. Here they are of orders: each is handled by itself, once
// for everything that comes within a short time, and four at once.
func ExampleRouter_Submit() {
	orders, err := router.New(router.Options{Concurrency: 4}, router.Route{
		Name:     "ship",
		Patterns: []string{"orders/*"},
		Per:      router.PerFile,
		Delay:    10 * time.Millisecond,
		Callback: func(_ context.Context, batch []inotify.Event) error {
			if batch[0].Path == "orders/13" {
				return errors.New("no such customer")
			}
			return nil
		},
		Post: func(f router.Run) {
			if f.Err == nil {
				fmt.Println("shipped", f.Events[0].Path)
			}
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- orders.Run(ctx) }()

	paid, packed := inotify.Event{Path: "orders/12"}, inotify.Event{Path: "orders/12"}
	first := orders.Submit(paid, packed)
	second := orders.Submit(inotify.Event{Path: "orders/13"})
	fmt.Println("12:", first.Wait(ctx))
	fmt.Println("13:", second.Wait(ctx))
	cancel()
	<-done
	// Output:
	// shipped orders/12
	// 12: <nil>
	// 13: route "ship": no such customer
}

// A program reloads its configuration: the routes are replaced while they are in use, and
// a route of the same name goes on.
func ExampleRouter_SetRoutes() {
	dir, err := os.MkdirTemp("", "site")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	ran := make(chan string)
	build := func(with string) router.Route {
		return router.Route{Name: "build", Callback: func(_ context.Context, batch []inotify.Event) error {
			ran <- "build " + batch[0].Path + " " + with
			return nil
		}}
	}
	r, err := router.New(router.Options{}, build("the old way"))
	if err != nil {
		fmt.Println(err)
		return
	}
	group, err := router.NewGroup(inotify.Options{}, router.Listener{Root: dir, Router: r})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer group.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error)
	go func() { done <- group.Run(ctx) }()
	_ = os.WriteFile(dir+"/a.md", []byte("one"), 0o644)
	fmt.Println(<-ran)

	// Whatever is wrong with the new routes shows here, and changes nothing.
	if err := r.SetRoutes(build("the new way")); err != nil {
		fmt.Println(err)
		return
	}
	_ = os.WriteFile(dir+"/b.md", []byte("two"), 0o644)
	fmt.Println(<-ran)
	cancel()
	fmt.Println("the group has ended:", <-done)
	// Output:
	// build a.md the old way
	// build b.md the new way
	// the group has ended: <nil>
}
