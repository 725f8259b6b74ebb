package inotify

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify/internal/dirtree"
)

// handoverRoot makes the test binary the first of two processes: it watches the root, hands
// over to the second and waits to be killed.
const handoverRoot = "INOTIFY_TEST_HANDOVER_ROOT"

// TestFirstProcess is no test but the first process of those below. It passes the instance
// as SCM_RIGHTS over descriptor 4, as to systemd, and writes the snapshot to 3.
func TestFirstProcess(t *testing.T) {
	root := os.Getenv(handoverRoot)
	if root == "" {
		t.Skip("is run by other tests")
	}
	w, err := New(Options{})
	must(t, err)
	_, err = w.Add(Subscription{Root: root})
	must(t, err)
	ended := make(chan error)
	go func() { ended <- w.Run(context.Background()) }()
	file, state, err := w.Handover()
	must(t, err)
	if err := <-ended; err != nil && !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	must(t, unix.Sendmsg(4, []byte{1}, unix.UnixRights(int(file.Fd())), nil, 0))
	out := os.NewFile(3, "snapshot")
	out.Write(state)
	out.Close()
	select {} // to be killed
}

// A savedState is what one process left for another.
type savedState struct {
	file  *os.File
	state []byte
}

// handOverInSubprocess has another process watch tr's root and hand over. It is killed
// before the other begins.
func (tr *fixture) handOverInSubprocess() savedState {
	tr.t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	tr.must(err)
	mine, theirs := os.NewFile(uintptr(pair[0]), "mine"), os.NewFile(uintptr(pair[1]), "theirs")
	defer mine.Close()
	out, in, err := os.Pipe()
	tr.must(err)
	defer out.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestFirstProcess$")
	cmd.Env = append(os.Environ(), handoverRoot+"="+tr.root)
	cmd.ExtraFiles = []*os.File{in, theirs}
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	tr.must(cmd.Start())
	in.Close()
	theirs.Close()
	state, err := io.ReadAll(out)
	tr.must(err)
	tr.must(cmd.Process.Signal(syscall.SIGKILL))
	cmd.Wait()
	if len(state) == 0 {
		tr.t.Fatalf("the first process:\n%s", &stdout)
	}
	rights := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(mine.Fd()), make([]byte, 1), rights, unix.MSG_CMSG_CLOEXEC)
	tr.must(err)
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	tr.must(err)
	fds, err := unix.ParseUnixRights(&messages[0])
	tr.must(err)
	file := os.NewFile(uintptr(fds[0]), "inotify")
	tr.t.Cleanup(func() { file.Close() })
	return savedState{file, state}
}

// resume makes tr go on with what was left to it.
func (tr *fixture) resume(h savedState, more ...Subscription) *fixture {
	tr.t.Helper()
	subs := append([]Subscription{{Root: tr.root, Deliver: tr.deliver}}, more...)
	w, err := Resume(Options{Problem: func(err error) { tr.t.Log("problem:", err) }}, h.file, h.state, subs...)
	tr.must(err)
	tr.watcher = w
	tr.t.Cleanup(func() { tr.must(w.Close()) })
	return tr
}

func TestResumeLosesNothing(t *testing.T) {
	tests := []struct{ name, before, between, want string }{
		{"nothing happened", "mkdir a/b/c", "", ""},
		{"files are written", "mkdir a/b", `
			write f
			write a/b/g`, `
			create f
			modify f
			close_write f
			create a/b/g
			modify a/b/g
			close_write a/b/g`},
		{"a directory is made with content", "mkdir a", `
			mkdir a/n/m
			write a/n/m/f`, `
			create|isdir a/n
			create|isdir a/n/m
			modify|close_write|create a/n/m/f`},
		{"a directory is renamed and written into", `
			mkdir a/b`, `
			mv a z
			write z/b/f`, `
			moved_from|isdir a
			moved_to|isdir z from a
			create z/b/f
			modify z/b/f
			close_write z/b/f`},
		{"directories are deleted", `
			mkdir a/b
			mkdir k`, `rm a`, `
			delete|isdir a/b
			delete|isdir a`},
		{"a directory leaves and another takes its name", `
			mkdir a/b`, `
			mv a out:a
			mkdir a/c
			write out:a/b/f`, `
			moved_from|isdir a
			create|isdir a
			create|isdir a/c`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr := newEmptyFixture(t)
			tr.do(tt.before)
			h := tr.handOverInSubprocess()
			tr.do(tt.between)
			tr.resume(h)
			got := lines(tr.read())
			if want := strings.TrimPrefix(strings.ReplaceAll(tt.want, "\t", ""), "\n"); strings.TrimSpace(got) != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
			checkModel(t, tr.run())
		})
	}
}

