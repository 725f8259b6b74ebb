package bus

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxPositions is how many messages a positions remembers.
const maxPositions = 1 << 10

// kernelFirst is how much earlier than by a message a change may have been known, where the
// kernel sees all changes.
const kernelFirst = 50 * time.Millisecond

// Positions are how far a root is in the stream of changes, and when this machine knew of
// the last messages. They can be compared between machines: numbers of the stream are the
// same on all of them.
type positions struct {
	slack time.Duration // by which a change may have been known before its message came

	mu     sync.Mutex
	stream string  // names the stream, which may be made anew; empty before there is one
	next   uint64  // all messages before it are handed on; 0 if that is not known
	first  uint64  // the messages from it on are in known
	known  []known // in the order of the stream
	sent   []sent  // own messages that the stream has not brought yet, in order
}

// A known is a message of which this machine knows.
type known struct {
	number uint64    // in the stream
	since  time.Time // when it came, or when the first of its events was reported here
}

// A sent is a message of this machine.
type sent struct {
	number uint64 // its own
	since  time.Time
}

// begin notes where in the stream messages begin to come; next is 0 if it is not known. What is known of before stays
// if it is of the same stream and there is no gap.
func (ps *positions) begin(created time.Time, next uint64) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	stream := strconv.FormatInt(created.UnixNano(), 36)
	if ps.stream != stream || ps.next == 0 || next == 0 || next > ps.last()+1 {
		ps.stream, ps.next, ps.first, ps.known = stream, next, next, nil
	}
}

// last returns the number of the last message that is known.
func (ps *positions) last() uint64 {
	if len(ps.known) == 0 {
		return max(ps.next, 1) - 1
	}
	return ps.known[len(ps.known)-1].number
}

// send notes that a message of a number has events that were reported since a time.
func (ps *positions) send(number uint64, since time.Time) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.sent = append(ps.sent, sent{number, since})
}

// come notes that a message has come, and that it is this machine's own of a number, which
// is 0 for others.
func (ps *positions) come(number, own uint64) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	since := time.Now()
	for own != 0 && len(ps.sent) > 0 && ps.sent[0].number <= own {
		if ps.sent[0].number == own {
			since = ps.sent[0].since
		}
		ps.sent = ps.sent[1:]
	}
	if len(ps.known) == 0 && ps.first == 0 {
		ps.first = number
	}
	if len(ps.known) == maxPositions {
		ps.first = ps.known[0].number + 1
		ps.known = append(ps.known[:0], ps.known[1:]...)
	}
	ps.known = append(ps.known, known{number, since})
}

// handedOn notes that all messages before one are handed on.
func (ps *positions) handedOn(next uint64) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.next = max(ps.next, next)
}

// position returns the position for others; empty if it is not known.
func (ps *positions) position() string {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.stream == "" || ps.next == 0 {
		return ""
	}
	return fmt.Sprintf("%s-%d", ps.stream, ps.next)
}

// since returns when this machine knew first of a change that is not before a position.
// Pending is when the first of the events was reported that no message has yet; zero if there
// is none.
func (ps *positions) since(position string, pending time.Time) (since time.Time, ok bool) {
	stream, digits, _ := strings.Cut(position, "-")
	next, err := strconv.ParseUint(digits, 10, 64)
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if err != nil || stream != ps.stream || ps.first == 0 || next < ps.first {
		return time.Time{}, false
	}
	since = time.Now()
	note := func(t time.Time) {
		if !t.IsZero() && t.Before(since) {
			since = t
		}
	}
	note(pending)
	for _, s := range ps.sent {
		note(s.since)
	}
	for i := len(ps.known) - 1; i >= 0 && ps.known[i].number >= next; i-- {
		note(ps.known[i].since.Add(-ps.slack))
	}
	return since, true
}
