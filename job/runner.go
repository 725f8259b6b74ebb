package job

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// drainPatience is how long output is waited for when all processes of a job
// are gone: only what is in the pipe can still come, unless a program that is
// no descendant of the job was given the pipe.
const drainPatience = time.Second

// leavePatience is how long output is waited for when processes of a job go on: it
// takes only so long to read what the job has written itself.
const leavePatience = 50 * time.Millisecond

var (
	errClosed = fmt.Errorf("the runner is closed: %w", context.Canceled)
	errKeeper = errors.New("its keeper was killed, and what it had started with it")
)

// Options are for all that a Runner runs. The zero value is right.
type Options struct {
	// Env is the environment that jobs start from, as in "KEY=value"; nil
	// is that of the process. What systemd tells a service about itself
	// (NOTIFY_SOCKET, WATCHDOG_*, LISTEN_*) is taken out.
	Env []string

	// Records is how many runs the Log remembers; 0 is DefaultRecords.
	Runs int

	// Output gets the output of all jobs line by line, as it comes. It is
	// called by several goroutines, in order for each job, and a job that
	// writes faster than Output returns is held up. Nil is nobody.
	Output func(Line)

	// Stdout and Stderr are what programs get as standard output and standard
	// error in place of a pipe. What they write there is not seen: no Record has
	// it, and the Output above is not called for it. They must stay open until the
	// Runner is closed. Nil is a pipe: one for both, or with Separate, or if one
	// of them is a file, one for each.
	Stdout, Stderr *os.File

	// Separate keeps standard error apart from standard output, so that a Line
	// says which it is of. Lines of one are then in their order, but not with
	// those of the other.
	Separate bool

	// Terminal is lent to programs while they run. Nil is none: programs are in
	// sessions of their own, which have no terminal.
	Terminal *Terminal

	// Typed is told of a signal that a key of the Terminal has sent to a program
	// (SIGINT, SIGQUIT), or that it has hung up (SIGHUP), and of the record of the
	// run. It is called by a goroutine of that run. Nil
	// is nobody.
	Typed func(Run, syscall.Signal)

	// Done gets the record of each run when it is over, before its callback
	// returns. It is called by several goroutines. Nil is nobody.
	Done func(Run)
}

// A Runner runs commands and services and remembers what ran. Its methods may
// be called by any goroutine at any time.
type Runner struct {
	opts Options
	log  *Log
	null *os.File // the input of jobs that get none

	mu     sync.Mutex // guards what follows
	closed bool
	idle   []*keeper
	runs   map[*execution]bool
	over   sync.WaitGroup // counts runs
}

// New returns a Runner with its first keeper, a process of the same program,
// already started. The program's main must begin with [Keep]. The Runner must
// be closed.
func New(opts Options) (*Runner, error) {
	if !mainKeeps.Load() {
		return nil, errors.New("job.Keep was not called: call it first thing in main")
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	if opts.Env == nil {
		opts.Env = os.Environ()
	}
	k, err := startKeeper(opts.Terminal != nil)
	if err != nil {
		return nil, errors.Join(err, null.Close())
	}
	return &Runner{
		opts: opts,
		log:  &Log{size: cmp.Or(opts.Runs, DefaultRuns)},
		null: null,
		idle: []*keeper{k},
		runs: make(map[*execution]bool),
	}, nil
}

// Log is what has run and what runs.
func (r *Runner) Log() *Log { return r.log }

// Close ends everything that runs, each with SIGTERM, its grace and SIGKILL,
// and returns when nothing of it is left. What is started afterwards is an
// error. Further calls do nothing.
func (r *Runner) Close() error {
	r.mu.Lock()
	closed := r.closed
	r.closed = true
	for x := range r.runs {
		x.stop()
	}
	r.mu.Unlock()
	r.over.Wait()
	if closed {
		return nil
	}
	for _, k := range r.idle {
		k.end()
	}
	return r.null.Close()
}

// Kill ends everything that runs with SIGKILL, without waiting for it. The runs
// are over when nothing of them is left, as if they had not heeded SIGTERM.
func (r *Runner) Kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for x := range r.runs {
		x.kill()
	}
}

// A execution is a program that was started, until nothing of its tree is left.
type execution struct {
	runner *Runner
	keeper *keeper
	entry  *entry
	output []*os.File     // our ends of pipes
	drain  sync.WaitGroup // counts those that have not ended
	input  *os.File       // nil without
	feed   chan struct{}  // closed when input is written, or nobody reads it
	early  []report       // that came before it was known to have started

	mu       sync.Mutex // guards what follows
	starting *keeper    // was asked, and may have started it before it says so
	told     bool       // to stop
	over     bool
}

