package job_test

import (
	"context"
	"fmt"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/job"
)

// A command is a callback of a route. Here it is called by hand.
func Example() {
	// job.Supervise() comes first in main.
	jobs, err := job.New(job.Options{
		Output: func(l job.Line) { fmt.Printf("%s: %s\n", l.Route, l.Text) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer jobs.Close()
	build, err := jobs.Command(job.Command{
		Name:  "build",
		Shell: `echo "for $EXECLOGD_PATH"; exit 3`,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	batch := []inotify.Event{{Root: "/", Path: "tmp/$(a b).md", Mask: inotify.Modify}}
	err = build.Run(context.Background(), batch)
	fmt.Println(err)
	// Output:
	// build: for /tmp/$(a b).md
	// sh -c "echo \"for $EXECLOGD_PATH\"; exit 3": exit status 3
}
