package runnable

import (
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

// followupTimeout bounds what follows a run whose own time is up.
const followupTimeout = time.Minute

// followups are what comes after each run of a route: commands, and a notification of
// the desktop.
type followups struct {
	route                string
	onSuccess, onFailure *job.Job // nil for none
	notifies             bool
	cannotNotify         sync.Once   // reports why
	report               func(error) // is told what is wrong with a follow-up
}

func makeFollowups(c *config.Route, runner *job.Runner, report func(error)) (*followups, error) {
	f := &followups{route: c.Name, notifies: c.Notify, report: report}

	for _, one := range []struct {
		key string
		job.Command
		job **job.Job
	}{{"on_success", c.OnSuccess, &f.onSuccess}, {"on_failure_run", c.OnFailureRun, &f.onFailure}} {
		if one.Name == "" {
			continue // there is none
		}

		j, err := runner.Command(one.Command)
		if err != nil {
			return nil, newCommandError(fmt.Errorf("%s: %w", one.key, err), c.At(one.key), one.Command)
		}
		*one.job = j
	}
	return f, nil
}

// after returns a callback with its follow-ups. They are part of the run, so that they
// come before the next one, but how they end changes nothing.
func (f *followups) after(callback router.Callback) router.Callback {
	if f.onSuccess == nil && f.onFailure == nil && !f.notifies {
		return callback
	}
	return func(ctx context.Context, batch []inotify.Event) error {
		err := callback(ctx, batch)
		f.run(ctx, batch, err)
		return err
	}
}

// run runs what follows a run that has ended with an error, or nil. Nothing follows a
// run that was stopped or restarted.
func (f *followups) run(ctx context.Context, batch []inotify.Event, err error) {
	outcome := router.OutcomeOf(err)
	if outcome != router.Succeeded && outcome != router.Failed {
		return
	}
	if ctx.Err() != nil { // the time of the run was up
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), followupTimeout)
		defer cancel()
	}

	if f.notifies {
		if problem := notify(ctx, f.route, err); problem != nil {
			f.cannotNotify.Do(func() { f.report(fmt.Errorf("notify: %w", problem)) })
		}
	}

	next, key, status, exit := f.onSuccess, "on_success", "ok", 0
	if err != nil {
		next, key, status, exit = f.onFailure, "on_failure_run", "failed", ExitStatus(err)
	}
	if next == nil {
		return
	}
	problem := next.RunWith(ctx, batch, "EXECLOGD_STATUS="+status, "EXECLOGD_EXIT="+strconv.Itoa(exit))
	if problem != nil && !errors.Is(problem, context.Canceled) {
		f.report(fmt.Errorf("%s: %w", key, problem))
	}
}

// notifyTimeout is how long notify-send may take.
const notifyTimeout = 5 * time.Second

// notify shows on the desktop how a run ended, by notify-send(1). It returns why that
// cannot be done.
func notify(ctx context.Context, route string, result error) error {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	_, err := os.Stat(filepath.Join(dir, "bus"))
	if os.Getenv("DBUS_SESSION_BUS_ADDRESS") == "" && (dir == "" || err != nil) {
		return errors.New("there is no session bus, as on a desktop: DBUS_SESSION_BUS_ADDRESS names none")
	}
	program, err := exec.LookPath("notify-send")
	if err != nil {
		return errors.New("notify-send is in no directory of PATH: install it (libnotify-bin), or take notify out")
	}

	urgency, text := "normal", "ok"
	if result != nil {
		urgency, text = "critical", result.Error()
	}
	ctx, cancel := context.WithTimeout(ctx, notifyTimeout)
	defer cancel()

	// The text may have markup, and the name of a file is to be shown as it is.
	out, err := exec.CommandContext(ctx, program, "--app-name=execlogd", "--urgency="+urgency, "--", "execlogd: "+route, html.EscapeString(text)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("notify-send: %w %s", err, out)
	}
	return nil
}
