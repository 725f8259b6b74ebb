package inotify

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A change of content is reported as Modify once, however it was made, and nothing else is
// reported as Modify. Time passes before each step.
func TestEveryChangeOfContentIsModify(t *testing.T) {
	tests := []struct {
		name  string
		steps []string
		want  []string // the paths that were modified, by step
	}{
		{"a save", []string{"write f"}, []string{"f"}},
		{"a save that is closed later", []string{"open f", "put f", "close f"}, []string{"", "f", ""}},
		{"a mode that is set after a save", []string{"write f", "chmod f"}, []string{"f", ""}},
		{"touch", []string{"touch f"}, []string{"f"}},
		{"touch twice", []string{"touch f", "touch f"}, []string{"f", "f"}},
		{"touch of a file that was saved before", []string{"write f", "touch f", "chmod f"}, []string{"f", "f", ""}},
		{"a memory map", []string{"mmap f"}, []string{"f"}},
		{"a memory map after a save", []string{"write f", "mmap f", "chmod f"}, []string{"f", "f", ""}},
		{"a mode", []string{"chmod f"}, []string{""}},
		{"a link more", []string{"link f g", "chmod g", "unlink g"}, []string{"", "", ""}},
		{"open and close", []string{"open f", "close f"}, []string{"", ""}},
		{"an old time", []string{"touch -old f", "chmod f"}, []string{"", ""}},
		{"a copy that keeps times", []string{"write f\ntouch -old f"}, []string{"f"}},
		{"a rename to its place", []string{"write out:g\nmv out:g f", "chmod f"}, []string{"f", ""}},
		{"a rename, and a memory map", []string{"mv f g", "mmap g", "chmod g"}, []string{"g", "g", ""}},
		{"a new file that stays empty", []string{"touch g", "chmod g", "open g", "close g", "touch g"}, []string{"", "", "", "", "g"}},
		{"a write by another name", []string{"link f out:g", "append out:g", "chmod f", "chmod f"}, []string{"", "", "f", ""}},
		{"a directory that moves in", []string{"mkdir out:d\nwrite out:d/g\nmv out:d d", "chmod d/g", "mmap d/g"}, []string{"d/g", "", "d/g"}},
		{"a directory that moves", []string{"mkdir d\nwrite d/g", "mv d e", "chmod e/g", "touch e/g"}, []string{"d/g", "", "", "e/g"}},
		{"a link", []string{"symlink f g", "rm g"}, []string{"", ""}},
		{"touch of a directory", []string{"mkdir d", "touch -old d"}, []string{"", ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr := newEmptyFixture(t)
			tr.do("write f")
			tr.must(tr.waitForClock())
			tr.watch(Subscription{})
			for i, step := range tt.steps {
				tr.must(tr.waitForClock())
				tr.do(step)
				events := tr.read()
				if got := modified(events); got != tt.want[i] {
					t.Errorf("%s: modified is %q, want %q; events:\n%s", strings.ReplaceAll(step, "\n", "; "), got, tt.want[i], lines(events))
				}
			}
		})
	}
}

// modified returns the files that have Modify or MovedTo among the events, each once and
// sorted.
func modified(events []Event) string {
	var paths []string
	for _, e := range events {
		if e.Mask&(Modify|MovedTo) != 0 && e.Mask&IsDir == 0 {
			paths = append(paths, e.Path)
		}
	}
	slices.Sort(paths)
	return strings.Join(slices.Compact(paths), " ")
}

// Many files push others out of what is remembered. Those are reported as modified when
// they change, and not otherwise.
func TestContentTimesAreBounded(t *testing.T) {
	tr := newEmptyFixture(t)
	tr.do("write f\nmkdir d")
	tr.must(tr.waitForClock())
	tr.watch(Subscription{})
	tr.must(tr.waitForClock())
	tr.do("write f")
	tr.read()
	d := tr.watcher.tree.Node(tr.watcher.tree.Lookup(tr.watcher.subs[0].dir, []byte("d"))).WD
	for i := range 10 * 4 * contentSets {
		tr.watcher.content.now = time.Now().UnixNano()
		tr.watcher.content.reported(tr.watcher.contentKey(d, []byte(strconv.Itoa(i))), Modify|CloseWrite)
	}
	tr.must(tr.waitForClock())
	tr.do("chmod f")
	if got := modified(tr.read()); got != "" {
		t.Errorf("after a change of mode %q is modified", got)
	}
	tr.do("touch f")
	if got := modified(tr.read()); got != "f" {
		t.Errorf("after touch %q is modified, want f", got)
	}
}

// What was reported before an overflow, or before a restart, is not reported again, and
// what changes after it is.
func TestContentTimesAfterOverflowAndRestart(t *testing.T) {
	for _, what := range []string{"overflow", "restart"} {
		t.Run(what, func(t *testing.T) {
			tr, saved := newStateFixture(t)
			tr.do("mkdir d\nwrite f")
			tr.read()
			tr.must(tr.waitForClock())
			if what == "overflow" {
				tr.fillQueue("d")
				tr.read()
			} else {
				tr.leave(saved)
				tr.resume(saved)
				tr.read()
			}
			for _, step := range []struct{ do, want string }{{"chmod f", ""}, {"touch f", "f"}, {"mmap f", "f"}} {
				tr.must(tr.waitForClock())
				tr.do(step.do)
				events := tr.read()
				if got := modified(events); got != step.want {
					t.Errorf("%s: modified is %q, want %q; events:\n%s", step.do, got, step.want, lines(events))
				}
			}
		})
	}
}
