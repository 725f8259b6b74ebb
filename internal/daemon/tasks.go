package daemon

import (
	"context"
	"errors"
	"fmt"
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
	stops := make([]func() error, len(tasks))
	for i, t := range tasks {
		stops[i] = start(context.WithoutCancel(ctx), t, end)
	}

	<-working.Done()
	var errs []error
	for _, stop := range stops {
		errs = append(errs, stop())
	}
	return errors.Join(errs...)
}

// start starts a task, and calls ended when it has returned. The function that start
// returns stops the task and waits for it.
func start(ctx context.Context, t task, ended func()) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		defer ended()
		err := t.run(ctx)
		if err != nil {
			err = fmt.Errorf("%s: %w", t.name, err)
		}
		done <- err
	}()
	return func() error {
		cancel()
		return <-done
	}
}
