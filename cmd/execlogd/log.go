package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/control"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

const logUsage = `Usage: execlogd log [flags]

Prints what the running daemon has run: when, on which files, for how long and
how it ended, with the output of what failed.
`

// showLog is the verb log: it prints what a running daemon has run.
func showLog(ctx context.Context, args []string, stdout, _ io.Writer) error {
	var follow, asJSON bool
	var path string
	flags := flag.NewFlagSet("execlogd log", flag.ContinueOnError)
	flags.BoolVar(&follow, "f", false, "go on, and print each run when it is over")
	flags.BoolVar(&asJSON, "json", false, "print a JSON object a line, with the output")
	flags.StringVar(&path, "control", "", "the control `socket` of the daemon; without it the only one is\nasked, or the one at work in the current directory")
	if err := config.ParseFlags(flags, logUsage, args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return config.Usagef("what is %q? execlogd log takes flags alone", flags.Arg(0))
	}

	target := "/log"
	if follow {
		target += "?follow"
	}
	res, err := control.Do(ctx, path, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()

	queue := logging.NewQueue(nil)
	defer queue.Close()
	out := queue.WaitingWriter(ctx, stdout)
	print := printRun(out, !logging.IsTerminal(stdout) || os.Getenv("NO_COLOR") != "")
	if asJSON {
		lines := json.NewEncoder(out)
		lines.SetEscapeHTML(false)
		print = func(r job.Run) error { return lines.Encode(r) }
	}
	return readLog(ctx, res.Body, print)
}

// readLog prints the runs that the daemon sends, until it has sent all, or ctx or the
// daemon ends.
func readLog(ctx context.Context, runs io.Reader, print func(job.Run) error) error {
	for lines := json.NewDecoder(runs); ; {
		var r job.Run
		err := lines.Decode(&r)
		if ctx.Err() != nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("control socket: %w", err)
		}
		if err := print(r); err != nil {
			if ctx.Err() != nil {
				return nil // we were stopped before anybody has read that
			}
			return err
		}
	}
}

// printRun returns a function that prints a run for people, as the daemon does on a
// terminal.
func printRun(stdout io.Writer, noColor bool) func(job.Run) error {
	console := logging.NewConsole(stdout, noColor)
	return func(r job.Run) error {
		line := logging.Line{
			Kind: logging.Succeeded, Time: r.Start.Local(), Route: r.Route, Message: r.State(), Took: r.Took,
			Paths: logging.PathsOf(r.Events), More: r.Batch - len(r.Events), Note: logging.LeftBehind(r),
		}

		switch r.Outcome {
		case router.Running:
			line.Kind = logging.Notice
		case router.Restarted, router.Stopped:
			line.Kind = logging.Ended
		case router.Failed:
			line.Kind = logging.Failed
			line.Err = &job.Error{Run: r}
			if r.Died() {
				line.Message = logging.Died
			}
		}
		return console.Write(line)
	}
}
