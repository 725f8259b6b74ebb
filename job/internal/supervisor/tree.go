package supervisor

import (
	"encoding/gob"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A tree that SIGKILL has not ended gets it again every killInterval, for what was
// born meanwhile, and is given up after killTimeout.
const (
	killInterval = 20 * time.Millisecond
	killTimeout  = 5 * time.Second
)

// A process that was forked and may be left behind has execTimeout to execute its
// program. Subshells never do.
const (
	execTimeout  = time.Second
	execInterval = 10 * time.Millisecond
)

// A tree is a program that runs, with everything that it has started: all processes
// below the supervisor process.
type tree struct {
	Request
	reports *gob.Encoder
	shared  bool // the program is in the process group of the supervisor process
	program int  // process id

	orders       chan orderKind // stopTree or killTree
	programEnded chan struct{}  // closed when the program has ended and others have not
	childReaped  chan struct{}  // has an element when a process was reaped
	allReaped    chan struct{}  // closed when no process is left
	done         chan struct{}  // closed when that was reported

	// These are for the goroutine of supervise alone.
	asked   map[processID]bool // who was asked to end
	leaving bool               // the program has ended by itself, and some may stay
	due     <-chan time.Time   // when to send SIGKILL; nil while nothing is to end
	killed  time.Time          // when SIGKILL was first sent; zero before
	end     Report

	mu     sync.Mutex // guards what follows, and the program against being reaped
	reaped bool       // the program was, and its number may be another's
	status unix.WaitStatus
}

// start starts a program, reports that, and supervises its tree until nothing is
// left of it. It closes the files. It returns nil if the program did not start.
func start(r Request, files []int, reports *gob.Encoder, shared bool) *tree {
	pid, err := 0, error(unix.EBADF) // a process without descriptors left gets no files
	if len(files) == 3 {
		// The program leads a session and a process group, so that it has no terminal
		// at which it could wait for an answer; or, if it shares the terminal, it is
		// in those of the supervisor process. If that dies first, the kernel kills it.
		pid, err = syscall.ForkExec(r.Path, r.Argv, &syscall.ProcAttr{
			Dir:   r.Dir,
			Env:   r.Env,
			Files: []uintptr{uintptr(files[0]), uintptr(files[1]), uintptr(files[2])},
			Sys:   &syscall.SysProcAttr{Setsid: !shared, Pdeathsig: unix.SIGKILL},
		})
	}
	for _, fd := range files {
		unix.Close(fd)
	}
	if err != nil {
		errno, _ := err.(syscall.Errno) // it is one
		send(reports, Report{Kind: Failed, Value: int(errno)})
		return nil
	}
	send(reports, Report{Kind: Started, Value: pid})

	t := &tree{
		Request: r, reports: reports, shared: shared, program: pid,
		asked: make(map[processID]bool), end: Report{Kind: Ended},
		orders: make(chan orderKind), programEnded: make(chan struct{}), childReaped: make(chan struct{}, 1),
		allReaped: make(chan struct{}), done: make(chan struct{}),
	}
	go t.reap()
	go t.supervise()
	return t
}

// endedTree returns a tree of which nothing is left.
func endedTree() *tree {
	t := &tree{done: make(chan struct{}), reaped: true}
	close(t.done)
	return t
}

// order gives an order to the tree, if something is left of it.
func (t *tree) order(kind orderKind) {
	select {
	case t.orders <- kind:
	case <-t.done:
	}
}

// signalProgram sends a signal to the program itself, if it has not ended.
func (t *tree) signalProgram(s syscall.Signal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.reaped {
		_ = unix.Kill(t.program, s)
	}
}

// supervise ends the tree when it is ordered to, and what the program has left
// behind when that has ended by itself: by SIGTERM, or the program's own signal, and
// by SIGKILL after the grace. It returns when nothing is left, and has reported how
// it ended.
//
// Where a process goes on because it may be left, or because it cannot be ended, the
// supervisor process ends: the process would pass for one of the next program.
func (t *tree) supervise() {
	programEnded := t.programEnded
	for len(t.end.Left) == 0 && t.end.Unkillable == 0 {
		var childReaped <-chan struct{}
		if t.leaving {
			childReaped = t.childReaped // the last that had to end may be gone
		}

		select {
		case <-t.allReaped:
			t.reportEnd()
			close(t.done)
			return
		case <-programEnded:
			programEnded = nil
			t.endRest()
		case <-childReaped:
			t.end.Left = t.staying()
		case kind := <-t.orders:
			t.follow(kind)
		case now := <-t.due:
			t.killAgain(now)
		}
	}

	t.mu.Lock() // for ever: nothing is reaped any more
	t.reportEnd()
	os.Exit(0)
}

// reportEnd reports how the tree ended. Whoever hears of that knows of the key that
// has caused it.
func (t *tree) reportEnd() {
	if t.shared {
		flushKeySignals()
	}
	t.end.Value = int(t.status)
	send(t.reports, t.end)
}

// endRest ends what the program has left behind when it has ended.
func (t *tree) endRest() {
	if t.due != nil {
		// It was stopped. The signal for the program is not for the rest.
		if t.StopSignal != unix.SIGTERM {
			clear(t.asked)
		}
		t.terminate(unix.SIGTERM)
		return
	}

	if len(t.Leave) > 0 {
		t.leaving = true
		t.awaitExec()
		if t.end.Left = t.staying(); len(t.end.Left) > 0 {
			return
		}
	}
	t.end.Killed = t.terminate(unix.SIGTERM)
	t.due = time.After(t.Grace)
}

// follow follows an order. One that comes too late does nothing.
func (t *tree) follow(kind orderKind) {
	switch {
	case kind == killTree && t.killed.IsZero():
		t.due = time.After(0)
	case kind == stopTree && t.due == nil:
		t.terminate(t.StopSignal)
		t.due = time.After(t.Grace)
	}
}

// killAgain sends SIGKILL to every process of the tree, and looks at what the last one has done.
func (t *tree) killAgain(now time.Time) {
	if t.killed.IsZero() {
		t.killed = now
	}
	t.signalGroup(unix.SIGKILL)
	members := t.members()
	for _, p := range members {
		p.signal(unix.SIGKILL)
	}

	if len(members) == 0 && t.leaving {
		t.end.Left = t.staying()
	} else if now.Sub(t.killed) > killTimeout {
		t.end.Unkillable = max(len(members), 1)
	}
	t.due = time.After(killInterval)
}

// awaitExec waits a moment for processes that were forked and have not executed
// their program yet. Until then they have the name of their parent.
func (t *tree) awaitExec() {
	for range execTimeout / execInterval {
		_, others := splitLeft(Descendants(os.Getpid()), t.Leave)
		if !slices.ContainsFunc(others, func(p Process) bool { return p.Forked }) {
			return
		}
		time.Sleep(execInterval)
	}
}

// staying returns what is left of the tree, if all of that may be left behind.
func (t *tree) staying() []Process {
	left, others := splitLeft(Descendants(os.Getpid()), t.Leave)
	if len(others) > 0 {
		return nil
	}
	return left
}

// members lists the processes that are to end: all, or those that may not be left
// behind.
func (t *tree) members() []Process {
	all := Descendants(os.Getpid())
	if t.leaving {
		_, all = splitLeft(all, t.Leave)
	}
	return all
}

// terminate asks every process of the tree to end, also one that was stopped, and
// none twice. It returns those that the signal to the program's group did not reach.
func (t *tree) terminate(by syscall.Signal) (outside []Process) {
	members := t.members()
	group := t.signalGroup(by, unix.SIGCONT)
	for _, p := range members {
		t.asked[p.id()] = t.asked[p.id()] || p.Group == group
	}

	// What was born or has left the group meanwhile is in the second list.
	for _, p := range t.members() {
		if !t.asked[p.id()] {
			t.asked[p.id()] = true
			p.signal(by)
			p.signal(unix.SIGCONT)
			outside = append(outside, p)
		}
	}
	return outside
}

// signalGroup sends signals to the program's group and returns that. It does nothing
// and returns 0 if the program was reaped, as the group may be another's then, or if
// the supervisor process is in the group.
func (t *tree) signalGroup(signals ...syscall.Signal) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.reaped || t.shared {
		return 0
	}
	for _, s := range signals {
		_ = unix.Kill(-t.program, s)
	}
	return t.program
}

