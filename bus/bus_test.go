package bus

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestNewChecksOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		opts Options
		want string // in the error; empty for none
	}{
		{"a server", Options{URL: "nats://host:4222"}, ""},
		{"several", Options{URL: "tls://a, wss://b:443"}, ""},
		{"no server", Options{}, "want nats://host:4222"},
		{"another scheme", Options{URL: "http://user:secret@host"}, `"http://user:xxxxx@host"`},
		{"no host", Options{URL: "nats://:4222"}, "has no host"},
		{"a cluster that would be several words of a subject", Options{URL: "nats://h", Cluster: "a.b"}, `name "a.b"`},
		{"a root that would match others", Options{URL: "nats://h", Roots: []Root{{Name: "*", Dir: "/a"}}}, `name "*"`},
		{"two roots of one name", Options{URL: "nats://h", Roots: []Root{{Name: "a", Dir: "/a"}, {Name: "a", Dir: "/b"}}}, "twice"},
		{"no file of credentials", Options{URL: "nats://h", Credentials: "/nowhere"}, "credentials"},
		{"no certificate", Options{URL: "nats://h", CA: file}, "no certificate in PEM"},
		{"no pair", Options{URL: "nats://h", Cert: file, Key: file}, "tls_cert"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(tt.opts)
			if got := ""; err != nil {
				got = err.Error()
				if tt.want == "" || !strings.Contains(got, tt.want) {
					t.Errorf("error %q, want %q", got, tt.want)
				}
			} else if tt.want != "" {
				t.Errorf("no error, want %q", tt.want)
			}
		})
	}
}

// Without a server a Bus waits, says so once, and ends when it is told to.
func TestRunWithoutServer(t *testing.T) {
	var said strings.Builder
	b, err := New(Options{URL: "nats://127.0.0.1:1", Roots: []Root{{Name: "site", Dir: t.TempDir()}}, Logger: slog.New(slog.NewTextHandler(&said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	for dir := range b.roots {
		b.Publish(dir, modified("a"))
	}
	if err := b.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if text := said.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "bus is away") {
		t.Errorf("it said\n%s", text)
	}
}
