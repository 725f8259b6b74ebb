package job

import (
	"cmp"
	"context"
	"errors"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/execlog/execlogd/job/internal/supervisor"
)

// supervises is set when Supervise was called in a process that is not a supervisor
// process.
var supervises atomic.Bool

// Supervise must be the first call of main, and of TestMain, in a program that has
// a [Runner]. The Runner starts that same program again as its supervisor processes.
// In a supervisor process, Supervise does the work of one and never returns.
// Otherwise it does nothing.
func Supervise() {
	supervisor.Main()
	supervises.Store(true)
}

// Reap reaps the zombies that are left to this process, until ctx ends: those of
// processes whose parents have ended, if it is the first process of a container
// (PID 1) or a subreaper, and children that it had when it was executed. Without
// it they stay in the table of processes until it is full. Package os/exec gets
// the exit statuses of the children that it waits for: a child is reaped here only
// if nobody has done so for a second. A program calls Reap once, whatever its place
// in the tree of processes; it costs nothing until a child dies.
func Reap(ctx context.Context) { supervisor.Reap(ctx) }

// Options are for all that a Runner runs. The zero value is right.
type Options struct {
	// Env is the environment that programs start from, as in "KEY=value"; nil
	// is that of the process. What systemd tells a service about itself
	// (NOTIFY_SOCKET, WATCHDOG_*, LISTEN_*) is taken out.
	Env []string

	// Runs is how many runs the Log remembers; 0 is DefaultRuns.
	Runs int

	// Output gets the output of all programs line by line, as it comes. It is
	// called by several goroutines, in order for each run, and a program that
	// writes faster than Output returns is held up. Nil is nobody.
	Output func(Line)

	// Stdout and Stderr are what programs get as standard output and standard
	// error in place of a pipe. What they write there is not seen: no Run has
	// it, and the Output above is not called for it. The files must stay open
	// until the Runner is closed. Nil is a pipe: one for both, or with Separate,
	// or if one of them is a file, one for each.
	Stdout, Stderr *os.File

	// Separate keeps standard error apart from standard output, so that a Line
	// says which it is of. Lines of one are then in their order, but not with
	// those of the other.
	Separate bool

	// Terminal is lent to programs while they run. Nil is none: each program is
	// in a session of its own, which has no terminal.
	Terminal *Terminal

	// KeySignal is told of a signal that a key of the Terminal has sent to a
	// program (SIGINT, SIGQUIT), or that the terminal has hung up (SIGHUP), and
	// of the run. A goroutine of that run calls it, before Done. Nil is nobody.
	KeySignal func(Run, syscall.Signal)

	// Done gets each run when it is over, before its callback returns. It is
	// called by several goroutines. Nil is nobody.
	Done func(Run)
}

// A Runner runs commands and services and remembers what ran. Its methods may
// be called by any goroutine at any time.
type Runner struct {
	opts Options
	log  *Log
	null *os.File // the standard input of programs that get none

	mu         sync.Mutex // guards what follows
	closed     bool
	idle       []*supervisor.Client // supervisor processes that run nothing
	executions map[*execution]bool
	over       sync.WaitGroup // counts executions
}

// New returns a Runner whose first supervisor process has started. The Runner must
// be closed. The program's main must begin with [Supervise].
func New(opts Options) (*Runner, error) {
	if !supervises.Load() {
		return nil, errors.New("job.Supervise was not called: call it first thing in main")
	}

	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}

	if opts.Env == nil {
		opts.Env = os.Environ()
	}

	s, err := supervisor.Start(opts.Terminal != nil)
	if err != nil {
		return nil, errors.Join(err, null.Close())
	}

	return &Runner{
		opts:       opts,
		log:        &Log{size: cmp.Or(opts.Runs, DefaultRuns)},
		null:       null,
		idle:       []*supervisor.Client{s},
		executions: make(map[*execution]bool),
	}, nil
}

// Log is what has run and what is running.
func (r *Runner) Log() *Log { return r.log }

// Close ends everything that is running, each program by SIGTERM, its grace and
// SIGKILL, and returns when nothing of it is left. What is started afterwards is an
// error. Further calls do nothing.
func (r *Runner) Close() error {
	r.mu.Lock()
	closed := r.closed
	r.closed = true
	for x := range r.executions {
		x.stop(false)
	}
	r.mu.Unlock()

	r.over.Wait()
	if closed {
		return nil
	}
	for _, s := range r.idle {
		s.Close()
	}
	return r.null.Close()
}

// Kill ends everything that is running by SIGKILL, without waiting for it. The runs
// are over when nothing of them is left, as if they had not heeded SIGTERM.
func (r *Runner) Kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for x := range r.executions {
		x.stop(true)
	}
}

// add notes an execution that is about to start, for Close to wait for.
func (r *Runner) add(x *execution) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errClosed
	}
	r.executions[x] = true
	r.over.Add(1)
	return nil
}

// remove notes that an execution is over.
func (r *Runner) remove(x *execution) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.executions, x)
	r.over.Done()
}

// takeSupervisor returns an idle supervisor process, or a new one if there is none.
func (r *Runner) takeSupervisor() (s *supervisor.Client, idle bool, err error) {
	r.mu.Lock()
	if n := len(r.idle); n > 0 {
		s, r.idle = r.idle[n-1], r.idle[:n-1]
	}
	r.mu.Unlock()

	if s != nil {
		return s, true, nil
	}
	s, err = supervisor.Start(r.opts.Terminal != nil)
	return s, false, err
}

// giveBack keeps a supervisor process for the next program. As many are kept as can
// be at work at once.
func (r *Runner) giveBack(s *supervisor.Client) {
	r.mu.Lock()
	keep := len(r.idle) < runtime.GOMAXPROCS(0)
	if keep {
		r.idle = append(r.idle, s)
	}
	r.mu.Unlock()

	if !keep {
		s.Close()
	}
}
