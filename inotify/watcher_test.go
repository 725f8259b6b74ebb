package inotify

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAddErrors(t *testing.T) {
	w, err := New(Options{})
	must(t, err)
	defer w.Close()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o644))
	for path, want := range map[string]error{"missing": unix.ENOENT, "file/missing": unix.ENOTDIR} {
		if _, err := w.Add(Subscription{Root: filepath.Join(dir, path)}); !errors.Is(err, want) {
			t.Errorf("Add(%q): %v, want %v", path, err, want)
		}
	}
	if got := w.Watches(); got != 0 {
		t.Errorf("%d watches after errors", got)
	}
}

func TestCloseEndsRunAndFlush(t *testing.T) {
	w, err := New(Options{})
	must(t, err)
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
	if _, err := w.Add(Subscription{Root: t.TempDir()}); !errors.Is(err, ErrClosed) {
		t.Errorf("Add: %v", err)
	}
}

// Close may be called at any time, also while records are read and delivered, a scan is
// under way and Flush waits.
func TestCloseWhileReading(t *testing.T) {
	for range 20 {
		tr := newFixture(t, Subscription{})
		ended := make(chan error)
		go func() { ended <- tr.watcher.Run(context.Background()) }()
		var others sync.WaitGroup
		others.Go(func() {
			tr.do(`
				repeat 20 mkdir d#/e/f
				repeat 20 mv d# m#`)
		})
		others.Go(func() {
			if err := tr.watcher.Flush(context.Background()); err != nil && !errors.Is(err, ErrClosed) {
				t.Errorf("Flush: %v", err)
			}
		})
		others.Go(func() {
			sub := Subscription{Root: tr.outside, Deliver: tr.deliver}
			if _, err := tr.watcher.Add(sub); err != nil && !errors.Is(err, ErrClosed) {
				t.Errorf("Add: %v", err)
			}
		})
		for tr.watcher.Watches() < 5 && !t.Failed() {
			runtime.Gosched()
		}
		if err := tr.watcher.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := <-ended; err != nil && !errors.Is(err, ErrClosed) {
			t.Errorf("Run: %v", err)
		}
		others.Wait()
	}
}

// A program that the process starts must not keep the instance and its watches
// alive. There is one instance, whatever number of roots it has.
func TestDescriptorsAreClosedOnExec(t *testing.T) {
	before := openFiles(t)
	instances := 0
	look := func() {
		instances = 0
		for fd, target := range openFiles(t) {
			flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
			if before[fd] != target && err == nil && flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("%d (%s) stays open", fd, target)
			}
			if target == "anon_inode:inotify" {
				instances++
			}
		}
	}
	scanned := 0
	tr := newFixture(t, Subscription{SkipDir: func(string) bool {
		scanned++
		look()
		return false
	}})
	tr.mustAdd(tr.watcher.Add(Subscription{Root: tr.outside, Deliver: func([]Event) { look() }}))
	tr.do(`
		mkdir a/b/c
		mkdir out:d/e`)
	tr.read()
	if look(); instances != 1 {
		t.Errorf("%d instances for two roots", instances)
	}
	if scanned == 0 {
		t.Error("nothing was looked at during a scan")
	}
}

// openFiles returns the descriptors of this process, with the files that they are open on.
func openFiles(t *testing.T) map[int]string {
	t.Helper()
	files := map[int]string{}
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	for _, e := range entries {
		target, _ := os.Readlink("/proc/self/fd/" + e.Name()) // it may be closed by now
		fd, _ := strconv.Atoi(e.Name())
		files[fd] = target
	}
	return files
}

// Flush is not seen by a subscription of the directories.
func TestFlushLeavesNoTrace(t *testing.T) {
	const all = Access | Modify | Attrib | CloseWrite | CloseNoWrite | Open | MovedFrom | MovedTo | Create | Delete
	tr := newFixture(t, Subscription{Mask: all}).run()
	tr.flush() // the first scan opens and reads
	for range 10 {
		if got := tr.flush(); len(got) != 0 {
			t.Errorf("a Flush is reported: %v", got)
		}
	}
}

