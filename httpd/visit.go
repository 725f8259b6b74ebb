package httpd

import (
	"errors"
	"maps"
	"slices"
)

// A connSet is the browsers of one Serve, or of all requests that belong to none.
// Every goroutine that serves one of them is in its crowd.
type connSet struct {
	crowd

	members map[*browser]struct{} // guarded by the crowd's lock
	over    bool                  // who comes now is dismissed at once
	severed bool                  // and cut
}

// admit makes a browser a member, which it is until discharge.
func (v *connSet) admit(b *browser) {
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
func (v *connSet) discharge(b *browser) {
	v.mu.Lock()
	delete(v.members, b)
	v.mu.Unlock()
	v.leave()
}

// accompany is enter for a goroutine that comes for a member; it is false when
// the browser is none any more.
func (v *connSet) accompany(b *browser) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, there := v.members[b]
	if there {
		v.inside++
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
	v.inside++
	go func() {
		defer v.leave()
		b.part(errStopping)
	}()
}

var errGraceOver = errors.New("no answer to the goodbye within the grace period")

// cut hangs up on who is left, and on those who still come.
func (v *connSet) cut() {
	v.mu.Lock()
	v.severed = true
	left := slices.Collect(maps.Keys(v.members))
	v.mu.Unlock()
	for _, b := range left {
		b.line.cut(errGraceOver)
	}
}
