package config

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// A file that becomes a pipe after ReadFile has looked at it is not read either. The
// pipe has no writer, so that it reads as an empty file.
func TestReadFileThatBecomesAPipe(t *testing.T) {
	dir := t.TempDir()
	file, pipe := filepath.Join(dir, "x.toml"), filepath.Join(dir, "pipe")
	if err := os.WriteFile(file, []byte("[server]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Renameat2(unix.AT_FDCWD, file, unix.AT_FDCWD, pipe, unix.RENAME_EXCHANGE); err != nil {
		t.Skipf("this file system cannot exchange files: %v", err)
	}

	done := make(chan struct{})
	var exchanging sync.WaitGroup
	defer exchanging.Wait()
	defer close(done)
	exchanging.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, file, unix.AT_FDCWD, pipe, unix.RENAME_EXCHANGE)
			}
		}
	})
	for range 20_000 {
		text, err := ReadFile(file)
		switch {
		case err == nil && string(text) != "[server]":
			t.Fatalf("read %q from the pipe", text)
		case err != nil && !strings.Contains(err.Error(), "is a FIFO"):
			t.Fatal(err)
		}
	}
}
