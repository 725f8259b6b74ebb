package inotify

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inSubprocess runs the test in a process of its own, and reports whether this is that
// process.
func inSubprocess(t *testing.T, attr *syscall.SysProcAttr) bool {
	t.Helper()
	const name = "INOTIFY_TEST_SUBPROCESS"
	if os.Getenv(name) == t.Name() {
		return true
	}
	self, err := os.Open("/proc/self/exe")
	must(t, err)
	defer self.Close()
	// By descriptor: another user may not be able to reach the file by path.
	cmd := exec.Command("/proc/self/fd/3", "-test.run=^"+t.Name()+"$", "-test.v",
		fmt.Sprintf("-seed=%d", *seedFlag), fmt.Sprintf("-rounds=%d", *roundsFlag), fmt.Sprintf("-update=%t", *updateFlag))
	cmd.Env = append(os.Environ(), name+"="+t.Name(), "GORACE=atexit_sleep_ms=0")
	cmd.ExtraFiles = []*os.File{self}
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	switch {
	case cmd.ProcessState == nil && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EINVAL)):
		t.Skip("such a process needs a privilege:", err)
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("%s", out)
	}
	return false
}

// userNamespace has its own max_user_watches.
func userNamespace() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
}

// A pollFixture is a fixture that records the problems.
type pollFixture struct {
	*fixture
	problems []error // guarded by fixture.mu
}

// newPollFixture makes the root and the watcher, with a timer that goes off only when poll
// is called.
func newPollFixture(t *testing.T) *pollFixture {
	tr := &pollFixture{fixture: newEmptyFixture(t)}
	w, err := New(Options{PollInterval: time.Hour, Problem: func(err error) {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		tr.problems = append(tr.problems, err)
	}})
	tr.must(err)
	tr.watcher = w
	t.Cleanup(func() { tr.must(w.Close()) })
	return tr
}

func (tr *pollFixture) add() error {
	_, err := tr.watcher.Add(Subscription{Root: tr.root, Mask: Create | Delete | CloseWrite | MovedFrom | MovedTo, Deliver: tr.deliver})
	return err
}

// begin subscribes, and reads what is queued.
func (tr *pollFixture) begin() {
	tr.t.Helper()
	tr.must(tr.add())
	tr.run()
	tr.flush()
}

// takeProblems returns the problems since it was called last.
func (tr *pollFixture) takeProblems() []error {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	problems := tr.problems
	tr.problems = nil
	return problems
}

// poll lets the timer go off, and returns what was delivered by then.
func (tr *fixture) poll() []Event {
	tr.t.Helper()
	tr.must(tr.watcher.Flush(tr.t.Context()))
	tr.watcher.mu.Lock()
	tr.watcher.unwatched.next = time.Time{}
	tr.watcher.mu.Unlock()
	for due := true; due; { // a turn of Run that looked at the timer earlier may end the Flush
		tr.must(tr.watcher.Flush(tr.t.Context()))
		tr.watcher.mu.Lock()
		due = tr.watcher.unwatched.due()
		tr.watcher.mu.Unlock()
	}
	return tr.takeEvents()
}

// expect runs a script, lets the timer go off and compares what is reported. The order of
// directories does not matter.
func (tr *pollFixture) expect(script, want string) {
	tr.t.Helper()
	tr.do(script)
	got := sorted(lines(tr.poll()))
	if want = sorted(want); got != want {
		tr.t.Errorf("%s\ngot\n%s\nwant\n%s", strings.TrimSpace(script), got, want)
	}
}

// sorted returns the lines of text in order, without the white space around them. A line
// that comes twice counts once: the watcher may look while a script runs, and a change is
// reported at least once.
func sorted(text string) string {
	list := strings.Split(strings.ReplaceAll(strings.TrimSpace(text), "\t", ""), "\n")
	slices.Sort(list)
	return strings.Join(slices.Compact(list), "\n")
}

// wantUnwatched checks how many directories have no watch, and that a timer runs if and
// only if some of them can be polled.
func (tr *pollFixture) wantUnwatched(want int, looked bool) {
	tr.t.Helper()
	if got := tr.watcher.Unwatched(); got != want {
		tr.t.Errorf("%d directories are unwatched, want %d", got, want)
	}
	tr.watcher.mu.Lock()
	defer tr.watcher.mu.Unlock()
	if timed := tr.watcher.unwatched.timeout() >= 0; timed != looked {
		tr.t.Errorf("a timer runs: %t, want %t", timed, looked)
	}
}

// setWatchLimit lets this user namespace have so many watches more than it has.
func (tr *pollFixture) setWatchLimit(more int) {
	tr.t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/self/fdinfo/%d", tr.watcher.kernel.fd))
	tr.must(err)
	defer f.Close()
	used := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "inotify ") {
			used++
		}
	}
	err = os.WriteFile("/proc/sys/user/max_inotify_watches", []byte(strconv.Itoa(used+more)), 0o644)
	if err != nil {
		tr.t.Skip("the limit of a namespace cannot be set:", err)
	}
}

