package httpd

import (
	"context"
	"sync"
)

// A crowd counts who is inside and can be waited on. It is a WaitGroup in
// which somebody may still enter while others wait for it to empty.
type crowd struct {
	mu     sync.Mutex
	inside int
	empty  chan struct{} // closed when inside drops to 0; nil when nobody waits
}

func (c *crowd) enter() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inside++
}

func (c *crowd) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inside--
	if c.inside == 0 && c.empty != nil {
		close(c.empty)
		c.empty = nil
	}
}

// wait returns when nobody is inside, or with the error of ctx.
func (c *crowd) wait(ctx context.Context) error {
	c.mu.Lock()
	if c.inside == 0 {
		c.mu.Unlock()
		return nil
	}
	if c.empty == nil {
		c.empty = make(chan struct{})
	}
	empty := c.empty
	c.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