// start has a keeper run a program whose input is given, and the entry record
// it. The run must leave. The error is the errno of the program's start, or of
// what it needs.
func (r *Runner) start(req request, input []byte, e *entry) (*execution, error) {
	x := &execution{runner: r, entry: e, feed: make(chan struct{})}
	if err := r.enter(x); err != nil {
		return nil, err
	}
	if err := x.start(req, input); err != nil {
		r.leave(x)
		return nil, err
	}
	return x, nil
}

func (r *Runner) enter(x *execution) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errClosed
	}
	r.runs[x] = true
	r.over.Add(1)
	return nil
}

func (r *Runner) leave(x *execution) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.runs, x)
	r.over.Done()
}

func (x *execution) start(req request, input []byte) error {
	opts := x.runner.opts
	stdin := x.runner.null
	switch {
	case input != nil:
		in, w, err := os.Pipe()
		if err != nil {
			return err
		}
		defer in.Close()
		stdin, x.input = in, w
	case req.terminal && opts.Terminal != nil:
		stdin = opts.Terminal.file
	}
	stdout, stderr := opts.Stdout, opts.Stderr
	for _, to := range []**os.File{&stdout, &stderr} {
		if *to != nil {
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			x.close()
			return err
		}
		defer w.Close()
		*to = w
		x.output = append(x.output, r)
		if stderr == nil && !opts.Separate {
			stderr = w
		}
	}
	pid, err := x.launch(req.message(), stdin, stdout, stderr)
	if err != nil {
		x.close()
		return err
	}
	x.entry.began(pid)
	for _, r := range x.early {
		x.note(r)
	}
	go x.pour(input)
	for i, r := range x.output {
		isErr := opts.Stdout != nil || i == 1
		x.drain.Go(func() { x.collect(r, isErr) })
	}
	return nil
}

// close gives back the pipes of a run that did not start.
func (x *execution) close() {
	if x.input != nil {
		x.input.Close()
	}
	for _, f := range x.output {
		f.Close()
	}
}

// launch sends a request to a keeper and returns the process id of the
// program. The terminal is lent before that starts.
func (x *execution) launch(message []byte, files ...*os.File) (pid int, err error) {
	k, err := x.runner.take(func(k *keeper) error {
		x.mu.Lock()
		x.starting = k
		x.mu.Unlock()
		if t := x.runner.opts.Terminal; t != nil {
			t.lend(k.group())
		}
		err := k.send(message, files...)
		if err != nil {
			x.reclaim(k)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	answer, err := k.answer(func(r report) { x.early = append(x.early, r) })
	switch {
	case err != nil:
		x.reclaim(k)
		k.end()
		return 0, errKeeper
	case answer.kind != started:
		x.reclaim(k)
		x.runner.put(k)
		return 0, syscall.Errno(answer.value)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.keeper = k
	if x.told {
		k.stop()
	}
	return int(answer.value), nil
}

// reclaim takes the terminal back from a keeper's group, if it has it.
func (x *execution) reclaim(k *keeper) {
	if t := x.runner.opts.Terminal; t != nil {
		t.reclaim(k.group())
	}
}

// stop has the tree of the program end. It does not wait.
func (x *execution) stop() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.told || x.over {
		return
	}
	x.told = true
	if x.keeper != nil {
		x.keeper.stop()
	}
}

// kill has the tree end at once.
func (x *execution) kill() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.keeper != nil && !x.over {
		x.told = true
		x.keeper.kill()
	}
}

// signal sends a signal to the program itself. It reports whether that runs.
func (x *execution) signal(s syscall.Signal) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.keeper == nil || x.told || x.over {
		return false
	}
	return x.keeper.signal(s) == nil
}

// stopping reports whether it was stopped while it ran.
func (x *execution) stopping() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.told
}

// wait returns when nothing of the tree is left and its output is recorded.
func (x *execution) wait() (report, error) {
	end, err := x.keeper.answer(x.note)
	x.reclaim(x.keeper)
	x.mu.Lock()
	x.over = true
	x.mu.Unlock()
	if err != nil {
		// The kernel has killed the program with its keeper. What is left is
		// its group, and what is not in it got away.
		group := x.entry.pid()
		if x.runner.opts.Terminal != nil {
			group = x.keeper.group()
		}
		_ = syscall.Kill(-group, syscall.SIGKILL)
		err = errKeeper
	}
	x.settle(end.stay.Count > 0)
	if err != nil || end.alive > 0 || end.stay.Count > 0 {
		x.keeper.end()
		return end, err
	}
	x.runner.put(x.keeper)
	return end, nil
}

// note heeds what a keeper reports while the program runs.
func (x *execution) note(r report) {
	s := syscall.Signal(r.value)
	switch opts := x.runner.opts; {
	case r.kind == halted:
		opts.Terminal.halt(x.keeper.group(), x.entry.pid(), s)
	case opts.Typed != nil:
		opts.Typed(x.entry.now(), s)
	}
}

