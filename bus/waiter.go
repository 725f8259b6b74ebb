package bus

import (
	"context"
	"slices"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
)

// A waiter waits for the end of a job.
type waiter struct {
	queue, key string
	changes    []change
	done       chan jobReport // holds one
	lost       chan struct{}  // holds one: the job is gone, and nobody has said what came of it

	// The lock of waiters guards these.
	number  uint64     // of the job in the stream; 0 before it is known
	begun   uint64     // of the latest job of the key that a machine has begun
	early   *jobReport // of the latest job of the key that was over before that
	missing bool       // it was not in the stream at the last look
}

// A jobKey names what is one job while it waits.
type jobKey struct{ queue, key string }

// waiters are those who wait for jobs of this Bus. The zero value is ready to use.
type waiters struct {
	mu  sync.Mutex
	all map[jobKey][]*waiter
}

func (ws *waiters) add(queue, key string, changes []change) *waiter {
	w := &waiter{queue: queue, key: key, changes: changes, done: make(chan jobReport, 1), lost: make(chan struct{}, 1)}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.all == nil {
		ws.all = make(map[jobKey][]*waiter)
	}
	k := jobKey{queue, key}
	ws.all[k] = append(ws.all[k], w)
	return w
}

func (ws *waiters) remove(gone []*waiter) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range gone {
		k := jobKey{w.queue, w.key}
		ws.all[k] = slices.DeleteFunc(ws.all[k], func(x *waiter) bool { return x == w })
		if len(ws.all[k]) == 0 {
			delete(ws.all, k)
		}
	}
}

// setNumber sets the number of the job.
func (ws *waiters) setNumber(w *waiter, number uint64) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w.number = number
	if w.early != nil && w.early.Number >= number {
		w.end(*w.early)
	}
}

// end tells the waiter what has become of its job. The lock must be held.
func (w *waiter) end(r jobReport) {
	select {
	case w.done <- r:
	default:
	}
}

// finish takes in that a job is over. A later one for the same key has done what it was for.
func (ws *waiters) finish(queue, key string, r jobReport) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.all[jobKey{queue, key}] {
		switch {
		case w.number == 0:
			if w.early == nil || w.early.Number < r.Number {
				w.early = &r
			}
		case r.Number >= w.number:
			w.end(r)
		}
	}
}

// begin takes in that a machine has begun a job.
func (ws *waiters) begin(queue, key string, number uint64) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.all[jobKey{queue, key}] {
		w.begun = max(w.begun, number)
	}
}

// allWait reports whether no machine has begun any of these.
func (ws *waiters) allWait(some []*waiter) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return !slices.ContainsFunc(some, func(w *waiter) bool { return w.begun >= w.number })
}

// awaited reports whether anybody waits for jobs of a queue.
func (ws *waiters) awaited(queue string) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for k := range ws.all {
		if k.queue == queue {
			return true
		}
	}
	return false
}

// look takes in which keys of a queue have a job in the stream. A waiter whose job was missing
// the last time as well, so that its report should have come, is told that it is lost.
func (ws *waiters) look(queue string, present func(key string) bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for k, some := range ws.all {
		if k.queue != queue {
			continue
		}
		for _, w := range some {
			is := w.number != 0 && !present(k.key)
			if is && w.missing {
				select {
				case w.lost <- struct{}{}:
				default:
				}
			}
			w.missing = is
		}
	}
}

// checkJobs looks from time to time for jobs that are gone from the stream without a report,
// until ctx ends or something fails.
func (b *Bus) checkJobs(ctx context.Context, jobs jetstream.Stream) error {
	for sleep(ctx, checkInterval) == nil {
		for name, q := range b.queues {
			if !b.waiters.awaited(name) {
				continue
			}
			info, err := jobs.Info(ctx, jetstream.WithSubjectFilter(q.subject(jobsKind, "*")))
			if err != nil {
				return err
			}
			b.waiters.look(name, func(key string) bool { return info.State.Subjects[q.subject(jobsKind, key)] > 0 })
		}
	}
	return nil
}
