package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/execlog/execlogd/inotify"
	"go.uber.org/goleak"
)

// The tests run this program again: as supervisor processes, and as the daemons below.
func TestMain(m *testing.M) {
	Supervise()
	switch os.Getenv("JOB_TEST") {
	case "daemon":
		daemon()
	case "immune":
		immune()
	case "first", "terminal":
		run := map[string]func() error{"first": first, "terminal": onTerminal}[os.Getenv("JOB_TEST")]
		if err := run(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	default:
		os.Setenv("GORACE", "atexit_sleep_ms=0") // for supervisor processes
		goleak.VerifyTestMain(m)
	}
}

// daemon runs the script that it is given until it gets SIGTERM. Like
// execlogd it ignores SIGPIPE.
func daemon() {
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	r, err := New(Options{Output: func(l Line) { fmt.Println(l.Text) }})
	if err != nil {
		panic(err)
	}
	defer r.Close()
	j, err := r.Command(Command{Name: "test", Shell: os.Args[1], Dir: "/", Grace: 50 * time.Millisecond})
	if err != nil {
		panic(err)
	}
	if err := j.Run(ctx, nil); err != nil {
		fmt.Println(err)
	}
}

// immune is a program that a daemon without privilege cannot signal, because it runs
// as root. It ends when its input does.
func immune() {
	if err := syscall.Setuid(0); err != nil {
		panic(err)
	}
	fmt.Println("up")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// A testRunner is a Runner with the lines that its programs write.
type testRunner struct {
	*Runner
	t     testing.TB
	dir   string // an empty directory
	lines chan string
}

func newTestRunner(t testing.TB) *testRunner {
	t.Helper()
	return newTestRunnerWith(t, Options{})
}

func newTestRunnerWith(t testing.TB, opts Options) *testRunner {
	t.Helper()
	jobs := &testRunner{t: t, dir: t.TempDir(), lines: make(chan string, 10_000)}
	if opts.Output == nil {
		opts.Output = func(l Line) { jobs.lines <- l.Text }
	}
	r, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	jobs.Runner = r
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return jobs
}

// job returns a Job for a command, which must be valid.
func (jobs *testRunner) job(c Command) *Job {
	jobs.t.Helper()
	if c.Name == "" {
		c.Name = "test"
	}
	j, err := jobs.Command(c)
	if err != nil {
		jobs.t.Fatal(err)
	}
	return j
}

// run runs a command with events for paths and returns the run.
func (jobs *testRunner) run(c Command, paths ...string) Run {
	jobs.t.Helper()
	return jobs.runWith(jobs.t.Context(), c, paths...)
}

// runWith is run with a context. A run that hangs is stopped, so that it fails the test.
func (jobs *testRunner) runWith(ctx context.Context, c Command, paths ...string) Run {
	jobs.t.Helper()
	hangs := errors.New("it hangs")
	ctx, cancel := context.WithTimeoutCause(ctx, 20*time.Second, hangs)
	defer cancel()
	err := jobs.job(c).Run(ctx, jobs.events(paths...))
	r := jobs.lastRun()
	if errors.Is(r.Err, hangs) {
		jobs.t.Fatalf("it hangs: %v", r)
	}
	if e, ok := errors.AsType[*Error](err); err != nil && (!ok || e.Run.Err != r.Err) || (err == nil) != (r.Err == nil) {
		jobs.t.Errorf("error %v does not go with the run %v", err, r)
	}
	return r
}

// lastRun returns the last run that the log has.
func (jobs *testRunner) lastRun() Run {
	jobs.t.Helper()
	runs := jobs.Log().Recent(1, maxOutput)
	if len(runs) == 0 {
		jobs.t.Fatal("nothing has run")
	}
	return runs[0]
}

func (jobs *testRunner) events(paths ...string) []inotify.Event {
	batch := []inotify.Event{}
	for _, p := range paths {
		batch = append(batch, inotify.Event{Root: jobs.dir, Path: p, Mask: inotify.Modify})
	}
	if len(batch) == 0 {
		batch = append(batch, inotify.Event{Root: jobs.dir, Path: ".", Mask: inotify.Modify})
	}
	return batch
}

// expect waits for a line of output.
func (jobs *testRunner) expect(want string) {
	jobs.t.Helper()
	select {
	case got := <-jobs.lines:
		if got != want {
			jobs.t.Fatalf("a job said %q, want %q", got, want)
		}
	case <-time.After(20 * time.Second):
		jobs.t.Fatalf("no job says %q", want)
	}
}

// stopAt runs a command, and stops it when it writes a line.
func (jobs *testRunner) stopAt(line string, c Command) Run {
	jobs.t.Helper()
	ctx, cancel := context.WithCancelCause(jobs.t.Context())
	go func() {
		jobs.expect(line)
		cancel(errors.New("stopped when it was " + line))
	}()
	return jobs.runWith(ctx, c)
}

// A livenessPipe is a named pipe that is open for writing as long as one of the
// processes that a script has started is alive.
type livenessPipe struct {
	t    *testing.T
	path string
	fd   int
}

func newLivenessPipe(t *testing.T) *livenessPipe {
	t.Helper()
	path := filepath.Join(t.TempDir(), "liveness")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	return &livenessPipe{t, path, fd}
}

// script returns a script whose processes hold the pipe open.
func (w *livenessPipe) script(script string) string {
	return "exec 9>" + w.path + "; echo >&9; " + script
}

// expectNobody fails the test if a process holds the pipe when the time is over, or at
// once if the time is 0, or if none has ever held it.
func (w *livenessPipe) expectNobody(wait time.Duration) {
	w.t.Helper()
	said, buf := 0, make([]byte, 100)
	for end := time.Now().Add(wait); ; {
		n, err := syscall.Read(w.fd, buf)
		said += max(0, n)
		switch {
		case n > 0:
		case err == syscall.EAGAIN && time.Now().Before(end):
			time.Sleep(5 * time.Millisecond)
		case err != nil:
			w.t.Errorf("a process has survived: %v", err)
			return
		case said == 0:
			w.t.Error("nothing has run")
			return
		default:
			return
		}
	}
}

// startDaemon starts a daemon that runs a script. It returns when the script has
// written "up", with the rest of the output.
func startDaemon(t *testing.T, cmd *exec.Cmd) io.Reader {
	t.Helper()
	cmd.Env = append(os.Environ(), "JOB_TEST=daemon")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := sync.OnceFunc(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	t.Cleanup(end)
	buf := make([]byte, 100)
	n, err := out.Read(buf)
	if got := strings.TrimSpace(string(buf[:n])); got != "up" {
		t.Fatalf("the daemon's job said %q, %v", got, err)
	}
	return out
}
