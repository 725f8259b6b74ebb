package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
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
			log := newLogger(config{logLevel: "info", logFormat: tt.format, journal: "/no/such"}, out)
			log.Debug("not asked for")
			log.Warn("m", "k", "v")
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

func device(t *testing.T, f *os.File) string {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}
