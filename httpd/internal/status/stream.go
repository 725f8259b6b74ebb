package status

import (
	"bytes"
	"context"
	"strings"
	"time"
)

// The timing of a stream.
const (
	streamPause     = time.Second / 4  // at least, between two renderings
	streamPoll      = 2 * time.Second  // to the next look where nothing was said to have changed: watches come and go unsaid
	streamKeepAlive = 15 * time.Second // at most, between two lines: proxies close a silent connection
)

// eventLines puts a text into the data field of a server-sent event. There, as in
// HTML, a carriage return ends a line.
var eventLines = strings.NewReplacer("\r\n", "\ndata: ", "\r", "\ndata: ", "\n", "\ndata: ")

// Stream sends what render returns as server-sent events, at once and then whenever
// it is not what it was, until ctx ends or send fails. Changed returns channels
// that are closed when something may have changed; a nil one never is.
func Stream(ctx context.Context, changed func() [2]<-chan struct{}, render func() []byte, send func(string) error) {
	poll := time.NewTicker(streamPoll)
	defer poll.Stop()

	var last []byte
	var sent time.Time
	for text := "retry: 1000\n"; ; text = "" {
		// Before rendering, so that no change falls between the two.
		news := changed()

		if now := render(); !bytes.Equal(now, last) {
			last = now
			text += "data: " + eventLines.Replace(string(now)) + "\n\n"
		} else if time.Since(sent) >= streamKeepAlive-streamPoll {
			text = ":\n\n"
		}
		if text != "" {
			if send(text) != nil {
				return
			}
			sent = time.Now()
		}

		select {
		case <-time.After(streamPause):
		case <-ctx.Done():
			return
		}
		select {
		case <-news[0]:
		case <-news[1]:
		case <-poll.C:
		case <-ctx.Done():
			return
		}
	}
}