// What does not fit is made good: nothing that happened is missing, and the
// tree is right afterwards.
func TestResumeRepairs(t *testing.T) {
	const before = `
		mkdir a/b/c
		mkdir d/e
		write d/e/old
		write d/f`
	const between = `
		append d/f
		mkdir d/new
		write d/new/g
		mv a z`
	changes := []string{"close_write", " d/f\n", " d/new/g\n", "|isdir z"}
	tests := []struct {
		name    string
		before  func(tr *fixture, h *savedState) // before the changes
		after   func(tr *fixture, h *savedState)
		scanned bool // a scan after an Overflow must follow
	}{
		{"all fits", nil, nil, false},
		{"some watches are gone and their records are there", func(tr *fixture, h *savedState) { tr.removeWatches(h, 2, false) }, nil, false},
		{"some watches are gone and so are their records", func(tr *fixture, h *savedState) { tr.removeWatches(h, 2, true) }, nil, true},
		{"all watches are gone and their records are there", func(tr *fixture, h *savedState) { tr.removeWatches(h, 100, false) }, nil, true},
		{"all watches are gone and so are their records", func(tr *fixture, h *savedState) { tr.removeWatches(h, 100, true) }, nil, true},
		{"another process has read the queue", nil, func(tr *fixture, h *savedState) { tr.discardRecords(h) }, true},
		{"the watches report too little", func(tr *fixture, h *savedState) {
			fd := tr.raw(h)
			_, err := unix.InotifyAddWatch(fd, tr.at("d"), unix.IN_ATTRIB)
			tr.must(err)
		}, nil, true},
		{"there is an unknown watch", func(tr *fixture, h *savedState) {
			_, err := unix.InotifyAddWatch(tr.raw(h), tr.outside, unix.IN_ATTRIB)
			tr.must(err)
		}, nil, true},
		{"the queue was never empty", func(tr *fixture, h *savedState) {
			s, err := decodeSnapshot(h.state)
			tr.must(err)
			s.intact = false
			h.state = s.encode()
		}, nil, true},
		{"it is another instance", func(tr *fixture, h *savedState) {
			fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
			tr.must(err)
			h.file.Close()
			h.file = os.NewFile(uintptr(fd), "another")
			tr.t.Cleanup(func() { h.file.Close() })
		}, nil, true},
		{"it is another instance with watches in another order", func(tr *fixture, h *savedState) {
			fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
			tr.must(err)
			for _, dir := range []string{".", "d/e", "a/b/c", "d", "a", "a/b", "out:."} {
				_, err := unix.InotifyAddWatch(fd, tr.at(dir), unix.IN_ALL_EVENTS)
				tr.must(err)
			}
			h.file.Close()
			h.file = os.NewFile(uintptr(fd), "another")
			tr.t.Cleanup(func() { h.file.Close() })
		}, nil, true},
		{"the queue overflowed", func(tr *fixture, _ *savedState) { tr.fillQueue("d/e") }, nil, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr := newEmptyFixture(t)
			tr.do(before)
			time.Sleep(50 * time.Millisecond) // time stamps before and after must differ
			h := tr.handOverInSubprocess()
			if tt.before != nil {
				tt.before(tr, &h)
			}
			tr.do(between)
			if tt.after != nil {
				tt.after(tr, &h)
			}
			time.Sleep(50 * time.Millisecond) // a scan must not find it by being early
			tr.resume(h)
			got := lines(tr.read())
			if strings.HasPrefix(tt.name, "it is another") && (strings.Contains(got, "isdir d/e\n") || strings.Contains(got, " d/e/old\n")) {
				t.Errorf("something that did not change is reported:\n%s", got)
			}
			for _, want := range changes {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in\n%.2000s", want, got)
				}
			}
			if scanned := strings.Contains(got, "q_overflow|isdir ."); scanned != tt.scanned {
				t.Errorf("scanned: %t, want %t\n%.2000s", scanned, tt.scanned, got)
			}
			checkModel(t, tr.run())
		})
	}
}

func (tr *fixture) raw(h *savedState) int {
	return int(h.file.Fd())
}

// removeWatches removes watches from below the root, and the root's if there are no
// others, and their records if it is to be quiet.
func (tr *fixture) removeWatches(h *savedState, most int, quiet bool) {
	s, err := decodeSnapshot(h.state)
	tr.must(err)
	for _, n := range slices.Backward(slices.Collect(s.tree.All())) {
		if wd := s.tree.Node(n).WD; wd != 0 && most > 0 {
			_, err := unix.InotifyRmWatch(tr.raw(h), uint32(wd))
			tr.must(err)
			most--
		}
	}
	if quiet {
		tr.discardRecords(h)
	}
}

