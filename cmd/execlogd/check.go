package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const checkUsage = `Usage: execlogd check -config file

Says everything that is wrong in a configuration file, a mistake a line, without
doing any of it. The exit status is 1 if there is any.
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
	// What could be read of a wrong file is looked at as well.
	wrong = append(wrong, cfg.look()...)
	if len(wrong) == 0 {
		_, err := fmt.Fprintf(stdout, "%s is right: %s\n", *file, cfg.summary())
		return err
	}
	slices.SortStableFunc(wrong, mistake.compare)
	for _, m := range wrong {
		fmt.Fprintln(stdout, m)
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

// look says what a file names that is not there.
func (cfg *config) look() mistakes {
	r := &reader{file: cfg.file}
	if cfg.serve {
		r.lookDir("root", placed{cfg.root, cfg.rootAt})
	}
	for _, c := range cfg.routes {
		r.lookDir("root", c.root)
		r.lookDir("dir", c.dir)
		if len(c.run) > 0 {
			r.lookProgram(c.run[0], c.dir.is, c.env)
		}
	}
	return r.mistakes
}

// lookDir looks for a directory that is not just that of the file.
func (r *reader) lookDir(what string, dir placed) {
	if dir.at == (place{}) {
		return
	}
	if err := checkDir(what, dir.is, "name another"); err != nil {
		r.wrong(dir.at, "%v", err)
	}
}

// lookProgram looks for a program as the job will: by its path, from dir, or
// in PATH. One whose name is filled in cannot be looked for.
func (r *reader) lookProgram(program placed, dir string, env []string) {
	name := program.is
	switch {
	case strings.Contains(name, "{"):
		return
	case !strings.Contains(name, "/"):
		r.lookInPath(program, dir, pathOf(env))
		return
	case !filepath.IsAbs(name):
		name = filepath.Join(dir, name)
	}
	if _, err := exec.LookPath(name); err == nil {
		return
	} else if errors.Is(err, fs.ErrPermission) {
		r.wrong(program.at, "%q cannot be run: make it executable, as with chmod +x", name)
	} else {
		r.wrong(program.at, "there is no program %q: name one that there is, from %s or with its whole path", name, dir)
	}
}

func (r *reader) lookInPath(program placed, dir, path string) {
	for _, in := range filepath.SplitList(path) {
		if _, err := exec.LookPath(filepath.Join(in, program.is)); err == nil {
			return
		}
	}
	if _, err := exec.LookPath(filepath.Join(dir, program.is)); err == nil {
		r.wrong(program.at, `there is no program %q in PATH (%s): write "./%[1]s" for the one in %s`, program.is, path, dir)
		return
	}
	r.wrong(program.at, "there is no program %q in PATH (%s): install it, or write its whole path", program.is, path)
}

// pathOf is PATH as a job with env has it.
func pathOf(env []string) string {
	for _, e := range env {
		if path, ok := strings.CutPrefix(e, "PATH="); ok {
			return path
		}
	}
	return os.Getenv("PATH")
}
