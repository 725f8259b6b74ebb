package logging

import (
	"bytes"
	"context"
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/job"
)

// newJournalHandler returns a handler that sends records to systemd's journal. All
// attributes are fields of an entry, so that journalctl EXECLOGD_ROUTE=build finds it.
// Where journald cannot be reached, as in a container, it writes lines that begin with
// their priority (sd-daemon(3)).
//
// go-systemd's journal package does not serve: it allows one value for each field,
// and we have several paths.
func newJournalHandler(w io.Writer, q *Queue, o Options) slog.Handler {
	j := &journal{w: w, queue: q, to: &net.UnixAddr{Name: o.JournalSocket, Net: "unixgram"}}
	j.conn, j.connErr = net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram"})

	q.add(1, func() { introduce(w) })

	// What is a field of every entry, or has its place in front, is not repeated.
	inFront := []string{slog.TimeKey, slog.LevelKey, slog.MessageKey, RouteKey, ErrKey, NowKey, stackKey}
	text := slog.NewTextHandler(&j.text, &slog.HandlerOptions{
		Level: o.Level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && slices.Contains(inFront, a.Key) {
				return slog.Attr{}
			}
			return a
		},
	})
	return attrsHandler{Handler: text, handle: j.handle}
}

// A JournalWriter is a writer of which each Write is an entry of the journal.
type JournalWriter struct {
	conn       *net.UnixConn
	to         *net.UnixAddr
	identifier string
}

// NewJournalWriter returns a writer of entries with an identifier (SYSLOG_IDENTIFIER=) and
// the priority of level Info. Without a journal it is an error.
func NewJournalWriter(o Options, identifier string) (*JournalWriter, error) {
	if _, err := os.Stat(o.JournalSocket); err != nil {
		return nil, fmt.Errorf("no journal: %w", err)
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	return &JournalWriter{conn, &net.UnixAddr{Name: o.JournalSocket, Net: "unixgram"}, identifier}, nil
}

// Write implements io.Writer.
func (j *JournalWriter) Write(text []byte) (int, error) {
	e := entry{}
	e.add("MESSAGE", strings.TrimSuffix(string(text), "\n"))
	e.add("PRIORITY", priority(slog.LevelInfo))
	e.add("SYSLOG_IDENTIFIER", j.identifier)
	if _, err := j.conn.WriteToUnix(e.Bytes(), j.to); err != nil {
		return 0, err
	}
	return len(text), nil
}

// Close implements io.Closer.
func (j *JournalWriter) Close() error { return j.conn.Close() }

// introduce has journald know the unit of this process. It looks that up when it reads an
// entry, and the process may have ended by then, as at an error at the start. It remembers
// the unit of one from whose standard error it has read. An empty line is no entry.
func introduce(w io.Writer) {
	_, _ = io.WriteString(w, "\n")
	f, ok := w.(*os.File)
	if !ok {
		return
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}

	for until := time.Now().Add(introduceTimeout); time.Now().Before(until); time.Sleep(time.Millisecond) {
		unread := 0
		_ = conn.Control(func(fd uintptr) { unread, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
		if unread == 0 {
			return
		}
	}
}

// introduceTimeout is how long journald may take to read a line before entries follow.
const introduceTimeout = 500 * time.Millisecond

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

// handle queues a record as an entry. Its text is the message, between the route and what
// is wrong, followed by what h writes into j.text; or the line alone that a command wrote.
// If the entry cannot be sent, the text is written as lines.
func (j *journal) handle(ctx context.Context, h slog.Handler, r slog.Record, attrs []slog.Attr) error {
	text := r.Message
	if !isOutput(attrs) {
		j.mu.Lock()
		j.text.Reset()
		err := h.Handle(ctx, r)
		rest := strings.TrimSuffix(j.text.String(), "\n")
		j.mu.Unlock()
		if err != nil {
			return err
		}
		text = entryText(r.Message, attrs, rest)
	}

	level := priority(r.Level)
	e := entry{}
	e.add("MESSAGE", text)
	e.add("PRIORITY", level)
	e.add("SYSLOG_IDENTIFIER", "execlogd")
	if id, ok := MessageIDs[r.Message]; ok && !isOutput(attrs) {
		e.add("MESSAGE_ID", id)
	}
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

// entryText returns the text of an entry: "route: what: why", and the rest.
func entryText(what string, attrs []slog.Attr, rest string) string {
	var route, why string
	for _, a := range attrs {
		switch a.Key {
		case RouteKey:
			route = valueText(a.Value) + ": "
		case ErrKey, NowKey:
			why = ": " + valueText(withPlace(nil, a).Value)
		}
	}
	if rest != "" {
		rest = " " + rest
	}
	return Printable(route+what+why) + rest
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
	value = value[:min(len(value), maxValueBytes)]
	e.WriteString(name + "\n")
	e.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(value))))
	e.WriteString(value + "\n")
}

// All of an entry must fit into one datagram.
const (
	maxEntryBytes = 64 << 10 // from here on it gets no more paths
	maxValueBytes = 32 << 10 // where the value of a field is cut
)

// addAttr adds an attribute: EXECLOGD_ and its name, once for each path and process. The
// field of a duration is in microseconds, and its name says so.
func (e *entry) addAttr(a slog.Attr) {
	name := "EXECLOGD_" + strings.ToUpper(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, a.Key))

	switch v := a.Value.Resolve().Any().(type) {
	case Paths:
		for _, path := range v {
			if e.Len() < maxEntryBytes {
				e.add(name, path)
			}
		}
	case job.Processes:
		for _, p := range v.First {
			e.add("EXECLOGD_PROCESS", p.String())
		}
	case time.Duration:
		e.add(name+"_USEC", strconv.FormatInt(v.Microseconds(), 10))
	default:
		e.add(name, valueText(a.Value))
	}
	if err, ok := a.Value.Any().(error); ok {
		e.addExit(err)
	}
}

