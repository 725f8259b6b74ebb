package inotify

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify/internal/dirfd"
	"github.com/execlog/execlogd/internal/statelog"
)

// TestResumeWithoutARoot checks that roots which are gone are reported, and that the tree is right when
// they are there again.
func TestResumeWithoutARoot(t *testing.T) {
	for _, lost := range []string{"nothing", "the instance"} {
		t.Run("and without "+lost, func(t *testing.T) {
			tr, saved := newStateFixture(t)
			tr.do(`
				mkdir a/b
				mkdir out:other/sub
				mkdir out:dropped/sub`)
			other := &fixture{t: t, root: tr.at("out:other"), outside: tr.outside}
			tr.mustAdd(tr.watcher.Add(Subscription{Root: other.root}))
			tr.mustAdd(tr.watcher.Add(Subscription{Root: tr.at("out:dropped")}))
			tr.read()
			tr.leave(saved)
			tr.takeEvents()
			if lost != "nothing" {
				saved.instance.Close()
				saved.instance = nil
			}
			tr.do("rm out:dropped")
			tr.must(os.Rename(tr.root, tr.at("out:gone")))
			tr.must(os.Rename(other.root, tr.at("out:moved")))

			tr.resume(saved, Subscription{Root: other.root, Deliver: other.deliver, Wait: true})
			other.watcher = tr.watcher
			if got := lines(tr.read()); !strings.HasSuffix(got, "move_self|isdir .\n") {
				t.Errorf("of the root that is gone:\n%s", got)
			}
			if got := lines(other.takeEvents()); !strings.HasSuffix(got, "move_self|isdir .\n") {
				t.Errorf("of the other one:\n%s", got)
			}

			tr.run()
			tr.must(os.Rename(tr.at("out:gone"), tr.root))
			tr.do("mkdir n/m\nmkdir n/k")
			other.do("mkdir x/y\nmkdir z")
			if got := lines(tr.flush()); !strings.Contains(got, "create|isdir a/b\n") || !strings.Contains(got, "create|isdir n/k\n") {
				t.Errorf("of the root that is there again:\n%s", got)
			}
			checkModel(t, tr)
			checkModel(t, other)
		})
	}
}

// TestResumePrunesForAll checks that a subscription with another SkipKey takes nothing from those that
// are added after it.
func TestResumePrunesForAll(t *testing.T) {
	tr := newEmptyFixture(t)
	saved := tr.newState()
	tr.do(`
		mkdir skipped/inner/sub
		mkdir kept`)
	skip := func(path string) bool { return path == "skipped" }
	same := &fixture{t: t, root: tr.root, outside: tr.outside}
	inner := &fixture{t: t, root: tr.at("skipped/inner"), outside: tr.outside}
	open := func(key string) {
		t.Helper()
		w, err := New(Options{State: saved.file, Instance: saved.instance})
		tr.must(err)
		t.Cleanup(func() { tr.must(w.Close()) })
		tr.watcher, same.watcher, inner.watcher = w, w, w
		tr.mustAdd(w.Add(Subscription{Root: tr.root, Deliver: tr.deliver, SkipKey: key, SkipDir: skip}))
		tr.mustAdd(w.Add(Subscription{Root: inner.root, Deliver: inner.deliver}))
		if key != "alone" {
			tr.mustAdd(w.Add(Subscription{Root: tr.root, Deliver: same.deliver}))
		}
	}

	for _, key := range []string{"a", "b", "alone"} {
		open(key)
		if saved.instance != nil {
			if got, want := lines(inner.read()), "create f\nmodify f\nclose_write f\n"; got != want {
				t.Errorf("key %s: in the inner root:\n%s", key, got)
			}
			if got := lines(same.takeEvents()); key != "alone" && !strings.Contains(got, "close_write skipped/f\n") {
				t.Errorf("key %s: from whom nothing is skipped:\n%s", key, got)
			}
			tr.do("rm skipped/inner/f\nrm skipped/f")
		}
		tr.read()
		inner.do("mkdir sub/" + key)
		tr.read()
		tr.leave(saved)
		same.takeEvents()
		inner.takeEvents()
		tr.takeEvents()
		tr.do("write skipped/inner/f\nwrite skipped/f")
	}
}

// TestResumeFindsFiles checks that what becomes of a root that is a file is reported.
func TestResumeFindsFiles(t *testing.T) {
	tests := []struct{ name, before, between, want string }{
		{"nothing happened", "write f", "", ""},
		{"it is written", "write f", "append f", "modify .\nclose_write .\n"},
		{"another is renamed to its place", "write f", "write g\nmv g f", "modify|close_write|moved_to .\n"},
		{"it is removed", "write f", "rm f", "delete .\n"},
		{"it is renamed", "write f", "mv f g", "delete .\n"},
		{"it appears", "", "write f", "modify|close_write|create .\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr := newEmptyFixture(t)
			saved := tr.newState()
			tr.do(tt.before)
			file := &fixture{t: t, root: tr.at("f"), outside: tr.outside}
			open := func() {
				w, err := New(Options{State: saved.file, Instance: saved.instance})
				tr.must(err)
				t.Cleanup(func() { tr.must(w.Close()) })
				file.watcher = w
				file.mustAdd(w.Add(Subscription{Root: file.root, Wait: true, Deliver: file.deliver}))
			}
			open()
			file.read()
			file.leave(saved)
			file.takeEvents()
			tr.do(tt.between)
			open()
			got := lines(file.read())
			got = strings.Replace(got, "attrib .\n", "", 1) // of the links of a removed file
			if got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
			file.run()
			tr.do("write f")
			if got := lines(file.flush()); !strings.HasSuffix(got, "close_write .\n") && !strings.HasSuffix(got, "create .\n") {
				t.Errorf("later:\n%s", got)
			}
		})
	}
}

