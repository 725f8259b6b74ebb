package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Where a link leads may be gone before it is looked at.
func TestFileWatchOfWhatComesAndGoes(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.toml")
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan string, 10000)
	w := &fileWatch{path: file}
	w.changed = func() { seen <- string(w.text) }
	ended := make(chan error, 1)
	go func() { ended <- w.run(ctx) }()
	turn := func(to, text string) {
		target := filepath.Join(dir, to)
		if err := os.Mkdir(target, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(target, "y.toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to+"/y.toml", file+"~"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+"~", file); err != nil {
			t.Fatal(err)
		}
	}
	for n, until := 0, time.Now().Add(3*time.Second); time.Now().Before(until); n++ {
		name := string(rune('a' + n%2))
		turn(name, name)
		time.Sleep(time.Duration(n%70) * time.Millisecond)
		os.RemoveAll(filepath.Join(dir, name))
		select {
		case err := <-ended:
			t.Fatalf("after %d turns: %v", n, err)
		default:
		}
	}
	turn("last", "last")
	for <-seen != "last" {
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
