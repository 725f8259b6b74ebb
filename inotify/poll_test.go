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

// apart runs the test in a process of its own, and says whether this is it.
func apart(t *testing.T, attr *syscall.SysProcAttr) bool {
	t.Helper()
	const name = "INOTIFY_TEST_APART"
	if os.Getenv(name) == t.Name() {
		return true
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
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
		t.Skip("such a process takes a privilege:", err)
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("%s", out)
	}
	return false
}

// namespace has its own max_user_watches.
func namespace() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
}

// A blindTrial is a trial whose problems count.
type blindTrial struct {
	*trial
	problems []error // guarded by trial.mu
}

// newBlindTrial makes the root and the watcher, with a timer that goes off
// only when tick says so.
func newBlindTrial(t *testing.T) *blindTrial {
	tr := &blindTrial{trial: emptyTrial(t)}
	w, err := New(Options{PollInterval: time.Hour, Problem: func(err error) {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		tr.problems = append(tr.problems, err)
	}})
	tr.must(err)
	tr.w = w
	t.Cleanup(func() { tr.must(w.Close()) })
	return tr
}

func (tr *blindTrial) add() error {
	_, err := tr.w.Add(Subscription{Root: tr.root, Mask: Create | Delete | CloseWrite | MovedFrom | MovedTo, Deliver: tr.take})
	return err
}

// told returns the problems since it was called last.
func (tr *blindTrial) told() []error {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	told := tr.problems
	tr.problems = nil
	return told
}

// tick lets the timer go off and returns what was delivered by then.
func (tr *trial) tick() []Event {
	tr.t.Helper()
	tr.must(tr.w.Flush(tr.t.Context()))
	tr.w.mu.Lock()
	tr.w.unwatched.next = time.Time{}
	tr.w.mu.Unlock()
	tr.must(tr.w.Flush(tr.t.Context()))
	return tr.taken()
}

// step does a script, lets the timer go off and compares what is reported.
// The order of directories is open.
func (tr *blindTrial) step(script, want string) {
	tr.t.Helper()
	tr.do(script)
	got := sorted(lines(tr.tick()))
	if want = sorted(want); got != want {
		tr.t.Errorf("%s\ngot\n%s\nwant\n%s", strings.TrimSpace(script), got, want)
	}
}

// sorted is the lines of text in order, without the white space around them. A
// line that comes twice counts once: the reader may look while a script runs,
// and what is reported is reported at least once.
func sorted(text string) string {
	list := strings.Split(strings.ReplaceAll(strings.TrimSpace(text), "\t", ""), "\n")
	slices.Sort(list)
	return strings.Join(slices.Compact(list), "\n")
}

// unwatched checks how many directories have no watch, and that a timer runs
// when some of them can be looked at, and only then.
func (tr *blindTrial) unwatched(want int, looked bool) {
	tr.t.Helper()
	if got := tr.w.Unwatched(); got != want {
		tr.t.Errorf("%d directories are unwatched, want %d", got, want)
	}
	tr.w.mu.Lock()
	defer tr.w.mu.Unlock()
	if timed := tr.w.unwatched.timeout() >= 0; timed != looked {
		tr.t.Errorf("a timer runs: %t, want %t", timed, looked)
	}
}

