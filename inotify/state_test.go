package inotify

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/internal/statelog"
)

// A savedState is what one process leaves for another.
type savedState struct {
	file     *os.File // of Options.State
	instance *os.File // nil if it is lost
}

// newStateFixture is newFixture for a watcher that keeps its state.
func newStateFixture(t testing.TB) (*fixture, *savedState) {
	tr := newEmptyFixture(t)
	saved := tr.newState()
	tr.resume(saved)
	return tr, saved
}

// newState closes the watcher of tr, and returns the place for what others leave.
func (tr *fixture) newState() *savedState {
	tr.t.Helper()
	if tr.watcher != nil {
		tr.must(tr.watcher.Close())
	}
	file, err := statelog.Memory("state")
	tr.must(err)
	saved := &savedState{file: file}
	tr.t.Cleanup(saved.close)
	return saved
}

func (s *savedState) close() {
	s.file.Close()
	if s.instance != nil {
		s.instance.Close()
	}
}

// resume gives tr a watcher that goes on with what was left to it.
func (tr *fixture) resume(saved *savedState, more ...Subscription) {
	tr.t.Helper()
	w, err := New(Options{
		State: saved.file, Instance: saved.instance,
		Problem: func(err error) { tr.t.Log("problem:", err) },
	})
	tr.must(err)
	tr.watcher = w
	tr.t.Cleanup(func() { tr.must(w.Close()) })
	for _, sub := range append([]Subscription{{Root: tr.root, Deliver: tr.deliver}}, more...) {
		tr.mustAdd(w.Add(sub))
	}
}

// leave ends the watcher, and keeps what it leaves for another.
func (tr *fixture) leave(saved *savedState) {
	tr.t.Helper()
	instance, err := tr.watcher.Instance()
	tr.must(err)
	if saved.instance != nil {
		saved.instance.Close()
	}
	saved.instance = instance
	tr.must(tr.watcher.Close())
}

// TestResumeLosesNothing checks that what happens between two watchers is reported as if there had been one.
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
			tr, saved := newStateFixture(t)
			tr.do(tt.before)
			tr.read()
			tr.leave(saved)
			tr.do(tt.between)
			tr.resume(saved)
			got := lines(tr.read())
			if want := strings.TrimPrefix(strings.ReplaceAll(tt.want, "\t", ""), "\n"); strings.TrimSpace(got) != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
			tr.run()
			checkModel(t, tr)
		})
	}
}

func TestResumeWithOtherRoots(t *testing.T) {
	tr, saved := newStateFixture(t)
	tr.do(`
		mkdir a/b/c
		mkdir out:new/sub
		mkdir out:old/sub`)
	tr.mustAdd(tr.watcher.Add(Subscription{Root: tr.at("a/b")}))
	tr.mustAdd(tr.watcher.Add(Subscription{Root: tr.at("out:old")}))
	tr.read()
	tr.leave(saved)
	tr.takeEvents()
	inner := &fixture{t: t, root: tr.at("a/b"), outside: tr.outside}
	tr.do(`
		write f
		write a/b/c/g`)
	inner.resume(saved, Subscription{Root: tr.at("out:new"), Deliver: tr.deliver})
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
			tr, saved := newStateFixture(t)
			tr.do("mkdir dir/covered")
			tr.read()
			tr.leave(saved)
			tr.takeEvents()
			point := tr.at(at)
			if err := unix.Mount("tmpfs", point, "tmpfs", 0, "size=1m"); err != nil {
				t.Skip("mounting takes a privilege:", err)
			}
			t.Cleanup(func() { unix.Unmount(point, unix.MNT_DETACH) })
			tr.must(os.Mkdir(point+"/new", 0o755))
			tr.resume(saved)
			if got, want := lines(tr.read()), "create|isdir "+filepath.Join(at, "new")+"\n"; !strings.HasSuffix(got, want) {
				t.Errorf("got\n%swant\n%s", got, want)
			}
			checkModel(t, tr.run())
		})
	}
}

