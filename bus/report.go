package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A Report is what a machine of the cluster says of a run that is over.
type Report struct {
	Machine string          // its name, as in Options.Machine
	Queue   string          // that the run was a job of; empty for another run
	Own     bool            // it is of this Bus
	Body    json.RawMessage // as the machine has made it
}

// What has become of a job.
const (
	jobDone  = "done"
	jobAgain = "again" // it has failed, and is done again
	jobDead  = "dead"  // it has failed for good
)

// A jobReport is a report as it is in the stream.
type jobReport struct {
	Format  int             `json:"v"`
	ID      string          `json:"i"`           // of the machine
	Machine string          `json:"m"`           // its name
	Number  uint64          `json:"n,omitempty"` // of the job in its stream; 0 for a run that is none
	Stored  int64           `json:"t,omitempty"` // when the job came into the stream; ns since 1970
	State   string          `json:"s,omitempty"` // of the job
	Error   string          `json:"x,omitempty"`
	Report  json.RawMessage `json:"r,omitempty"`
}

// isOfJob reports whether a report says what has become of a job.
func (r *jobReport) isOfJob() bool {
	return r.Number != 0 && (r.State == jobDone || r.State == jobAgain || r.State == jobDead)
}

// maxReport is how many bytes a report may have. A longer one is not sent.
const maxReport = maxMessageBytes - 8<<10

// maxReports is how many reports of runs wait for the server. The oldest are dropped.
const maxReports = 200

// reports are those of own runs that are not published yet.
type reports struct {
	filled chan struct{} // holds one

	mu      sync.Mutex
	waiting []json.RawMessage
}

// Report tells the machines of the cluster of a run that is over, and that was no job of a
// queue. It never blocks. A body of more than 248 KiB is dropped. While the server is away the last
// 200 are kept.
func (b *Bus) Report(body json.RawMessage) {
	if len(body) > maxReport {
		return
	}
	b.reports.mu.Lock()
	defer b.reports.mu.Unlock()
	b.reports.set(append(b.reports.waiting, body))
}

// set sets what waits, which is not nothing. The lock must be held.
func (r *reports) set(all []json.RawMessage) {
	r.waiting = all[max(0, len(all)-maxReports):]
	select {
	case r.filled <- struct{}{}:
	default:
	}
}

func (r *reports) take() (all []json.RawMessage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all, r.waiting = r.waiting, nil
	return all
}

// putBack puts back what could not be published, which the next session tries again.
func (r *reports) putBack(some []json.RawMessage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set(append(some, r.waiting...))
}

// publishReports publishes what Report gets, until ctx ends or the server does not take one.
// What is left when ctx ends is published as well, once.
func (b *Bus) publishReports(ctx context.Context) error {
	for {
		over := false
		select {
		case <-b.reports.filled:
		case <-ctx.Done():
			over = true
		}
		if over && !b.conn.Load().IsConnected() {
			return nil
		}
		all := b.reports.take()
		for i, body := range all {
			data, _ := json.Marshal(jobReport{Format: format, ID: b.machine, Machine: b.opts.Machine, Report: body})
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishGrace)
			_, err := b.js.Publish(ctx, b.subject(runsKind, b.machine, "own"), data)
			cancel()
			if err != nil && !isTooLong(err) {
				b.reports.putBack(all[i:])
				return fmt.Errorf("publish: %w", err)
			}
		}
		if over {
			return nil
		}
	}
}

// reportJob publishes what has become of a job. When it returns nil the report is in the stream.
func (q *queue) reportJob(ctx context.Context, key string, r jobReport) error {
	r.Format, r.ID, r.Machine = format, q.bus.machine, q.bus.opts.Machine
	return q.publishReport(ctx, q.subject(doneKind, key), &r, &r.Report)
}

