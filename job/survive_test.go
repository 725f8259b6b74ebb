package job

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/job/internal/supervisor"
	"github.com/execlog/execlogd/router"
)

// python returns a script that runs a line of Python, in which sleep starts a child,
// and then writes "up".
func python(line string) string {
	return fmt.Sprintf(`python3 -c '
import os, signal
from subprocess import Popen
def sleep(**how): return Popen(["sleep", "1000"], close_fds=False, **how)
%s
print("up", flush=True)'`, line)
}

// escapes are ways in which a process outlives its parent or leaves its group. Each
// writes "up" when it has done that.
var escapes = []struct{ name, script string }{
	{"in the background", `sleep 1000 & echo up`},
	{"in a session of its own", python(`sleep(start_new_session=True)`)},
	{"as a daemon", python(`
os.fork() or (os.setsid(), os.fork() or (sleep(stdin=-3, stdout=-3, stderr=-3), signal.pause()), os._exit(0))
os.wait()`)},
	{"deaf to SIGTERM", python(`signal.signal(15, signal.SIG_IGN); sleep(); sleep(start_new_session=True)`)},
	{"without an environment", python(`sleep(start_new_session=True, env={})`)},
	{"stopped", python(`sleep(start_new_session=True).send_signal(signal.SIGSTOP)`)},
}

// What a program leaves behind is ended, and the run has not failed for that.
func TestNothingSurvivesTheJob(t *testing.T) {
	for _, tt := range escapes {
		t.Run(tt.name, func(t *testing.T) {
			jobs, w := newTestRunner(t), newLivenessPipe(t)
			r := jobs.run(Command{Shell: w.script(tt.script), Grace: 50 * time.Millisecond})
			w.expectNobody(0)
			jobs.expect("up")
			if r.Err != nil || r.Ended.Count == 0 || r.Left.Count != 0 {
				t.Errorf("got %v, which ended %v and left %v, want success and some that were ended", r, r.Ended, r.Left)
			}
		})
	}
}

func TestNothingSurvivesAStop(t *testing.T) {
	for _, tt := range escapes {
		t.Run(tt.name, func(t *testing.T) {
			jobs, w := newTestRunner(t), newLivenessPipe(t)
			r := jobs.stopAt("up", Command{Shell: w.script(tt.script + "; sleep 1000"), Grace: 50 * time.Millisecond})
			w.expectNobody(0)
			if r.Outcome != router.Stopped || r.Err.Error() != "stopped when it was up" {
				t.Errorf("got %v, want the cause of the context", r)
			}
		})
	}
}

func TestNothingSurvivesTheDaemon(t *testing.T) {
	for _, how := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		for _, tt := range escapes {
			t.Run(signalName(how)+" "+tt.name, func(t *testing.T) {
				w := newLivenessPipe(t)
				d := exec.Command(os.Args[0], w.script(tt.script+"; sleep 1000"))
				startDaemon(t, d)
				if err := d.Process.Signal(how); err != nil {
					t.Fatal(err)
				}
				w.expectNobody(20 * time.Second)
			})
		}
	}
}

func TestCloseEndsWhatRuns(t *testing.T) {
	jobs, w := newTestRunner(t), newLivenessPipe(t)
	j := jobs.job(Command{Shell: w.script("echo up; sleep 1000")})
	done := make(chan error)
	go func() { done <- j.Run(t.Context(), jobs.events()) }()
	jobs.expect("up")
	if err := jobs.Close(); err != nil {
		t.Fatal(err)
	}
	w.expectNobody(0)
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v, want that it was cancelled", err)
	}
	if err := j.Run(t.Context(), jobs.events()); !errors.Is(err, errClosed) {
		t.Errorf("Run after Close: %v, want %v", err, errClosed)
	}
}

