package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"syscall"
)

// newLogger logs to w: JSON when it is asked for, short coloured lines on a
// terminal, entries of the journal where w leads there, and plain text
// elsewhere.
func newLogger(cfg config, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.logLevel)); err != nil {
		panic(err) // the configuration was checked
	}
	opts := &slog.HandlerOptions{Level: level}
	switch {
	case cfg.logFormat == "json":
		return slog.New(slog.NewJSONHandler(w, opts))
	case cfg.logFormat == "auto" && isTerminal(w):
		return slog.New(newConsoleHandler(w, level, os.Getenv("NO_COLOR") != "", cfg.routes...))
	case isJournal(w):
		return slog.New(newJournalHandler(w, opts, cfg.journal))
	}
	return slog.New(slog.NewTextHandler(w, opts))
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
