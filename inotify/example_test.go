package inotify_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/execlog/execlogd/inotify"
)

// What is made below a root is reported, also what was in a new directory
// before anybody could watch it.
func Example() {
	root, err := os.MkdirTemp("", "site")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(root)
	w, err := inotify.New(inotify.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()
	_, err = w.Add(inotify.Subscription{
		Root: root,
		Mask: inotify.Create | inotify.CloseWrite,
		Deliver: func(events []inotify.Event) {
			for _, e := range events {
				fmt.Println(e)
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	os.MkdirAll(filepath.Join(root, "posts/today"), 0o755)
	os.WriteFile(filepath.Join(root, "posts/today/index.html"), []byte("<p>hello"), 0o644)

	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	w.Flush(ctx) // until all of that is reported
	stop()
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
	// Output:
	// create|isdir posts
	// create|isdir posts/today
	// modify|close_write|create posts/today/index.html
}