// addExit adds how the command ended whose failure an error is, and what is wrong by its
// output.
func (e *entry) addExit(err error) {
	failed, ok := errors.AsType[*job.Error](err)
	if !ok {
		return
	}
	if p := failed.Run.Problem; p.Message != "" {
		e.add("EXECLOGD_PROBLEM", p.Message)
		if p.File != "" {
			e.add("EXECLOGD_FILE", p.File)
		}
		if p.Line > 0 {
			e.add("EXECLOGD_LINE", strconv.Itoa(p.Line))
		}
	}
	switch {
	case failed.Run.Signal != 0:
		e.add("EXECLOGD_SIGNAL", unix.SignalName(failed.Run.Signal))
	case failed.Run.Exit >= 0:
		e.add("EXECLOGD_EXIT_STATUS", strconv.Itoa(failed.Run.Exit))
	}
}

// valueText returns the value of an attribute as text.
func valueText(v slog.Value) string {
	v = v.Resolve()
	if m, ok := v.Any().(encoding.TextMarshaler); ok {
		if text, err := m.MarshalText(); err == nil {
			return string(text)
		}
	}
	return v.String()
}

// newPriorityHandler returns a handler that writes lines of JSON to a journald that reads
// w, each with its priority in front, which is no part of the entry (sd-daemon(3)).
func newPriorityHandler(w io.Writer, o *slog.HandlerOptions) slog.Handler {
	var mu sync.Mutex // guards line
	var line bytes.Buffer
	handle := func(ctx context.Context, h slog.Handler, r slog.Record, _ []slog.Attr) error {
		mu.Lock()
		defer mu.Unlock()
		line.Reset()
		fmt.Fprintf(&line, "<%s>", priority(r.Level))
		if err := h.Handle(ctx, r); err != nil {
			return err
		}
		_, err := w.Write(line.Bytes())
		return err
	}
	return attrsHandler{Handler: slog.NewJSONHandler(&line, o), handle: handle}
}
