package httpd

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
)

// A visit is the browsers of one Serve, or of all requests that belong to none.
// Every goroutine that serves one of them is in its crowd.
type visit struct {
	wildcard bool // the listener is bound to every address
	crowd

	members map[*browser]struct{} // guarded by the crowd's lock
	over    bool                  // who comes now is dismissed at once
	severed bool                  // and cut
}

type visitKey struct{}

// visitOf returns the visit that a request belongs to; nil where the Server is
// only the handler of somebody else's http.Server.
func visitOf(ctx context.Context) *visit {
	v, _ := ctx.Value(visitKey{}).(*visit)
	return v
}

// admit makes a browser a member, which it is until discharge.
func (v *visit) admit(b *browser) {
	v.mu.Lock()
	if v.members == nil {
		v.members = make(map[*browser]struct{})
	}
	v.members[b] = struct{}{}
	v.inside++
	if v.over {
		v.seeOff(b)
	}
	severed := v.severed
	v.mu.Unlock()
	if severed {
		b.line.cut(errGraceOver)
	}
}

// discharge is leave for a browser itself.
func (v *visit) discharge(b *browser) {
	v.mu.Lock()
	delete(v.members, b)
	v.mu.Unlock()
	v.leave()
}

// accompany is enter for a goroutine that comes for a member; it is false when
// the browser is none any more.
func (v *visit) accompany(b *browser) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, there := v.members[b]
	if there {
		v.inside++
	}
	return there
}

// dismiss says goodbye to all members, and to those who still come.
func (v *visit) dismiss() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.over {
		return
	}
	v.over = true
	for b := range v.members {
		v.seeOff(b)
	}
}

// seeOff is called with the lock.
func (v *visit) seeOff(b *browser) {
	v.inside++
	go func() {
		defer v.leave()
		b.part(errStopping)
	}()
}

var errGraceOver = errors.New("no answer to the goodbye within the grace period")

// cut hangs up on who is left, and on those who still come.
func (v *visit) cut() {
	v.mu.Lock()
	v.severed = true
	left := slices.Collect(maps.Keys(v.members))
	v.mu.Unlock()
	for _, b := range left {
		b.line.cut(errGraceOver)
	}
}

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
