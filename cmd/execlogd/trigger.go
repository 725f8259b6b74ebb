package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/control"
)

const triggerUsage = `Usage: execlogd trigger [flags] route [path...]

Makes the running daemon run a route at once, whatever its patterns: for the paths, as if
they had changed, or for its root as a whole. It waits for the end of the run, and its
exit status is that of the command.
`

// trigger makes a running daemon run a route.
func trigger(ctx context.Context, args []string, stdout, _ io.Writer) error {
	var noWait bool
	var socket string
	flags := flag.NewFlagSet("execlogd trigger", flag.ContinueOnError)
	flags.BoolVar(&noWait, "n", false, "do not wait for the end of the run")
	flags.StringVar(&socket, "control", "", "the control `socket` of the daemon, where there are several")
	if err := config.ParseFlags(flags, triggerUsage, args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return config.Usagef("which route is to run? Name one, as in execlogd trigger build")
	}

	var paths []string
	for _, arg := range flags.Args()[1:] {
		path, err := filepath.Abs(arg)
		if err != nil {
			return err
		}
		paths = append(paths, path)
	}
	conn, err := control.Dial(socket)
	if err != nil {
		return err
	}
	return requestRun(ctx, conn, flags.Arg(0), paths, noWait)
}

// requestRun requests a run over a connection, which it closes.
func requestRun(ctx context.Context, conn net.Conn, route string, paths []string, noWait bool) error {
	defer conn.Close()
	query := url.Values{"route": {route}}
	if noWait {
		query.Set("nowait", "")
	}
	// A path may have any byte but NUL.
	body := strings.NewReader(strings.Join(paths, "\x00"))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://execlogd/trigger?"+query.Encode(), body)
	if err != nil {
		return err
	}
	res, err := control.Client(conn).Do(req)
	switch {
	case ctx.Err() != nil:
		return errors.New("not waited for any longer: the run goes on")
	case err != nil:
		return fmt.Errorf("control socket: the daemon has gone, or is of another version: %w", err)
	}
	defer res.Body.Close()

	var answer control.TriggerResult
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return fmt.Errorf("control socket: %s: the daemon is of another version: %w", res.Status, err)
	}
	if answer.Failure != "" {
		return failedTrigger{answer}
	}
	return nil
}

// A failedTrigger is a run that has failed, or that the daemon has refused.
type failedTrigger struct{ control.TriggerResult }

func (f failedTrigger) Error() string { return f.Failure }
