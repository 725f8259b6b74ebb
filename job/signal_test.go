package job

import (
	"context"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/execlog/execlogd/router"
)

// A command may have a stop signal. What the program leaves behind gets SIGTERM.
func TestStopSignal(t *testing.T) {
	jobs := newTestRunner(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan Run, 1)
	script := `exec 2>/dev/null # where shells say how a sleep ended
sh -c 'trap "echo left; exit" TERM; trap "" INT; echo below; while :; do sleep 0.01; done' &
trap 'echo int; exit' INT; trap 'echo term; exit' TERM; sleep 0.01; while :; do sleep 0.01; done`
	go func() {
		done <- jobs.runWith(ctx, Command{Shell: script, StopSignal: syscall.SIGINT, Grace: 20 * time.Second})
	}()
	jobs.expect("below")
	cancel()
	jobs.expect("int")
	jobs.expect("left")
	if r := <-done; r.Outcome != router.Stopped {
		t.Error(r)
	}
}

// Kill does not wait for a grace.
func TestKill(t *testing.T) {
	jobs := newTestRunner(t)
	done := make(chan Run, 1)
	go func() {
		done <- jobs.run(Command{Shell: `trap '' TERM; echo up; sleep 1000`, Grace: 20 * time.Second})
	}()
	jobs.expect("up")
	jobs.Kill()
	if r := <-done; r.Signal != syscall.SIGKILL || r.Took >= 20*time.Second {
		t.Error(r)
	}
	if r := jobs.run(Command{Shell: "exit 3"}); r.Exit != 3 {
		t.Errorf("the next run: %v", r)
	}
}

// A run sends a service its reload signal, if the service is running.
func TestServiceReloads(t *testing.T) {
	if signal.Ignored(syscall.SIGHUP) {
		t.Skip("SIGHUP is ignored, as under nohup, and programs cannot undo that")
	}
	jobs := newTestRunner(t)
	died := make(chan error, 1)
	s := jobs.server(Service{
		Command:      Command{Name: "test", Shell: `trap 'echo again' HUP; trap 'echo dies; exit 3' USR1; echo up; while :; do sleep 0.01; done`},
		ReloadSignal: syscall.SIGHUP,
		Died:         func(err error) { died <- err },
	})
	again := func(want string) {
		t.Helper()
		if err := s.Run(t.Context(), jobs.events()); err != nil {
			t.Error(err)
		}
		jobs.expect(want)
	}
	again("up")
	again("again")
	again("again")
	runs := jobs.Log().Runs()
	if len(runs) != 1 {
		t.Errorf("%d runs are in the log, want one", len(runs))
	}
	_ = syscall.Kill(runs[0].PID, syscall.SIGUSR1)
	jobs.expect("dies")
	<-died
	again("up")
	s.Stop()
}
