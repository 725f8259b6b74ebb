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

// aMoment is how long the end of a command is waited for before that is said.
const aMoment = time.Second

// A stopGuard says what is waited for when a stop takes longer than a moment, and
// kills the commands at a second signal.
type stopGuard struct {
	runner *job.Runner
	say    func(text string)
	again  string // how people stop it again

	// atOnce says that the process ends with the second signal as well, and does
	// not wait for the commands that it has killed.
	atOnce bool

	signals chan os.Signal
	release chan struct{}
	over    chan struct{}
}

// guard begins to watch for the end of ctx. end must be called.
func (g *stopGuard) guard(ctx context.Context) {
	g.signals, g.release, g.over = make(chan os.Signal, 8), make(chan struct{}), make(chan struct{})
	signal.Notify(g.signals, os.Interrupt, syscall.SIGTERM)
	go g.run(ctx)
}

// end is called when all is stopped.
func (g *stopGuard) end() {
	close(g.release)
	<-g.over
}

func (g *stopGuard) run(ctx context.Context) {
	defer close(g.over)
	defer signal.Stop(g.signals)
	stopping := ctx.Done()
	var late <-chan time.Time
	seen := 0
	for {
		select {
		case <-g.release:
			return
		case <-stopping:
			stopping, late = nil, time.After(aMoment)
		case <-late:
			if names := running(g.runner); names != "" {
				g.say(waitingFor(names, g.again))
			}
		case s := <-g.signals:
			seen++
			if seen < 2 {
				continue // ctx ends by it
			}
			g.runner.Kill()
			if g.atOnce || seen > 2 {
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

// stopAgain is how those stop a program again who see what it writes.
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
