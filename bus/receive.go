package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/execlog/execlogd/inotify"
)

// Times of what is received.
const (
	beatInterval = 2 * time.Second
	silence      = 3 * beatInterval // after which a machine is not heard any more
	maxGap       = time.Minute      // for which nobody need have polled while none was heard that sees everything
	maxArrival   = 2 * time.Second  // for which a file may be late
	minLook      = time.Millisecond
	maxLook      = 100 * time.Millisecond
)

// What is kept of other machines at most.
const (
	maxMachines = 1 << 12
	maxArriving = 1 << 16 // events
	maxHanded   = 1 << 10 // events of a comparison in one call of Deliver
)

// A receiver is what a root knows of the messages of other machines. One goroutine at a
// time uses it.
type receiver struct {
	began    time.Time         // changes from then on are wanted
	complete time.Time         // nothing from before then is missing
	created  time.Time         // of the stream; zero before the first session
	next     uint64            // number of the next message in the stream; 0 before the first
	numbers  map[string]uint64 // of the last message of each machine

	queue  []arriving         // what is to be delivered, in order
	latest map[string]version // what was announced last of each path in the queue
	pause  time.Duration      // before the next look at the head of the queue

	heard    time.Time            // when any other machine was
	seers    map[string]time.Time // when those were that see everything
	heardAll time.Time            // the last of them; zero if there was none
	live     bool
}

// An arriving is a change that was received, whose file may not be here yet.
type arriving struct {
	change
	by    string    // machine
	until time.Time // when it is delivered in any case
	lost  time.Time // or that changes were lost since then

	number uint64 // of its message in the stream, or a lower one; 0 for a loss
}

func newReceiver() receiver {
	now := time.Now()
	return receiver{began: now, complete: now, numbers: make(map[string]uint64), latest: make(map[string]version), seers: make(map[string]time.Time)}
}

// receive delivers what other machines publish, and tells them that this one is there,
// until ctx ends or something fails.
func (r *root) receive(ctx context.Context, conn *nats.Conn, stream jetstream.Stream) error {
	defer r.setLive(false)
	beats := make(chan *nats.Msg, 256)
	hearing, err := conn.ChanSubscribe(r.bus.subject(alive, r.Name, "*"), beats)
	if err != nil {
		return err
	}
	defer hearing.Unsubscribe()

	in, early := new(incoming), make(chan *nats.Msg, 1024)
	if r.Deliver != nil {
		// Messages come by the stream, and mostly sooner by the subject itself, before they are
		// stored. If the channel is full they come by the stream alone.
		hearing, err := conn.ChanSubscribe(r.bus.subject(changes, r.Name, "*"), early)
		if err != nil {
			return err
		}
		defer hearing.Unsubscribe()
		consumer, err := r.openConsumer(ctx, stream)
		if err != nil {
			return fmt.Errorf("consumer: %w", err)
		}
		if in, err = consume(ctx, consumer); err != nil {
			return err
		}
		defer in.stop()
	}

	r.beat(conn, true)
	// By a goroutine of its own, as a comparison may take long, and others would take this machine
	// for one that has gone.
	var beating sync.WaitGroup
	defer beating.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	beating.Go(func() {
		for sleep(ctx, beatInterval) == nil {
			r.beat(conn, false)
		}
	})
	tick := time.NewTicker(beatInterval)
	defer tick.Stop()
	look := time.NewTimer(0) // at the head of the queue, which may be from the last session
	defer look.Stop()
	for {
		messages := in.messages
		if len(r.queue) >= maxArriving {
			messages = nil
		}
		select {
		case m := <-messages:
			number, err := in.number(m)
			if err != nil {
				return err
			}
			r.next = number + 1
			r.take(m.Subject(), m.Data())
		case m := <-early:
			if len(r.queue) < maxArriving {
				r.takeEarly(m.Subject, m.Data)
			}
		case m := <-beats:
			if r.hear(m) {
				r.beat(conn, false)
			}
		case <-tick.C:
			if len(r.queue) == 0 {
				r.complete = time.Now().Add(-silence) // the connection may be lost, and nobody know yet
			}
		case <-look.C:
		case err := <-in.failed:
			return err
		case <-ctx.Done():
			return nil
		}
		r.setLive(r.isHeard(time.Now()))
		r.deliver(ctx)
		if len(r.queue) > 0 {
			look.Reset(r.pause)
		}
	}
}

