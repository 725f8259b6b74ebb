package httpd

import (
	"errors"
	"sync"

	"github.com/execlog/execlogd/httpd/internal/waitgroup"
)

// A connSet is the browsers of one Serve, or of all requests that belong to none.
// Every goroutine that serves one of them is in its group.
type connSet struct {
	waitgroup.Group

	mu      sync.Mutex
	members map[*browser]struct{}
	over    bool // who comes now is dismissed at once
	severed bool // and cut
}

// admit makes a browser a member, which it is until discharge.
func (v *connSet) admit(b *browser) {
	v.Add()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.members == nil {
		v.members = make(map[*browser]struct{})
	}
	v.members[b] = struct{}{}
	if v.over {
		v.seeOff(b)
	}
	if v.severed {
		b.line.cut(errGraceOver)
	}
}

// discharge is Done for a browser itself.
func (v *connSet) discharge(b *browser) {
	v.mu.Lock()
	delete(v.members, b)
	v.mu.Unlock()
	v.Done()
}

// accompany is Add for a goroutine that comes for a member; it is false when
// the browser is none any more.
func (v *connSet) accompany(b *browser) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, there := v.members[b]
	if there {
		v.Add()
	}
	return there
}

// dismiss says goodbye to all members, and to those who still come.
func (v *connSet) dismiss() {
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
func (v *connSet) seeOff(b *browser) {
	v.Add()
	go func() {
		defer v.Done()
		b.part(errStopping)
	}()
}

var errGraceOver = errors.New("no answer to the goodbye within the grace period")

// cut hangs up on who is left, and on those who still come.
func (v *connSet) cut() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.severed = true
	for b := range v.members {
		b.line.cut(errGraceOver)
	}
}
