package inotify

import (
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fillQueue makes the kernel's queue overflow while nobody reads it. dir is a
// directory below the root.
func (tr *trial) fillQueue(dir string) {
	tr.t.Helper()
	for range queueLength() {
		tr.must(os.Chmod(tr.at(dir), 0o755)) // two records, of dir and of its name, so that none is merged
	}
}

func TestOverflowLosesNothing(t *testing.T) {
	tr := newTrial(t, Subscription{})
	tr.do(`
		mkdir old/sub
		write old/sub/gone
		mkdir doomed/sub
		mkdir named/sub
		write same`)
	// The time stamps must be able to tell what comes from what was.
	for since := changed(tr.at("same")); changed(tr.at("old")).Sub(since) < 50*time.Millisecond; {
		tr.do(`chmod old`)
	}
	tr.read()
	tr.fillQueue("old")
	tr.do(`
		mkdir new/deep
		write new/deep/f
		append old/sub/gone
		rm old/sub/gone
		write old/sub/changed
		mv named other
		rm doomed`)
	_, got, _ := strings.Cut(lines(tr.read()), "q_overflow")
	got = "q_overflow" + got
	for _, want := range []string{
		"q_overflow|isdir .\n", "modify|close_write|create new/deep/f\n", "modify|close_write|create old/sub/changed\n",
		"modify|isdir old/sub\n", "create|isdir other\n", "delete|isdir doomed\n", "modify|isdir .\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q after the overflow", want)
		}
	}
	if strings.Contains(got, " same\n") {
		t.Errorf("a file that did not change was reported:\n%.3000s", got)
	}
	checkModel(t, tr.run())
	tr.do(`write new/deep/later`)
	if got := lines(tr.flush()); !strings.Contains(got, "close_write new/deep/later\n") {
		t.Errorf("later events:\n%s", got)
	}
}

// The rescan that follows an overflow is met by another one: SkipDir is asked
// for each directory on the way.
func TestOverflowDuringTheRescan(t *testing.T) {
	var tr *trial
	var meanwhile func()
	tr = newTrial(t, Subscription{SkipDir: func(path string) bool {
		if path == "d" && meanwhile != nil {
			meanwhile()
		}
		return false
	}})
	tr.do(`
		mkdir d/e
		mkdir gone/too
		write f`)
	tr.read()
	r := newReplay(tr.root)
	tr.fillQueue("d")
	tr.do(`mkdir first/deep`)
	meanwhile = sync.OnceFunc(func() {
		tr.fillQueue("d")
		tr.do(`
			mkdir second/deep
			write second/deep/f
			mkdir d/e/x
			rm gone
			mv first third`)
	})
	events := tr.read()
	r.apply(events)
	r.check(t)
	if n := strings.Count(lines(events), "q_overflow|isdir .\n"); n != 2 {
		t.Errorf("%d overflows are told, want 2", n)
	}
	checkModel(t, tr.run())
}

// An overflow swallows IN_IGNORED, and a new directory has the inode number of
// the one that it replaced: only the watch descriptor tells them apart.
func TestOverflowThatSwallowedTheEndOfAWatch(t *testing.T) {
	for _, path := range []string{"d/e", "."} {
		t.Run(path, func(t *testing.T) {
			tr := newTrial(t, Subscription{})
			tr.do(`mkdir d/e`)
			tr.read()
			tr.fillQueue("d")
			if !tr.remake(path) {
				t.Skip("inode numbers are not used again here")
			}
			tr.do(`mkdir d/e/x`)
			tr.read()
			checkModel(t, tr.run())
		})
	}
}

// remake deletes a directory and makes it again until it has the same inode
// number.
func (tr *trial) remake(path string) bool {
	number := func() uint64 {
		var st unix.Stat_t
		tr.must(unix.Stat(tr.at(path), &st))
		return st.Ino
	}
	was := number()
	for range 100 {
		tr.must(os.RemoveAll(tr.at(path)))
		tr.must(os.Mkdir(tr.at(path), 0o755))
		if number() == was {
			return true
		}
	}
	return false
}