// openConsumer has the server send what was published after the last message that came,
// or since this machine began.
func (r *root) openConsumer(ctx context.Context, stream jetstream.Stream) (jetstream.Consumer, error) {
	info, err := stream.Info(ctx)
	if err != nil {
		return nil, err
	}
	cfg := jetstream.ConsumerConfig{
		FilterSubject: r.bus.subject(changes, r.Name, "*"),
		AckPolicy:     jetstream.AckNonePolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
	}

	state := info.State
	isOther := !r.created.IsZero() && !info.Created.Equal(r.created)
	switch {
	case isOther, r.next > state.LastSeq+1, r.next != 0 && state.FirstSeq > r.next:
		// The stream is another, or does not have all that came since.
		r.lose(r.complete)
		cfg.OptStartSeq = max(1, state.FirstSeq)
	case r.next != 0:
		cfg.OptStartSeq = r.next
	default:
		began := r.beganBy(info.TimeStamp)
		if state.FirstSeq > 1 && state.FirstTime.After(began) {
			r.lose(r.began)
		}
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &began
	}
	consumer, err := stream.CreateConsumer(ctx, cfg)
	if err != nil {
		return nil, err
	}
	r.created = info.Created
	defer func() { r.places.begin(r.created, r.next) }()
	if cfg.OptStartSeq != 0 {
		r.next = cfg.OptStartSeq
	} else if consumer.CachedInfo().NumPending == 0 {
		r.next = state.LastSeq + 1
	}
	return consumer, nil
}

// beganBy returns when this machine began by the clock of the server, as the times in the stream
// are. It is now there.
func (r *root) beganBy(now time.Time) time.Time {
	if now.IsZero() { // an old server does not say
		return r.began
	}
	return now.Add(-time.Since(r.began))
}

// lose puts into the queue that changes were lost since a time.
func (r *root) lose(since time.Time) {
	r.bus.lost.Add(1)
	if n := len(r.queue); n > 0 && !r.queue[n-1].lost.IsZero() { // one comparison is enough
		if last := &r.queue[n-1].lost; since.Before(*last) {
			*last = since
		}
		return
	}
	r.queue = append(r.queue, arriving{lost: since})
}

// take puts into the queue what another machine has published.
func (r *root) take(subject string, data []byte) {
	machine := subject[strings.LastIndexByte(subject, '.')+1:]
	m, err := parse(data, machine)
	if machine == r.bus.machine {
		r.places.come(r.next-1, m.Number)
		return
	}
	r.places.come(r.next-1, 0)
	if err != nil {
		r.bus.dropJunk(subject, err)
		return
	}
	last, known := r.numbers[machine]
	switch {
	case m.Number <= last:
		return // it came before, or early
	case known && m.Number > last+1:
		r.lose(r.complete)
	case !known && len(r.numbers) >= maxMachines:
		clear(r.numbers)
	}
	r.bus.received.Add(1)
	if m.Lost != 0 {
		r.lose(m.lostSince())
	}
	r.enqueue(machine, m, r.next-1)
}

// takeEarly is take for what is not in the stream yet, as far as this machine knows: its number
// there is r.next, or a later one. What does not follow the last message of its machine comes
// by the stream.
func (r *root) takeEarly(subject string, data []byte) {
	machine := subject[strings.LastIndexByte(subject, '.')+1:]
	m, err := parse(data, machine)
	last, known := r.numbers[machine]
	if err != nil || !known || m.Number != last+1 || m.Lost != 0 {
		return
	}
	r.bus.received.Add(1)
	r.enqueue(machine, m, r.next)
}

// enqueue puts the changes of a message into the queue, with its number in the stream or one
// before it.
func (r *root) enqueue(machine string, m message, number uint64) {
	r.numbers[machine] = m.Number
	until := time.Now().Add(maxArrival)
	for _, c := range m.Changes {
		r.queue = append(r.queue, arriving{change: c, by: machine, until: until, number: number})
		r.latest[string(c.Path)] = c.Version
	}
	r.pause = 0
}

