package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/internal/runnable"
	"github.com/execlog/execlogd/job"
)

const checkUsage = `Usage: execlogd check -config file

Prints all mistakes in a configuration file, one on a line, and starts nothing. The exit
status is 1 if there are any. Otherwise, a line with note: names what may be wrong.
`

// check reports the mistakes of a configuration file.
func check(_ context.Context, args []string, stdout, _ io.Writer) error {
	flags := flag.NewFlagSet("execlogd check", flag.ContinueOnError)
	file := flags.String("config", "", "the `file` to check")
	if err := config.ParseFlags(flags, checkUsage, args); err != nil {
		return err
	}
	if *file == "" || flags.NArg() > 0 {
		return config.Usagef("execlogd check takes a file, and that by -config")
	}

	cfg, err := config.Read(*file)
	wrong, ok := errors.AsType[config.Mistakes](err)
	if err != nil && !ok {
		return err
	}

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
	if len(wrong) == 0 {
		for _, note := range cfg.Notes() {
			note.Text = "note: " + note.Text
			fmt.Fprintln(stdout, note)
		}

		summary := logging.Count(len(cfg.Routes), "route", "routes")
		if cfg.Serve {
			summary += ", and a server for " + cfg.Root
		}
		_, err := fmt.Fprintf(stdout, "%s is right: %s\n", *file, summary)
		return err
	}

	wrong.Sort()
	for _, m := range wrong {
		fmt.Fprintln(stdout, m)
	}
	if len(wrong) >= config.MaxMistakes {
		return fmt.Errorf("%s: at least %d mistakes", *file, len(wrong))
	}
	return fmt.Errorf("%s: %s", *file, logging.Count(len(wrong), "mistake", "mistakes"))
}