// discardRecords reads and drops what is queued.
func (tr *fixture) discardRecords(h *savedState) {
	tr.must(unix.SetNonblock(tr.raw(h), true))
	buf := make([]byte, 1<<20)
	for {
		if _, err := unix.Read(tr.raw(h), buf); err != nil {
			return
		}
	}
}

func TestResumeRefuses(t *testing.T) {
	tr := newEmptyFixture(t)
	tr.do("mkdir a/b")
	h := tr.handOverInSubprocess()
	other := func(change func(s *snapshot)) []byte {
		s, err := decodeSnapshot(h.state)
		tr.must(err)
		change(s)
		return s.encode()
	}
	flipped := bytes.Clone(h.state)
	flipped[len(flipped)/2] ^= 4
	version := bytes.Clone(h.state)
	version[len(snapshotMagic)]++
	tests := []struct {
		name  string
		state []byte
		want  string
	}{
		{"nothing", nil, "begin"},
		{"a truncated snapshot", h.state[:len(h.state)-1], "checksum"},
		{"a flipped bit", flipped, "checksum"},
		{"another version", version, "version 2, this program reads 1"},
		{"another boot", other(func(s *snapshot) { s.boot[3]++ }), "this is boot"},
		{"no sentinel", other(func(s *snapshot) { s.sentinel = 0 }), "no sentinel"},
		{"a name twice", other(func(s *snapshot) {
			s.tree.Attach(s.tree.Add(9999, 0, 1), 1, []byte("a"))
		}), `"a" twice`},
		{"a name that leads elsewhere", other(func(s *snapshot) {
			s.tree.Attach(s.tree.Add(9999, 0, 1), 1, []byte(".."))
		}), `".."`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Resume(Options{}, h.file, tt.state, Subscription{Root: tr.root})
			if !errors.Is(err, ErrSnapshot) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
	file, err := os.Open(os.DevNull)
	tr.must(err)
	defer file.Close()
	if _, err := Resume(Options{}, file, h.state); err == nil || !strings.Contains(err.Error(), "no inotify instance") {
		t.Errorf("another file: %v", err)
	}
	tr.resume(h) // refusals have done no harm
	checkModel(t, tr.run())
}

func TestResumeWithOtherRoots(t *testing.T) {
	tr := newFixture(t, Subscription{})
	tr.do(`
		mkdir a/b/c
		mkdir out:new/sub
		mkdir out:old/sub`)
	tr.mustAdd(tr.watcher.Add(Subscription{Root: tr.at("a/b")}))
	tr.mustAdd(tr.watcher.Add(Subscription{Root: tr.at("out:old")}))
	h := tr.handOver()
	tr.takeEvents()
	inner := &fixture{t: t, root: tr.at("a/b"), outside: tr.outside}
	tr.do(`
		write f
		write a/b/c/g`)
	inner.resume(h, Subscription{Root: tr.at("out:new"), Deliver: tr.deliver})
	if got, want := lines(inner.read()), "create c/g\nmodify c/g\nclose_write c/g\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := tr.takeEvents(); len(got) > 0 {
		t.Errorf("of the new root: %v", got)
	}
	if got := inner.watches(); got != 4 || inner.watcher.Watches() != 4 {
		t.Errorf("%d watches in the kernel and %d in the tree for two roots with a directory each", got, inner.watcher.Watches())
	}
	inner.run()
	inner.do("write c/h")
	if got := lines(inner.flush()); !strings.Contains(got, "close_write c/h") {
		t.Errorf("later:\n%s", got)
	}
}

func TestResumeFindsMounts(t *testing.T) {
	for _, at := range []string{"dir", "."} {
		t.Run(at, func(t *testing.T) {
			tr := newFixture(t, Subscription{})
			tr.do("mkdir dir/covered")
			h := tr.handOver()
			tr.takeEvents()
			point := tr.at(at)
			if err := unix.Mount("tmpfs", point, "tmpfs", 0, "size=1m"); err != nil {
				t.Skip("mounting takes a privilege:", err)
			}
			t.Cleanup(func() { unix.Unmount(point, unix.MNT_DETACH) })
			tr.must(os.Mkdir(point+"/new", 0o755))
			tr.resume(h)
			if got, want := lines(tr.read()), "create|isdir "+filepath.Join(at, "new")+"\n"; !strings.HasSuffix(got, want) {
				t.Errorf("got\n%swant\n%s", got, want)
			}
			checkModel(t, tr.run())
		})
	}
}

func TestResumeFindsAMissingRoot(t *testing.T) {
	tr := newFixture(t, Subscription{})
	late := &fixture{t: t, root: tr.at("out:late"), outside: tr.outside}
	tr.mustAdd(tr.watcher.Add(Subscription{Root: late.root, Wait: true}))
	h := tr.handOver()
	tr.do("mkdir out:late/sub")
	late.resume(h)
	if got, want := lines(late.read()), "create|isdir .\ncreate|isdir sub\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	checkModel(t, late.run())
}

func TestResumeFindsAnotherRoot(t *testing.T) {
	tr := newFixture(t, Subscription{})
	tr.do("mkdir a/b")
	h := tr.handOver()
	tr.takeEvents()
	tr.do("mkdir out:next/n")
	tr.must(os.Rename(tr.root, tr.at("out:gone")))
	tr.must(os.Rename(tr.at("out:next"), tr.root))
	tr.resume(h)
	if got, want := lines(tr.read()), "move_self|isdir .\ncreate|isdir .\ncreate|isdir n\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	checkModel(t, tr.run())
}

// handOver is handedOver within this process.
func (tr *fixture) handOver() savedState {
	tr.t.Helper()
	file, state, err := tr.watcher.Handover()
	tr.must(err)
	tr.t.Cleanup(func() { file.Close() })
	return savedState{file, state}
}

func TestHandoverEndsTheWatcher(t *testing.T) {
	tr := newFixture(t, Subscription{Mask: Create})
	ended := make(chan error)
	started := make(chan struct{})
	go func() {
		close(started)
		ended <- tr.watcher.Run(t.Context())
	}()
	<-started
	tr.do("write f")
	tr.handOver()
	if err := <-ended; err != nil && !errors.Is(err, ErrClosed) {
		t.Errorf("Run: %v", err)
	}
	if got, want := lines(tr.takeEvents()), "create f\n"; got != want {
		t.Errorf("delivered %q, want %q", got, want)
	}
	if _, _, err := tr.watcher.Handover(); !errors.Is(err, ErrClosed) {
		t.Errorf("second Handover: %v", err)
	}
	if _, err := tr.watcher.Add(Subscription{Root: tr.root}); !errors.Is(err, ErrClosed) {
		t.Errorf("Add: %v", err)
	}
	if err := tr.watcher.Run(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Run: %v", err)
	}
	if err := tr.watcher.Flush(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Flush: %v", err)
	}
}

// A good resume opens the roots and no other directory: what lies below is unreadable, and
// there is no problem.
func TestResumeScansNothing(t *testing.T) {
	tr := newFixture(t, Subscription{})
	tr.do("mkdir a/b/c")
	h := tr.handOver()
	spy, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	tr.must(err)
	defer unix.Close(spy)
	for _, dir := range []string{"a", "a/b", "a/b/c"} {
		_, err := unix.InotifyAddWatch(spy, tr.at(dir), unix.IN_OPEN)
		tr.must(err)
	}
	tr.resume(h)
	tr.read()
	if n, err := unix.Read(spy, make([]byte, 4096)); n > 0 || !errors.Is(err, unix.EAGAIN) {
		t.Errorf("directories below the root were opened (%d bytes of events, %v)", n, err)
	}
}

func TestParseWatch(t *testing.T) {
	tests := []struct {
		line string
		want kernelWatch
		ok   bool
	}{
		{"wd:1f ino:9e7e sdev:800013 mask:800afce ignored_mask:0 fhandle-bytes:8", kernelWatch{31, 0x800afce, 0x9e7e, 8, 19}, true},
		{"wd:1 ino:2 sdev:3 mask:4", kernelWatch{1, 4, 2, 0, 3}, true},
		{"wd:1 ino: sdev:3 mask:4", kernelWatch{}, false},
		{"wd:1", kernelWatch{}, false},
	}
	for _, tt := range tests {
		got, err := parseWatch(tt.line)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("parseWatch(%q) = %+v, %v", tt.line, got, err)
		}
	}
}

