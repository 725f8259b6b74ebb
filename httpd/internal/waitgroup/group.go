// Package waitgroup counts goroutines and other things that somebody waits for.
package waitgroup

import (
	"context"
	"sync"
)

// A Group is a [sync.WaitGroup] that can be waited for with a context, and that more
// may be added to while others wait. The zero Group is empty.
type Group struct {
	mu    sync.Mutex
	n     int
	empty chan struct{} // closed when n drops to 0
}

// Add adds one.
func (g *Group) Add() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n == 0 {
		g.empty = make(chan struct{})
	}
	g.n++
}

// Done takes one away.
func (g *Group) Done() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n--; g.n == 0 {
		close(g.empty)
	}
}

// Wait returns nil once the group is empty, or the cause when ctx ends before.
func (g *Group) Wait(ctx context.Context) error {
	g.mu.Lock()
	n, empty := g.n, g.empty
	g.mu.Unlock()
	if n == 0 {
		return nil
	}

	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
