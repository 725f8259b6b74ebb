package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/execlog/execlogd/inotify"
)

// Of the work on jobs.
const (
	nextTimeout   = 30 * time.Second // of one request for a job
	maxDeliveries = 20               // of a job whose machines die, or give it back
	heldPause     = 20 * time.Millisecond
)

// work takes jobs, one after the other, until ctx ends or Bus.StopTaking is called. A job goes on
// while the server is away.
func (q *queue) work(ctx context.Context) {
	taking, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(q.bus.taking, cancel)()
	for q.bus.awaitSession(taking) == nil {
		m, err := q.next(taking)
		switch {
		case err == nil && taking.Err() != nil:
			_ = m.Nak() // if the connection is lost, another machine gets the job
		case err == nil:
			if err := q.take(ctx, m); err != nil && ctx.Err() == nil {
				q.bus.log.Warn("a job was done, and may be done again", "queue", q.Name, "err", err)
			}
		case errors.Is(err, nats.ErrTimeout), errors.Is(err, context.DeadlineExceeded), errors.Is(err, jetstream.ErrNoMessages):
		case errors.Is(err, context.Canceled):
			_ = sleep(taking, heldPause) // the session ends
		default:
			if sleep(taking, reconnectWait) == nil && q.bus.hasSession() {
				// Somebody has removed the consumer, or the stream.
				q.bus.endSession()
			}
		}
	}
}

// next takes a job from the stream. The server forgets who waits for one when it is killed, so
// it does not wait when the connection is lost.
func (q *queue) next(ctx context.Context) (jetstream.Msg, error) {
	ctx, cancel := q.bus.whileConnected(ctx)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, nextTimeout)
	defer cancel()
	return q.consumer.Load().(jetstream.Consumer).Next(jetstream.FetchContext(ctx))
}

// take does a job that was taken from the stream. With an error it is given to a machine again
// when AckWait is over.
func (q *queue) take(ctx context.Context, m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	key := m.Subject()[strings.LastIndexByte(m.Subject(), '.')+1:]
	number, stored := meta.Sequence.Stream, meta.Timestamp.UnixNano()
	j, err := parseJob(m.Data())
	if err != nil {
		q.bus.dropJunk(m.Subject(), err)
		return m.TermWithReason("no job of execlogd")
	}
	if pause := time.Until(time.UnixMilli(j.After)); j.After != 0 && pause > 0 {
		return m.NakWithDelay(pause)
	}

	stop := sync.OnceFunc(q.keep(m, key, number))
	defer stop()
	switch isOver, err := q.hold(ctx, key, number, stored); {
	case err != nil:
		return m.Nak()
	case isOver:
		return m.Ack()
	}
	defer q.bus.working.end(jobKey{q.Name, key}, number)

	var report json.RawMessage
	isLast := meta.NumDelivered > maxDeliveries
	if isLast {
		err = fmt.Errorf("%d machines have died, or have said nothing for %v, while they did it", maxDeliveries, q.AckWait)
	} else if err = q.awaitArrival(ctx, &j); err == nil {
		report, err = q.Work(ctx, j.events(q.Dir))
	}
	switch {
	case errors.Is(err, ErrGivenBack), err != nil && ctx.Err() != nil:
		stop()
		q.tellWorking(key, number, 0)
		return m.Nak()
	case err == nil:
		q.bus.done.Add(1)
		err = q.tell(ctx, func(ctx context.Context) error {
			return q.reportJob(ctx, key, jobReport{Number: number, Stored: stored, State: jobDone, Report: report})
		})
	case j.Failed < q.Retries && !isLast:
		err = q.tell(ctx, func(ctx context.Context) error { return q.putAgain(ctx, key, number, stored, j, err, report) })
	default:
		q.bus.dead.Add(1)
		err = q.tell(ctx, func(ctx context.Context) error { return q.bury(ctx, key, number, stored, j, err, report) })
	}
	if err != nil {
		return err
	}
	q.bus.working.finish(jobKey{q.Name, key}, number, stored)
	return m.Ack()
}

// tell calls send until that is no error, however long the server is away, or refuses it, which is
// logged. When ctx ends it is called once more.
func (q *queue) tell(ctx context.Context, send func(context.Context) error) error {
	said := false
	for pause := heldPause; ; pause = min(2*pause, putPause) {
		err := send(context.WithoutCancel(ctx))
		if err == nil || ctx.Err() != nil {
			return err
		}
		if !said && q.bus.hasSession() && !errors.Is(err, context.Canceled) {
			said = true
			q.bus.log.Warn("the server does not take what has become of a job, which is tried again", "queue", q.Name, "err", err)
		}
		if sleep(ctx, pause) == nil {
			_ = q.bus.awaitSession(ctx)
		}
	}
}