func TestResumeFindsAMissingRoot(t *testing.T) {
	tr, saved := newStateFixture(t)
	late := &fixture{t: t, root: tr.at("out:late"), outside: tr.outside}
	tr.mustAdd(tr.watcher.Add(Subscription{Root: late.root, Wait: true}))
	tr.read()
	tr.leave(saved)
	tr.do("mkdir out:late/sub")
	late.resume(saved)
	if got, want := lines(late.read()), "create|isdir .\ncreate|isdir sub\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	checkModel(t, late.run())
}

func TestResumeFindsAnotherRoot(t *testing.T) {
	tr, saved := newStateFixture(t)
	tr.do("mkdir a/b")
	tr.read()
	tr.leave(saved)
	tr.takeEvents()
	tr.do("mkdir out:next/n")
	tr.must(os.Rename(tr.root, tr.at("out:gone")))
	tr.must(os.Rename(tr.at("out:next"), tr.root))
	tr.resume(saved)
	if got, want := lines(tr.read()), "move_self|isdir .\ncreate|isdir .\ncreate|isdir n\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	checkModel(t, tr.run())
}

// A good resume opens the roots and no other directory: what lies below is unreadable, and
// there is no problem.
func TestResumeScansNothing(t *testing.T) {
	tr, saved := newStateFixture(t)
	tr.do("mkdir a/b/c")
	tr.read()
	tr.leave(saved)
	spy, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	tr.must(err)
	defer unix.Close(spy)
	for _, dir := range []string{"a", "a/b", "a/b/c"} {
		_, err := unix.InotifyAddWatch(spy, tr.at(dir), unix.IN_OPEN)
		tr.must(err)
	}
	tr.resume(saved)
	tr.read()
	if n, err := unix.Read(spy, make([]byte, 4096)); n > 0 || !errors.Is(err, unix.EAGAIN) {
		t.Errorf("directories below the root were opened (%d bytes of events, %v)", n, err)
	}
}

// TestResumeRepairs checks that where instance and file do not fit, everything is scanned, nothing is
// missing, and the tree is right afterwards.
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
	another := func(tr *fixture, saved *savedState, dirs ...string) {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
		tr.must(err)
		for _, dir := range dirs {
			_, err := unix.InotifyAddWatch(fd, tr.at(dir), unix.IN_ALL_EVENTS)
			tr.must(err)
		}
		saved.instance.Close()
		saved.instance = os.NewFile(uintptr(fd), "another")
	}
	tests := []struct {
		name  string
		spoil func(tr *fixture, saved *savedState)
		scans bool // a scan after an Overflow must follow
	}{
		{"all fits", func(*fixture, *savedState) {}, false},
		{"the instance is lost", func(_ *fixture, saved *savedState) {
			saved.instance.Close()
			saved.instance = nil
		}, true},
		{"it is another instance", func(tr *fixture, saved *savedState) { another(tr, saved) }, true},
		{"it is another instance with watches in another order", func(tr *fixture, saved *savedState) {
			another(tr, saved, "d/e", "a/b/c", "d", "a", "a/b", "out:.", ".")
		}, true},
		{"work was pending", func(tr *fixture, saved *savedState) {
			log, _, err := statelog.Open(saved.file)
			tr.must(err)
			log.Word(pendingWord).Store(1)
			tr.must(log.Close())
		}, true},
		{"the queue is full", func(tr *fixture, _ *savedState) { tr.fillQueue("a") }, true},
		{"watches are gone", func(tr *fixture, saved *savedState) {
			for wd := range uint32(100) {
				unix.InotifyRmWatch(int(saved.instance.Fd()), wd)
			}
		}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr, saved := newStateFixture(t)
			tr.do(before)
			tr.read()
			tr.must(tr.waitForClock()) // time stamps before and after must differ
			tr.read()
			tr.read() // with nothing to read, Flush ends when Run has found that nothing is missing
			tr.leave(saved)
			tt.spoil(tr, saved)
			tr.do(between)
			tr.must(tr.waitForClock()) // a scan must not find it by being early
			tr.resume(saved)

			got := lines(tr.read())
			if strings.Contains(got, "isdir d/e\n") || strings.Contains(got, " d/e/old\n") {
				t.Errorf("something that did not change is reported:\n%.2000s", got)
			}
			for _, want := range []string{"close_write", " d/f\n", " d/new/g\n", "|isdir z"} {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in\n%.2000s", want, got)
				}
			}
			if scans := strings.Contains(got, "q_overflow|isdir ."); scans != tt.scans {
				t.Errorf("everything was scanned: %t, want %t\n%.2000s", scans, tt.scans, got)
			}
			tr.run()
			checkModel(t, tr)
		})
	}
}

