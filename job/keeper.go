package job

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// keeperName is a keeper's first argument, by which it knows itself, and its
// name in ps. The kernel keeps 15 bytes of it.
const keeperName = "execlogd-keeper"

// keeperSocket is where a keeper finds its socket.
const keeperSocket = 3

// A tree that SIGKILL does not end is killed again every killAgain, for what
// was born meanwhile, and left alone after killPatience.
const (
	killAgain    = 20 * time.Millisecond
	killPatience = 5 * time.Second
)

// A process that is left behind has execPatience to become the program that may
// stay. Subshells never do.
const (
	execPatience = time.Second
	execInterval = 10 * time.Millisecond
)

// prSetChildSubreaper is PR_SET_CHILD_SUBREAPER of prctl(2), which package
// syscall does not have.
const prSetChildSubreaper = 36

var mainKeeps atomic.Bool

// Keep must be the first call of main, and of TestMain, in a program that has
// a [Runner], which starts that same program again as its keepers. In a keeper
// it does a keeper's work and never returns. Otherwise it does nothing.
func Keep() {
	if len(os.Args) == 0 || os.Args[0] != keeperName {
		mainKeeps.Store(true)
		return
	}
	// The thread that starts a program must last as long as the process:
	// the kernel sends PR_SET_PDEATHSIG when the thread ends.
	runtime.LockOSThread()
	if err := keep(&inbox{socket: keeperSocket}); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", keeperName, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// keep is a keeper's life. It runs one program at a time. As a subreaper it is
// the parent of whatever a program leaves behind, however that detached itself,
// so all that is below it in the tree of processes belongs to the program. The
// end of its socket is the end of the daemon, by whatever cause.
func keep(in *inbox) error {
	if err := settleIn(); err != nil {
		return err
	}
	t := &tree{empty: make(chan struct{})}
	close(t.empty)
	for {
		ask, err := in.next(1)
		if err != nil {
			t.stop()
			<-t.empty
			return nil
		}
		switch ask[0] {
		case askStop:
			t.stop()
		case askRun:
			r, files, err := in.request()
			if err != nil {
				return err
			}
			if next := plant(r, files, in.socket); next != nil {
				t = next
			}
		default:
			return fmt.Errorf("unknown message %q", ask)
		}
	}
}

// settleIn makes the process a keeper. Signals that are meant for everybody in
// a terminal or a control group end the daemon, and that ends the keeper; they
// are caught, not ignored, because a program would inherit that.
func settleIn() error {
	for _, s := range []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		if !signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); errno != 0 {
		return os.NewSyscallError("prctl", errno)
	}
	if err := keepFiles(); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/self/comm", []byte(keeperName), 0); err != nil {
		return err
	}
	return os.Chdir("/") // holds no mount
}