// putAgain puts a job that has failed into the queue again, in the place of itself. If there is
// a newer one for its key, that is done anyway.
func (q *queue) putAgain(ctx context.Context, key string, number uint64, stored int64, j queuedJob, failure error, report json.RawMessage) error {
	pause := q.Backoff
	for range j.Failed {
		pause = min(2*pause, max(maxRetryPause, q.Backoff))
	}
	j.Failed++
	j.After = time.Now().Add(pause).UnixMilli()
	data, err := json.Marshal(j)
	if err != nil {
		return err
	}
	msg := nats.NewMsg(q.subject(jobsKind, key))
	msg.Data = data
	if _, err := q.publish(ctx, msg, jetstream.WithExpectLastSequencePerSubject(number)); err != nil && !isOutdated(err) {
		return fmt.Errorf("put a job back: %w", err)
	}
	return q.reportJob(ctx, key, jobReport{Number: number, Stored: stored, State: jobAgain, Error: failure.Error(), Report: report})
}

// isOutdated reports whether a message was refused because there is a newer one.
func isOutdated(err error) bool {
	refused, ok := errors.AsType[*jetstream.APIError](err)
	return ok && refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence
}

// bury puts a job that has failed for good among the dead ones.
func (q *queue) bury(ctx context.Context, key string, number uint64, stored int64, j queuedJob, failure error, report json.RawMessage) error {
	j.Failed++
	j.Error, j.Worker, j.Report = failure.Error(), q.bus.opts.Machine, report
	if err := q.publishReport(ctx, q.subject(deadKind, key), &j, &j.Report); err != nil {
		return fmt.Errorf("put a job among the dead ones: %w", err)
	}
	return q.reportJob(ctx, key, jobReport{Number: number, Stored: stored, State: jobDead, Error: failure.Error(), Report: report})
}

// keep tells the server, and other machines, that a job is worked on, until the function that
// it returns is called. After a tick without a session it tells so as soon as there is one.
func (q *queue) keep(m jetstream.Msg, key string, number uint64) (stop func()) {
	over := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() {
		tick := time.NewTicker(q.AckWait / 3)
		defer tick.Stop()
		for {
			var back <-chan struct{}
			if !q.bus.hasSession() {
				back = q.bus.readiness()
			}
			select {
			case <-tick.C:
			case <-back:
			case <-over:
				return
			}
			_ = m.InProgress() // if the connection is lost, another machine gets the job
			if q.bus.working.renew(jobKey{q.Name, key}, number, q.bus.machine, q.AckWait) {
				q.tellWorking(key, number, q.AckWait)
			}
		}
	})
	return func() {
		close(over)
		telling.Wait()
	}
}

// hold waits until no machine does a job of the key: an older version of this one, or this one,
// if the server has forgotten that, or has not heard it. Then it tells that the job is done here,
// unless it is over.
func (q *queue) hold(ctx context.Context, key string, number uint64, stored int64) (isOver bool, err error) {
	k := jobKey{q.Name, key}
	for {
		begun, isOver := q.bus.working.begin(k, number, stored, q.bus.machine, q.AckWait)
		if isOver {
			return true, nil
		}
		if begun {
			break
		}
		if err := sleep(ctx, heldPause); err != nil {
			return false, err
		}
	}
	q.bus.waiters.begin(q.Name, key, number)
	q.tellWorking(key, number, q.AckWait)
	return false, nil
}

// awaitArrival waits until this machine sees the files as the one saw them that has put the
// job there, for two seconds at most. A path that leads out of the directory is an error.
func (q *queue) awaitArrival(ctx context.Context, j *queuedJob) error {
	dir, err := os.OpenRoot(q.Dir)
	if err != nil {
		return nil // which the command finds out
	}
	defer dir.Close()
	until := time.Now().Add(maxArrival)
	for _, c := range j.Changes {
		path := string(c.Path)
		for pause := minLook; ; pause = min(pause*3/2, maxLook) {
			here, err := arrived(dir, path, c.Mask&inotify.IsDir != 0, c.Version)
			if err != nil {
				return err
			}
			if here || c.Version == (version{}) || time.Now().After(until) || sleep(ctx, pause) != nil {
				break
			}
		}
		_, err := dir.Stat(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			return err
		}
	}
	return nil
}