// TestResumeAfterAColdStart checks that the file fits to a new instance before anything was read.
func TestResumeAfterAColdStart(t *testing.T) {
	tr, saved := newStateFixture(t)
	tr.do(`
		mkdir a
		mkdir b/d
		mkdir c/e
		rm a`) // the watches have other numbers when they are added anew
	tr.read()
	tr.leave(saved)
	tr.takeEvents()
	saved.instance.Close()
	saved.instance = nil
	tr.resume(saved)
	if got, err := tr.watcher.Resumed(); got != ResumedState || err != nil {
		t.Errorf("without the instance: resumption %d, %v", got, err)
	}
	tr.leave(saved)
	tr.do(`
		write b/f
		write b/d/g
		write c/e/h`)
	tr.resume(saved)
	if got, err := tr.watcher.Resumed(); got != ResumedInstance || err != nil {
		t.Errorf("with the instance: resumption %d, %v", got, err)
	}
	got := lines(tr.read())
	for _, want := range []string{"close_write b/f\n", "close_write b/d/g\n", "close_write c/e/h\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	for line := range strings.Lines(got) {
		_, path, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !slices.Contains([]string{".", "b", "b/f", "b/d", "b/d/g", "c", "c/e", "c/e/h"}, path) {
			t.Errorf("%s did not change:\n%s", path, got)
		}
	}
	checkModel(t, tr.run())
}

