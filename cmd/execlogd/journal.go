package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"

	"github.com/execlog/execlogd/job"
)

// A journalHandler sends entries to the journal, each with its route and paths
// as fields, for journalctl EXECLOGD_ROUTE=build. Where there is no socket it
// writes lines with the priority before them that sd-daemon(3) describes.
type journalHandler struct {
	slog.Handler // writes text to out
	out          *journal
	attrs        []slog.Attr
}

// newJournalHandler sends to a socket, and without that writes to w, by way of the
// queue.
func newJournalHandler(w io.Writer, opts *slog.HandlerOptions, socket string, q *logQueue) *journalHandler {
	out := &journal{w: w, socket: socket, queue: q}
	return &journalHandler{out: out, Handler: slog.NewTextHandler(&out.text, &slog.HandlerOptions{
		Level: opts.Level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
				return slog.Attr{}
			}
			return a
		},
	})}
}

func (h *journalHandler) Handle(ctx context.Context, r slog.Record) error {
	attrs := attrsOf(h.attrs, r)
	text, err := h.out.render(ctx, h.Handler, r)
	if err != nil {
		return err
	}
	if isOutput(attrs) {
		text = r.Message
	}
	h.out.send(text, priority(r.Level), attrs)
	return nil
}

func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &journalHandler{h.Handler.WithAttrs(attrs), h.out, append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)}
}

func (h *journalHandler) WithGroup(name string) slog.Handler {
	return &journalHandler{h.Handler.WithGroup(name), h.out, h.attrs}
}

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

// journal is where a journalHandler's entries go, one at a time.
type journal struct {
	w      io.Writer
	socket string
	queue  *logQueue
	conn   net.Conn // of the queue's goroutine

	mu   sync.Mutex // guards what follows
	text bytes.Buffer
}

// render is a record as one line without its end.
func (j *journal) render(ctx context.Context, h slog.Handler, r slog.Record) (string, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.text.Reset()
	err := h.Handle(ctx, r)
	return strings.TrimSuffix(j.text.String(), "\n"), err
}

// send has text sent as an entry, or written as lines where that cannot be.
func (j *journal) send(text, priority string, attrs []slog.Attr) {
	e := entry{}
	e.add("MESSAGE", text)
	e.add("PRIORITY", priority)
	e.add("SYSLOG_IDENTIFIER", "execlogd")
	for _, a := range attrs {
		e.addAttr(a)
	}
	j.queue.add(e.Len(), func() {
		if j.write(e.Bytes()) != nil {
			fmt.Fprintf(j.w, "<%s>%s\n", priority, strings.ReplaceAll(text, "\n", "\n<"+priority+">"))
		}
	})
}

// write sends a datagram, over a new connection if the journal was restarted.
func (j *journal) write(entry []byte) error {
	for range 2 {
		if j.conn == nil {
			conn, err := net.Dial("unixgram", j.socket)
			if err != nil {
				return err
			}
			j.conn = conn
		}
		_, err := j.conn.Write(entry)
		if err == nil || errors.Is(err, syscall.EMSGSIZE) {
			return err
		}
		j.conn.Close()
		j.conn = nil
	}
	return syscall.ECONNREFUSED
}

// An entry is one of the journal, in its native form
// (systemd.io/JOURNAL_NATIVE_PROTOCOL).
type entry struct{ bytes.Buffer }

// add adds a field. A name may have several values, each a field.
func (e *entry) add(name, value string) {
	e.WriteString(name + "\n")
	e.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(value))))
	e.WriteString(value + "\n")
}

// maxFields is about how many bytes of paths an entry has: all must fit into a
// datagram.
const maxFields = 64 << 10

// addAttr adds the attributes that one looks for. The others are in the text.
func (e *entry) addAttr(a slog.Attr) {
	switch v := a.Value.Any().(type) {
	case pathList:
		for _, path := range v {
			if e.Len() < maxFields {
				e.add("EXECLOGD_PATH", path)
			}
		}
	case job.Processes:
		for _, p := range v.First {
			e.add("EXECLOGD_PROCESS", p.String())
		}
	case string:
		if a.Key == "route" {
			e.add("EXECLOGD_ROUTE", v)
		}
	}
}

// attrsOf are the attributes of a record and those that its logger adds.
func attrsOf(attrs []slog.Attr, r slog.Record) []slog.Attr {
	all := attrs[:len(attrs):len(attrs)]
	r.Attrs(func(a slog.Attr) bool {
		all = append(all, a)
		return true
	})
	return all
}

// isOutput says whether attributes are those of a line that a job has written,
// which has its route alone.
func isOutput(attrs []slog.Attr) bool { return len(attrs) == 1 && attrs[0].Key == "route" }

// A pathList is the paths that an entry is about. As text it is the first.
type pathList []string

func (l pathList) MarshalText() ([]byte, error) {
	switch len(l) {
	case 0:
		return nil, nil
	case 1:
		return []byte(l[0]), nil
	}
	return fmt.Appendf(nil, "%s and %d more", l[0], len(l)-1), nil
}
