package main

import (
	"context"
	"flag"
	"io"

	"github.com/execlog/execlogd/internal/config"
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
	controlFlag(flags, &socket)
	if err := config.ParseFlags(flags, reloadUsage, args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return config.Usagef("what is %q? execlogd reload takes flags alone", flags.Arg(0))
	}

	return post(ctx, socket, "/reload", nil, "not waited for any longer: the daemon goes on with it")
}
