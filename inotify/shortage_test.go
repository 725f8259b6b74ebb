package inotify

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A process that has too many files open cannot look into what appears. Once
// it can, it does.
func TestDescriptorsRunOut(t *testing.T) {
	if !apart(t, nil) {
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
			tr := newBlindTrial(t)
			tr.do(`
				mkdir out:tree/e
				write out:tree/e/f` + "\n" + tt.before)
			tr.must(tr.add())
			tr.run()
			tr.flush()
			restore := tr.noDescriptors()
			tr.do(tt.script)
			tr.flush()
			tr.tick() // still too few
			restore()
			if told := tr.told(); len(told) != 1 || !errors.Is(told[0], unix.EMFILE) {
				t.Errorf("told %q, want that there are too few descriptors, once", told)
			}
			if got := lines(tr.tick()); !strings.HasSuffix(got, tt.want) {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
			tr.unwatched(0, false)
			checkModel(t, tr.trial)
		})
	}
}

// noDescriptors lets the process open nothing more until restore is called.
func (tr *trial) noDescriptors() (restore func()) {
	var before unix.Rlimit
	tr.must(unix.Getrlimit(unix.RLIMIT_NOFILE, &before))
	fd, err := unix.Dup(0) // the lowest that is free
	tr.must(err)
	unix.Close(fd)
	tr.must(unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(fd), Max: before.Max}))
	return func() { tr.must(unix.Setrlimit(unix.RLIMIT_NOFILE, &before)) }
}
