package logging

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"syscall"
)

// Options say how and what to log.
type Options struct {
	Level  slog.Level
	Format Format

	// NoColor turns colours on a terminal off, as NO_COLOR asks for.
	NoColor bool

	// Routes are the names of the routes, so that their column on a terminal is wide
	// enough from the first line on.
	Routes []string

	// JournalStream is the variable of that name in the environment (systemd.exec(5)):
	// device and inode of a file that leads to the journal.
	JournalStream string

	// JournalSocket is where systemd-journald listens.
	JournalSocket string
}

// A Format is how records are written.
type Format string

// The formats that a user may ask for.
const (
	Auto Format = "auto" // lines with colours on a terminal, otherwise as Text
	Text Format = "text" // entries where the journal reads, key=value lines elsewhere
	JSON Format = "json"
)

// SystemOptions returns the options that the environment says, and the default level.
func SystemOptions() Options {
	return Options{
		NoColor:       os.Getenv("NO_COLOR") != "",
		JournalStream: os.Getenv("JOURNAL_STREAM"),
		JournalSocket: "/run/systemd/journal/socket", // systemd-journald(8)
	}
}

// NewHandler returns a handler that writes to w by way of q.
func NewHandler(w io.Writer, q *Queue, o Options) slog.Handler {
	opts := &slog.HandlerOptions{Level: o.Level, ReplaceAttr: withPlace}
	switch {
	case o.Format == JSON && o.ToJournal(w):
		return newPriorityHandler(q.Writer(w), opts)
	case o.Format == JSON:
		return slog.NewJSONHandler(q.Writer(w), opts)
	case o.Format == Auto && IsTerminal(w):
		return newConsoleHandler(q.Writer(w), o)
	case o.ToJournal(w):
		return newJournalHandler(w, q, o)
	}
	return slog.NewTextHandler(q.Writer(w), opts)
}

// WriteFatal writes the error that ends the process to w before it returns, but does not
// wait for ever until somebody reads it: as a line, or as an entry where the journal reads.
func WriteFatal(w io.Writer, err error) {
	q := NewQueue(nil)
	defer q.Close()
	if o := SystemOptions(); o.ToJournal(w) {
		slog.New(newJournalHandler(w, q, o)).Error(Fatal, ErrKey, err)
		return
	}
	fmt.Fprintln(q.Writer(w), "execlogd:", err)
}

// IsTerminal reports whether w is a terminal, or another character device.
func IsTerminal(w io.Writer) bool {
	info := fileInfo(w)
	return info != nil && info.Mode()&os.ModeCharDevice != 0
}

// ToJournal reports whether w leads to the journal. JOURNAL_STREAM alone does not
// say so: it is inherited by programs whose output goes elsewhere.
func (o Options) ToJournal(w io.Writer) bool {
	info := fileInfo(w)
	if info == nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && o.JournalStream == fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}

// fileInfo returns what is known of the file that w is, or nil.
func fileInfo(w io.Writer) fs.FileInfo {
	f, ok := w.(interface{ Stat() (fs.FileInfo, error) }) // an *os.File or a *LiveLine
	if !ok {
		return nil
	}
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	return info
}

// A SwapHandler passes records on to another handler, which Set replaces. Loggers
// that were derived from it (With, WithGroup) follow.
type SwapHandler struct {
	current *atomic.Pointer[slog.Handler] // shared with all that were derived

	// derived returns the current handler with the attributes and groups that were
	// added on the way to this one.
	derived func() slog.Handler
}

// NewSwapHandler returns a handler that passes records on to h.
func NewSwapHandler(h slog.Handler) *SwapHandler {
	current := new(atomic.Pointer[slog.Handler])
	current.Store(&h)
	return &SwapHandler{current, func() slog.Handler { return *current.Load() }}
}

// Set passes all later records on to h.
func (s *SwapHandler) Set(h slog.Handler) { s.current.Store(&h) }

// Enabled implements [slog.Handler].
func (s *SwapHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return (*s.current.Load()).Enabled(ctx, l)
}

// Handle implements [slog.Handler].
func (s *SwapHandler) Handle(ctx context.Context, r slog.Record) error {
	return s.derived().Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (s *SwapHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &SwapHandler{s.current, func() slog.Handler { return s.derived().WithAttrs(attrs) }}
}

// WithGroup implements [slog.Handler].
func (s *SwapHandler) WithGroup(name string) slog.Handler {
	return &SwapHandler{s.current, func() slog.Handler { return s.derived().WithGroup(name) }}
}
