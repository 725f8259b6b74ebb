package livereload

import (
	"errors"
	"sync"

	"github.com/execlog/execlogd/httpd/internal/waitgroup"
)

// A ConnSet is the browsers of one Serve, or of all requests that belong to none.
// Every goroutine that serves one of them is in its group.
type ConnSet struct {
	waitgroup.Group

	mu      sync.Mutex
	conns   map[*conn]struct{}
	closing bool // who comes now is dismissed at once
	cut     bool // and cut
}

// add makes a browser a member, which it is until discharge.
func (v *ConnSet) add(b *conn) {
	v.Add()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.conns == nil {
		v.conns = make(map[*conn]struct{})
	}
	v.conns[b] = struct{}{}
	if v.closing {
		v.closeOne(b)
	}
	if v.cut {
		b.net.cut(errGraceOver)
	}
}

// remove is Done for a browser itself.
func (v *ConnSet) remove(b *conn) {
	v.mu.Lock()
	delete(v.conns, b)
	v.mu.Unlock()
	v.Done()
}

// join is Add for a goroutine that comes for a member; it is false when
// the browser is none any more.
func (v *ConnSet) join(b *conn) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, there := v.conns[b]
	if there {
		v.Add()
	}
	return there
}

// Close says goodbye to all members, and to those who still come.
func (v *ConnSet) Close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closing {
		return
	}
	v.closing = true
	for b := range v.conns {
		v.closeOne(b)
	}
}

// closeOne is called with the lock.
func (v *ConnSet) closeOne(b *conn) {
	v.Add()
	go func() {
		defer v.Done()
		b.part(errStopping)
	}()
}

var errGraceOver = errors.New("no answer to the goodbye within the grace period")

// Cut hangs up on who is left, and on those who still come.
func (v *ConnSet) Cut() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.cut = true
	for b := range v.conns {
		b.net.cut(errGraceOver)
	}
}
