package bus

import (
	"slices"
	"sync"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// What an outbox holds at most.
const (
	maxWaiting      = 1 << 16 // events
	maxWaitingBytes = 8 << 20 // of paths
)

// An outbox has the events of one root that are not published yet, in order. When it has
// more than it may hold, only that something was lost is left.
type outbox struct {
	filled chan struct{} // holds one: there is something to publish

	mu     sync.Mutex
	events []inotify.Event
	looked int // at so many of them, by news
	bytes  int
	since  time.Time // when the first of the events came
	lost   time.Time // since when events were dropped; zero if none were
	taken  time.Time // since when there was what was taken last, with what was dropped before
	inHand bool      // that is not noted elsewhere yet
}

func newOutbox() *outbox { return &outbox{filled: make(chan struct{}, 1)} }

// add puts events in. It never blocks.
func (o *outbox) add(events []inotify.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range events {
		if !isSent(e) || len(o.events) > o.looked && isRepeated(o.events[len(o.events)-1], e) {
			continue
		}
		if len(o.events) == 0 {
			o.since = time.Now()
		}
		e.Mask &= sentMask
		o.events = append(o.events, e)
		o.bytes += size(e)
		if len(o.events) > maxWaiting || o.bytes > maxWaitingBytes {
			if o.lost.IsZero() {
				o.lost = o.since
			}
			o.events, o.looked, o.bytes = nil, 0, 0
		}
	}

	if len(o.events) > 0 || !o.lost.IsZero() {
		select {
		case o.filled <- struct{}{}:
		default:
		}
	}
}

// isRepeated reports whether an event says what the one before has said.
func isRepeated(before, e inotify.Event) bool {
	return before.Path == e.Path && before.From == e.From && before.Mask == e.Mask&sentMask
}

// lose notes that events which were taken are lost.
func (o *outbox) lose() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.lost.IsZero() {
		o.lost = o.taken
	}
}

// note calls a function with the time when the first of the events came that were taken
// last, or dropped before them, or earlier. After that they are not pending any more.
func (o *outbox) note(noted func(since time.Time)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	noted(o.taken)
	o.inHand = false
}

// pending returns when the first of the events came that are in it, were dropped, or were just
// taken, or earlier; zero if there are none.
func (o *outbox) pending() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.inHand:
		return o.taken
	case !o.lost.IsZero():
		return o.lost
	case len(o.events) > 0:
		return o.since
	}
	return time.Time{}
}

// unlooked returns the events that are in it and that it has not returned before.
func (o *outbox) unlooked() []inotify.Event {
	o.mu.Lock()
	defer o.mu.Unlock()
	events := slices.Clone(o.events[o.looked:])
	o.looked = len(o.events)
	return events
}

// take takes out what fits into one message, and since when events were dropped.
func (o *outbox) take() (events []inotify.Event, lost time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, bytes := 0, 0
	for n < min(len(o.events), maxEvents) && bytes < fullMessage {
		bytes += size(o.events[n])
		n++
	}
	events, lost, o.taken = slices.Clone(o.events[:n]), o.lost, o.since
	if !lost.IsZero() {
		o.taken = lost
	}
	o.inHand = n > 0 || !lost.IsZero()
	o.events, o.looked, o.bytes, o.lost = o.events[n:], max(0, o.looked-n), o.bytes-bytes, time.Time{}
	if len(o.events) == 0 {
		o.events = nil
	}
	return events, lost
}

// size is how many bytes an event counts for.
func size(e inotify.Event) int { return 64 + len(e.Path) + len(e.From) }
