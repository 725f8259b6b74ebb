package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

// An afterwardsError is a command that cannot run after another.
type afterwardsError struct {
	error
	at config.Place
}

func (e afterwardsError) Unwrap() error { return e.error }

// followTime bounds what follows a run whose own time is up.
const followTime = time.Minute

// An ending is what follows the runs of a route.
type ending struct {
	route            string
	success, failure *job.Job // nil for none
	notifier         *notifier
	say              func(error)
}

// followingRuns makes what follows the runs of a route. Say is told what is wrong
// with it.
func followingRuns(c *config.Route, runner *job.Runner, say func(error)) (*ending, error) {
	e := &ending{route: c.Name, say: say}
	for _, f := range []struct {
		key string
		job.Command
		job **job.Job
	}{{"on_success", c.OnSuccess, &e.success}, {"on_failure_run", c.OnFailureRun, &e.failure}} {
		if f.Name == "" {
			continue
		}
		j, err := runner.Command(f.Command)
		if err != nil {
			at := c.At(f.key)
			if len(f.Argv) > 0 {
				at = at.Element(0)
			}
			return nil, afterwardsError{fmt.Errorf("%s: %w", f.key, err), at}
		}
		*f.job = j
	}
	if c.Notify {
		e.notifier = new(notifier)
	}
	return e, nil
}

// after is work with what follows it. That is part of the run, so that it comes
// before the next one; how it ends changes nothing.
func (e *ending) after(do router.Callback) router.Callback {
	if e.success == nil && e.failure == nil && e.notifier == nil {
		return do
	}
	return func(ctx context.Context, batch []inotify.Event) error {
		err := do(ctx, batch)
		e.follow(ctx, batch, err)
		return err
	}
}

// follow runs what follows a run that has ended with an error, or nil. A run that
// was stopped for another reason than its time is followed by nothing.
func (e *ending) follow(ctx context.Context, batch []inotify.Event, err error) {
	outcome := router.OutcomeOf(err)
	if outcome != router.Succeeded && outcome != router.Failed {
		return
	}
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), followTime)
		defer cancel()
	}
	next, key, status, exit := e.success, "on_success", "ok", 0
	if err != nil {
		next, key, status, exit = e.failure, "on_failure_run", "failed", statusOf(err)
	}
	if e.notifier != nil {
		if wrong := e.notifier.tell(ctx, e.route, err); wrong != nil {
			e.say(wrong)
		}
	}
	if next == nil {
		return
	}
	wrong := next.RunWith(ctx, batch, "EXECLOGD_STATUS="+status, "EXECLOGD_EXIT="+strconv.Itoa(exit))
	if wrong != nil && !errors.Is(wrong, context.Canceled) {
		e.say(fmt.Errorf("%s: %w", key, wrong))
	}
}

// A notifier tells the desktop of runs, by notify-send(1).
type notifier struct{ complained sync.Once }

// notifyTime is how long notify-send may take.
const notifyTime = 5 * time.Second

// tell shows how a run has ended. What is missing for that is an error once.
func (n *notifier) tell(ctx context.Context, route string, err error) (wrong error) {
	program, missing := exec.LookPath("notify-send")
	switch {
	case !hasSessionBus():
		missing = errors.New("there is no session bus, as on a desktop: DBUS_SESSION_BUS_ADDRESS names none")
	case missing != nil:
		missing = errors.New("notify-send is in no directory of PATH: install it (libnotify-bin), or take notify out")
	}
	if missing != nil {
		n.complained.Do(func() { wrong = fmt.Errorf("notify: %w", missing) })
		return wrong
	}
	urgency, text := "normal", "ok"
	if err != nil {
		urgency, text = "critical", err.Error()
	}
	ctx, cancel := context.WithTimeout(ctx, notifyTime)
	defer cancel()
	// The text may have markup, which names of files are not.
	out, failed := exec.CommandContext(ctx, program, "--app-name=execlogd", "--urgency="+urgency, "--", "execlogd: "+route, html.EscapeString(text)).CombinedOutput()
	if failed != nil {
		n.complained.Do(func() { wrong = fmt.Errorf("notify: notify-send: %w %s", failed, out) })
	}
	return wrong
}

// hasSessionBus reports whether there is a desktop's bus to talk to.
func hasSessionBus() bool {
	_, err := os.Stat(filepath.Join(cmp.Or(os.Getenv("XDG_RUNTIME_DIR"), "/nonexistent"), "bus"))
	return os.Getenv("DBUS_SESSION_BUS_ADDRESS") != "" || err == nil
}