// TestResumeAFile checks that a root that is a file is taken over as well.
func TestResumeAFile(t *testing.T) {
	tr, saved := newStateFixture(t)
	tr.must(tr.watcher.Close())
	tr.do("write file")
	file := &fixture{t: t, root: tr.at("file"), outside: tr.outside}
	file.resume(saved)
	file.read()
	file.leave(saved)
	tr.do("append file")
	file.resume(saved)
	if got, want := lines(file.read()), "modify .\nclose_write .\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestDamagedState checks that whatever is in the file, the watcher begins anew and is right.
func TestDamagedState(t *testing.T) {
	tr, saved := newStateFixture(t)
	tr.do("mkdir a/b")
	tr.read()
	tr.leave(saved)
	info, err := saved.file.Stat()
	tr.must(err)
	whole := make([]byte, info.Size())
	_, err = saved.file.ReadAt(whole, 0)
	tr.must(err)

	for i := range whole {
		if whole[i] == 0 && i%1024 != 0 {
			continue
		}
		damaged := slices.Clone(whole)
		damaged[i] ^= 0x55
		_, err := saved.file.WriteAt(damaged, 0)
		tr.must(err)
		other := tr.another(tr.root, nil)
		other.resume(&savedState{file: saved.file})
		other.read()
		stop := other.start()
		checkModel(t, other)
		stop()
		tr.must(other.watcher.Close())
		if t.Failed() {
			t.Fatalf("with a change at %d of %d", i, len(whole))
		}
	}

	notInotify, err := os.Open(os.DevNull)
	tr.must(err)
	defer notInotify.Close()
	_, err = saved.file.WriteAt(whole, 0)
	tr.must(err)
	if _, err := New(Options{State: saved.file, Instance: notInotify}); err == nil || !strings.Contains(err.Error(), "no inotify instance") {
		t.Errorf("another file: %v", err)
	}
}

// TestResumeWithOtherSkips checks that directories which were left out are watched by a process
// that does not leave them out, and the other way round.
func TestResumeWithOtherSkips(t *testing.T) {
	tr := newEmptyFixture(t)
	saved := tr.newState()
	tr.do(`
		mkdir old/sub
		mkdir new/sub`)
	for _, skipped := range []string{"old", "new", "old"} {
		w, err := New(Options{State: saved.file, Instance: saved.instance})
		tr.must(err)
		tr.watcher = w
		tr.mustAdd(w.Add(Subscription{
			Root: tr.root, Deliver: tr.deliver, SkipKey: skipped,
			SkipDir: func(path string) bool { return path == skipped },
		}))
		tr.read()
		tr.do("write old/sub/f\nwrite new/sub/f")
		got := lines(tr.read())
		if watched := map[string]string{"old": "new", "new": "old"}[skipped]; strings.Contains(got, " "+skipped+"/sub/f") || !strings.Contains(got, " "+watched+"/sub/f") {
			t.Errorf("with %s left out:\n%s", skipped, got)
		}
		tr.leave(saved)
	}
}

// TestStateFull checks that a watcher whose state cannot be written says so once, works, and leaves
// nothing that another would take for current.
func TestStateFull(t *testing.T) {
	tr := newEmptyFixture(t)
	fd, err := unix.MemfdCreate("state", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	tr.must(err)
	saved := &savedState{file: os.NewFile(uintptr(fd), "state")}
	defer saved.close()
	tr.resume(saved)
	var problems []error
	tr.watcher.problem = func(err error) { problems = append(problems, err) }
	tr.do("mkdir a")
	tr.read()
	// The file can neither grow nor be written any more.
	if _, err := unix.FcntlInt(saved.file.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_FUTURE_WRITE); err != nil {
		t.Skip("the kernel has no F_SEAL_FUTURE_WRITE:", err)
	}
	tr.do("mkdir a/b/c")
	tr.read()
	tr.do("mkdir a/b/d\nwrite a/b/d/f")
	if got := lines(tr.read()); !strings.Contains(got, "a/b/d/f") {
		t.Errorf("without its file the watcher reports\n%s", got)
	}
	if len(problems) != 1 {
		t.Errorf("problems %v, want one", problems)
	}
}

// TestRenamedAfterResync checks that what is below a directory is known under its new path when the directory
// was renamed after the scan for lost records, and before a subscriber heard what that has found.
func TestRenamedAfterResync(t *testing.T) {
	type step struct {
		name string
		do   func(*differential, *savedState)
	}
	losses := []step{
		{"the queue is full", func(s *differential, _ *savedState) { s.fillQueue("pin") }},
		{"another watcher had work to do", func(s *differential, saved *savedState) {
			s.watcher.state.isPending.Store(1)
			s.crash(saved)
		}},
	}
	ends := []step{
		{"the watcher goes on", func(*differential, *savedState) {}},
		{"the watcher ends before it saves", (*differential).crash},
		{"the watcher ends when it has saved", func(s *differential, saved *savedState) {
			s.watcher.save()
			s.crash(saved)
		}},
	}
	for _, loss := range losses {
		for _, end := range ends {
			t.Run(loss.name+", "+end.name, func(t *testing.T) {
				s := newDifferential(t, 1, 0)
				saved := s.newState()
				s.resume(saved)
				s.do(`
					mkdir d
					write d/kept
					write d/gone`)
				s.must(s.waitForClock()) // a scan must not report d/kept
				s.read()
				s.read() // with nothing to read, Flush ends when Run has found that nothing is missing
				s.replay = newReplay(s.root, nil)
				s.do("unlink d/gone")
				loss.do(s, saved)
				for {
					buf, err := s.watcher.read()
					if errors.Is(err, unix.EAGAIN) {
						break
					}
					s.must(err)
					_, err = s.watcher.applyBuffer(buf)
					s.must(err)
					s.watcher.deliver()
				}
				_, err := s.watcher.repair()
				s.must(err)

				s.do(`
					mv d moved
					mkdir d`)
				s.watcher.deliver()
				s.replay.apply(s.takeEvents()) // which looks for d/gone in d
				end.do(s, saved)
				s.replay.apply(s.read())
				s.check()

				s.do("mv moved again")
				if got, want := lines(s.read()), "moved_from|isdir moved\nmoved_to|isdir again from moved\n"; got != want {
					t.Errorf("a later rename is\n%swant\n%s", got, want)
				}
			})
		}
	}
}

// TestDifferentialRestart is TestDifferential with a watcher that is ended and begun again while the
// writers write.
func TestDifferentialRestart(t *testing.T) {
	for round := range max(1, *roundsFlag/2) {
		seed := *seedFlag + uint64(round)
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			newDifferential(t, seed, 1+round%2).round((*differential).restarted)
		})
	}
}