// prepared returns an execution that is about to start a program.
func (jobs *testRunner) prepared(argv ...string) (*execution, supervisor.Request) {
	jobs.t.Helper()
	req, e, err := jobs.job(Command{Argv: argv}).prepare(jobs.events())
	if err != nil {
		jobs.t.Fatal(err)
	}
	return &execution{runner: jobs.Runner, entry: e, written: make(chan struct{})}, req
}

// A program that Close or Kill finds before its supervisor process was asked to start
// it is ended as soon as it has started.
func TestWhatIsAboutToStartIsEnded(t *testing.T) {
	for signal, end := range map[syscall.Signal]func(*testRunner, *execution){
		syscall.SIGTERM: func(_ *testRunner, x *execution) { x.stop(false) }, // as Close does, which waits
		syscall.SIGKILL: func(jobs *testRunner, _ *execution) { jobs.Kill() },
	} {
		jobs := newTestRunner(t)
		x, req := jobs.prepared("sleep", "20")
		if err := jobs.add(x); err != nil {
			t.Fatal(err)
		}
		end(jobs, x)
		if err := x.start(req, nil, false); err != nil {
			t.Fatal(err)
		}
		if err := x.finish(t.Context(), (*Run).end); !errors.Is(err, errStop) {
			t.Errorf("the run ended with %v", err)
		}
		if r := jobs.lastRun(); r.Signal != signal {
			t.Errorf("got %v, want that %v ended it", r, signal)
		}
		jobs.remove(x)
	}
}

// Runs that follow each other have the same supervisor process.
func TestSupervisorIsUsedAgain(t *testing.T) {
	jobs := newTestRunner(t)
	first := jobs.run(Command{Shell: "echo $PPID; sleep 1000 &"})
	second := jobs.run(Command{Shell: "echo $PPID"})
	if !bytes.Equal(first.Output, second.Output) {
		t.Errorf("the programs are children of %q and %q", first.Output, second.Output)
	}
}

// A supervisor process whose program did not start is for other executions.
func TestFailedStartLetsGoOfTheSupervisor(t *testing.T) {
	jobs := newTestRunner(t)
	x, req := jobs.prepared("true")
	req.Path = filepath.Join(jobs.dir, "none")
	if err := x.start(req, nil, false); !errors.Is(err, syscall.ENOENT) {
		t.Fatalf("it started: %v", err)
	}
	if x.signal(syscall.SIGTERM) {
		t.Error("it sends signals to the program of another")
	}
}