// reap reaps whatever dies until there is no child any more. With a terminal it also
// reports when the program is stopped.
func (t *tree) reap() {
	defer close(t.allReaped)
	options := 0
	if t.shared {
		options = unix.WSTOPPED
	}
	for waitForChild(options) == nil {
		if t.reapOne() && waitForChild(unix.WNOHANG) == nil {
			close(t.programEnded)
		}
	}
}

// reapOne reaps one process and reports whether it was the program.
func (t *tree) reapOne() bool {
	t.mu.Lock()
	defer t.mu.Unlock()

	options := unix.WNOHANG
	if t.shared {
		options |= unix.WUNTRACED
	}
	var status unix.WaitStatus
	pid, err := unix.Wait4(-1, &status, options, nil)
	switch {
	case err != nil:
		return false
	case status.Stopped():
		if pid == t.program {
			send(t.reports, Report{Kind: Paused, Value: int(status.StopSignal())})
		}
		return false
	}

	select {
	case t.childReaped <- struct{}{}:
	default:
	}
	if pid != t.program || t.reaped {
		return false
	}
	t.reaped, t.status = true, status
	return true
}

// waitForChild waits until a child can be reaped, and does not reap it. It fails if
// there is no child.
func waitForChild(options int) error {
	return retryInterrupted(func() error {
		return unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOWAIT|options, nil)
	})
}
