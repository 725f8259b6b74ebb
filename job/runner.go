package job

import (
	"cmp"
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
	errClosed = errors.New("the runner is closed")
	errKeeper = errors.New("its keeper was killed, and what it had started with it")
)

// Options are for all that a Runner runs. The zero value is right.
type Options struct {
	// Env is the environment that jobs start from, as in "KEY=value"; nil
	// is that of the process. What systemd tells a service about itself
	// (NOTIFY_SOCKET, WATCHDOG_*, LISTEN_*) is taken out.
	Env []string

	// Records is how many runs the Log remembers; 0 is DefaultRecords.
	Records int

	// Output gets the output of all jobs line by line, as it comes. It is
	// called by several goroutines, in order for each job, and a job that
	// writes faster than Output returns is held up. Nil is nobody.
	Output func(Line)

	// Terminal is what programs get as standard output and standard error in
	// place of a pipe, so that they show colours and progress. What they write
	// there is not seen: no Record has an Output, and the Output above is never
	// called. It is not the terminal that controls them, and they do not read
	// from it. It must stay open until the Runner is closed. Nil is a pipe.
	Terminal *os.File

	// Done gets the record of each run when it is over, before its callback
	// returns. It is called by several goroutines. Nil is nobody.
	Done func(Record)
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
	runs   map[*run]bool
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
	k, err := startKeeper()
	if err != nil {
		return nil, errors.Join(err, null.Close())
	}
	return &Runner{
		opts: opts,
		log:  &Log{size: cmp.Or(opts.Records, DefaultRecords)},
		null: null,
		idle: []*keeper{k},
		runs: make(map[*run]bool),
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

// A run is a program that was started, until nothing of its tree is left.
type run struct {
	runner *Runner
	keeper *keeper
	entry  *entry
	output *os.File      // nil with a terminal
	drain  chan struct{} // closed when output has ended
	input  *os.File      // nil without
	feed   chan struct{} // closed when input is written, or nobody reads it

	mu       sync.Mutex // guards what follows
	starting *keeper    // was asked, and may have started it before it says so
	told     bool       // to stop
	over     bool
}

// start has a keeper run a program whose input is given, and the entry record
// it. The run must leave. The error is the errno of the program's start, or of
// what it needs.
func (r *Runner) start(req request, input []byte, e *entry) (*run, error) {
	x := &run{runner: r, entry: e, drain: make(chan struct{}), feed: make(chan struct{})}
	if err := r.enter(x); err != nil {
		return nil, err
	}
	if err := x.start(req, input); err != nil {
		r.leave(x)
		return nil, err
	}
	return x, nil
}

func (r *Runner) enter(x *run) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errClosed
	}
	r.runs[x] = true
	r.over.Add(1)
	return nil
}

func (r *Runner) leave(x *run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.runs, x)
	r.over.Done()
}

func (x *run) start(req request, input []byte) error {
	stdin := x.runner.null
	if input != nil {
		in, w, err := os.Pipe()
		if err != nil {
			return err
		}
		defer in.Close()
		stdin, x.input = in, w
	}
	stdout := x.runner.opts.Terminal
	if stdout == nil {
		r, w, err := os.Pipe()
		if err != nil {
			x.close()
			return err
		}
		defer w.Close()
		stdout, x.output = w, r
	}
	pid, err := x.launch(req.message(), stdin, stdout)
	if err != nil {
		x.close()
		return err
	}
	x.entry.began(pid)
	go x.pour(input)
	go x.collect()
	return nil
}

// close gives back the pipes of a run that did not start.
func (x *run) close() {
	for _, f := range []*os.File{x.input, x.output} {
		if f != nil {
			f.Close()
		}
	}
}

// launch sends a request to a keeper and returns the process id of the
// program.
func (x *run) launch(message []byte, stdin, stdout *os.File) (pid int, err error) {
	k, err := x.runner.take(func(k *keeper) error {
		x.mu.Lock()
		x.starting = k
		x.mu.Unlock()
		return k.send(message, stdin, stdout)
	})
	if err != nil {
		return 0, err
	}
	answer, err := k.receive()
	if err != nil {
		k.end()
		return 0, errKeeper
	}
	if answer.kind != started {
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

// stop has the tree of the program end. It does not wait.
func (x *run) stop() {
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

// stopping reports whether it was stopped while it ran.
func (x *run) stopping() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.told
}

// wait returns when nothing of the tree is left and its output is recorded.
func (x *run) wait() (report, error) {
	end, err := x.keeper.receive()
	x.mu.Lock()
	x.over = true
	x.mu.Unlock()
	if err != nil {
		// The kernel has killed the program with its keeper. What is left is
		// its group, and what is not in it got away.
		_ = syscall.Kill(-x.entry.pid(), syscall.SIGKILL)
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

// settle waits for the goroutines of a run that is over. Processes that stay may
// hold its output.
func (x *run) settle(stay bool) {
	wait := drainPatience
	if stay {
		wait = leavePatience
	}
	if x.output != nil {
		patience := time.AfterFunc(wait, func() { _ = x.output.SetReadDeadline(time.Now()) })
		defer patience.Stop()
	}
	if x.input != nil {
		_ = x.input.SetWriteDeadline(time.Now())
	}
	<-x.feed
	<-x.drain
}

// pour writes the input. A program need not read it.
func (x *run) pour(input []byte) {
	defer close(x.feed)
	if x.input != nil {
		_, _ = x.input.Write(input)
		x.input.Close()
	}
}

// collect reads the output to its end.
func (x *run) collect() {
	defer close(x.drain)
	if x.output == nil {
		return
	}
	defer x.output.Close()
	lines := lineWriter{emit: func(text string, cut bool) {
		if x.runner.opts.Output != nil {
			x.runner.opts.Output(Line{Route: x.entry.route(), ID: x.entry.id(), Text: text, Cut: cut})
		}
	}}
	defer lines.end()
	buf := make([]byte, 32<<10)
	for {
		n, err := x.output.Read(buf)
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
	k, err := startKeeper()
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

func startKeeper() (*keeper, error) {
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

func (k *keeper) receive() (report, error) { return readReport(k.conn) }

// end ends a keeper and waits for it. How it ended is of no interest.
func (k *keeper) end() {
	k.conn.Close()
	_ = k.process.Wait()
}
