package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"syscall"
)

// A switchboard is a handler that may become another, for all loggers that
// were made of it too.
type switchboard struct {
	to  *atomic.Pointer[slog.Handler]
	now func() slog.Handler // what that is, with what With and WithGroup have added
}

func newSwitchboard(h slog.Handler) *switchboard {
	to := new(atomic.Pointer[slog.Handler])
	to.Store(&h)
	return &switchboard{to, func() slog.Handler { return *to.Load() }}
}

// set has all that is logged from now on go to h.
func (s *switchboard) set(h slog.Handler) { s.to.Store(&h) }

func (s *switchboard) Enabled(ctx context.Context, l slog.Level) bool {
	return (*s.to.Load()).Enabled(ctx, l)
}

func (s *switchboard) Handle(ctx context.Context, r slog.Record) error {
	return s.now().Handle(ctx, r)
}

func (s *switchboard) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &switchboard{s.to, func() slog.Handler { return s.now().WithAttrs(attrs) }}
}

func (s *switchboard) WithGroup(name string) slog.Handler {
	return &switchboard{s.to, func() slog.Handler { return s.now().WithGroup(name) }}
}

// newHandler logs to w, by way of the queue: JSON when it is asked for, short
// coloured lines on a terminal, entries of the journal where w leads there, and
// plain text elsewhere.
func newHandler(cfg config, w io.Writer, q *logQueue) slog.Handler {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.logLevel)); err != nil {
		panic(err) // the configuration was checked
	}
	opts := &slog.HandlerOptions{Level: level}
	switch {
	case cfg.logFormat == "json":
		return slog.NewJSONHandler(q.writer(w), opts)
	case cfg.logFormat == "auto" && isTerminal(w):
		return newConsoleHandler(q.writer(w), level, os.Getenv("NO_COLOR") != "", cfg.routes...)
	case isJournal(w):
		return newJournalHandler(w, opts, cfg.journal, q)
	}
	return slog.NewTextHandler(q.writer(w), opts)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// isJournal says whether w leads to the journal: JOURNAL_STREAM names the device
// and inode of what does (systemd.exec(5)), and is inherited by programs that
// write elsewhere.
func isJournal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}
