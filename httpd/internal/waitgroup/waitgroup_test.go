package waitgroup

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// Everybody who waits goes on when the last of the group is done, and not before.
func TestGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		if err := g.Wait(t.Context()); err != nil {
			t.Errorf("an empty group is waited for: %v", err)
		}

		g.Add()
		g.Add()
		ended := make(chan error, 2)
		for range cap(ended) {
			go func() { ended <- g.Wait(t.Context()) }()
		}
		g.Done()
		synctest.Wait()
		if len(ended) > 0 {
			t.Error("a wait is over while one is there")
		}

		g.Done()
		synctest.Wait()
		for range cap(ended) {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
}

// A wait ends with its context, whose cause it returns. The group can be used again.
func TestGroupWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		g.Add()
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- g.Wait(ctx) }()
		synctest.Wait()

		enough := errors.New("enough")
		cancel(enough)
		if err := <-ended; !errors.Is(err, enough) {
			t.Errorf("the wait returned %v, want %v", err, enough)
		}

		for range 2 {
			g.Done()
			if err := g.Wait(t.Context()); err != nil {
				t.Errorf("the empty group is waited for: %v", err)
			}
			g.Add()
		}
	})
}
