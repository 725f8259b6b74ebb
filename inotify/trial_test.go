package inotify

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A trial is a watcher on an empty directory of a real file system.
type trial struct {
	t    testing.TB
	root string // watched
	out  string // beside it, not watched
	w    *Watcher
	pace <-chan struct{} // Deliver waits for something from it; nil: for nothing

	others []string            // further roots whose events it takes
	held   map[string]*os.File // by the command open

	mu       sync.Mutex
	events   []Event
	contents map[string]string // of files, when an event came; nil: not kept
}

// emptyTrial is a trial without a watcher.
func emptyTrial(t testing.TB) *trial {
	dir := t.TempDir()
	tr := &trial{t: t, root: filepath.Join(dir, "root"), out: filepath.Join(dir, "out")}
	tr.must(os.Mkdir(tr.root, 0o755))
	tr.must(os.Mkdir(tr.out, 0o755))
	return tr
}

func newTrial(t testing.TB, sub Subscription) *trial {
	tr := emptyTrial(t)
	tr.w = openWatcher(t)
	sub.Root = tr.root
	sub.Deliver = tr.take
	tr.mustAdd(tr.w.Add(sub))
	return tr
}

// openWatcher opens a watcher that is closed when the test ends.
func openWatcher(t testing.TB) *Watcher {
	w, err := New(Options{Problem: func(err error) { t.Log("problem:", err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// beside is a trial of w on root, with the same place outside. It begins with
// add.
func (tr *trial) beside(root string, w *Watcher) *trial {
	return &trial{t: tr.t, root: root, out: tr.out, w: w}
}

// add subscribes, and returns a time on the file system's clock that is not
// before the end of that.
func (tr *trial) add() time.Time {
	tr.t.Helper()
	tr.mustAdd(tr.w.Add(Subscription{Root: tr.root, Deliver: tr.take}))
	clock := filepath.Join(filepath.Dir(tr.out), "clock")
	tr.must(os.WriteFile(clock, nil, 0o644))
	defer os.Remove(clock)
	return changed(clock)
}

// changed is when something about the file changed last (ctime).
func changed(path string) time.Time {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return time.Time{}
	}
	return time.Unix(st.Ctim.Unix())
}

// later lets so much time pass that time stamps tell what comes from what was.
func (tr *trial) later() error {
	const long = clockStep + 10*time.Millisecond
	clock := tr.at("out:../clock")
	err := os.WriteFile(clock, nil, 0o644)
	for since := time.Now(); err == nil && changed(clock).Sub(since) < long; {
		err = os.Chmod(clock, 0o644)
	}
	return err
}

// run starts the watcher; it is stopped when the test ends.
func (tr *trial) run() *trial {
	tr.t.Cleanup(tr.start())
	return tr
}

// start starts the watcher until stop is called.
func (tr *trial) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- tr.w.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			tr.t.Error(err)
		}
	}
}

// read returns what a reader gets that begins now. Nothing races with it, so
// that what happened before has one outcome alone.
func (tr *trial) read() []Event {
	tr.t.Helper()
	defer tr.start()()
	return tr.flush()
}

func (tr *trial) take(events []Event) {
	tr.mu.Lock()
	tr.events = append(tr.events, events...)
	tr.readContents(events)
	tr.mu.Unlock()
	if tr.pace != nil {
		<-tr.pace
	}
}

// readContents reads what the events say is new, as whoever serves it would.
func (tr *trial) readContents(events []Event) {
	if tr.contents == nil {
		return
	}
	for _, e := range events {
		switch {
		case e.Mask&IsDir != 0 && e.Mask&(Create|Delete|MovedFrom|MovedTo) != 0:
			maps.DeleteFunc(tr.contents, func(p, _ string) bool { return strings.HasPrefix(p, e.Path+"/") })
		case e.Mask&IsDir != 0 && e.Mask&Modify != 0:
			maps.DeleteFunc(tr.contents, func(p, _ string) bool { return filepath.Dir(p) == e.Path && contentOf(tr.at(p)) == "" })
		case e.Mask&(Delete|MovedFrom) != 0:
			delete(tr.contents, e.Path)
		case e.Mask&IsDir == 0:
			tr.contents[e.Path] = contentOf(tr.at(e.Path))
		}
	}
}

// contentOf is empty for what is not a file.
func contentOf(path string) string {
	if st, err := os.Lstat(path); err != nil || !st.Mode().IsRegular() {
		return ""
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(content)
}

// checkContents sees that whoever read a file at its last event has what is in
// it now.
func (tr *trial) checkContents() {
	tr.t.Helper()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for p, had := range tr.contents {
		if now := contentOf(tr.at(p)); now != had {
			tr.t.Errorf("%q has %q, and at its last event it had %q", p, now, had)
		}
	}
}

// flush returns the events of all that happened before.
func (tr *trial) flush() []Event {
	tr.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	tr.must(tr.w.Flush(ctx))
	return tr.taken()
}

// taken returns the events that were delivered.
func (tr *trial) taken() []Event {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	events := tr.events
	tr.events = nil
	return events
}

func (tr *trial) must(err error) {
	tr.t.Helper()
	if err != nil {
		tr.t.Fatal(err)
	}
}

// mustAdd is must for what Add returns.
func (tr *trial) mustAdd(h *Handle, err error) *Handle {
	tr.t.Helper()
	tr.must(err)
	return h
}

// watches counts the watches that the kernel has for the instance, without
// those on the way to a root.
func (tr *trial) watches() (count int) {
	f, err := os.Open(fmt.Sprintf("/proc/self/fdinfo/%d", tr.w.kernel.fd))
	tr.must(err)
	defer f.Close()
	tr.w.mu.Lock()
	defer tr.w.mu.Unlock()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var wd int32
		if _, err := fmt.Sscanf(lines.Text(), "inotify wd:%x", &wd); err != nil {
			continue
		}
		if tr.w.tree.ByWatch(wd) != 0 || tr.w.components.watches[wd] == 0 && len(tr.w.mountedFiles.byWatch[wd])+len(tr.w.rootFiles[wd]) == 0 {
			count++
		}
	}
	return count
}

// lines is events as text, one a line.
func lines(events []Event) string {
	var s strings.Builder
	for _, e := range events {
		fmt.Fprintln(&s, e)
	}
	return s.String()
}

// fillQueue makes the kernel's queue overflow while nobody reads it. dir is a
// directory below the root.
func (tr *trial) fillQueue(dir string) {
	tr.t.Helper()
	for range queueLength() {
		tr.must(os.Chmod(tr.at(dir), 0o755)) // two records, of dir and of its name, so that none is merged
	}
}

// queueLength is how many records fit into the kernel's queue.
func queueLength() int {
	n, err := sysctl("fs.inotify.max_queued_events")
	if err != nil {
		panic(err)
	}
	return n
}
