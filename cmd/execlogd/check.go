package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/internal/runnable"
	"github.com/execlog/execlogd/job"
)

const checkUsage = `Usage: execlogd check [flags] [directory | file.toml]

Prints all mistakes in a configuration file, one on a line, and starts nothing. The file
is the one that is named, or execlogd.toml in the directory. It takes the flags of the
daemon, and checks them as well. The exit status is 1 if there are any
mistakes. Otherwise, a line with note: names what may be wrong.
`

// check reports the mistakes of a configuration file, and of flags.
func check(_ context.Context, args []string, stdout, _ io.Writer) error {
	flags, err := daemonFlags("execlogd check", checkUsage, args)
	if err != nil {
		return err
	}
	cfg, _, err := config.Parse("execlogd check", checkUsage, flags)
	wrong, ok := errors.AsType[config.Mistakes](err)
	if err != nil && !ok {
		return err
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
	_, missing := runnable.Resolve(&cfg, runner, runnable.Notices{})
	wrong = append(wrong, missing...)
	if len(wrong) == 0 && cfg.Serve {
		if err := cfg.CheckRoot("name another with -root"); err != nil {
			return err
		}
	}
	if len(wrong) == 0 {
		for _, note := range append(cfg.Notes(), cfg.RuleMistakes()...) {
			note.Text = "note: " + note.Text
			fmt.Fprintln(stdout, note)
		}

		var summary strings.Builder
		summary.WriteString(logging.Count(len(cfg.Routes), "route", "routes"))
		if cfg.Serve {
			summary.WriteString(", and a server for " + inotify.Quote(cfg.Root))
			for _, site := range cfg.Sites {
				summary.WriteString(", and for " + inotify.Quote(site.Root) + " as " + strings.Join(site.Hosts, ", "))
			}
		}
		_, err := fmt.Fprintf(stdout, "%s is right: %s\n", file, summary.String())
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
