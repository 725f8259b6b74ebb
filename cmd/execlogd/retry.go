package main

import (
	"context"
	"flag"
	"io"
	"net/url"
	"strconv"

	"github.com/execlog/execlogd/internal/config"
)

const retryUsage = `Usage: execlogd retry [flags] id

Puts a job that has failed as often as it may into its queue again. execlogd log -dead prints
such jobs. It waits until the job was done, on whichever machine, and its exit status is
that of the command.
`

// retry has a running daemon put a job into its queue again.
func retry(ctx context.Context, args []string, _, _ io.Writer) error {
	var noWait bool
	var socket string
	flags := flag.NewFlagSet("execlogd retry", flag.ContinueOnError)
	flags.BoolVar(&noWait, "n", false, "do not wait until the job was done")
	controlFlag(flags, &socket)
	if err := config.ParseFlags(flags, retryUsage, args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return config.Usagef("which job is it? Name its ID, as execlogd log -dead prints it")
	}
	id, err := strconv.ParseUint(flags.Arg(0), 10, 64)
	if err != nil {
		return config.Usagef("%q is no ID of a job: name one that execlogd log -dead prints", flags.Arg(0))
	}
	query := url.Values{"id": {strconv.FormatUint(id, 10)}}
	if noWait {
		query.Set("nowait", "")
	}
	return post(ctx, socket, "/retry?"+query.Encode(), nil, "not waited for any longer: the job stays in its queue")
}
