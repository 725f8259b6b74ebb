package inotify

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestEvents(t *testing.T) {
	const mask = Create | Delete | MovedFrom | MovedTo | CloseWrite
	tests := []struct{ name, before, script, want string }{
		{"a file is written", "", `write f`, `
			create f
			close_write f`},
		{"a directory appears with directories and files in it at once", "", `
			mkdir a/b/c
			write a/b/c/f`, `
			create|isdir a
			create|isdir a/b
			create|isdir a/b/c
			modify|close_write|create a/b/c/f`},
		{"a directory that appeared is watched", `
			mkdir a/b`, `write a/b/f`, `
			create a/b/f
			close_write a/b/f`},
		{"a tree that is moved in is reported with all in it", `
			mkdir out:tree/sub
			write out:tree/sub/f`, `mv out:tree in`, `
			moved_to|isdir in
			create|isdir in/sub
			modify|close_write|create in/sub/f`},
		{"a tree that is moved in is watched", `
			mkdir out:tree/sub
			mv out:tree in`, `write in/sub/g`, `
			create in/sub/g
			close_write in/sub/g`},
		{"nothing is reported of a tree that was moved out", `
			mkdir a/b
			mv a out:a`, `write out:a/b/f`, ``},
		{"a name that was moved out is watched when it is made again", `
			mkdir a
			mv a out:a`, `
			mkdir a
			flush
			write a/f`, `
			create a/f
			close_write a/f`},
		{"a rename has both names", `
			write f`, `mv f g`, `
			moved_from f
			moved_to g from f`},
		{"a directory's rename has both names, and what is below goes along", `
			mkdir a/b`, `
			mv a z
			write z/b/f`, `
			moved_from|isdir a
			moved_to|isdir z from a
			create z/b/f
			close_write z/b/f`},
		{"a rename into another directory", `
			mkdir a
			mkdir b
			write a/f`, `mv a/f b/g`, `
			moved_from a/f
			moved_to b/g from a/f`},
		{"renames of a directory and of the one above it", `
			mkdir a/b`, `
			mv a/b a/c
			mv a z
			write z/c/f`, `
			moved_from|isdir a/b
			moved_to|isdir a/c from a/b
			moved_from|isdir a
			moved_to|isdir z from a
			create z/c/f
			close_write z/c/f`},
		{"two directories are exchanged", `
			mkdir x1/one
			mkdir x2/two`, `
			exchange x1 x2
			flush
			write x1/two/f
			write x2/one/f`, `
			create x1/two/f
			close_write x1/two/f
			create x2/one/f
			close_write x2/one/f`},
		{"two files are exchanged and both are still there", `
			write f
			write g`, `exchange f g`, `
			moved_from f
			moved_to g from f
			moved_from g
			moved_to f from g
			modify|close_write|create g`},
		{"a directory replaces an empty one", `
			mkdir a/x
			mkdir b`, `
			mv a b
			write b/x/f`, `
			moved_from|isdir a
			moved_to|isdir b from a
			create b/x/f
			close_write b/x/f`},
		{"a directory is deleted and made again", `
			mkdir a/b`, `
			rm a
			mkdir a/b
			flush
			write a/b/f`, `
			create a/b/f
			close_write a/b/f`},
		{"a symbolic link is a leaf", `
			mkdir out:o
			symlink out:o l`, `write out:o/f`, ``},
		{"a link to the root itself is no loop", ``, `symlink . self`, `
			create self`},
		{"a hard link", `write f`, `link f g`, `
			create g`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTrial(t, Subscription{Mask: mask})
			tr.do(tt.before)
			tr.read()
			var got string
			for script := range strings.SplitSeq(tt.script, "flush") {
				tr.do(script)
				got = lines(tr.read())
			}
			if want := strings.TrimPrefix(strings.ReplaceAll(tt.want, "\t", ""), "\n"); strings.TrimSpace(got) != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
			checkModel(t, tr.run())
		})
	}
}

func TestSkippedDirectoriesCostNothing(t *testing.T) {
	skip := func(path string) bool { return filepath.Base(path) == "node_modules" }
	tr := newTrial(t, Subscription{SkipDir: skip, Mask: Create | MovedTo | MovedFrom | Delete})
	tr.do(`
		mkdir a/node_modules/deep/er
		mkdir b`)
	tr.read()
	if got := tr.watches(); got != 3 {
		t.Errorf("%d watches for the root, a and b", got)
	}
	tr.do(`
		write a/node_modules/f
		mv b node_modules
		write node_modules/f
		mv a/node_modules/deep c
		write c/er/g`)
	got := lines(tr.read())
	want := `moved_from|isdir b
moved_to|isdir node_modules from b
moved_to|isdir c
create|isdir c/er
modify|close_write|create c/er/g
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := tr.watches(); got != 4 {
		t.Errorf("%d watches for the root, a, c and c/er", got)
	}
}

func TestSubscribersSeeTheirOwn(t *testing.T) {
	tr := newTrial(t, Subscription{Mask: Create})
	tr.do(`mkdir a/b`)
	inner := &trial{t: t, root: tr.at("a"), w: tr.w}
	tr.must(tr.w.Add(Subscription{Root: inner.root, Mask: CloseWrite, Deliver: inner.take}))
	tr.run()
	tr.flush()
	inner.flush()
	tr.do(`
		write f
		write a/b/g`)
	if got, want := lines(tr.flush()), "create f\ncreate a/b/g\n"; got != want {
		t.Errorf("outer got\n%swant\n%s", got, want)
	}
	if got, want := lines(inner.flush()), "close_write b/g\n"; got != want {
		t.Errorf("inner got\n%swant\n%s", got, want)
	}
	if got := tr.watches(); got != 3 {
		t.Errorf("%d watches for three directories", got)
	}
}

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
