package logging

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// Bounds of a Queue. What waits is what a busy daemon logs in a few seconds while
// a terminal is stopped; a log that nobody reads costs no more memory than that.
const (
	maxQueued    = 1 << 20                // bytes
	stallTimeout = 250 * time.Millisecond // without progress: nobody reads
	flushTimeout = 1 * time.Second        // to write what waits when the daemon ends
)

// ErrNotRead is the error of a write that was given up because nobody reads.
var ErrNotRead = errors.New("nobody reads it")

// A Queue writes in a goroutine of its own, so that whoever logs does not wait for
// the reader: a pipe that nobody empties, a terminal that is stopped, a journal
// that hangs. Messages are written one at a time, in the order in which they were
// added. What does not fit into maxQueued is dropped, the newest first, and
// counted.
type Queue struct {
	dropped func(n int)

	mu      sync.Mutex // guards what follows
	waiting []message
	size    int        // bytes of what waits and of what is being written
	written int        // messages
	stalled bool       // nothing was written for a timeout that somebody waited for
	more    *sync.Cond // something waits, or it is closed
	room    *sync.Cond // half of the queue is free, or it is stalled or closed
	lost    int        // messages dropped since the last call of dropped
	closed  bool

	done chan struct{} // closed when all is written after Close
}

// A message is written by a call of write.
type message struct {
	size  int // bytes
	write func()
}

// NewQueue starts the queue's goroutine, which ends after Close. When messages were
// dropped and there is room again, dropped is called with their number. It may log
// by way of the queue. It may be nil.
func NewQueue(dropped func(n int)) *Queue {
	if dropped == nil {
		dropped = func(int) {}
	}
	q := &Queue{dropped: dropped, done: make(chan struct{})}
	q.more, q.room = sync.NewCond(&q.mu), sync.NewCond(&q.mu)
	go q.run()
	return q
}

// run writes the messages until the queue is closed and empty.
func (q *Queue) run() {
	defer close(q.done)
	q.mu.Lock()
	for {
		for len(q.waiting) == 0 && !q.closed {
			q.more.Wait()
		}
		batch := q.waiting
		if len(batch) == 0 {
			q.mu.Unlock()
			return
		}

		q.waiting = nil
		for _, m := range batch {
			q.mu.Unlock()
			m.write()
			q.mu.Lock()

			q.size -= m.size
			q.written++
			q.stalled = false
			if q.size <= maxQueued/2 {
				q.room.Broadcast()
			}
			q.reportDropped()
		}
	}
}

// Close writes what waits and returns when that is done, or after a second. Then
// the rest is not written, and the goroutine may hang in a write that only the end
// of the process ends. What is added later is dropped. Further calls do nothing.
func (q *Queue) Close() { q.close(flushTimeout) }

func (q *Queue) close(timeout time.Duration) {
	q.mu.Lock()
	q.reportDropped()
	q.closed = true
	q.more.Signal()
	q.room.Broadcast()
	q.mu.Unlock()

	select {
	case <-q.done:
	case <-time.After(timeout):
	}
}

// Writer returns a writer to w that never blocks and never fails. Each Write is a
// message.
func (q *Queue) Writer(w io.Writer) io.Writer {
	return writerFunc(func(p []byte) error {
		text := bytes.Clone(p)
		q.add(len(text), func() { w.Write(text) })
		return nil
	})
}

// WaitingWriter returns a writer to w for what must not be dropped. Write returns
// when w has written, with its error. After the end of ctx it no longer waits for a
// reader who does not read, and returns [ErrNotRead]: then the text may be written
// later, or never.
func (q *Queue) WaitingWriter(ctx context.Context, w io.Writer) io.Writer {
	return writerFunc(func(p []byte) error {
		text := bytes.Clone(p)         // it may be written after the return
		written := q.write(0, w, text) // without a size it is never dropped
		select {
		case err := <-written:
			return err
		case <-ctx.Done():
			return q.await(written, flushTimeout)
		}
	})
}

// A writerFunc writes all of a text, or fails.
type writerFunc func(text []byte) error

func (f writerFunc) Write(p []byte) (int, error) {
	if err := f(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Add has a function called after what waits, which counts as a message of so many bytes.
// With a size of 0 it is never dropped.
func (q *Queue) Add(size int, write func()) { q.add(size, write) }

// WriteLine writes a line to w before it returns, so that what others write to the
// same terminal follows it. It does not wait for a reader who does not read: then
// the line is written later, or dropped.
func (q *Queue) WriteLine(w io.Writer, line string) {
	_ = q.await(q.write(len(line), w, []byte(line)), stallTimeout)
}

// write queues a text as a message of so many bytes. The error comes when it is written.
func (q *Queue) write(size int, w io.Writer, text []byte) <-chan error {
	written := make(chan error, 1)
	q.add(size, func() {
		_, err := w.Write(text)
		written <- err
	})
	return written
}

// WaitForRoom slows down a caller who logs faster than the log is written, such as
// a command with much output, so that nothing is dropped as long as somebody reads.
// It returns when half of the queue is free; the other half is for callers that do
// not wait. When nothing is written for stallTimeout it gives up, and no call waits
// until something is written again.
func (q *Queue) WaitForRoom() {
	q.mu.Lock()
	defer q.mu.Unlock()

	for q.size > maxQueued/2 && !q.stalled && !q.closed {
		before := q.written
		stall := time.AfterFunc(stallTimeout, func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			q.stalled = q.stalled || q.written == before
			q.room.Broadcast()
		})

		q.room.Wait()
		stall.Stop()
	}
}

// add queues a message of so many bytes, or drops it. It never waits. After Close
// it does nothing.
func (q *Queue) add(size int, write func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reportDropped()

	switch {
	case q.closed:
	case q.size+size > maxQueued:
		q.lost++
	default:
		q.waiting = append(q.waiting, message{size, write})
		q.size += size
		q.more.Signal()
	}
}

// await waits for a message to be written, for the timeout at most. While the queue
// is stalled it does not wait at all, and a timeout makes it stalled.
func (q *Queue) await(written <-chan error, timeout time.Duration) error {
	q.mu.Lock()
	stalled := q.stalled
	q.mu.Unlock()
	if stalled {
		return ErrNotRead
	}

	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case err := <-written:
		return err
	case <-timer.C:
		q.mu.Lock()
		defer q.mu.Unlock()
		q.stalled = true
		q.room.Broadcast()
		return ErrNotRead
	}
}

// reportDropped calls dropped once half of the queue is free. Earlier, each message
// that is written would make room for one more report. q.mu must be held; it is not
// during the call.
func (q *Queue) reportDropped() {
	lost := q.lost
	if lost == 0 || q.size > maxQueued/2 || q.closed {
		return
	}
	q.lost = 0
	q.mu.Unlock()
	defer q.mu.Lock()
	q.dropped(lost)
}
