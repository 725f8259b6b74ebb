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

// A fixture is a watcher on an empty directory of a real file system.
type fixture struct {
	t       testing.TB
	root    string // watched
	outside string // not watched
	watcher *Watcher
	pace    <-chan struct{} // Deliver waits for it; nil does not wait

	moreRoots []string            // further roots whose events it gets
	openFiles map[string]*os.File // by the command open

	mu       sync.Mutex
	events   []Event
	contents map[string]string // of files at their last event; nil keeps none
}

// newEmptyFixture returns a fixture without a watcher.
func newEmptyFixture(t testing.TB) *fixture {
	dir := t.TempDir()
	tr := &fixture{t: t, root: filepath.Join(dir, "root"), outside: filepath.Join(dir, "out")}
	tr.must(os.Mkdir(tr.root, 0o755))
	tr.must(os.Mkdir(tr.outside, 0o755))
	return tr
}

func newFixture(t testing.TB, sub Subscription) *fixture {
	tr := newEmptyFixture(t)
	tr.watch(sub)
	return tr
}

// watch opens a watcher of the root.
func (tr *fixture) watch(sub Subscription) *Handle {
	tr.t.Helper()
	tr.watcher = openWatcher(tr.t)
	sub.Root, sub.Deliver = tr.root, tr.deliver
	return tr.mustAdd(tr.watcher.Add(sub))
}

// openWatcher opens a watcher that is closed when the test ends.
func openWatcher(t testing.TB) *Watcher {
	w, err := New(Options{Problem: func(err error) { t.Log("problem:", err) }})
	must(t, err)
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// another returns a fixture for w on root, with the same directory outside. It begins with
// add.
func (tr *fixture) another(root string, w *Watcher) *fixture {
	return &fixture{t: tr.t, root: root, outside: tr.outside, watcher: w}
}

// add subscribes, and returns a time on the clock of the file system that is not before the
// end of that.
func (tr *fixture) add() time.Time {
	tr.t.Helper()
	tr.mustAdd(tr.watcher.Add(Subscription{Root: tr.root, Deliver: tr.deliver}))
	clock := filepath.Join(filepath.Dir(tr.outside), "clock")
	tr.must(os.WriteFile(clock, nil, 0o644))
	defer os.Remove(clock)
	return changed(clock)
}

// changed returns when something about the file changed last (ctime).
func changed(path string) time.Time {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return time.Time{}
	}
	return time.Unix(st.Ctim.Unix())
}

// waitForClock waits until the clock of the file system has moved on, so that time stamps
// before and after differ.
func (tr *fixture) waitForClock() error {
	const long = clockStep + 10*time.Millisecond
	clock := tr.at("out:../clock")
	err := os.WriteFile(clock, nil, 0o644)
	for since := time.Now(); err == nil && changed(clock).Sub(since) < long; {
		err = os.Chmod(clock, 0o644)
	}
	return err
}

// run starts the watcher; it is stopped when the test ends.
func (tr *fixture) run() *fixture {
	tr.t.Cleanup(tr.start())
	return tr
}

// start starts the watcher until stop is called.
func (tr *fixture) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- tr.watcher.Run(ctx) }()
	return func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				tr.t.Error(err)
			}
		case <-time.After(20 * time.Second):
			panic("Run does not end: a system call waits for ever") // with the stacks of all goroutines
		}
	}
}

// read runs the watcher until everything that happened before is delivered, and returns
// that. Nothing happens meanwhile, so there is only one possible result.
func (tr *fixture) read() []Event {
	tr.t.Helper()
	defer tr.start()()
	return tr.flush()
}

func (tr *fixture) deliver(events []Event) {
	tr.mu.Lock()
	tr.events = append(tr.events, events...)
	tr.readContents(events)
	tr.mu.Unlock()
	if tr.pace != nil {
		<-tr.pace
	}
}

// readContents reads the files that the events report, as a subscriber would that serves
// them.
func (tr *fixture) readContents(events []Event) {
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

// contentOf returns the content of a regular file, and "" for anything else.
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

// checkContents checks that a file still has the content that it had at its last event.
func (tr *fixture) checkContents() {
	tr.t.Helper()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for p, had := range tr.contents {
		if now := contentOf(tr.at(p)); now != had {
			tr.t.Errorf("%q has %q, at its last event it had %q", p, now, had)
		}
	}
}

// flush returns the events of everything that happened before.
func (tr *fixture) flush() []Event {
	tr.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	tr.must(tr.watcher.Flush(ctx))
	return tr.takeEvents()
}

// takeEvents returns the events that were delivered since it was called last.
func (tr *fixture) takeEvents() []Event {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	events := tr.events
	tr.events = nil
	return events
}

func (tr *fixture) must(err error) {
	tr.t.Helper()
	must(tr.t, err)
}

func must(t testing.TB, err error) {
	if err != nil {
		t.Helper()
		t.Fatal(err)
	}
}

// mustAdd is must for the results of Add.
func (tr *fixture) mustAdd(h *Handle, err error) *Handle {
	tr.t.Helper()
	tr.must(err)
	return h
}

// watches counts the watches that the kernel has for the instance, without those of
// components and of files.
func (tr *fixture) watches() (count int) {
	f, err := os.Open(fmt.Sprintf("/proc/self/fdinfo/%d", tr.watcher.kernel.fd))
	tr.must(err)
	defer f.Close()
	tr.watcher.mu.Lock()
	defer tr.watcher.mu.Unlock()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var wd int32
		if _, err := fmt.Sscanf(lines.Text(), "inotify wd:%x", &wd); err != nil {
			continue
		}
		if tr.watcher.tree.ByWatch(wd) != 0 || len(tr.watcher.components[wd])+len(tr.watcher.files[wd]) == 0 {
			count++
		}
	}
	return count
}

// lines returns the events as text, one a line.
func lines(events []Event) string {
	var s strings.Builder
	for _, e := range events {
		fmt.Fprintln(&s, e)
	}
	return s.String()
}

// fillQueue makes the queue of the kernel overflow while nothing reads it. dir is a
// directory below the root.
func (tr *fixture) fillQueue(dir string) {
	tr.t.Helper()
	for range queueLength() {
		tr.must(os.Chmod(tr.at(dir), 0o755)) // two records, of dir and of its name, so that none is merged
	}
}

// queueLength returns how many records fit into the queue of the kernel.
func queueLength() int {
	n, err := sysctl("fs.inotify.max_queued_events")
	if err != nil {
		panic(err)
	}
	return n
}
