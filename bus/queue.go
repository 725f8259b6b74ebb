package bus

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/execlog/execlogd/inotify"
)

// A Queue has jobs for files, each of which is done by one of the machines that take them.
type Queue struct {
	Name string // in the cluster; the same on each machine
	Dir  string // to which the paths of the jobs are relative on this machine, absolute

	// PerFile makes a job of each path. Otherwise a call of Do is one job, unless it has
	// more than 1,024 events.
	PerFile bool

	// Work does a job: it gets its events, with Dir as their root, and returns what is to be
	// said of it, in JSON. An error that is ErrGivenBack leaves the job to another machine. With
	// any other the job has failed. Calls come side by side, Workers at most. When ctx ends,
	// because the bus stops, Work should return soon. Nil takes no jobs.
	Work    func(ctx context.Context, events []inotify.Event) (report json.RawMessage, err error)
	Workers int // at least 1 is taken

	// AckWait is how long a machine that has a job may say nothing until it is given to another
	// one. Zero is DefaultAckWait.
	AckWait time.Duration

	Retries int           // how often a job that has failed is done again
	Backoff time.Duration // before the first retry; twice as long before each further one, up to five minutes
}

// Of a Queue.
const (
	DefaultAckWait = 30 * time.Second
	MinAckWait     = time.Second
	maxRetryPause  = 5 * time.Minute
)

// Errors of jobs.
var (
	// ErrGivenBack is what Queue.Work returns of a job that it has not done.
	ErrGivenBack = errors.New("given back")

	// ErrWaits is what Do returns of jobs that wait in the queue, and that another call is to
	// replace.
	ErrWaits = errors.New("it waits in the queue")
)

// A JobError is the error of a job that has failed as often as it may. It is among the dead
// jobs.
type JobError struct {
	Machine string          // that has done it last
	Text    string          // what was wrong
	Report  json.RawMessage // of Queue.Work; nil without one
}

func (e *JobError) Error() string { return fmt.Sprintf("%s, on %s", e.Text, e.Machine) }

// A queuedJob is a job as it is in the stream.
type queuedJob struct {
	Format  int      `json:"v"`
	From    string   `json:"m"` // name of the machine that has put it there
	Changes []change `json:"e"`
	Failed  int      `json:"f,omitempty"` // how often it has
	After   int64    `json:"t,omitempty"` // it is not done before; ms since 1970

	// Of a dead one.
	Error  string          `json:"x,omitempty"`
	Worker string          `json:"w,omitempty"`
	Report json.RawMessage `json:"r,omitempty"`
}

// parseJob decodes a job that was received, and refuses what no execlogd would put there.
func parseJob(data []byte) (j queuedJob, err error) {
	if len(data) > maxMessageBytes {
		return j, fmt.Errorf("%d bytes", len(data))
	}
	if err := json.Unmarshal(data, &j); err != nil {
		return j, err
	}
	switch {
	case j.Format != format:
		return j, fmt.Errorf("format %d", j.Format)
	case len(j.Changes) == 0 || len(j.Changes) > maxEvents:
		return j, fmt.Errorf("%d events", len(j.Changes))
	case j.Failed < 0:
		return j, fmt.Errorf("it has failed %d times", j.Failed)
	}
	for _, c := range j.Changes {
		e := c.event("")
		if e.Mask&^sentMask != 0 || !isJobPath(e.Path) || e.From != "" && !isPath(e.From) {
			return j, fmt.Errorf("event %v", e)
		}
	}
	return j, nil
}

// isJobPath reports whether a job may be for a path. That of the root is one.
func isJobPath(p string) bool { return p == "." || isPath(p) }

// events returns the events of the job for a machine where its paths are below dir.
func (j *queuedJob) events(dir string) (events []inotify.Event) {
	for _, c := range j.Changes {
		events = append(events, c.event(dir))
	}
	return events
}

// A queue is a Queue at work.
type queue struct {
	Queue
	bus      *Bus
	consumer atomic.Value // a jetstream.Consumer, while there is a session
}

func newQueue(b *Bus, q Queue) *queue {
	q.Workers, q.AckWait = max(1, q.Workers), cmp.Or(q.AckWait, DefaultAckWait)
	return &queue{Queue: q, bus: b}
}

// Do puts jobs for events into a queue, whose name is that of one of Options.Queues, and
// returns when all of them were done, wherever that was. The reports are those of Queue.Work.
// While the server is away it waits.
//
// What waits in the queue for the same file is replaced, and so is what this Bus has put there
// before and waits, unless the queue is PerFile: there is one job for it. Events without a
// mask are new each time, and those of what cannot be looked at. Of others, what another machine has told within two minutes of the
// same version of a file is the same job, done or not.
//
// When newer is closed, because there are newer events that another call will have as well, Do
// returns ErrWaits if all of its jobs wait, and goes on otherwise. It returns early with the
// cause of ctx; the jobs stay in the queue. A job that has failed for good is a *JobError.
func (b *Bus) Do(ctx context.Context, name string, events []inotify.Event, newer <-chan struct{}) (reports []json.RawMessage, err error) {
	q := b.queues[name]
	if q == nil {
		return nil, fmt.Errorf("no queue %q", name)
	}
	var waits []*waiter
	defer func() { b.waiters.remove(waits) }()
	for part, changes := range q.split(events) {
		w, err := q.put(ctx, q.key(part, changes), changes, "")
		if err != nil {
			return nil, err
		}
		waits = append(waits, w)
	}

	var errs []error
	for _, w := range waits {
		r, err := q.await(ctx, w, waits, newer)
		if err != nil {
			return nil, err
		}
		switch r.State {
		case jobDone:
			reports = append(reports, r.Report)
		default:
			errs = append(errs, &JobError{Machine: r.Machine, Text: r.Error, Report: r.Report})
		}
	}
	return reports, errors.Join(errs...)
}

