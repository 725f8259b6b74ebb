package inotify

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A FIFO is never opened: an open waits for another process to open the other end, and would
// start a process that waits for this one.
func TestFIFOsAreNotOpened(t *testing.T) {
	tr := newPollFixture(t)
	tr.do(`
		mkdir d
		mkfifo p
		mkfifo d/p
		mkfifo out:p
		mkdir out:polled
		mkfifo out:polled/p
		mkdir out:root
		write out:file`)
	opened := tr.watchOpens(".", "d", "out:.", "out:polled")
	defer unix.Close(opened)

	done := make(chan struct{})
	go func() {
		defer close(done)
		tr.useFIFOs()
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("a FIFO was opened: it waits for the other end")
		for !closed(done) { // each in turn, so that the watcher goes on to its end
			for _, path := range []string{"p", "late", "d/p", "d/p2", "out:p", "out:polled/p", "out:polled/p2", "out:root", "out:file"} {
				if fd, err := unix.Open(tr.at(path), unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err == nil {
					unix.Close(fd)
				}
			}
			time.Sleep(time.Millisecond)
		}
		return
	}

	buf := make([]byte, 64<<10)
	n, err := unix.Read(opened, buf)
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
	for rec := range records(buf[:max(n, 0)]) {
		if strings.HasPrefix(string(rec.name), "p") && rec.mask&IsDir == 0 {
			t.Errorf("%s was opened", rec.name)
		}
	}
}

// watchOpens returns an inotify instance that watches some directories for IN_OPEN.
func (tr *fixture) watchOpens(dirs ...string) (fd int) {
	tr.t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	tr.must(err)
	for _, dir := range dirs {
		_, err := unix.InotifyAddWatch(fd, tr.at(dir), unix.IN_OPEN)
		tr.must(err)
	}
	return fd
}

// useFIFOs has the watcher meet FIFOs wherever it may: as a root, in a scan, in a record, in the
// place of a root, of a root that is a file, and in a directory that is polled.
func (tr *pollFixture) useFIFOs() {
	add := func(root string) {
		if _, err := tr.watcher.Add(Subscription{Root: tr.at(root), Deliver: tr.deliver}); err != nil {
			tr.t.Error(err)
		}
	}
	if _, err := tr.watcher.Add(Subscription{Root: tr.at("out:p")}); !errors.Is(err, unix.ENOTDIR) {
		tr.t.Errorf("a FIFO as root: %v, want ENOTDIR", err)
	}
	if got := Writers(tr.at("p")); got != NoWriter {
		tr.t.Errorf("a FIFO has writers: %d", got)
	}
	add(".")
	add("out:root")
	add("out:file")
	local := tr.watcher.statfs
	tr.watcher.statfs = func(string) (uint32, error) { return unix.NFS_SUPER_MAGIC, nil }
	add("out:polled")
	tr.watcher.statfs = local

	stop := tr.start()
	defer stop()
	for _, step := range []string{
		"mkfifo late", "mv d/p d/p2", "chmod d/p2 600", "rmdir out:root; mkfifo out:root",
		"unlink out:file; mkfifo out:file", "mkfifo out:polled/p2",
	} {
		for line := range strings.SplitSeq(step, "; ") {
			if err := tr.doLine(line); err != nil {
				tr.t.Error(err)
			}
		}
		if err := tr.watcher.Flush(tr.t.Context()); err != nil {
			tr.t.Error(err)
		}
	}
	tr.poll()
	tr.watcher.mu.Lock()
	tr.watcher.pending.overflow = true
	tr.watcher.mu.Unlock()
	tr.poll()
}
