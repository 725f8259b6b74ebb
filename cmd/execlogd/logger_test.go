package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestLogFitsWhereItGoes(t *testing.T) {
	tests := []struct{ name, format, journal, want string }{
		{"a file", "auto", "", `^time=\S+ level=WARN msg=m k=v\n$`},
		{"the journal", "auto", "this", `^<4>msg=m k=v\n$`},
		{"a file, of a program that the journal's descendant started", "auto", "other", `^time=\S+ level=WARN msg=m k=v\n$`},
		{"JSON for the journal", "json", "this", `^{"time":\S+,"level":"WARN","msg":"m","k":"v"}\n$`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			t.Setenv("JOURNAL_STREAM", map[string]string{"": "", "this": device(t, out), "other": "1:2"}[tt.journal])
			q := newLogQueue()
			log := slog.New(newHandler(config{logLevel: "info", logFormat: tt.format, journal: "/no/such"}, out, q))
			log.Debug("not asked for")
			log.Warn("m", "k", "v")
			q.close(time.Minute)
			text, err := os.ReadFile(out.Name())
			if err != nil {
				t.Fatal(err)
			}
			if !regexp.MustCompile(tt.want).Match(text) {
				t.Errorf("got %q, want %s", text, tt.want)
			}
		})
	}
}

// Loggers that were made before the handler was changed log to the new one.
func TestSwitchboard(t *testing.T) {
	var first, second strings.Builder
	plain := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	s := newSwitchboard(slog.NewTextHandler(&first, plain))
	log := slog.New(s)
	grouped := log.With("a", 1).WithGroup("g").With("b", 2)
	grouped.Info("one", "c", 3)
	log.Debug("not asked for")
	s.set(slog.NewJSONHandler(&second, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: plain.ReplaceAttr}))
	grouped.Debug("two", "c", 3)
	if got, want := first.String(), "level=INFO msg=one a=1 g.b=2 g.c=3\n"; got != want {
		t.Errorf("at first got %q, want %q", got, want)
	}
	if got, want := second.String(), `{"level":"DEBUG","msg":"two","a":1,"g":{"b":2,"c":3}}`+"\n"; got != want {
		t.Errorf("then got %q, want %q", got, want)
	}
}

func device(t *testing.T, f *os.File) string {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}
