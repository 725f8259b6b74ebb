package logging

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"

	"github.com/execlog/execlogd/job"
)

// newJournalHandler returns a handler that sends records to systemd's journal. The route
// and the paths are fields of an entry, so that journalctl EXECLOGD_ROUTE=build finds it.
// Where journald cannot be reached, as in a container, it writes lines that begin with
// their priority (sd-daemon(3)).
//
// go-systemd's journal package does not serve: it allows one value for each field,
// and we have several paths.
func newJournalHandler(w io.Writer, q *Queue, o Options) slog.Handler {
	j := &journal{w: w, queue: q, to: &net.UnixAddr{Name: o.JournalSocket, Net: "unixgram"}}
	j.conn, j.connErr = net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram"})

	text := slog.NewTextHandler(&j.text, &slog.HandlerOptions{
		Level: o.Level,
		// Both are fields of the entry.
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
				return slog.Attr{}
			}
			return a
		},
	})
	return attrsHandler{Handler: text, handle: j.handle}
}

// A journal is the socket for journald. The handlers derived from one another share
// it.
type journal struct {
	w     io.Writer // gets lines where journald cannot be reached
	queue *Queue

	// The socket is not connected: each entry looks up the address again, and so
	// reaches a journald that was restarted.
	conn    *net.UnixConn
	connErr error
	to      *net.UnixAddr

	mu   sync.Mutex // guards text
	text bytes.Buffer
}

// handle queues a record as an entry. Its text is what h writes into j.text, or the line
// alone that a command wrote. If the entry cannot be sent, the text is written as lines.
func (j *journal) handle(ctx context.Context, h slog.Handler, r slog.Record, attrs []slog.Attr) error {
	text := r.Message
	if !isOutput(attrs) {
		j.mu.Lock()
		j.text.Reset()
		err := h.Handle(ctx, r)
		text = strings.TrimSuffix(j.text.String(), "\n")
		j.mu.Unlock()
		if err != nil {
			return err
		}
	}

	level := priority(r.Level)
	e := entry{}
	e.add("MESSAGE", text)
	e.add("PRIORITY", level)
	e.add("SYSLOG_IDENTIFIER", "execlogd")
	for _, a := range attrs {
		e.addAttr(a)
	}
	j.queue.add(e.Len(), func() {
		err := j.connErr
		if err == nil {
			_, err = j.conn.WriteToUnix(e.Bytes(), j.to)
		}
		if err != nil {
			fmt.Fprintf(j.w, "<%s>%s\n", level, strings.ReplaceAll(text, "\n", "\n<"+level+">"))
		}
	})
	return nil
}

// priority returns the priority of syslog(3) for a level.
func priority(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "3"
	case l >= slog.LevelWarn:
		return "4"
	case l >= slog.LevelInfo:
		return "6"
	}
	return "7"
}

// An entry is one entry of the journal in its native format
// (systemd.io/JOURNAL_NATIVE_PROTOCOL).
type entry struct{ bytes.Buffer }

// add adds a field. Fields of the same name are several values of it.
func (e *entry) add(name, value string) {
	e.WriteString(name + "\n")
	e.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(value))))
	e.WriteString(value + "\n")
}

// maxPathBytes is the size from which an entry gets no more paths: all of it must
// fit into one datagram.
const maxPathBytes = 64 << 10

// addAttr adds the attributes that a user searches for. The others are in the text
// alone.
func (e *entry) addAttr(a slog.Attr) {
	switch v := a.Value.Any().(type) {
	case Paths:
		for _, path := range v {
			if e.Len() < maxPathBytes {
				e.add("EXECLOGD_PATH", path)
			}
		}
	case job.Processes:
		for _, p := range v.First {
			e.add("EXECLOGD_PROCESS", p.String())
		}
	case string:
		if a.Key == RouteKey {
			e.add("EXECLOGD_ROUTE", v)
		}
	}
}
