package main

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

// slowStop is how long a command may take to end before we say that we wait for it.
const slowStop = time.Second

// A stopGuard says what is waited for when a stop takes longer than slowStop, and
// kills the commands at a second signal.
type stopGuard struct {
	runner *job.Runner
	say    func(text string)
	again  string // how to stop it again, for people

	// atOnce has the second signal end the process too, which then does not wait
	// for the commands that it has killed.
	atOnce bool

	signals chan os.Signal
	release chan struct{} // closed by end
	done    chan struct{} // closed when run has returned
}

// guard starts to wait for the end of ctx. end must be called.
func (g *stopGuard) guard(ctx context.Context) {
	g.signals, g.release, g.done = make(chan os.Signal, 8), make(chan struct{}), make(chan struct{})
	signal.Notify(g.signals, os.Interrupt, syscall.SIGTERM)
	go g.run(ctx)
}

// end is called when everything has stopped.
func (g *stopGuard) end() {
	close(g.release)
	<-g.done
}

func (g *stopGuard) run(ctx context.Context) {
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
			stopping, slow = nil, time.After(slowStop)
		case <-slow:
			if names := running(g.runner); names != "" {
				g.say(waitingFor(names, g.again))
			}
		case s := <-g.signals:
			signals++
			if signals < 2 {
				continue // it ends ctx
			}
			g.runner.Kill()
			if g.atOnce || signals > 2 {
				signal.Reset(s)
				_ = syscall.Kill(os.Getpid(), s.(syscall.Signal))
			}
		}
	}
}

func waitingFor(names, again string) string {
	return "waiting for " + names + " to end; " + again + " to kill it"
}

const ctrlCAgain = "press Ctrl-C again"

// stopAgain says how to stop a program again whose messages go to stderr.
func stopAgain(stderr io.Writer) string {
	if logging.IsTerminal(stderr) {
		return ctrlCAgain
	}
	return "send SIGTERM again"
}

// running names the programs that run, as in "sleep (pid 123)"; empty if there are
// none.
func running(runner *job.Runner) string {
	var names []string
	for _, r := range runner.Log().Runs() {
		if r.Outcome == router.Running && r.PID != 0 {
			names = append(names, fmt.Sprintf("%s (pid %d)", filepath.Base(r.Argv[0]), r.PID))
		}
	}
	return strings.Join(names, ", ")
}