// publishReport publishes a message in JSON that has what Work has returned, and does without that
// if it is too long with it: for others, for the server, or for a stream that an administrator has
// made. That would not change however often it is tried.
func (q *queue) publishReport(ctx context.Context, subject string, message any, report *json.RawMessage) error {
	for {
		data, err := json.Marshal(message)
		if err != nil {
			return err
		}
		err = nats.ErrMaxPayload
		if len(data) <= maxMessageBytes {
			msg := nats.NewMsg(subject)
			msg.Data = data
			_, err = q.publish(ctx, msg)
		}
		if *report == nil || !isTooLong(err) {
			return err
		}
		*report = nil
	}
}

// follow takes in what machines report, until ctx ends or something fails. It calls caughtUp when
// it has taken in what they have reported before.
func (b *Bus) follow(ctx context.Context, stream jetstream.Stream, caughtUp func()) error {
	info, err := stream.Info(ctx)
	if err != nil {
		return err
	}
	if isOther := !b.followed.created.Equal(info.Created); isOther || b.followed.next > info.State.LastSeq+1 {
		b.followed.created = info.Created
		b.followed.next = max(1, info.State.FirstSeq, info.State.LastSeq-min(info.State.LastSeq, recentReports)+1)
	}
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		AckPolicy:     jetstream.AckNonePolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: b.followed.next,
	})
	if err != nil {
		return fmt.Errorf("consumer: %w", err)
	}
	in, err := consume(ctx, consumer)
	if err != nil {
		return err
	}
	defer in.stop()
	if consumer.CachedInfo().NumPending == 0 {
		caughtUp()
	}
	for {
		select {
		case m := <-in.messages:
			number, err := in.number(m)
			if err != nil {
				return err
			}
			b.followed.next = number + 1
			b.hearReport(m.Subject(), m.Data())
			if meta, err := m.Metadata(); err == nil && meta.NumPending == 0 {
				caughtUp()
			}
		case err := <-in.failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// followed says how far the reports of machines were taken in.
type followed struct {
	created time.Time // of the stream
	next    uint64
}

// recentReports is how many reports a machine that has just come gets at most, of those before.
const recentReports = 200

// parseReport decodes a report of a subject, whose last words are the queue, or the machine, and
// the key. It refuses what no execlogd would send.
func parseReport(subject string, data []byte) (r jobReport, kind string, k jobKey, err error) {
	if err := json.Unmarshal(data, &r); err != nil {
		return r, "", k, err
	}
	words := strings.Split(subject, ".") // execlogd, cluster, kind, queue or machine, key
	if r.Format != format || len(words) != 5 || words[2] == doneKind && !r.isOfJob() {
		return r, "", k, errors.New("it is no report")
	}
	return r, words[2], jobKey{words[3], words[4]}, nil
}

// hearReport takes in a report.
func (b *Bus) hearReport(subject string, data []byte) {
	r, kind, k, err := parseReport(subject, data)
	if err != nil {
		b.dropJunk(subject, err)
		return
	}
	report := Report{Machine: r.Machine, Own: r.ID == b.machine, Body: r.Report}
	if kind == doneKind {
		report.Queue = k.queue
		b.working.finish(k, r.Number, r.Stored)
		if r.State != jobAgain {
			b.waiters.finish(k.queue, k.key, r)
		}
	}
	if b.opts.Reported != nil && len(r.Report) > 0 {
		b.opts.Reported(report)
	}
}

// recall takes in what was said last of the jobs of a key, before somebody has begun to wait for
// one that another machine had put there. If it cannot, checkJobs finds that the job is gone.
func (q *queue) recall(ctx context.Context, key string) {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	m, err := q.bus.runs.Load().(jetstream.Stream).GetLastMsgForSubject(ctx, q.subject(doneKind, key))
	if err != nil {
		return
	}
	if r, _, _, err := parseReport(m.Subject, m.Data); err == nil && r.State != jobAgain {
		q.bus.waiters.finish(q.Name, key, r)
	}
}