// When a supervisor process is killed, the program and its group are killed as well.
func TestSupervisorKilled(t *testing.T) {
	jobs, w := newTestRunner(t), newLivenessPipe(t)
	go func() {
		jobs.expect("up")
		program, _ := supervisor.Lookup(jobs.Log().Runs()[0].PID)
		if err := syscall.Kill(program.Parent, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}()
	r := jobs.run(Command{Shell: w.script(`sleep 1000 & echo up; sleep 1000`)})
	if !errors.Is(r.Err, errSupervisorKilled) {
		t.Errorf("got %v, want that %v", r, errSupervisorKilled)
	}
	w.expectNobody(20 * time.Second)
	if r := jobs.run(Command{Shell: "echo next"}); r.Err != nil {
		t.Errorf("the next run: %v", r)
	}
}

// When daemon and supervisor process are killed, the kernel kills the program.
func TestDaemonAndSupervisorKilled(t *testing.T) {
	w := newLivenessPipe(t)
	d := exec.Command(os.Args[0], w.script(`echo up; exec sleep 1000`))
	startDaemon(t, d)
	below := supervisor.Descendants(d.Process.Pid)
	process := below[0] // the only child
	for _, step := range []struct {
		pid    int
		signal syscall.Signal
	}{{process.PID, syscall.SIGSTOP}, {d.Process.Pid, syscall.SIGKILL}, {process.PID, syscall.SIGKILL}} {
		if err := syscall.Kill(step.pid, step.signal); err != nil {
			t.Fatal(err)
		}
	}
	w.expectNobody(20 * time.Second)
}

func TestIdleSupervisorKilled(t *testing.T) {
	jobs := newTestRunner(t)
	pid := jobs.idle[0].PID()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if r := jobs.run(Command{Shell: "echo next"}); r.Err != nil {
		t.Errorf("the next run: %v", r)
	}
}

// A process of another user cannot be ended. The run is over all the same, and has
// failed.
func TestAnotherUsersProcess(t *testing.T) {
	if os.Getuid() != 0 || testing.Short() {
		t.Skip("needs root, to make a program that is another's, and five seconds")
	}
	w := newLivenessPipe(t)
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil { // which nobody else may enter
		t.Fatal(err)
	}
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"daemon": 0o755, "immune": 0o755 | os.ModeSetuid} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, program, 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	end := filepath.Join(dir, "end")
	if err := errors.Join(syscall.Mkfifo(end, 0o600), os.Chown(end, 65534, 65534), os.Chown(w.path, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	hold, err := os.OpenFile(end, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	cmd := exec.Command(filepath.Join(dir, "daemon"), w.script("JOB_TEST=immune "+dir+"/immune <"+end))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out := startDaemon(t, cmd)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(20*time.Second, func() { hold.Close() }) // ends the process
	defer late.Stop()
	if said, err := io.ReadAll(out); err != nil || !strings.Contains(string(said), "1 of its processes cannot be ended") {
		t.Errorf("the daemon says %q, %v", said, err)
	}
	hold.Close()
	w.expectNobody(20 * time.Second)
}

// systemd sends SIGTERM to a whole control group. That must not end the supervisor
// process before the daemon has ended what it runs.
func TestSupervisorIsNotTerminated(t *testing.T) {
	jobs := newTestRunner(t)
	r := jobs.run(Command{Shell: `kill -TERM $PPID; kill -INT $PPID; kill -HUP $PPID; echo up`})
	if r.Err != nil || string(r.Output) != "up\n" {
		t.Errorf("got %v, want success", r)
	}
}

// cleansUp is a script that ends well at SIGTERM. It has no child, which could miss the
// signal between fork and exec.
const cleansUp = `exec python3 -c "
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print('cleaned'), sys.exit(3)))
print('up', flush=True)
while True: time.sleep(1)"`

// A program that is to end gets SIGTERM, and SIGKILL only after its grace.
func TestGrace(t *testing.T) {
	tests := []struct {
		name, script string
		output       string
		signal       syscall.Signal
	}{
		{"it cleans up", cleansUp, "up\ncleaned\n", 0},
		{"it is deaf", `trap '' TERM; echo up; while :; do sleep 1000; done`, "up\n", syscall.SIGKILL},
		{"it is stopped", `echo up; kill -STOP $$`, "up\n", syscall.SIGTERM},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			jobs := newTestRunner(t)
			grace := 20 * time.Second
			if tt.signal == syscall.SIGKILL {
				grace = 50 * time.Millisecond
			}
			r := jobs.stopAt("up", Command{Shell: tt.script, Grace: grace})
			if string(r.Output) != tt.output || r.Signal != tt.signal || r.Outcome != router.Stopped || !errors.Is(r.Err, context.Canceled) {
				t.Errorf("got %v by signal %d with output %q, want signal %d and %q", r, r.Signal, r.Output, tt.signal, tt.output)
			}
			if r.Took > 10*time.Second {
				t.Errorf("took %v", r.Took)
			}
		})
	}
}

// Output is not waited for while a process has the pipe that is not a descendant.
func TestOutputHeldByAnother(t *testing.T) {
	jobs := newTestRunner(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		f, err := os.OpenFile("/proc/"+<-jobs.lines+"/fd/1", os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
		}
		late := time.AfterFunc(15*time.Second, func() { f.Close() })
		t.Cleanup(func() {
			late.Stop()
			f.Close()
		})
	}()
	r := jobs.runWith(ctx, Command{Shell: `echo $$; sleep 1000`})
	if r.Took > 10*time.Second || r.Outcome != router.Stopped {
		t.Errorf("got %v", r)
	}
}
