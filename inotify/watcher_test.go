package inotify

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAddErrors(t *testing.T) {
	w, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		filepath.Join(t.TempDir(), "missing"): unix.ENOENT,
		file:                                  unix.ENOTDIR,
	} {
		if err := w.Add(Subscription{Root: path}); !errors.Is(err, want) {
			t.Errorf("Add(%q): %v, want %v", path, err, want)
		}
	}
	if got := w.Watches(); got != 0 {
		t.Errorf("%d watches after errors", got)
	}
}

func TestCloseEndsRunAndFlush(t *testing.T) {
	w, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- w.Run(context.Background()) }()
	for range 3 {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := <-ended; err != nil && !errors.Is(err, ErrClosed) {
		t.Errorf("Run: %v", err)
	}
	if err := w.Flush(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("Flush: %v", err)
	}
	if err := w.Add(Subscription{Root: t.TempDir()}); !errors.Is(err, ErrClosed) {
		t.Errorf("Add: %v", err)
	}
}

func TestRunStopsAndGoesOn(t *testing.T) {
	tr := newTrial(t, Subscription{Mask: Create})
	for _, name := range []string{"one", "two"} {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() { ended <- tr.w.Run(ctx) }()
		tr.do("write " + name)
		if got, want := lines(tr.flush()), "create "+name+"\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// EMFILE is also what a process gets that has too many files open.
func TestNewWithoutDescriptorsDoesNotBlameTheInstances(t *testing.T) {
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &before)
	fd, err := unix.Dup(0) // the lowest that is free
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	for spare := range 3 {
		limit := unix.Rlimit{Cur: uint64(fd + spare), Max: before.Max}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
		w, err := New(Options{})
		if err == nil {
			w.Close()
			t.Fatalf("a watcher with %d descriptors", spare)
		}
		if _, limited := errors.AsType[*LimitError](err); limited || !errors.Is(err, unix.EMFILE) {
			t.Errorf("with %d descriptors: %v", spare, err)
		}
	}
}