// TestDifferentialHandover is TestDifferential with a watcher that is handed
// over again and again while the writers write.
func TestDifferentialHandover(t *testing.T) {
	for round := range max(1, *roundsFlag/2) {
		seed := *seedFlag + uint64(round)
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			newDifferential(t, seed, 1+round%2).round((*differential).handedOver)
		})
	}
}

func (s *differential) handedOver() {
	for written := s.write(); !closed(written); {
		h := s.handOver()
		s.replay.apply(s.takeEvents())
		s.resume(h)
		h.file.Close()
	}
	s.replay.apply(s.read())
	s.check()
}

// dump returns a snapshot as text, without the IDs.
func dump(s *snapshot) string {
	var all []string
	for top, path := range s.rootPaths {
		for _, n := range s.tree.Subtree(top) {
			x := s.tree.Node(n)
			names := bytes.Join(s.tree.NamesBelow(top, n), []byte("/"))
			root := slices.IndexFunc(s.roots, func(r savedRoot) bool { return r.dir == n })
			all = append(all, fmt.Sprintf("%q %q wd %d ino %d dev %v root %d", path, names, x.WD, x.Ino, s.devices[x.Device], root))
		}
	}
	slices.Sort(all)
	return fmt.Sprint(s.boot, s.intact, s.consistent.UnixNano(), s.sentinel, s.mask, s.devices, s.others, len(s.roots), "\n", strings.Join(all, "\n"))
}

