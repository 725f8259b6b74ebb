package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/project"
)

const initUsage = `Usage: execlogd init [flags] [directory]

Looks at a directory, the current one by default, says with what its site or program is
built, and writes an execlogd.toml for that: execlogd, without flags, then builds it, serves
it and refreshes its pages. It replaces no file.
`

// initialize is the verb init: it writes a configuration for what is in a directory.
func initialize(_ context.Context, args []string, stdout, stderr io.Writer) error {
	var dryRun bool
	flags := flag.NewFlagSet("execlogd init", flag.ContinueOnError)
	flags.BoolVar(&dryRun, "dry-run", false, "print the configuration, and write nothing")
	if err := config.ParseFlags(flags, initUsage, args); err != nil {
		return err
	}
	if flags.NArg() > 1 {
		return config.Usagef("execlogd init takes one directory, not %d", flags.NArg())
	}
	dir := "."
	if flags.NArg() == 1 {
		dir = flags.Arg(0)
	}
	if err := config.CheckDir("directory", dir, "name another"); err != nil {
		return err
	}

	found := project.Look(dir)
	if found.Instead != "" {
		return fmt.Errorf("%s, so this is %s: %s", foundIn(found), found.What, found.Instead)
	}
	if dir = filepath.Join(dir, found.Dir); dir[0] == '-' {
		dir = "./" + dir // which is no flag
	}
	file := filepath.Join(dir, config.DefaultFile)
	if dryRun {
		if found.Dir != "" {
			_, _ = fmt.Fprintf(stderr, "%s, so this is for %s\n", foundIn(found), inotify.Quote(file))
		}
		_, err := io.WriteString(stdout, found.Config)
		return errors.Join(err, sayFirst(stderr, found))
	}
	if err := writeNew(file, found.Config); err != nil {
		return err
	}
	start := "execlogd"
	if dir != "." {
		start += " " + config.ShellWord(dir)
	}
	_, err := fmt.Fprintf(stdout, "%s, so this is %s\nwritten: %s\nstart it with: %s\n", foundIn(found), found.What, inotify.Quote(file), start)
	return errors.Join(err, sayFirst(stdout, found))
}

// foundIn says what was found, and where if that is below the directory.
func foundIn(found project.Project) string {
	if found.Dir == "" {
		return found.Found
	}
	return "in " + inotify.Quote(found.Dir) + " " + found.Found
}

// writeNew writes a file that must not exist.
func writeNew(path, text string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists, and stays as it is: -dry-run prints what would be written", path)
	}
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	if err = errors.Join(err, file.Close()); err != nil {
		_ = os.Remove(path) // a part of it would be in the way of the next try
	}
	return err
}

// sayFirst says what is to be done before the first start.
func sayFirst(w io.Writer, found project.Project) error {
	if found.First == "" {
		return nil
	}
	_, err := fmt.Fprintf(w, "before that, %s\n", found.First)
	return err
}

// adviceOnInit is what to say when the files of a directory are served although it has
// more; empty for nothing.
func adviceOnInit(dir string) string {
	found := project.Look(dir)
	if !found.Builds {
		return ""
	}
	advice := found.Instead
	if below := filepath.Join(found.Dir, config.DefaultFile); found.Dir != "" && config.IsFile(filepath.Join(dir, below)) {
		advice = "execlogd " + config.ShellWord(found.Dir) + " uses " + inotify.Quote(below)
	}
	if advice == "" {
		advice = "execlogd init writes a configuration that builds it as well"
	}
	return fmt.Sprintf("%s, so this is %s: %s", foundIn(found), found.What, advice)
}
