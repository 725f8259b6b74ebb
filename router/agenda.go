package router

import (
	"syscall"
	"time"
)

// An agenda is the lanes that something is to be done for later, and the timer
// for the next of them. A router has one.
type agenda struct {
	fire  func()
	nap   func(time.Duration) // nap, but in tests of which the time is not the kernel's
	epoch time.Time
	heap  []alarm
	sets  uint64 // ever, to keep the order of alarms for one time
	timer *time.Timer
	armed time.Time // when the timer fires; zero if it does not
}

// An alarm is a lane that is to be touched. The numbers are here, not in the
// lane, because comparing them is all the work when there are many.
type alarm struct {
	at    time.Duration // since the epoch
	order uint64
	lane  *lane
}

func (a alarm) before(b alarm) bool { return a.at < b.at || a.at == b.at && a.order < b.order }

// set sees to it that the lane is touched at a time, and at no other.
func (a *agenda) set(l *lane, at time.Time) {
	if a.epoch.IsZero() {
		a.epoch = at
	}
	since := at.Sub(a.epoch)
	i := l.alarm - 1
	if i < 0 {
		i = len(a.heap)
		a.heap = append(a.heap, alarm{})
	} else if a.heap[i].at == since {
		return
	}
	a.sets++
	a.put(i, alarm{since, a.sets, l})
	a.sift(i)
}

// drop takes the lane out.
func (a *agenda) drop(l *lane) {
	i := l.alarm - 1
	if i < 0 {
		return
	}
	l.alarm = 0
	last := len(a.heap) - 1
	moved := a.heap[last]
	a.heap[last] = alarm{}
	a.heap = a.heap[:last]
	if i < last {
		a.put(i, moved)
		a.sift(i)
	}
}

func (a *agenda) put(i int, m alarm) {
	a.heap[i] = m
	m.lane.alarm = i + 1
}

// sift moves the alarm at i to where it belongs in the heap.
func (a *agenda) sift(i int) {
	m := a.heap[i]
	for i > 0 && m.before(a.heap[(i-1)/2]) {
		a.put(i, a.heap[(i-1)/2])
		i = (i - 1) / 2
	}
	for {
		child := 2*i + 1
		if child+1 < len(a.heap) && a.heap[child+1].before(a.heap[child]) {
			child++
		}
		if child >= len(a.heap) || !a.heap[child].before(m) {
			break
		}
		a.put(i, a.heap[child])
		i = child
	}
	a.put(i, m)
}

// next is when the first alarm is; there must be one.
func (a *agenda) next() time.Time { return a.epoch.Add(a.heap[0].at) }

// due touches the lanes whose time has come.
func (a *agenda) due(now time.Time) {
	for len(a.heap) > 0 && !a.next().After(now) {
		l := a.heap[0].lane
		a.drop(l)
		l.touch()
	}
}

// lead is how much sooner than an alarm its timer fires, to sleep the rest in
// a way that ends on time. The runtime waits for its timers in whole
// milliseconds, so that they are late by as much.
const lead = 1500 * time.Microsecond

// arm sets the timer for the next alarm.
func (a *agenda) arm(now time.Time) {
	if len(a.heap) == 0 {
		a.disarm()
		return
	}
	next := a.next()
	wait := next.Sub(now)
	if wait > 2*lead {
		wait -= lead
	}
	switch {
	case next.Equal(a.armed):
		return
	case a.timer == nil:
		a.timer = time.AfterFunc(wait, a.fire)
	default:
		a.timer.Reset(wait)
	}
	a.armed = next
}

// nap sleeps for a time that is shorter than lead, to within some 60 us. Where
// time is not the kernel's, as in testing/synctest, none of it passes, and
// fire arms the timer again.
func nap(d time.Duration) {
	if d <= 0 || d > 2*lead {
		return
	}
	left := syscall.NsecToTimespec(int64(d))
	for syscall.Nanosleep(&left, &left) == syscall.EINTR {
	}
}

func (a *agenda) disarm() {
	if !a.armed.IsZero() {
		a.timer.Stop()
		a.armed = time.Time{}
	}
}

// clear forgets all alarms.
func (a *agenda) clear() {
	for _, m := range a.heap {
		m.lane.alarm = 0
	}
	a.heap = nil
	a.disarm()
}
