package runnable

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

// SlowStop is how long a command may take to end before we say that we wait for it.
const SlowStop = time.Second

// A StopGuard says what is waited for when a stop takes longer than SlowStop, and
// kills the commands at a second signal.
type StopGuard struct {
	Runner *job.Runner
	Say    func(text string)
	Again  string // how to stop it again, for people

	// AtOnce has the second signal end the process too, which then does not wait
	// for the commands that it has killed.
	AtOnce bool
}

// Start starts to wait for the end of ctx. The function that it returns must be called
// when everything has stopped.
func (g StopGuard) Start(ctx context.Context) (end func()) {
	signals, release := make(chan os.Signal, 8), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	var waiting sync.WaitGroup
	waiting.Go(func() { g.wait(ctx, signals, release) })

	return func() {
		signal.Stop(signals)
		close(release)
		waiting.Wait()
	}
}

// wait returns when release is closed.
func (g StopGuard) wait(ctx context.Context, signals <-chan os.Signal, release <-chan struct{}) {
	stopping := ctx.Done()
	var slow <-chan time.Time
	taken := 0

	for {
		select {
		case <-release:
			return
		case <-stopping:
			stopping, slow = nil, time.After(SlowStop)
		case <-slow:
			if names := Running(g.Runner); names != "" {
				g.Say(WaitingFor(names, g.Again))
			}
		case s := <-signals:
			if taken++; taken < 2 {
				continue // it ends ctx
			}

			g.Runner.Kill()
			if g.AtOnce || taken > 2 {
				signal.Reset(s)
				_ = syscall.Kill(os.Getpid(), s.(syscall.Signal))
			}
		}
	}
}

// WaitingFor says that programs, as Running names them, are waited for, and how to kill
// them.
func WaitingFor(names, again string) string {
	return "waiting for " + names + " to end; " + again + " to kill it"
}

// CtrlCAgain says how to stop a program again that was started on a terminal.
const CtrlCAgain = "press Ctrl-C again"

// StopAgain says how to stop a program again whose messages go to stderr.
func StopAgain(stderr io.Writer) string {
	if logging.IsTerminal(stderr) {
		return CtrlCAgain
	}
	return "send SIGTERM again"
}

// Running names the programs that run, as in "sleep (pid 123)"; empty if there are
// none.
func Running(runner *job.Runner) string {
	var names []string
	for _, r := range runner.Log().Runs() {
		if r.Outcome == router.Running && r.PID != 0 {
			names = append(names, fmt.Sprintf("%s (pid %d)", filepath.Base(r.Argv[0]), r.PID))
		}
	}
	return strings.Join(names, ", ")
}
