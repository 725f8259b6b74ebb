package daemon

import (
	"context"
	"errors"
	"fmt"

	"github.com/execlog/execlogd/internal/tty"
)

// A task works until its context ends, which is no error.
type task struct {
	name string
	run  func(context.Context) error
}

// runTasks runs tasks side by side until ctx ends or one of them returns. Then it
// stops them one after the other, in the order given, so that each can use those
// after it until its end.
func runTasks(ctx context.Context, tasks ...task) error {
	working, end := context.WithCancel(ctx)
	defer end()
	var stops []func() error
	for _, t := range tasks {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		done := make(chan error, 1)
		go func() {
			defer end()
			returned := false
			defer tty.RestoreOnPanic(&returned)
			err := t.run(ctx)
			returned = true
			if err != nil {
				err = fmt.Errorf("%s: %w", t.name, err)
			}
			done <- err
		}()
		stops = append(stops, func() error {
			cancel()
			return <-done
		})
	}

	<-working.Done()
	var errs []error
	for _, stop := range stops {
		errs = append(errs, stop())
	}
	return errors.Join(errs...)
}