func (s *differential) restarted() {
	saved := s.newState()
	s.resume(saved)
	s.read()
	for written := s.write(); !closed(written); {
		stop := s.start()
		time.Sleep(2 * time.Millisecond) // so that it comes to an end now and then
		stop()
		s.leave(saved)
		s.replay.apply(s.takeEvents())
		s.resume(saved)
	}
	s.replay.apply(s.read())
	s.check()
}

// stateProcess makes the test binary a process with a watcher; see TestWatcherProcess.
const stateProcess = "INOTIFY_TEST_STATE_ROOT"

// TestWatcherProcess is no test but the process that TestKill kills. Descriptor 3 is the file of the
// state, 4 the instance or /dev/null, 5 a socket that gets the instance as SCM_RIGHTS, and 6 gets
// the events of each call of Deliver, in gob.
func TestWatcherProcess(t *testing.T) {
	root := os.Getenv(stateProcess)
	if root == "" {
		t.Skip("is run by TestKill")
	}
	out := gob.NewEncoder(os.NewFile(6, "events"))
	opts := Options{State: os.NewFile(3, "state")}
	if what, _ := os.Readlink("/proc/self/fd/4"); what != os.DevNull {
		opts.Instance = os.NewFile(4, "instance")
	}
	w, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	instance, err := w.Instance()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Sendmsg(5, []byte{1}, unix.UnixRights(int(instance.Fd())), nil, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Add(Subscription{Root: root, Deliver: func(events []Event) {
		if err := out.Encode(events); err != nil {
			t.Error(err)
		}
	}}); err != nil {
		t.Fatal(err)
	}
	go func() {
		err := w.Flush(context.Background()) // until then the file does not have the root
		if err = errors.Join(err, out.Encode([]Event{})); err != nil {
			panic(err)
		}
	}()
	t.Fatal(w.Run(context.Background()))
}

// TestKill kills a watcher at random moments while others write, and checks that the events of all
// of its lives report every file and directory.
func TestKill(t *testing.T) {
	for round := range max(2, *roundsFlag/4) {
		seed := *seedFlag + uint64(round)
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			newDifferential(t, seed, 1).round((*differential).killed)
		})
	}
}

func (s *differential) killed() {
	saved := s.newState()
	kill := s.startProcess(saved)
	for written := s.write(); !closed(written); {
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
		kill()
		kill = s.startProcess(saved)
	}
	kill()
	s.resume(saved)
	s.replay.apply(s.read())
	s.check()
}

// startProcess starts a process with a watcher, and waits until it has added the root. kill ends it
// by SIGKILL and applies the events that it has delivered.
func (s *differential) startProcess(saved *savedState) (kill func()) {
	s.t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	s.must(err)
	mine, theirs := os.NewFile(uintptr(pair[0]), "mine"), os.NewFile(uintptr(pair[1]), "theirs")
	events, out, err := os.Pipe()
	s.must(err)
	instance := saved.instance
	if instance == nil {
		instance, err = os.Open(os.DevNull)
		s.must(err)
	}

	cmd := exec.Command(os.Args[0], "-test.run=^TestWatcherProcess$")
	cmd.Env = append(os.Environ(), stateProcess+"="+s.root)
	cmd.ExtraFiles = []*os.File{saved.file, instance, theirs, out}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	s.must(cmd.Start())
	out.Close()
	theirs.Close()
	instance.Close()

	rights := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(mine.Fd()), make([]byte, 1), rights, unix.MSG_CMSG_CLOEXEC)
	s.must(err)
	mine.Close()
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	s.must(err)
	fds, err := unix.ParseUnixRights(&messages[0])
	s.must(err)
	saved.instance = os.NewFile(uintptr(fds[0]), "instance")

	// Events are read all the time, so that the process never waits for the pipe.
	ready, ended := make(chan struct{}), make(chan [][]Event)
	go func() {
		var all [][]Event
		defer func() { ended <- all }()
		for in := gob.NewDecoder(events); ; {
			var batch []Event
			if in.Decode(&batch) != nil {
				return // what is not complete was not delivered
			}
			if len(batch) == 0 {
				close(ready)
			}
			all = append(all, batch)
		}
	}()
	<-ready

	return func() {
		s.must(cmd.Process.Kill())
		cmd.Wait()
		for _, batch := range <-ended {
			s.replay.apply(batch)
		}
		events.Close()
	}
}

