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
	room    *sync.Cond // half of the queue is free, or it is stalled or closed
	lost    int        // messages dropped since the last call of dropped
	closed  bool

	wake chan struct{} // holds 1 when there is something to write
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
	q := &Queue{dropped: dropped, wake: make(chan struct{}, 1), done: make(chan struct{})}
	q.room = sync.NewCond(&q.mu)
	go q.run()
	return q
}

// run writes the messages until the queue is closed and empty.
func (q *Queue) run() {
	defer close(q.done)
	for {
		q.mu.Lock()
		batch, closed := q.waiting, q.closed
		q.waiting = nil
		q.mu.Unlock()

		if len(batch) == 0 {
			if closed {
				return
			}
			<-q.wake
			continue
		}
		for _, m := range batch {
			m.write()
			q.mu.Lock()
			q.size -= m.size
			q.written++
			q.stalled = false
			if q.size <= maxQueued/2 {
				q.room.Broadcast()
			}
			q.mu.Unlock()
			q.reportDropped()
		}
	}
}

// Close writes what waits and returns when that is done, or after a second. Then
// the rest is not written, and the goroutine may hang in a write that only the end
// of the process ends. What is added later is dropped. Further calls do nothing.
func (q *Queue) Close() { q.close(flushTimeout) }

func (q *Queue) close(timeout time.Duration) {
	q.reportDropped()
	q.mu.Lock()
	q.closed = true
	q.wakeUp()
	q.room.Broadcast()
	q.mu.Unlock()

	select {
	case <-q.done:
	case <-time.After(timeout):
	}
}

// Writer returns a writer to w that never blocks and never fails. Each Write is a
// message.
func (q *Queue) Writer(w io.Writer) io.Writer { return queueWriter{q, w} }

type queueWriter struct {
	queue *Queue
	w     io.Writer
}

func (w queueWriter) Write(p []byte) (int, error) {
	text := bytes.Clone(p)
	w.queue.add(len(text), func() { w.w.Write(text) })
	return len(p), nil
}

// WaitingWriter returns a writer to w for what must not be dropped. Write returns
// when w has written, with its error. After the end of ctx it no longer waits for a
// reader who does not read, and returns [ErrNotRead]: then the text may be written
// later, or never.
func (q *Queue) WaitingWriter(ctx context.Context, w io.Writer) io.Writer {
	return waitingWriter{ctx, q, w}
}

type waitingWriter struct {
	ctx   context.Context
	queue *Queue
	w     io.Writer
}

func (w waitingWriter) Write(p []byte) (int, error) {
	text := bytes.Clone(p) // it may be written after the return
	written := make(chan error, 1)

	// A message without size is never dropped.
	w.queue.add(0, func() {
		_, err := w.w.Write(text)
		written <- err
	})
	var err error
	select {
	case err = <-written:
	case <-w.ctx.Done():
		err = w.queue.await(written, flushTimeout)
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteLine writes a line to w before it returns, so that what others write to the
// same terminal follows it. It does not wait for a reader who does not read: then
// the line is written later, or dropped.
func (q *Queue) WriteLine(w io.Writer, line string) {
	written := make(chan error, 1)
	q.add(len(line), func() {
		_, err := io.WriteString(w, line)
		written <- err
	})
	_ = q.await(written, stallTimeout)
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
	q.reportDropped()

	q.mu.Lock()
	defer q.mu.Unlock()

	switch {
	case q.closed:
		return
	case q.size+size > maxQueued:
		q.lost++
		return
	}

	q.waiting = append(q.waiting, message{size, write})
	q.size += size
	q.wakeUp()
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
// that is written would make room for one more report.
func (q *Queue) reportDropped() {
	q.mu.Lock()
	lost := q.lost
	if lost == 0 || q.size > maxQueued/2 || q.closed {
		q.mu.Unlock()
		return
	}
	q.lost = 0
	q.mu.Unlock()
	q.dropped(lost)
}

// wakeUp makes run look at the queue. q.mu must be held.
func (q *Queue) wakeUp() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}
