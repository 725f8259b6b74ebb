package router

import (
	"context"
	"errors"
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
