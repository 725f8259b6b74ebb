package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/internal/runnable"
	"github.com/execlog/execlogd/job"
)

const checkUsage = `Usage: execlogd check [flags]

Prints all mistakes in a configuration file, one on a line, and starts nothing. It takes
the flags of the daemon, and checks them as well. The exit status is 1 if there are any
mistakes. Otherwise, a line with note: names what may be wrong.
`

// check reports the mistakes of a configuration file, and of flags.
func check(_ context.Context, args []string, stdout, _ io.Writer) error {
	cfg, rest, err := config.Parse("execlogd check", checkUsage, args)
	wrong, ok := errors.AsType[config.Mistakes](err)
	switch {
	case err != nil && !ok:
		return err
	case len(rest) > 0:
		return config.Usagef("what is %q? execlogd check takes flags alone, and a file by -config", rest[0])
	}
	file := cmp.Or(cfg.File, "the command line")

	var runner *job.Runner
	if len(cfg.Routes) > 0 {
		if runner, err = job.New(job.Options{}); err != nil {
			return err
		}
		defer runner.Close()
	}
	// What could be read of a file with mistakes is looked at as well.
	_, missing := runnable.Resolve(&cfg, runner, nil, nil)
	wrong = append(wrong, missing...)
	if len(wrong) == 0 && cfg.Serve {
		if err := config.CheckDir("root", cfg.Root, "name another with -root"); err != nil {
			return err
		}
	}
	if len(wrong) == 0 {
		for _, note := range cfg.Notes() {
			note.Text = "note: " + note.Text
			fmt.Fprintln(stdout, note)
		}

		summary := logging.Count(len(cfg.Routes), "route", "routes")
		if cfg.Serve {
			summary += ", and a server for " + cfg.Root
		}
		_, err := fmt.Fprintf(stdout, "%s is right: %s\n", file, summary)
		return err
	}

	wrong.Sort()
	for _, m := range wrong {
		fmt.Fprintln(stdout, m)
	}
	if len(wrong) >= config.MaxMistakes {
		return fmt.Errorf("%s: at least %d mistakes", file, len(wrong))
	}
	return fmt.Errorf("%s: %s", file, logging.Count(len(wrong), "mistake", "mistakes"))
}
