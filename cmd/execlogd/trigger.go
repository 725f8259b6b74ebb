package main

import (
	"context"
	"flag"
	"io"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/execlog/execlogd/internal/config"
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
	controlFlag(flags, &socket)
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
	query := url.Values{"route": {flags.Arg(0)}}
	if noWait {
		query.Set("nowait", "")
	}

	// A path may have any byte but NUL.
	body := strings.NewReader(strings.Join(paths, "\x00"))
	return post(ctx, socket, "/trigger?"+query.Encode(), body, "not waited for any longer: the run goes on")
}