// settle waits for the goroutines of a run that is over. Processes that stay may
// hold its output.
func (x *execution) settle(stay bool) {
	wait := drainPatience
	if stay {
		wait = leavePatience
	}
	for _, f := range x.output {
		patience := time.AfterFunc(wait, func() { _ = f.SetReadDeadline(time.Now()) })
		defer patience.Stop()
	}
	if x.input != nil {
		_ = x.input.SetWriteDeadline(time.Now())
	}
	<-x.feed
	x.drain.Wait()
}

// pour writes the input. A program need not read it.
func (x *execution) pour(input []byte) {
	defer close(x.feed)
	if x.input != nil {
		_, _ = x.input.Write(input)
		x.input.Close()
	}
}

// collect reads an output to its end.
func (x *execution) collect(from *os.File, isErr bool) {
	defer from.Close()
	lines := lineWriter{emit: func(text string, cut bool) {
		if x.runner.opts.Output != nil {
			x.runner.opts.Output(Line{Route: x.entry.route(), ID: x.entry.id(), Text: text, Cut: cut, Stderr: isErr})
		}
	}}
	defer lines.end()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		x.entry.write(buf[:n])
		lines.write(buf[:n])
		if err != nil {
			return
		}
	}
}

// take returns an idle keeper, or a new one, that begin succeeded with. One
// that was killed meanwhile is noticed when it is written to.
func (r *Runner) take(begin func(*keeper) error) (*keeper, error) {
	for {
		k := r.pop()
		if k == nil {
			break
		}
		if begin(k) == nil {
			return k, nil
		}
		k.end()
	}
	k, err := startKeeper(r.opts.Terminal != nil)
	if err != nil {
		return nil, err
	}
	if err := begin(k); err != nil {
		k.end()
		return nil, err
	}
	return k, nil
}

func (r *Runner) pop() *keeper {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.idle) == 0 {
		return nil
	}
	k := r.idle[len(r.idle)-1]
	r.idle = r.idle[:len(r.idle)-1]
	return k
}

// put gives a keeper back. As many are kept as can be at work at once.
func (r *Runner) put(k *keeper) {
	if !r.push(k) {
		k.end()
	}
}

func (r *Runner) push(k *keeper) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.idle) >= runtime.GOMAXPROCS(0) {
		return false
	}
	r.idle = append(r.idle, k)
	return true
}

// A keeper is the daemon's end of a keeper process.
type keeper struct {
	conn    *net.UnixConn
	process *exec.Cmd
}

func startKeeper(shared bool) (*keeper, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, fmt.Errorf("start keeper: %w", err)
	}
	defer theirs.Close()
	// The link is good for the program that runs, also after an upgrade has
	// replaced its file.
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{keeperName}
	cmd.Env = append(os.Environ(), "GOMAXPROCS=2") // one thread for the socket, one for the tree
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if shared {
		cmd.Args = append(cmd.Args, withTerminal)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start keeper: %w", errors.Join(err, ours.Close()))
	}
	return &keeper{ours, cmd}, nil
}

func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "keeper"), os.NewFile(uintptr(fds[1]), "daemon")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return conn.(*net.UnixConn), theirs, nil
}

// send sends a message with files.
func (k *keeper) send(message []byte, files ...*os.File) error {
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd())) // and so blocking, as programs expect
	}
	n, _, err := k.conn.WriteMsgUnix(message, syscall.UnixRights(fds...), nil)
	if err == nil && n < len(message) {
		_, err = k.conn.Write(message[n:])
	}
	return err
}

// stop asks for the end of what runs. A keeper that is gone has ended it.
func (k *keeper) stop() { _, _ = k.conn.Write([]byte{askStop}) }

// kill asks for its end without grace.
func (k *keeper) kill() { _, _ = k.conn.Write([]byte{askKill}) }

// signal asks to send the program a signal.
func (k *keeper) signal(s syscall.Signal) error {
	_, err := k.conn.Write(binary.BigEndian.AppendUint32([]byte{askSignal}, uint32(s)))
	return err
}

// group is the process group of the keeper, if it has one of its own.
func (k *keeper) group() int { return k.process.Process.Pid }

// answer waits for what comes of a request. What is reported meanwhile is noted.
func (k *keeper) answer(note func(report)) (report, error) {
	for {
		r, err := readReport(k.conn)
		switch {
		case err != nil || r.kind != halted && r.kind != typed:
			return r, err
		}
		note(r)
	}
}

// end ends a keeper and waits for it. How it ended is of no interest.
func (k *keeper) end() {
	k.conn.Close()
	_ = k.process.Wait()
}