// A working says that a machine does a job.
type working struct {
	Format  int    `json:"v"`
	Machine string `json:"m"`
	Number  uint64 `json:"n"`
	Wait    int64  `json:"w"` // for so many ms it is believed
}

// tellWorking tells other machines that a job is worked on here, for a while if nothing more is
// said.
func (q *queue) tellWorking(key string, number uint64, wait time.Duration) {
	data, _ := json.Marshal(working{Format: format, Machine: q.bus.machine, Number: number, Wait: wait.Milliseconds()})
	if conn := q.bus.conn.Load(); conn != nil {
		_ = conn.Publish(q.subject(workingKind, key), data) // if the connection is lost the session ends
	}
}

// maxWorkWait is how long it is believed at most that another machine does a job.
const maxWorkWait = 10 * time.Minute

// hearWorking takes in that another machine does a job.
func (b *Bus) hearWorking(m *nats.Msg) {
	var w working
	err := json.Unmarshal(m.Data, &w)
	token := strings.Split(m.Subject, ".")
	if err == nil && (w.Format != format || w.Number == 0 || len(token) != 5) {
		err = errors.New("it says of no job that it is done")
	}
	if err != nil {
		b.dropJunk(m.Subject, err)
		return
	}
	b.waiters.begin(token[3], token[4], w.Number)
	b.working.note(jobKey{token[3], token[4]}, w.Number, w.Machine, min(time.Duration(w.Wait)*time.Millisecond, maxWorkWait))
}

// jobsUnderWay are the jobs that machines do now, as far as it is known, and those that are over
// since lately. The zero value is ready to use.
type jobsUnderWay struct {
	mu   sync.Mutex
	all  map[jobKey]underWay
	over map[jobKey]overJob // the last one of each key
}

// An overJob tells a job from others: by its number, and by when it came into the stream, which
// may have been made anew.
type overJob struct {
	number uint64
	stored int64
}

// maxOver is how many jobs are known at most that are over. They are forgotten together.
const maxOver = 1 << 14

// An underWay is who does a job.
type underWay struct {
	number  uint64
	machine string
	until   time.Time // it is believed
}

// maxUnderWay is how many jobs under way are known at most. Whoever may publish could
// invent any number.
const maxUnderWay = 1 << 16

// begin notes that this machine does a job, unless this or another version of it is being done,
// or it is over and the server gives it to a machine again.
func (u *jobsUnderWay) begin(k jobKey, number uint64, stored int64, machine string, wait time.Duration) (begun, isOver bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	if over, ok := u.over[k]; ok && over == (overJob{number, stored}) {
		return false, true
	}
	if is, ok := u.all[k]; ok && now.Before(is.until) {
		return false, false
	}
	u.set(k, underWay{number, machine, now.Add(wait)})
	return true, false
}

// note notes what another machine says.
func (u *jobsUnderWay) note(k jobKey, number uint64, machine string, wait time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	if is := u.all[k]; is.number <= number || !now.Before(is.until) {
		u.set(k, underWay{number, machine, now.Add(wait)})
	}
}

// set must be called with the lock held.
func (u *jobsUnderWay) set(k jobKey, is underWay) {
	if u.all == nil || len(u.all) >= maxUnderWay {
		u.all = make(map[jobKey]underWay)
	}
	u.all[k] = is
}

// renew reports whether this machine does a job, and if so goes on believing it.
func (u *jobsUnderWay) renew(k jobKey, number uint64, machine string, wait time.Duration) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	is, ok := u.all[k]
	if !ok || is.number != number || is.machine != machine {
		return false
	}
	u.set(k, underWay{number, machine, time.Now().Add(wait)})
	return true
}

// finish notes that a job is over.
func (u *jobsUnderWay) finish(k jobKey, number uint64, stored int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.over == nil || len(u.over) >= maxOver {
		u.over = make(map[jobKey]overJob)
	}
	u.over[k] = overJob{number, stored}
	u.remove(k, number)
}

// end notes that a job is done no more.
func (u *jobsUnderWay) end(k jobKey, number uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.remove(k, number)
}

// remove must be called with the lock held.
func (u *jobsUnderWay) remove(k jobKey, number uint64) {
	if u.all[k].number <= number {
		delete(u.all, k)
	}
}
