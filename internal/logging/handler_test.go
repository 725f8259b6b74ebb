package logging

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/execlog/execlogd/job"
)

func TestNewHandler(t *testing.T) {
	tests := []struct {
		name          string
		format        Format
		journal, want string
	}{
		{"a file", Auto, "", `^time=\S+ level=WARN msg=m k=v\n$`},
		{"the journal", Auto, "this", `^\n<4>m k=v\n$`},
		{"a file, under a program that logs to the journal", Auto, "other", `^time=\S+ level=WARN msg=m k=v\n$`},
		{"JSON for the journal", JSON, "this", `^<4>{"time":\S+,"level":"WARN","msg":"m","k":"v"}\n$`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			stream := map[string]string{"": "", "this": device(t, out), "other": "1:2"}[tt.journal]
			q := NewQueue(nil)
			log := slog.New(NewHandler(out, q, Options{Format: tt.format, JournalStream: stream, JournalSocket: "/no/such"}))
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

// Loggers derived before the handler is replaced log to the new one.
func TestSwapHandler(t *testing.T) {
	var first, second strings.Builder
	plain := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	s := NewSwapHandler(slog.NewTextHandler(&first, plain))
	log := slog.New(s)
	grouped := log.With("a", 1).WithGroup("g").With("b", 2)
	grouped.Info("one", "c", 3)
	log.Debug("not asked for")
	s.Set(slog.NewJSONHandler(&second, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: plain.ReplaceAttr}))
	grouped.Debug("two", "c", 3)
	if got, want := first.String(), "level=INFO msg=one a=1 g.b=2 g.c=3\n"; got != want {
		t.Errorf("at first got %q, want %q", got, want)
	}
	if got, want := second.String(), `{"level":"DEBUG","msg":"two","a":1,"g":{"b":2,"c":3}}`+"\n"; got != want {
		t.Errorf("then got %q, want %q", got, want)
	}
}

// As text and JSON, the error of a failed command begins with the place.
func TestErrorWithPlace(t *testing.T) {
	failed := &job.Error{Run: job.Run{
		Argv: []string{"make"}, Dir: "/src", Err: errors.New("exit status 2"), Output: []byte("x"),
		Problem: job.Problem{Message: "no end", File: "/src/a.c", Line: 3, Column: 5},
	}}
	for format, want := range map[Format]string{
		Text: `err="a.c:3:5: no end: make: exit status 2" other="make: exit status 2"`,
		JSON: `"err":"a.c:3:5: no end: make: exit status 2","other":"make: exit status 2"`,
	} {
		var out strings.Builder
		q := NewQueue(nil)
		log := slog.New(NewHandler(&out, q, Options{Format: format}))
		log.Error("failed", "err", failed, "other", failed)
		q.close(time.Minute)
		if got := out.String(); !strings.Contains(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
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
