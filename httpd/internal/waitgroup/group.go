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
	empty chan struct{} // closed when n drops to 0; nil when nobody waits
}

// Add adds one.
func (g *Group) Add() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.n++
}

// Done takes one away.
func (g *Group) Done() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.n--
	if g.n == 0 && g.empty != nil {
		close(g.empty)
		g.empty = nil
	}
}

// Wait returns nil once the group is empty, or the cause when ctx ends before.
func (g *Group) Wait(ctx context.Context) error {
	g.mu.Lock()
	if g.n == 0 {
		g.mu.Unlock()
		return nil
	}
	if g.empty == nil {
		g.empty = make(chan struct{})
	}
	empty := g.empty
	g.mu.Unlock()

	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
