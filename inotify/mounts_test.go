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

// What happens to a mounted file between two watchers is reported.
func TestMountedFileResume(t *testing.T) {
	if !inSubprocess(t, mountNamespaceAttr()) {
		return
	}
	tr, saved := newStateFixture(t)
	tr.mountFile()
	tr.must(tr.watcher.wait()) // for the list of mounts
	tr.read()
	tr.leave(saved)
	tr.do(`append out:conf`)
	tr.resume(saved)
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

// A mounted file for which there is no watch is polled until there is room.
func TestMountedFileWatchLimit(t *testing.T) {
	if !inSubprocess(t, mountNamespaceAttr()) {
		return
	}
	tr := newPollFixture(t)
	tr.begin()
	tr.setWatchLimit(0)
	tr.mountFile()
	tr.watcher.mu.Lock()
	tr.watcher.mountsChanged() // Run does it too, when it gets to it
	tr.watcher.wake()
	tr.watcher.mu.Unlock()
	tr.wantEvent(tr.poll(), "conf", scanMask)
	if problems := tr.takeProblems(); len(problems) != 1 {
		t.Errorf("problems %q, want one", problems)
	} else {
		wantLimit(t, problems[0])
	}
	tr.expect(`append out:conf`, `modify|close_write|create conf`)

	tr.setWatchLimit(100)
	tr.expect(`append out:conf`, `modify|close_write|create conf`)
	tr.wantUnwatched(0, false)
	tr.expect(`append out:conf`, `close_write conf`)
	if problems := tr.takeProblems(); len(problems) > 0 {
		t.Errorf("again: %v", problems[0])
	}
}

// Update has the watches of mounted files report what it asks for.
func TestMountedFileUpdate(t *testing.T) {
	if !inSubprocess(t, mountNamespaceAttr()) {
		return
	}
	tr := newEmptyFixture(t)
	tr.mountFile()
	h := tr.watch(Subscription{Mask: Attrib})
	tr.read()
	tr.must(h.Update(Changes, nil, ""))
	tr.read()
	tr.do(`append out:conf`)
	tr.wantEvent(tr.read(), "conf", Modify)
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
	tr.makeOthersRemote()
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

func TestMountPoints(t *testing.T) {
	const list = `36 35 98:0 / /mnt rw,noatime master:1 - ext3 /dev/root rw
36 35 98:0 / /a\040b\134c\ rw - ext3 /dev/root rw
36 35 98:0 / /\011\0120 rw - ext3 /dev/root rw
36 35
`
	if got, want := parseMountPoints(list), []string{"/mnt", `/a b\c\`, "/\t\n0"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
