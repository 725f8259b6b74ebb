package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/control"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

const logUsage = `Usage: execlogd log [flags]

Prints what the running daemon has run: when, on which files, for how long and
how it ended, with the output of what failed. With -cluster it prints what other machines on
the bus have run as well, and with -dead the jobs of their queues that have failed as often as
they may, with the IDs for execlogd retry.
`

// showLog is the verb log: it prints what a running daemon has run.
func showLog(ctx context.Context, args []string, stdout, _ io.Writer) error {
	var follow, asJSON, cluster, dead bool
	var path string
	flags := flag.NewFlagSet("execlogd log", flag.ContinueOnError)
	flags.BoolVar(&follow, "f", false, "go on, and print each run when it is over")
	flags.BoolVar(&asJSON, "json", false, "print a JSON object a line, with the output")
	flags.BoolVar(&cluster, "cluster", false, "print the runs of other machines on the bus as well")
	flags.BoolVar(&dead, "dead", false, "print the jobs of queues that have failed, in place of runs")
	controlFlag(flags, &path)
	if err := config.ParseFlags(flags, logUsage, args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return config.Usagef("what is %q? execlogd log takes flags alone", flags.Arg(0))
	}

	if dead && (follow || cluster) {
		return config.Usagef("-dead prints what there is of all machines: drop -f and -cluster")
	}

	target, query := "/log", url.Values{}
	if dead {
		target = "/dead"
	}
	for name, is := range map[string]bool{"follow": follow, "cluster": cluster} {
		if is {
			query.Set(name, "")
		}
	}
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	res, err := control.Do(ctx, path, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return readResult(res)
	}

	queue := logging.NewQueue(nil)
	defer queue.Close()
	out := queue.WaitingWriter(ctx, stdout)
	console := logging.NewConsole(out, !logging.IsTerminal(stdout) || os.Getenv("NO_COLOR") != "")
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	switch {
	case dead && asJSON:
		return readLog(ctx, res.Body, func(j control.DeadJob) error { return lines.Encode(j) })
	case dead:
		return readLog(ctx, res.Body, func(j control.DeadJob) error { return console.Write(deadLine(j)) })
	case asJSON:
		return readLog(ctx, res.Body, func(r job.Run) error { return lines.Encode(r) })
	}
	return readLog(ctx, res.Body, func(r job.Run) error { return console.Write(runLine(r)) })
}

// readLog prints what the daemon sends, until it has sent all, or ctx or the daemon ends.
func readLog[T any](ctx context.Context, from io.Reader, print func(T) error) error {
	for lines := json.NewDecoder(from); ; {
		var r T
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

// runLine is a run for people, as the daemon shows it on a terminal.
func runLine(r job.Run) logging.Line {
	line := logging.Line{
		Kind: logging.Succeeded, Time: r.Start.Local(), Route: r.Route, Message: r.State(), Took: r.Took,
		Paths: logging.PathsOf(r.Events), More: r.Batch - len(r.Events), Note: logging.LeftBehind(r),
	}
	if r.Machine != "" {
		line.Route = r.Machine + ":" + r.Route
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
	return line
}

// deadLine is a job that has failed, for people. The message is the ID.
func deadLine(j control.DeadJob) logging.Line {
	line := logging.Line{
		Kind: logging.Notice, Time: j.Time.Local(), Route: j.Queue, Message: fmt.Sprintf("%d: failed %d times, last on %s: %s", j.ID, j.Failed, j.Machine, j.Failure),
	}
	for _, path := range j.Paths {
		line.Paths = append(line.Paths, path)
	}
	return line
}
