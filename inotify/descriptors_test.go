package inotify

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A process without a free descriptor cannot scan what appears. As soon as it can, it does.
func TestDescriptorsRunOut(t *testing.T) {
	if !inSubprocess(t, nil) {
		return
	}
	tests := []struct{ name, before, script, want string }{
		{"a directory appears", ``, `mv out:tree d`, "create|isdir d/e\nmodify|close_write|create d/e/f\n"},
		{"a directory appears in one that was renamed", `mkdir x`, `
			mv x y
			mv out:tree y/d`, "create|isdir y/d/e\nmodify|close_write|create y/d/e/f\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := newPollFixture(t)
			tr.do(`
				mkdir out:tree/e
				write out:tree/e/f` + "\n" + tt.before)
			tr.begin()
			restore := tr.noDescriptors()
			tr.do(tt.script)
			tr.flush()
			tr.poll() // still too few
			restore()
			if problems := tr.takeProblems(); len(problems) != 1 || !errors.Is(problems[0], unix.EMFILE) {
				t.Errorf("problems %q, want EMFILE once", problems)
			}
			if got := lines(tr.poll()); !strings.HasSuffix(got, tt.want) {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
			tr.wantUnwatched(0, false)
			checkModel(t, tr.fixture)
		})
	}
}

// noDescriptors lets the process open nothing more until restore is called.
func (tr *fixture) noDescriptors() (restore func()) {
	var before unix.Rlimit
	tr.must(unix.Getrlimit(unix.RLIMIT_NOFILE, &before))
	fd, err := unix.Dup(0) // the lowest that is free
	tr.must(err)
	unix.Close(fd)
	tr.must(unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(fd), Max: before.Max}))
	return func() { tr.must(unix.Setrlimit(unix.RLIMIT_NOFILE, &before)) }
}