// An overflow does not lose a Flush.
func TestFlushDuringAnOverflow(t *testing.T) {
	tr := newFixture(t, Subscription{})
	tr.do(`mkdir d`)
	tr.read()
	tr.fillQueue("d")
	tr.do(`write d/f`)
	done, err := tr.watcher.addFlush()
	tr.must(err)
	tr.run()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("Flush does not end")
	}
	if got := lines(tr.takeEvents()); !strings.HasSuffix(got, "close_write|create d/f\n") {
		t.Errorf("a lost change is not reported when Flush ends: ...%s", got[max(0, len(got)-200):])
	}
}

// watchedByIdle makes the test binary a process that watches a directory.
const watchedByIdle = "INOTIFY_TEST_IDLE_ROOT"

// TestIdleProcess is no test but the process that the next test watches.
func TestIdleProcess(t *testing.T) {
	root := os.Getenv(watchedByIdle)
	if root == "" {
		t.Skip("is run by another test")
	}
	w := openWatcher(t)
	_, err := w.Add(Subscription{Root: root})
	must(t, err)
	go w.Run(context.Background())
	must(t, w.Flush(context.Background()))
	os.Stdout.WriteString("idle\n")
	select {} // to be killed
}

// While nothing happens, no thread of the process runs: no timer, no poll.
func TestNothingRunsWhenNothingHappens(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	// In a namespace, because other programs use the directory for temporary files, which
	// is a component of the path of the root.
	if !inSubprocess(t, mountNamespaceAttr()) {
		return
	}
	if err := unix.Mount("tmpfs", os.TempDir(), "tmpfs", 0, "size=8m"); err != nil {
		t.Skip("mounting needs a privilege:", err)
	}
	tr := newEmptyFixture(t)
	tr.do(`repeat 20 mkdir d#/e`)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestIdleProcess$")
	cmd.Env = append(os.Environ(), watchedByIdle+"="+tr.root)
	out, err := cmd.StdoutPipe()
	tr.must(err)
	tr.must(cmd.Start())
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if said, err := bufio.NewReader(out).ReadString('\n'); said != "idle\n" {
		t.Fatalf("the process has written %q: %v", said, err)
	}
	const window = defaultPoll + 500*time.Millisecond
	var switches []int
	for range 4 {
		time.Sleep(window / 5) // the runtime's own threads come to rest after a while
		before := contextSwitches(t, cmd.Process.Pid)
		time.Sleep(window)
		switches = append(switches, contextSwitches(t, cmd.Process.Pid)-before)
		if switches[len(switches)-1] == 0 {
			return
		}
	}
	t.Errorf("%d context switches, each in %v of idleness", switches, window)
}

// contextSwitches counts how often a thread of a process has gone to sleep.
func contextSwitches(t *testing.T, pid int) (count int) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("the threads of %d: %v", pid, err)
	}
	for _, task := range tasks {
		status, err := os.ReadFile(task)
		must(t, err)
		_, value, _ := strings.Cut(string(status), "\nvoluntary_ctxt_switches:\t")
		value, _, _ = strings.Cut(value, "\n")
		n, err := strconv.Atoi(value)
		must(t, err)
		count += n
	}
	return count
}

func TestRunStopsAndGoesOn(t *testing.T) {
	tr := newFixture(t, Subscription{Mask: Create})
	for _, name := range []string{"one", "two"} {
		stop := tr.start()
		tr.do("write " + name)
		if got, want := lines(tr.flush()), "create "+name+"\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		stop()
	}
}

// A process with too many open files gets EMFILE too.
func TestNewWithoutDescriptorsDoesNotBlameTheInstances(t *testing.T) {
	var before unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &before))
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &before)
	fd, err := unix.Dup(0) // the lowest that is free
	must(t, err)
	unix.Close(fd)
	for spare := range 3 {
		limit := unix.Rlimit{Cur: uint64(fd + spare), Max: before.Max}
		must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
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

// A thread that stays in a directory after a scan would keep its file system from being
// unmounted.
func TestNoThreadStaysInTheTree(t *testing.T) {
	tr := newEmptyFixture(t)
	tr.do(`mkdir a/b`)
	for range 50 {
		w := openWatcher(t)
		tr.mustAdd(w.Add(Subscription{Root: tr.root}))
	}
	for deadline := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		dirs, err := filepath.Glob("/proc/self/task/*/cwd")
		tr.must(err)
		stays := slices.ContainsFunc(dirs, func(cwd string) bool {
			dir, err := os.Readlink(cwd)
			return err == nil && strings.HasPrefix(dir, tr.root)
		})
		if !stays {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a thread is still there")
		}
	}
}
