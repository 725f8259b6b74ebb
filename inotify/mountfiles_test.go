package inotify

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// wantEvent checks that one of the events is of a path and has the bits of mask.
func (tr *trial) wantEvent(events []Event, path string, mask Mask) {
	tr.t.Helper()
	if !slices.ContainsFunc(events, func(e Event) bool { return e.Path == path && e.Mask&mask == mask }) {
		tr.t.Errorf("no %v of %s; got\n%s", mask, path, lines(events))
	}
}

// mountFile mounts a file from outside the root on one in it.
func (tr *trial) mountFile() {
	tr.t.Helper()
	tr.do(`
		write out:conf text
		write conf covered
		bind out:conf conf`)
}

// What happens to a mounted file between a Handover and Resume is reported.
func TestMountedFileResume(t *testing.T) {
	if !apart(t, mountNamespace()) {
		return
	}
	tr := newTrial(t, Subscription{})
	tr.mountFile()
	tr.must(tr.w.wait()) // for the list of mounts
	tr.read()
	file, state, err := tr.w.Handover()
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
	if !apart(t, mountNamespace()) {
		return
	}
	tr := newTrial(t, Subscription{})
	tr.do(`mkdir dir`)
	tr.mountFile()
	tr.must(tr.w.wait())
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

func checkModelOf(t *testing.T, tr *trial) {
	t.Helper()
	defer tr.start()()
	checkModel(t, tr)
}

// A mounted file on a remote file system is looked at like a directory there.
func TestRemoteMountedFile(t *testing.T) {
	if !apart(t, mountNamespace()) {
		return
	}
	tr := newBlindTrial(t)
	tr.do(`
		mkdir out:server
		mount out:server
		write out:server/conf text
		write conf covered
		bind out:server/conf conf`)
	var here unix.Stat_t
	tr.must(unix.Stat(tr.root, &here))
	tr.w.statfs = func(path string) (uint32, error) {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil || st.Dev == here.Dev {
			return unix.EXT4_SUPER_MAGIC, err
		}
		return unix.NFS_SUPER_MAGIC, nil
	}
	tr.must(tr.add())
	tr.run()
	tr.wantRemote("conf", "nfs")
	tr.step(``, ``)
	tr.step(`append out:server/conf`, `modify|close_write|create conf`)
	tr.must(unix.Unmount(tr.at("conf"), 0))
	events := tr.tick()
	tr.wantEvent(events, "conf", CloseWrite)
	if n := tr.w.unwatched.timeout(); n >= 0 {
		t.Errorf("nothing is polled any more, and the next look is in %d ms", n)
	}
	if told := tr.told(); len(told) > 0 {
		t.Errorf("told %s", strings.TrimSpace(told[0].Error()))
	}
}
