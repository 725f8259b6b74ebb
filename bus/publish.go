package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/execlog/execlogd/inotify"
)

// How long the server may take to say that it has a message, and how long that may take
// at the end.
const (
	ackTimeout   = 5 * time.Second
	publishGrace = time.Second
)

// A root is a Root with what is to be published of it, and what has been received.
type root struct {
	Root
	bus      *Bus
	outbox   *outbox
	versions versions
	places   positions
	handing  sync.Mutex // held while Deliver is called; no other lock is taken under it here

	// Of the goroutine that publishes.
	number uint64    // of the last message
	unsent *nats.Msg // made, and not known to be in the stream

	receiver // of the goroutine that receives
}

func newRoot(b *Bus, r Root) *root {
	of := &root{Root: r, bus: b, outbox: newOutbox(), receiver: newReceiver()}
	of.versions.own = b.machine
	if of.sees() {
		of.places.slack = kernelFirst
	}
	return of
}

func (r *root) sees() bool { return r.Sees != nil && r.Sees() }

// publish publishes what is in the outbox, one message after the other, until ctx ends or
// the server does not take one. That one is published first by the next call; the server
// keeps it once.
func (r *root) publish(ctx context.Context) error {
	for {
		if r.unsent == nil {
			select {
			case <-r.outbox.filled:
			case <-ctx.Done():
				return r.publishRest(ctx)
			}
		}
		if err := r.publishAll(ctx, ackTimeout); err != nil {
			if ctx.Err() != nil {
				return r.publishRest(ctx)
			}
			return err
		}
	}
}

// publishRest publishes what is left when ctx has ended.
func (r *root) publishRest(ctx context.Context) error {
	if conn := r.bus.conn.Load(); !conn.IsConnected() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishGrace)
	defer cancel()
	return r.publishAll(ctx, publishGrace)
}

// publishAll publishes until the outbox is empty.
func (r *root) publishAll(ctx context.Context, timeout time.Duration) error {
	for {
		if r.unsent == nil {
			if r.unsent = r.nextMessage(); r.unsent == nil {
				return nil
			}
		}
		ctx, cancel := context.WithTimeout(ctx, timeout)
		_, err := r.bus.js.PublishMsg(ctx, r.unsent, jetstream.WithExpectStream(r.bus.streamName(changes)))
		cancel()
		if isTooLong(err) {
			r.outbox.lose()
		} else if err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		r.unsent = nil
		r.bus.published.Add(1)
	}
}

// isTooLong reports whether the server, or the stream, takes no message of such a size.
func isTooLong(err error) bool {
	const tooLong = 10054 // as the server has it
	refused, ok := errors.AsType[*jetstream.APIError](err)
	return errors.Is(err, nats.ErrMaxPayload) || ok && refused.ErrorCode == tooLong
}

// nextMessage makes a message of what is in the outbox; nil if that is empty.
func (r *root) nextMessage() *nats.Msg {
	var all []change
	var lost time.Time
	for len(all) == 0 && lost.IsZero() {
		var events []inotify.Event
		if events, lost = r.outbox.take(); len(events) == 0 && lost.IsZero() {
			return nil
		}
		all = r.changesOf(events, r.bus.machine)
	}
	r.number++
	if r.Deliver != nil { // otherwise nobody asks, and nothing comes back
		r.outbox.note(func(since time.Time) { r.places.send(r.number, since) })
	}
	m := message{Format: format, Machine: r.bus.machine, Number: r.number, Changes: all}
	if !lost.IsZero() {
		m.Lost = lost.UnixMilli()
		r.bus.lost.Add(1)
	}
	data, err := json.Marshal(m)
	if err != nil {
		panic(err) // it has only numbers, bytes and text
	}
	msg := nats.NewMsg(r.bus.subject(changes, r.Name, r.bus.machine))
	msg.Data = data
	msg.Header.Set(jetstream.MsgIDHeader, fmt.Sprintf("%s.%s.%d", r.bus.machine, r.Name, r.number))
	return msg
}

// changesOf looks at the paths of events, and leaves out what others than by have told of.
func (r *root) changesOf(events []inotify.Event, by string) (all []change) {
	dir, err := os.OpenRoot(r.Dir)
	if err == nil {
		defer dir.Close()
	}
	seen := make(map[string]version, len(events))
	for _, e := range events {
		v, ok := seen[e.Path]
		if !ok && dir != nil {
			if v, _, err = look(dir, e.Path); errors.Is(err, os.ErrPermission) {
				v = version{} // which every machine takes for older than what it has
			}
			seen[e.Path] = v
		}
		if !isSent(e) || !r.versions.isNew(e.Path, e.Mask&sentMask, v, by) {
			continue
		}
		all = append(all, change{Path: []byte(e.Path), From: []byte(e.From), Mask: e.Mask & sentMask, Version: v})
	}
	return all
}

// news returns those of the events that were found, and did not come from the kernel or from
// another machine, of which nobody has told.
func (r *root) news(events []inotify.Event) (news []inotify.Event) {
	// Once, as later it may be another machine that has changed the file.
	r.changesOf(r.outbox.unlooked(), r.bus.machine)
	for _, e := range events {
		if e.Path == "." {
			news = append(news, e)
		}
	}
	for _, c := range r.changesOf(events, found) {
		news = append(news, c.event(r.Dir))
	}
	return news
}