func wantLimit(t *testing.T, err error) {
	t.Helper()
	if limit, ok := errors.AsType[*LimitError](err); !ok || limit.Limit != "user.max_inotify_watches" {
		t.Errorf("got %v, want a LimitError", err)
	}
}

func TestWatchLimit(t *testing.T) {
	if !inSubprocess(t, userNamespace()) {
		return
	}
	t.Run("reached after Add", func(t *testing.T) {
		tr := newPollFixture(t)
		tr.begin()
		tr.setWatchLimit(0)
		tr.expect(`
			mkdir a/b
			write a/b/f
			mkdir z`, `
			create|isdir a
			create|isdir z
			create|isdir a/b
			modify|close_write|create a/b/f`)
		tr.wantUnwatched(3, true)
		if problems := tr.takeProblems(); len(problems) != 1 {
			t.Errorf("problems %q, want one", problems)
		} else {
			wantLimit(t, problems[0])
		}
		tr.expect(``, ``)
		tr.expect(`append a/b/f`, `modify|close_write|create a/b/f`)
		tr.expect(`
			rm a/b/f
			mkdir a/c
			write z/f`, `
			delete a/b/f
			create|isdir a/c
			modify|close_write|create z/f`)
		tr.wantUnwatched(4, true)

		tr.expect(`
			mv a y`, `
			moved_from|isdir a
			moved_to|isdir y
			create|isdir y/b
			create|isdir y/c`)
		tr.expect(`rm z`, `delete|isdir z`)
		tr.wantUnwatched(3, true)
		if problems := tr.takeProblems(); len(problems) != 0 {
			t.Errorf("again: %q", problems)
		}

		tr.setWatchLimit(2) // for y and one of those in it
		tr.expect(`write y/g`, `modify|close_write|create y/g`)
		tr.wantUnwatched(1, true)
		tr.setWatchLimit(100)
		tr.expect(`write y/c/h`, `modify|close_write|create y/c/h`)
		tr.wantUnwatched(0, false)
		checkModel(t, tr.fixture)
		tr.setWatchLimit(0)
		tr.expect(`mkdir again`, `create|isdir again`)
		if problems := tr.takeProblems(); len(problems) != 1 {
			t.Errorf("problems %q when the limit was reached again", problems)
		}
	})
	t.Run("reached at Add", func(t *testing.T) {
		tr := newPollFixture(t)
		tr.setWatchLimit(2)
		tr.do(`
			mkdir a/b
			write a/b/f
			mkdir c/d`)
		wantLimit(t, tr.add())
		if got := tr.watcher.Watches() + tr.watcher.Unwatched(); got != 5 {
			t.Errorf("%d directories are known, want 5", got)
		}
		tr.do(`append a/b/f`)
		tr.run()
		tr.setWatchLimit(0)
		if got := lines(tr.poll()); !strings.Contains(got, "close_write|create a/b/f\n") && !strings.HasSuffix(got, "close_write a/b/f\n") || strings.Contains(got, "isdir") {
			t.Errorf("something that did not change was reported, or a change was not:\n%s", got)
		}
		tr.expect(`write a/b/g`, `modify|close_write|create a/b/g`)
		tr.expect(`write c/d/g`, `modify|close_write|create c/d/g`)
		tr.expect(`mkdir e`, `create|isdir e`)
		tr.setWatchLimit(100)
		tr.expect(``, ``)
		tr.wantUnwatched(0, false)
		checkModel(t, tr.fixture)
		if problems := tr.takeProblems(); len(problems) != 0 {
			t.Errorf("after Add has returned the error: %q", problems)
		}
	})
	t.Run("no watch for the root", func(t *testing.T) {
		tr := newPollFixture(t)
		tr.setWatchLimit(0)
		tr.do(`mkdir a/b`)
		wantLimit(t, tr.add())
		tr.wantUnwatched(3, true)
		tr.run()
		tr.expect(`write a/b/f`, `modify|close_write|create a/b/f`)
		tr.setWatchLimit(100)
		tr.expect(`write f`, `modify|close_write|create f`)
		tr.wantUnwatched(0, false)
		checkModel(t, tr.fixture)
	})
	t.Run("no watch for a root that is in another tree later", func(t *testing.T) {
		tr := newPollFixture(t)
		tr.do(`
			mkdir a/b
			mkdir b`)
		inner := &fixture{t: t, root: tr.at("a"), watcher: tr.watcher}
		tr.setWatchLimit(0)
		_, err := tr.watcher.Add(Subscription{Root: inner.root, Mask: CloseWrite, Deliver: inner.deliver})
		wantLimit(t, err)
		tr.setWatchLimit(100)
		tr.must(tr.add())
		tr.do(`write a/b/f`) // found by the outer root, and by the last poll of the inner one
		tr.run()
		tr.expect(`write b/f`, `
			create a/b/f
			close_write a/b/f
			modify|close_write|create a/b/f
			create b/f
			close_write b/f`)
		if got := lines(inner.takeEvents()); got != "close_write b/f\n" && !strings.Contains(got, "|create b/f\n") {
			t.Errorf("the inner root got\n%s", got)
		}
		tr.wantUnwatched(0, false)
		tr.expect(`write a/b/g`, `
			create a/b/g
			close_write a/b/g`)
		if got, want := lines(inner.takeEvents()), "close_write b/g\n"; got != want {
			t.Errorf("the inner root got\n%swant\n%s", got, want)
		}
		checkModel(t, tr.fixture)
	})
	t.Run("no watch for a root that is a file", func(t *testing.T) {
		tr := newPollFixture(t)
		tr.do(`write f`)
		tr.setWatchLimit(0)
		_, err := tr.watcher.Add(Subscription{Root: tr.at("f"), Deliver: tr.deliver})
		wantLimit(t, err)
		tr.run()
		tr.expect(`append f`, `modify|close_write .`)
		tr.setWatchLimit(100)
		tr.expect(`append f`, `modify|close_write .`)
		tr.wantUnwatched(0, false)
		tr.expect(`append f`, `
			modify .
			close_write .`)
	})
	t.Run("a Flush without a watch for its mark", func(t *testing.T) {
		tr := newPollFixture(t)
		tr.begin()
		tr.setWatchLimit(0)
		for i := range 50 {
			name := strconv.Itoa(i)
			tr.do("write " + name)
			if got, want := lines(tr.flush()), "create "+name+"\nclose_write "+name+"\n"; got != want {
				t.Fatalf("got\n%swant\n%s", got, want)
			}
		}
	})
	t.Run("an overflow: what was polled is known", func(t *testing.T) {
		tr := newPollFixture(t)
		tr.begin()
		tr.setWatchLimit(0)
		tr.expect(`mkdir a/b`, `
			create|isdir a
			create|isdir a/b`)
		tr.do(`write a/b/f`)
		tr.watcher.mu.Lock()
		tr.watcher.pending.overflow = true
		tr.watcher.mu.Unlock()
		tr.expect(``, `
			q_overflow|isdir .
			modify|close_write|create a/b/f`)
	})
	t.Run("the timer goes off by itself", func(t *testing.T) {
		tr := newPollFixture(t)
		tr.watcher.unwatched.interval = 5 * time.Millisecond
		tr.setWatchLimit(0)
		wantLimit(t, tr.add())
		events := make(chan Event, 100)
		tr.watcher.subs[0].Deliver = func(batch []Event) {
			for _, e := range batch {
				events <- e
			}
		}
		tr.run()
		tr.do(`write f`)
		if e := <-events; e.Path != "f" {
			t.Errorf("got %v", e)
		}
	})
}

