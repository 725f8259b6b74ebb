package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"

	"github.com/execlog/execlogd/internal/control"
)

// controlFlag defines the flag that says which running daemon a verb is for.
func controlFlag(flags *flag.FlagSet, socket *string) {
	flags.StringVar(socket, "control", "", "the control `socket` of the daemon; without it the only one is\nasked, or the one at work in the current directory")
}

// post asks a running daemon to do something, and waits until it is done. The error is the
// failure that the daemon answers, or what the user is told if ctx ends before that.
func post(ctx context.Context, socket, target string, body io.Reader, interrupted string) error {
	res, err := control.Do(ctx, socket, http.MethodPost, target, body)
	switch {
	case ctx.Err() != nil:
		return errors.New(interrupted)
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
