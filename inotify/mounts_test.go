package inotify

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// wantEvent checks that one of the events has a path and the bits of mask.
func (tr *fixture) wantEvent(events []Event, path string, mask Mask) {
	tr.t.Helper()
	if !slices.ContainsFunc(events, func(e Event) bool { return e.Path == path && e.Mask&mask == mask }) {
		tr.t.Errorf("no %v of %s; got\n%s", mask, path, lines(events))
	}
}

// mountFile mounts a file from outside the root on one in it.
func (tr *fixture) mountFile() {
	tr.t.Helper()
	tr.do(`
		write out:conf text
		write conf covered
		bind out:conf conf`)
}

// What happens to a mounted file between a Handover and Resume is reported.
func TestMountedFileResume(t *testing.T) {
	if !inSubprocess(t, mountNamespaceAttr()) {
		return
	}
	tr := newFixture(t, Subscription{})
	tr.mountFile()
	tr.must(tr.watcher.wait()) // for the list of mounts
	tr.read()
	file, state, err := tr.watcher.Handover()
	tr.must(err)
	defer file.Close()
	tr.do(`append out:conf`)
	tr.resume(savedState{file, state})
	tr.wantEvent(tr.read(), "conf", Modify)
	tr.do(`append out:conf`)
	tr.wantEvent(tr.read(), "conf", Modify)
	checkModelOf(t, tr)
}

// What happens to a mounted file while the queue is full is reported.
func TestMountedFileOverflow(t *testing.T) {
	if !inSubprocess(t, mountNamespaceAttr()) {
		return
	}
	tr := newFixture(t, Subscription{})
	tr.do(`mkdir dir`)
	tr.mountFile()
	tr.must(tr.watcher.wait())
	tr.read()
	tr.fillQueue("dir")
	tr.do(`append out:conf`)
	events := tr.read()
	tr.wantEvent(events, ".", Overflow)
	tr.wantEvent(events, "conf", Modify)
	tr.do(`append out:conf`)
	tr.wantEvent(tr.read(), "conf", Modify)
	checkModelOf(t, tr)
}

func checkModelOf(t *testing.T, tr *fixture) {
	t.Helper()
	defer tr.start()()
	checkModel(t, tr)
}

// A mounted file on a remote file system is polled.
func TestRemoteMountedFile(t *testing.T) {
	if !inSubprocess(t, mountNamespaceAttr()) {
		return
	}
	tr := newPollFixture(t)
	tr.do(`
		mkdir out:server
		mount out:server
		write out:server/conf text
		write conf covered
		bind out:server/conf conf`)
	var here unix.Stat_t
	tr.must(unix.Stat(tr.root, &here))
	tr.watcher.statfs = func(path string) (uint32, error) {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil || st.Dev == here.Dev {
			return unix.EXT4_SUPER_MAGIC, err
		}
		return unix.NFS_SUPER_MAGIC, nil
	}
	tr.must(tr.add())
	tr.run()
	tr.wantRemote("conf", "nfs")
	tr.expect(``, ``)
	tr.expect(`append out:server/conf`, `modify|close_write|create conf`)

	// Add compares the mounted files with the list of mounts, which is no poll of them.
	tr.do(`append out:server/conf`)
	tr.must(tr.add())
	tr.expect(``, `modify|close_write|create conf`)

	tr.must(unix.Unmount(tr.at("conf"), 0))
	events := tr.poll()
	tr.wantEvent(events, "conf", CloseWrite)
	if n := tr.watcher.unwatched.timeout(); n >= 0 {
		t.Errorf("nothing is polled any more, and the next poll is in %d ms", n)
	}
	if problems := tr.takeProblems(); len(problems) > 0 {
		t.Errorf("problem: %v", problems[0])
	}
}

func TestMountPoint(t *testing.T) {
	for line, want := range map[string]string{
		`36 35 98:0 / /mnt rw,noatime master:1 - ext3 /dev/root rw`: "/mnt",
		`36 35 98:0 / /a\040b\134c\ rw - ext3 /dev/root rw`:         `/a b\c\`,
		`36 35 98:0 / /\101\9 rw - ext3 /dev/root rw`:               `/A\9`,
	} {
		if got, ok := mountPoint(line); got != want || !ok {
			t.Errorf("%s: got %q, want %q", line, got, want)
		}
	}
	if _, ok := mountPoint("36 35"); ok {
		t.Error("a short line has a mount point")
	}
}