// keepFiles sees to it that programs inherit no file but their own, neither
// ours nor those that somebody left open for the daemon.
func keepFiles() error {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, f := range open {
		if fd, err := strconv.Atoi(f.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
	return nil
}

// A tree is a program that runs, with all its descendants.
type tree struct {
	main    int // process id of the program
	grace   time.Duration
	leave   []string            // as in Command
	socket  int                 // to report on
	stopped chan struct{}       // closed when it is to end
	alone   chan struct{}       // closed when main has ended and left others behind
	died    chan struct{}       // has an element when a process was reaped
	empty   chan struct{}       // closed when there is no process any more
	once    sync.Once           // closes stopped
	told    map[processKey]bool // who got SIGTERM; tend's alone
	leaving bool                // it has ended by itself, and some may stay; tend's alone

	mu     sync.Mutex // guards what follows, and main against being reaped
	over   bool       // main was reaped; its id may be another's
	status syscall.WaitStatus
}

// plant starts a program, reports that, and sees to its tree until that is
// empty. It returns nil if the program did not start.
func plant(r request, files []int, socket int) *tree {
	pid, err := fork(r, files)
	for _, fd := range files {
		syscall.Close(fd)
	}
	if err != nil {
		errno, ok := err.(syscall.Errno) // ForkExec returns no other
		if !ok {
			errno = syscall.EINVAL
		}
		send(socket, report{kind: failed, value: uint32(errno)})
		return nil
	}
	send(socket, report{kind: started, value: uint32(pid)})
	t := &tree{
		main: pid, grace: r.grace, leave: r.leave, socket: socket, told: make(map[processKey]bool),
		stopped: make(chan struct{}), alone: make(chan struct{}), died: make(chan struct{}, 1), empty: make(chan struct{}),
	}
	reaped := make(chan struct{})
	go t.reap(reaped)
	go t.tend(reaped)
	return t
}

// fork starts a program as the leader of a session and group of its own: it
// has no terminal to wait at for an answer. If the keeper dies first, so does
// the program.
func fork(r request, files []int) (pid int, err error) {
	if len(files) != 2 {
		return 0, syscall.EBADF
	}
	in, out := uintptr(files[0]), uintptr(files[1])
	return syscall.ForkExec(r.path, r.argv, &syscall.ProcAttr{
		Dir:   r.dir,
		Env:   r.env,
		Files: []uintptr{in, out, out},
		Sys:   &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	})
}

// send reports to the daemon. Nobody need know that it is gone: the inbox
// will say so.
func send(socket int, r report) { _, _ = syscall.Write(socket, r.message()) }

// stop has the tree end. Further calls, and one after the end, do nothing.
func (t *tree) stop() {
	t.once.Do(func() {
		if t.stopped != nil {
			close(t.stopped)
		}
	})
}

// tend ends the tree when it is to end, and when the program itself has ended:
// SIGTERM, and SIGKILL after the grace. It returns when nothing is left. When the
// program has ended by itself and all that is left may stay, the keeper ends, for
// it cannot be a parent to them and to the next program's processes.
func (t *tree) tend(reaped <-chan struct{}) {
	defer close(t.empty)
	var end report
	var kill <-chan time.Time // nil while nothing is to end
	var killed time.Time      // zero until then
	alone, stopped := t.alone, t.stopped
	var died <-chan struct{} // nil while it is of no interest
	for end.alive == 0 && end.stay.Count == 0 {
		select {
		case <-reaped:
			end.kind, end.value = ended, uint32(t.status)
			send(t.socket, end)
			return
		case <-alone:
			alone = nil
			if kill != nil {
				t.terminate()
				break
			}
			if len(t.leave) > 0 {
				t.leaving, died = true, t.died
				t.awaitExec()
				end.stay = t.staying()
			}
			if end.stay.Count == 0 {
				end.ended = named(t.terminate())
				kill = time.After(t.grace)
			}
		case <-died:
			end.stay = t.staying()
		case <-stopped:
			stopped = nil
			if kill == nil {
				t.terminate()
				kill = time.After(t.grace)
			}
		case now := <-kill:
			if killed.IsZero() {
				killed = now
			}
			switch n := t.kill(); {
			case n == 0 && t.leaving:
				end.stay = t.staying()
			case now.Sub(killed) > killPatience:
				end.alive = uint32(max(n, 1))
			}
			kill = time.After(killAgain)
		}
	}
	// What cannot be ended, or goes on, cannot be told from the next program's
	// processes.
	t.mu.Lock()
	end.kind, end.value = ended, uint32(t.status)
	send(t.socket, end)
	os.Exit(0)
}

// awaitExec waits a moment for processes that were forked and have not executed
// their program yet: they have the name of their parent until then.
func (t *tree) awaitExec() {
	for range execPatience / execInterval {
		_, rest := split(descendants(os.Getpid()), t.leave)
		if !slices.ContainsFunc(rest, func(p process) bool { return p.forked }) {
			return
		}
		time.Sleep(execInterval)
	}
}

// staying is what is left, if all of that may stay.
func (t *tree) staying() Processes {
	stay, rest := split(descendants(os.Getpid()), t.leave)
	if len(rest) > 0 {
		return Processes{}
	}
	return named(stay)
}

// members are the processes that are to end: all, or those that may not stay.
func (t *tree) members() []process {
	all := descendants(os.Getpid())
	if t.leaving {
		_, all = split(all, t.leave)
	}
	return all
}

// terminate asks every process of the tree to end, also one that was stopped,
// but none twice. It returns those that it had to ask by themselves, outside the
// program's group.
func (t *tree) terminate() (alone []process) {
	members := t.members() // whom a signal to the group reaches
	group := t.signalGroup(syscall.SIGTERM, syscall.SIGCONT)
	for _, p := range members {
		t.told[p.key()] = t.told[p.key()] || p.group == group
	}
	for _, p := range t.members() {
		if !t.told[p.key()] {
			t.told[p.key()] = true
			p.signal(syscall.SIGTERM)
			p.signal(syscall.SIGCONT)
			alone = append(alone, p)
		}
	}
	return alone
}

// kill ends every process of the tree at once, but for those that appear
// meanwhile, and counts what it saw.
func (t *tree) kill() int {
	t.signalGroup(syscall.SIGKILL)
	left := t.members()
	for _, p := range left {
		p.signal(syscall.SIGKILL)
	}
	return len(left)
}

// signalGroup sends signals to the program's group and returns that. When the
// program was reaped the group may be another's, and it returns 0.
func (t *tree) signalGroup(signals ...syscall.Signal) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return 0
	}
	for _, s := range signals {
		_ = syscall.Kill(-t.main, s)
	}
	return t.main
}

// reap takes in whatever dies until there is nothing left that could.
func (t *tree) reap(reaped chan<- struct{}) {
	defer close(reaped)
	for awaitChild(0) == nil {
		if t.reapOne() && awaitChild(syscall.WNOHANG) == nil {
			close(t.alone)
		}
	}
}

// reapOne reaps one process and reports whether it was main.
func (t *tree) reapOne() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	var status syscall.WaitStatus
	pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
	if err == nil {
		select {
		case t.died <- struct{}{}:
		default:
		}
	}
	if err != nil || pid != t.main || t.over {
		return false
	}
	t.over, t.status = true, status
	return true
}

// awaitChild waits until a child can be reaped and leaves it as it is. It is
// an error to have no child.
func awaitChild(options uintptr) error {
	const everyChild = 0 // P_ALL
	return uninterrupted(func() error {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, everyChild, 0, 0, syscall.WEXITED|syscall.WNOWAIT|options, 0, 0)
		if errno != 0 {
			return errno
		}
		return nil
	})
}
