package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"

	"github.com/execlog/execlogd/job"
)

const checkUsage = `Usage: execlogd check -config file

Says everything that is wrong in a configuration file, a mistake a line, without
doing any of it. The exit status is 1 if there is any. What may be wrong in a file
that is right otherwise is a line with note: in it.
`

// check judges a configuration file.
func check(_ context.Context, args []string, stdout, _ io.Writer) error {
	flags := flag.NewFlagSet("execlogd check", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	file := flags.String("config", "", "the `file` to check")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		_, err := io.WriteString(stdout, help(flags, checkUsage))
		return err
	case err != nil:
		return usageError{error: err}
	case *file == "" || flags.NArg() > 0:
		return usagef("execlogd check takes a file, and that by -config")
	}
	cfg, err := readFile(*file)
	wrong, ok := errors.AsType[mistakes](err)
	if err != nil && !ok {
		return err
	}
	var runner *job.Runner
	if len(cfg.routes) > 0 {
		if runner, err = job.New(job.Options{}); err != nil {
			return err
		}
		defer runner.Close()
	}
	// What could be read of a wrong file is looked at as well.
	_, missing := cfg.look(runner, nil, nil)
	wrong = append(wrong, missing...)
	if len(wrong) == 0 {
		for _, note := range cfg.notes() {
			note.text = "note: " + note.text
			fmt.Fprintln(stdout, note)
		}
		_, err := fmt.Fprintf(stdout, "%s is right: %s\n", *file, cfg.summary())
		return err
	}
	slices.SortStableFunc(wrong, mistake.compare)
	for _, m := range wrong {
		fmt.Fprintln(stdout, m)
	}
	if len(wrong) >= maxMistakes {
		return fmt.Errorf("%s: at least %d mistakes", *file, len(wrong))
	}
	return fmt.Errorf("%s: %s", *file, count(len(wrong), "mistake", "mistakes"))
}

// summary is what a configuration asks for, in one line.
func (cfg *config) summary() string {
	s := count(len(cfg.routes), "route", "routes")
	if cfg.serve {
		s += ", and a server for " + cfg.root
	}
	return s
}

// A finding is what was made of a route of the file.
type finding struct {
	*routeConfig
	work *work
	kept bool // from an earlier configuration
}

// look says what a file names that is not there, and returns what the routes
// do. Died is told of the end of a service, and say what is wrong with what follows a
// run, by the name of the route. There must
// be a runner if there are routes.
func (cfg *config) look(runner *job.Runner, died, say func(route string, err error)) ([]finding, mistakes) {
	r := &reader{file: cfg.file}
	if cfg.serve {
		r.lookDir("root", placed{cfg.root, cfg.rootAt})
		r.wrongPatterns(listed("ignore", cfg.ignore), cfg.root)
	}
	if cfg.controlAt != (place{}) {
		if err := checkControl(cfg.control); err != nil {
			r.wrong(cfg.controlAt, "control: %v", err)
		}
	}
	var found []finding
	for i := range cfg.routes {
		c := &cfg.routes[i]
		if c.reload && !cfg.reloads() {
			r.wrong(c.at, "route %q has reload = true, and no pages are served: add a [server] table, or take it out", c.name.is)
		}
		r.wrongPatterns(c.listed(), c.root.is)
		dirs := r.lookListen(c) && r.lookDir("dir", c.dir)
		if !dirs || c.name.is == "" || len(c.run) > 0 && c.shell.is != "" {
			continue // that is a mistake of the file already
		}
		work, err := c.make(runner, func(err error) { died(c.name.is, err) }, func(err error) { say(c.name.is, err) })
		if err != nil {
			r.wrong(c.commandAt(err), "%v", err)
		}
		found = append(found, finding{routeConfig: c, work: work})
	}
	return found, r.mistakes
}

// lookDir looks for a directory that is not just that of the file.
func (r *reader) lookDir(what string, dir placed) bool {
	if dir.at == (place{}) {
		return true
	}
	err := checkDir(what, dir.is, "name another")
	if err != nil {
		r.wrong(dir.at, "%v", err)
	}
	return err == nil
}

// lookListen looks for the root of a route.
func (r *reader) lookListen(c *routeConfig) bool {
	if c.root.at == (place{}) {
		return true
	}
	err := checkListen("root", c.root.is, "name another, or add wait = true", c.wait)
	if err != nil {
		r.wrong(c.root.at, "%v", err)
	}
	return err == nil
}

// commandAt is where a route says what to run, or the argument that is wrong.
func (c *routeConfig) commandAt(err error) place {
	if wrong, ok := errors.AsType[afterwardsError](err); ok {
		return wrong.at
	}
	if len(c.run) == 0 {
		return c.shell.at
	}
	if wrong, ok := errors.AsType[*job.ArgumentError](err); ok {
		return c.run[wrong.Index].at
	}
	return c.run[0].at
}