// TestResumeFindsThatAMountIsGone checks the end of a bind mount, of which the kernel says nothing.
func TestResumeFindsThatAMountIsGone(t *testing.T) {
	tr, saved := newStateFixture(t)
	tr.do(`
		mkdir dir/covered
		mkdir out:from/bound`)
	point := tr.at("dir")
	if err := unix.Mount(tr.at("out:from"), point, "", unix.MS_BIND, ""); err != nil {
		t.Skip("mounting takes a privilege:", err)
	}
	defer unix.Unmount(point, unix.MNT_DETACH)
	tr.read()
	tr.leave(saved)
	tr.takeEvents()
	tr.must(unix.Unmount(point, 0))
	tr.resume(saved)
	tr.findsUncovered()
}

// TestResumeAfterAMountThatWasHalfNoted checks the same if the process before has ended in the
// middle of what it does for a mount, or has never got to an end of that, as mounts came and went
// elsewhere all the time.
func TestResumeAfterAMountThatWasHalfNoted(t *testing.T) {
	tr, saved := newStateFixture(t)
	tr.do(`
		mkdir dir/covered
		mkdir out:from/bound`)
	tr.read()
	point := tr.at("dir")
	if err := unix.Mount(tr.at("out:from"), point, "", unix.MS_BIND, ""); err != nil {
		t.Skip("mounting takes a privilege:", err)
	}
	defer unix.Unmount(point, unix.MNT_DETACH)
	w := tr.watcher
	w.mu.Lock()
	w.mountsChanged()
	w.mu.Unlock()
	for others := w.pending; !others.empty(); others.mountedFiles = false {
		_, err := w.repair()
		tr.must(err)
		others = w.pending
	}
	tr.leave(saved)
	tr.takeEvents()
	tr.must(unix.Unmount(point, 0))
	tr.resume(saved)
	tr.findsUncovered()
}

// findsUncovered checks that what a mount on dir has covered is found, and watched. There may
// have been other changes of the list of mounts, with which a watcher was not done, so that it
// compares everything, or the same once more.
func (tr *fixture) findsUncovered() {
	tr.t.Helper()
	got := strings.TrimPrefix(lines(tr.read()), "q_overflow|isdir .\nmodify|isdir .\n")
	want := "delete|isdir dir\ncreate|isdir dir\ncreate|isdir dir/covered\n"
	if got = strings.ReplaceAll(got, want+want, want); got != want {
		tr.t.Errorf("got\n%swant\n%s", got, want)
	}
	checkModel(tr.t, tr.run())
}

// TestResumeKeepsNoWatch checks that nothing is left of roots that nobody adds again, or whose Add
// was not saved.
func TestResumeKeepsNoWatch(t *testing.T) {
	tr, saved := newStateFixture(t)
	tr.do(`
		mkdir out:a/b/c/dir
		mkdir out:d/e
		write out:d/e/file`)
	tr.mustAdd(tr.watcher.Add(Subscription{Root: tr.at("out:a/b/c/dir")}))
	tr.mustAdd(tr.watcher.Add(Subscription{Root: tr.at("out:d/e/file")}))
	tr.read()
	tr.do("mkdir out:g/h")
	tr.mustAdd(tr.watcher.Add(Subscription{Root: tr.at("out:g")}))
	tr.leave(saved)
	tr.resume(saved)
	tr.read()
	if got := tr.watches(); got != 1 {
		t.Errorf("%d watches for one directory", got)
	}
}

