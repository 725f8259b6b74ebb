package inotify

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLimitText(t *testing.T) {
	tests := []struct {
		err  LimitError
		want string
	}{
		{LimitError{Limit: "fs.inotify.max_user_watches", Value: 8192, Needed: 20000, Root: "/srv/www", Err: unix.ENOSPC},
			"no inotify watch left for /srv/www: it has 20000 directories, and fs.inotify.max_user_watches=8192 counts all programs of this user; raise it: sysctl fs.inotify.max_user_watches=56384"},
		{LimitError{Limit: "user.max_inotify_watches", Value: 5, Needed: 9, Root: "/srv/my files", Err: unix.ENOSPC},
			`no inotify watch left for "/srv/my files": it has 9 directories, and user.max_inotify_watches=5 counts all programs of this user; raise it: sysctl user.max_inotify_watches=8192`},
		{LimitError{Limit: "fs.inotify.max_user_instances", Value: 128, Err: unix.EMFILE},
			"no inotify instance left: this user has all of fs.inotify.max_user_instances=128 in use; raise it: sysctl fs.inotify.max_user_instances=512"},
	}
	for _, tt := range tests {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got\n%s\nwant\n%s", got, tt.want)
		}
	}
}

func TestWatchLimitKeepsWhatCouldBeWatched(t *testing.T) {
	if !inChild(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: asRoot(os.Getuid())}) {
		return
	}
	setLimit(t, "watches", "5")
	tr := newTrial(t, Subscription{})
	tr.do(`mkdir a/b/c/d`)
	var problems []error
	w, err := New(Options{Problem: func(err error) { problems = append(problems, err) }})
	tr.must(err)
	defer w.Close()
	full := tr.beside(tr.root, w)

	tr.must(tr.w.Close()) // it had a watch
	tr.must(w.Add(Subscription{Root: full.root, Deliver: full.take}))
	full.do(`mkdir a/b/c/d/e`)
	full.read()
	limit, ok := errors.AsType[*LimitError](errors.Join(problems...))
	if !ok || len(problems) != 1 {
		t.Fatalf("a sixth directory: %v, want one *LimitError", problems)
	}
	if *limit != (LimitError{"user.max_inotify_watches", 5, 6, full.root, unix.ENOSPC}) {
		t.Errorf("the sixth directory: %#v", limit)
	}
	if got := w.Watches(); got != 5 {
		t.Errorf("%d watches with a limit of 5", got)
	}
	full.do(`
		mkdir x
		write a/b/c/d/f
		write a/b/c/d/e/unseen`)
	if got, want := lines(full.read()), "create|isdir x\ncreate a/b/c/d/f\nmodify a/b/c/d/f\nclose_write a/b/c/d/f\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if len(problems) != 1 {
		t.Errorf("the limit was reported again: %v", problems[1:])
	}

	err = w.Add(Subscription{Root: full.root})
	if limit, ok := errors.AsType[*LimitError](err); !ok || limit.Needed != 7 || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Add: %v", err)
	}
}

func TestInstanceLimit(t *testing.T) {
	if !inChild(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: asRoot(os.Getuid())}) {
		return
	}
	setLimit(t, "instances", "1")
	newWatcher(t)
	_, err := New(Options{})
	limit, ok := errors.AsType[*LimitError](err)
	if !ok || *limit != (LimitError{Limit: "user.max_inotify_instances", Value: 1, Err: unix.EMFILE}) {
		t.Errorf("a second instance: %#v", err)
	}
}

// setLimit sets a limit of the user namespace that the test has to itself.
func setLimit(t *testing.T, what, value string) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/user/max_inotify_"+what, []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}

// inChild runs the test again in a process of its own with attr, and says
// whether this is that process.
func inChild(t *testing.T, attr *syscall.SysProcAttr) bool {
	t.Helper()
	const mark = "INOTIFY_TEST_CHILD"
	if os.Getenv(mark) == t.Name() {
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	switch _, ran := errors.AsType[*exec.ExitError](err); {
	case err == nil && strings.Contains(string(out), "--- SKIP"):
		t.Skipf("%s", out)
	case err != nil && !ran:
		t.Skipf("no process of its own: %v", err)
	case err != nil:
		t.Errorf("%s%v", out, err)
	}
	return false
}

func asRoot(id int) []syscall.SysProcIDMap {
	return []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}}
}
