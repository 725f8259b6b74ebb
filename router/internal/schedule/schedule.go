// Package schedule calls back when the first of many timers is due, with one timer
// of the runtime for all of them. Setting and stopping a timer allocates nothing.
package schedule

import (
	"sync"
	"syscall"
	"time"
)

// A Schedule is a heap of timers. Its methods must be called with its lock held.
type Schedule[T any] struct {
	// Sleep waits for a time that is at most as long as early. It is preciseSleep
	// except in tests whose time is not the kernel's.
	Sleep func(time.Duration)

	lock  sync.Locker
	wake  func(now time.Time)
	epoch time.Time
	heap  []entry[T]
	sets  uint64      // calls of Set, to keep the order of timers for one time
	timer *time.Timer // of the runtime; nil before the first Arm
	armed time.Time   // when it is for; zero if it is stopped
}

// New returns a Schedule without timers. wake is called with the lock held when the
// first of them is due. It should call Next until that returns nothing more.
func New[T any](lock sync.Locker, wake func(now time.Time)) *Schedule[T] {
	return &Schedule[T]{Sleep: preciseSleep, lock: lock, wake: wake}
}

// A Timer is an item that something is to be done with at some time. The zero value is
// stopped.
type Timer[T any] struct {
	Item  T
	place int // in the heap, from 1 on; 0 if it is stopped
}

// An entry is a timer in the heap. It has the time as a number because comparing
// times is nearly all the work when there are many timers.
type entry[T any] struct {
	at    time.Duration // since the epoch
	order uint64
	timer *Timer[T]
}

func (e entry[T]) before(other entry[T]) bool {
	return e.at < other.at || e.at == other.at && e.order < other.order
}

// Set sets a timer for a time, whether or not it was set before.
func (s *Schedule[T]) Set(t *Timer[T], at time.Time) {
	if s.epoch.IsZero() {
		s.epoch = at
	}
	since := at.Sub(s.epoch)

	i := t.place - 1
	if i < 0 {
		i = len(s.heap)
		s.heap = append(s.heap, entry[T]{})
	} else if s.heap[i].at == since {
		return
	}

	s.sets++
	s.move(entry[T]{since, s.sets, t}, i)
}

// Stop stops a timer, which may be stopped already.
func (s *Schedule[T]) Stop(t *Timer[T]) {
	i := t.place - 1
	if i < 0 {
		return
	}
	t.place = 0

	last := len(s.heap) - 1
	moved := s.heap[last]
	s.heap[last] = entry[T]{}
	s.heap = s.heap[:last]
	if i < last {
		s.move(moved, i)
	}
}

// StopAll stops all timers.
func (s *Schedule[T]) StopAll() {
	for _, e := range s.heap {
		e.timer.place = 0
	}
	s.heap = nil
	s.disarm()
}

// Next stops the first timer that is due at now, and returns its item. It is not ok if
// there is none.
func (s *Schedule[T]) Next(now time.Time) (item T, ok bool) {
	if len(s.heap) == 0 || s.first().After(now) {
		return item, false
	}
	t := s.heap[0].timer
	s.Stop(t)
	return t.Item, true
}

// Idle reports whether no timer is set, the runtime's included.
func (s *Schedule[T]) Idle() bool { return len(s.heap) == 0 && s.armed.IsZero() }

// first returns when the first timer is due. There must be one.
func (s *Schedule[T]) first() time.Time { return s.epoch.Add(s.heap[0].at) }

// move puts an entry where it belongs, given a free place in the heap.
func (s *Schedule[T]) move(e entry[T], i int) {
	put := func(i int, e entry[T]) {
		s.heap[i] = e
		e.timer.place = i + 1
	}

	for i > 0 && e.before(s.heap[(i-1)/2]) {
		put(i, s.heap[(i-1)/2])
		i = (i - 1) / 2
	}

	for {
		child := 2*i + 1
		if child+1 < len(s.heap) && s.heap[child+1].before(s.heap[child]) {
			child++
		}
		if child >= len(s.heap) || !s.heap[child].before(e) {
			break
		}
		put(i, s.heap[child])
		i = child
	}

	put(i, e)
}

// early is how long before the first timer is due the runtime's timer is set for. The
// runtime waits for its timers in whole milliseconds, so that they are late by up to
// that, and by more on a busy machine. Sleep waits for the rest.
const early = 1500 * time.Microsecond

// Arm sets the runtime's timer for the first of ours. It must be called after calls of
// Set and Stop.
func (s *Schedule[T]) Arm(now time.Time) {
	if len(s.heap) == 0 {
		s.disarm()
		return
	}
	first := s.first()
	if first.Equal(s.armed) {
		return
	}

	wait := first.Sub(now)
	if wait > 2*early {
		wait -= early
	}
	if s.timer == nil {
		s.timer = time.AfterFunc(wait, s.fire)
	} else {
		s.timer.Reset(wait)
	}
	s.armed = first
}

func (s *Schedule[T]) disarm() {
	if !s.armed.IsZero() {
		s.timer.Stop()
		s.armed = time.Time{}
	}
}

// fire is called by the runtime's timer, shortly before the first of ours is due. If
// it was stopped or set anew too late for that, fire does not sleep, and wake finds
// nothing to do.
func (s *Schedule[T]) fire() {
	s.lock.Lock()
	due := s.armed
	s.lock.Unlock()
	if left := time.Until(due); 0 < left && left <= early {
		s.Sleep(left)
	}

	s.lock.Lock()
	defer s.lock.Unlock()
	if s.armed.Equal(due) {
		s.armed = time.Time{}
	}
	now := time.Now()
	s.wake(now)
	s.Arm(now) // also if it was too soon
}

// preciseSleep sleeps to within some 60 µs. With it the median from a change with a
// delay of 20 ms to the message at the page is 0.24 ms beyond the delay, and 0.35 ms
// without it (BenchmarkLatency of cmd/execlogd). It uses the kernel's clock, so in a
// bubble of testing/synctest no time passes, and fire sets the runtime's timer again.
func preciseSleep(d time.Duration) {
	left := syscall.NsecToTimespec(int64(d))
	for syscall.Nanosleep(&left, &left) == syscall.EINTR {
	}
}