// What cannot be read for a while is not reported as removed.
func TestPermissionDeniedWherePolled(t *testing.T) {
	attr := &syscall.SysProcAttr{}
	if os.Getuid() == 0 {
		attr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	if !inSubprocess(t, attr) {
		return
	}
	tr := newPollFixture(t)
	tr.watcher.statfs = func(string) (uint32, error) { return unix.NFS_SUPER_MAGIC, nil }
	tr.do(`
		mkdir a/b
		write a/f
		write a/b/f`)
	tr.must(tr.add())
	tr.run()
	for _, mode := range []os.FileMode{0, 0o100, 0o400, 0o755} {
		tr.must(os.Chmod(tr.at("a"), mode))
		tr.expect(``, ``)
		tr.wantUnwatched(3, true)
	}
	tr.expect(`append a/b/f`, `modify|close_write|create a/b/f`)
}

// The timer runs while something is polled or to be retried, and it never goes off early, which
// would have Run look again and again until the time has come.
func TestPollTimer(t *testing.T) {
	retry := []func(){func() {}}
	tests := []struct {
		name     string
		interval time.Duration
		polled   int
		retries  []func()
		runs     bool
	}{
		{"nothing to do", time.Hour, 0, nil, false},
		{"something is polled", time.Hour, 1, nil, true},
		{"polling is off", -1, 1, nil, false},
		{"a retry", time.Hour, 0, retry, true},
		{"a retry while polling is off", -1, 0, retry, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for i := range 50 {
				us := newUnwatchedDirs(tt.interval)
				us.startTimer()
				us.next = us.next.Add(time.Duration(i) * 20 * time.Microsecond)
				us.polled, us.retries = tt.polled, tt.retries
				timeout := us.timeout()
				if runs := timeout >= 0; runs != tt.runs {
					t.Fatalf("the timer runs: %t, want %t", runs, tt.runs)
				}
				early := us.next.Sub(time.Now().Add(time.Duration(timeout) * time.Millisecond))
				if tt.runs && (early > 0 || timeout == 0) {
					t.Fatalf("the timeout of %d ms ends %v early", timeout, early)
				}
			}
		})
	}
}
