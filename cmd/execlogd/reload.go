package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/control"
)

const reloadUsage = `Usage: execlogd reload [flags]

Makes the running daemon load its configuration again, as SIGHUP does, and waits for that.
If the daemon refuses the file, it goes on as before; this says why, and the exit status
is 1.
`

// reload makes a running daemon load its configuration.
func reload(ctx context.Context, args []string, _, _ io.Writer) error {
	var socket string
	flags := flag.NewFlagSet("execlogd reload", flag.ContinueOnError)
	flags.StringVar(&socket, "control", "", "the control `socket` of the daemon; without it the only one is\nasked, or the one at work in the current directory")
	if err := config.ParseFlags(flags, reloadUsage, args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return config.Usagef("what is %q? execlogd reload takes flags alone", flags.Arg(0))
	}

	res, err := control.Do(ctx, socket, http.MethodPost, "/reload", nil)
	switch {
	case ctx.Err() != nil:
		return errors.New("not waited for any longer: the daemon goes on with it")
	case err != nil:
		return err
	}
	return readResult(res)
}

// readResult returns the failure that the daemon answers, or nil.
func readResult(res *http.Response) error {
	defer res.Body.Close()
	var answer control.Result
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return fmt.Errorf("control socket: %s: the daemon is of another version: %w", res.Status, err)
	}
	if answer.Failure != "" {
		return statusError{errors.New(answer.Failure), answer.Status}
	}
	return nil
}
