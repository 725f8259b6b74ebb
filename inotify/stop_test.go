package inotify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// manyDirs makes n directories in dir, each with a file and a directory.
func manyDirs(t *testing.T, dir string, n int) {
	for i := range n {
		must(t, os.MkdirAll(filepath.Join(dir, fmt.Sprint(i), "sub"), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(i), "f"), nil, 0o644))
	}
}

func TestScanIsStopped(t *testing.T) {
	errEnough := errors.New("enough")
	tr := newEmptyFixture(t)
	manyDirs(t, tr.root, 200)
	var seen []int
	w, err := New(Options{Scanning: func(directories int) error {
		if seen = append(seen, directories); len(seen) == 1 {
			return nil
		}
		return errEnough
	}})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })

	// Each directory takes its time, as on a slow disk.
	skip := func(string) bool { time.Sleep(scanTick / 4); return false }
	h, err := w.Add(Subscription{Root: tr.root, SkipDir: skip, Deliver: tr.deliver})
	if h != nil || !errors.Is(err, errEnough) {
		t.Fatalf("Add returned %v, %v", h, err)
	}
	if len(seen) != 2 || seen[1] <= seen[0] || seen[1] >= 200 {
		t.Errorf("%d directories were looked at", seen)
	}

	// Nothing of it is left, and the next one is not stopped.
	w.scanning = nil
	tr.watcher = w
	tr.run()
	must(t, w.Flush(t.Context()))
	if n := w.Watches(); n != 0 {
		t.Errorf("%d directories are watched", n)
	}
	tr.mustAdd(w.Add(Subscription{Root: tr.root, Deliver: tr.deliver}))
	if n := w.Watches(); n != 401 {
		t.Errorf("%d directories are watched, want 401", n)
	}
	tr.flush()
	checkModel(t, tr)
}

func TestCloseStopsScan(t *testing.T) {
	root := t.TempDir()
	manyDirs(t, root, 200)
	began := make(chan struct{}, 1000)
	w := openWatcher(t)
	skip := func(string) bool {
		began <- struct{}{}
		time.Sleep(scanTick / 4)
		return false
	}
	added := make(chan error, 1)
	go func() {
		_, err := w.Add(Subscription{Root: root, SkipDir: skip})
		added <- err
	}()
	<-began
	must(t, w.Close())
	if err := <-added; !errors.Is(err, ErrClosed) {
		t.Errorf("Add returned %v", err)
	}
	if n := len(began); n >= 199 {
		t.Error("the scan went on to its end")
	}
}

// When the context of Run ends a scan, the next Run goes on, and nothing is missed.
func TestRunStopsScan(t *testing.T) {
	for _, overflow := range []bool{false, true} {
		t.Run(fmt.Sprintf("overflow %t", overflow), func(t *testing.T) {
			tr := newEmptyFixture(t)
			tr.watcher = openWatcher(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			slow := false
			tr.mustAdd(tr.watcher.Add(Subscription{Root: tr.root, Deliver: tr.deliver, SkipDir: func(string) bool {
				if slow {
					cancel()
					time.Sleep(scanTick / 4)
				}
				return false
			}}))
			tr.read()

			slow = true
			manyDirs(t, tr.root, 20)
			if overflow {
				tr.watcher.mu.Lock()
				tr.watcher.pending.overflow = true
				tr.watcher.mu.Unlock()
			}
			must(t, tr.watcher.Run(ctx))
			if n := tr.watcher.Watches(); n >= 41 {
				t.Errorf("%d directories are watched: the scan went on to its end", n)
			}

			slow = false
			tr.run()
			must(t, tr.watcher.Flush(t.Context()))
			seen := map[string]bool{}
			for _, e := range tr.flush() {
				seen[e.Path] = true
			}
			for i := range 20 {
				for _, path := range []string{fmt.Sprint(i), fmt.Sprintf("%d/sub", i), fmt.Sprintf("%d/f", i)} {
					if !seen[path] {
						t.Errorf("no event of %s", path)
					}
				}
			}
			checkModel(t, tr)
		})
	}
}

// A tree that is polled is not looked at to its end either.
func TestPollIsStopped(t *testing.T) {
	errEnough := errors.New("enough")
	root := t.TempDir()
	manyDirs(t, root, 100)
	w, err := New(Options{Scanning: func(int) error { return errEnough }})
	must(t, err)
	defer w.Close()
	w.statfs = func(string) (uint32, error) { return unix.NFS_SUPER_MAGIC, nil }
	skip := func(string) bool { time.Sleep(scanTick / 4); return false }
	if _, err := w.Add(Subscription{Root: root, SkipDir: skip}); !errors.Is(err, errEnough) {
		t.Fatalf("Add returned %v", err)
	}
	if n := w.looked.Load(); n >= 200 {
		t.Errorf("%d directories were looked at", n)
	}
}

// A user namespace has limits of its own, which are not those of the host's user.
func TestLimitOwner(t *testing.T) {
	if !inSubprocess(t, userNamespace()) {
		if namespaceOwner() != "" {
			t.Skip("this is a user namespace")
		}
		return
	}
	if owner := namespaceOwner(); owner != "root" && !strings.HasPrefix(owner, "user ") {
		t.Errorf("the owner is %q", owner)
	}
	if err := newLimitError("fs.inotify.max_user_watches", "user.max_inotify_watches", unix.ENOSPC); err.Limit != "fs.inotify.max_user_watches" || err.Owner == "" {
		t.Errorf("got %#v", err)
	}
	must(t, os.WriteFile("/proc/sys/user/max_inotify_watches", []byte("7"), 0))
	if err := newLimitError("fs.inotify.max_user_watches", "user.max_inotify_watches", unix.ENOSPC); err.Limit != "user.max_inotify_watches" || err.Value != 7 || err.Owner != "" {
		t.Errorf("got %#v", err)
	}
}
