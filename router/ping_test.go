package router

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// Ping is answered by the timer of the router, in a turn.
func TestPing(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		r := mustNew(t, Options{}, Route{Name: "r", Roots: []string{"/"}, Callback: discard})
		early := make(chan error, 1)
		go func() { early <- r.Ping(t.Context()) }()
		synctest.Wait()
		select {
		case err := <-early:
			t.Fatalf("answered before Run: %v", err)
		default:
		}

		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		if err := <-early; err != nil {
			t.Errorf("at the start of Run: %v", err)
		}
		for range 3 {
			if err := r.Ping(t.Context()); err != nil {
				t.Error(err)
			}
		}

		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := r.Ping(t.Context()); !errors.Is(err, ErrStopped) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// A router that hangs in the middle of a turn does not answer.
func TestPingOfARouterThatHangs(t *testing.T) {
	hung, release := make(chan struct{}), make(chan struct{})
	r := mustNew(t, Options{}, Route{
		Name: "r", Roots: []string{"/"}, Callback: discard, Hold: UntilClosed,
		WaitsFor: func(inotify.Event) bool {
			close(hung)
			<-release
			return false
		},
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	if err := r.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}

	go r.Events([]inotify.Event{{Root: "/", Path: "a", Mask: inotify.Modify}})
	<-hung
	answered := make(chan error, 1)
	go func() { answered <- r.Ping(t.Context()) }()
	select {
	case err := <-answered:
		t.Errorf("answered: %v", err)
	case <-time.After(50 * ms):
	}

	close(release)
	if err := <-answered; err != nil {
		t.Error(err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// At a stop a callback may go on for the grace, unless its route is to stop at once.
func TestStopAtOnce(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		ended := make(map[string]time.Duration)
		var mu sync.Mutex
		var stopped time.Time
		until := func(name string) Callback {
			return func(ctx context.Context, _ []inotify.Event) error {
				<-ctx.Done()
				mu.Lock()
				defer mu.Unlock()
				ended[name] = time.Since(stopped)
				return ctx.Err()
			}
		}
		var outcomes []Outcome
		post := func(run Run) {
			mu.Lock()
			defer mu.Unlock()
			outcomes = append(outcomes, run.Outcome)
		}
		r := mustNew(t, Options{Post: post},
			Route{Name: "slow", Roots: []string{"/"}, Callback: until("slow")},
			Route{Name: "fast", Roots: []string{"/"}, Callback: until("fast"), StopAtOnce: true})
		r.SetGrace(3 * time.Second)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		for _, name := range []string{"slow", "fast"} {
			if _, err := r.Trigger(name, inotify.Event{Root: "/", Path: "a"}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		stopped = time.Now()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if ended["fast"] != 0 || ended["slow"] != 3*time.Second || !slices.Equal(outcomes, []Outcome{Stopped, Stopped}) {
			t.Errorf("after the stop they ended at %v, as %v", ended, outcomes)
		}
	})
}