func FuzzSnapshot(f *testing.F) {
	s := &snapshot{
		boot: [16]byte{1, 2, 3}, intact: true, consistent: time.Unix(1e9, 5), sentinel: 77, mask: Changes,
		devices: []device{{8, 1, true}, {0, 30, false}}, tree: dirtree.New(), others: []int32{3, 9},
	}
	top, second := s.tree.Add(1, 0, 2), s.tree.Add(70, 1, 1<<63)
	a, b := s.tree.Add(4, 0, 12), s.tree.Add(5, 1, 11)
	s.tree.Attach(a, top, []byte("a"))
	s.tree.Attach(b, a, []byte("b\xff"))
	s.rootPaths = map[dirtree.ID]string{top: "/srv", second: "/mnt"}
	s.roots = []savedRoot{{"/srv", Changes, top}, {"/srv/a", Create, a}, {"/missing", Create, 0}, {"/mnt", Create, second}}
	f.Add(s.encode()[snapshotHeader:])
	f.Add(newSnapshotSeed())
	f.Fuzz(func(t *testing.T, body []byte) {
		// With the right checksum, so that what it protects is reached.
		state := append([]byte(snapshotMagic), snapshotVersion)
		state = binary.LittleEndian.AppendUint32(state, crc32.Checksum(body, castagnoli))
		s, err := decodeSnapshot(append(state, body...))
		if err != nil {
			if s != nil || !errors.Is(err, ErrSnapshot) {
				t.Fatalf("snapshot %v with error %v", s, err)
			}
			return
		}
		again, err := decodeSnapshot(s.encode())
		if err != nil {
			t.Fatalf("its own encoding: %v", err)
		}
		if got, want := dump(again), dump(s); got != want {
			t.Errorf("decoded\n%s\nencoded and decoded again\n%s", want, got)
		}
	})
}

func newSnapshotSeed() []byte {
	return (&snapshot{sentinel: 1, tree: dirtree.New()}).encode()[snapshotHeader:]
}

// BenchmarkHandover measures the time to hand over and to resume a large tree, and the size
// of the snapshot.
func BenchmarkHandover(b *testing.B) {
	root, dirs := benchTree(b)
	names := 0
	for _, dir := range dirs {
		names += len(filepath.Base(dir))
	}
	w, err := New(Options{})
	if err == nil {
		_, err = w.Add(Subscription{Root: root})
	}
	must(b, err)
	start := time.Now()
	must(b, w.runScan(workers, scanRequest{dir: w.subs[0].dir, kind: scanWatch}))
	rescan := time.Since(start)
	var leave, back time.Duration
	var state []byte
	for b.Loop() {
		start := time.Now()
		var file *os.File
		if file, state, err = w.Handover(); err != nil {
			b.Fatal(err)
		}
		leave += time.Since(start)
		start = time.Now()
		if w, err = Resume(Options{}, file, state, Subscription{Root: root}); err != nil {
			b.Fatal(err)
		}
		back += time.Since(start)
		file.Close()
		if w.Watches() != len(dirs) || w.pending.overflow {
			b.Fatalf("%d watches for %d directories, to be scanned: %t", w.Watches(), len(dirs), w.pending.overflow)
		}
	}
	b.ReportMetric(float64(rescan.Milliseconds()), "ms/rescan")
	b.ReportMetric(float64(leave.Milliseconds())/float64(b.N), "ms/handover")
	b.ReportMetric(float64(back.Milliseconds())/float64(b.N), "ms/resume")
	b.ReportMetric(float64(len(state)-names)/float64(len(dirs)), "B/dir")
	w.Close()
}
