package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// An incoming is what a consumer brings: the messages in order, with none left out.
type incoming struct {
	messages chan jetstream.Msg
	failed   chan error // holds one
	stop     func()     // must be called; messages that were not taken are dropped

	delivered uint64
}

// consume begins to consume, until ctx ends.
func consume(ctx context.Context, consumer jetstream.Consumer) (*incoming, error) {
	ctx, cancel := context.WithCancel(ctx)
	in := &incoming{messages: make(chan jetstream.Msg), failed: make(chan error, 1)}
	consuming, err := consumer.Consume(func(m jetstream.Msg) {
		select {
		case in.messages <- m:
		case <-ctx.Done():
		}
	}, jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
		select {
		case in.failed <- err:
		default:
		}
	}))
	if err != nil {
		cancel()
		return nil, fmt.Errorf("consumer: %w", err)
	}
	in.stop = func() {
		cancel()
		consuming.Stop()
		<-consuming.Closed()
	}
	return in, nil
}

// number returns the number of a message in the stream. It is an error if one before it
// has not come.
func (in *incoming) number(m jetstream.Msg) (uint64, error) {
	meta, err := m.Metadata()
	in.delivered++
	if err != nil || meta.Sequence.Consumer != in.delivered {
		return 0, errors.New("messages are missing between the server and here")
	}
	return meta.Sequence.Stream, nil
}