// split returns what the jobs for events have.
func (q *queue) split(events []inotify.Event) (parts [][]change) {
	dir, err := os.OpenRoot(q.Dir)
	if err == nil {
		defer dir.Close()
	}
	var part []change
	bytes := 0
	for _, e := range events {
		if !isJobPath(e.Path) {
			continue // a path that is too long for others
		}
		c := change{Path: []byte(e.Path), Mask: e.Mask & sentMask}
		if isPath(e.From) {
			c.From = []byte(e.From)
		}
		if dir != nil {
			c.Version, _, _ = look(dir, e.Path)
		}
		if full := q.PerFile || len(part) >= maxEvents || bytes >= fullMessage; full && len(part) > 0 {
			parts, part, bytes = append(parts, part), nil, 0
		}
		part, bytes = append(part, c), bytes+size(e)
	}
	if len(part) > 0 {
		parts = append(parts, part)
	}
	return parts
}

// key names what a job replaces that waits in the queue: one for the same file, or the same part
// of what this machine has put there.
func (q *queue) key(part int, changes []change) string {
	if q.PerFile {
		return digest("file", string(changes[0].Path))
	}
	return digest("part", q.bus.machine, fmt.Sprint(part))
}

// id names a job, so that it is put into the queue once whoever puts it there.
func (q *queue) id(changes []change, again string) string {
	parts := []string{q.Name, again}
	for _, c := range changes {
		// Somebody asks for it, or more than it has changed. Otherwise other machines cannot know
		// when it went, or nobody which version this is.
		if c.Mask&^inotify.IsDir == 0 || c.Version.Gone || c.Version == (version{}) {
			return rand.Text()
		}
		parts = append(parts, string(c.Path), fmt.Sprint(c.Version))
	}
	return digest(parts...)
}

// digest returns a short name for texts, of letters and digits.
func digest(texts ...string) string {
	h := sha256.New()
	for _, s := range texts {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// How the queues ask again.
const (
	putPause      = time.Second      // at most, after the server has not taken a job
	checkInterval = 10 * time.Second // for jobs that are gone without a word
)

// put puts a job into the queue, however long the server is away.
func (q *queue) put(ctx context.Context, key string, changes []change, again string) (*waiter, error) {
	data, err := json.Marshal(queuedJob{Format: format, From: q.bus.opts.Machine, Changes: changes})
	if err != nil {
		return nil, err
	}
	msg := nats.NewMsg(q.subject(jobsKind, key))
	msg.Data = data
	msg.Header.Set(jetstream.MsgIDHeader, q.id(changes, again))
	said, pause := false, heldPause
	for ; ; pause = min(2*pause, putPause) {
		if err := q.bus.awaitSession(ctx); err != nil {
			return nil, err
		}
		// Its result may come before it is known to be there.
		w := q.bus.waiters.add(q.Name, key, changes)
		ack, err := q.publish(ctx, msg)
		if err == nil {
			q.bus.waiters.setNumber(w, ack.Sequence)
			if ack.Duplicate {
				q.recall(ctx, key)
			}
			return w, nil
		}
		q.bus.waiters.remove([]*waiter{w})
		if isTooLong(err) {
			return nil, fmt.Errorf("the server takes no job of %d bytes: %w", len(data), err)
		}
		if !said && q.bus.hasSession() && !errors.Is(err, context.Canceled) {
			said = true
			q.bus.log.Warn("the queue does not take a job, which is tried again", "queue", q.Name, "err", err)
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// publish publishes a message of the stream of jobs. It does not wait for an answer that does
// not come, because the connection is lost.
func (q *queue) publish(ctx context.Context, msg *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	ctx, cancel := q.bus.whileConnected(ctx)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	return q.bus.js.PublishMsg(ctx, msg, opts...)
}

// await returns what has become of a job that is one of several.
func (q *queue) await(ctx context.Context, w *waiter, all []*waiter, newer <-chan struct{}) (jobReport, error) {
	for {
		select {
		case r := <-w.done:
			return r, nil
		case <-w.lost:
			// It is in the queue no more, and nobody has said what came of it.
			again, err := q.put(ctx, w.key, w.changes, rand.Text())
			if err != nil {
				return jobReport{}, err
			}
			defer q.bus.waiters.remove([]*waiter{again})
			w = again
		case <-newer:
			if q.bus.waiters.allWait(all) {
				return jobReport{}, ErrWaits
			}
			newer = nil
		case <-ctx.Done():
			return jobReport{}, context.Cause(ctx)
		}
	}
}

// subject is where messages for a job of the queue are published.
func (q *queue) subject(kind, key string) string { return q.bus.subject(kind, q.Name, key) }

// sleep waits, unless ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// checkQueue says what is wrong with a queue.
func checkQueue(q Queue) error {
	switch err := CheckName(q.Name); {
	case err != nil:
		return fmt.Errorf("queue: %w", err)
	case !filepath.IsAbs(q.Dir):
		return fmt.Errorf("queue %q: directory %q is not absolute", q.Name, q.Dir)
	case q.AckWait != 0 && q.AckWait < MinAckWait:
		return fmt.Errorf("queue %q: ack wait of %v: want at least %v", q.Name, q.AckWait, MinAckWait)
	}
	return nil
}