// TestResumePolls checks that everything is looked at when a file was polled.
func TestResumePolls(t *testing.T) {
	tr := newEmptyFixture(t)
	saved := tr.newState()
	tr.do("write f")
	file := &fixture{t: t, root: tr.at("f"), outside: tr.outside}
	open := func() {
		w, err := New(Options{State: saved.file, Instance: saved.instance})
		tr.must(err)
		t.Cleanup(func() { tr.must(w.Close()) })
		w.statfs = func(string) (uint32, error) { return unix.NFS_SUPER_MAGIC, nil }
		file.watcher = w
		file.mustAdd(w.Add(Subscription{Root: file.root, Deliver: file.deliver}))
	}
	open()
	file.read()
	file.leave(saved)
	tr.must(file.waitForClock())
	tr.do("append f")
	open()
	if got, want := lines(file.read()), "q_overflow .\nmodify|close_write .\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// FuzzLoadState checks that no content of the file is a crash, and that what is taken from it is saved
// as it was.
func FuzzLoadState(f *testing.F) {
	tr, saved := newStateFixture(f)
	tr.do("mkdir a/b\nwrite f")
	tr.mustAdd(tr.watcher.Add(Subscription{Root: tr.at("f"), SkipKey: "key"}))
	tr.read()
	tr.must(tr.watcher.Close())
	log, records, err := statelog.Open(saved.file)
	tr.must(err)
	tr.must(log.Close())
	for _, r := range records {
		f.Add(r)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		load := func(b []byte) *Watcher {
			w := newWatcher(Options{})
			w.state.consistent = new(atomic.Uint64)
			if len(b) == 0 || len(b) > 1<<12 || w.loadState([][]byte{b}) != nil {
				return nil
			}
			return w
		}
		w := load(b)
		if w == nil {
			return
		}
		for n := range w.tree.All() {
			w.hasInode(n, dirfd.Inode{})
		}
		roots := w.appendRoots(nil)
		again := load(w.tree.AppendAll(append(binary.AppendUvarint([]byte{changesOfTree}, uint64(len(roots))), roots...)))
		if again == nil {
			t.Fatal("what was loaded and saved is not loaded")
		}
		if got := again.appendRoots(nil); !bytes.Equal(got, roots) {
			t.Errorf("got\n%q\nwant\n%q", got, roots)
		}
	})
}

// TestFlushWaitsForUnfinished checks that Flush does not return between the records of the process before.
func TestFlushWaitsForUnfinished(t *testing.T) {
	tr, _ := newStateFixture(t)
	tr.read()
	w := tr.watcher
	w.state.unfinished = [][]byte{make([]byte, unix.SizeofInotifyEvent), make([]byte, unix.SizeofInotifyEvent)}
	for i, want := range []bool{false, true} {
		buf, err := w.read()
		tr.must(err)
		if complete, err := w.applyBuffer(buf); err != nil || complete != want {
			t.Errorf("after %d of 2 it is complete: %t, %v", i+1, complete, err)
		}
	}
}

// TestInstanceBeforeAdd checks that the roots stay in the file when the instance is stored before they
// are added.
func TestInstanceBeforeAdd(t *testing.T) {
	tr, saved := newStateFixture(t)
	tr.read()
	tr.must(tr.watcher.Close())
	w, err := New(Options{State: saved.file})
	tr.must(err)
	saved.instance, err = w.Instance()
	tr.must(errors.Join(err, w.Close()))
	tr.do("write f")
	tr.resume(saved)
	if got, err := tr.watcher.Resumed(); got != ResumedInstance || err != nil {
		t.Errorf("resumption %d, %v", got, err)
	}
	if got := lines(tr.read()); !strings.Contains(got, "close_write f\n") {
		t.Errorf("got\n%s", got)
	}
}

// TestResumeWithUnreadable checks that directories which may not be watched cost no scan, and are not
// reported again.
func TestResumeWithUnreadable(t *testing.T) {
	attr := &syscall.SysProcAttr{}
	if os.Getuid() == 0 {
		attr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	if !inSubprocess(t, attr) {
		return
	}
	for _, lost := range []string{"nothing", "the instance"} {
		t.Run("and without "+lost, func(t *testing.T) {
			tr, saved := newStateFixture(t)
			t.Cleanup(func() { // for the removal of the tree
				for _, dir := range []string{"kept", "closed", "open"} {
					os.Chmod(tr.at(dir), 0o755)
				}
			})
			tr.do("mkdir kept/x\nmkdir closed/x\nmkdir open/x/y")
			tr.must(os.Chmod(tr.at("kept"), 0))
			tr.must(os.Chmod(tr.at("closed"), 0))
			tr.must(os.Chmod(tr.at("open"), 0o600)) // what is in it can be listed, and not reached
			tr.read()
			tr.leave(saved)
			saved.instance.Close()
			saved.instance = nil
			tr.resume(saved) // which finds them
			tr.read()
			tr.must(tr.waitForClock())
			tr.leave(saved)
			if lost != "nothing" {
				saved.instance.Close()
				saved.instance = nil
			}
			tr.takeEvents()

			tr.must(os.Chmod(tr.at("closed"), 0o755))
			tr.must(os.Chmod(tr.at("open"), 0o755))
			tr.resume(saved)
			got := lines(tr.read())
			if lost == "nothing" && strings.Contains(got, "overflow") {
				t.Errorf("everything was scanned:\n%s", got)
			}
			if strings.Contains(got, "create|isdir kept") || !strings.Contains(got, "create|isdir closed/x\n") {
				t.Errorf("got\n%s", got)
			}
			if n := tr.watcher.Unwatched(); n != 1 {
				t.Errorf("%d directories without a watch, want one", n)
			}
			tr.run()
			tr.do("mkdir open/x/new")
			if got := lines(tr.flush()); got != "create|isdir open/x/new\n" {
				t.Errorf("later:\n%s", got)
			}
		})
	}
}
