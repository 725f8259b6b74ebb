package runnable

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
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

	signals chan os.Signal
	release chan struct{} // closed by End
	done    chan struct{} // closed when run has returned
}

// Start starts to wait for the end of ctx. end must be called.
func (g *StopGuard) Start(ctx context.Context) {
	g.signals, g.release, g.done = make(chan os.Signal, 8), make(chan struct{}), make(chan struct{})
	signal.Notify(g.signals, os.Interrupt, syscall.SIGTERM)
	go g.run(ctx)
}

// End is called when everything has stopped.
func (g *StopGuard) End() {
	close(g.release)
	<-g.done
}

func (g *StopGuard) run(ctx context.Context) {
	defer close(g.done)
	defer signal.Stop(g.signals)

	stopping := ctx.Done()
	var slow <-chan time.Time
	signals := 0

	for {
		select {
		case <-g.release:
			return
		case <-stopping:
			stopping, slow = nil, time.After(SlowStop)
		case <-slow:
			if names := Running(g.Runner); names != "" {
				g.Say(WaitingFor(names, g.Again))
			}
		case s := <-g.signals:
			signals++
			if signals < 2 {
				continue // it ends ctx
			}

			g.Runner.Kill()
			if g.AtOnce || signals > 2 {
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
