package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/execlog/execlogd/inotify"
)

// A DeadJob is a job that has failed as often as it may.
type DeadJob struct {
	ID      uint64 // among the dead jobs of the cluster
	Queue   string
	Events  []inotify.Event // with Queue.Dir as their root, or none if the queue is not of this Bus
	Failed  int             // how often
	Time    time.Time       // of the last failure
	Machine string          // where that was
	Error   string
	Report  json.RawMessage // of Queue.Work; nil without one
}

// MaxDead is how many dead jobs a call of Dead returns at most.
const MaxDead = 1000

// ErrNoDeadJob is the error of a dead job that is not there.
var ErrNoDeadJob = errors.New("no dead job has this ID: it was given back, or another for its file has taken its place")

// Dead returns the last of the dead jobs of the cluster, the oldest first.
func (b *Bus) Dead(ctx context.Context) ([]DeadJob, error) {
	stream, err := b.openDead(ctx)
	if err != nil {
		return nil, err
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return nil, err
	}
	var dead []DeadJob
	for number := info.State.LastSeq; number >= max(1, info.State.FirstSeq) && len(dead) < MaxDead; number-- {
		j, err := b.readDead(ctx, stream, number)
		switch {
		case errors.Is(err, ErrNoDeadJob):
			continue
		case err != nil:
			return nil, err
		}
		dead = append(dead, j)
	}
	slices.Reverse(dead)
	return dead, nil
}

// DeadJob returns the dead job with an ID.
func (b *Bus) DeadJob(ctx context.Context, id uint64) (DeadJob, error) {
	stream, err := b.openDead(ctx)
	if err != nil {
		return DeadJob{}, err
	}
	return b.readDead(ctx, stream, id)
}

// Forget removes a dead job.
func (b *Bus) Forget(ctx context.Context, id uint64) error {
	stream, err := b.openDead(ctx)
	if err != nil {
		return err
	}
	if err := stream.DeleteMsg(ctx, id); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return err
	}
	return nil
}

// openDead returns the stream of dead jobs. It does not wait for the server.
func (b *Bus) openDead(ctx context.Context) (jetstream.Stream, error) {
	if !b.hasSession() {
		return nil, fmt.Errorf("the bus is away: %w", nats.ErrNoServers)
	}
	return b.openStream(ctx, b.deadStream())
}

func (b *Bus) readDead(ctx context.Context, stream jetstream.Stream, id uint64) (DeadJob, error) {
	if id == 0 {
		return DeadJob{}, ErrNoDeadJob
	}
	m, err := stream.GetMsg(ctx, id)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return DeadJob{}, ErrNoDeadJob
	} else if err != nil {
		return DeadJob{}, err
	}
	j, err := parseJob(m.Data)
	token := strings.Split(m.Subject, ".")
	if err != nil || len(token) != 5 {
		b.dropJunk(m.Subject, err)
		return DeadJob{}, ErrNoDeadJob
	}
	dead := DeadJob{ID: id, Queue: token[3], Failed: j.Failed, Time: m.Time, Machine: j.Worker, Error: j.Error, Report: j.Report}
	if q := b.queues[dead.Queue]; q != nil {
		dead.Events = j.events(q.Dir)
	}
	return dead, nil
}
