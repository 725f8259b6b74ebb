package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

const logUsage = `Usage: execlogd log [flags]

Prints what the running daemon has run: when, on which files, for how long and
how it ended, with the output of what failed.
`

// showLog prints the exec log of a running daemon.
func showLog(ctx context.Context, args []string, stdout, _ io.Writer) error {
	var follow, asJSON bool
	var control string
	flags := flag.NewFlagSet("execlogd log", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&follow, "f", false, "go on, and print each run when it is over")
	flags.BoolVar(&asJSON, "json", false, "print a JSON object a line, with the output")
	flags.StringVar(&control, "control", "", "the control `socket` of the daemon, where there are several")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		_, err := io.WriteString(stdout, config.Help(flags, logUsage))
		return err
	case err != nil:
		return config.UsageError{Err: err}
	case flags.NArg() > 0:
		return config.Usagef("what is %q? execlogd log takes flags alone", flags.Arg(0))
	}
	conn, err := dialControl(control)
	if err != nil {
		return err
	}
	queue := logging.NewQueue(nil)
	defer queue.Close()
	out := queue.WaitingWriter(ctx, stdout)
	print := printRun(out, !logging.IsTerminal(stdout) || os.Getenv("NO_COLOR") != "")
	if asJSON {
		lines := json.NewEncoder(out)
		lines.SetEscapeHTML(false)
		print = func(r job.Run) error { return lines.Encode(r) }
	}
	return readLog(ctx, conn, follow, print)
}

// dialControl connects to the daemon at a control socket, or to the only one
// that there is.
func dialControl(path string) (net.Conn, error) {
	if path != "" {
		at, err := filepath.Abs(path) // as the daemon has it
		if err != nil {
			return nil, err
		}
		conn, err := net.Dial("unix", at)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			err = fmt.Errorf("no daemon listens on %s: start one with -control %[1]s, or name another", path)
		}
		return conn, err
	}
	paths, forbidden := usualControls()
	var conns []net.Conn
	var live []string
	for _, path := range paths {
		conn, err := net.Dial("unix", path)
		switch {
		case err == nil:
			conns, live = append(conns, conn), append(live, path)
		case errors.Is(err, fs.ErrPermission):
			forbidden = fmt.Errorf("%s belongs to the service: be its user, or root", path)
		}
	}
	if len(conns) == 1 {
		return conns[0], nil
	}
	for _, conn := range conns {
		conn.Close()
	}
	switch {
	case len(live) > 1:
		return nil, fmt.Errorf("there are several daemons: choose one with -control %s", strings.Join(live, " or "))
	case forbidden != nil:
		return nil, forbidden
	}
	return nil, errors.New("no daemon with a configuration file runs here: start one, or name its socket with -control")
}

// usualControls are the sockets where daemons usually have theirs. The error is of
// a directory in which there may be more.
func usualControls() (paths []string, err error) {
	paths = []string{serviceControl}
	for _, own := range ownControls() {
		if wrong := checkOwn(own); wrong != nil {
			if !errors.Is(wrong, fs.ErrNotExist) {
				err = wrong
			}
			continue
		}
		names, _ := fs.Glob(os.DirFS(own), "*.sock") // the pattern is right
		for _, name := range names {
			paths = append(paths, filepath.Join(own, name))
		}
	}
	return paths, err
}

// readLog prints what comes over a connection, which it closes.
func readLog(ctx context.Context, conn net.Conn, follow bool, print func(job.Run) error) error {
	client := &http.Client{Transport: &http.Transport{
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		DisableKeepAlives: true,
	}}
	defer conn.Close()
	url := "http://execlogd/log"
	if follow {
		url += "?follow"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	defer res.Body.Close()
	for lines := json.NewDecoder(res.Body); ; {
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
				return nil // it has ended before somebody has read that
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
			Paths: pathsOf(r.Events), More: r.Batch - len(r.Events), Note: describeLeftBehind(r),
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