// BenchmarkResume is the time from New to the end of Add for a large tree whose watches the kernel
// has, beside that for one whose watches are to be added.
func BenchmarkResume(b *testing.B) {
	root, dirs := benchTree(b)
	file, err := statelog.Memory("state")
	if err != nil {
		b.Fatal(err)
	}
	saved := &savedState{file: file}
	defer saved.close()
	open := func() (*Watcher, time.Duration) {
		began := time.Now()
		w, err := New(Options{State: saved.file, Instance: saved.instance})
		if err == nil {
			_, err = w.Add(Subscription{Root: root})
		}
		took := time.Since(began)
		if err != nil {
			b.Fatal(err)
		}
		if w.Watches() != len(dirs) || w.pending.overflow {
			b.Fatalf("%d watches for %d directories, to be scanned: %t", w.Watches(), len(dirs), w.pending.overflow)
		}
		return w, took
	}

	w, cold := open()
	var warm time.Duration
	for b.Loop() {
		(&fixture{t: b, watcher: w}).read()
		if saved.instance, err = w.Instance(); err != nil {
			b.Fatal(err)
		}
		w.Close()
		var took time.Duration
		w, took = open()
		warm += took
		saved.instance.Close()
	}
	info, err := file.Stat()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(cold.Milliseconds()), "ms/cold")
	b.ReportMetric(float64(warm.Milliseconds())/float64(b.N), "ms/warm")
	b.ReportMetric(float64(info.Size())/float64(len(dirs)), "B/dir")
	w.Close()
	saved.instance = nil
}

// TestDifferentialCrash is TestDifferential with a watcher that ends without notice between any two steps
// of its work.
func TestDifferentialCrash(t *testing.T) {
	for round := range max(1, *roundsFlag) {
		seed := *seedFlag + uint64(round)
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			newDifferential(t, seed, 1).round((*differential).crashing)
		})
	}
}

func (s *differential) crashing() {
	saved := s.newState()
	s.resume(saved)
	s.read()
	s.watcher.dropSaved()

	rnd := rand.New(rand.NewPCG(1, 2))
	for written, more := s.write(), true; more || !closed(written); {
		most := 1 << 20
		if rnd.IntN(8) == 0 {
			most = rnd.IntN(6)
		}
		more = s.stepUpTo(most)
		switch {
		case most < 6:
			s.crash(saved)
			more = true
		case rnd.IntN(8) == 0: // while it saves, of which some is in the file then
			shared := s.watcher.state.log.Shared()
			before := slices.Clone(shared)
			s.watcher.save()
			from := rnd.IntN(2) * sharedBuffer
			copy(shared[from:], before[from:])
			s.crash(saved)
			more = true
		}
	}
	s.replay.apply(s.read())
	s.check()
}

// stepUpTo reads, and applies and delivers at most so many records, or does some pending work. It reports
// whether there is more to do.
func (s *differential) stepUpTo(most int) bool {
	buf, err := s.watcher.read()
	if errors.Is(err, unix.EAGAIN) {
		complete, err := s.watcher.repair()
		s.must(err)
		s.watcher.deliver()
		s.replay.apply(s.takeEvents())
		return !complete
	}
	s.must(err)
	for rec, err := range records(buf) {
		if most--; most < 0 {
			break
		}
		s.must(err)
		s.replay.note("wd %d %s %q", rec.wd, rec.mask, rec.name)
		s.watcher.apply(rec)
		s.watcher.deliver()
		s.replay.apply(s.takeEvents())
	}
	return true
}

// crash begins a watcher in place of one that had no time to save anything.
func (s *differential) crash(saved *savedState) {
	if saved.instance != nil {
		saved.instance.Close()
	}
	var err error
	saved.instance, err = s.watcher.Instance()
	s.must(err)
	s.must(s.watcher.kernel.close())
	s.must(s.watcher.state.close())
	s.watcher.state.log = nil
	s.replay.note("crash")
	s.resume(saved)
	s.watcher.dropSaved()
}