// deliver delivers what is at the head of the queue and has arrived. What has not holds
// back what comes after it, so that the order stays.
func (r *root) deliver(ctx context.Context) {
	if len(r.queue) == 0 {
		r.places.handedOn(r.next)
		return
	}
	dir, err := os.OpenRoot(r.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		r.queue = nil // the watcher reports what is there when the root is back
		clear(r.latest)
		return
	case err != nil: // as when this process has no descriptor left, or the file server is away
		r.pause = maxLook
		return
	}
	defer dir.Close()

	var events []inotify.Event
	n := 0
	for ; n < len(r.queue) && ctx.Err() == nil; n++ {
		a := &r.queue[n]
		if !a.lost.IsZero() {
			r.hand(events)
			events = nil
			r.compare(ctx, dir, a.lost)
			if ctx.Err() != nil {
				break // the next session compares all of it
			}
			continue
		}
		here, err := arrived(dir, string(a.Path), a.Mask&inotify.IsDir != 0, r.latest[string(a.Path)])
		if errors.Is(err, fs.ErrPermission) {
			continue // the kernel would not tell of it here either
		}
		if _, bySystem := errors.AsType[syscall.Errno](err); err != nil && !bySystem { // the path leads out of the root
			r.bus.dropJunk(r.bus.subject(changes, r.Name, a.by), err)
			continue
		}
		if !here && time.Now().Before(a.until) {
			break
		}
		if r.versions.isNew(string(a.Path), a.Mask, a.Version, a.by) {
			events = append(events, a.event(r.Dir))
		}
	}
	r.hand(events)
	if n == len(r.queue) {
		r.places.handedOn(r.next)
	} else {
		r.places.handedOn(r.queue[n].number)
	}

	if n > 0 {
		r.pause = 0
	}
	r.pause = min(max(minLook, r.pause*3/2), maxLook)
	if r.queue = r.queue[n:]; len(r.queue) == 0 {
		r.queue, r.latest = nil, make(map[string]version)
	}
}

// hand hands events on. Two goroutines may do that.
func (r *root) hand(events []inotify.Event) {
	if len(events) > 0 {
		r.handing.Lock()
		defer r.handing.Unlock()
		r.Deliver(events)
	}
}

// compare hands on that changes were lost, and what has changed since then of which nobody
// has told.
func (r *root) compare(ctx context.Context, dir *os.Root, since time.Time) {
	r.hand([]inotify.Event{{Root: r.Dir, Path: ".", Mask: inotify.Overflow | inotify.IsDir}})
	var events []inotify.Event
	compare(ctx, dir, r.Dir, since, r.Skip, func(e inotify.Event) {
		if events = append(events, e); len(events) >= maxHanded {
			r.hand(r.news(events))
			events = nil
		}
	})
	r.hand(r.news(events))
}

// A beat is what a machine says of itself from time to time.
type beat struct {
	Format int  `json:"v"`
	Sees   bool `json:"sees,omitempty"` // it sees all changes of the root
	Asks   bool `json:"asks,omitempty"` // it has just come, and wants to know who is there
}

// beat tells other machines that this one publishes the changes of the root.
func (r *root) beat(conn *nats.Conn, asks bool) {
	data, _ := json.Marshal(beat{Format: format, Sees: r.sees(), Asks: asks})
	_ = conn.Publish(r.bus.subject(alive, r.Name, r.bus.machine), data) // if the connection is lost the session ends
}

// hear takes in that another machine is there, and reports whether it asks who else is.
func (r *root) hear(m *nats.Msg) (asks bool) {
	var b beat
	err := json.Unmarshal(m.Data, &b)
	if err == nil && b.Format != format {
		err = fmt.Errorf("format %d", b.Format)
	}
	if err != nil {
		r.bus.dropJunk(m.Subject, err)
		return false
	}
	machine := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	r.heard = time.Now()
	_, known := r.seers[machine]
	switch {
	case b.Sees:
		if b.Asks && !known && !r.heardAll.IsZero() && r.heard.Sub(r.heardAll) < maxGap && r.Deliver != nil && !r.sees() {
			// As a relay that was started again: nobody tells of what has changed in between.
			r.lose(r.heardAll)
		}
		if !known && len(r.seers) >= maxMachines {
			clear(r.seers)
		}
		r.seers[machine], r.heardAll = r.heard, r.heard
	case known: // a remote file system was mounted there
		delete(r.seers, machine)
		r.heardAll = time.Time{}
		for _, heard := range r.seers {
			if heard.After(r.heardAll) {
				r.heardAll = heard
			}
		}
	}
	return b.Asks
}

// isHeard reports whether changes of others come: a machine was heard lately that sees all
// of them, or if there never was one, any machine, as each sees its own.
func (r *root) isHeard(now time.Time) bool {
	last := r.heardAll
	if last.IsZero() {
		last = r.heard
	}
	return !last.IsZero() && now.Sub(last) < silence
}

// setLive tells whether changes of others come, if that has changed.
func (r *root) setLive(live bool) {
	if r.live == live {
		return
	}
	r.live = live
	if r.Live != nil {
		r.Live(live, r.complete)
	}
}