// room lets this user namespace have so many watches more than it has.
func (tr *blindTrial) room(more int) {
	tr.t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/self/fdinfo/%d", tr.w.kernel.fd))
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
	if !apart(t, namespace()) {
		return
	}
	t.Run("reached after Add", func(t *testing.T) {
		tr := newBlindTrial(t)
		tr.must(tr.add())
		tr.run()
		tr.flush()
		tr.room(0)
		tr.step(`
			mkdir a/b
			write a/b/f
			mkdir z`, `
			create|isdir a
			create|isdir z
			create|isdir a/b
			modify|close_write|create a/b/f`)
		tr.unwatched(3, true)
		if told := tr.told(); len(told) != 1 {
			t.Errorf("told %q, want one error", told)
		} else {
			wantLimit(t, told[0])
		}
		tr.step(``, ``)
		tr.step(`append a/b/f`, `modify|close_write|create a/b/f`)
		tr.step(`
			rm a/b/f
			mkdir a/c
			write z/f`, `
			delete a/b/f
			create|isdir a/c
			modify|close_write|create z/f`)
		tr.unwatched(4, true)

		tr.step(`
			mv a y`, `
			moved_from|isdir a
			moved_to|isdir y
			create|isdir y/b
			create|isdir y/c`)
		tr.step(`rm z`, `delete|isdir z`)
		tr.unwatched(3, true)
		if told := tr.told(); len(told) != 0 {
			t.Errorf("told again: %q", told)
		}

		tr.room(2) // for y and one of those in it
		tr.step(`write y/g`, `modify|close_write|create y/g`)
		tr.unwatched(1, true)
		tr.room(100)
		tr.step(`write y/c/h`, `modify|close_write|create y/c/h`)
		tr.unwatched(0, false)
		checkModel(t, tr.trial)
		tr.room(0)
		tr.step(`mkdir again`, `create|isdir again`)
		if told := tr.told(); len(told) != 1 {
			t.Errorf("told %q when the limit was reached anew", told)
		}
	})
	t.Run("reached at Add", func(t *testing.T) {
		tr := newBlindTrial(t)
		tr.room(2)
		tr.do(`
			mkdir a/b
			write a/b/f
			mkdir c/d`)
		wantLimit(t, tr.add())
		if got := tr.w.Watches() + tr.w.Unwatched(); got != 5 {
			t.Errorf("%d directories are known, want 5", got)
		}
		tr.do(`append a/b/f`)
		tr.run()
		tr.room(0)
		if got := lines(tr.tick()); !strings.Contains(got, "close_write|create a/b/f\n") && !strings.HasSuffix(got, "close_write a/b/f\n") || strings.Contains(got, "isdir") {
			t.Errorf("what was there was reported, or a change was not:\n%s", got)
		}
		tr.step(`write a/b/g`, `modify|close_write|create a/b/g`)
		tr.step(`write c/d/g`, `modify|close_write|create c/d/g`)
		tr.step(`mkdir e`, `create|isdir e`)
		tr.room(100)
		tr.step(``, ``)
		tr.unwatched(0, false)
		checkModel(t, tr.trial)
		if told := tr.told(); len(told) != 0 {
			t.Errorf("Add has told, and then %q", told)
		}
	})
	t.Run("no watch for the root", func(t *testing.T) {
		tr := newBlindTrial(t)
		tr.room(0)
		tr.do(`mkdir a/b`)
		wantLimit(t, tr.add())
		tr.unwatched(3, true)
		tr.run()
		tr.step(`write a/b/f`, `modify|close_write|create a/b/f`)
		tr.room(100)
		tr.step(`write f`, `modify|close_write|create f`)
		tr.unwatched(0, false)
		checkModel(t, tr.trial)
	})
	t.Run("no watch for a root that another's tree has later", func(t *testing.T) {
		tr := newBlindTrial(t)
		tr.do(`
			mkdir a/b
			mkdir b`)
		inner := &trial{t: t, root: tr.at("a"), w: tr.w}
		tr.room(0)
		_, err := tr.w.Add(Subscription{Root: inner.root, Mask: CloseWrite, Deliver: inner.take})
		wantLimit(t, err)
		tr.room(100)
		tr.must(tr.add())
		tr.do(`write a/b/f`) // seen by the outer root, and by the inner one's last look
		tr.run()
		tr.step(`write b/f`, `
			create a/b/f
			close_write a/b/f
			modify|close_write|create a/b/f
			create b/f
			close_write b/f`)
		if got := lines(inner.taken()); got != "close_write b/f\n" && !strings.Contains(got, "|create b/f\n") {
			t.Errorf("the inner root got\n%s", got)
		}
		tr.unwatched(0, false)
		tr.step(`write a/b/g`, `
			create a/b/g
			close_write a/b/g`)
		if got, want := lines(inner.taken()), "close_write b/g\n"; got != want {
			t.Errorf("the inner root got\n%swant\n%s", got, want)
		}
		checkModel(t, tr.trial)
	})
	t.Run("a Flush without a watch for its mark", func(t *testing.T) {
		tr := newBlindTrial(t)
		tr.must(tr.add())
		tr.run()
		tr.flush()
		tr.room(0)
		for i := range 50 {
			name := strconv.Itoa(i)
			tr.do("write " + name)
			if got, want := lines(tr.flush()), "create "+name+"\nclose_write "+name+"\n"; got != want {
				t.Fatalf("got\n%swant\n%s", got, want)
			}
		}
	})
	t.Run("an overflow: what was seen is known", func(t *testing.T) {
		tr := newBlindTrial(t)
		tr.must(tr.add())
		tr.run()
		tr.flush()
		tr.room(0)
		tr.step(`mkdir a/b`, `
			create|isdir a
			create|isdir a/b`)
		tr.do(`write a/b/f`)
		tr.w.mu.Lock()
		tr.w.pending.overflow = true
		tr.w.mu.Unlock()
		tr.step(``, `
			q_overflow|isdir .
			modify|close_write|create a/b/f`)
	})
	t.Run("the timer goes off by itself", func(t *testing.T) {
		tr := newBlindTrial(t)
		tr.w.unwatched.interval = 5 * time.Millisecond
		tr.room(0)
		wantLimit(t, tr.add())
		events := make(chan Event, 100)
		tr.w.subs[0].Deliver = func(batch []Event) {
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

// What cannot be read for a while is not gone.
func TestPermissionDeniedWherePolled(t *testing.T) {
	attr := &syscall.SysProcAttr{}
	if os.Getuid() == 0 {
		attr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	if !apart(t, attr) {
		return
	}
	tr := newBlindTrial(t)
	tr.w.statfs = func(string) (uint32, error) { return unix.NFS_SUPER_MAGIC, nil }
	tr.do(`
		mkdir a/b
		write a/f
		write a/b/f`)
	tr.must(tr.add())
	tr.run()
	for _, mode := range []os.FileMode{0, 0o100, 0o400, 0o755} {
		tr.must(os.Chmod(tr.at("a"), mode))
		tr.step(``, ``)
		tr.unwatched(3, true)
	}
	tr.step(`append a/b/f`, `modify|close_write|create a/b/f`)
}
