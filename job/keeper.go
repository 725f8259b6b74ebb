package job

import (
	"encoding/binary"
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

// withTerminal is the second argument of a keeper that shares its session and its
// process group with what it runs: see Terminal.
const withTerminal = "terminal"

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
	shared := len(os.Args) > 1 && os.Args[1] == withTerminal
	if err := keep(&inbox{socket: keeperSocket}, shared); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", keeperName, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// keep is a keeper's life. It runs one program at a time. As a subreaper it is
// the parent of whatever a program leaves behind, however that detached itself,
// so all that is below it in the tree of processes belongs to the program. The
// end of its socket is the end of the daemon, by whatever cause.
func keep(in *inbox, shared bool) error {
	if err := settleIn(); err != nil {
		return err
	}
	if shared {
		relaySignals(in.socket)
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
		case askKill:
			t.killNow()
		case askSignal:
			b, err := in.next(4)
			if err != nil {
				return err
			}
			t.signalMain(syscall.Signal(binary.BigEndian.Uint32(b)))
		case askRun:
			r, files, err := in.request()
			if err != nil {
				return err
			}
			if next := plant(r, files, in.socket, shared); next != nil {
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

// flushSignal is what a keeper with a terminal sends itself to know that all signals
// before it were reported. It is greater than those, so that the runtime hands it on
// after them.
const flushSignal = syscall.SIGUSR2

// flushed has an element when flushSignal has come.
var flushed = make(chan struct{}, 1)

// relaySignals reports the signals by which a terminal ends what is in its
// foreground, also when it hangs up: the keeper is in the group of the program, and hears of them for the
// daemon. It survives all others that a program may send to its own group. They are
// caught, not ignored, because a program would inherit that.
func relaySignals(socket int) {
	keyboard := make(chan os.Signal, 8)
	signal.Notify(keyboard, flushSignal)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP} {
		if !signal.Ignored(s) {
			signal.Notify(keyboard, s)
		}
	}
	for _, s := range []os.Signal{syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGUSR1, syscall.SIGALRM, syscall.SIGPIPE} {
		if !signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
	go func() {
		for s := range keyboard {
			if s != flushSignal {
				send(socket, report{kind: typed, value: uint32(s.(syscall.Signal))})
				continue
			}
			select {
			case flushed <- struct{}{}:
			default:
			}
		}
	}()
}

// flushSignals returns when the signals that have come were reported.
func flushSignals() {
	select {
	case <-flushed: // a program has sent it to its group
	default:
	}
	_ = syscall.Kill(os.Getpid(), flushSignal)
	<-flushed
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
	main    int  // process id of the program
	shared  bool // it is in the group of the keeper
	grace   time.Duration
	stopBy  syscall.Signal      // asks main to end, and whatever is there with it
	leave   []string            // as in Command
	socket  int                 // to report on
	stopped chan struct{}       // closed when it is to end
	alone   chan struct{}       // closed when main has ended and left others behind
	died    chan struct{}       // has an element when a process was reaped
	empty   chan struct{}       // closed when there is no process any more
	hurry   chan struct{}       // closed when it is to be killed
	once    sync.Once           // closes stopped
	now     sync.Once           // closes hurry
	told    map[processKey]bool // who got SIGTERM; tend's alone
	leaving bool                // it has ended by itself, and some may stay; tend's alone

	mu     sync.Mutex // guards what follows, and main against being reaped
	over   bool       // main was reaped; its id may be another's
	status syscall.WaitStatus
}

// plant starts a program, reports that, and sees to its tree until that is
// empty. It returns nil if the program did not start.
func plant(r request, files []int, socket int, shared bool) *tree {
	pid, err := fork(r, files, shared)
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
		main: pid, shared: shared, grace: r.grace, stopBy: r.stop, hurry: make(chan struct{}), leave: r.leave, socket: socket, told: make(map[processKey]bool),
		stopped: make(chan struct{}), alone: make(chan struct{}), died: make(chan struct{}, 1), empty: make(chan struct{}),
	}
	reaped := make(chan struct{})
	go t.reap(reaped)
	go t.tend(reaped)
	return t
}

// fork starts a program as the leader of a session and group of its own, where
// it has no terminal to wait at for an answer, or in those of the keeper, so that
// it is in the foreground of the terminal from the first if that group is. If the
// keeper dies first, so does the program.
func fork(r request, files []int, shared bool) (pid int, err error) {
	if len(files) != 3 {
		return 0, syscall.EBADF
	}
	return syscall.ForkExec(r.path, r.argv, &syscall.ProcAttr{
		Dir:   r.dir,
		Env:   r.env,
		Files: []uintptr{uintptr(files[0]), uintptr(files[1]), uintptr(files[2])},
		Sys:   &syscall.SysProcAttr{Setsid: !shared, Pdeathsig: syscall.SIGKILL},
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

// killNow has the tree end without grace.
func (t *tree) killNow() {
	t.now.Do(func() {
		if t.hurry != nil {
			close(t.hurry)
		}
	})
}

// signalMain sends a signal to the program itself, unless it has ended.
func (t *tree) signalMain(s syscall.Signal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.main != 0 && !t.over {
		_ = syscall.Kill(t.main, s)
	}
}

// tend ends the tree when it is to end, and when the program itself has ended:
// SIGTERM or its own signal, and SIGKILL after the grace. It returns when nothing is left. When the
// program has ended by itself and all that is left may stay, the keeper ends, for
// it cannot be a parent to them and to the next program's processes.
func (t *tree) tend(reaped <-chan struct{}) {
	defer close(t.empty)
	var end report
	var kill <-chan time.Time // nil while nothing is to end
	var killed time.Time      // zero until then
	alone, stopped, hurry := t.alone, t.stopped, t.hurry
	var died <-chan struct{} // nil while it is of no interest
	for end.alive == 0 && end.stay.Count == 0 {
		select {
		case <-reaped:
			end.kind, end.value = ended, uint32(t.status)
			if t.shared {
				flushSignals() // who hears of the end knows of the key that has caused it
			}
			send(t.socket, end)
			return
		case <-alone:
			alone = nil
			if kill != nil {
				if t.stopBy != syscall.SIGTERM {
					clear(t.told) // what the program leaves need not know its signal
				}
				t.terminate(syscall.SIGTERM)
				break
			}
			if len(t.leave) > 0 {
				t.leaving, died = true, t.died
				t.awaitExec()
				end.stay = t.staying()
			}
			if end.stay.Count == 0 {
				end.ended = named(t.terminate(syscall.SIGTERM))
				kill = time.After(t.grace)
			}
		case <-died:
			end.stay = t.staying()
		case <-stopped:
			stopped = nil
			if kill == nil {
				t.terminate(t.stopBy)
				kill = time.After(t.grace)
			}
		case <-hurry:
			hurry = nil
			if killed.IsZero() {
				kill = time.After(0)
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
func (t *tree) terminate(by syscall.Signal) (alone []process) {
	members := t.members() // whom a signal to the group reaches
	group := t.signalGroup(by, syscall.SIGCONT)
	for _, p := range members {
		t.told[p.key()] = t.told[p.key()] || p.group == group
	}
	for _, p := range t.members() {
		if !t.told[p.key()] {
			t.told[p.key()] = true
			p.signal(by)
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
// program was reaped the group may be another's, and it returns 0; so it does
// when that is the keeper's own, where each process is signalled by itself.
func (t *tree) signalGroup(signals ...syscall.Signal) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over || t.shared {
		return 0
	}
	for _, s := range signals {
		_ = syscall.Kill(-t.main, s)
	}
	return t.main
}

// reap takes in whatever dies until there is nothing left that could. With a
// terminal it also reports when the program is stopped.
func (t *tree) reap(reaped chan<- struct{}) {
	defer close(reaped)
	var options uintptr
	if t.shared {
		options = syscall.WSTOPPED
	}
	for awaitChild(options) == nil {
		if t.reapOne() && awaitChild(syscall.WNOHANG) == nil {
			close(t.alone)
		}
	}
}

// reapOne reaps one process and reports whether it was main.
func (t *tree) reapOne() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	options := syscall.WNOHANG
	if t.shared {
		options |= syscall.WUNTRACED
	}
	var status syscall.WaitStatus
	pid, err := syscall.Wait4(-1, &status, options, nil)
	if err == nil && pid == t.main && status.Stopped() {
		send(t.socket, report{kind: halted, value: uint32(status.StopSignal())})
	}
	if status.Stopped() {
		return false
	}
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
