package runnable

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/execlog/execlogd/inotify"
)

// A run waits for the end of the runnable in whose place its own is, or for the end of
// its context.
func TestRunWaitsForThePredecessor(t *testing.T) {
	ran := 0
	callback := func(context.Context, []inotify.Event) error {
		ran++
		return nil
	}
	first, second := newRunnable(callback, func() {}), newRunnable(callback, func() {})
	second.predecessor = first.done
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := second.Run(ctx, nil); !errors.Is(err, context.Canceled) || ran > 0 {
		t.Errorf("beside the one before: %v after %d runs", err, ran)
	}
	first.End()
	if err := second.Run(t.Context(), nil); err != nil || ran != 1 {
		t.Errorf("after the one before: %v after %d runs", err, ran)
	}
	second.End()
}

// Whatever becomes of a run whose work is given up, its events are the next
// one's, and nothing that it began goes on.
func TestWorkThatIsGivenUp(t *testing.T) {
	for _, result := range []error{nil, errors.New("failed"), context.Canceled, errRouteChanged} {
		began, goesOn := make(chan struct{}), make(chan struct{})
		var up atomic.Bool
		w := newRunnable(func(context.Context, []inotify.Event) error {
			close(began)
			<-goesOn
			up.Store(result == nil)
			return result
		}, func() { up.Store(false) })
		ended := make(chan error, 1)
		go func() { ended <- w.Run(t.Context(), nil) }()
		<-began
		w.End()
		close(goesOn)
		if err := <-ended; !errors.Is(err, errRouteChanged) {
			t.Errorf("a run that ends with %v: %v", result, err)
		}
		if up.Load() {
			t.Error("a service that was given up goes on")
		}
	}
}
