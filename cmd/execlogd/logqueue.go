package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// Bounds of a logQueue. What waits is what a busy daemon says in a few seconds
// while a terminal is stopped; a log that nobody reads costs no more than that.
const (
	maxQueued    = 1 << 20                // bytes
	stallTimeout = 250 * time.Millisecond // without a message written: nobody reads
	flushTimeout = 1 * time.Second        // to write what waits when the daemon ends
)

// A logQueue writes the log in a goroutine of its own, so that nobody who logs
// waits for whoever reads: a pipe that nobody empties, a terminal that is stopped,
// a journal that hangs. Messages are written one at a time in the order of their
// add. What does not fit into maxQueued is dropped, the newest first, and counted;
// as soon as there is room again, dropped is told how many were.
type logQueue struct {
	dropped func(n int) // logs that; it may add. Set before the first add

	mu      sync.Mutex // guards what follows
	waiting []queued
	size    int        // bytes of what waits, with the message that is being written
	written int        // messages
	stalled bool       // none was for stallTimeout, and somebody waited for it
	room    *sync.Cond // that half of the queue is free, stalled, or closed
	lost    int        // messages that were dropped since dropped was told
	closed  bool

	wake chan struct{} // holds 1 when there is something to look at
	done chan struct{} // closed when everything was written after close
}

// A queued message is written by a call of write.
type queued struct {
	size  int
	write func()
}

// newLogQueue starts the goroutine, which close ends.
func newLogQueue() *logQueue {
	q := &logQueue{dropped: func(int) {}, wake: make(chan struct{}, 1), done: make(chan struct{})}
	q.room = sync.NewCond(&q.mu)
	go q.run()
	return q
}

// waitForRoom slows those down who log faster than the log is written, such as a
// job with much output, so that nothing of it is dropped as long as somebody
// reads. It waits until half of the queue is free, which leaves the other half to
// those that do not wait. When nothing is written for stallTimeout it returns, and
// then no more waits until something is.
func (q *logQueue) waitForRoom() {
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

// add has a message of so many bytes written. It never waits. After close it does
// nothing.
func (q *logQueue) add(size int, write func()) {
	q.tellDropped()
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return
	case q.size+size > maxQueued:
		q.lost++
		return
	}
	q.waiting = append(q.waiting, queued{size, write})
	q.size += size
	q.wakeUp()
}

// addNow is add for a line that others should follow, as on a terminal to which
// a command writes as well: it waits until the line is written, but not for those
// who do not read.
func (q *logQueue) addNow(size int, write func()) {
	written := make(chan error, 1)
	q.add(size, func() { write(); written <- nil })
	_ = q.await(written, stallTimeout)
}

// put has something written that must not be dropped, and waits for that as long
// as it takes. When ctx has ended it waits no longer for those who do not read, and
// returns errNotRead: then it may be written later, or never.
func (q *logQueue) put(ctx context.Context, write func() error) error {
	written := make(chan error, 1)
	q.add(0, func() { written <- write() }) // for which there always is room
	select {
	case err := <-written:
		return err
	case <-ctx.Done():
		return q.await(written, flushTimeout)
	}
}

var errNotRead = errors.New("nobody reads it")

// await waits for something to be written, for so long at most, and not at all
// while the queue is stalled, as it is when that was not enough.
func (q *logQueue) await(written <-chan error, most time.Duration) error {
	q.mu.Lock()
	stalled := q.stalled
	q.mu.Unlock()
	if stalled {
		return errNotRead
	}
	late := time.NewTimer(most)
	defer late.Stop()
	select {
	case err := <-written:
		return err
	case <-late.C:
		q.mu.Lock()
		defer q.mu.Unlock()
		q.stalled = true
		q.room.Broadcast()
		return errNotRead
	}
}

// tellDropped says how many messages were dropped, once half of the queue is free.
// Sooner, each message that is written would make room for one that says so.
func (q *logQueue) tellDropped() {
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

func (q *logQueue) wakeUp() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *logQueue) run() {
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
			q.tellDropped()
		}
	}
}

// close writes what waits and returns when that is done, or after a timeout, with
// what is left not written and the goroutine still in its write: nothing ends that
// but the process. Further calls do nothing.
func (q *logQueue) close(timeout time.Duration) {
	q.tellDropped()
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

// writer is w, written to by the queue. Each Write is a message. It never fails:
// what w says of it is nobody's to hear.
func (q *logQueue) writer(w io.Writer) io.Writer { return queueWriter{q, w} }

type queueWriter struct {
	queue *logQueue
	w     io.Writer
}

func (w queueWriter) Write(p []byte) (int, error) {
	text := bytes.Clone(p)
	w.queue.add(len(text), func() { w.w.Write(text) })
	return len(p), nil
}

// waitingWriter is w, written to by the queue and waited for, until ctx ends; see
// put.
func (q *logQueue) waitingWriter(ctx context.Context, w io.Writer) io.Writer {
	return waitingWriter{ctx, q, w}
}

type waitingWriter struct {
	ctx   context.Context
	queue *logQueue
	w     io.Writer
}

func (w waitingWriter) Write(p []byte) (int, error) {
	text := bytes.Clone(p) // which may be written after the return
	err := w.queue.put(w.ctx, func() error {
		_, err := w.w.Write(text)
		return err
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}
